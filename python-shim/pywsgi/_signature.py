"""How an object can be called, as far as that can be seen without calling it."""

from __future__ import annotations

import functools
import inspect
import sys
from types import CodeType, FunctionType, MethodType
from typing import Any, NamedTuple


class Signature(NamedTuple):
    """The number of positional arguments that a call needs and may have, and their names."""

    required: int
    most: float
    names: tuple[str, ...] = ()
    has_rest: bool = False

    def takes(self, arguments: int) -> bool:
        return self.required <= arguments <= self.most

    def bind(self, arguments: int) -> Signature:
        """What is left to give."""
        return Signature(
            max(self.required - arguments, 0),
            self.most - arguments,
            self.names[arguments:],
            self.has_rest,
        )


def signature_of(value: Any) -> Signature:
    """Not inspect.signature(), which follows `__wrapped__` of decorators, and believes in
    `__signature__`."""
    function, bound = _strip_partials(value)
    if bound is None:
        return UNKNOWN
    if is_class(function):
        own = _of_constructor(function)
    else:
        own = _of_function(function) or _of_function(_call_of(function)) or UNKNOWN
    return own.bind(bound)


def is_async(value: Any) -> bool:
    """Whether a call gives a coroutine for certain: of an object, its `__call__`."""
    function, _ = _strip_partials(value)
    if is_class(function):
        return False
    return _is_coroutine_function(function) or _is_coroutine_function(_call_of(function))


def signature_of_instances(kind: type) -> Signature | None:
    """How the instances of a class can be called; None if they cannot."""
    call = _static(kind, "__call__")
    if call is None:
        return None
    own = _of_function(call)
    return UNKNOWN if own is None else own.bind(1)


def has_async_instances(kind: type) -> bool:
    return _is_coroutine_function(_static(kind, "__call__"))


def is_class(value: Any) -> bool:
    # Not isinstance(): a proxy (werkzeug.local) would report the type of its object.
    return issubclass(type(value), type)


def _strip_partials(function: Any) -> tuple[Any, int | None]:
    """The function, and how many arguments it is given; None if some are given by name."""
    bound: int | None = 0
    while issubclass(type(function), functools.partial):
        known = bound is not None and not function.keywords
        bound = bound + len(function.args) if known and bound is not None else None
        function = function.func
    return function, bound


def _call_of(value: Any) -> Any:
    """The bound `__call__` of an object."""
    try:
        return value.__call__
    except Exception:  # An unbound proxy (flask.request outside a request).
        return None


def _is_coroutine_function(value: Any) -> bool:
    try:
        if inspect.iscoroutinefunction(value):
            return True
        # asyncio's mark, which Cython sets too.
        mark = getattr(sys.modules.get("asyncio.coroutines"), "_is_coroutine", None)
        return mark is not None and getattr(value, "_is_coroutine", None) is mark
    except Exception:  # An unbound proxy (flask.request outside a request).
        return False


def _of_function(value: Any) -> Signature | None:
    """That of a plain function or method, or of one that Cython has compiled; else None."""
    bound = 0
    if type(value) is MethodType:
        value, bound = value.__func__, 1
    if type(value) is not FunctionType and type(value).__name__ != "cython_function_or_method":
        return None
    code = value.__code__
    if not isinstance(code, CodeType):
        return None
    names = code.co_varnames[: code.co_argcount]
    required = len(names) - len(value.__defaults__ or ())
    has_rest = bool(code.co_flags & inspect.CO_VARARGS)
    most = float("inf") if has_rest else len(names)
    return Signature(required, most, names, has_rest).bind(bound)


def _of_constructor(kind: type) -> Signature:
    if _static(type(kind), "__call__") is not _static(type, "__call__"):
        return UNKNOWN
    init, new = _static(kind, "__init__"), _static(kind, "__new__")
    has_init = init is not _static(object, "__init__")
    has_new = new is not _static(object, "__new__")
    if not has_init and not has_new:
        return NOTHING
    own = _of_function(init if has_init else getattr(new, "__func__", new))
    return UNKNOWN if own is None or (has_init and has_new) else own.bind(1)


def _static(kind: type, name: str) -> Any:
    return inspect.getattr_static(kind, name, None)


NOTHING = Signature(0, 0)
# Whatever is asked, it may take it.
UNKNOWN = Signature(0, float("inf"), (), True)
