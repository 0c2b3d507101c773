"""Lifespan: startup and shutdown, and applications that do without."""

from __future__ import annotations

import asyncio
import contextvars
from typing import Any

import pytest
from lifespans import COMPLETE, ENDED, INFO, WARN, Lines, Startup, good, run, sends

from pywsgi._lifespan import Lifespan


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
