"""What an application wants called in a worker's life: at its start, and at its end.

Functions are registered while an application is imported, mostly. They count only if that import
succeeds: another attempt registers them again. `begin_import` and `end_import` are called on the
thread that imports; outside of an import a function counts at once.
"""

from __future__ import annotations

from _thread import allocate_lock, get_ident
from collections.abc import Callable
from typing import Any, TypeVar

from pywsgi import _callbacks

Function = TypeVar("Function", bound=Callable[[], Any])


def on_worker_start(function: Function) -> Function:
    """Has `function()` called once in each worker, before its first request: when the application
    whose import registers it has been imported, on the same thread (mostly Python's main thread).

    Outside of an import it is called at once. An exception is logged, and the worker starts all the
    same. `python_check` does not call it. Returns the function, so this can be a decorator.
    """
    _register(_starts, function)
    return function


def on_worker_exit(function: Function) -> Function:
    """Has `function()` called once as a worker exits, on Python's main thread: when its requests
    are over, before Python waits for threads and calls the functions of `atexit`; the last one
    registered first. Returns the function, so this can be a decorator.

    Not if the worker dies, or with `python_finalize off`.
    """
    _register(_exits, function)
    return function


def begin_import() -> None:
    """What this thread registers from now on counts if the import succeeds."""
    with _lock:
        _importing[get_ident()] = []


def end_import(succeeded: bool) -> None:
    """The import of `begin_import` is over: what it has registered counts, or is dropped."""
    with _lock:
        registered = _importing.pop(get_ident(), [])
    if succeeded:
        for kind, function in registered:
            kind(function)


def run_exits() -> None:
    """The worker exits."""
    while True:
        with _lock:
            if not _registered_exits:
                return
            function = _registered_exits.pop()
        _callbacks.run(function, f"on_worker_exit function {_name(function)}")


def _register(kind: Callable[[Any], None], function: Any) -> None:
    if not callable(function):
        raise TypeError(f"a function is needed, not {type(function).__name__}")
    with _lock:
        pending = _importing.get(get_ident())
        if pending is not None:
            pending.append((kind, function))
            return
    kind(function)


def _starts(function: Callable[[], Any]) -> None:
    _callbacks.run(function, f"on_worker_start function {_name(function)}")


def _exits(function: Callable[[], Any]) -> None:
    with _lock:
        _registered_exits.append(function)


def _name(function: Any) -> str:
    name = getattr(function, "__qualname__", None)
    if not isinstance(name, str):
        return repr(function)
    return f"{getattr(function, '__module__', None)}.{name}"


_lock = allocate_lock()
# What each thread that imports has registered, and in what way it is to count.
_importing: dict[int, list[tuple[Callable[[Any], None], Any]]] = {}
_registered_exits: list[Callable[[], Any]] = []
