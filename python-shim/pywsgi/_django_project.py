"""Django supports one project per interpreter, and all applications of a process share one. This
detects an application that asks for another project than the configured one: it would serve the
other's pages, and `os.environ.setdefault()` does not report the conflict.
"""

from __future__ import annotations

import contextlib
import functools
import os
import traceback

# gevent.monkey may replace these in `threading`; here they are always those of threads.
from _thread import RLock, get_ident
from collections.abc import Callable, Collection, Iterator
from types import ModuleType
from typing import Any

from pywsgi._django import is_handler, loaded_settings
from pywsgi._failure import chain
from pywsgi._hidden import conceal
from pywsgi._importing import finder


class Project:
    """What the import of one application requests from Django."""

    def __init__(self, application: str) -> None:
        self.application = application
        # The last settings module requested.
        self.asked: str | None = None
        # Whether it has called settings.configure(), and that has not raised.
        self.configures = False
        self._before = os.environ.get(VARIABLE)

    def refusal(self, application: Any = None, error: BaseException | None = None) -> str:
        """After the import: the error message if Django is configured for another project, or "".

        `application` is the imported callable, `error` the exception that the import raised.
        """
        settings = loaded_settings()
        if settings is None:
            return ""
        configured = getattr(settings, "SETTINGS_MODULE", None)
        owner = next((owner for known, owner in _configured if known is settings), None)
        if owner == self.application:
            return ""
        asked = self.asked
        if asked is None and is_handler(application):
            asked = _given.get(VARIABLE)
        if asked is not None and asked != configured:
            wanted = f"the settings module {asked!r}"
            self._put_back(configured)
        elif self.configures or any(map(_is_second_configure, chain(error))):
            wanted = "settings of its own (settings.configure())"
        else:
            return ""
        by = "settings.configure()" if configured is None else f"the settings module {configured!r}"
        return (
            f"{self.application} asks Django for {wanted}, but Django is configured by {by} of"
            f" {owner or 'another application'}. Django supports one project per process:"
            " give one of the two projects a python_process of its own. If they are one project,"
            " use one settings module:"
            f" python_env {VARIABLE}=NAME;"
        )

    def owner(self, settings: Any, imports: dict[str | None, str]) -> str | None:
        """The application to which these settings belong, which this import has just made or read.
        Django keeps no second thread from doing so: it may be another import that has set the
        variable, one of `imports` (by what they have asked for). None if they are of the other
        kind, so that another import has replaced those of this one."""
        module = getattr(settings, "SETTINGS_MODULE", None)
        if (module is None) != self.configures:
            return None
        if module is None or self.asked in (None, module):
            return self.application
        return imports.get(module, self.application)

    def _put_back(self, configured: str | None) -> None:
        """Restores the variable, which the other application's child processes would inherit."""
        if self.asked is None or os.environ.get(VARIABLE) != self.asked:
            return
        value = configured or self._before
        if value is None:
            os.environ.pop(VARIABLE, None)
        else:
            os.environ[VARIABLE] = value


@contextlib.contextmanager
def project(application: str) -> Iterator[Project]:
    """What this thread asks Django for meanwhile, as it imports that application."""
    running = _running[get_ident()] = Project(application)
    try:
        yield running
    finally:
        del _running[get_ident()]


def watch_environment() -> None:
    """Records which settings module an application requests, even if `setdefault()` has no effect
    because another application has set the variable. The value of `python_env` takes precedence, as
    it would in a separate process."""
    _given.update({VARIABLE: os.environ[VARIABLE]} if VARIABLE in os.environ else {})
    kind = type(os.environ)
    set_item, set_default = kind.__setitem__, kind.setdefault

    def note(key: Any, value: Any) -> None:
        running = _running.get(get_ident())
        # os.environb has keys of bytes. Django treats an empty value as not set.
        if running is not None and isinstance(key, str) and key == VARIABLE:
            running.asked = value if isinstance(value, str) and value else None

    @functools.wraps(set_item)
    def noted_set_item(self: Any, key: Any, value: Any) -> None:
        set_item(self, key, value)
        note(key, value)

    @functools.wraps(set_default)
    def noted_set_default(self: Any, key: Any, value: Any) -> Any:
        result = set_default(self, key, value)
        note(key, _given.get(VARIABLE, value))
        return result

    for name, method in {"__setitem__": noted_set_item, "setdefault": noted_set_default}.items():
        setattr(kind, name, method)


def is_configured_by_others(failed: Collection[str]) -> bool:
    """Whether Django was configured by an application that is loaded or being imported, and not by
    one of `failed`, whose import has failed."""
    settings = loaded_settings()
    owner = next((owner for known, owner in _configured if known is settings), None)
    running = [each.application for each in list(_running.values())]
    return owner is not None and (owner in running or owner not in failed)


def watch_settings(module: ModuleType) -> None:
    """Records which application configures Django. Several can be imported at the same time, and
    Django does not record it. `module` is django.conf."""

    def noted(method: Callable[..., Any]) -> Callable[..., Any]:
        in_code = method.__name__ == "configure"

        @functools.wraps(method)
        def configuring(self: Any, *args: Any, **kwargs: Any) -> Any:
            before = list(_configured)
            imports = [(each.asked, each.application) for each in list(_running.values())]
            running = _running.get(get_ident())
            # The second of two settings.configure() raises, even at the same moment. A settings
            # module is imported, and may wait for another thread: they can be read together.
            with _configure_lock if in_code else contextlib.nullcontext():
                result = method(self, *args, **kwargs)
            if running is not None and self is vars(module).get("settings"):
                running.configures = in_code
                with _record_lock:
                    _record(self, running, before, dict(imports))
            return result

        return conceal(configuring)  # type: ignore[no-any-return]

    kind = vars(module).get("LazySettings")
    for name in ("_setup", "configure"):
        method = getattr(kind, name, None)
        if method is not None:
            setattr(kind, name, noted(method))


def _record(lazy: Any, running: Project, before: list[Any], imports: dict[str | None, str]) -> None:
    """Records whose the settings are that this import has just set. If another import has done so
    since `before`, its settings stay."""
    if _configured != before and _configured[0][1] != running.application:
        lazy._wrapped = _configured[0][0]
        return
    settings = vars(lazy).get("_wrapped")
    owner = running.owner(settings, imports)
    if owner is not None:
        _configured[:] = [(settings, owner)]


def _is_second_configure(error: BaseException) -> bool:
    """Whether settings.configure() has raised because Django is already configured."""
    if not isinstance(error, RuntimeError):
        return False
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return bool(
        frames
        and frames[-1].f_code.co_name == "configure"
        and frames[-1].f_globals.get("__name__") == "django.conf"
    )


VARIABLE = "DJANGO_SETTINGS_MODULE"

# The value from `python_env`.
_given: dict[str, str] = {}
# Django's settings, and the application whose import has configured them.
_configured: list[tuple[Any, str]] = []
_configure_lock, _record_lock = RLock(), RLock()
# The running imports, by thread.
_running: dict[int, Project] = {}

finder.after["django.conf"] = watch_settings
