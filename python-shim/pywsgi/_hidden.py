"""Applications of one process share an interpreter, in which a module name exists only once. This
detects that an application got another application's module instead of its own of the same name:
two applications that each have a `config.py` beside their `wsgi.py`.
"""

from __future__ import annotations

import builtins
import contextlib
import importlib
import importlib.machinery
import os
import sys
import types

# gevent.monkey may replace these in `threading`; here they are always those of threads.
from _thread import allocate_lock, get_ident
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from typing import Any

from pywsgi._failure import chain, directory_of, is_installed, is_under
from pywsgi._target import Target


def folders_of(target: Target, added: Container[str]) -> list[str]:
    """The folders of an application's own top-level modules: the folder of its file, and the
    entries of sys.path that contain it, except those `added` for an application's file. Not the
    folders of installed packages, which all applications share."""
    directory = directory_of(target)
    entries = [entry for entry in sys.path if isinstance(entry, str) and entry not in added]
    holders = [
        entry
        for entry in entries
        if target.is_file and is_under(os.path.abspath(entry), target.place)
    ]
    folders = [folder for folder in [directory, *holders] if folder is not None]
    own = [os.path.realpath(folder) for folder in folders]
    return list(dict.fromkeys(f for f in own if not is_installed(os.path.join(f, ""))))


class Hidden:
    """Module names that both this application and another one have, and which of them its import
    requests."""

    def __init__(self, application: str, own: list[str], others: Mapping[str, str]) -> None:
        """`others`: the folders of the other applications, and their names."""
        self._application = application
        self._folders = own
        self._others = {folder: name for folder, name in others.items() if folder not in own}
        foreign: set[str] = set().union(*map(_names_in, self._others))
        # The names in conflict, and this application's folder for each.
        self._places: dict[str, str] = {}
        for folder in own:
            for name in _names_in(folder) & foreign:
                if _spec_in(folder, name) is not None:
                    self._places.setdefault(name, folder)
        self._asked: set[str] = set()

    @contextlib.contextmanager
    def noting(self) -> Iterator[None]:
        """Records what this thread imports, even if it is already in sys.modules."""
        if not self._places:
            yield
            return
        with _lock:
            _noting[get_ident()] = self
            if len(_noting) == 1:
                _hook()
        try:
            yield
        finally:
            with _lock:
                del _noting[get_ident()]
                if not _noting:
                    _unhook()

    def note(self, module: str, importer: object = None) -> None:
        """The import requests a module; `importer` is the file of the importing code."""
        name = module.partition(".")[0]
        if name in self._places and not self._is_foreign(importer):
            self._asked.add(name)

    def spec(self, name: str) -> importlib.machinery.ModuleSpec | None:
        """The application's own module of a name in conflict, whatever is first on sys.path."""
        folder = self._places.get(name)
        return None if folder is None else _spec_in(folder, name)

    def refusal(self) -> str:
        """The error message if a module of another application was found instead, or ""."""
        found = [(name, *there) for name in sorted(self._asked) if (there := self._instead(name))]
        if not found:
            return ""
        name, file, owner = found[0]
        more = ", ".join(repr(name) for name, *_ in found[1:_MOST_NAMES])
        return (
            f"{self._application} imports {name!r}, which should be its own {self._own_file(name)},"
            f" but gets {file} of {owner}{f' (likewise {more})' if more else ''}: the"
            " applications of a process share one interpreter, in which a module name exists only"
            " once. Rename one of the two modules, move them into packages with different names, or"
            " give one of the applications a python_process of its own"
        )

    def _own_file(self, name: str) -> str:
        spec = self.spec(name)
        # The file may have been removed since.
        return spec.origin if spec is not None and spec.origin else self._places[name]

    def _instead(self, name: str) -> tuple[str, str] | None:
        """If the name is a module of another application: its file, and the application."""
        file = getattr(sys.modules.get(name), "__file__", None)
        if not isinstance(file, str):
            return None
        folder = os.path.dirname(os.path.realpath(file))
        if os.path.basename(file).startswith("__init__."):
            folder = os.path.dirname(folder)
        owner = self._others.get(folder)
        return None if owner is None else (file, owner)

    def _is_foreign(self, file: object) -> bool:
        """Whether the code belongs to another application: it may import that one's modules."""
        if not isinstance(file, str):
            return False
        file = os.path.realpath(file)

        def holds(folders: Iterable[str]) -> bool:
            return any(is_under(folder, file) for folder in folders)

        return holds(self._others) and not holds(self._folders)


def own_spec(name: str) -> importlib.machinery.ModuleSpec | None:
    """The own module of the application that this thread imports, if the name is in conflict."""
    hidden = _noting.get(get_ident())
    return None if hidden is None else hidden.spec(name)


def conceal(function: Any) -> Any:
    """Marks a function that replaces another one, for drop_own_frames()."""
    # A module's warnings.warn(stacklevel=2) is about its importer: frames with such a file name are
    # skipped (warnings._is_internal_frame()).
    function.__code__ = function.__code__.replace(co_filename=_CODE_NAME)
    return function


def drop_own_frames(error: BaseException) -> None:
    """Removes the frames of concealed functions from the tracebacks of an import."""
    for each in chain(error):
        entry = each.__traceback__
        while entry is not None:
            following = entry.tb_next
            while following is not None and following.tb_frame.f_code.co_filename == _CODE_NAME:
                following = following.tb_next
            if following is not entry.tb_next:
                entry.tb_next = following
            entry = following


def _names_in(folder: str) -> set[str]:
    """The possible module names in a folder."""
    try:
        entries = os.listdir(folder)
    except OSError:
        return set()
    return {name for name in (entry.partition(".")[0] for entry in entries) if name.isidentifier()}


def _spec_in(folder: str, name: str) -> importlib.machinery.ModuleSpec | None:
    spec = importlib.machinery.PathFinder.find_spec(name, [folder])
    # Not a folder without an __init__.py.
    return spec if spec is not None and spec.has_location else None


def _note(module: Any, importer: dict[str, Any]) -> None:
    hidden = _noting.get(get_ident())
    if hidden is not None and isinstance(module, str):
        hidden.note(module, importer.get("__file__"))


def _hook() -> None:
    """The import statement does not call finders for a module in sys.modules, so the import
    functions must be hooked."""
    # Read again each time: a library may have wrapped an earlier one, and still calls it.
    plain_import, plain_import_module = builtins.__import__, importlib.import_module

    def noted_import(
        name: str,
        globals: Any = None,
        locals: Any = None,
        fromlist: Any = (),
        level: int = 0,
    ) -> Any:
        if level == 0:
            _note(name, globals or {})
        return plain_import(name, globals, locals, fromlist, level)

    def noted_import_module(name: str, package: str | None = None) -> Any:
        if not name.startswith("."):
            _note(name, sys._getframe(1).f_globals)
        return plain_import_module(name, package)

    for module, attribute, function in (
        (builtins, "__import__", noted_import),
        (importlib, "import_module", noted_import_module),
    ):
        conceal(function)
        _hooks.append((module, attribute, function, getattr(module, attribute)))
        setattr(module, attribute, function)


def _unhook() -> None:
    while _hooks:
        module, attribute, function, plain = _hooks.pop()
        if getattr(module, attribute) is function:
            setattr(module, attribute, plain)


_CODE_NAME = "<pywsgi importlib _bootstrap>"

_MOST_NAMES = 8

# The running imports, by thread.
_noting: dict[int, Hidden] = {}
_lock = allocate_lock()
# Module, attribute, the hook, and the original function.
_hooks: list[tuple[types.ModuleType, str, Callable[..., Any], Callable[..., Any]]] = []
