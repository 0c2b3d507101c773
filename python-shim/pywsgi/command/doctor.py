"""`pywsgi doctor`: what is wrong with an installation, and what to do."""

from __future__ import annotations

import argparse
import os
import pwd
import re
import resource
import shutil
import stat
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from pywsgi import __version__
from pywsgi.command.finding import Nginx, find_module, find_nginx, package, python_version
from pywsgi.command.nginx_conf import Directive, render
from pywsgi.command.options import Options, UsageError
from pywsgi.command.runner import write
from pywsgi.command.serve import private_folder, version_of
from pywsgi.command.site import temporary

OLDEST, NEWEST = (1, 22), (1, 31)
OLDEST_PYTHON, NEWEST_PYTHON = (3, 11), (3, 15)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--nginx", metavar="FILE", help="the nginx to look at")
    parser.add_argument("--module", metavar="FILE", help="the module to look at")
    parser.add_argument(
        "--venv", metavar="DIR", help="the applications' virtual environment (this command's)"
    )
    parser.add_argument("--chdir", metavar="DIR", help="where the application is (here)")
    parser.add_argument(
        "--user", default="www-data", help="the user that will run the workers (www-data)"
    )


class Finding(NamedTuple):
    """One line: `level` is "ok", "note", "warning" or "error"."""

    level: str
    subject: str
    text: str
    # What to do.
    cure: str = ""


def doctor(options: Options) -> int:
    """Returns 1 if something would keep an application from running."""
    worst = 0
    for finding in findings(options):
        print(f"{finding.level:8} {finding.subject:12} {finding.text}")
        if finding.cure:
            print(f"{'':8} {'':12} -> {finding.cure}")
        worst = max(worst, finding.level == "error")
    return int(worst)


def findings(options: Options) -> Iterator[Finding]:
    home = Path(options.venv).absolute() if options.venv else Path(sys.prefix)
    yield Finding("ok", "pywsgi", f"{__version__} in {sys.prefix}")
    yield from _python(home)
    try:
        nginx = find_nginx(options)
    except UsageError as error:
        what, _, cure = str(error).partition(": ")
        is_named = what in ("--nginx", "PYWSGI_NGINX")
        yield Finding("error", "nginx", *((str(error),) if is_named else (what, cure)))
        return
    yield from _of_nginx(nginx)
    try:
        module = find_module(options, nginx)
    except UsageError as error:
        what, _, cure = str(error).rpartition("): ")
        yield Finding("error", "module", f"{what})" if what else cure, cure if what else "")
        return
    wheel = package()
    if wheel is not None and nginx.source == "system":
        yield Finding("note", "wheel", "pywsgi-nginx is installed, and is not what is used")
    loaded = list(_of_module(nginx, module, home))
    yield from loaded
    if not any(finding.level == "error" for finding in loaded):
        yield from _of_import(nginx, module, home)
    place = Path(options.chdir or os.curdir).resolve()
    if not place.is_dir():
        yield Finding("error", "folder", f"--chdir {place}: there is no such directory")
    places = [each for each in (home, place) if each.is_dir()]
    yield from _permissions(places, options.user or "")
    yield from _confinement(home)
    yield from _limits()


def _python(home: Path) -> Iterator[Finding]:
    version = version_of(home)
    if version is None:
        yield Finding(
            "error",
            "Python",
            f"{home} is no virtual environment and no Python's prefix",
            f"python3 -m venv {home}",
        )
        return
    text = ".".join(map(str, version))
    if not OLDEST_PYTHON <= version <= NEWEST_PYTHON:
        yield Finding("error", "Python", f"{text} in {home} is not supported", "use 3.11 to 3.15")
        return
    is_venv = (home / "pyvenv.cfg").exists()
    what = f"{text} in {home} ({'a virtual environment' if is_venv else 'no virtual environment'})"
    yield Finding("ok", "Python", what)
    link = home / "bin" / "python3"
    if is_venv and not link.exists():
        yield Finding(
            "error",
            "venv",
            f"{link} leads nowhere: the Python it was made with has gone",
            f"python{text} -m venv --upgrade {home}, or make it again",
        )
    shared = sysconfig.get_config_var("Py_ENABLE_SHARED")
    # pywsgi-nginx needs that one, and says so itself.
    if home == Path(sys.prefix) and not shared and package() is None:
        yield Finding(
            "note",
            "libpython",
            f"{sys.base_prefix} has no shared libpython: the module brings or finds another one",
            "a Python built with --enable-shared (pyenv: PYTHON_CONFIGURE_OPTS=--enable-shared)"
            " would be embedded itself",
        )


