"""What a loop runs for each call of an ASGI application, and at its end."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import sys
from collections.abc import Awaitable, Callable, Collection, Coroutine
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
        if isinstance(error, (asyncio.CancelledError, GeneratorExit)):
            raise
    else:
        call.returned()


def task_maker(
    loop: asyncio.AbstractEventLoop,
) -> Callable[[Coroutine[Any, Any, object]], asyncio.Task[Any]]:
    """Makes tasks of the loop, each of which begins at once: one that never waits costs no turn of
    the loop. No task may be running meanwhile."""
    if sys.version_info >= (3, 12):
        return functools.partial(asyncio.Task, loop=loop, eager_start=True)
    return functools.partial(_start_task, loop)


def _start_task(
    loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, object]
) -> asyncio.Task[Any]:
    """What `eager_start` does. A new task has the loop call its first step soon, and does nothing
    else: here it is called instead."""
    steps: list[tuple[Callable[[], object], contextvars.Context]] = []

    def call_soon(step: Callable[[], object], *, context: contextvars.Context) -> None:
        steps.append((step, context))

    methods: Any = loop
    methods.call_soon = call_soon
    try:
        task = asyncio.Task(coroutine, loop=loop)
    finally:
        del methods.call_soon
    for step, context in steps:
        context.run(step)
    return task


async def end(tasks: Collection[asyncio.Task[Any]], lifespans: Collection[Lifespan]) -> None:
    """The worker ends: cancels the calls that still run, and ends the lifespans."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=_PATIENCE)
    if lifespans:
        await asyncio.gather(*(lifespan.shutdown() for lifespan in lifespans))


# Seconds for which calls that have been cancelled are waited for.
_PATIENCE = 1.0
