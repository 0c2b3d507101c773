"""All applications of an nginx share one interpreter, which has one module of each name. This finds
an application's own module that another application's of the same name hides from it: `config.py`
beside the one `wsgi.py`, and `config.py` beside the other.
"""

from __future__ import annotations

import builtins
import contextlib
import importlib
import importlib.machinery
import os
import sys
import types

# An application may put greenlets in the place of threads (gevent.monkey): these are the threads.
from _thread import allocate_lock, get_ident
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from typing import Any

from pywsgi._failure import chain, directory_of, is_installed, is_under
from pywsgi._target import Target


def folders_of(target: Target, added: Container[str]) -> list[str]:
    """Where an application's own top-level modules lie: beside its file, and in the entries of
    sys.path that hold it, but for those that were `added` for the file of an application. Not where
    packages are installed, which are for all."""
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
    """The names of modules that an application has and another one has as well, and which of them
    its import asks for."""

    def __init__(self, application: str, own: list[str], others: Mapping[str, str]) -> None:
        """`others`: the folders of the other applications, and whose they are."""
        self._application = application
        self._folders = own
        self._others = {folder: name for folder, name in others.items() if folder not in own}
        foreign: set[str] = set().union(*map(_names_in, self._others))
        # The contested names, and the folders of this application that have them.
        self._places: dict[str, str] = {}
        for folder in own:
            for name in _names_in(folder) & foreign:
                if _spec_in(folder, name) is not None:
                    self._places.setdefault(name, folder)
        self._asked: set[str] = set()

    @contextlib.contextmanager
    def noting(self) -> Iterator[None]:
        """Notes what this thread imports meanwhile, even if it is in sys.modules already."""
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
        """The import asks for a module; `importer` is the file of the code that does."""
        name = module.partition(".")[0]
        if name in self._places and not self._is_foreign(importer):
            self._asked.add(name)

    def spec(self, name: str) -> importlib.machinery.ModuleSpec | None:
        """Its own module of a contested name, whatever is first on sys.path."""
        folder = self._places.get(name)
        return None if folder is None else _spec_in(folder, name)

    def refusal(self) -> str:
        """What to say if a module of another application was found instead, or nothing."""
        found = [(name, *there) for name in sorted(self._asked) if (there := self._instead(name))]
        if not found:
            return ""
        name, file, owner = found[0]
        more = ", ".join(repr(name) for name, *_ in found[1:_MOST_NAMES])
        return (
            f"{self._application} imports {name!r}, which should be its own {self._own_file(name)},"
            f" and gets {file} of {owner}{f' (likewise {more})' if more else ''}: all applications"
            " of an nginx share one interpreter, which has one module of each name. Rename one of"
            " the two, move them into packages of different names, or run another nginx for one of"
            " the applications"
        )

    def _own_file(self, name: str) -> str:
        spec = self.spec(name)
        # It may have been removed since.
        return spec.origin if spec is not None and spec.origin else self._places[name]

    def _instead(self, name: str) -> tuple[str, str] | None:
        """The module that the name stands for, if it is of another application: its file, and the
        application."""
        file = getattr(sys.modules.get(name), "__file__", None)
        if not isinstance(file, str):
            return None
        folder = os.path.dirname(os.path.realpath(file))
        if os.path.basename(file).startswith("__init__."):
            folder = os.path.dirname(folder)
        owner = self._others.get(folder)
        return None if owner is None else (file, owner)

    def _is_foreign(self, file: object) -> bool:
        """Code of the other application, which this one imports, means that one's modules."""
        if not isinstance(file, str):
            return False
        file = os.path.realpath(file)

        def holds(folders: Iterable[str]) -> bool:
            return any(is_under(folder, file) for folder in folders)

        return holds(self._others) and not holds(self._folders)


def own_spec(name: str) -> importlib.machinery.ModuleSpec | None:
    """The module that the application which this thread imports has, if another one has a module of
    that name as well."""
    hidden = _noting.get(get_ident())
    return None if hidden is None else hidden.spec(name)


def conceal(function: Any) -> Any:
    """Marks a function that is in the place of another one, for drop_own_frames()."""
    # A module's warnings.warn(stacklevel=2) is about who imports it: frames of such a name are not
    # counted (warnings._is_internal_frame()).
    function.__code__ = function.__code__.replace(co_filename=_CODE_NAME)
    return function


def drop_own_frames(error: BaseException) -> None:
    """Takes the frames of concealed functions out of the tracebacks of an import."""
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
    """The names that modules in a folder may have."""
    try:
        entries = os.listdir(folder)
    except OSError:
        return set()
    return {name for name in (entry.partition(".")[0] for entry in entries) if name.isidentifier()}


def _spec_in(folder: str, name: str) -> importlib.machinery.ModuleSpec | None:
    spec = importlib.machinery.PathFinder.find_spec(name, [folder])
    # Not a folder of that name without an __init__.py.
    return spec if spec is not None and spec.has_location else None


def _note(module: Any, importer: dict[str, Any]) -> None:
    hidden = _noting.get(get_ident())
    if hidden is not None and isinstance(module, str):
        hidden.note(module, importer.get("__file__"))


def _hook() -> None:
    """Python's own import statement does not look for what is in sys.modules, so that a finder
    does not learn of it."""
    # Set again each time: what a library has put over an earlier one calls that one still.
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

# The imports that run now, by their threads.
_noting: dict[int, Hidden] = {}
_lock = allocate_lock()
# Module, attribute, what is there now, and what was there before.
_hooks: list[tuple[types.ModuleType, str, Callable[..., Any], Callable[..., Any]]] = []
