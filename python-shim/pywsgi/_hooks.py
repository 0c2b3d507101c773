"""What an application wants called in a worker's life: at its start, at its end, and after each
request.

Functions are registered while an application is imported, mostly. They count only if that import
succeeds: another attempt registers them again. `begin_import` and `end_import` are called on the
thread that imports; outside of an import a function counts at once.
"""

from __future__ import annotations

import functools
import time
from _thread import allocate_lock, get_ident, start_new_thread
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from pywsgi import _callbacks
from pywsgi._log import log
from pywsgi._threads import enter

Function = TypeVar("Function", bound=Callable[[], Any])


class FinishedRequest:
    """A request that is over: what `on_request_finished` passes. Times are in seconds."""

    __slots__ = (
        "aborted",
        "application",
        "application_time",
        "begun",
        "exception",
        "gil_wait_time",
        "headers",
        "id",
        "input_time",
        "method",
        "queue_time",
        "response_bytes",
        "response_time",
        "status",
        "timed_out",
        "uri",
    )

    #: As `pywsgi.Request.id`, and `$pid-$connection-$connection_requests` in a log.
    id: str
    #: The target of wsgi_app or asgi_app.
    application: str
    method: str
    #: The request target as the client has sent it, with the query.
    uri: str
    #: By names in lower case; the values of repeated ones are joined by ", ".
    headers: dict[str, str]
    #: None: the client was gone before there was a response.
    status: int | None
    #: How much of the response's body nginx has sent.
    response_bytes: int
    #: When nginx had the request, in seconds since 1970.
    begun: float
    #: From then until a thread or a loop took it.
    queue_time: float
    #: From then until the application had returned, for ASGI until its task ended; None: it was
    #: not called.
    application_time: float | None
    #: How long its thread waited for the GIL, as far as that is known; None for ASGI.
    gil_wait_time: float | None
    #: For how long the request's body was waited for.
    input_time: float
    #: From `begun` until the client had all of the response.
    response_time: float
    #: The name of the type of what the application has raised.
    exception: str | None
    #: The client left, or was too slow, before it had the whole response.
    aborted: bool
    #: It was answered 504, or cut, by wsgi_timeout or asgi_timeout.
    timed_out: bool

    def __init__(
        self, method: bytes, uri: bytes, fields: Iterable[tuple[bytes, bytes]], **others: Any
    ) -> None:
        self.method, self.uri = method.decode("latin-1"), uri.decode("latin-1")
        headers: dict[str, str] = {}
        for field, value in fields:
            name, text = field.decode("latin-1").lower(), value.decode("latin-1")
            headers[name] = f"{headers[name]}, {text}" if name in headers else text
        self.headers = headers
        for each, other in others.items():
            setattr(self, each, other)

    def __repr__(self) -> str:
        return f"<FinishedRequest {self.method} {self.uri} {self.status}>"


Listener = TypeVar("Listener", bound=Callable[[FinishedRequest], Any])


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


def on_request_finished(function: Listener) -> Listener:
    """Has `function(request)` called after each request of the worker that was handed to an
    application, when the client has all of the response and the application has returned.

    It is called on a thread of its own, one request after another, so it delays no request; if it
    is too slow, requests are left out, and the log says so. An exception is logged. Returns the
    function, so this can be a decorator.
    """
    _register(_listens, function)
    return function


def restart_worker() -> None:
    """Has this worker replaced, as python_max_requests does: it finishes its requests, exits, and
    nginx starts another one. Never two workers of one nginx leave at a time. Returns at once.

    Raises RuntimeError in a forked child, and outside of nginx.
    """
    if not _ask_for_restart():
        raise RuntimeError("this process is not an nginx worker")


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


def end_reports() -> None:
    """The worker exits: waits until the functions have been called for its last requests."""
    _end_finished()
    with _reporting:
        pass


def _report() -> None:
    """The thread that calls the functions of `on_request_finished`."""
    try:
        enter("py-finished")
        said = 0.0
        while True:
            found = _next_finished()
            if found is None:
                return
            request = FinishedRequest(**found)
            for function in tuple(_listeners):
                what = f"on_request_finished function {_name(function)}"
                _callbacks.run(functools.partial(function, request), what)
            now = time.monotonic()
            if now - said > _SAY_AGAIN and (dropped := _dropped_finished()):
                said = now
                log(
                    "FinishedDropped",
                    f"{dropped} requests were not passed to the functions of on_request_finished,"
                    " which take too long",
                )
    finally:
        _reporting.release()


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


def _listens(function: Callable[[FinishedRequest], Any]) -> None:
    with _lock:
        _listeners.append(function)
        if len(_listeners) > 1:
            return
        _want_finished()
        _reporting.acquire()
        try:
            start_new_thread(_report, ())
        except BaseException:
            _listeners.clear()
            _reporting.release()
            raise


def _name(function: Any) -> str:
    name = getattr(function, "__qualname__", None)
    if not isinstance(name, str):
        return repr(function)
    return f"{getattr(function, '__module__', None)}.{name}"


_lock = allocate_lock()
# What each thread that imports has registered, and in what way it is to count.
_importing: dict[int, list[tuple[Callable[[Any], None], Any]]] = {}
_registered_exits: list[Callable[[], Any]] = []
_listeners: list[Callable[[FinishedRequest], Any]] = []
# Held by the thread that calls them.
_reporting = allocate_lock()
# Between two lines about requests that were left out, in seconds.
_SAY_AGAIN = 60.0


def _nothing() -> None:
    pass


_want_finished: Callable[[], None]
_next_finished: Callable[[], dict[str, Any] | None]
_dropped_finished: Callable[[], int]
_end_finished: Callable[[], None]
_ask_for_restart: Callable[[], bool]
try:
    from _pywsgi import dropped_finished as _dropped_finished
    from _pywsgi import end_finished as _end_finished
    from _pywsgi import next_finished as _next_finished
    from _pywsgi import restart_worker as _ask_for_restart
    from _pywsgi import want_finished as _want_finished
except ImportError:  # Outside nginx: no request is ever reported.
    _want_finished = _end_finished = _nothing
    _next_finished = _nothing
    _dropped_finished = int
    _ask_for_restart = bool
