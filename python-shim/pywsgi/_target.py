"""The target of `wsgi_app` or `asgi_app`: a file or a module, and the callable in it."""

from __future__ import annotations

import keyword
import os
import re
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import ast


class LoadError(ImportError):
    """A target of wsgi_app or asgi_app is wrong; the message is for the application's author."""


# Tracebacks show the name under which applications can import it.
LoadError.__module__ = "pywsgi"


class Target(NamedTuple):
    """`place[:expression]`: a file's absolute path or a module's name, and the callable in it."""

    place: str
    expression: str | None

    @property
    def is_file(self) -> bool:
        return self.place.startswith("/")

    @classmethod
    def split(cls, target: str) -> Target:
        # Split at the first colon that is followed only by a callable: a path and the arguments of
        # a factory may contain colons.
        match = None if os.path.exists(target) else _TARGET.fullmatch(target)
        place, expression = (match["place"], match["expression"]) if match else (target, None)
        return cls(os.path.normpath(place) if place.startswith("/") else place, expression)

    def check(self) -> None:
        """Raises LoadError if it cannot be the path of a file or the name of a module."""
        name, colon, rest = self.place.partition(":")
        if self.is_file:
            # A colon may be part of the path.
            name, colon, rest = self.place.rpartition(":")
            if os.path.exists(self.place) or not os.path.exists(name):
                return
        elif "/" in name or name.endswith(".py"):
            raise LoadError(f"{name!r} must be an absolute path, starting with a slash")
        elif not all(part.isidentifier() for part in name.split(".")):
            raise LoadError(f"{name!r} is neither an absolute path nor a module's name")
        if colon:
            raise LoadError(f"{rest!r} {_NOT_A_CALLABLE}")


class Reference(NamedTuple):
    """`NAME`, `NAME.NAME`, or either of them called with literal arguments."""

    text: str
    path: list[str]
    arguments: tuple[list[Any], dict[str, Any]] | None

    @classmethod
    def parse(cls, text: str) -> Reference:
        names = text.strip().split(".")
        if all(map(_is_name, names)):
            return cls(text, names, None)
        # Of a factory only: the import takes time.
        import ast

        try:
            node: ast.expr = ast.parse(text.strip(), mode="eval").body
        except (SyntaxError, ValueError):
            raise LoadError(f"{text!r} {_NOT_A_CALLABLE}") from None
        arguments = None
        if isinstance(node, ast.Call):
            positional = [_literal(text, argument) for argument in node.args]
            named: dict[str, Any] = {}
            for word in node.keywords:
                if word.arg is None:
                    raise LoadError(f"{text!r} {_NOT_A_CALLABLE}")
                named[word.arg] = _literal(text, word.value)
            arguments = (positional, named)
            node = node.func
        path: list[str] = []
        while isinstance(node, ast.Attribute):
            path.insert(0, node.attr)
            node = node.value
        if not isinstance(node, ast.Name):
            raise LoadError(f"{text!r} {_NOT_A_CALLABLE}")
        return cls(text, [node.id, *path], arguments)


def _is_name(text: str) -> bool:
    # Python normalizes others.
    return text.isascii() and text.isidentifier() and not keyword.iskeyword(text)


def _literal(text: str, node: ast.expr) -> Any:
    import ast

    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        raise LoadError(
            f"{text!r}: the arguments of a factory must be literals (numbers, strings, True, None,"
            f" lists, ...), and {ast.unparse(node)} is not"
        ) from None


_TARGET = re.compile(r"(?P<place>.+?)(?::(?P<expression>[^\W\d][\w.]*\s*(?:\(.*\))?))?", re.DOTALL)

_NOT_A_CALLABLE = "is not NAME, NAME.NAME or NAME(literal arguments)"
