"""A lifespan's startup that fails, takes too long, or sends wrong messages."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest
from lifespans import COMPLETE, ENDED, ERROR, Lines, Startup, good, run, sends


@pytest.mark.parametrize("mode", ["auto", "on"])
def test_startup_failed_fails_in_every_mode(lines: Lines, mode: str) -> None:
    async def starlette(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "Traceback\nno database\n"})
        raise ValueError("no database")

    async def test() -> None:
        startup = Startup(starlette, mode)
        failure = await startup.run()
        assert failure == "lifespan.startup.failed: Traceback\nno database"
        assert startup.lifespan.state is None
        await startup.lifespan.shutdown()
        assert startup.results == [failure]

    run(test)
    assert lines == []


def test_startup_failed_without_a_message_is_explained_by_what_is_raised(lines: Lines) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed"})
        raise ValueError("no database")

    async def test() -> None:
        assert await Startup(app).run() == "lifespan.startup.failed: without a message"

    run(test)
    assert lines[0] == (ERROR, 'application "/srv/shop.py": its lifespan raised')
    assert lines[-1] == (ERROR, "ValueError: no database")


def test_a_startup_that_takes_too_long(lines: Lines) -> None:
    ends = []

    async def connect() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ends.append("cancelled")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        try:
            await connect()
        finally:
            with contextlib.suppress(RuntimeError):
                await send(COMPLETE)
                ends.append("sent")

    async def test() -> None:
        startup = Startup(app, startup_timeout=0.05)
        failure = await startup.run()
        assert failure is not None
        what = "its lifespan's startup has not ended within 0.05 s (asgi_lifespan startup_timeout)"
        assert failure.startswith(f"{what}; it is at:\n  File ")
        assert failure.index("in app\n") < failure.index("in connect\n")
        await asyncio.sleep(0.01)
        assert ends == ["cancelled"]
        assert startup.lifespan.state is None
        assert startup.results == [failure]

    run(test)
    assert lines == []


def test_no_limits() -> None:
    async def test() -> None:
        startup = Startup(good, startup_timeout=None, shutdown_timeout=None)
        assert await startup.run() is None
        await startup.lifespan.shutdown()

    run(test)


@pytest.mark.parametrize(
    ("messages", "what"),
    [
        ([None], "TypeError: a lifespan message must be a dict, not NoneType"),
        ([{}], "TypeError: a lifespan message's 'type' must be str, not NoneType"),
        ([{"type": b"x"}], "TypeError: a lifespan message's 'type' must be str, not bytes"),
        (
            [{"type": "lifespan.startup.failed", "message": ValueError()}],
            "TypeError: lifespan.startup.failed: its 'message' must be str, not ValueError",
        ),
        (
            [ENDED],
            "RuntimeError: 'lifespan.shutdown.complete' cannot be sent: lifespan.shutdown was not"
            " received (the lifespan is 'starting')",
        ),
    ],
)
def test_a_wrong_message_fails_the_startup(lines: Lines, messages: Any, what: str) -> None:
    """Also with auto: the application knows of lifespan."""

    async def test() -> None:
        failure = await Startup(sends(*messages)).run()
        assert failure is not None
        assert failure.startswith("its lifespan's startup raised\nTraceback")
        assert failure.endswith(what)

    run(test)
    assert lines == []


@pytest.mark.parametrize(
    ("message", "what"),
    [
        (
            COMPLETE,
            "'lifespan.startup.complete' cannot be sent: lifespan.startup.complete has been sent"
            " before (the lifespan is 'started')",
        ),
        (
            ENDED,
            "'lifespan.shutdown.complete' cannot be sent: lifespan.shutdown was not received (the"
            " lifespan is 'started')",
        ),
    ],
)
def test_a_message_out_of_order_after_the_startup(lines: Lines, message: Any, what: str) -> None:
    async def test() -> None:
        startup = Startup(sends(COMPLETE, message))
        assert await startup.run() is None
        assert startup.lifespan.state == {}

    run(test)
    assert lines[-1] == (ERROR, f"RuntimeError: {what}")
