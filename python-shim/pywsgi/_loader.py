"""`Application`: finds and imports what `wsgi_app` names, and says when a failure is worth another
try.

An application that does not import must cost nothing but its own locations: `load()` remembers the
files that the failure concerns, `changed()` says whether one of them differs, and the next `load()`
begins by forgetting the modules that the failed attempt had left behind.

`load()` runs on Python's main thread first, and after a failure on the thread of the request that
tries again; never twice at a time for one application. Several applications share one interpreter,
and may share modules: one that is broken must not take modules away from one that runs.
"""

from __future__ import annotations

import contextlib
import difflib
import functools
import hashlib
import importlib
import importlib.machinery
import importlib.util
import inspect
import keyword
import os
import re
import stat
import sys
import sysconfig
import threading
import time
import traceback
import weakref
from collections.abc import Iterator, Sequence
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any, Callable

from pywsgi._target import LoadError, Reference, Target


class Application:
    """One target of `wsgi_app`, and the names that are tried where it names no callable."""

    def __init__(self, target: str, callables: Sequence[str] = ("application", "app")) -> None:
        self._target = target
        self._callables = tuple(callables)
        self._directory: str | None = None
        # What the last failure concerns: its files, and the modules that it has left behind.
        self._watched: dict[str, _Signature | None] = {}
        self._left_behind: dict[str, ModuleType] = {}
        self._module = ""

    @property
    def name(self) -> str:
        """What to call the application in a line of log."""
        return self._target

    def load(self) -> Callable[..., Any]:
        """Imports the application and returns its callable.

        Raises LoadError where the target is at fault, and otherwise whatever the application's own
        code raises; SystemExit and KeyboardInterrupt become LoadError, since they would end more
        than the application.
        """
        self._forget()
        importlib.invalidate_caches()
        started = time.time_ns()
        with _finder.recording() as imported:
            try:
                application = self._load(imported)
            except BaseException as error:
                self._remember(error, imported, started)
                advice = self._advice(error)
                if advice:
                    raise LoadError(advice) from error
                raise
        self._watched.clear()
        _failed.discard(self)
        for other in list(_failed):
            other._leave_to(self)
        return application

    def changed(self) -> bool:
        """Whether a file that the last failure concerns differs from what it was then."""
        return any(_signature(path) != then for path, then in self._watched.items())

    # Loading.

    def _load(self, imported: Sequence[str]) -> Callable[..., Any]:
        target = Target.split(self._target)
        target.check()
        self._directory = _directory(target)
        if target.is_file:
            module = _import_file(target.place)
        else:
            module = importlib.import_module(target.place)
        self._module = module.__name__
        wanted = (target.expression,) if target.expression else self._callables
        reference, found = self._find(module, wanted, fresh=module.__name__ in imported)
        if reference.arguments is not None:
            return self._create(reference, found)
        _check(repr(reference.text), found, factory=f"{reference.text}()")
        return found  # type: ignore[no-any-return]

    def _find(
        self, module: ModuleType, wanted: Sequence[str], fresh: bool
    ) -> tuple[Reference, Any]:
        missing: AttributeError | None = None
        for text in wanted:
            reference = Reference.parse(text)
            try:
                return reference, functools.reduce(getattr, reference.path, module)
            except AttributeError as error:
                # One that code of the application has raised (a property, a module's __getattr__)
                # is worth its traceback.
                missing = error if error.__traceback__ and error.__traceback__.tb_next else None
        message = f"{_describe(module)} has no {' or '.join(map(repr, wanted))}"
        names = _suggestions(module, wanted)
        message += f"; it has {', '.join(names)}" if names else "; it has no callable at all"
        if not fresh:
            message += (
                " (another application has imported the module before: a change of it takes effect"
                " when nginx is reloaded)"
            )
        raise LoadError(message) from missing

    def _create(self, reference: Reference, factory: Any) -> Callable[..., Any]:
        if not callable(factory):
            raise LoadError(f"{reference.text!r}: {_kind(factory)} cannot be called")
        args, kwargs = reference.arguments or ((), {})
        try:
            application = factory(*args, **kwargs)
        except Exception as error:
            raise LoadError(f"{reference.text!r} raised {type(error).__name__}") from error
        if inspect.iscoroutine(application):
            application.close()
            raise LoadError(
                f"{reference.text!r} is an async function; wsgi_app wants one that returns the"
                " application"
            )
        _check(f"what {reference.text} returned", application)
        return application  # type: ignore[no-any-return]

    # After a failure.

    def _remember(self, error: BaseException, imported: Sequence[str], started: int) -> None:
        files = {file for each in _chain(error) for file in _files_of(each)}
        target = Target.split(self._target)
        files.update([target.place] if target.is_file else _candidates(target.place))
        self._left_behind = {}
        for name in imported:
            module = sys.modules.get(name)
            file = getattr(module, "__file__", None)
            if (
                module is not None
                and isinstance(file, str)
                and not file.endswith(tuple(importlib.machinery.EXTENSION_SUFFIXES))
                and not _is_installed(file)
                and (_is_under(self._directory, file) or file in files)
            ):
                self._left_behind[name] = module
                files.add(file)
        for file in files:
            if _is_under(self._directory, file):
                _drop_doubtful_bytecode(file)
        self._watched = {file: _signature(file, started) for file in files}
        _failed.add(self)

    def _forget(self) -> None:
        """Removes what the failed attempt has left behind in sys.modules."""
        for name, module in self._left_behind.items():
            if sys.modules.get(name) is not module:
                continue
            del sys.modules[name]
            # `from package import module` looks at the package's attribute first.
            parent, _, child = name.rpartition(".")
            if vars(sys.modules.get(parent, module)).get(child) is module:
                delattr(sys.modules[parent], child)
        self._left_behind = {}

    def _leave_to(self, other: Application) -> None:
        """Another application has loaded since this one failed. Modules in its directory that this
        one has left behind may be in its use now: they stay, lest there be two of each. The module
        that this one's target names is its own, and goes all the same."""
        self._left_behind = {
            name: module
            for name, module in self._left_behind.items()
            if (name == self._module != other._module)
            or not _is_under(other._directory, module.__file__ or "")
        }

    def _advice(self, error: BaseException) -> str:
        """What is to be said beyond the exception itself, or nothing."""
        if isinstance(error, SystemExit):
            return f"{self._target} called sys.exit({error.code!r}) while it was imported"
        if isinstance(error, KeyboardInterrupt):
            return f"{self._target} raised KeyboardInterrupt while it was imported"
        if isinstance(error, LoadError) or not isinstance(error, ImportError):
            return ""
        target = Target.split(self._target)
        place = target.place
        if not target.is_file:
            if isinstance(error, ModuleNotFoundError) and f"{place}.".startswith(f"{error.name}."):
                return (
                    f"there is no module {error.name!r} on sys.path; python_path names the"
                    " directories to add to it"
                )
            return ""
        # The classic: a Django project's wsgi.py, named by its path.
        folder, file = os.path.split(place)
        parent, package = os.path.split(folder)
        itself = (error.name or "").partition(".")[0] == package or "relative" in str(error.msg)
        if itself and os.path.exists(os.path.join(folder, "__init__.py")):
            return (
                f"{place} belongs to the package {package!r}: add `python_path {parent};`, and name"
                f" it as a module, {package}.{os.path.splitext(file)[0]}"
            )
        return ""


