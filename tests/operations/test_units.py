"""The systemd units, and a root file system that is read-only."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from harness import MODULE, NGINX, PROJECT, Nginx, free_port, temporary_root
from rawhttp import wait_for

SYSTEMD = PROJECT / "deploy" / "systemd"
UNIT = SYSTEMD / "nginx.service"
# One nginx for each application.
TEMPLATE = SYSTEMD / "pywsgi@.service"
ANALYZE = shutil.which("systemd-analyze")
DIRECTIVES = PROJECT / "docs" / "directives"


def settings(name: str, unit: Path = UNIT) -> list[str]:
    """The values of a setting of a unit."""
    return re.findall(rf"^{name}=(.*)$", unit.read_text(), re.M)


@pytest.fixture(params=[UNIT, TEMPLATE], ids=["nginx", "pywsgi@"])
def unit(request) -> Path:
    return request.param


@pytest.fixture
def installed(unit, tmp_path) -> Path:
    """The unit as systemd has it: an instance of a template."""
    return Path(shutil.copy(unit, tmp_path / unit.name.replace("@", "@shop")))


@pytest.mark.skipif(ANALYZE is None, reason="there is no systemd-analyze")
@pytest.mark.skipif(not os.path.exists("/usr/sbin/nginx"), reason="Debian's nginx is not there")
def test_systemd_understands_the_unit(installed):
    done = subprocess.run(
        [ANALYZE, "verify", "--man=no", installed], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    # It says what it does not know, and accepts it.
    assert installed.name not in done.stderr


@pytest.mark.skipif(ANALYZE is None, reason="there is no systemd-analyze")
def test_it_is_hardened(unit, installed):
    """systemd's own score, from 0 to 10: an ordinary service has 9.2."""
    done = subprocess.run(
        [ANALYZE, "security", "--offline=yes", "--no-pager", installed],
        capture_output=True,
        text=True,
        timeout=60,
    )
    [score] = re.findall(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
    assert float(score) <= {UNIT: 3.2, TEMPLATE: 1.5}[unit], done.stdout


def test_it_has_more_time_than_a_worker(unit):
    def default(name: str, pattern: str) -> int:
        text = (DIRECTIVES / f"{name}.md").read_text()
        return int(re.search(pattern, text).group(1))

    drain = default("python_drain_timeout", r"\| Default \|.*`(\d+)s` \|")
    finalize = default("python_finalize", r"\| Default \|.*timeout=(\d+)s")
    check = default("python_check", r"\| Default \|.*timeout=(\d+)s")
    lifespan = default("asgi_lifespan", r"\| Default \|.*shutdown_timeout=(\d+)s")
    assert int(settings("TimeoutStopSec", unit)[0]) > drain + finalize + lifespan
    assert int(settings("TimeoutStartSec", unit)[0]) > check


@pytest.mark.skipif(os.geteuid() != 0, reason="gives up privileges")
@pytest.mark.unsanitized("its maps need an address space without limits")
def test_its_capabilities_suffice(nginx, protocol):
    """Start, answer, temporary files, reload and end; without those that this container lacks."""
    wanted = [
        name.lower().removeprefix("cap_")
        for name in " ".join(settings("CapabilityBoundingSet")).split()
    ]
    have = int(re.search(r"CapBnd:\s*(\w+)", Path("/proc/self/status").read_text()).group(1), 16)
    known = {"sys_resource": 24, "sys_nice": 23}
    kept = [name for name in wanted if name not in known or have >> known[name] & 1]
    bounding = "-all," + ",".join(f"+{name}" for name in kept)
    nginx.launcher = ("setpriv", "--no-new-privs", "--bounding-set", bounding)
    app = protocol.app(
        "app",
        """
        async def answer(request):
            body = await request.body()
            await request.respond(body)
        """,
    )
    nginx.start(
        f"{protocol}_app {app}; {protocol}_request_buffering on; client_body_buffer_size 1k;",
        http="python_check on timeout=120s; client_body_in_file_only clean;",
    )
    assert nginx.client().post("/", content=b"u" * 100_000).content == b"u" * 100_000
    nginx.reload()
    assert nginx.client().post("/", content=b"u" * 100_000).content == b"u" * 100_000


@pytest.fixture
def front():
    """The nginx in front, which needs neither the module nor Python."""
    server = Nginx(temporary_root())
    yield server
    faults = server.close()
    shutil.rmtree(server.root, ignore_errors=True)
    assert faults == []


@pytest.mark.skipif(os.geteuid() != 0, reason="gives up privileges")
@pytest.mark.unsanitized("its maps need an address space without limits")
def test_one_nginx_for_each_application(nginx, front, recipes):
    """shop.conf without root and without any capability, with front.conf before it."""
    user = nginx.user
    folders = {
        f"/{each}/pywsgi/shop/": nginx.root / each for each in ("run", "var/cache", "var/log")
    }
    # systemd would make these.
    for folder in folders.values():
        folder.mkdir(parents=True)
        shutil.chown(folder, user, user)
        folder.parent.chmod(0o755)
    folders["/run/pywsgi/shop/"].chmod(0o750)
    recipes.places.update({path: f"{folder}/" for path, folder in folders.items()})
    types = nginx.root / "conf" / "mime.types"
    types.write_text("types { text/css css; }\n")
    recipes.places["/etc/nginx/mime.types"] = str(types)
    source = """
        import os

        def application(environ, start_response):
            body = environ["wsgi.input"].read()
            start_response("200 OK", [("Content-Type", "text/plain")])
            scheme, client = environ["wsgi.url_scheme"], environ["REMOTE_ADDR"]
            return [f"{os.getuid()} {scheme} {client} {environ['HTTP_HOST']} {len(body)}".encode()]
        """
    nginx._write(recipes.srv / "shop/wsgi.py", source)
    nginx._write(recipes.srv / "shop/static/a.css", "a {}")
    recipes.venv("shop/venv")
    text = recipes.file("systemd/shop.conf")
    text = text.replace("modules/ngx_http_pywsgi_module.so", str(MODULE))
    nginx.config.write_text(f"daemon off;\n{text}")
    nginx.log_path = folders["/var/log/pywsgi/shop/"] / "error.log"
    setpriv = ["setpriv", "--reuid", user, "--regid", user, "--clear-groups", "--no-new-privs"]
    command = [*setpriv, "--bounding-set=-all", NGINX, "-c", str(nginx.config)]
    command += ["-e", str(nginx.log_path)]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    socket = folders["/run/pywsgi/shop/"] / "http.sock"
    try:
        wait_for(lambda: socket.exists() or process.poll() is not None, 60, "its socket")
        assert process.poll() is None, nginx.error_log()
        front.write_config(module=False)
        head = front.config.read_text().partition("server {")[0]
        recipes.nginx = front
        front.config.write_text(f"{head}{recipes.file('systemd/front.conf')}}}\n")
        front.start()
        client = front.client(headers={"Host": "shop.example"})
        uid = str(pwd.getpwnam(user).pw_uid)
        answer = client.get("/", headers={"X-Forwarded-For": "192.0.2.1"})
        assert answer.text.split() == [uid, "http", "127.0.0.1", "shop.example", "0"]
        # From nginx to nginx in a temporary file, which the second one makes.
        answer = client.post("/", content=b"u" * 1_000_000)
        assert answer.text.endswith(" 1000000")
        answer = client.post("/", content=b"u" * 21_000_000)
        assert answer.status_code == 413
        assert client.get("/static/a.css").text == "a {}"
        # Two workers, before and after.
        nginx.wait_imports(2)
        process.send_signal(signal.SIGHUP)
        nginx.wait_imports(4)
        assert client.get("/").status_code == 200
    finally:
        process.send_signal(signal.SIGQUIT)
        process.wait(60)
    assert not socket.exists()


def can_unshare() -> bool:
    done = subprocess.run(["unshare", "--mount", "true"], capture_output=True)
    return done.returncode == 0


@pytest.mark.skipif(not can_unshare(), reason="no file systems can be mounted here")
def test_a_root_that_is_read_only(nginx, recipes):
    """As in the container: only /tmp can be written, which is a file system of its own."""
    temporary = nginx.root / "tmp"
    recipes.places["/tmp/"] = f"{temporary}/"
    nginx._write(
        recipes.srv / "shop/wsgi.py",
        """
        import os

        def application(environ, start_response):
            body = environ["wsgi.input"].read()
            try:
                open(os.path.join(os.path.dirname(__file__), "new"), "w")
            except OSError as error:
                body += error.strerror.encode()
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [body]
        """,
    )
    recipes.venv("venv")
    nginx._write(
        recipes.srv / "site.conf", f"location / {{ wsgi_app {recipes.srv}/shop/wsgi.py; }}"
    )
    text = recipes.moved((PROJECT / "docker" / "nginx.conf").read_text())
    text = text.replace("modules/ngx_http_pywsgi_module.so", str(MODULE))
    text = text.replace("listen 8080;", f"listen 127.0.0.1:{nginx.port};")
    text = text.replace("listen 8081;", f"listen 127.0.0.1:{free_port()};")
    # These are the container's output, which a worker of another user cannot open anew here.
    text = text.replace("/dev/stdout", "off")
    if nginx.user:
        text = f"user {nginx.user};\n{text}"
    # Without docker/start, nobody says more.
    nginx.write_config(workers=1)
    nginx.config.write_text(text)
    (nginx.root / "conf" / "mime.types").write_text("types { text/html html; }\n")
    script = f"""
        mount --make-rprivate /
        mount -t tmpfs -o mode=1777 tmpfs {temporary}
        mount -o remount,bind,ro /
        exec "$@"
    """
    nginx.launcher = ("unshare", "--mount", "sh", "-ec", script, "sh")
    # The log that is compiled in, before the configuration is read: in the image it is a link.
    nginx.allow_log(r"could not open error log file.*Read-only file system")
    nginx.start()
    body = b"u" * 900_000
    answer = nginx.client().post("/", content=body)
    assert answer.content == body + b"Read-only file system"
