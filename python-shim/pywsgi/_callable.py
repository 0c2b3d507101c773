"""Checks that the object a `wsgi_app` target names is a WSGI application, and explains why if it is
not."""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Sequence
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

from pywsgi._target import LoadError


def check(what: str, application: Any, factory: str = "") -> None:
    """Raises LoadError unless `application` can be called with environ and start_response.
    `factory` is how to write the target if it is a factory."""
    if not callable(application):
        raise LoadError(f"{what} is {kind_of(application)}, which cannot be called")
    function = application
    while isinstance(function, functools.partial):
        function = function.func
    is_class = issubclass(type(function), type)
    call = inspect.getattr_static(function if is_class else type(function), "__call__", None)
    # A partial may already bind some arguments.
    required, most = _arity(function) if function is application else _ANYTHING
    if _is_async(function) or _is_async(call) or required == 3:
        raise LoadError(f"{what} is an ASGI application; wsgi_app serves WSGI")
    if not required <= 2 <= most:
        hint = f"; if it makes the application, write {factory}" if factory and not required else ""
        raise LoadError(
            f"{what} cannot be called with the two arguments environ and start_response{hint}"
        )


def _is_async(value: Any) -> bool:
    try:
        return inspect.iscoroutinefunction(value)
    except Exception:  # An unbound proxy (flask.request outside a request).
        return False


def _arity(function: Any) -> tuple[int, float]:
    """The minimum and maximum number of positional arguments of a plain function or method.
    Does not use inspect.signature(), which follows __wrapped__ of decorators."""
    bound = 0
    # type(), not isinstance(): a proxy (werkzeug.local) would report the type of its object.
    if type(function) is MethodType:
        function, bound = function.__func__, 1
    if type(function) is not FunctionType:
        return _ANYTHING
    code = function.__code__
    most = code.co_argcount - bound
    required = max(most - len(function.__defaults__ or ()), 0)
    return required, float("inf") if code.co_flags & inspect.CO_VARARGS else most


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
    alike = [name for text in wanted for name in difflib.get_close_matches(text, own)]
    return list(dict.fromkeys(alike + own))[:_MOST_SUGGESTIONS]


_ANYTHING = (0, float("inf"))

_MOST_SUGGESTIONS = 8