def _of_nginx(nginx: Nginx) -> Iterator[Finding]:
    where = f"{nginx.version_text} at {nginx.path} ({nginx.source})"
    if not OLDEST <= nginx.version[:2] <= NEWEST:
        yield Finding("warning", "nginx", f"{where} is not tested", "use nginx 1.22 to 1.31")
    else:
        yield Finding("ok", "nginx", where)
    names = {
        "TLS": "http_ssl_module",
        "HTTP/2": "http_v2_module",
        "HTTP/3": "http_v3_module",
        "realip": "http_realip_module",
    }
    has = [name for name, module in names.items() if nginx.has(module)]
    lacks = [name for name in names if name not in has]
    without = f"; without {', '.join(lacks)}" if lacks else ""
    yield Finding("note", "nginx", f"has {', '.join(has) or 'none of the usual modules'}{without}")


def _of_module(nginx: Nginx, module: Path, home: Path) -> Iterator[Finding]:
    yield Finding("note", "module", str(module))
    built = python_version(module)
    own = version_of(home)
    if built and own and built != own:
        text = ".".join(map(str, built))
        yield Finding(
            "error",
            "module",
            f"is built for Python {text}, and {home} has {'.'.join(map(str, own))}",
            f"make the environment with python{text}, or install the module for that Python",
        )
    said = _test(nginx, [Directive("load_module", (str(module),)), Directive("events", (), ())])
    if not said:
        version = f", Python {'.'.join(map(str, built))}" if built else ""
        yield Finding("ok", "module", f"is loaded by this nginx (ABI as its own{version})")
        return
    yield _explained(nginx, module, said)


def _explained(nginx: Nginx, module: Path, said: str) -> Finding:
    """Why nginx does not load a module (ngx_load_module, ngx_add_module)."""
    other = re.search(r"version (\d+) instead of (\d+)", said)
    if other:
        built, wanted = (_dotted(int(number)) for number in other.groups())
        return Finding(
            "error",
            "module",
            f"is built for nginx {built}, and this is {wanted}",
            "install the module of this nginx's package, or build it: make module",
        )
    if "is not binary compatible" in said:
        return Finding(
            "error",
            "module",
            f"has another ABI signature than {nginx.path} (the options of its ./configure differ)",
            "build nginx --with-compat, or the module for this nginx (make module)",
        )
    # NoSharedPython of pywsgi-nginx.
    lacking = re.search(r"pywsgi-nginx: (.* has no shared library .*?): (.*)", said)
    if lacking:
        return Finding("error", "module", lacking[1], lacking[2])
    library = re.search(r"(lib[\w.+-]+\.so[\w.]*): cannot open shared object", said)
    if library:
        name = library[1]
        python = re.match(r"libpython(3\.\d+)", name)
        cure = f"apt install libpython{python[1]}" if python else f"install the library {name}"
        return Finding("error", "module", f"needs {name}, which is missing", cure)
    if "Permission denied" in said:
        return Finding("error", "module", f"{module} cannot be read", f"chmod a+r {module}")
    return Finding("error", "module", f"cannot be loaded: {said}", "install it again")


def _dotted(number: int) -> str:
    """nginx's 1022001 is 1.22.1."""
    return f"{number // 1000000}.{number // 1000 % 1000}.{number % 1000}"


