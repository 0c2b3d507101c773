"""The files involved in a failed import. When one of them changes, the import is retried."""

from __future__ import annotations

import contextlib
import importlib.machinery
import importlib.util
import os
import re
import stat
import sys
import time
import traceback
from collections.abc import Iterator
from types import ModuleType

from pywsgi._target import LoadError, Target

Signature = tuple[int, int, int]


def signature(file: str, since: int | None = None) -> Signature | None:
    """Changes when a file is written or replaced; None if there is no such file.

    A file that was written during the attempt (which began at `since`) may have been read before
    that: it gets a signature that no file has, so that it counts as changed.
    """
    try:
        status = os.stat(file)
    except (OSError, ValueError):
        return None
    changed = status.st_mtime_ns
    # Not times in the future (another machine's clock): they would cause a retry at each request.
    doubtful = since is not None and since <= changed <= time.time_ns()
    if doubtful and stat.S_ISREG(status.st_mode):
        return (-1, -1, -1)
    return (changed, status.st_size, status.st_ino)


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """The exception, its causes and contexts, and the members of exception groups."""
    pending, seen = [error], set()
    while pending:
        each = pending.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        pending += [each.__cause__, each.__context__]
        # Exception groups, new in Python 3.11. Other exceptions may have such an attribute too.
        group = getattr(each, "exceptions", ())
        if isinstance(group, tuple):
            pending += [inner for inner in group if isinstance(inner, BaseException)]


def is_of_the_files_alone(error: BaseException) -> bool:
    """Whether another attempt with the same files must fail again. Otherwise there may be an
    external reason: a database that does not answer, a folder that cannot be read."""
    if isinstance(error, LoadError):
        return error.__cause__ is None and error.__context__ is None
    return isinstance(error, SyntaxError)


def files_of(error: BaseException) -> Iterator[str]:
    """The files whose change may fix this one exception."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if not str(frame.f_globals.get("__name__")).startswith("pywsgi."):
            yield from _real(frame.f_code.co_filename)
    if isinstance(error, (SyntaxError, OSError)):
        yield from _real(error.filename)
    if isinstance(error, ImportError):
        # `from module import name`: the module without that name, or a submodule.
        yield from _real(error.path)
        missing = _CANNOT_IMPORT.match(str(error.msg))
        if missing and error.name:
            yield from candidates(f"{error.name}.{missing[1]}")
    if isinstance(error, ModuleNotFoundError) and error.name:
        yield from candidates(error.name)


def _real(file: object) -> Iterator[str]:
    # Not "<string>", "<frozen importlib._bootstrap>" and the like.
    if isinstance(file, str) and not file.startswith("<"):
        yield os.path.abspath(file)


def candidates(name: str) -> Iterator[str]:
    """All files that could be the module of that name."""
    package, _, last = name.rpartition(".")
    for folder in searched_folders(package):
        base = os.path.join(folder, last)
        yield base
        yield os.path.join(base, "__init__.py")
        for suffix in importlib.machinery.all_suffixes():
            yield base + suffix


def searched_folders(package: str) -> list[str]:
    """The folders that are searched for a package's modules, even if it has not been imported. For
    "", those of top-level modules."""
    if not package:
        return [os.path.abspath(entry) for entry in sys.path]
    known = getattr(sys.modules.get(package), "__path__", None)
    if known is not None:
        return [os.path.abspath(entry) for entry in known]
    parent, _, last = package.rpartition(".")
    return [os.path.join(folder, last) for folder in searched_folders(parent)]


def directory_of(target: Target) -> str | None:
    """The application's directory: that of its file, or the entry of sys.path that contains its
    package or module."""
    if target.is_file:
        return os.path.dirname(target.place)
    spec = importlib.machinery.PathFinder.find_spec(target.place.partition(".")[0])
    if spec is None:
        return None
    for folder in spec.submodule_search_locations or ():
        return os.path.dirname(folder)
    return os.path.dirname(spec.origin) if spec.origin else None


def is_under(directory: str | None, file: str) -> bool:
    return directory is not None and file.startswith(os.path.join(directory, ""))


def namespace_of(module: ModuleType) -> list[str]:
    """The folders of a namespace package (PEP 420), which has no file; else an empty list."""
    folders = getattr(module, "__path__", ())
    is_namespace = getattr(module, "__file__", None) is None
    return [str(folder) for folder in folders] if is_namespace else []


def places_of(module: ModuleType) -> list[str]:
    """The module's file, or the folders of a namespace package."""
    file = getattr(module, "__file__", None)
    return [file] if isinstance(file, str) else namespace_of(module)


def is_installed(file: str) -> bool:
    """Whether a file belongs to Python or to an installed package."""
    return file.startswith(_LIBRARIES) or "/site-packages/" in file or "/dist-packages/" in file


def drop_doubtful_bytecode(file: str) -> None:
    """CPython uses bytecode if the source's size and its time in whole seconds match: a file that
    is fixed within the same second would not be read again."""
    with contextlib.suppress(OSError, ValueError, NotImplementedError):
        if abs(time.time() - os.stat(file).st_mtime) < 2:
            os.unlink(importlib.util.cache_from_source(file))


_CANNOT_IMPORT = re.compile(r"cannot import name '(\w+)' from ")

# sysconfig's stdlib and platstdlib. It would import all variables of the Makefile.
_STDLIB = os.path.dirname(os.path.abspath(os.__file__))
_PLATSTDLIB = os.path.join(sys.exec_prefix, sys.platlibdir, os.path.basename(_STDLIB))
_LIBRARIES = tuple(os.path.join(folder, "") for folder in (_STDLIB, _PLATSTDLIB))
