"""Which of an imported module's globals is the application, if none was named."""

from __future__ import annotations

import os
from collections.abc import Iterable
from types import ModuleType
from typing import Any

from pywsgi._callable import protocol_of
from pywsgi._signature import is_class, signature_of
from pywsgi._target import LoadError
from pywsgi.command.naming import USUAL_NAMES


def choose(module: ModuleType, factory: bool) -> str:
    """The expression for the application of a module, if none was named. Raises LoadError."""
    values = vars(module)
    if not factory:
        for name in USUAL_NAMES:
            if callable(values.get(name)) or _is_certain(values.get(name)):
                return name
        found = [name for name, value in values.items() if _is_application(name, value)]
        # Under several names, or imported from elsewhere: the same object.
        if len({id(values[name]) for name in found}) == 1:
            return found[0]
        if found:
            raise LoadError(
                f"{_file(module)} has several applications: name one, as"
                f" {_named_ones(module, found)}"
            )
    for name in _USUAL_FACTORIES:
        if callable(values.get(name)) and signature_of(values[name]).required == 0:
            return f"{name}()"
    own = [
        name
        for name, value in values.items()
        if not name.startswith("_")
        and callable(value)
        and getattr(value, "__module__", None) == module.__name__
    ]
    hint = f": name it, as {_named_ones(module, own[:3])}" if own else ""
    raise LoadError(
        f"{_file(module)} has no {'application' if not factory else 'function create_app'}{hint}"
    )


def _is_application(name: str, value: Any) -> bool:
    """Whether a module's global is an application, and not a class or a function for something
    else."""
    kind = type(value)
    if name.startswith("_") or is_class(value) or kind.__module__ in ("builtins", "typing"):
        return False
    return _is_certain(value)


def _is_certain(value: Any) -> bool:
    return callable(value) and protocol_of(value) is not None


def _named_ones(module: ModuleType, names: Iterable[str]) -> str:
    return " or ".join(f"{module.__name__}:{name}" for name in names)


def _file(module: ModuleType) -> str:
    file = getattr(module, "__file__", None)
    return os.path.relpath(file) if file else f"the module {module.__name__}"


_USUAL_FACTORIES = ("create_app", "make_app", "create_application", "get_application")