def _of_import(nginx: Nginx, module: Path, home: Path) -> Iterator[Finding]:
    """Whether Python starts inside this nginx, by an application that does nothing."""
    folder = private_folder()
    try:
        (folder / "tmp").mkdir()
        app = folder / "doctor.py"
        app.write_text("def application(environ, start_response):\n    return []\n")
        user = pwd.getpwuid(os.geteuid())
        as_root = [Directive("user", (user.pw_name,))] if os.geteuid() == 0 else []
        said = _test(
            nginx,
            [
                Directive("load_module", (str(module),)),
                *as_root,
                Directive("events", (), ()),
                Directive(
                    "http",
                    (),
                    [
                        Directive("access_log", ("off",)),
                        Directive("python_home", (str(home),)),
                        *temporary(folder),
                        Directive(
                            "server",
                            (),
                            [
                                Directive("listen", (f"unix:{folder}/a.sock",)),
                                Directive("location", ("/",), [Directive("wsgi_app", (str(app),))]),
                            ],
                        ),
                    ],
                ),
            ],
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if said:
        yield Finding("error", "Python", f"does not start in nginx: {said}", "see docs/errors.md")
    else:
        yield Finding("ok", "Python", "starts inside this nginx, with this environment")


def _test(nginx: Nginx, directives: list[Directive]) -> str:
    """What `nginx -t` has against a configuration; "" if nothing."""
    folder = private_folder()
    try:
        pid = Directive("pid", (str(folder / "nginx.pid"),))
        log = Directive("error_log", ("stderr",))
        write(folder / "nginx.conf", render([directives[0], pid, log, *directives[1:]]))
        done = subprocess.run(nginx.test(folder), capture_output=True, text=True, errors="replace")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if done.returncode == 0:
        return ""
    bad = re.findall(r"\[(?:emerg|alert|crit|error)\] (?:\d+#\d+: )?(.*)", done.stderr)
    # Nobody has written that file.
    bad = [text.removesuffix(f" in {folder}/nginx.conf:{text.rpartition(':')[2]}") for text in bad]
    if bad:
        return str(bad[0])
    status = done.returncode
    how = f"is ended by signal {-status}" if status < 0 else f"ends with {status}"
    return f"nginx -t {how}: {done.stderr.strip()}".rstrip(": ")


def _permissions(places: list[Path], user: str) -> Iterator[Finding]:
    """Whether the workers of an nginx that root starts could read these folders."""
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        yield Finding("note", "permissions", f"there is no user {user}, so none are looked at")
        return
    closed = [folder for place in places if (folder := closed_folder(place, entry)) is not None]
    for folder in dict.fromkeys(closed):
        yield Finding(
            "warning",
            "permissions",
            f"{user} cannot enter {folder} (pywsgi serve runs as you, and can)",
            f"chmod o+x {folder}, or move the application below /srv",
        )
    if not closed:
        yield Finding("ok", "permissions", f"{user} can enter {' and '.join(map(str, places))}")


def closed_folder(place: Path, entry: pwd.struct_passwd) -> Path | None:
    """The first folder on the way that this user may not search."""
    groups = set(os.getgrouplist(entry.pw_name, entry.pw_gid))
    for folder in [*reversed(place.parents), place]:
        try:
            status = folder.stat()
        except OSError:
            return folder
        if status.st_uid == entry.pw_uid:
            bit = stat.S_IXUSR
        elif status.st_gid in groups:
            bit = stat.S_IXGRP
        else:
            bit = stat.S_IXOTH
        if entry.pw_uid != 0 and not status.st_mode & bit:
            return folder
    return None


def _confinement(home: Path) -> Iterator[Finding]:
    if _read("/sys/fs/selinux/enforce").strip() == "1":
        yield Finding(
            "warning",
            "SELinux",
            "is enforcing: nginx as a service (httpd_t) reads what is labelled for it alone",
            f"semanage fcontext -a -t httpd_sys_content_t '{home}(/.*)?' && restorecon -R {home};"
            " then ausearch -m avc -c nginx shows what it still refuses",
        )
    for line in _read("/sys/kernel/security/apparmor/profiles").splitlines():
        name, _, mode = line.rpartition(" ")
        if "nginx" in name:
            yield Finding(
                "warning" if mode == "(enforce)" else "note",
                "AppArmor",
                f"confines nginx: profile {name} {mode}",
                f"allow {home}/** mr and the application's folders in that profile, and load it"
                " anew; journalctl -k -g DENIED shows what it refuses",
            )


def _limits() -> Iterator[Finding]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < 1024:
        yield Finding(
            "warning", "limits", f"{soft} open files are few (at most {hard})", "ulimit -n 4096"
        )


def _read(path: str) -> str:
    try:
        return Path(path).read_text("utf-8", "replace")
    except OSError:
        return ""
