"""The package that applications in nginx's pywsgi module can import.

Inside nginx it is built into `ngx_http_pywsgi_module.so`, and nothing has to be installed. Outside
nginx (a development server, a test run, a type checker) install it with pip; `LogHandler` then
writes to standard error.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pywsgi._hooks import (
        FinishedRequest,
        on_request_finished,
        on_worker_exit,
        on_worker_start,
        restart_worker,
    )
    from pywsgi._records import LogHandler
    from pywsgi._request import ClientDisconnected, Request, RequestTimeout
    from pywsgi._status import status
    from pywsgi._target import LoadError
    from pywsgi._violation import ValidationError

__all__ = [
    "ClientDisconnected",
    "FinishedRequest",
    "LoadError",
    "LogHandler",
    "Request",
    "RequestTimeout",
    "ValidationError",
    "__version__",
    "on_request_finished",
    "on_worker_exit",
    "on_worker_start",
    "restart_worker",
    "status",
]

__version__ = "0.1.0"

# Imported when it is used: the command `pywsgi` needs none of it.
_PLACES = {
    "ClientDisconnected": "_request",
    "FinishedRequest": "_hooks",
    "LoadError": "_target",
    "LogHandler": "_records",
    "Request": "_request",
    "RequestTimeout": "_request",
    "ValidationError": "_violation",
    "on_request_finished": "_hooks",
    "on_worker_exit": "_hooks",
    "on_worker_start": "_hooks",
    "restart_worker": "_hooks",
    "status": "_status",
}

if not TYPE_CHECKING:

    def __getattr__(name):
        if name not in _PLACES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        value = getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
        globals()[name] = value
        return value

    def __dir__():
        return sorted({*globals(), *__all__})
