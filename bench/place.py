"""A running server: its folder, port and processes, and its nginx, if any."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from accounting import processes

APPS = Path(__file__).resolve().parent / "apps"

# As in Debian's nginx.conf, without its limits for connections and bodies.
NGINX = """\
{load}
{main}
user {user};
worker_processes {count};
daemon off;
master_process {master};
pid {folder}/nginx.pid;
error_log {folder}/error.log error;
events {{ worker_connections {connections}; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    client_max_body_size 0;
    client_body_buffer_size 1m;
    keepalive_requests 1000000000;
    keepalive_timeout 1h;
    {http}
    {paths}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{ {location} }}
        location /static/ {{ alias {static}/; }}
    }}
}}
"""
TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


class StartError(Exception):
    """A server did not start; the message is its last output."""


@dataclass(frozen=True)
class Run:
    """What all servers of a run share."""

    folder: Path
    module: Path
    nginx: str
    # The program that asks what wrk cannot; a profile needs none.
    client: Path = Path()

    @property
    def static(self) -> Path:
        return self.folder / "static"

    @property
    def file(self) -> Path:
        """The file served at /file and /static/file."""
        return self.static / "file"

    @property
    def database(self) -> Path:
        return self.folder / "articles.sqlite3"

    def environment(self) -> dict[str, str]:
        """The environment variables of the applications."""
        return {"BENCH_FILE": str(self.file), "BENCH_DATABASE": str(self.database)}


@dataclass
class Place:
    run: Run
    folder: Path
    port: int
    # The module of the application.
    app: str = "work"
    # worker_connections; each takes some memory from the start.
    connections: int = 1024
    # nginx's worker processes.
    count: int = 1
    # A command that runs nginx, in one process.
    under: tuple[str, ...] = ()
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def socket(self) -> Path:
        return self.folder / "socket"

    @property
    def sessions(self) -> list[int]:
        return [process.pid for process in self.processes]

    def ended(self) -> str:
        """How its first process that is not running ended; empty if all run."""
        for process in self.processes:
            if (code := process.poll()) is not None:
                how = f"by {signal.Signals(-code).name}" if code < 0 else f"with {code}"
                return f"ended {how}"
        return ""

    def workers(self, command: int = 0) -> list[int]:
        """The processes started by one of its commands."""
        leader = self.processes[command].pid
        return [pid for pid in processes(leader) if pid != leader]

    def spawn(self, *command: str | Path) -> None:
        """Starts a command in a separate session, which identifies its processes."""
        environment = {**os.environ, **self.run.environment(), "PYTHONPATH": str(APPS)}
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

    def nginx_with(
        self, location: str, *, main: str = "", http: str = "", module: bool = False
    ) -> None:
        """Starts an nginx with that location /."""
        paths = "".join(f"{name}_temp_path {self.folder}/{name};\n" for name in TEMPORARY)
        if module:
            paths += f"wsgi_temp_path {self.folder}/wsgi; asgi_temp_path {self.folder}/asgi;\n"
        configuration = self.folder / "nginx.conf"
        configuration.write_text(
            NGINX.format(
                main=main,
                load=f"load_module {self.run.module};" if module else "",
                user="root" if os.geteuid() == 0 else "nobody",
                folder=self.folder,
                static=self.run.static,
                port=self.port,
                count=self.count,
                master="off" if self.under else "on",
                connections=self.connections,
                http=http,
                paths=paths,
                location=location,
            )
        )
        nginx = (self.run.nginx, "-e", self.folder / "error.log", "-c", configuration)
        self.spawn(*self.under, *nginx)

    def wait(self, path: str) -> None:
        """Waits for the first correct response."""
        begin = time.monotonic()
        while True:
            if ended := self.ended():
                raise StartError(self._last_said() or ended)
            try:
                urllib.request.urlopen(self.url + path, timeout=5).read()
                return
            except OSError as error:
                if time.monotonic() - begin > 60:
                    raise StartError(f"no answer in a minute: {error}") from error
                time.sleep(0.005)

    def _last_said(self) -> str:
        """The last line of its logs, without the time and this machine's paths."""
        logs = [self.folder / name for name in ("error.log", "output")]
        said = [log.read_text(errors="replace") for log in logs if log.exists()]
        lines = [line for line in "\n".join(said).splitlines() if line.strip()]
        emergencies = [line for line in lines if "[emerg]" in line]
        last = (emergencies or lines or [""])[-1].strip()
        return last.replace(str(self.folder), "").replace(str(self.run.folder), "")

    def stop(self) -> None:
        for process in self.processes:
            # The session's process group, which includes gunicorn's and Granian's workers.
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
        for process in self.processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(10)


@contextmanager
def stopped_after(place: Place) -> Iterator[Place]:
    """Yields a place, and always stops its server at the end."""
    try:
        yield place
    finally:
        place.stop()


def take_answer(client: socket.socket, end: bytes) -> None:
    """Takes an answer, whose last bytes are `end`."""
    answer = b""
    while not answer.endswith(end):
        block = client.recv(65536)
        if not block:
            raise StartError(f"the connection was closed: {answer[:200]!r}")
        answer += block


def allow_files(wanted: int) -> None:
    """Raises the limit of open files, which servers started later inherit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    if hard != resource.RLIM_INFINITY:
        hard = max(hard, wanted)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except ValueError as error:
        # Only root may raise the hard limit.
        raise StartError(f"{wanted} open files: {error}") from error


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
