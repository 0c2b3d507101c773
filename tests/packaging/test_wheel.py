"""The wheels, installed into virtual environments by an ordinary user (`make test-wheel`)."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from harness import FATAL, PROJECT, free_port
from packaged import (
    django_answers,
    fastapi_answers,
    flask_answers,
    reload_under_load,
    term_under_load,
    workers,
)
from rawhttp import wait_for

# Virtual environments are made, and packages installed.
pytestmark = pytest.mark.timeout(1800)

WHEELS = Path(os.environ.get("PYWSGI_WHEELS", PROJECT / "target" / "wheel" / "dist"))
PYTHON = os.environ.get("PYWSGI_WHEEL_PYTHON", "/usr/bin/python3")
APPS = PROJECT / "tests" / "packaging" / "apps"
PINS = PROJECT / "tests" / "frameworks" / "requirements.txt"
# Who must not own anything on this machine.
NOBODY = 65534


class User:
    """An ordinary user with an empty home: this one, or if root runs the tests, nobody."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._ids = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
        if os.geteuid() != 0:
            self._ids = {}
        self.own(home)

    def own(self, folder: Path) -> None:
        if self._ids:
            subprocess.run(["chown", "-R", f"{NOBODY}:{NOBODY}", folder], check=True)

    def start(self, *command: str | Path, **options) -> subprocess.Popen[str]:
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(self.home), "LANG": "C.UTF-8"}
        environment |= options.pop("env", {})
        return subprocess.Popen(
            [*map(str, command)], cwd=self.home, env=environment, text=True, **self._ids, **options
        )

    def run(self, *command: str | Path, fails: bool = False, **options) -> str:
        """Its output, of both kinds. fails: it must fail."""
        process = self.start(
            *command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            **options,
        )
        output, _ = process.communicate(timeout=600)
        assert (process.returncode != 0) == fails, output
        return output

    def venv(self, name: str, *, python: str | Path = PYTHON, pip: bool = False) -> Path:
        """A new virtual environment."""
        venv = self.home / name
        self.run(python, "-m", "venv", *([] if pip else ["--without-pip"]), venv)
        return venv

    def install(self, venv: Path, *packages: str, pip: Path | None = None) -> None:
        """pip: that of another virtual environment."""
        options = ("--find-links", self.home / "wheels", "-c", self.home / "pins")
        self.pip(venv, "install", *options, *packages, pip=pip)

    def pip(self, venv: Path, *arguments: str | Path, pip: Path | None = None) -> str:
        command = (pip or venv) / "bin" / "pip"
        common = ("--quiet", "--disable-pip-version-check")
        return self.run(command, *common, "--python", venv / "bin" / "python", *arguments)


class Site:
    """The wheel's nginx, with a configuration written by hand."""

    def __init__(self, user: User, venv: Path, name: str, *, server: str = "") -> None:
        self.user = user
        self.venv = venv
        self.port = free_port()
        self.root = user.home / f"run-{name}-{self.port}"
        self.app = self.root / "app"
        self.data = self.root / "data"
        self.conf = self.root / "nginx.conf"
        self.log = self.root / "error.log"
        (self.root / "tmp").mkdir(parents=True)
        self.data.mkdir()
        shutil.copytree(APPS / f"{name}_site", self.app)
        find = "import pywsgi_nginx as n; print(n.module(), n.data(), sep=chr(10))"
        module, data = user.run(venv / "bin" / "python", "-c", find).splitlines()
        self.conf.write_text(f"""\
load_module "{module}";
worker_processes 2;
daemon off;
events {{}}
http {{
    include "{data}/mime.types";
    python_home "{venv}";
    python_path {self.app};
    python_env SITE_DATA={self.data};
    wsgi_temp_path tmp/wsgi;
    asgi_temp_path tmp/asgi;
    server {{
        listen 127.0.0.1:{self.port};
        location = /-/status {{ python_status; }}
        location /static/ {{ alias {self.data}/static/; }}
        location /media/ {{ alias {self.data}/media/; }}
        {server}
    }}
}}
""")
        user.own(self.root)

    def nginx(self, *arguments: str | Path) -> list[str | Path]:
        """The command with this site's configuration."""
        command = self.venv / "bin" / "pywsgi-nginx"
        return [command, "-p", self.root, "-c", self.conf, "-e", self.log, *arguments]

    def start(self) -> Site:
        self.process = self.user.start(*self.nginx(), stdin=subprocess.DEVNULL)
        wait_for(lambda: self._serves() or self.process.poll() is not None, 60, "an answer")
        assert self.process.poll() is None, self.log.read_text()
        return self

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGQUIT)
            # A QUIC connection whose end nginx has not heard of holds it for 75 s.
            self.process.wait(150)
        self.check_log()

    def check_log(self) -> None:
        assert [line for line in self.log.read_text().splitlines() if FATAL.search(line)] == []

    def url(self, path: str = "/") -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def reload(self) -> None:
        self.user.run(*self.nginx("-s", "reload"))

    def term(self) -> None:
        # nginx's graceful exit. `pywsgi serve` and the images do it on TERM.
        self.process.send_signal(signal.SIGQUIT)

    def exit_code(self) -> int:
        return self.process.wait(60)

    def _serves(self) -> bool:
        try:
            return len(workers(self)) == 2
        except httpx.TransportError:
            return False


