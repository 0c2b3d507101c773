"""The servers that are compared: how each is started, with the same Python and application."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

BENCH = Path(__file__).resolve().parent
APPS = BENCH / "apps"
BIN = Path(sys.prefix) / "bin"

NGINX = """\
{load}
user {user};
worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log error;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    client_max_body_size 0;
    client_body_buffer_size 1m;
    keepalive_requests 1000000000;
    {http}
    {paths}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{ {location} }}
        location /static/ {{ alias {folder}/; sendfile on; }}
    }}
}}
"""
TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


@dataclass
class Place:
    """Where a server runs: a folder of its own, a port, and the file that it serves."""

    folder: Path
    port: int
    file: Path
    module: Path
    nginx: str
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def socket(self) -> Path:
        return self.folder / "socket"

    def spawn(self, *command: str | Path) -> None:
        """Starts a command in a session of its own, by which its costs are found."""
        environment = {**os.environ, "BENCH_FILE": str(self.file), "PYTHONPATH": str(APPS)}
        with open(self.folder / "output", "ab") as output:
            self.processes.append(
                subprocess.Popen(
                    [str(word) for word in command],
                    cwd=self.folder,
                    env=environment,
                    start_new_session=True,
                    stdout=output,
                    stderr=output,
                )
            )

    def nginx_with(self, location: str, *, http: str = "", module: bool = False) -> None:
        """Starts an nginx whose only location is that."""
        paths = "".join(f"{name}_temp_path {self.folder}/{name};\n" for name in TEMPORARY)
        if module:
            paths += f"wsgi_temp_path {self.folder}/wsgi;\n"
        configuration = self.folder / "nginx.conf"
        configuration.write_text(
            NGINX.format(
                load=f"load_module {self.module};" if module else "",
                user="root" if os.geteuid() == 0 else "nobody",
                folder=self.folder,
                port=self.port,
                http=http,
                paths=paths,
                location=location,
            )
        )
        self.spawn(self.nginx, "-e", self.folder / "error.log", "-c", configuration)

    def wait(self) -> float:
        """Waits for the first answer; seconds since now."""
        begin = time.monotonic()
        while True:
            for process in self.processes:
                if process.poll() is not None:
                    raise RuntimeError(f"{process.args}: {self.said()}")
            try:
                urllib.request.urlopen(f"{self.url}/hello", timeout=5).read()
                return time.monotonic() - begin
            except (urllib.error.URLError, OSError):
                if time.monotonic() - begin > 60:
                    raise
                time.sleep(0.01)

    def said(self) -> str:
        logs = [self.folder / name for name in ("output", "error.log")]
        return "\n".join(log.read_text(errors="replace")[-2000:] for log in logs if log.exists())

    def stop(self) -> None:
        for process in self.processes:
            # The session's group: gunicorn's and Granian's workers are in it as well.
            os.killpg(process.pid, signal.SIGTERM)
        for process in self.processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(10)


@dataclass(frozen=True)
class Server:
    name: str
    start: Callable[[Place], None]
    # What it cannot do at all, and is not asked to.
    without: frozenset[str] = frozenset()
    installed: Callable[[], bool] = lambda: True


def _pywsgi(threads: int) -> Callable[[Place], None]:
    def start(place: Place) -> None:
        http = (
            f"python_home {sys.prefix}; python_path {APPS}; python_env BENCH_FILE={place.file};"
            f"python_thread_pool default threads={threads};"
        )
        place.nginx_with("wsgi_app work:application;", http=http, module=True)

    return start


def _floor(place: Place) -> None:
    place.nginx_with('default_type text/plain; return 200 "Hello, World!\\n";')


def _nginx_gunicorn(place: Place) -> None:
    upstream = f"upstream app {{ server unix:{place.socket}; keepalive 64; }}"
    place.spawn(*_gunicorn(f"unix:{place.socket}"))
    place.nginx_with(
        'proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection "";'
        "proxy_set_header Host $host;",
        http=upstream,
    )


def _gunicorn(bind: str) -> list[str | Path]:
    options = ["--workers=1", "--threads=8", "--worker-class=gthread", "--keep-alive=60"]
    return [BIN / "gunicorn", "--bind", bind, *options, "--log-level=error", "work:application"]


def _nginx_uwsgi(place: Place) -> None:
    place.spawn(
        "uwsgi",
        "--plugin=python3",
        f"--socket={place.socket}",
        "--master",
        "--processes=1",
        "--threads=8",
        f"--virtualenv={sys.prefix}",
        f"--pythonpath={APPS}",
        "--module=work:application",
        "--disable-logging",
        "--listen=100",
        "--die-on-term",
    )
    place.nginx_with(f"include /etc/nginx/uwsgi_params; uwsgi_pass unix:{place.socket};")


def _script(text: str) -> Callable[[Place], None]:
    def start(place: Place) -> None:
        place.spawn(BIN / "python", "-c", text.format(port=place.port))

    return start


def _granian(place: Place) -> None:
    options = ["--interface=wsgi", "--workers=1", "--blocking-threads=8", "--no-access-log"]
    options += ["--backpressure=1024", "--log-level=error", f"--port={place.port}"]
    place.spawn(BIN / "granian", *options, "work:application")


SERVERS = [
    Server("return 200", _floor),
    Server("pywsgi, 8 threads", _pywsgi(8)),
    Server("pywsgi, 1 thread", _pywsgi(1)),
    Server(
        "nginx + uWSGI",
        _nginx_uwsgi,
        installed=lambda: shutil.which("uwsgi") is not None,
    ),
    Server("nginx + gunicorn", _nginx_gunicorn),
    Server("gunicorn gthread", lambda place: place.spawn(*_gunicorn(f"127.0.0.1:{place.port}"))),
    Server("granian", _granian),
    Server(
        "waitress",
        _script(
            "import waitress, work; waitress.serve(work.application, host='127.0.0.1', "
            "port={port}, threads=8)"
        ),
    ),
    Server(
        "cheroot",
        _script(
            "import work; from cheroot.wsgi import Server; "
            "Server(('127.0.0.1', {port}), work.application, numthreads=8).safe_start()"
        ),
    ),
    Server(
        "bjoern",
        _script("import bjoern, work; bjoern.run(work.application, '127.0.0.1', {port})"),
    ),
    Server(
        "fastwsgi",
        _script(
            "import fastwsgi, work; fastwsgi.server.backlog = 4096; "
            "fastwsgi.run(work.application, host='127.0.0.1', port={port})"
        ),
    ),
]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
