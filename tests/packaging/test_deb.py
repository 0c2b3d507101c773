"""The Debian packages in a root of nothing but Debian, without network: `make test-deb`.

The root has nginx, Python and Debian's own Flask, Django and FastAPI. After each test the packages
are purged, and the root must be what it was before. `make test-deb` sets ROOT and DEBS.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import stat
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import packaged
import pytest
from load import fresh, kept, stream
from rawhttp import wait_for

pytestmark = pytest.mark.timeout(900)

ROOT = Path(os.environ["ROOT"])
APPS = Path(__file__).parent / "apps"

NAME = "libnginx-mod-http-pywsgi"
COMMAND = "python3-pywsgi"
NAMES = (NAME, COMMAND)
(DEB,) = Path(os.environ["DEBS"]).glob(f"{NAME}_*.deb")
(COMMAND_DEB,) = Path(os.environ["DEBS"]).glob(f"{COMMAND}_*.deb")
MODULE = "/usr/lib/nginx/modules/ngx_http_pywsgi_module.so"
AVAILABLE = "/usr/share/nginx/modules-available/mod-http-pywsgi.conf"
ENABLED = "/etc/nginx/modules-enabled/50-mod-http-pywsgi.conf"
SITE = "/etc/nginx/sites-enabled/site"

# What packages and servers write as they go, and where these tests put their own files.
CHANGING = (
    "/deb",
    "/dev",
    "/etc/apt",
    "/etc/ld.so.cache",
    "/proc",
    "/run",
    "/srv",
    "/sys",
    "/tmp",
    "/var/cache",
    "/var/lib/apt",
    "/var/lib/dpkg",
    "/var/log",
)
ENVIRONMENT = {
    "HOME": "/root",
    "LC_ALL": "C.UTF-8",
    "DEBIAN_FRONTEND": "noninteractive",
    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    # Debian's init script gives requests 5 s at a stop (docs/installing.md, "Stopping").
    "STOP_SCHEDULE": "QUIT/90/TERM/5",
}
IN_ROOT = ["chroot", str(ROOT)]
AS_NOBODY = ["env", "HOME=/nonexistent", "chroot", "--userspec=nobody:nogroup", str(ROOT)]


def run(*command: str, within: list[str] = IN_ROOT, fails: bool = False) -> str:
    """Runs a command in the root and returns what it said."""
    done = subprocess.run(
        [*within, *command],
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=250,
    )
    assert (done.returncode != 0) == fails, f"{command}: {done.returncode}\n{done.stdout}"
    return done.stdout


def inside(path: str) -> Path:
    """A path of the root, as seen from outside."""
    return ROOT / path.removeprefix("/")


def install(*debs: Path) -> str:
    """`apt install ./….deb`, as a user types it; without an argument the module's."""
    inside("/deb").mkdir(exist_ok=True)
    names = []
    for deb in debs or (DEB,):
        shutil.copy(deb, inside("/deb"))
        names.append(f"/deb/{deb.name}")
    return run("apt-get", "install", "-y", *names)


def files() -> dict[str, str]:
    """Each file of the root with its kind, mode, owner and content, but for what is CHANGING."""
    found = {}
    for folder, folders, names in os.walk(ROOT):
        place = "/" + os.path.relpath(folder, ROOT).removeprefix(".")
        folders[:] = [name for name in folders if os.path.join(place, name) not in CHANGING]
        for name in folders + names:
            path, file = os.path.join(place, name), Path(folder, name)
            if path in CHANGING:
                continue
            status = file.lstat()
            what = f"{stat.filemode(status.st_mode)} {status.st_uid}:{status.st_gid}"
            if stat.S_ISLNK(status.st_mode):
                what += f" -> {os.readlink(file)}"
            elif stat.S_ISREG(status.st_mode):
                what += f" {status.st_size} {status.st_mtime_ns}"
                if path.startswith("/etc/"):
                    what = what.rpartition(" ")[0] + hashlib.sha256(file.read_bytes()).hexdigest()
            found[path] = what
    # dpkg's own notes about packages.
    for file in inside("/var/lib/dpkg/info").iterdir():
        if file.name.startswith(NAMES):
            found[f"/var/lib/dpkg/info/{file.name}"] = "a note of dpkg"
    return found


