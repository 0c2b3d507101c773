"""What is to be said of a failed import beyond the exception itself."""

from __future__ import annotations

import importlib.machinery
import os
import stat
import sys
import traceback

from pywsgi._failure import chain, searched_folders
from pywsgi._target import LoadError, Target


def advice(target: str, error: BaseException, has_home: bool) -> str:
    """What mends it, or nothing. `has_home`: whether `python_home` is set."""
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
    """Python passes over a folder that it cannot read, and says that there is no such module."""
    name = _missing_module(error)
    package, _, last = name.rpartition(".")
    for folder in searched_folders(package) if name else ():
        for each in (folder, os.path.join(folder, last)):
            if _is_closed(each):
                return (
                    f"there is no module {name!r} among those that the workers' user (uid"
                    f" {os.geteuid()}) can find: it cannot read and search the folder {each}"
                    " (chmod o+rx)"
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
    """The name of the module that has not been found, or nothing."""
    if isinstance(error, LoadError):  # A factory has raised.
        error = error.__cause__ or error
    return error.name or "" if isinstance(error, ModuleNotFoundError) else ""


def _of_target(target: Target, error: BaseException, has_home: bool) -> str:
    """The target is named wrongly."""
    if isinstance(error, LoadError) or not isinstance(error, ImportError):
        return ""
    place = target.place
    if not target.is_file:
        if isinstance(error, ModuleNotFoundError) and f"{place}.".startswith(f"{error.name}."):
            home = "" if has_home else "; python_home names the virtual environment that has it"
            return (
                f"there is no module {error.name!r} on sys.path; python_path names the"
                f" directories to add to it{home}"
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


def _of_environment(error: BaseException) -> str:
    """`os.environ["NAME"]`, where nginx has no such variable for it."""
    name = next((name for each in chain(error) if (name := _missing_variable(each))), None)
    if name is None:
        return ""
    return (
        f"os.environ has no {name!r}: nginx clears its environment as it starts. `python_env"
        f" {name};` passes on the variable that nginx was started with, `python_env {name}=VALUE;`"
        " sets one"
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
    """A package that is installed elsewhere."""
    name = _missing_module(error)
    if has_home or not name or "." in name:
        return ""
    if importlib.machinery.PathFinder.find_spec(name) is not None:
        return ""
    return (
        f"there is no module {name!r} on sys.path. No python_home is set, so that only the"
        f" packages of {sys.prefix} are there: python_home names the virtual environment of the"
        " applications, and python_path further directories"
    )
