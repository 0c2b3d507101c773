"""Finds nginx and its module, and says which belong together."""

from __future__ import annotations

import contextlib
import importlib
import os
import re
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from pywsgi.command.options import Options, UsageError

MODULE = "ngx_http_pywsgi_module.so"


class Nginx(NamedTuple):
    """An nginx, and what `nginx -V` says of it."""

    path: Path
    about: str
    # From where it is: "option", "environment", "pywsgi-nginx", "system".
    source: str

    @property
    def version(self) -> tuple[int, ...]:
        found = re.search(r"/(\d+)\.(\d+)\.(\d+)", self.about)
        return tuple(map(int, found.groups())) if found else (0, 0, 0)

    @property
    def version_text(self) -> str:
        return ".".join(map(str, self.version))

    def command(self, folder: Path) -> list[str]:
        """Runs it with the configuration of a folder, and nothing of the system's."""
        conf = str(folder / "nginx.conf")
        return [str(self.path), "-p", f"{folder}/", "-e", "stderr", "-c", conf]

    def test(self, folder: Path) -> list[str]:
        """Reads that configuration only."""
        return [*self.command(folder), "-t", "-q"]

    def has(self, module: str) -> bool:
        """Whether it was configured `--with-http_…_module`."""
        return bool(re.search(rf"--with-{module}(?![\w=])", self.about))

    def configured(self, name: str) -> str:
        """The value of an argument of its `configure`, such as `modules-path`; or ""."""
        found = re.search(rf"--{name}=(\S+)", self.about)
        return found[1].strip("'") if found else ""


def find_nginx(options: Options) -> Nginx:
    """In this order: the option, the environment, the package pywsgi-nginx, the system's."""
    tried = []
    for source, path in _nginxes(options):
        about = _about(path)
        if about:
            return Nginx(path, about, source)
        if source in ("option", "environment"):
            what = "--nginx" if source == "option" else "PYWSGI_NGINX"
            raise UsageError(f"{what}: {path} is no nginx that can be run")
        tried.append(str(path))
    raise UsageError(
        "there is no nginx: install it (Debian, Ubuntu: apt install nginx), or"
        " pip install 'pywsgi[nginx]', or name one with --nginx"
    )


def find_module(options: Options, nginx: Nginx) -> Path:
    """In the same order; the module of pywsgi-nginx belongs to its nginx alone."""
    for what, name in (("--module", options.module), ("PYWSGI_MODULE", _from("PYWSGI_MODULE"))):
        if name:
            path = Path(name).absolute()
            if not path.is_file():
                raise UsageError(f"{what}: there is no file {path}")
            return path
    tried = list(_modules(nginx))
    for path in tried:
        if path.is_file():
            return path
    raise UsageError(
        f"there is no {MODULE} for {nginx.path} (looked in"
        f" {', '.join(sorted({str(path.parent) for path in tried}))}): install"
        " libnginx-mod-http-pywsgi, or pip install 'pywsgi[nginx]', or name it with --module"
    )


def package() -> Any:
    """The package pywsgi_nginx, which has an nginx and its module; None if it is not installed."""
    try:
        return importlib.import_module("pywsgi_nginx")
    except ImportError:
        return None


def _nginxes(options: Options) -> Iterator[tuple[str, Path]]:
    if options.nginx:
        yield "option", _command(options.nginx)
    if named := _from("PYWSGI_NGINX"):
        yield "environment", _command(named)
    if wheel := package():
        yield "pywsgi-nginx", Path(wheel.executable())
    found = _which("nginx")
    for path in [found] if found else []:
        yield "system", Path(path).absolute()
    for path in _USUAL_PLACES:
        if os.access(path, os.X_OK):
            yield "system", Path(path)


def _modules(nginx: Nginx) -> Iterator[Path]:
    wheel = package()
    if wheel and nginx.source == "pywsgi-nginx":
        yield Path(wheel.module())
    folder = nginx.configured("modules-path")
    prefix = nginx.configured("prefix") or "/usr/local/nginx"
    yield Path(prefix, folder or "modules") / MODULE
    yield Path("/usr/lib/nginx/modules") / MODULE


def _from(name: str) -> str | None:
    return os.environ.get(name) or None


def _command(name: str) -> Path:
    """A path, or a program on the PATH."""
    return Path(_which(name) or name).absolute()


def _which(name: str) -> str | None:
    """`shutil.which`, without the import of all archivers."""
    folders = [""] if os.sep in name else os.get_exec_path()
    for file in (os.path.join(folder, name) for folder in folders):
        if os.path.isfile(file) and os.access(file, os.X_OK):
            return file
    return None


def _about(path: Path) -> str:
    try:
        shown = subprocess.run(
            [path, "-V"], capture_output=True, text=True, errors="replace", timeout=30
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return shown.stderr if shown.returncode == 0 and "nginx" in shown.stderr else ""


def mime_types(nginx: Nginx) -> Path | None:
    """The file with nginx's MIME types; None if there is none beside its configuration."""
    wheel = package()
    candidates = [Path(wheel.data()) / "mime.types"] if wheel else []
    prefix = nginx.configured("prefix") or "/usr/local/nginx"
    if nginx.source != "pywsgi-nginx":
        conf = Path(prefix, nginx.configured("conf-path") or "conf/nginx.conf")
        candidates.insert(0, conf.with_name("mime.types"))
    return next((path for path in candidates if path.is_file()), None)


def python_version(module: Path) -> tuple[int, int] | None:
    """The version of the Python that a module is linked with: that of its libpython.

    pywsgi-nginx's is not linked with it, and is for this Python.
    """
    for name in needed_libraries(module):
        found = re.fullmatch(r"libpython(\d+)\.(\d+)t?\.so.*", name)
        if found:
            return int(found[1]), int(found[2])
    wheel = package()
    if wheel is not None and module == Path(wheel.module()):
        return sys.version_info[:2]
    return None


def needed_libraries(path: Path) -> list[str]:
    """The DT_NEEDED entries of a shared object of 64 bits, little endian; [] if it is none."""
    with contextlib.suppress(OSError, struct.error, ValueError), open(path, "rb") as file:
        return list(_needed(file))
    return []


def _needed(file: Any) -> Iterator[str]:
    header = file.read(64)
    if header[:6] != b"\x7fELF\x02\x01":
        return
    offset, size, count = (
        *struct.unpack_from("<Q", header, 32),
        *struct.unpack_from("<HH", header, 54),
    )
    file.seek(offset)
    table = file.read(size * count)
    segments = []
    dynamic = b""
    for at in range(0, size * count, size):
        kind, _, start, address, _, length = struct.unpack_from("<IIQQQQ", table, at)
        if kind == _PT_LOAD:
            segments.append((address, start, length))
        elif kind == _PT_DYNAMIC:
            file.seek(start)
            dynamic = file.read(length)
    entries = list(struct.iter_unpack("<qQ", dynamic))
    strings = next((value for tag, value in entries if tag == _DT_STRTAB), None)
    if strings is None:
        return
    for address, start, length in segments:
        if address <= strings < address + length:
            strings += start - address
            break
    for tag, value in entries:
        if tag == _DT_NEEDED:
            file.seek(strings + value)
            yield file.read(256).split(b"\0")[0].decode("utf-8", "replace")


_PT_LOAD, _PT_DYNAMIC = 1, 2
_DT_NEEDED, _DT_STRTAB = 1, 5

_USUAL_PLACES = (
    "/usr/sbin/nginx",
    "/usr/local/sbin/nginx",
    "/usr/local/nginx/sbin/nginx",
    "/opt/nginx/sbin/nginx",
)
