"""What a loop runs for each call of an ASGI application, and at its end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from typing import Any, Protocol

from pywsgi._lifespan import Lifespan


class Call(Protocol):
    """The native object that stands for a call."""

    def returned(self) -> None: ...
    def failed(self, error: BaseException) -> None: ...


async def run(
    call: Call,
    app: Callable[..., Awaitable[object]],
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    """Runs the application. Whatever it raises ends here: SystemExit would end the loop."""
    try:
        await app(scope, receive, send)
    except BaseException as error:
        call.failed(error)
        if isinstance(error, asyncio.CancelledError):
            raise
    else:
        call.returned()


async def end(
    tasks: Collection[asyncio.Task[Any]], lifespans: Collection[Lifespan], limit: float | None
) -> None:
    """The worker ends: waits for the tasks of its calls, which have been cancelled, and ends the
    lifespans; within `limit` seconds, if that is not None."""
    if tasks:
        await asyncio.wait(tasks, timeout=_PATIENCE if limit is None else limit / 2)
    endings = [asyncio.ensure_future(lifespan.shutdown()) for lifespan in lifespans]
    if endings:
        await asyncio.wait(endings, timeout=limit)


# Seconds for which calls that have been cancelled are waited for.
_PATIENCE = 1.0
