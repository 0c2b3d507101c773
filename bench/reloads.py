"""What a reload costs the requests that meet it, beside the same time without a reload.

    python reloads.py --module MODULE.so --nginx /usr/sbin/nginx [--rounds 5]

The application's import takes a second. Six clients ask, half of them on kept connections, the
others on a new one each time; each asks again as soon as it has waited a little. A round is some
seconds of that, and then the same with a reload (HUP) at its beginning. What counts is the worst
latency. A request whose connection ends before its answer has failed: nobody asks again.
"""

from __future__ import annotations

import argparse
import gc
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from place import APPS, Place, Run, StartError, free_port, stopped_after
from servers import BIN

SECONDS = 5.0
# Between two requests of a client. They must leave the processors to the servers.
PAUSE = 0.005
CLIENTS = 6
ANSWER = b"Hello, World!\n"
NEW, KEPT = "new", "kept"


@dataclass(frozen=True)
class Server:
    name: str
    launch: Callable[[Place], None]
    paths: tuple[str, ...] = ("/",)


def pywsgi(place: Place) -> None:
    place.count = 2
    place.nginx_with(
        "wsgi_app slow:application; location /asgi { asgi_app slow:asgi; }",
        http=f"python_home {sys.prefix}; python_path {APPS};",
        module=True,
    )


def gunicorn(kind: str) -> Callable[[Place], None]:
    def launch(place: Place) -> None:
        options = ["--workers=2", f"--worker-class={kind}", "--keep-alive=60", "--log-level=error"]
        options += ["--threads=8"] if kind == "gthread" else []
        bind = f"--bind=127.0.0.1:{place.port}"
        place.spawn(BIN / "gunicorn", bind, *options, "slow:application")

    return launch


def uvicorn(place: Place) -> None:
    options = ["--workers=2", "--no-access-log", "--log-level=error", "--timeout-keep-alive=60"]
    place.spawn(BIN / "uvicorn", f"--port={place.port}", *options, "slow:asgi")


SERVERS = [
    Server("pywsgi", pywsgi, ("/", "/asgi", "/static/hello")),
    Server("gunicorn sync", gunicorn("sync")),
    Server("gunicorn gthread", gunicorn("gthread")),
    Server("uvicorn", uvicorn),
]


@dataclass
class Row:
    """The requests of one kind for one path: for each round the worst latency, in seconds."""

    quiet: list[float] = field(default_factory=list)
    reload: list[float] = field(default_factory=list)
    requests: int = 0
    failed: list[str] = field(default_factory=list)


class Client(threading.Thread):
    """Asks for a path until it is stopped."""

    def __init__(self, place: Place, path: str, kind: str) -> None:
        super().__init__()
        close = "close" if kind == NEW else "keep-alive"
        self.request = f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: {close}\r\n\r\n".encode()
        self.port, self.path, self.kind = place.port, path, kind
        self.over = threading.Event()
        # When each request began, and how long it took.
        self.latencies: list[tuple[float, float]] = []
        self.failed: list[tuple[float, str]] = []
        self.kept: socket.socket | None = None

    def run(self) -> None:
        while not self.over.is_set():
            begun = time.monotonic()
            try:
                self.ask()
            except OSError as error:
                self.failed.append((begun, repr(error)))
                self.kept = None
            else:
                self.latencies.append((begun, time.monotonic() - begun))
            time.sleep(PAUSE)
        if self.kept is not None:
            self.kept.close()

    def ask(self) -> None:
        sock, self.kept = self.kept, None
        if sock is None:
            sock = socket.create_connection(("127.0.0.1", self.port), 30)
        try:
            sock.sendall(self.request)
            answer = b""
            while not answer.endswith(ANSWER):
                block = sock.recv(65536)
                if not block:
                    raise ConnectionError(f"closed after {len(answer)} bytes")
                answer += block
        except BaseException:
            sock.close()
            raise
        if not answer.startswith(b"HTTP/1.1 200 "):
            raise ConnectionError(f"answered {answer[:30]!r}")
        if self.kind == KEPT and b"connection: close" not in answer.lower():
            self.kept = sock
        else:
            sock.close()

    def worst(self, begun: float, ended: float) -> float:
        return max((took for at, took in self.latencies if begun <= at < ended), default=0.0)


def measure(server: Server, run: Run, rounds: int) -> dict[tuple[str, str], Row]:
    folder = run.folder / server.name.replace(" ", "-")
    folder.mkdir()
    place = Place(run, folder, free_port())
    kinds = [(path, kind) for path in server.paths for kind in (NEW, KEPT)]
    rows = {key: Row() for key in kinds}
    with stopped_after(place):
        server.launch(place)
        for path in server.paths:
            place.wait(path)
        # Both workers have imported it.
        time.sleep(2)
        clients = [Client(place, *kinds[at % len(kinds)]) for at in range(CLIENTS)]
        for client in clients:
            client.start()
        try:
            for _ in range(rounds):
                one_round(place, clients, rows)
        finally:
            for client in clients:
                client.over.set()
            for client in clients:
                client.join()
    for client in clients:
        row = rows[client.path, client.kind]
        row.requests += len(client.latencies) + len(client.failed)
        row.failed += [what for _, what in client.failed]
    return rows


def one_round(place: Place, clients: list[Client], rows: dict[tuple[str, str], Row]) -> None:
    begun = time.monotonic()
    time.sleep(SECONDS)
    middle = time.monotonic()
    os.kill(place.processes[0].pid, signal.SIGHUP)
    time.sleep(SECONDS)
    # Those that began in time, and took long, are in it as well.
    ended = time.monotonic()
    time.sleep(0.5)
    for key, row in rows.items():
        own = [client for client in clients if (client.path, client.kind) == key]
        row.quiet.append(max(client.worst(begun, middle) for client in own))
        row.reload.append(max(client.worst(middle, ended) for client in own))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--module", type=Path, required=True)
    parser.add_argument("--nginx", default="/usr/sbin/nginx")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--servers", default="", help="their names, with ; between them")
    arguments = parser.parse_args()
    wanted = [name.strip() for name in arguments.servers.split(";") if name.strip()]
    # A collection would make all clients wait.
    gc.disable()
    folder = Path(tempfile.mkdtemp(prefix="pywsgi-reloads-"))
    run = Run(folder, arguments.module.resolve(), arguments.nginx)
    run.static.mkdir()
    (run.static / "hello").write_bytes(ANSWER)
    print("| server | path | connections | requests | failed | worst ms | worst ms in a reload |")
    print("|---|---|---|---|---|---|---|")
    for server in SERVERS:
        if wanted and server.name not in wanted:
            continue
        try:
            rows = measure(server, run, arguments.rounds)
        except (StartError, FileNotFoundError) as error:
            print(f"| {server.name} | does not start: {error} | | | | | |", flush=True)
            continue
        for (path, kind), row in rows.items():
            quiet, reload = text(row.quiet), text(row.reload)
            failed = f"{len(row.failed)}" + (f" ({row.failed[0]})" if row.failed else "")
            cells = [server.name, path, kind, str(row.requests), failed, quiet, reload]
            print(f"| {' | '.join(cells)} |", flush=True)
    shutil.rmtree(folder, ignore_errors=True)


def text(rounds: list[float]) -> str:
    """The median of the rounds, and the worst of them."""
    return f"{median(rounds) * 1000:.1f} (at most {max(rounds) * 1000:.1f})"


if __name__ == "__main__":
    main()
