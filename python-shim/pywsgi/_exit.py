"""What a Python program does at its end, for a worker that exits."""

from __future__ import annotations

import atexit
import sys
import threading
from collections.abc import Callable

from pywsgi._log import ERROR, log, printable
from pywsgi._stacks import format_exception
from pywsgi._start import errors_stream


def run() -> None:
    """Joins the threads that are no daemons, calls what is registered with atexit, and logs what
    is left of unfinished lines.

    Must run on Python's main thread (threading._shutdown() releases that thread's lock), once, and
    before Py_FinalizeEx(), which does the same again and then finds nothing left to do: here its
    exceptions reach the error log. It takes as long as the application does; whoever calls it sets
    the limit.
    """
    _attempt(threading._shutdown)  # type: ignore[attr-defined]
    _attempt(atexit._run_exitfuncs)
    # An application may have put anything there, even None.
    _attempt(lambda: sys.stdout and sys.stdout.flush())
    _attempt(lambda: sys.stderr and sys.stderr.flush())
    errors_stream().release()


def _attempt(step: Callable[[], object]) -> None:
    try:
        step()
    except BaseException as error:
        for line in format_exception(error).split("\n"):
            log(ERROR, printable(line))
