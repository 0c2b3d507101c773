"""`Application`: finds and imports the target of `wsgi_app` or `asgi_app`, and decides when an
import that failed is retried.

An application that does not import must affect only its own locations. `load()` remembers the
files involved in the failure, `changed()` says whether one of them has changed, and `may_pass`
whether another attempt may succeed even if none has. The next `load()` first removes the modules
that the failed attempt has left behind.

`load()` runs on Python's main thread, or on another one if that is busy; never twice at a time for
one application. Several applications share one interpreter, and may share modules: a broken one
must not remove modules of one that runs.
"""

from __future__ import annotations

import functools
import importlib
import importlib.machinery
import inspect
import sys
import time
import weakref
from collections.abc import Sequence
from types import ModuleType
from typing import Any, Callable

from pywsgi._advice import advice
from pywsgi._callable import check, describe, kind_of, suggestions
from pywsgi._django import is_half_loaded, keeps, start_again
from pywsgi._django_project import is_configured_by_others, project
from pywsgi._failure import (
    Signature,
    candidates,
    chain,
    directory_of,
    drop_doubtful_bytecode,
    files_of,
    is_installed,
    is_of_the_files_alone,
    is_under,
    namespace_of,
    places_of,
    signature,
)
from pywsgi._hidden import Hidden, drop_own_frames, folders_of
from pywsgi._importing import finder, import_file
from pywsgi._target import LoadError, Reference, Target


