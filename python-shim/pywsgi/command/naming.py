"""Which application is meant: the ways in which gunicorn, uvicorn, Flask and FastAPI name one."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from pywsgi._callable import protocol_of
from pywsgi._signature import is_class, signature_of
from pywsgi._target import LoadError


class Place(NamedTuple):
    """Where an application is: a file's absolute path or a module's name, and the callable in it if
    that has been named."""

    place: str
    expression: str | None
    # The folder that a module is imported from, if it is not on the path anyway.
    folder: str | None = None

    def target(self, expression: str) -> str:
        """As the directives wsgi_app and asgi_app take it."""
        return f"{self.place}:{expression}"


def locate(target: str | None, directory: str, environ: Mapping[str, str]) -> Place:
    """The place that was typed, or the one that belongs to a folder without further words.

    Raises LoadError.
    """
    folder = Path(directory)
    if target is None:
        named = environ.get("FLASK_APP") or _fastapi_entrypoint(folder)
        return _named(named, folder) if named else _in_folder(folder)
    return _named(target, folder)


def _named(target: str, folder: Path) -> Place:
    if (folder / target).is_dir() and "." not in target.strip("./"):
        package = (folder / target / "__init__.py").exists()
        if "/" in target or target == "." or not package:
            return _in_folder(folder / target)
    place, expression = _split(target, folder)
    path = folder / place
    if path.is_file():
        return _of_file(path.resolve(), expression)
    if "/" in place or place.endswith(".py"):
        raise LoadError(f"there is no file {place}")
    return Place(place, expression)


def _split(target: str, folder: Path) -> tuple[str, str | None]:
    """At the first colon that is followed by a name: arguments of a factory contain colons."""
    if (folder / target).is_file():
        return target, None
    match = re.fullmatch(r"(.+?):(\s*[^\W\d].*)", target, re.DOTALL)
    if match is None:
        return target.rstrip(":"), None
    return match[1], match[2].strip()


def _of_file(path: Path, expression: str | None) -> Place:
    """A file of a package is imported as a module of it, so that its relative imports work."""
    if path.suffix != ".py" or not (path.parent / "__init__.py").exists():
        return Place(str(path), expression)
    names = [] if path.stem == "__init__" else [path.stem]
    folder = path.parent
    while (folder / "__init__.py").exists():
        names.insert(0, folder.name)
        folder = folder.parent
    if not all(name.isidentifier() for name in names):
        return Place(str(path), expression)
    return Place(".".join(names), expression, str(folder))


def _in_folder(folder: Path) -> Place:
    if (folder / "manage.py").is_file():
        for name in ("wsgi.py", "asgi.py"):
            for file in sorted(folder.glob(f"*/{name}")):
                return Place(f"{file.parent.name}.{file.stem}", None, str(folder.resolve()))
    for name in _USUAL_FILES:
        if (folder / name).is_file():
            return _of_file((folder / name).resolve(), None)
    where = "here" if folder == Path() or folder == Path.cwd() else f"in {folder}"
    raise LoadError(
        f"there is no application {where} ({', '.join(_USUAL_FILES[:4])}, manage.py): name it, as"
        " app.py, app:app or shop.main:app"
    )


def _fastapi_entrypoint(folder: Path) -> str | None:
    """`entrypoint` of `[tool.fastapi]` in pyproject.toml."""
    try:
        text = (folder / "pyproject.toml").read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    section = re.search(r"^\[tool\.fastapi\]\s*$(.*?)(?=^\[|\Z)", text, re.MULTILINE | re.DOTALL)
    entry = section and re.search(
        r"""^entrypoint\s*=\s*["']([^"']+)["']""", section[1], re.MULTILINE
    )
    return entry[1] if entry else None


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


# Of Flask, of FastAPI's command, and of what others generate.
_USUAL_FILES = (
    "wsgi.py",
    "main.py",
    "app.py",
    "api.py",
    "asgi.py",
    "app/main.py",
    "app/app.py",
    "app/api.py",
    "src/main.py",
    "src/app.py",
)
USUAL_NAMES = ("application", "app", "api")
_USUAL_FACTORIES = ("create_app", "make_app", "create_application", "get_application")
