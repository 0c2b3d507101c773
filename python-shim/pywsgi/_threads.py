"""Gives a pool's threads what `threading` gives its own: a name, and the hooks of settrace() and
setprofile(), which debuggers and coverage.py use."""

from __future__ import annotations

import functools
import itertools
import sys
import threading
import types
from _thread import _local
from _thread import get_ident as get_ident
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

from pywsgi._log import hooks_changed
from pywsgi._target import LoadError


def enter(name: str) -> None:
    """Gives the calling thread, which will run applications, a name for `threading`."""
    # For a thread that Python has not started this creates a _DummyThread.
    _current_thread().name = f"{name}-{next(_numbers[name])}"


def watch_hooks() -> None:
    """threading.settrace() applies to threads that are started later. The pools' threads apply it
    at their next request."""
    threading.settrace = _noticed(threading.settrace)
    threading.setprofile = _noticed(threading.setprofile)


def refuse_greenlets() -> None:
    """Makes gevent.monkey and eventlet.monkey_patch() fail when they replace the locks of threads.
    Their locks work in one thread only: between the threads of a pool a release may be lost, and
    requests would sometimes hang."""
    for module in (sys.modules["_thread"], threading):
        module.__class__ = _Threads


class _Threads(types.ModuleType):
    def __setattr__(self, name: str, value: Any) -> None:
        library = str(getattr(value, "__module__", None)).partition(".")[0]
        if library in ("gevent", "eventlet"):
            raise LoadError(
                f"{library} must not replace {self.__name__}.{name}: applications run in threads,"
                f" and the locks of {library} hang between threads. Remove the monkey-patching (the"
                " threads of python_thread_pool replace it) and reload nginx"
            )
        super().__setattr__(name, value)


def take_on_hooks() -> None:
    """Applies hooks that have been set for all threads to the calling thread."""
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
# gevent.monkey may replace this; here it is always that of threads.
_current_thread = threading.current_thread
