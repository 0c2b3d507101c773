"""The systemd unit, and a root file system that is read-only."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from harness import MODULE, PROJECT, free_port

UNIT = PROJECT / "deploy" / "systemd" / "nginx.service"
DIRECTIVES = PROJECT / "docs" / "directives"


def settings(name: str) -> list[str]:
    """The values of a setting of the unit."""
    return re.findall(rf"^{name}=(.*)$", UNIT.read_text(), re.M)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze")
@pytest.mark.skipif(not os.path.exists("/usr/sbin/nginx"), reason="Debian's nginx is not there")
def test_systemd_understands_the_unit():
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", UNIT], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    # It says what it does not know, and accepts it.
    assert str(UNIT) not in done.stderr and UNIT.name not in done.stderr


def test_it_has_more_time_than_a_worker():
    def default(name: str, pattern: str) -> int:
        text = (DIRECTIVES / f"{name}.md").read_text()
        return int(re.search(pattern, text).group(1))

    drain = default("python_drain_timeout", r"\| Default \|.*`(\d+)s` \|")
    finalize = default("python_finalize", r"\| Default \|.*timeout=(\d+)s")
    check = default("python_check", r"\| Default \|.*timeout=(\d+)s")
    assert int(settings("TimeoutStopSec")[0]) > drain + finalize
    assert int(settings("TimeoutStartSec")[0]) > check


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
    recipes.venv("shop/venv")
    text = recipes.file("container/nginx.conf")
    text = text.replace("modules/ngx_http_pywsgi_module.so", str(MODULE))
    text = text.replace("listen 8080;", f"listen 127.0.0.1:{nginx.port};")
    text = text.replace("listen 8081;", f"listen 127.0.0.1:{free_port()};")
    # These are the container's output, which a worker of another user cannot open anew here.
    text = text.replace("/dev/stderr info", "stderr info").replace("/dev/stdout", "off")
    if nginx.user:
        text = f"user {nginx.user};\n{text}"
    nginx.write_config(workers=2)
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