def difference(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """The paths that are new, gone or changed."""
    return sorted(
        path for path in before.keys() | after.keys() if before.get(path) != after.get(path)
    )


@pytest.fixture(autouse=True)
def untouched() -> Iterator[dict[str, str]]:
    """The files before the test, which are there again after a purge, and nothing else is."""
    # nginx makes its temporary folders at its first start.
    run("nginx", "-t")
    before = files()
    yield before
    if inside("/run/nginx.pid").exists():
        run("/etc/init.d/nginx", "stop")
    inside(SITE).unlink(missing_ok=True)
    inside("/etc/nginx/sites-enabled/default").unlink(missing_ok=True)
    inside("/etc/nginx/sites-enabled/default").symlink_to("/etc/nginx/sites-available/default")
    run("dpkg", "--purge", *NAMES)
    assert difference(before, files()) == []
    shutil.rmtree(inside("/srv"))
    inside("/srv").mkdir(mode=0o755)
    run("nginx", "-t")
    log = inside("/var/log/nginx/error.log")
    faults = [line for line in log.read_text().splitlines() if FAULT.search(line)]
    log.write_text("")
    assert faults == []


FAULT = re.compile(r"\[(alert|crit|emerg)\]")


def pid() -> int:
    """The master's."""
    return int(wait_for(lambda: inside("/run/nginx.pid").read_text(), 60, "nginx's pid"))


def all_serve(site: Site) -> set[int]:
    """The pids of the master's workers, as soon as each of them serves.

    The first one answers while others may still import the application.
    """
    master = pid()
    children = Path(f"/proc/{master}/task/{master}/children")

    def serving() -> set[int]:
        found = packaged.workers(site)
        return found if found == {int(child) for child in children.read_text().split()} else set()

    return wait_for(serving, 60, "workers that all serve")


class Site:
    """Debian's nginx with one site of the administrator's, at port 8080."""

    port = 8080

    def __init__(self, *lines: str, path: Path | None = None) -> None:
        """`path`: a folder with the application, which is copied to /srv/site."""
        if path is not None:
            shutil.copytree(path, inside("/srv/site"))
        inside("/etc/nginx/sites-enabled/default").unlink(missing_ok=True)
        inside(SITE).write_text("\n".join([*lines, ""]))
        self._nginx: subprocess.Popen[bytes] | None = None

    def start(self) -> Site:
        """As at boot, but in the foreground, so that the exit code can be seen."""
        self._nginx = subprocess.Popen([*IN_ROOT, "nginx", "-g", "daemon off;"], env=ENVIRONMENT)
        # Until somebody waits for it, it exists, and Debian's stop waits for its end.
        threading.Thread(target=self._nginx.wait, daemon=True).start()
        wait_for(self._answers, 120, "an answer")
        return self

    def boot(self) -> Site:
        """As a daemon: one in the foreground ignores USR2 (ngx_signal_handler)."""
        run("/etc/init.d/nginx", "start")
        wait_for(self._answers, 120, "an answer")
        return self

    def _answers(self) -> bool:
        assert self._nginx is None or self._nginx.poll() is None, "nginx has exited"
        try:
            return httpx.get(self.url(), trust_env=False, timeout=60).status_code == 200
        except httpx.TransportError:
            return False

    def url(self, path: str = "/") -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def reload(self) -> None:
        run("/etc/init.d/nginx", "reload")

    def term(self) -> None:
        """What Debian's scripts do when nginx is stopped, without waiting for it."""
        self._stopping = subprocess.Popen([*IN_ROOT, "/etc/init.d/nginx", "stop"], env=ENVIRONMENT)

    def exit_code(self) -> int:
        assert self._nginx is not None
        assert self._stopping.wait(120) == 0
        return self._nginx.wait(120)


def locations(*lines: str) -> list[str]:
    """A server at Site.port with these lines and the status."""
    return [
        f"server {{ listen {Site.port};",
        *lines,
        "location /-/ { python_status; } }",
    ]


@pytest.fixture
def flask() -> Site:
    """Not started yet."""
    install()
    line = "location / { wsgi_app /srv/site/wsgi.py; }"
    return Site(*locations(line), path=APPS / "flask_site")


@pytest.fixture
def fastapi() -> Site:
    install()
    line = "location / { asgi_app /srv/site/main.py; }"
    return Site(*locations(line), path=APPS / "fastapi_site").start()


@pytest.fixture
def django() -> Site:
    install()
    data = "/srv/data"
    site = Site(
        "python_path /srv/site;",
        f"python_env SITE_DATA={data};",
        *locations(
            "location / { wsgi_app site_of_test.wsgi:application; }",
            f"location /static/ {{ alias {data}/static/; }}",
            f"location /media/ {{ alias {data}/media/; }}",
        ),
        path=APPS / "django_site",
    )
    manage = ("env", "SITE_DATA=/srv/data", "python3", "-B", "/srv/site/manage.py")
    for folder in ("", "/media"):
        run("install", "-d", "-o", "www-data", "-g", "www-data", data + folder)
    run(*manage, "migrate", "-v", "0")
    run(*manage, "collectstatic", "--no-input", "-v", "0")
    ann = "DJANGO_SUPERUSER_PASSWORD=of a test"
    superuser = ("createsuperuser", "--no-input", "--username", "ann", "--email", "a@b.example")
    run("env", ann, *manage[1:], *superuser)
    run("chown", "-R", "www-data:www-data", data)
    return site.start()


def test_install_enables_the_module_and_nothing_else(untouched):
    """Debian's nginx runs with its default site, and goes on with the module loaded."""
    run("/etc/init.d/nginx", "start")
    master = pid()
    install()
    shipped = set(run("dpkg", "-L", NAME).split()) | {ENABLED}
    new = difference(untouched, files())
    assert {MODULE, AVAILABLE, ENABLED} < set(new)
    assert [path for path in new if path not in shipped and "/dpkg/info/" not in path] == []
    assert os.readlink(inside(ENABLED)) == AVAILABLE
    # dpkg's trigger has reloaded the nginx that was running.
    maps = Path(f"/proc/{master}/maps")
    wait_for(lambda: MODULE in maps.read_text(), 60, "the module in the running nginx")
    assert pid() == master
    answer = httpx.get("http://127.0.0.1/", trust_env=False, timeout=60)
    assert "Welcome to nginx" in answer.text
    # Without an application there is no Python and no thread of ours.
    assert threads(master) == 1


def threads(process: int) -> int:
    return len(os.listdir(f"/proc/{process}/task"))


def test_two_lines_serve_an_application():
    """A file, and a line in a server that is there already."""
    install()
    inside("/srv/hello.py").write_text(
        "def application(environ, start_response):\n"
        "    start_response('200 OK', [('Content-Type', 'text/plain')])\n"
        "    return [b'hello\\n']\n"
    )
    Site("server { listen 8080; location / { wsgi_app /srv/hello.py; } }")
    run("/etc/init.d/nginx", "start")
    assert run("curl", "-fsS", "http://localhost:8080/") == "hello\n"


def test_flask(flask):
    flask.start()
    packaged.flask_answers(flask)
    packaged.reload_under_load(flask)
    packaged.term_under_load(flask)


def test_django(django):
    packaged.django_answers(django)
    packaged.reload_under_load(django)
    packaged.term_under_load(django)


def test_fastapi(fastapi):
    packaged.fastapi_answers(fastapi)
    packaged.reload_under_load(fastapi)
    packaged.term_under_load(fastapi)


def next_version(folder: Path) -> Path:
    """The same package with a higher version, and a module of other content."""
    content = folder / "content"
    subprocess.run(["dpkg-deb", "-R", str(DEB), str(content)], check=True)
    control = content / "DEBIAN" / "control"
    control.write_text(re.sub(r"(?m)^(Version: .*)$", r"\1+next", control.read_text()))
    with open(content / MODULE.removeprefix("/"), "ab") as module:
        module.write(b"next")
    next_deb = folder / f"{NAME}_next.deb"
    build = ["dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "-b", str(content), str(next_deb)]
    subprocess.run(build, check=True, stdout=subprocess.DEVNULL)
    return next_deb


def test_an_upgrade_says_that_a_restart_is_needed(flask, tmp_path):
    """The old module serves on; nginx's own upgrade (USR2) replaces it, and no request is lost."""
    flask.boot()
    deleted = f"{MODULE} (deleted)"
    with packaged.under_load(flask, (fresh, kept, stream)):
        old = pid()
        said = install(next_version(tmp_path))
        assert "a reload keeps it: restart nginx" in said
        assert deleted in Path(f"/proc/{old}/maps").read_text()
        run("/etc/init.d/nginx", "upgrade")
        wait_for(lambda: pid() != old and packaged.workers(flask), 60, "the new master")
        wait_for(lambda: not Path(f"/proc/{old}").exists(), 60, "the old master's exit")
        assert deleted not in Path(f"/proc/{pid()}/maps").read_text()


def test_an_upgrade_of_a_stopped_nginx_says_nothing(tmp_path):
    install()
    assert "restart nginx" not in install(next_version(tmp_path))


def test_an_upgrade_keeps_a_module_disabled(tmp_path):
    install()
    inside(ENABLED).unlink()
    install(next_version(tmp_path))
    assert not inside(ENABLED).is_symlink()


def test_a_removal_says_what_still_needs_the_module(flask):
    """The running nginx serves on, because it refuses the configuration without the module."""
    flask.boot()
    with packaged.under_load(flask, (fresh, kept, stream)):
        master, workers = pid(), all_serve(flask)
        said = run("apt-get", "remove", "-y", NAME)
        assert "nginx will not start until" in said
        assert 'unknown directive "wsgi_app" in /etc/nginx/sites-enabled/site:2' in said
        # A reload that the administrator asks for is refused as well.
        run("/etc/init.d/nginx", "reload", fails=True)
        assert packaged.workers(flask) == workers
        # Installed again, it is as before, with the file that nginx has in memory.
        assert "a reload keeps it: restart nginx" in install()
        run("nginx", "-t")
        packaged.reload(flask)
        assert pid() == master
    packaged.flask_answers(flask)


def test_a_removal_finishes_the_requests_of_a_site_that_has_gone():
    """As for Debian's own modules the removal reloads nginx, which then is without the module."""
    install()
    inside("/srv/slow.py").write_text(
        "import os, time\n"
        "def application(environ, start_response):\n"
        "    start_response('200 OK', [('Content-Type', 'text/plain')])\n"
        "    yield b'first '\n"
        "    while environ['PATH_INFO'] == '/slow' and not os.path.exists('/srv/gate'):\n"
        "        time.sleep(0.02)\n"
        "    yield b'last'\n"
    )
    server = "server { listen 8080; location / { wsgi_app /srv/slow.py; } }"
    site = Site("python_drain_timeout 10m;", server).boot()
    master = pid()
    with ExitStack() as stack:
        client = stack.enter_context(httpx.Client(trust_env=False, timeout=120))
        slow = site.url("/slow")
        answers = [stack.enter_context(client.stream("GET", slow)) for _ in range(4)]
        assert [answer.status_code for answer in answers] == [200] * 4
        inside(SITE).write_text("server { listen 8080; location / { return 204; } }\n")
        run("apt-get", "purge", "-y", NAME)
        wait_for(lambda: fresh_status(site) == 204, 60, "the new site")
        inside("/srv/gate").touch()
        assert [answer.read() for answer in answers] == [b"first last"] * 4
    assert pid() == master


def fresh_status(site: Site) -> int:
    return httpx.get(site.url(), trust_env=False, timeout=60).status_code


class Command:
    """`pywsgi serve` of an ordinary user; its nginx is Debian's."""

    port = 8000

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [*AS_NOBODY, "pywsgi", "serve", "wsgi:app", "--app-dir", "/srv/site"],
            env=ENVIRONMENT,
            stdin=subprocess.DEVNULL,
        )

    def serves(self) -> bool:
        assert self._process.poll() is None, "pywsgi serve has exited"
        try:
            return httpx.get(self.url(), trust_env=False, timeout=60).status_code == 200
        except httpx.TransportError:
            return False

    def url(self, path: str = "/") -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def reload(self) -> None:
        self._process.send_signal(signal.SIGHUP)

    def term(self) -> None:
        self._process.send_signal(signal.SIGTERM)

    def exit_code(self) -> int:
        return self._process.wait(120)


def test_the_command_of_python3_pywsgi():
    """It finds Debian's nginx and the module, and needs no root."""
    temporary = os.listdir(inside("/tmp"))
    install(DEB, COMMAND_DEB)
    shutil.copytree(APPS / "flask_site", inside("/srv/site"))
    check = ("pywsgi", "check", "wsgi:app", "--app-dir", "/srv/site")
    said = run(*check, within=AS_NOBODY)
    assert said.startswith("ok: wsgi:app (WSGI) in /usr, with nginx ")
    assert said.endswith(f" (/usr/sbin/nginx) and {MODULE}\n")
    doctor = run("pywsgi", "doctor", within=AS_NOBODY)
    assert "is loaded by this nginx (ABI as its own, Python " in doctor
    site = Command()
    wait_for(site.serves, 120, "an answer")
    packaged.flask_answers(site)
    packaged.term_under_load(site)
    assert os.listdir(inside("/tmp")) == temporary


def test_the_command_without_the_module():
    """One line says which package is missing."""
    install(COMMAND_DEB)
    shutil.copytree(APPS / "flask_site", inside("/srv/site"))
    check = ("pywsgi", "check", "wsgi:app", "--app-dir", "/srv/site")
    said = run(*check, within=AS_NOBODY, fails=True)
    assert "install libnginx-mod-http-pywsgi" in said
    assert said.count("\n") == 1


def test_it_is_for_one_nginx_and_one_python():
    """apt refuses or removes it when nginx's ABI or the default Python changes."""
    depends = subprocess.run(
        ["dpkg-deb", "-f", str(DEB), "Depends"], check=True, stdout=subprocess.PIPE, text=True
    ).stdout
    minor = int(run("python3", "-c", "import sys; print(sys.version_info[1])"))
    abi = re.search(r"nginx-abi-[\w.-]+", run("dpkg", "-s", "nginx")).group()
    alternatives = {name.strip() for name in depends.split(",")}
    assert {abi, f"python3 (<< 3.{minor + 1})", f"python3 (>= 3.{minor}~)"} <= alternatives
    (library,) = (name for name in alternatives if name.startswith("libpython"))
    assert library.split()[0].removesuffix("t64") == f"libpython3.{minor}"


def test_autopkgtest():
    """debian/tests, with Debian's program for them."""
    install()
    source = inside("/srv/source")
    shutil.copytree(APPS.parents[2] / "debian", source / "debian")
    shutil.copytree(APPS, source / "tests" / "packaging" / "apps")
    # What it compiles of itself would be found below /usr afterwards.
    quiet = ("env", "PYTHONDONTWRITEBYTECODE=1")
    said = run(*quiet, "autopkgtest", "--no-built-binaries", "/srv/source", "--", "null")
    outcomes = re.findall(r"(?m)^(\w+) +(PASS|FAIL|SKIP)\b", said)
    assert outcomes, said
    assert {outcome for _, outcome in outcomes} == {"PASS"}, said
