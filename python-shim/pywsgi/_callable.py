"""Checks that the object a target names is an application of the protocol that its location serves,
and explains why if it is not.

Nothing is called for that. If in doubt the object is accepted: its first request then shows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

from pywsgi._signature import (
    has_async_instances,
    is_async,
    is_class,
    signature_of,
    signature_of_instances,
)
from pywsgi._target import LoadError


def check(what: str, application: Any, protocol: str, factory: str = "") -> Callable[..., Any]:
    """Returns what the server calls. Raises LoadError unless `application` can be called as
    `protocol` ("wsgi" or "asgi") says.

    `factory` is how to write the target if it is a factory.
    """
    if not callable(application):
        raise LoadError(f"{what} is {kind_of(application)}, which cannot be called")
    own = protocol_of(application)
    if own is not None and own != protocol:
        name = "a WSGI" if own == "wsgi" else "an ASGI"
        raise LoadError(f"{what} is {name} application: use {own}_app instead of {protocol}_app")
    if protocol == "asgi" and is_double_callable(application):
        return single_callable(application)
    if not _can_be_called(application, protocol):
        needs_nothing = signature_of(application).required == 0
        hint = f"; if it makes the application, write {factory}"
        raise LoadError(
            f"{what} cannot be called with the {_ARGUMENTS[protocol]}"
            f"{hint if factory and needs_nothing else ''}"
        )
    return application  # type: ignore[no-any-return]


def protocol_of(application: Any) -> str | None:
    """The protocol that a callable certainly has: "wsgi", "asgi", or None if in doubt."""
    if any(_is_marked(application, mark) for mark in _MARKS) or is_async(application):
        return "asgi"
    signature = signature_of(application)
    first, second = (*signature.names, "", "")[:2]
    if first == "environ" or second == "start_response":
        return "wsgi"
    if first == "scope" or signature.required == 3:
        return "asgi"
    takes_only_two = signature.required == 2 == signature.most
    if not is_class(application):
        return "wsgi" if takes_only_two else None
    if has_async_instances(application) or hasattr(application, "__await__"):
        return "asgi"
    return "wsgi" if takes_only_two and hasattr(application, "__iter__") else None


def _can_be_called(application: Any, protocol: str) -> bool:
    signature = signature_of(application)
    if protocol == "wsgi":
        return signature.takes(2)
    # If all arguments have defaults it is a factory.
    wants_some = signature.required > 0 or signature.has_rest or is_async(application)
    return signature.takes(3) and wants_some


def is_double_callable(application: Any) -> bool:
    """Whether `application(scope)` gives what is called with receive and send, as in ASGI 2.

    asgiref believes that of every callable that is not asynchronous. Here it must also be
    impossible to call it with three arguments.
    """
    single, double = (_is_marked(application, mark) for mark in _MARKS)
    if single or double:
        return not single
    if is_async(application):
        return False
    signature = signature_of(application)
    if not is_class(application):
        return signature.required == 1 == signature.most
    if hasattr(application, "__await__"):
        return False
    instances = signature_of_instances(application)
    return instances is not None and signature.takes(1) and instances.takes(2)


def single_callable(application: Callable[[Any], Any]) -> Callable[..., Any]:
    """The double callable as one of ASGI 3."""

    async def call(scope: Any, receive: Any, send: Any) -> None:
        await application(scope)(receive, send)

    return call


def _is_marked(application: Any, mark: str) -> bool:
    try:
        return getattr(application, mark, False) is True
    except Exception:  # An unbound proxy (flask.request outside a request).
        return False


def kind_of(value: Any) -> str:
    kind = type(value).__name__
    return "None" if value is None else f"{'an' if kind[:1] in 'aeiou' else 'a'} {kind}"


def describe(module: ModuleType) -> str:
    return getattr(module, "__file__", None) or f"the module {module.__name__}"


def suggestions(module: ModuleType, wanted: Sequence[str]) -> list[str]:
    """The callables defined in a module; those with similar names first."""
    own = []
    for name, value in vars(module).items():
        kind = type(value)
        if name.startswith("_") or not callable(value) or kind is BuiltinFunctionType:
            continue
        if kind is FunctionType or issubclass(kind, type):
            if value.__module__ == module.__name__:
                own.append(name)
        elif kind.__module__ not in ("typing", "werkzeug.local"):
            own.append(name)
    import difflib

    alike = [name for text in wanted for name in difflib.get_close_matches(text, own)]
    return list(dict.fromkeys(alike + own))[:_MOST_SUGGESTIONS]


_MOST_SUGGESTIONS = 8

# asgiref's, of applications that it cannot tell: single, double.
_MARKS = ("_asgi_single_callable", "_asgi_double_callable")

_ARGUMENTS = {
    "wsgi": "two arguments environ and start_response",
    "asgi": "three arguments scope, receive and send",
}
