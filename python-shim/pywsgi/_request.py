"""The type of `environ["pywsgi.request"]`: information and callbacks that environ does not have."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol, TypeVar, runtime_checkable

_Callback = TypeVar("_Callback", bound=Callable[[], Any])


class ClientDisconnected(BaseException):
    """Raised in a thread whose client has disconnected, with `wsgi_client_abort cancel`.

    A BaseException, so that `except Exception` in the application does not catch it.
    """

    __module__ = "pywsgi"


class RequestTimeout(BaseException):
    """Raised in a thread whose request is long beyond `wsgi_timeout` (`wsgi_interrupt_timeout`).

    A BaseException, so that `except Exception` in the application does not catch it.
    """

    __module__ = "pywsgi"


@runtime_checkable
class Request(Protocol):
    """The type of `environ["pywsgi.request"]`.

    All of it may be used from any thread, at any time. In a forked child everything except `id`
    raises RuntimeError: the request belongs to the parent.
    """

    @property
    def id(self) -> str:
        """Identifies the request: the worker's process, the connection, the request's number on it.

        This is nginx's `$pid-$connection-$connection_requests`. The error log shows the
        connection's number as `*NUMBER`.
        """

    @property
    def disconnected(self) -> bool:
        """Whether nobody waits for the response any more.

        The client has disconnected, or has been answered without the application
        (`wsgi_timeout`, `python_drain_timeout`). With `wsgi_client_abort ignore` it becomes true
        only after nginx has failed to send something.
        """

    @property
    def deadline(self) -> float | None:
        """When `wsgi_timeout` expires, on the clock of `time.monotonic()`; None without a limit.

        It moves while the application waits for the client, because that time does not count.
        """

    def on_disconnect(self, callback: _Callback) -> _Callback:
        """Calls `callback()` once if `disconnected` becomes true while the application runs.

        It is called at once, on a separate thread; if the application ends first, on the
        application's own thread. So it may be called after the application has checked
        `disconnected` itself and released what the callback cancels: cancel only what belongs to
        this request alone. If `disconnected` is already true, it is called now, on this thread.
        Its exceptions are logged. Returns `callback`, so that it can be used as a decorator.
        """

    def after_response(self, callback: _Callback) -> _Callback:
        """Calls `callback()` after the response, on one of the application's threads.

        That is when the client has all of it and its connection is free for the next request, or
        when the client has disconnected (check `disconnected`). An exiting worker waits for it, up
        to `python_drain_timeout`. Its exceptions are logged. Returns `callback`.
        """

    def send_trailers(self, fields: Iterable[tuple[str, str]]) -> None:
        """Sets the trailer fields that follow the body (RFC 9110, 6.5).

        They can be set until the application has yielded its last block. HTTP/1.0 has no trailers.
        HTTP/1.1 has them only with a chunked body: a response is sent chunked if it has a `Trailer`
        header, or if its trailers are set before its header is sent.
        """
