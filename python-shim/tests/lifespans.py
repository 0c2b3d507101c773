"""What the tests of lifespan share: an application's lifespan that is started, and what it logs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

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
