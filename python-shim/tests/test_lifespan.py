"""Lifespan: the startup's and the shutdown's messages, their failures and their limits."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from pywsgi._lifespan import Lifespan

Lines = list[tuple[int, str]]

ERROR, WARN, INFO = 4, 5, 7


class Startup:
    """A lifespan that was started, and what its `done` was called with."""

    def __init__(self, app: Any, mode: str = "auto", **timeouts: Any) -> None:
        limits = {"startup_timeout": 5.0, "shutdown_timeout": 5.0, **timeouts}
        self.lifespan = Lifespan(app, mode, target="/srv/shop.py", **limits)
        self.results: list[str | None] = []

    async def run(self) -> str | None:
        over = asyncio.get_running_loop().create_future()

        def done(text: str | None) -> None:
            self.results.append(text)
            if not over.done():
                over.set_result(None)

        self.lifespan.start(asyncio.get_running_loop(), done)
        await asyncio.wait_for(over, 10)
        return self.results[0]


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 20))


def sends(*messages: Any) -> Any:
    """An application that receives lifespan.startup and sends these messages."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        for message in messages:
            await send(message)

    return app


async def good(scope: Any, receive: Any, send: Any) -> None:
    assert (await receive())["type"] == "lifespan.startup"
    scope["state"]["pool"] = 7
    await send({"type": "lifespan.startup.complete"})
    assert (await receive())["type"] == "lifespan.shutdown"
    scope["state"].clear()
    await send({"type": "lifespan.shutdown.complete"})


COMPLETE = {"type": "lifespan.startup.complete"}
ENDED = {"type": "lifespan.shutdown.complete"}


