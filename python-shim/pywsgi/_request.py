"""What an application can know about its request beyond environ: `environ["pywsgi.request"]`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol, TypeVar, runtime_checkable

_Callback = TypeVar("_Callback", bound=Callable[[], Any])


class ClientDisconnected(BaseException):
    """Raised in a thread whose client is gone, where `wsgi_client_abort cancel` asks for it.

    A BaseException, so that `except Exception` in the application does not keep it.
    """

    __module__ = "pywsgi"


@runtime_checkable
class Request(Protocol):
    """The type of `environ["pywsgi.request"]`.

    All of it may be used from any thread, for as long as the object is kept. A forked child is
    refused all but `id`, by RuntimeError: the request is its parent's.
    """

    @property
    def id(self) -> str:
        """Names the request: the worker's process, the connection, the request's number on it.

        nginx says the same as `$pid-$connection-$connection_requests`, and the connection's number
        as `*NUMBER` in its error log.
        """

    @property
    def disconnected(self) -> bool:
        """Is there nobody left who waits for the response?

        Because the client is gone, or because it has been answered without the application
        (`wsgi_timeout`, `python_drain_timeout`). Never true with `wsgi_client_abort ignore` before
        nginx has tried in vain to send something.
        """

    @property
    def deadline(self) -> float | None:
        """When `wsgi_timeout` will be over, on the clock of `time.monotonic()`; None without one.

        It moves on while the application waits for the client, which is not its own time.
        """

    def on_disconnect(self, callback: _Callback) -> _Callback:
        """Has `callback()` called once if `disconnected` becomes true while the application runs.

        At once, on a thread for that; or, should the application end before that has come to it, by
        the application's own thread. So it may be called when the application has looked at
        `disconnected` itself and let go of what is to be cancelled: it cancels what is this
        request's alone. Where `disconnected` is true already it is called now, on this thread. What
        it raises goes to the error log. Returns `callback`, so that it can be used as a decorator.
        """

    def after_response(self, callback: _Callback) -> _Callback:
        """Has `callback()` called when the response is over, on one of the application's threads.

        That is when the client has all of it and its connection is free for the next request; or
        when the client has left, which `disconnected` tells. A worker that exits waits for it, for
        up to `python_drain_timeout`. What it raises goes to the error log. Returns `callback`.
        """

    def send_trailers(self, fields: Iterable[tuple[str, str]]) -> None:
        """Sets the trailer fields that follow the body (RFC 9110, 6.5).

        They can be set until the application has yielded its last block. HTTP/1.0 has none;
        HTTP/1.1 has them with a chunked body alone, which a response becomes that has the header
        `Trailer`, or whose trailers are set before its head is sent.
        """
