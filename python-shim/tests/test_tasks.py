"""The stack of a task: through everything that it awaits, from any thread."""

from __future__ import annotations

import asyncio
import functools
import importlib
import re
import sys
import threading
import time
import types
from collections.abc import AsyncIterator, Coroutine, Generator
from typing import Any

import pytest

from pywsgi._tasks import format_task


def functions(text: str) -> list[str]:
    """The functions of a stack, those of this file."""
    return re.findall(rf'File "{re.escape(__file__)}", line \d+, in (\w+)', text)


def stack_of(main: Coroutine[Any, Any, Any]) -> str:
    """The stack of a task that waits."""

    async def run() -> str:
        task = asyncio.ensure_future(main)
        await asyncio.sleep(0.02)
        text = format_task(task)
        task.cancel()
        return text

    return asyncio.run(run())


def eventually(tasks: list[Any], text: str) -> str:
    """The stack of the first task, of another thread, once it has that text."""
    deadline = time.monotonic() + 20
    while True:
        stack = format_task(tasks[0]) if tasks else ""
        if text in stack or time.monotonic() > deadline:
            return stack
        time.sleep(0.01)


async def outer(inner: Coroutine[Any, Any, Any]) -> None:
    await inner


async def inmost() -> None:
    await asyncio.sleep(60)


def test_coroutines() -> None:
    text = stack_of(outer(outer(inmost())))
    assert functions(text) == ["outer", "outer", "inmost"]
    lines = text.splitlines()
    assert lines[0].startswith(f'  File "{__file__}", line ')
    assert "    await inner" in lines
    assert "in sleep" in text[text.index("in inmost") :]


def test_asynchronous_generators() -> None:
    async def numbers() -> AsyncIterator[int]:
        await inmost()
        yield 1

    async def view() -> None:
        async for _ in numbers():
            pass

    async def sends() -> None:
        await numbers().__anext__()

    assert functions(stack_of(view())) == ["view", "numbers", "inmost"]
    assert functions(stack_of(sends())) == ["sends", "numbers", "inmost"]


def test_generators_and_objects_that_are_awaited() -> None:
    class Awaitable:
        def __await__(self) -> Generator[Any, Any, Any]:
            return (yield from inmost().__await__())

    async def view() -> None:
        await Awaitable()

    async def legacy() -> None:
        await generator()

    @types.coroutine
    def generator() -> Any:
        yield from inmost().__await__()

    assert functions(stack_of(view())) == ["view", "__await__", "inmost"]
    assert functions(stack_of(legacy())) == ["legacy", "generator", "inmost"]


def test_other_tasks() -> None:
    async def view() -> None:
        await asyncio.ensure_future(inmost())

    async def shielded() -> None:
        await asyncio.wait_for(outer(inmost()), 30)

    async def several() -> None:
        await asyncio.gather(done(), inmost())

    async def waits() -> None:
        await asyncio.wait([asyncio.ensure_future(done()), asyncio.ensure_future(inmost())])

    async def done() -> None:
        pass

    assert functions(stack_of(view())) == ["view", "inmost"]
    assert functions(stack_of(shielded())) == ["shielded", "outer", "inmost"]
    assert functions(stack_of(several())) == ["several", "inmost"]
    assert functions(stack_of(waits())) == ["waits", "inmost"]


@pytest.mark.skipif(sys.version_info < (3, 11), reason="TaskGroup is new in Python 3.11")
def test_groups_of_tasks() -> None:
    async def view() -> None:
        async with vars(asyncio)["TaskGroup"]() as group:
            group.create_task(inmost())

    assert functions(stack_of(view())) == ["view", "inmost"]


def test_groups_of_tasks_of_anyio() -> None:
    anyio = importlib.import_module("anyio")

    async def view() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(inmost)

    assert functions(stack_of(view())) == ["view", "inmost"]