class Command(Site):
    """The same by `pywsgi serve`, which finds the wheel's nginx."""

    def __init__(self, user: User, venv: Path, name: str, *options: str) -> None:
        super().__init__(user, venv, name)
        self.options = options
        self.scheme = "https" if "--tls-self-signed" in options else "http"

    def start(self) -> Command:
        self.log.touch()
        self.process = self.user.start(
            self.venv / "bin" / "pywsgi",
            *("serve", "wsgi:app", "--app-dir", self.app, "--bind", f"127.0.0.1:{self.port}"),
            *self.options,
            stdin=subprocess.DEVNULL,
        )
        wait_for(lambda: self._listens() or self.process.poll() is not None, 120, "an answer")
        assert self.process.poll() is None
        return self

    def url(self, path: str = "/") -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}{path}"

    def term(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def _listens(self) -> bool:
        try:
            answer = httpx.get(self.url(), verify=False, trust_env=False, timeout=60)
            return answer.status_code == 200
        except httpx.TransportError:
            return False


@pytest.fixture(scope="module")
def user() -> Iterator[User]:
    # Not in pytest's folder, which is root's alone.
    home = Path(tempfile.mkdtemp(prefix="pywsgi-wheel-"))
    shutil.copytree(WHEELS, home / "wheels")
    shutil.copyfile(PINS, home / "pins")
    yield User(home)
    shutil.rmtree(home)


@pytest.fixture(scope="module")
def venv(user) -> Path:
    venv = user.venv("venv", pip=True)
    user.install(venv, "pywsgi[nginx]", "Flask", "Django", "fastapi")
    return venv


@pytest.fixture
def served(user, venv):
    """`served("flask", directives)`: that application, served by this virtual environment."""
    sites = []

    def start(name: str, server: str, *, python: Path = venv) -> Site:
        sites.append(Site(user, python, name, server=server))
        return sites[-1]

    yield start
    for site in sites:
        site.close()


FLASK = "location / { wsgi_app wsgi:app; }"
DJANGO = "location / { wsgi_app site_of_test.wsgi; }"
FASTAPI = "location / { asgi_app main:app; }"


def test_flask(served):
    site = served("flask", FLASK).start()
    flask_answers(site)
    reload_under_load(site)
    term_under_load(site)


def test_pywsgi_serve(user, venv):
    site = Command(user, venv, "flask").start()
    try:
        flask_answers(site)
        term_under_load(site)
    finally:
        site.close()


def test_pywsgi_serve_with_http3(user, venv):
    """Over TCP, a browser is told of HTTP/3 on the same port."""
    from rawhttp3 import run

    site = Command(user, venv, "flask", "--tls-self-signed", "--http2", "--http3").start()

    async def talk(http3) -> None:
        answer = await http3.get("/")
        assert (answer.status, answer.body) == (200, b"v ")
        stream = http3.request("/", method="POST", end=False)
        http3.send(stream, b"over ")
        http3.send(stream, b"QUIC", end=True)
        answer = await http3.response(stream)
        assert (answer.status, answer.body) == (200, b"v over QUIC")

    try:
        with httpx.Client(http2=True, verify=False, trust_env=False, timeout=60) as client:
            answer = client.get(site.url())
        assert (answer.http_version, answer.text) == ("HTTP/2", "v ")
        assert answer.headers["Alt-Svc"] == f'h3=":{site.port}"; ma=86400'
        run(site.port, talk)
        site.term()
        assert site.exit_code() == 0
    finally:
        site.close()


def test_pywsgi_check_and_doctor(user, venv):
    folder = APPS / "flask_site"
    said = user.run(venv / "bin" / "pywsgi", "check", "wsgi:app", "--app-dir", folder)
    assert said.startswith("ok: wsgi:app (WSGI) in ")
    assert f"({venv}/bin/pywsgi-nginx)" in said
    said = user.run(venv / "bin" / "pywsgi", "doctor", "--user", "nobody")
    version = ".".join(_tag()[2:].partition("3")[1:])
    assert f"is loaded by this nginx (ABI as its own, Python {version})" in said
    assert "starts inside this nginx, with this environment" in said


def test_django(user, venv, served):
    site = served("django", DJANGO)
    manage = (venv / "bin" / "python", site.app / "manage.py")
    password = {"DJANGO_SUPERUSER_PASSWORD": "of a test", "SITE_DATA": str(site.data)}
    user.run(*manage, "migrate", env=password)
    user.run(*manage, "collectstatic", "--noinput", env=password)
    superuser = ("createsuperuser", "--noinput", "--username", "ann", "--email", "ann@example.com")
    user.run(*manage, *superuser, env=password)
    site.start()
    django_answers(site)
    reload_under_load(site)
    term_under_load(site)


def test_fastapi(served):
    site = served("fastapi", FASTAPI).start()
    fastapi_answers(site)
    reload_under_load(site)
    term_under_load(site)


def test_tls_with_http2_and_http3(user, served):
    from rawhttp3 import run

    site = served("flask", "")
    certificate = f"{site.root}/cert.pem", f"{site.root}/key.pem"
    ec = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    user.run(
        *("openssl", "req", "-x509", *ec.split(), "-out", certificate[0], "-keyout", certificate[1])
    )
    tls = free_port()
    text = site.conf.read_text().replace("listen 127", f"listen 127.0.0.1:{tls} ssl; listen 127")
    files = f"http2 on; ssl_certificate {certificate[0]}; ssl_certificate_key {certificate[1]};"
    quic = f"listen 127.0.0.1:{tls} quic; {files} {FLASK}"
    site.conf.write_text(text.replace("location = ", f"{quic} location = "))
    site.start()
    with httpx.Client(http2=True, verify=False, trust_env=False, timeout=60) as client:
        answer = client.post(f"https://127.0.0.1:{tls}/", content=b"body")
        assert (answer.http_version, answer.text) == ("HTTP/2", "v body")

    async def talk(http3) -> None:
        answer = await http3.get("/")
        assert (answer.status, answer.body) == (200, b"v ")

    run(tls, talk)


def test_applications_see_nothing_of_how_the_library_is_found(user, venv, served):
    """And Python's own OpenSSL and zlib are those of Python."""
    site = served("flask", FLASK)
    (site.app / "wsgi.py").write_text("""
import json, os, ssl, subprocess, zlib

def app(environ, start_response):
    child = subprocess.run(["env"], capture_output=True, text=True, check=True).stdout
    maps = open("/proc/self/maps").read()
    seen = {"environ": dict(os.environ), "child": child, "maps": maps,
            "openssl": ssl.OPENSSL_VERSION, "zlib": zlib.ZLIB_RUNTIME_VERSION}
    ssl.create_default_context()
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(seen).encode()]
""")
    site.start()
    seen = httpx.get(site.url(), trust_env=False, timeout=60).json()
    assert "LD_" not in str(seen["environ"]) + seen["child"]
    find = "import ssl, zlib; print(ssl.OPENSSL_VERSION, zlib.ZLIB_RUNTIME_VERSION, sep=chr(10))"
    said = user.run(venv / "bin" / "python", "-c", find).split("\n")
    assert [seen["openssl"], seen["zlib"]] == said[:2]
    assert len(set(re.findall(r"/\S*libpython3\.\d+\.so\S*", seen["maps"]))) == 1


def test_a_binary_upgrade(user, venv):
    """nginx starts the command again, which tells the loader again."""
    site = Site(user, venv, "flask", server=FLASK)
    # nginx refuses it as long as the process that has started it is there.
    site.conf.write_text(site.conf.read_text().replace("daemon off;", ""))
    pid_file = site.root / "nginx.pid"
    user.run(*site.nginx())
    wait_for(lambda: len(workers(site)) == 2, 60, "workers")
    before, old = workers(site), int(pid_file.read_text())
    os.kill(old, signal.SIGUSR2)
    wait_for(lambda: workers(site) - before, 60, "the new master's workers")
    os.kill(old, signal.SIGQUIT)
    wait_for(lambda: not Path(f"/proc/{old}").exists(), 60, "the old master's exit")
    flask_answers(site)
    new = int(pid_file.read_text())
    assert new != old
    command = Path(f"/proc/{new}/cmdline").read_text()
    assert f"{venv}/bin/pywsgi-nginx" in command
    os.kill(new, signal.SIGQUIT)
    wait_for(lambda: not Path(f"/proc/{new}").exists(), 60, "the new master's exit")
    site.check_log()


def test_a_python_in_a_prefix_of_its_own(user, venv, served):
    """As uv's and pyenv's: the library beside it is taken, whatever the system has."""
    ask = "import sys, sysconfig; print(sys.base_prefix, '%d.%d' % sys.version_info[:2])"
    base, version = subprocess.check_output([PYTHON, "-c", ask], text=True).split()
    prefix = user.home / "a prefix" / "python"
    (prefix / "bin").mkdir(parents=True)
    (prefix / "lib").mkdir()
    python = prefix / "bin" / f"python{version}"
    shutil.copyfile(os.path.realpath(PYTHON), python)
    python.chmod(0o755)
    library = f"libpython{version}.so.1.0"
    (source,) = [file for file in Path(base, "lib").rglob(library) if not file.is_symlink()]
    shutil.copyfile(source, prefix / "lib" / library)
    (prefix / "lib" / f"python{version}").symlink_to(f"{base}/lib/python{version}")
    user.own(prefix.parent)
    own = user.venv("venv of it", python=python)
    user.install(own, "pywsgi[nginx]", "Flask", pip=venv)
    find = "import pywsgi_nginx; print(pywsgi_nginx.libpython())"
    assert user.run(own / "bin" / "python", "-c", find).strip() == str(prefix / "lib" / library)
    site = served("flask", FLASK, python=own)
    site.start()
    flask_answers(site)
    (worker, *_) = workers(site)
    assert f"{prefix}/lib/{library}" in Path(f"/proc/{worker}/maps").read_text()


def test_a_python_without_a_shared_library(user, venv):
    """One line says which file is missing, and what to do."""
    pretend = (
        "import sys; sys.version_info = type('', (tuple,), {'major': 3, 'minor': 99})((3, 99, 1))"
    )
    run = f"{pretend}; import pywsgi_nginx; pywsgi_nginx.main()"
    said = user.run(venv / "bin" / "python", "-c", run, fails=True)
    assert "has no shared library libpython3.99.so.1.0, which nginx's module needs: " in said
    assert said.startswith("pywsgi-nginx: /") and said.count("\n") == 1


def test_what_the_wheel_contains(user, venv):
    """Only libraries that every such system has, beside libpython; no path of the build machine."""
    (wheel,) = WHEELS.glob(f"pywsgi_nginx-*-{_tag()}-*.whl")
    assert re.fullmatch(r".*-manylinux_2_\d+_\w+\.whl", wheel.name), wheel.name
    files = (
        user.run(venv / "bin" / "pip", "show", "-f", "pywsgi-nginx").split("Files:\n")[1].split()
    )
    assert not [file for file in files if "libpython" in file]
    packages = next(venv.glob("lib/python3*/site-packages"))
    home = os.path.expanduser("~").encode() + b"/"
    for file in ("bin/nginx", "modules/ngx_http_pywsgi_module.so"):
        content = (packages / "pywsgi_nginx" / file).read_bytes()
        assert str(PROJECT / "src").encode() not in content
        assert home not in content
    needed = subprocess.check_output(
        ["readelf", "-d", packages / "pywsgi_nginx/bin/nginx"], text=True
    )
    assert not re.search(r"NEEDED.*(ssl|crypto|pcre|libz)", needed)
    exported = subprocess.check_output(
        ["nm", "-D", "--defined-only", packages / "pywsgi_nginx/bin/nginx"], text=True
    )
    assert re.search(r"\bngx_http_core_module$", exported, re.MULTILINE)
    assert not re.search(
        r"\b(SSL_new|EVP_DigestInit|pcre2_compile_8|inflate)$", exported, re.MULTILINE
    )


def test_uninstall_leaves_nothing(user, venv):
    empty = user.venv("venv to empty")
    before = sorted(empty.rglob("*"))
    user.install(empty, "pywsgi[nginx]", pip=venv)
    find = "import pywsgi_nginx; print(pywsgi_nginx.executable())"
    command = user.run(empty / "bin" / "python", "-c", find).strip()
    assert command == f"{empty}/bin/pywsgi-nginx"
    assert user.run(command, "-v").startswith("nginx version: nginx/")
    user.pip(empty, "uninstall", "--yes", "pywsgi", "pywsgi-nginx", pip=venv)
    assert sorted(empty.rglob("*")) == before


def _tag() -> str:
    ask = "import sys; print('cp%d%d' % sys.version_info[:2])"
    return subprocess.check_output([PYTHON, "-c", ask], text=True).strip()
