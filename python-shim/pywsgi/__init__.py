"""The package that applications in nginx's pywsgi module can import.

Inside nginx it is built into `ngx_http_pywsgi_module.so`, and nothing has to be installed. Outside
nginx (a development server, a test run, a type checker) install it with pip; `LogHandler` then
writes to standard error.
"""

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