def test_a_group_whose_task_waits_for_something_else() -> None:
    """As Starlette's BaseHTTPMiddleware does for the response of the application."""
    anyio = importlib.import_module("anyio")

    async def middleware(inner: Any) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(inner)
            await asyncio.get_running_loop().create_future()

    async def view() -> None:
        await outer(inmost())

    text = stack_of(middleware(functools.partial(middleware, view)))
    assert functions(text) == ["middleware", "middleware", "view", "outer", "inmost"]
    assert len(re.findall(r'^its task ".*" is at:$', text, re.MULTILINE)) == 2


@pytest.mark.skipif(sys.version_info < (3, 11), reason="TaskGroup is new in Python 3.11")
def test_many_tasks_of_a_group() -> None:
    async def view() -> None:
        async with vars(asyncio)["TaskGroup"]() as group:
            for _ in range(20):
                group.create_task(inmost())
            await asyncio.get_running_loop().create_future()

    text = stack_of(view())
    assert functions(text) == ["view"] + ["inmost"] * 8
    assert text.endswith("\nand it has more tasks")


def test_a_future_ends_the_stack() -> None:
    async def view() -> None:
        await asyncio.get_running_loop().create_future()

    assert functions(stack_of(view())) == ["view"]


def test_a_task_that_has_not_begun_or_has_ended() -> None:
    async def run() -> None:
        task = asyncio.ensure_future(inmost())
        assert functions(format_task(task)) == ["inmost"]
        task.cancel()
        await asyncio.wait([task])
        assert format_task(task) == ""

    asyncio.run(run())


def test_a_task_that_runs_in_this_thread() -> None:
    texts = []

    def here() -> None:
        task = asyncio.current_task()
        assert task is not None
        texts.append(format_task(task))

    async def view() -> None:
        here()

    asyncio.run(outer(view()))
    assert functions(texts[0]) == ["outer", "view", "here"]
    assert "in format_task" not in texts[0]


def test_a_task_that_runs_in_another_thread() -> None:
    begun, over = threading.Event(), threading.Event()
    tasks: list[Any] = []

    def blocks() -> None:
        begun.set()
        over.wait(20)

    async def view() -> None:
        tasks.append(asyncio.current_task())
        blocks()

    thread = threading.Thread(target=lambda: asyncio.run(outer(view())))
    thread.start()
    begun.wait(20)
    text = eventually(tasks, "in wait\n")
    over.set()
    thread.join()
    assert functions(text) == ["outer", "view", "blocks"]
    assert "run_until_complete" not in text


def test_a_task_that_waits_in_another_thread() -> None:
    tasks: list[Any] = []

    async def view() -> None:
        tasks.append(asyncio.current_task())
        tasks.append(asyncio.get_running_loop())
        await outer(inmost())

    def run() -> None:
        with pytest.raises(asyncio.CancelledError):
            asyncio.run(view())

    thread = threading.Thread(target=run)
    thread.start()
    text = eventually(tasks, "in sleep\n")
    tasks[1].call_soon_threadsafe(tasks[0].cancel)
    thread.join()
    assert functions(text) == ["view", "outer", "inmost"]


def test_frames_of_the_shim_are_left_out() -> None:
    module = types.ModuleType("pywsgi._asgi")
    exec("async def run(app):\n    await app\n", vars(module))
    assert functions(stack_of(outer(module.run(outer(inmost()))))) == ["outer", "outer", "inmost"]
    assert "in run" not in stack_of(module.run(inmost()))


def test_it_never_raises() -> None:
    class Hostile:
        def get_coro(self) -> Any:
            raise KeyboardInterrupt

        def __getattr__(self, name: str) -> Any:
            raise SystemExit

    hostile: Any = Hostile()
    assert format_task(hostile) == "(the task's stack cannot be shown: SystemExit)"

    class Loop:
        """Awaits itself."""

        cr_await: Any = property(lambda self: self)

        def send(self, value: Any) -> Any: ...

    endless: Any = Loop()
    assert format_task(endless) == ""
