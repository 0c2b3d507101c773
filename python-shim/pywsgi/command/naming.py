"""Which application is meant: the ways in which gunicorn, uvicorn, Flask and FastAPI name one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

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
    try:
        if target is None:
            target = environ.get("FLASK_APP") or _fastapi_entrypoint(folder)
        return _named(target, folder) if target is not None else _in_folder(folder)
    except OSError as error:
        # Such as a folder that may not be searched, or a name that is too long for one.
        raise LoadError(f"{error.filename}: {error.strerror}") from None


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