class Application:
    """One target of `wsgi_app` or `asgi_app`, and the names to try if it names no callable."""

    def __init__(
        self,
        target: str,
        callables: Sequence[str] = ("application", "app"),
        has_home: bool = False,
        protocol: str = "wsgi",
        resolved: str = "",
    ) -> None:
        """`resolved`: the target with the path to import it from, if that is another one."""
        self._target = target
        self._resolved = resolved or target
        self._protocol = protocol
        self._has_home = has_home
        self._callables = tuple(callables)
        self._directory: str | None = None
        # The last failure: the files involved, and the modules that it has left behind.
        self._watched: dict[str, Signature | None] = {}
        self._left_behind: dict[str, ModuleType] = {}
        self._module = ""
        # The modules that the last import has brought, and when it began.
        self._imported: list[str] = []
        self._started = 0
        # Whether it failed because of another application.
        self._refused = False
        # Whether another attempt may succeed without a change of these files.
        self.may_pass = False
        _all.add(self)

    @property
    def name(self) -> str:
        """The application's name in log lines."""
        return self._target

    def load(self) -> Callable[..., Any]:
        """Imports the application and returns its callable: `app(environ, start_response)`, or the
        asynchronous `app(scope, receive, send)`.

        Raises LoadError if the target is wrong, and otherwise whatever the application's code
        raises. SystemExit and KeyboardInterrupt become LoadError, because they would end more than
        the application.
        """
        kept = self._start_again()
        importlib.invalidate_caches()
        started = time.time_ns()
        with finder.recording() as imported:
            try:
                application = self._import(imported)
            except BaseException as error:
                self._remember(error, [*kept, *imported], started)
                if self._refused:
                    self._withdraw()
                raise
        self._watched.clear()
        self._imported = [*kept, *imported]
        self._started = started
        _failed.discard(self)
        for other in list(_failed):
            other._leave_to(self)
        return application

    def put_off(self) -> None:
        """The import has killed the last worker. Another attempt may succeed after a change of the
        target's file, or after a pause."""
        target = Target.split(self._resolved)
        files = [target.place] if target.is_file else candidates(target.place)
        self._watched = {file: signature(file) for file in files}

    def fail_startup(self) -> None:
        """The application was imported, but its startup has failed. Another attempt imports it
        again, after one of the files involved has changed."""
        error = LoadError("the startup failed")
        self._remember(error, self._imported, self._started)
        self.may_pass = False

    def changed(self) -> bool:
        """Whether a file that was involved in the last failure has changed."""
        return any(signature(path) != then for path, then in self._watched.items())

    # Loading.

    def _import(self, imported: Sequence[str]) -> Callable[..., Any]:
        others = {folder: each.name for each in list(_all) for folder in each._folders()}
        hidden = Hidden(self._target, self._folders(), others)
        self._refused = False
        with project(self._target) as django, hidden.noting():

            def refusal(application: Any = None, error: BaseException | None = None) -> str:
                if django.asked is not None:
                    hidden.note(django.asked)
                what = hidden.refusal() or django.refusal(application, error)
                self._refused = bool(what)
                return what

            try:
                application = self._load(imported)
            except BaseException as error:
                drop_own_frames(error)
                what = refusal(error=error) or advice(self._target, error, self._has_home)
                if what:
                    raise LoadError(what) from error
                raise
            if what := refusal(application):
                raise LoadError(what)
            return application

    def _folders(self) -> list[str]:
        """The folders of its own modules."""
        target = Target.split(self._resolved)
        try:
            target.check()
        except LoadError:
            return []
        return folders_of(target, finder.folders)

    def _load(self, imported: Sequence[str]) -> Callable[..., Any]:
        target = Target.split(self._resolved)
        target.check()
        self._directory = directory_of(target)
        if target.is_file:
            module = import_file(target.place)
        else:
            module = importlib.import_module(target.place)
        self._module = module.__name__
        wanted = (target.expression,) if target.expression else self._callables
        reference, found = self._find(module, wanted, fresh=module.__name__ in imported)
        if reference.arguments is not None:
            return self._create(reference, found)
        return self.accept(repr(reference.text), found, factory=f"{reference.text}()")

    def _find(
        self, module: ModuleType, wanted: Sequence[str], fresh: bool
    ) -> tuple[Reference, Any]:
        missing: AttributeError | None = None
        for text in wanted:
            reference = Reference.parse(text)
            try:
                return reference, functools.reduce(getattr, reference.path, module)
            except AttributeError as error:
                # Keep the traceback if application code raised it (a property, a module's
                # __getattr__).
                missing = error if error.__traceback__ and error.__traceback__.tb_next else None
        message = f"{describe(module)} has no {' or '.join(map(repr, wanted))}"
        names = suggestions(module, wanted)
        message += f"; it has {', '.join(names)}" if names else "; it has no callables"
        if not fresh:
            message += (
                " (another application has already imported the module: reload nginx after a change"
                " of it)"
            )
        raise LoadError(message) from missing

    def _create(self, reference: Reference, factory: Any) -> Callable[..., Any]:
        if not callable(factory):
            raise LoadError(f"{reference.text!r}: {kind_of(factory)} cannot be called")
        args, kwargs = reference.arguments or ((), {})
        try:
            application = factory(*args, **kwargs)
        except Exception as error:
            raise LoadError(f"{reference.text!r} raised {type(error).__name__}") from error
        if inspect.iscoroutine(application):
            application.close()
            raise LoadError(
                f"{reference.text!r} is an async function; {self._protocol}_app needs one that"
                " returns the application"
            )
        return self.accept(f"what {reference.text} returned", application)

    def accept(self, what: str, application: Any, factory: str = "") -> Callable[..., Any]:
        """What the server calls of the object that the target names."""
        return check(what, application, self._protocol, factory)

    # After a failure.

    def _remember(self, error: BaseException, imported: Sequence[str], started: int) -> None:
        self.may_pass = not is_of_the_files_alone(error)
        files = {file for each in chain(error) for file in files_of(each)}
        target = Target.split(self._resolved)
        files.update([target.place] if target.is_file else candidates(target.place))
        self._left_behind = {}
        for name in imported:
            module = sys.modules.get(name)
            if module is None:
                continue
            file = getattr(module, "__file__", None)
            if isinstance(file, str):
                own = is_under(self._directory, file) or file in files
                native = file.endswith(tuple(importlib.machinery.EXTENSION_SUFFIXES))
                if own and not native and not is_installed(file):
                    self._left_behind[name] = module
                    files.add(file)
            elif any(not is_installed(folder) for folder in namespace_of(module)):
                # A package that cannot be read looks like a namespace package.
                self._left_behind[name] = module
        for file in files:
            if is_under(self._directory, file):
                drop_doubtful_bytecode(file)
        self._watched = {file: signature(file, started) for file in files}
        _failed.add(self)

    def _start_again(self) -> list[str]:
        """Cleans up after the failed attempt. Returns the modules that stay."""
        if keeps(self._left_behind) and not self.changed():
            start_again()
            return list(self._left_behind)
        self._forget()
        failed = [each.name for each in list(_failed)]
        if (self in _failed or is_half_loaded()) and not is_configured_by_others(failed):
            start_again()
        return []

    def _forget(self) -> None:
        """Removes the modules of the failed attempt from sys.modules."""
        for name, module in self._left_behind.items():
            if sys.modules.get(name) is not module:
                continue
            del sys.modules[name]
            # `from package import module` checks the package's attribute first.
            parent, _, child = name.rpartition(".")
            if vars(sys.modules.get(parent, module)).get(child) is module:
                delattr(sys.modules[parent], child)
        self._left_behind = {}

    def _withdraw(self) -> None:
        """This application was rejected because of a running one, which must not import modules
        from this one's folder later."""
        self._forget()
        folder = self._directory
        shared = any(each is not self and each._directory == folder for each in list(_all))
        if folder in finder.folders and folder in sys.path and not shared:
            sys.path.remove(folder)

    def _leave_to(self, other: Application) -> None:
        """Another application has loaded since this one failed, and may now use modules of its
        directory that this one has left behind. They stay, so that none is loaded twice; the module
        that this one's target names is removed all the same."""
        self._left_behind = {
            name: module
            for name, module in self._left_behind.items()
            if (name == self._module != other._module)
            or not any(is_under(other._directory, file) for file in places_of(module))
        }


_all: weakref.WeakSet[Application] = weakref.WeakSet()
# Applications whose last attempt failed.
_failed: weakref.WeakSet[Application] = weakref.WeakSet()
