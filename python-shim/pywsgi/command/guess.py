"""The protocol of an application, read in its source.

Importing an application twice, once to look at it and once in the worker, doubles the time to the
first answer. Most sources say it plainly: `app = FastAPI()`. If one does not, nothing is guessed.
"""

from __future__ import annotations

import ast
import contextlib
import os
from collections.abc import Iterator, Sequence
from typing import Union

from pywsgi.command.naming import USUAL_NAMES, Place

_Function = Union[ast.FunctionDef, ast.AsyncFunctionDef]


def guess(place: Place, path: Sequence[str]) -> tuple[str, str] | None:
    """The protocol, and the name of the application in its module; None if in doubt."""
    file = _source(place, [*path, *([place.folder] if place.folder else [])])
    if file is None:
        return None
    with contextlib.suppress(OSError, SyntaxError, ValueError):
        with open(file, "rb") as source:
            module = ast.parse(source.read(), file)
        known = _bindings(module)
        wanted = [place.expression] if place.expression else USUAL_NAMES
        for name in wanted:
            if name in known:
                protocol = known[name]
                return (protocol, name) if protocol else None
    return None


def _source(place: Place, path: Sequence[str]) -> str | None:
    if place.place.startswith("/"):
        return place.place
    parts = place.place.split(".")
    for folder in path:
        base = os.path.join(folder, *parts)
        for file in (f"{base}.py", os.path.join(base, "__init__.py")):
            if os.path.isfile(file):
                return file
        if os.path.exists(os.path.join(folder, parts[0])):
            # That package is the one that is imported.
            return None
    return None


def _bindings(module: ast.Module) -> dict[str, str | None]:
    """What each name of a module is bound to at last: a protocol, or None for anything else."""
    imported: dict[str, str] = {}
    found: dict[str, str | None] = {}
    for statement in module.body:
        if isinstance(statement, ast.Import):
            for each in statement.names:
                first = each.name.partition(".")[0]
                imported[each.asname or first] = each.name if each.asname else first
        elif isinstance(statement, ast.ImportFrom) and not statement.level:
            for each in statement.names:
                imported[each.asname or each.name] = f"{statement.module}.{each.name}"
        for name in bound(statement):
            found[name] = None
        if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef)):
            found[statement.name] = _of_function(statement)
        elif isinstance(statement, (ast.Assign, ast.AnnAssign)):
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            for target in targets:
                if isinstance(target, ast.Name):
                    found[target.id] = _of_value(statement.value, imported)
    return found


def bound(statement: ast.AST) -> Iterator[str]:
    """All names that a statement may bind, in its blocks too."""
    for node in ast.walk(statement):
        if isinstance(node, ast.Name) and isinstance(node.ctx, (ast.Store, ast.Del)):
            yield node.id
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.alias):
            yield node.asname or node.name.partition(".")[0]


def _of_function(function: _Function) -> str | None:
    names = [each.arg for each in (*function.args.posonlyargs, *function.args.args)]
    if function.decorator_list:
        return None
    if isinstance(function, ast.AsyncFunctionDef):
        return "asgi" if names == ["scope", "receive", "send"] else None
    return "wsgi" if names == ["environ", "start_response"] else None


def _of_value(value: ast.expr | None, imported: dict[str, str]) -> str | None:
    if not isinstance(value, ast.Call):
        return None
    attributes: list[str] = []
    function = value.func
    while isinstance(function, ast.Attribute):
        attributes.insert(0, function.attr)
        function = function.value
    if not isinstance(function, ast.Name) or function.id not in imported:
        return None
    return _KNOWN.get(".".join([imported[function.id], *attributes]))


_KNOWN = {
    "bottle.Bottle": "wsgi",
    "channels.routing.ProtocolTypeRouter": "asgi",
    "django.core.asgi.get_asgi_application": "asgi",
    "django.core.wsgi.get_wsgi_application": "wsgi",
    "falcon.App": "wsgi",
    "falcon.asgi.App": "asgi",
    "fastapi.FastAPI": "asgi",
    "flask.Flask": "wsgi",
    "litestar.Litestar": "asgi",
    "quart.Quart": "asgi",
    "starlette.applications.Starlette": "asgi",
}
