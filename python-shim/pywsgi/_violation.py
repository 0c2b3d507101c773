"""What `wsgi_debug validate` and `asgi_debug validate` raise."""

from __future__ import annotations

import functools
import sys
import types
from typing import Any, NoReturn


class ValidationError(AssertionError):
    """An application violates PEP 3333, or the specification of ASGI."""

    __module__ = "pywsgi"


def refuse(what: str, clause: str, place: str = "") -> NoReturn:
    """Raises for a call by the application; names the calling line, or `place`."""
    raise ValidationError(f"{what} ({clause}), in {place or caller()}")


def caller() -> str:
    """The application's line that has called the server."""
    frame = _calling_frame()
    return "?" if frame is None else f"{frame.f_code.co_filename}:{frame.f_lineno}"


def calling_module() -> str:
    """The name of the module that has called the server."""
    frame = _calling_frame()
    return "?" if frame is None else str(frame.f_globals.get("__name__"))


def _calling_frame() -> types.FrameType | None:
    frame: types.FrameType | None = sys._getframe(1)
    while frame is not None and str(frame.f_globals.get("__name__")).startswith("pywsgi."):
        frame = frame.f_back
    return frame


def definition(application: Any) -> str:
    """Where the application is defined, if that can be found."""
    function = application
    # Limited: some objects return another such object for every attribute.
    for _layer in range(100):
        if isinstance(function, functools.partial):
            function = function.func
        elif isinstance(function, types.MethodType):
            function = function.__func__
        elif hasattr(function, "__wrapped__"):
            function = function.__wrapped__
        elif isinstance(function, type):
            function = getattr(function, "__init__", None)
        elif hasattr(function, "__code__"):
            return f"{function.__code__.co_filename}:{function.__code__.co_firstlineno}"
        else:
            function = type(function).__call__
    return repr(application)


def shown(value: Any) -> str:
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 80 else text[:77] + '...'}"


# The header fields that a response may have once, if it is not a list (RFC 9110, 5.3). If repeated,
# nginx sends the first.
SINGLE = frozenset(
    (
        "accept-ranges",
        "content-type",
        "date",
        "etag",
        "expires",
        "last-modified",
        "location",
        "server",
        "x-accel-buffering",
        "x-accel-charset",
        "x-accel-expires",
        "x-accel-limit-rate",
        "x-accel-redirect",
    )
)
