"""The stack of an asyncio task as text, for the error log."""

from __future__ import annotations

import asyncio
import gc
import sys
import traceback
from collections.abc import Iterator
from types import FrameType
from typing import Any


def format_task(task: asyncio.Task[Any]) -> str:
    """Where a task is: its frames through all that it awaits, innermost last, as a traceback has
    them; "" if it has ended. The tasks of its task groups follow: those of Starlette's middleware
    run the application. The shim's own frames are left out.

    May be called on any thread. Never raises.
    """
    try:
        return "\n".join(_parts_of(task))
    except BaseException as fault:
        return f"(the task's stack cannot be shown: {type(fault).__name__})"


def _parts_of(task: asyncio.Task[Any]) -> Iterator[str]:
    chain = _Chain(task)
    if not chain.frames:
        return
    yield chain.format()
    members = _members(task.get_loop())
    shown, pending = set(chain.seen), _members_of(chain, members)
    # Limited: a group may have thousands of tasks.
    for _ in range(_SHOWN_MEMBERS):
        pending = [each for each in pending if id(each) not in shown]
        if not pending:
            return
        member = pending.pop(0)
        chain = _Chain(member)
        shown |= chain.seen
        pending += _members_of(chain, members)
        yield f'its task "{member.get_name()}" is at:\n{chain.format()}'
    if pending:
        yield "and it has more tasks"


def _members(loop: asyncio.AbstractEventLoop) -> dict[int, list[asyncio.Task[Any]]]:
    """The tasks of task groups, by the id of the task that has the group."""
    members: dict[int, list[asyncio.Task[Any]]] = {}
    states = getattr(sys.modules.get("anyio._backends._asyncio"), "_task_states", {})
    for task in asyncio.all_tasks(loop):
        parent = getattr(states.get(task), "parent_id", None)
        for callback, _ in getattr(task, "_callbacks", None) or ():
            # asyncio.TaskGroup has nothing else that leads from a task to the group.
            group = getattr(callback, "__self__", None)
            if type(group).__name__ == "TaskGroup":
                parent = id(getattr(group, "_parent_task", None))
        if parent is not None:
            members.setdefault(parent, []).append(task)
    return members


def _members_of(
    chain: _Chain, members: dict[int, list[asyncio.Task[Any]]]
) -> list[asyncio.Task[Any]]:
    return [member for each in chain.seen for member in members.get(each, ())]


class _Chain:
    """What a task awaits, and what that awaits, and so on."""

    def __init__(self, task: asyncio.Task[Any]) -> None:
        self.frames: list[FrameType] = []
        # The ids of all that is awaited.
        self.seen: set[int] = set()
        awaited: Any = task
        # Limited: what an application awaits may pretend to be anything.
        while awaited is not None and len(self.seen) < _LONGEST_CHAIN:
            if id(awaited) in self.seen:
                break
            self.seen.add(id(awaited))
            frame = _frame_of(awaited)
            if frame is None:
                awaited = _next(awaited)
                continue
            running = _stack_above(frame) if _is_running(awaited) else []
            if running:
                self.frames += running
                break
            self.frames.append(frame)
            awaited = _awaited_by_library(frame) or _next(awaited)

    def format(self) -> str:
        frames = [frame for frame in self.frames if not _is_own(frame)]
        stack = traceback.StackSummary.extract((frame, frame.f_lineno) for frame in frames)
        return "".join(stack.format()).rstrip("\n")


def _frame_of(awaited: Any) -> FrameType | None:
    """The frame of a coroutine, a generator or an asynchronous generator that has not ended."""
    for name in ("cr_frame", "gi_frame", "ag_frame"):
        frame = getattr(awaited, name, None)
        if isinstance(frame, FrameType):
            return frame
    return None


def _is_running(awaited: Any) -> bool:
    return any(getattr(awaited, name, False) is True for name in _RUNNING)


def _stack_above(frame: FrameType) -> list[FrameType]:
    """The frames of the thread that runs `frame`, from there on."""
    for innermost in sys._current_frames().values():
        stack: list[FrameType] = []
        each: FrameType | None = innermost
        while each is not None:
            stack.append(each)
            if each is frame:
                return stack[::-1]
            each = each.f_back
    return []


def _next(awaited: Any) -> Any:
    """What an awaitable waits for itself; None if that is no Python code."""
    if isinstance(awaited, asyncio.Task):
        return awaited.get_coro()
    if asyncio.isfuture(awaited):
        # asyncio.gather()
        return _pending(getattr(awaited, "_children", ()))
    for name in ("cr_await", "gi_yieldfrom", "ag_await"):
        inner = getattr(awaited, name, None)
        if inner is not None:
            return inner
    if type(awaited).__name__ in _WRAPPERS:
        # They have no attribute for it.
        return next(_inside(awaited), None)
    return None


def _inside(wrapper: Any) -> Iterator[Any]:
    for each in gc.get_referents(wrapper):
        is_future = asyncio.isfuture(each)
        if is_future or type(each).__name__ in _WRAPPERS or _frame_of(each) is not None:
            yield each


def _awaited_by_library(frame: FrameType) -> Any:
    """The task that a function of asyncio waits for by a future of its own."""
    variable = _WAITERS.get((str(frame.f_globals.get("__name__")), frame.f_code.co_name))
    if variable is None:
        return None
    name, _, attribute = variable.partition(".")
    value = frame.f_locals.get(name)
    if attribute:
        value = getattr(value, attribute, None)
    return _pending(value if isinstance(value, (set, list, tuple)) else [value])


def _pending(futures: Any) -> Any:
    """The first future that is not done."""
    return next((each for each in futures if asyncio.isfuture(each) and not each.done()), None)


def _is_own(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__")).startswith("pywsgi.")


_LONGEST_CHAIN = 1000

# How many tasks of groups are shown.
_SHOWN_MEMBERS = 8

_RUNNING = ("cr_running", "gi_running", "ag_running")

# What `await` makes of an awaitable, in C.
_WRAPPERS = frozenset(
    (
        "FutureIter",
        "coroutine_wrapper",
        "async_generator_asend",
        "async_generator_athrow",
        "anext_awaitable",
    )
)

# The variable of a function that holds what it waits for. wait_for() has it up to Python 3.11.
_WAITERS = {
    ("asyncio.tasks", "wait_for"): "fut",
    ("asyncio.tasks", "_wait"): "fs",
    ("asyncio.taskgroups", "__aexit__"): "self._tasks",
    ("asyncio.taskgroups", "_aexit"): "self._tasks",
    ("anyio._backends._asyncio", "__aexit__"): "self._tasks",
}
