"""Imports the file of an application, with any suffix, under its own name if that is free."""

from __future__ import annotations

import contextlib
import importlib
import importlib.machinery
import importlib.util
import keyword
import os
import re
import sys

# gevent.monkey may replace these in `threading`; here they are always those of threads.
from _thread import allocate_lock, get_ident
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType
from typing import Any

from pywsgi._hidden import own_spec
from pywsgi._target import LoadError


class Finder:
    """Imports applications' files under the names chosen for them, and records which modules an
    import has begun to import before it failed.

    It stays in sys.meta_path: importlib.reload() and later imports find the file here.
    """

    def __init__(self) -> None:
        self.files: dict[str, str] = {}
        # The folders that were put on sys.path for these files.
        self.folders: set[str] = set()
        # Called after a module of that name has been imported.
        self.after: dict[str, Callable[[ModuleType], None]] = {}
        self._recording: dict[int, list[str]] = {}

    @contextlib.contextmanager
    def recording(self) -> Iterator[list[str]]:
        """The names of the modules that this thread begins to import. Other threads are ignored: a
        running application may import something at the same time."""
        if self not in sys.meta_path:
            sys.meta_path.insert(0, self)
        names = self._recording[get_ident()] = []
        try:
            yield names
        finally:
            del self._recording[get_ident()]

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        names = self._recording.get(get_ident())
        if names is not None:
            names.append(name)
        file = self.files.get(name)
        if file is None and name in self.after:
            spec = importlib.machinery.PathFinder.find_spec(name, path)
            if spec is not None and spec.loader is not None:
                spec.loader = _Then(spec.loader, self.after[name])  # type: ignore[assignment]
            return spec
        if file is None:
            return own_spec(name) if path is None else None
        return importlib.util.spec_from_file_location(name, file, loader=_FileLoader(name, file))


class _Then:
    """Imports a module with its own loader, and then calls `after`.

    Not an `importlib.abc.Loader`, the import of which takes longer than all others here together.
    """

    def __init__(self, loader: Any, after: Callable[[ModuleType], None]) -> None:
        self._loader = loader
        self._after = after

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)  # type: ignore[no-any-return]

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        self._after(module)


class _FileLoader(importlib.machinery.SourceFileLoader):
    """Loads Python source from a file with any name, and does not cache bytecode: `app.py` and
    `app.wsgi` would share a bytecode file, and a file that is fixed within the same second at the
    same size would not be read again."""

    def path_stats(self, path: Any) -> Any:
        raise OSError("no bytecode")


def import_file(file: str) -> ModuleType:
    try:
        with open(file, "rb"):
            pass
    except OSError as error:
        raise LoadError(f"{file}: {error.strerror}") from None
    folder = os.path.dirname(file)
    # If two files are imported at the same time, only one may take a name.
    with _naming:
        name = _module_name(file)
        finder.files[name] = file
        if folder not in sys.path:
            finder.folders.add(folder)
            sys.path.insert(0, folder)
    return importlib.import_module(name)


def _module_name(file: str) -> str:
    """The stem if it is a valid module name and not taken; otherwise a name with a hash."""
    stem = os.path.splitext(os.path.basename(file))[0]
    plain = stem.isidentifier() and not keyword.iskeyword(stem) and not stem.startswith("__")
    if plain and not _is_taken(stem, file):
        return stem
    digest = importlib.util.source_hash(os.fsencode(file)).hex()[:8]
    return f"{re.sub(r'[^0-9A-Za-z_]', '_', stem)}_{digest}"


def _is_taken(name: str, file: str) -> bool:
    if name in sys.modules:
        other = getattr(sys.modules[name], "__file__", None)
        return not isinstance(other, str) or os.path.realpath(other) != os.path.realpath(file)
    if finder.files.get(name, file) != file:
        return True
    # sys.stdlib_module_names is new in Python 3.10.
    if name in sys.builtin_module_names or name in getattr(sys, "stdlib_module_names", ()):
        return True
    folder = os.path.realpath(os.path.dirname(file))
    elsewhere = [entry for entry in sys.path if os.path.realpath(entry) != folder]
    spec = importlib.machinery.PathFinder.find_spec(name, elsewhere)
    # A folder without an __init__.py does not count.
    return spec is not None and spec.origin is not None


finder = Finder()
_naming = allocate_lock()
