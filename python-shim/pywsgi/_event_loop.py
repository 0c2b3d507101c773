"""The asyncio loops of a worker: makes, runs and closes them.

A loop never ends while the worker serves: what an application does to it (`loop.stop()`, a
SystemExit in a task) is logged, and the loop runs on for the other applications.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import contextvars
import importlib
import logging
import signal
import sys
import threading
import time
from collections.abc import Callable, Collection, Coroutine
from typing import Any

from pywsgi._log import log, report
from pywsgi._stacks import format_exception
from pywsgi._target import LoadError
from pywsgi._tasks import format_task


def new_loop(kind: str) -> asyncio.AbstractEventLoop:
    """Makes the calling thread's loop: "asyncio", "uvloop", or "auto", which is uvloop if that can
    be imported.

    Raises LoadError if uvloop is asked for and cannot be imported.
    """
    make = asyncio.SelectorEventLoop if kind == "asyncio" else _find_uvloop(kind)
    loop = make()
    asyncio.set_event_loop(loop)
    executor = concurrent.futures.ThreadPoolExecutor(thread_name_prefix="asyncio")
    loop.set_default_executor(executor)
    loop.set_exception_handler(_log_context)
    methods: Any = loop
    methods.add_signal_handler = _refuse_signal_handler
    methods.remove_signal_handler = _remove_signal_handler
    _loops[loop] = _Loop(loop.create_future(), executor)
    return loop


def run(loop: asyncio.AbstractEventLoop) -> None:
    """Runs the loop on this thread until `stop()` is called.

    Not by run_forever(): libraries look for the task that run_until_complete() runs. anyio ends its
    idle threads with it; without one it would start a thread for each request.
    """
    stopped = _loops[loop].stopped
    root: asyncio.Task[None] | None = None
    while not stopped.done() and not loop.is_closed():
        if root is None or root.done():
            root = loop.create_task(_wait(stopped), name="pywsgi")
        try:
            loop.run_until_complete(root)
        except asyncio.CancelledError:
            # An application has cancelled all tasks.
            continue
        except BaseException as error:
            log_stopped(error)


def stop(loop: asyncio.AbstractEventLoop) -> None:
    """Makes `run()` return. Must be called on the loop's thread."""
    stopped = _loops[loop].stopped
    if not stopped.done():
        stopped.set_result(None)


def close(loop: asyncio.AbstractEventLoop, seconds: float) -> None:
    """Cancels the tasks of the loop, which `run()` has left, runs them to their end for at most
    that long, and closes the loop. Logs what has not ended."""
    deadline = time.monotonic() + seconds
    executor = _loops.pop(loop).executor
    if loop.is_closed():  # By an application, which has stopped it first.
        return
    try:
        _end_tasks(loop, deadline)
        _end_generators(loop, deadline)
        _end_executor(loop, executor, deadline)
    finally:
        asyncio.set_event_loop(None)
        loop.close()


# Making a loop.


def _find_uvloop(kind: str) -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        uvloop = importlib.import_module("uvloop")
    except Exception as error:
        if kind == "uvloop":
            raise LoadError(
                f"uvloop cannot be imported ({type(error).__name__}: {error}): {_how_to_install()},"
                " or configure python_event_loop with asyncio or auto"
            ) from None
        if not isinstance(error, ModuleNotFoundError) or error.name != "uvloop":
            text = "uvloop is installed, but its import fails: asyncio's loop is used"
            report("UvloopUnusable", text, format_exception(error))
        return asyncio.SelectorEventLoop
    return uvloop.new_event_loop  # type: ignore[no-any-return]


def _how_to_install() -> str:
    if sys.prefix != sys.base_prefix:
        return f"install it into python_home ({sys.prefix}/bin/pip install uvloop)"
    return (
        f"install it for the Python of {sys.prefix}, or set python_home to a virtual environment"
        " that has it"
    )


def _refuse_signal_handler(sig: int, callback: Callable[..., Any], *args: Any) -> None:
    """Libraries expect this exception: a loop on Windows raises it."""
    raise NotImplementedError(
        f"loop.add_signal_handler({_name_of(sig)}): nginx handles the signals of its workers. At"
        " a worker's exit ASGI applications get lifespan.shutdown; signal.signal() handles signals"
        " that nginx does not use"
    )


def _remove_signal_handler(sig: int) -> bool:
    """There is none."""
    return False


def _name_of(sig: int) -> str:
    try:
        return signal.Signals(sig).name
    except ValueError:
        return str(sig)


# While it runs.


class _Loop:
    def __init__(
        self, stopped: asyncio.Future[None], executor: concurrent.futures.ThreadPoolExecutor
    ) -> None:
        self.stopped = stopped
        self.executor = executor


async def _wait(stopped: asyncio.Future[None]) -> None:
    # Shielded: the future outlives a cancelled task.
    await asyncio.shield(stopped)


def log_stopped(error: BaseException) -> None:
    if isinstance(error, RuntimeError) and "stopped before Future completed" in str(error):
        log(
            "LoopStopIgnored",
            "an application has called loop.stop(), which is ignored: other applications may use"
            " the loop, too",
        )
    else:
        text = "an exception has left the loop, which runs on"
        report("LoopRaised", text, format_exception(error))