# Importing.


class _Finder:
    """Imports the files of applications by the names that they were given, and notes what a failing
    import has imported before it failed.

    It stays in sys.meta_path: importlib.reload() and a second import find the file here.
    """

    def __init__(self) -> None:
        self.files: dict[str, str] = {}
        self._recording: dict[int, list[str]] = {}

    @contextlib.contextmanager
    def recording(self) -> Iterator[list[str]]:
        """The names of the modules that this thread (no other: a running application may import
        something at the same time) begins to import meanwhile."""
        if self not in sys.meta_path:
            sys.meta_path.insert(0, self)
        names = self._recording[threading.get_ident()] = []
        try:
            yield names
        finally:
            del self._recording[threading.get_ident()]

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        names = self._recording.get(threading.get_ident())
        if names is not None:
            names.append(name)
        file = self.files.get(name)
        if file is None:
            return None
        return importlib.util.spec_from_file_location(name, file, loader=_FileLoader(name, file))


class _FileLoader(importlib.machinery.SourceFileLoader):
    """Reads Python source whatever the file is called, and keeps no bytecode of it: `app.py` and
    `app.wsgi` would share one file of it, and a file that is mended within the second at the same
    size would not be read again."""

    def path_stats(self, path: Any) -> Any:
        raise OSError("no bytecode")


