"""The application that a source names, as `wsgi_app` and `asgi_app` want it.

Nothing is imported: what the source leaves open is looked up in the module's text.
"""

from __future__ import annotations

import ast
import contextlib
import re
from pathlib import Path

from . import text_file
from .plan import ConversionError, Plan

# What asgi_app is for, by the names that a module imports or calls.
_ASGI_CLASSES = {
    "FastAPI",
    "Starlette",
    "Litestar",
    "Quart",
    "ProtocolTypeRouter",
    "BlackSheep",
    "get_asgi_application",
    "AsgiHandler",
    "ASGIApp",
    "WsgiToAsgi",
}


def target(place: str, callable_name: str | None = None, *, call: bool = False) -> str:
    """`module:callable`, with `()` for a factory."""
    if place.endswith(".py") and not place.startswith("/"):
        raise ConversionError(f"{place!r} must be an absolute path")
    if callable_name is None:
        return place
    return f"{place}:{callable_name}{'()' if call and not callable_name.endswith(')') else ''}"


def split(text: str) -> tuple[str, str | None]:
    """`module:callable` in two."""
    place, colon, name = text.partition(":")
    return place, name if colon and name else None


def source_of(plan: Plan, place: str) -> ast.Module | None:
    """The text of a module or a file, if it is there."""
    line = plan.http.find("python_path")
    folders = [Path(each) for each in line.arguments] if line else []
    relative = Path(place) if "/" in place or place.endswith(".py") else None
    for folder in [*folders, plan.folder]:
        base = folder / (relative or place.replace(".", "/"))
        for file in (base,) if relative else (base.with_suffix(".py"), base / "__init__.py"):
            with contextlib.suppress(ConversionError, SyntaxError, ValueError, RecursionError):
                return text_file.tree(text_file.read(file), file)
    return None


def protocol_of(plan: Plan, place: str, name: str | None, default: str = "wsgi") -> str:
    """wsgi or asgi, by what the module's text says; the default if it does not tell."""
    if re.search(r"(?:^|[./_])asgi(?:\.py)?$", place):
        default = "asgi"
    elif re.search(r"(?:^|[./_])wsgi(?:\.py)?$", place):
        default = "wsgi"
    tree = source_of(plan, place)
    wanted = {name} if name else {"application", "app"}
    for node in tree.body if tree is not None else []:
        if isinstance(node, ast.AsyncFunctionDef) and node.name in wanted:
            return "asgi"
        if isinstance(node, ast.FunctionDef) and node.name in wanted and len(node.args.args) == 2:
            return "wsgi"
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
            called = ast.unparse(node.value.func).rpartition(".")[2]
            if {ast.unparse(each) for each in node.targets} & wanted:
                if called in _ASGI_CLASSES:
                    return "asgi"
                if called in ("Flask", "Bottle", "get_wsgi_application"):
                    return "wsgi"
    return default


def callable_in(plan: Plan, place: str, names: tuple[str, ...]) -> str | None:
    """The first of these names that a module's top level defines."""
    tree = source_of(plan, place)
    if tree is None:
        return None
    defined: set[str] = set()
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            defined.add(node.name)
        elif isinstance(node, ast.Assign):
            defined |= {ast.unparse(each) for each in node.targets}
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            defined |= {alias.asname or alias.name for alias in node.names}
    return next((name for name in names if name in defined), None)
