"""The files of nginx and of its pywsgi module, and the command `pywsgi-nginx` that runs them."""

from __future__ import annotations

import os
import re
import sys
import sysconfig
from importlib.metadata import distribution
from pathlib import Path
from typing import NoReturn

__all__ = [
    "NoSharedPython",
    "data",
    "environment",
    "executable",
    "libpython",
    "main",
    "module",
    "nginx",
]

_HERE = Path(__file__).absolute().parent


class NoSharedPython(RuntimeError):
    """This Python has no shared library, which the module needs. The message says what to do."""


def executable() -> Path:
    """The command `pywsgi-nginx`, to run in nginx's place: it needs no environment of its own.

    nginx itself if that command is not there, as in a folder of packages that has been moved.
    """
    for file in distribution("pywsgi-nginx").files or []:
        if file.parts[-2:] == ("bin", "pywsgi-nginx"):
            found = Path(os.path.normpath(str(file.locate())))
            if os.access(found, os.X_OK):
                return found
    return nginx()


def nginx() -> Path:
    """nginx itself, which needs `environment()`."""
    return _HERE / "bin" / "nginx"


def module() -> Path:
    """The module, for `load_module`."""
    return _HERE / "modules" / "ngx_http_pywsgi_module.so"


def data() -> Path:
    """The folder with mime.types."""
    return _HERE / "data"


def libpython() -> Path:
    """The shared library of this Python (libpython3.x.so). Raises NoSharedPython."""
    name = f"libpython{sys.version_info.major}.{sys.version_info.minor}.so.1.0"
    mapped = _mapped(name)
    if mapped is not None:
        return mapped
    for folder in _folders():
        file = folder / name
        if file.is_file():
            return file
    raise NoSharedPython(_advice(name))


def environment() -> dict[str, str]:
    """This process's environment, and what lets the loader find this Python's library.

    nginx must be started with it. It clears its environment then, so applications and their child
    processes do not inherit it.
    """
    library = libpython()
    found = dict(os.environ)
    # The file itself, not its folder: with that, all other libraries would be looked for there too.
    # A path with a space cannot be named, because spaces separate the names.
    if re.search(r"[\s:]", str(library)):
        _prepend(found, "LD_LIBRARY_PATH", str(library.parent))
        library = Path(library.name)
    _prepend(found, "LD_PRELOAD", str(library))
    return found


def main() -> NoReturn:
    """Replaces this process with nginx. After a binary upgrade (USR2) nginx starts this command."""
    try:
        settings = environment()
    except NoSharedPython as error:
        # These need no module.
        if sys.argv[1:] not in (["-v"], ["-V"], ["-h"]):
            sys.exit(f"pywsgi-nginx: {error}")
        settings = dict(os.environ)
    os.execve(nginx(), [os.path.abspath(sys.argv[0]), *sys.argv[1:]], settings)


def _prepend(environ: dict[str, str], name: str, value: str) -> None:
    known = environ.get(name)
    environ[name] = f"{value}:{known}" if known else value


def _mapped(name: str) -> Path | None:
    """The library that this process has loaded, if its executable is linked with it."""
    try:
        maps = Path("/proc/self/maps").read_text("utf-8", "surrogateescape")
    except OSError:
        return None
    found = re.search(rf"^\S+ \S+ \S+ \S+ \S+ +(/.*/{re.escape(name)})$", maps, re.MULTILINE)
    return Path(found[1]) if found else None


def _folders() -> list[Path]:
    """Where a Python whose executable contains it (Debian's, uv's) has the library as well."""
    multiarch = sysconfig.get_config_var("MULTIARCH")
    found = [Path(sys.base_prefix, "lib"), Path(sys.base_prefix, "lib64")]
    if multiarch:
        found.append(Path(sys.base_prefix, "lib", multiarch))
    built = sysconfig.get_config_var("LIBDIR")
    return [*found, Path(built)] if built else found


def _advice(name: str) -> str:
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    python = os.path.realpath(sys.executable)
    if ".pyenv" in python:
        full = ".".join(map(str, sys.version_info[:3]))
        what = f"PYTHON_CONFIGURE_OPTS=--enable-shared pyenv install --force {full}"
    elif python.startswith("/usr/bin/") and Path("/etc/debian_version").exists():
        what = f"sudo apt install libpython{version}"
    else:
        what = (
            "use a Python that has one, such as uv's"
            f" (uv venv --managed-python --python {version}), or build it with --enable-shared"
        )
    return f"{python} has no shared library {name}, which nginx's module needs: {what}"
