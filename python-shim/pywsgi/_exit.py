"""Runs the usual steps of a Python program's exit when a worker exits."""

from __future__ import annotations

import atexit
import sys
import threading
from _thread import get_ident
from collections.abc import Callable

from pywsgi import _hooks
from pywsgi._log import report
from pywsgi._stacks import format_exception, format_stack
from pywsgi._start import errors_stream


def run() -> None:
    """Calls what `on_worker_exit` has registered, joins the non-daemon threads, calls the atexit
    functions, and logs unfinished lines.

    Must run once, on Python's main thread (threading._shutdown() releases that thread's lock) and
    before Py_FinalizeEx(), which does the same and then finds nothing left to do. Here exceptions
    reach the error log. It takes as long as the application needs; the caller sets the limit.
    """
    _attempt(_hooks.end_reports)
    _hooks.run_exits()
    _attempt(threading._shutdown)  # type: ignore[attr-defined]
    _attempt(atexit._run_exitfuncs)
    # An application may have replaced these, even with None.
    _attempt(lambda: sys.stdout and sys.stdout.flush())
    _attempt(lambda: sys.stderr and sys.stderr.flush())
    errors_stream().release()


def threads_left() -> str:
    """For the log: the stacks of the threads that still run, except the calling one. A thread that
    has been shown before is only named."""
    threads = list(threading._active.items())  # type: ignore[attr-defined]
    names = {ident: str(thread.name) for ident, thread in threads}
    frames, own = sys._current_frames(), get_ident()
    left = sorted(ident for ident in frames if ident != own)
    parts = []
    for ident in left[:_SHOWN_THREADS]:
        name = names.get(ident, f"{ident:#x}")
        if ident in _shown:
            parts.append(f'thread "{name}", see above')
            continue
        _shown.add(ident)
        stack = format_stack(ident)
        if len(stack) > _SHOWN_STACK:
            stack = f"{stack[:_SHOWN_STACK]}…"
        parts.append(f'thread "{name}" is at:\n{stack}')
    if len(left) > _SHOWN_THREADS:
        parts.append(f"and {len(left) - _SHOWN_THREADS} more threads")
    return "\n".join(parts)


def _attempt(step: Callable[[], object]) -> None:
    try:
        step()
    except BaseException as error:
        report("ExitRaised", "the exit of this worker's Python", format_exception(error))


# How many threads are shown, and how many characters of each one's stack.
_SHOWN_THREADS = 16
_SHOWN_STACK = 4096

_shown: set[int] = set()
