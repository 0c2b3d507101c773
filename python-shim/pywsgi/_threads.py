"""A pool's threads, as `threading` knows its own: by name, and with the hooks of settrace() and
setprofile(), which debuggers and coverage.py set."""

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
    """The calling thread begins to run applications: gives it a name for `threading`."""
    # Python makes an object of its own kind for a thread that it has not started (_DummyThread).
    _current_thread().name = f"{name}-{next(_numbers[name])}"


def watch_hooks() -> None:
    """threading.settrace() is for threads that are started afterwards: those of the pools take it
    on with their next request."""
    threading.settrace = _noticed(threading.settrace)
    threading.setprofile = _noticed(threading.setprofile)


def refuse_greenlets() -> None:
    """Makes gevent.monkey and eventlet.monkey_patch() fail as they put their locks in the place of
    threads' own. Such a lock belongs to one thread: between the threads of a pool it is never given
    back, and requests would hang now and then."""
    for module in (sys.modules["_thread"], threading):
        module.__class__ = _Threads


class _Threads(types.ModuleType):
    def __setattr__(self, name: str, value: Any) -> None:
        library = str(getattr(value, "__module__", None)).partition(".")[0]
        if library in ("gevent", "eventlet"):
            raise LoadError(
                f"{library} must not replace {self.__name__}.{name}: applications run in threads"
                " here, between which its locks hang. Remove the monkey-patching (threads of"
                " python_thread_pool do what it is for), and reload nginx"
            )
        super().__setattr__(name, value)


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