def test_startup_and_shutdown(lines: Lines) -> None:
    scopes = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scopes.append({**scope, "state": dict(scope["state"])})
        await good(scope, receive, send)

    async def test() -> None:
        startup = Startup(app)
        assert startup.lifespan.state is None
        assert await startup.run() is None
        state = startup.lifespan.state
        assert state == {"pool": 7}
        await startup.lifespan.shutdown()
        assert state == {}
        assert startup.results == [None]

    run(test)
    assert scopes == [
        {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": {}}
    ]
    assert lines == []


def test_it_starts_once_and_shuts_down_once() -> None:
    received = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        received.append((await receive())["type"])
        await send(COMPLETE)
        received.append((await receive())["type"])
        await asyncio.sleep(0.01)
        await send(ENDED)

    async def test() -> None:
        startup = Startup(app)
        await startup.run()
        with pytest.raises(RuntimeError, match="only once"):
            await startup.run()
        await asyncio.gather(startup.lifespan.shutdown(), startup.lifespan.shutdown())
        await startup.lifespan.shutdown()

    run(test)
    assert received == ["lifespan.startup", "lifespan.shutdown"]


def test_done_is_called_by_the_loop_in_the_context_of_start() -> None:
    request: contextvars.ContextVar[str] = contextvars.ContextVar("request", default="none")
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        request.set("the lifespan's")
        await receive()
        await send(COMPLETE)
        seen.append("sent")
        await receive()

    async def test() -> None:
        lifespan = Lifespan(app, "auto", 5, 5, "app")
        over = asyncio.get_running_loop().create_future()

        def done(text: str | None) -> None:
            seen.append(request.get())
            over.set_result(None)

        lifespan.start(asyncio.get_running_loop(), done)
        await over
        await lifespan.shutdown()

    run(test)
    assert seen == ["sent", "none"]


# Without a lifespan.


@pytest.mark.parametrize("mode", ["auto", "on"])
def test_an_application_that_knows_no_lifespan(lines: Lines, mode: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise ValueError("only http")

    async def test() -> None:
        startup = Startup(app, mode)
        failure = await startup.run()
        assert startup.lifespan.state is None
        await startup.lifespan.shutdown()
        if mode == "auto":
            assert failure is None
            what = "it does without a lifespan: it raised ValueError: only http"
            assert lines == [(INFO, f'application "/srv/shop.py": {what}')]
        else:
            assert failure is not None
            assert failure.startswith("its lifespan's startup raised\nTraceback")
            assert "in app\n" in failure
            assert "pywsgi/_lifespan.py" not in failure
            assert failure.endswith("ValueError: only http")
            assert lines == []

    run(test)


@pytest.mark.parametrize("mode", ["auto", "on"])
def test_an_application_that_answers_each_scope_as_http(lines: Lines, mode: str) -> None:
    async def test() -> None:
        failure = await Startup(sends({"type": "http.response.start"}), mode).run()
        assert (failure is None) == (mode == "auto")

    run(test)
    if mode == "auto":
        assert "'http.response.start' cannot be sent" in "".join(text for _, text in lines)


@pytest.mark.parametrize("mode", ["auto", "on"])
def test_an_application_that_returns(lines: Lines, mode: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        return

    async def test() -> None:
        startup = Startup(app, mode)
        failure = await startup.run()
        assert startup.lifespan.state is None
        if mode == "auto":
            assert failure is None
            what = "it does without a lifespan: it returned"
            assert lines == [(INFO, f'application "/srv/shop.py": {what}')]
        else:
            assert failure == "it returned before it sent lifespan.startup.complete"

    run(test)


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt])
def test_a_startup_that_raises_is_a_warning_in_auto(lines: Lines, error: Any) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        raise error("no database")

    async def test() -> None:
        startup = Startup(app)
        assert await startup.run() is None
        assert startup.lifespan.state is None

    run(test)
    assert {level for level, _ in lines} == {WARN}
    assert "it is served without its lifespan" in lines[0][1]
    assert lines[-1][1] == f"{error.__name__}: no database"


# A failed startup.


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


# Between the two, and the shutdown.


def test_a_lifespan_that_ends_early_is_logged_and_keeps_its_state(lines: Lines) -> None:
    async def dies(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(COMPLETE)
        raise SystemExit("a background task")

    async def test() -> None:
        for app in (sends(COMPLETE), dies):
            startup = Startup(app)
            assert await startup.run() is None
            await asyncio.sleep(0)
            assert startup.lifespan.state == {}
            await startup.lifespan.shutdown()

    run(test)
    what = (
        'application "/srv/shop.py": its lifespan ended before lifespan.shutdown; it is served'
        " without from now on"
    )
    assert lines[0] == (INFO, what)
    assert lines[1] == (ERROR, what)
    assert lines[-1] == (ERROR, "SystemExit: a background task")


def test_a_shutdown_that_fails_is_logged_once(lines: Lines) -> None:
    async def starlette(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(COMPLETE)
        await receive()
        await send({"type": "lifespan.shutdown.failed", "message": "the pool"})
        raise ValueError("the pool")

    async def test() -> None:
        startup = Startup(starlette)
        await startup.run()
        await startup.lifespan.shutdown()

    run(test)
    assert lines == [(ERROR, 'application "/srv/shop.py": lifespan.shutdown.failed: the pool')]


def test_a_shutdown_that_raises_is_logged(lines: Lines) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(COMPLETE)
        await receive()
        raise ValueError("the pool")

    async def test() -> None:
        startup = Startup(app)
        await startup.run()
        await startup.lifespan.shutdown()

    run(test)
    assert lines[0] == (ERROR, 'application "/srv/shop.py": its lifespan raised')
    assert lines[-1] == (ERROR, "ValueError: the pool")


def test_a_shutdown_that_takes_too_long(lines: Lines) -> None:
    cancelled = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(COMPLETE)
        await receive()
        try:
            await asyncio.sleep(60)
        finally:
            cancelled.append(True)

    async def test() -> None:
        startup = Startup(app, shutdown_timeout=0.05)
        await startup.run()
        await startup.lifespan.shutdown()
        await asyncio.sleep(0.01)

    run(test)
    assert cancelled == [True]
    assert lines[0] == (
        ERROR,
        'application "/srv/shop.py": its lifespan has not ended within 0.05 s of lifespan.shutdown'
        " (asgi_lifespan shutdown_timeout); it is at:",
    )
    assert any("asyncio.sleep(60)" in line for _, line in lines)


def test_what_follows_shutdown_complete_is_waited_for() -> None:
    steps = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(COMPLETE)
        await receive()
        await send(ENDED)
        await asyncio.sleep(0.02)
        steps.append("closed")

    async def test() -> None:
        startup = Startup(app)
        await startup.run()
        await startup.lifespan.shutdown()
        assert steps == ["closed"]

    run(test)


def test_an_application_that_receives_for_ever_does_not_hold_the_worker(lines: Lines) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        while True:
            message = await receive()
            await send({"type": f"{message['type']}.complete"})

    async def test() -> None:
        startup = Startup(app, shutdown_timeout=10)
        await startup.run()
        began = asyncio.get_running_loop().time()
        await startup.lifespan.shutdown()
        assert asyncio.get_running_loop().time() - began < 5

    run(test)
    assert lines == []


def test_a_worker_that_exits_waits_for_the_startup(lines: Lines) -> None:
    steps = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await asyncio.sleep(0.05)
        await send(COMPLETE)
        steps.append((await receive())["type"])

    async def test() -> None:
        startup = Startup(app)
        starting = asyncio.ensure_future(startup.run())
        await asyncio.sleep(0.01)
        await startup.lifespan.shutdown()
        assert await starting is None
        assert steps == ["lifespan.shutdown"]

    run(test)


def test_a_worker_that_exits_gives_up_a_startup_that_takes_too_long() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await asyncio.sleep(60)

    async def test() -> None:
        startup = Startup(app, shutdown_timeout=0.05)
        starting = asyncio.ensure_future(startup.run())
        await asyncio.sleep(0.01)
        await startup.lifespan.shutdown()
        failure = "the worker exits before the lifespan's startup has ended"
        assert await starting == failure
        assert startup.results == [failure]

    run(test)


def test_several_tasks_may_receive() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(COMPLETE)
        impatient = asyncio.ensure_future(receive())
        await asyncio.sleep(0)
        impatient.cancel()
        assert (await receive())["type"] == "lifespan.shutdown"
        await send(ENDED)

    async def test() -> None:
        startup = Startup(app)
        await startup.run()
        await asyncio.sleep(0.01)
        await startup.lifespan.shutdown()
        assert startup.lifespan._answers == {"startup": "complete", "shutdown": "complete"}

    run(test)
