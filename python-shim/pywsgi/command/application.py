"""What is served: the application that the options name, and the Python that runs it."""

from __future__ import annotations

import grp
import os
import pwd
import sys
from pathlib import Path
from typing import Any, NamedTuple

from pywsgi._target import LoadError
from pywsgi.command.env_file import variables
from pywsgi.command.guess import guess
from pywsgi.command.naming import locate
from pywsgi.command.options import Options, UsageError

# As root, the user and the group of the workers, and of each import: nothing of the application
# runs as root, unless the workers do. Else empty.
User = tuple[str, ...]


class NotImportedError(UsageError):
    """The application is there, but cannot be imported or is none."""


class Application(NamedTuple):
    """As wsgi_app or asgi_app name it."""

    protocol: str
    target: str
    # The folders to import it from.
    path: list[str]
    # The virtual environment, or the prefix of a Python without one.
    home: Path
    # It has not been imported yet.
    is_guessed: bool = False


def guessed(options: Options) -> Application | None:
    """What the source of the application says plainly; None if in doubt."""
    if options.factory:
        return None
    path = import_path(options)
    try:
        place = locate(options.target, directory(options), os.environ)
    except LoadError as error:
        raise NotImportedError(str(error)) from None
    found = guess(place, path)
    wanted = options.interface.rstrip("23")
    if found is None or wanted not in ("auto", found[0]):
        return None
    folders = [*path, *([place.folder] if place.folder else [])]
    return Application(found[0], place.target(found[1]), folders, python_home(options), True)


def find(options: Options, environ: dict[str, str], user: User) -> Application:
    """Imports the application in a process of its own, as that user. If that fails, what it has
    printed goes to the standard error, its traceback with it.

    Raises NotImportedError.
    """
    home = python_home(options)
    path = import_path(options)
    answer = _look(options, _request(options, path), environ, user)
    if "error" in answer:
        raise NotImportedError(answer["error"])
    protocol = answer["protocol"]
    if options.interface != "auto":
        wanted = options.interface.rstrip("23")
        if wanted != protocol:
            raise NotImportedError(
                f"{answer['target']} is an application of {protocol.upper()}, and not of"
                f" {wanted.upper()}: leave out --interface and --worker-class"
            )
    folder = answer.get("folder")
    return Application(protocol, answer["target"], [*path, *([folder] if folder else [])], home)


def why_not(options: Options, environ: dict[str, str], user: User) -> str | None:
    """One line about an application that a worker could not import, and that has been shown."""
    request = _request(options, import_path(options))
    return _look(options, request, environ, user, silent=True).get("error")


def _request(options: Options, path: list[str]) -> dict[str, object]:
    return {
        "target": options.target,
        "factory": options.factory,
        "directory": directory(options),
        "path": path,
    }


def _look(
    options: Options,
    request: dict[str, object],
    environ: dict[str, str],
    user: User,
    silent: bool = False,
) -> dict[str, str]:
    """What the application prints is shown if it cannot be imported; else the worker shows it."""
    python = python_of(python_home(options))
    # Mostly none of it is needed.
    import json
    import shutil
    import subprocess
    import tempfile

    look = Path(__file__).with_name("look.py")
    # Not pipes: a process that the application starts may keep their ends.
    with tempfile.TemporaryFile() as answer, tempfile.TemporaryFile() as printed:
        command = [str(python), str(look), json.dumps(request), str(answer.fileno())]
        try:
            process = subprocess.Popen(
                command,
                env=environ,
                pass_fds=[answer.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=printed,
                **_become(user, environ),
            )
        except OSError as error:
            raise UsageError(f"{python} cannot be started: {error.strerror}") from None
        try:
            status = process.wait()
        except KeyboardInterrupt:
            process.kill()
            process.wait()
            raise
        answer.seek(0)
        text = answer.read()
        found: dict[str, str] = json.loads(text) if text else {"error": _ended(status)}
        if "error" in found and not silent:
            printed.seek(0)
            sys.stderr.flush()
            shutil.copyfileobj(printed, sys.stderr.buffer)
            sys.stderr.flush()
    return found


def _become(user: User, environ: dict[str, str]) -> dict[str, Any]:
    """The arguments of Popen for it; the variables that name the user are changed."""
    if not user or user[0] == "root":
        return {}
    entry = pwd.getpwnam(user[0])
    group = grp.getgrnam(user[1]).gr_gid
    environ.update(HOME=entry.pw_dir, USER=entry.pw_name, LOGNAME=entry.pw_name)
    groups = os.getgrouplist(entry.pw_name, group)
    return {"user": entry.pw_uid, "group": group, "extra_groups": groups}


def worker_user(options: Options) -> User:
    """As root: --user, or the owner of the application."""
    if os.geteuid() != 0:
        if options.user or options.group:
            raise UsageError("--user and --group need root: leave them out")
        return ()
    folder = import_path(options)[0]
    owner = os.stat(folder).st_uid
    try:
        name = options.user or pwd.getpwuid(owner).pw_name
        entry = pwd.getpwnam(name)
    except KeyError:
        who = f"--user {options.user}: there is no such user"
        of_folder = f"{folder} belongs to {owner}, who is no user here: use --user"
        raise UsageError(who if options.user else of_folder) from None
    try:
        group = options.group or grp.getgrgid(entry.pw_gid).gr_name
        grp.getgrnam(group)
    except KeyError:
        own = f"{name}'s own group {entry.pw_gid} has no name: use --group"
        named = f"--group {options.group}: there is no such group"
        raise UsageError(named if options.group else own) from None
    return name, group


def owner(options: Options) -> User:
    """Of the application, as root. Those of the options may be another machine's."""
    if os.geteuid() != 0:
        return ()
    try:
        entry = pwd.getpwuid(os.stat(import_path(options)[0]).st_uid)
        return entry.pw_name, grp.getgrgid(entry.pw_gid).gr_name
    except KeyError:
        return ()


def _ended(status: int) -> str:
    how = f"by signal {-status}" if status < 0 else f"with exit code {status}"
    return f"the import of the application has ended its process {how}"


def directory(options: Options) -> str:
    """The application's current directory."""
    folder = os.path.abspath(options.chdir or os.curdir)
    if not os.path.isdir(folder):
        raise UsageError(f"--chdir {options.chdir}: there is no such directory")
    if not os.access(folder, os.X_OK):
        raise UsageError(f"{folder}: Permission denied")
    return folder


def import_path(options: Options) -> list[str]:
    base = directory(options)
    folders = [os.path.normpath(os.path.join(base, each)) for each in options.app_dir]
    for folder in folders:
        if not os.path.isdir(folder):
            raise UsageError(f"--app-dir {folder}: there is no such directory")
    return list(dict.fromkeys([*folders, *([] if folders else [base])]))


def python_home(options: Options) -> Path:
    if options.venv is None:
        return Path(sys.prefix)
    home = Path(options.venv).absolute()
    if not (home / "bin" / "python3").exists():
        raise UsageError(f"--venv {options.venv}: there is no {home}/bin/python3")
    return home


def python_of(home: Path) -> Path:
    return Path(sys.executable) if home == Path(sys.prefix) else home / "bin" / "python3"


def environment(options: Options) -> dict[str, str]:
    """That of the import: what the command has, and what the options add. As in the worker, a
    variable that is set goes before one of a file."""
    environ = {**variables(options.env_file), **os.environ}
    for each in options.env:
        name, _, value = each.partition("=")
        environ[name] = value
    return environ