def _import_file(file: str) -> ModuleType:
    try:
        with open(file, "rb"):
            pass
    except OSError as error:
        raise LoadError(f"{file}: {error.strerror}") from None
    name = _module_name(file)
    folder = os.path.dirname(file)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    _finder.files[name] = file
    return importlib.import_module(name)


def _module_name(file: str) -> str:
    """The stem where it can be a module's name and is nobody else's, else one with a hash."""
    stem = os.path.splitext(os.path.basename(file))[0]
    plain = stem.isidentifier() and not keyword.iskeyword(stem) and not stem.startswith("__")
    if plain and not _is_taken(stem, file):
        return stem
    digest = hashlib.sha256(os.fsencode(file)).hexdigest()[:8]
    return f"{re.sub(r'[^0-9A-Za-z_]', '_', stem)}_{digest}"


def _is_taken(name: str, file: str) -> bool:
    if name in sys.modules:
        other = getattr(sys.modules[name], "__file__", None)
        return not isinstance(other, str) or os.path.realpath(other) != os.path.realpath(file)
    if _finder.files.get(name, file) != file:
        return True
    # sys.stdlib_module_names is new in Python 3.10.
    if name in sys.builtin_module_names or name in getattr(sys, "stdlib_module_names", ()):
        return True
    folder = os.path.realpath(os.path.dirname(file))
    elsewhere = [entry for entry in sys.path if os.path.realpath(entry) != folder]
    spec = importlib.machinery.PathFinder.find_spec(name, elsewhere)
    # A folder of that name without an __init__.py is no module that anybody imports.
    return spec is not None and spec.origin is not None


# What is a WSGI application.


def _check(what: str, application: Any, factory: str = "") -> None:
    """Raises LoadError unless `application` can be called with environ and start_response.
    `factory` is how to write it if it should be called to make the application."""
    if not callable(application):
        raise LoadError(f"{what} is {_kind(application)}, which cannot be called")
    function = application
    while isinstance(function, functools.partial):
        function = function.func
    is_class = issubclass(type(function), type)
    call = inspect.getattr_static(function if is_class else type(function), "__call__", None)
    # Of a partial it is not known how much is given already.
    required, most = _arity(function) if function is application else _ANYTHING
    if _is_async(function) or _is_async(call) or required == 3:
        raise LoadError(f"{what} is an ASGI application; wsgi_app serves WSGI")
    if not required <= 2 <= most:
        hint = f"; if it makes the application, write {factory}" if factory and not required else ""
        raise LoadError(
            f"{what} cannot be called with the two arguments environ and start_response{hint}"
        )


def _is_async(value: Any) -> bool:
    try:
        return inspect.iscoroutinefunction(value)
    except Exception:  # A proxy (flask.request) that stands for nothing outside of a request.
        return False


def _arity(function: Any) -> tuple[int, float]:
    """How many positional arguments a plain function or method needs at least and takes at most.
    Not inspect.signature(), which believes decorators."""
    bound = 0
    # By type(), not isinstance(): a proxy (werkzeug.local) would answer for what it stands for.
    if type(function) is MethodType:
        function, bound = function.__func__, 1
    if type(function) is not FunctionType:
        return _ANYTHING
    code = function.__code__
    most = code.co_argcount - bound
    required = max(most - len(function.__defaults__ or ()), 0)
    return required, float("inf") if code.co_flags & inspect.CO_VARARGS else most


def _kind(value: Any) -> str:
    kind = type(value).__name__
    return "None" if value is None else f"{'an' if kind[:1] in 'aeiou' else 'a'} {kind}"


def _describe(module: ModuleType) -> str:
    return getattr(module, "__file__", None) or f"the module {module.__name__}"


def _suggestions(module: ModuleType, wanted: Sequence[str]) -> list[str]:
    """The callables that a module has of its own, those first that are named much alike."""
    own = []
    for name, value in vars(module).items():
        kind = type(value)
        if name.startswith("_") or not callable(value) or kind is BuiltinFunctionType:
            continue
        if kind is FunctionType or issubclass(kind, type):
            if value.__module__ == module.__name__:
                own.append(name)
        elif kind.__module__ not in ("typing", "werkzeug.local"):
            own.append(name)
    alike = [name for text in wanted for name in difflib.get_close_matches(text, own)]
    return list(dict.fromkeys(alike + own))[:_MOST_SUGGESTIONS]


# The files of a failure.


