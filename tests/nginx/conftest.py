"""Fixtures of the tests of nginx's processes, phases and filters."""

from __future__ import annotations

import os
import re
import signal
import subprocess

import httpx
import pytest
from gate import background, gate
from harness import NGINX, Nginx, free_port
from nginx.wire import Wire
from protocols import Protocol, protocol
from rawhttp import wait_for
from uwsgi import Uwsgi

__all__ = ["Twins", "background", "gate", "protocol", "twins"]


class Twins:
    """One application twice in one nginx: by ours, and by `uwsgi_pass` as the example.

    In the configuration, `APP;` is replaced by the directive that names the application. Ours has
    the protocol's own directives in place of `wsgi_…`.
    """

    def __init__(self, nginx: Nginx, source: str, protocol: Protocol) -> None:
        self.nginx = nginx
        self.protocol = protocol
        self.uwsgi = Uwsgi(nginx.app("twin", source))
        self.app = f"{protocol}_app {protocol.wrap('twin', source)};"
        self.port = free_port()

    def start(self, location: str = "", *, server: str = "", http: str = "", listen: str = ""):
        """Starts nginx with both servers; `location` is the body of `location / { }`."""
        whole = server + (f"\nlocation / {{ {location} }}" if location else "")
        theirs = whole.replace("APP;", self.uwsgi.directive)
        ours = re.sub(r"\bwsgi_", f"{self.protocol}_", whole).replace("APP;", self.app)
        self.nginx.start(
            server=f"{self.protocol.like_wsgi}\n{ours}",
            http=f"{http}\nserver {{ listen 127.0.0.1:{self.port} {listen};\n"
            f"{self.uwsgi.params}\n{theirs}\n}}\n",
            listen=listen,
        )
        return self

    def get(self, path: str = "/", **options) -> httpx.Response:
        return self.request("GET", path, **options)

    def request(self, method: str, path: str = "/", **options) -> httpx.Response:
        """Our answer; that of `uwsgi_pass` must have the same status, headers and body."""
        ours, theirs = (
            httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=60.0)
            for port in (self.nginx.port, self.port)
        )
        with ours, theirs:
            response, example = (
                client.request(method, path, **options) for client in (ours, theirs)
            )
        assert self.visible(response) == self.visible(example)
        return response

    def visible(self, response: httpx.Response) -> tuple:
        """What must be the same: all but the time and the order of the headers."""
        headers = sorted(item for item in response.headers.multi_items() if item[0] != "date")
        port = str(response.url.port)
        return (
            response.status_code,
            response.reason_phrase if self.protocol.is_wsgi else "ASGI has none",
            [(name, value.replace(port, "PORT")) for name, value in headers],
            response.content,
        )

    def close(self) -> None:
        self.uwsgi.close()


@pytest.fixture
def twins(nginx, protocol):
    """`twins(source)` makes the pair of an application's source, which is one of WSGI."""
    made = []

    def make(source: str) -> Twins:
        made.append(Twins(nginx, source, protocol))
        return made[-1]

    yield make
    for pair in made:
        pair.close()


@pytest.fixture
def wire():
    """`wire(pair)` makes connections for raw bytes to a pair that is started."""
    made = []

    def connect(pair: Twins) -> Wire:
        made.append(Wire(pair))
        return made[-1]

    yield connect
    for connections in made:
        connections.close()


@pytest.fixture
def daemon(nginx):
    """`daemon(source, umask)` starts nginx as Debian's service does: it becomes a daemon."""
    started = []

    def begin(source: str, umask: int = 0o022):
        nginx.write_config(f"wsgi_app {nginx.app('daemon', source)};")
        nginx.config.write_text(nginx.config.read_text().replace("daemon off;", "daemon on;"))
        command = [NGINX, "-p", f"{nginx.root}/", "-c", str(nginx.config), "-e", nginx.log_path]
        subprocess.run(command, check=True, umask=umask)
        started.append(nginx.root / "logs" / "nginx.pid")
        wait_for(lambda: started[0].exists() and started[0].read_text().strip(), what="the pid")
        return nginx.client()

    yield begin
    for pid in started:
        os.kill(int(pid.read_text()), signal.SIGQUIT)
        wait_for(lambda: not pid.exists(), 60, "the daemon's end")  # noqa: B023 (one turn)