def _log_context(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """The exception handler: logs what no task could handle, with the request that it is about.

    By asyncio's logger, so that an application's handlers get it; unless the application's
    configuration of logging has disabled that logger, as `disable_existing_loggers` does.
    """
    show: Callable[[dict[str, Any]], object] = _log_directly
    if logging.getLogger("asyncio").isEnabledFor(logging.ERROR):
        show = loop.default_exception_handler
    own = _context_of(context)
    if own is None:
        show(context)
        return
    try:
        own.run(show, context)
    except RuntimeError:  # It runs now.
        show(context)


def _context_of(context: dict[str, Any]) -> contextvars.Context | None:
    """The context variables of the task or the callback. asyncio's loop enters them itself since
    Python 3.12, uvloop does not."""
    for name in ("task", "future", "handle"):
        get_context = getattr(context.get(name), "get_context", None)
        if get_context is not None:
            own = get_context()
            return own if isinstance(own, contextvars.Context) else None
    return None


def _log_directly(context: dict[str, Any]) -> None:
    error = context.get("exception")
    lines = [str(context.get("message") or "Unhandled exception in event loop")]
    for name in sorted(context):
        if name not in ("message", "exception"):
            lines.append(f"{name}: {context[name]!r}")
    if isinstance(error, BaseException):
        report("LoopUnhandled", "\n".join(lines), format_exception(error))
    else:
        log("LoopUnhandled", "\n".join(lines))


# Its end.


def _end_tasks(loop: asyncio.AbstractEventLoop, deadline: float) -> None:
    tasks = asyncio.all_tasks(loop)
    while tasks:
        left = deadline - time.monotonic()
        for task in tasks:
            task.cancel()
        _run(loop, asyncio.wait(tasks, timeout=max(left, 0.0)))
        for task in tasks:
            _show_exception(loop, task)
        tasks = asyncio.all_tasks(loop)
        if left <= 0.0:
            break
    if tasks:
        _log_left(tasks)


def _show_exception(loop: asyncio.AbstractEventLoop, task: asyncio.Task[Any]) -> None:
    if not task.done() or task.cancelled() or task.exception() is None:
        return
    loop.call_exception_handler(
        {
            "message": "a task raised when it was cancelled at the end of its loop",
            "exception": task.exception(),
            "task": task,
        }
    )


def _log_left(tasks: Collection[asyncio.Task[Any]]) -> None:
    what = "1 task still runs" if len(tasks) == 1 else f"{len(tasks)} tasks still run"
    whose, were = ("its", "it was") if len(tasks) == 1 else ("their", "they were")
    lines = [f"{what} at the end of {whose} loop, though {were} cancelled"]
    for task in list(tasks)[:_SHOWN_TASKS]:
        lines.append(f'task "{task.get_name()}" is at:\n{format_task(task)}')
    log("TasksLeft", "\n".join(lines))
    for each in tasks:
        # Otherwise asyncio logs each of them once more, when it is freed.
        task_of_asyncio: Any = each
        task_of_asyncio._log_destroy_pending = False


def _end_generators(loop: asyncio.AbstractEventLoop, deadline: float) -> None:
    ending = loop.create_task(loop.shutdown_asyncgens())
    left = max(deadline - time.monotonic(), 0.0)
    _run(loop, asyncio.wait({ending}, timeout=left))
    if not ending.done():
        log("TasksLeft", "asynchronous generators have not ended at the end of their loop")
        ending.cancel()
        _run(loop, asyncio.wait({ending}, timeout=0.0))


def _end_executor(
    loop: asyncio.AbstractEventLoop,
    executor: concurrent.futures.ThreadPoolExecutor,
    deadline: float,
) -> None:
    """Not by shutdown_default_executor(): before Python 3.12, and in uvloop, it has no limit. The
    loop runs meanwhile, because a thread may wait for it."""
    ended = loop.create_future()

    def wait() -> None:
        executor.shutdown()
        with contextlib.suppress(RuntimeError):  # Too late: the loop is closed.
            loop.call_soon_threadsafe(ended.set_result, None)

    executor.shutdown(wait=False, cancel_futures=True)
    threading.Thread(target=wait, name="pywsgi-executor", daemon=True).start()
    left = max(deadline - time.monotonic(), 0.0)
    _run(loop, asyncio.wait({ended}, timeout=left))
    if not ended.done():
        log(
            "TasksLeft",
            "threads of run_in_executor() or to_thread() still run at the end of their loop",
        )


def _run(loop: asyncio.AbstractEventLoop, step: Coroutine[Any, Any, object]) -> None:
    """Runs the loop until that has ended. A task's exception that ends the loop is logged."""
    try:
        loop.run_until_complete(step)
    except BaseException as error:
        log_stopped(error)


# How many tasks are shown at the end.
_SHOWN_TASKS = 8

_loops: dict[asyncio.AbstractEventLoop, _Loop] = {}
