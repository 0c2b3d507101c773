"""Advice for the error log about a failed import, in addition to the exception."""

from __future__ import annotations

import importlib.machinery
import os
import stat
import sys
import traceback

from pywsgi._failure import chain, searched_folders
from pywsgi._target import LoadError, Target


def advice(target: str, error: BaseException, has_home: bool) -> str:
    """How to fix it, or "". `has_home`: whether `python_home` is set."""
    if isinstance(error, SystemExit):
        return f"{target} called sys.exit({error.code!r}) while it was imported"
    if isinstance(error, KeyboardInterrupt):
        return f"{target} raised KeyboardInterrupt while it was imported"
    if isinstance(error, LoadError) and error.__cause__ is None:
        return ""
    return (
        _of_closed_folder(error)
        or _of_target(Target.split(target), error, has_home)
        or _of_environment(error)
        or _of_packages(error, has_home)
    )


def _of_closed_folder(error: BaseException) -> str:
    """Python skips a folder that it cannot read, and reports that there is no such module."""
    name = _missing_module(error)
    package, _, last = name.rpartition(".")
    for folder in searched_folders(package) if name else ():
        for each in (folder, os.path.join(folder, last)):
            if _is_closed(each):
                return (
                    f"the workers' user (uid {os.geteuid()}) cannot find the module {name!r}: it"
                    f" cannot read and search the folder {each} (chmod o+rx)"
                )
    return ""


def _is_closed(folder: str) -> bool:
    try:
        is_folder = stat.S_ISDIR(os.stat(folder).st_mode)
    except PermissionError:
        return True
    except (OSError, ValueError):
        return False
    return is_folder and not os.access(folder, os.R_OK | os.X_OK)


def _missing_module(error: BaseException) -> str:
    """The name of the module that was not found, or ""."""
    if isinstance(error, LoadError):  # A factory has raised.
        error = error.__cause__ or error
    return error.name or "" if isinstance(error, ModuleNotFoundError) else ""


def _of_target(target: Target, error: BaseException, has_home: bool) -> str:
    """The target is wrong."""
    if isinstance(error, LoadError) or not isinstance(error, ImportError):
        return ""
    place = target.place
    if not target.is_file:
        if isinstance(error, ModuleNotFoundError) and f"{place}.".startswith(f"{error.name}."):
            home = "" if has_home else ", python_home sets its virtual environment"
            return (
                f"there is no module {error.name!r} on sys.path; python_path adds directories to"
                f" it{home}"
            )
        return ""
    # A common case: a Django project's wsgi.py, given by its path.
    folder, file = os.path.split(place)
    parent, package = os.path.split(folder)
    itself = (error.name or "").partition(".")[0] == package or "relative" in str(error.msg)
    if itself and os.path.exists(os.path.join(folder, "__init__.py")):
        return (
            f"{place} belongs to the package {package!r}: add `python_path {parent};` and give the"
            f" target as a module, {package}.{os.path.splitext(file)[0]}"
        )
    return ""


def _of_environment(error: BaseException) -> str:
    """`os.environ["NAME"]` failed because nginx does not set the variable."""
    name = next((name for each in chain(error) if (name := _missing_variable(each))), None)
    if name is None:
        return ""
    return (
        f"os.environ has no {name!r}: nginx clears its environment at startup. `python_env {name};`"
        f" keeps the value that nginx was started with, `python_env {name}=VALUE;` sets one, and"
        " python_env_file reads them from a file"
    )


def _missing_variable(error: BaseException) -> str | None:
    """The name, if it is the KeyError of os.environ or os.environb (os._Environ.__getitem__)."""
    if not isinstance(error, KeyError) or not error.args:
        return None
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    if not frames or frames[-1].f_code.co_name != "__getitem__":
        return None
    mapping = frames[-1].f_locals.get("self")
    if mapping is not os.environ and mapping is not os.environb:
        return None
    name = error.args[0]
    return os.fsdecode(name) if isinstance(name, (str, bytes)) else None


def _of_packages(error: BaseException, has_home: bool) -> str:
    """The package is installed elsewhere."""
    name = _missing_module(error)
    if has_home or not name or "." in name:
        return ""
    if importlib.machinery.PathFinder.find_spec(name) is not None:
        return ""
    return (
        f"there is no module {name!r} on sys.path. python_home is not set, so only the packages of"
        f" {sys.prefix} are available: python_home sets the applications' virtual environment,"
        " python_path adds directories"
    )
