"""Where the modules are that have been imported, for `python_reload watch`, and for `keep=on`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

from pywsgi._failure import is_installed


def new_folders() -> list[tuple[bytes, bool]]:
    """Those of the modules that have been imported since the last call, and whether they belong to
    Python or to an installed package."""
    names = set(sys.modules) - _seen
    _seen.update(names)
    return _folders(_files(names))


def all_modules() -> tuple[list[bytes], list[tuple[bytes, bool]]]:
    """The files of all modules, and their folders as `new_folders` gives them."""
    files = _files(set(sys.modules))
    return [_fsencode(file) for file in files if not file.endswith("/")], _folders(files)


def _files(names: set[str]) -> list[str]:
    return list(dict.fromkeys(file for name in names for file in _places(sys.modules.get(name))))


def _folders(files: list[str]) -> list[tuple[bytes, bool]]:
    folders = {_dirname(file): is_installed(file) for file in files}
    return [(_fsencode(folder), installed) for folder, installed in folders.items()]


def _places(module: object) -> Iterator[str]:
    """The module's file. For a namespace package (PEP 420), which has none, a name in each of its
    folders. Asks the module for nothing: that might import it (`__getattr__`)."""
    try:
        names = vars(module)
        file, path = names.get("__file__"), names.get("__path__", ())
        places = [file] if file is not None else [_join(folder, "") for folder in path]
    except TypeError:
        # Anything may stand in sys.modules.
        return
    yield from (place for place in places if isinstance(place, str) and _isabs(place))


_seen: set[str] = set()
_dirname, _fsencode, _isabs, _join = os.path.dirname, os.fsencode, os.path.isabs, os.path.join