def _signature(file: str, since: int | None = None) -> _Signature | None:
    """What of a file changes when it is written or replaced; None where there is no such file.

    A file that was written while the attempt went on (it began at `since`) may have been read
    before: it counts as changed, by a signature that no file has.
    """
    try:
        status = os.stat(file)
    except (OSError, ValueError):
        return None
    changed = status.st_mtime_ns
    # Not what lies in the future (another machine's clock): that would be tried on every request.
    doubtful = since is not None and since <= changed <= time.time_ns()
    if doubtful and stat.S_ISREG(status.st_mode):
        return (-1, -1, -1)
    return (changed, status.st_size, status.st_ino)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The exception, and all that it was caused by, was raised during, or holds."""
    pending, seen = [error], set()
    while pending:
        each = pending.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        pending += [each.__cause__, each.__context__]
        # Exception groups, new in Python 3.11. Others may have an attribute of that name too.
        group = getattr(each, "exceptions", ())
        if isinstance(group, tuple):
            pending += [inner for inner in group if isinstance(inner, BaseException)]


def _files_of(error: BaseException) -> Iterator[str]:
    """The files whose change may mend what raised this one exception."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if not str(frame.f_globals.get("__name__")).startswith("pywsgi."):
            yield from _real(frame.f_code.co_filename)
    if isinstance(error, (SyntaxError, OSError)):
        yield from _real(error.filename)
    if isinstance(error, ImportError):
        # `from module import name`: the module that lacks the name, or a part of that package.
        yield from _real(error.path)
        missing = _CANNOT_IMPORT.match(str(error.msg))
        if missing and error.name:
            yield from _candidates(f"{error.name}.{missing[1]}")
    if isinstance(error, ModuleNotFoundError) and error.name:
        yield from _candidates(error.name)


def _real(file: object) -> Iterator[str]:
    # Not "<string>", "<frozen importlib._bootstrap>" and the like.
    if isinstance(file, str) and not file.startswith("<"):
        yield os.path.abspath(file)


def _candidates(name: str) -> Iterator[str]:
    """Wherever a module of that name could appear."""
    package, _, last = name.rpartition(".")
    for folder in _folders(package):
        base = os.path.join(folder, last)
        yield base
        yield os.path.join(base, "__init__.py")
        for suffix in importlib.machinery.all_suffixes():
            yield base + suffix


def _folders(package: str) -> list[str]:
    """Where the modules of a package are looked for, even if it has not been imported; of "", the
    top-level modules."""
    if not package:
        return [os.path.abspath(entry) for entry in sys.path]
    known = getattr(sys.modules.get(package), "__path__", None)
    if known is not None:
        return [os.path.abspath(entry) for entry in known]
    parent, _, last = package.rpartition(".")
    return [os.path.join(folder, last) for folder in _folders(parent)]


def _directory(target: Target) -> str | None:
    """The directory that holds the application: its file's, or the entry of sys.path that has its
    package or module."""
    if target.is_file:
        return os.path.dirname(target.place)
    spec = importlib.machinery.PathFinder.find_spec(target.place.partition(".")[0])
    if spec is None:
        return None
    for folder in spec.submodule_search_locations or ():
        return os.path.dirname(folder)
    return os.path.dirname(spec.origin) if spec.origin else None


def _is_under(directory: str | None, file: str) -> bool:
    return directory is not None and file.startswith(os.path.join(directory, ""))


def _is_installed(file: str) -> bool:
    """Whether a file belongs to Python or to a package that was installed."""
    return file.startswith(_LIBRARIES) or "/site-packages/" in file or "/dist-packages/" in file


def _drop_doubtful_bytecode(file: str) -> None:
    """CPython takes bytecode for current while the source has its size and its whole second of
    modification; a file that is mended within that second would not be read again."""
    with contextlib.suppress(OSError, ValueError, NotImplementedError):
        if abs(time.time() - os.stat(file).st_mtime) < 2:
            os.unlink(importlib.util.cache_from_source(file))


_Signature = tuple[int, int, int]


_CANNOT_IMPORT = re.compile(r"cannot import name '(\w+)' from ")


_ANYTHING = (0, float("inf"))

_MOST_SUGGESTIONS = 8

_LIBRARIES = tuple(os.path.join(sysconfig.get_path(name), "") for name in ("stdlib", "platstdlib"))

_finder = _Finder()

# Applications whose last attempt failed.
_failed: weakref.WeakSet[Application] = weakref.WeakSet()
