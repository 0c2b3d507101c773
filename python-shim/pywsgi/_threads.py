"""A pool's threads, as `threading` knows its own: by name, and with the hooks of settrace() and
setprofile(), which debuggers and coverage.py set."""

from __future__ import annotations

import functools
import itertools
import sys
import threading
from _thread import _local
from _thread import get_ident as get_ident
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

from pywsgi._log import hooks_changed


def enter(name: str) -> None:
    """The calling thread begins to run applications: gives it a name for `threading`."""
    # Python makes an object of its own kind for a thread that it has not started (_DummyThread).
    _current_thread().name = f"{name}-{next(_numbers[name])}"


def watch_hooks() -> None:
    """threading.settrace() is for threads that are started afterwards: those of the pools take it
    on with their next request."""
    threading.settrace = _noticed(threading.settrace)
    threading.setprofile = _noticed(threading.setprofile)


def take_on_hooks() -> None:
    """Sets on the calling thread what has been set for all since it was here last."""
    trace: Any = vars(threading).get("_trace_hook")
    if trace is not _own.trace:
        _own.trace = trace
        sys.settrace(trace)
    profile: Any = vars(threading).get("_profile_hook")
    if profile is not _own.profile:
        _own.profile = profile
        sys.setprofile(profile)


def _noticed(set_hook: Callable[..., None]) -> Any:
    @functools.wraps(set_hook)
    def noticed(func: Any) -> None:
        set_hook(func)
        hooks_changed()

    return noticed


class _Own(_local):
    trace: Any = None
    profile: Any = None


_own = _Own()
_numbers: defaultdict[str, Iterator[int]] = defaultdict(lambda: itertools.count(1))
# An application may put greenlets in the place of threads (gevent.monkey): these are the threads.
_current_thread = threading.current_thread
