"""A lifespan after its startup: its early end, its shutdown, and a worker that exits."""

from __future__ import annotations

import asyncio
from typing import Any

from lifespans import COMPLETE, ENDED, ERROR, INFO, Lines, Startup, run, sends


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
