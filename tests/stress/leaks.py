"""What the tests of leaks share: kinds of requests, and a worker that they must leave as it was.

Memory, threads and descriptors of the worker are compared after the first thousand of each kind
and after the last.
"""

from __future__ import annotations

import ast
import contextlib
import re
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from harness import FATAL, free_port
from process_memory import anonymous, descriptors, threads
from rawhttp import Connection, wait_for
from rawhttp2 import Http2

FIRST = 1000
# The number of concurrent requests: more than a pool has threads.
CLIENTS = 16

# glibc has a heap for each thread, whose size settles slowly; this leaves room for that.
SLACK = 1 << 20

OK = b"HTTP/1.1 200 "


def get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()


def post(path: str, length: int, body: bytes) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}"
    return f"{head}\r\n\r\n".encode() + body


@dataclass
class Kind:
    """A request, what its answer begins and ends with, and how the client behaves.

    leaves: `answered`: with RST, after the first bytes; `at once`: as soon as it has sent.
    count: how many are sent, if that is not the usual number.
    held: the request that occupies the pool's only thread meanwhile.
    """

    request: bytes
    begins: bytes = b"HTTP/1.1 500 "
    ends: bytes = b"</html>\r\n"
    leaves: str = ""
    count: int | None = None
    clients: int = CLIENTS
    held: str = ""


class Worker:
    """The worker under test: what must stay the same of it."""

    def __init__(self, nginx, tls_port: int) -> None:
        self.nginx, self.tls_port = nginx, tls_port
        (self.pid,) = nginx.workers()
        self.client = nginx.client(timeout=280)

    def state(self) -> dict[str, int]:
        """Taken when no request is under way and all that is being freed is freed.

        The application collects its garbage at /settle, and answers with its own counts.
        """
        before = -1
        for _ in range(5):
            settled = ast.literal_eval(self.client.get("/settle").text)

        def steady() -> bool:
            nonlocal before
            now = descriptors(self.pid)
            same, before = now == before, now
            return same

        wait_for(steady, 30, "descriptors that stay")
        return {
            "memory": anonymous(self.pid),
            "threads": threads(self.pid),
            "descriptors": descriptors(self.pid),
            **settled,
        }

    def assert_as(self, first: dict[str, int]) -> None:
        def few() -> bool:
            now = self.state()
            return all(now[what] <= first[what] for what in first if what != "memory")

        # Threads for on_disconnect's callbacks, and tasks, end when nothing is left for them.
        wait_for(few, 30, f"counts as at first: {first} {self.state()}")
        last = self.state()
        print(f"\nafter the first: {first}\nafter the last:  {last}")
        assert last["memory"] - first["memory"] <= SLACK, (first, last)
        assert self.nginx.workers() == [self.pid]


@contextlib.contextmanager
def serving(nginx, app: str, locations: dict[str, str], http: str) -> Iterator[Worker]:
    """A worker with these locations, each with `app`, over HTTP/1 and, on another port, HTTP/2."""
    # Errors go to a log of their own, which is read block by block.
    server = "error_log logs/failures.log error;\n" + "".join(
        f"location {prefix} {{ {app} {more} }}\n" for prefix, more in locations.items()
    )
    tls_port = free_port()
    server += f"listen 127.0.0.1:{tls_port} ssl http2;\n" + nginx.tls()
    listen = "sndbuf=16k backlog=1024"
    nginx.start(http=http, server=server, listen=listen, log_level="error")
    yield Worker(nginx, tls_port)
    assert_nothing_fatal(nginx.root / "logs" / "failures.log")


def assert_nothing_fatal(path: Path) -> None:
    with path.open("rb") as log:
        while block := log.read(1 << 24):
            found = FATAL.search((block + log.readline()).decode("latin-1"))
            assert not found, found


def exchange(port: int, kind: Kind, count: int) -> None:
    """`count` requests of a kind, some at a time, each on a connection of its own."""
    while count > 0:
        with ExitStack() as batch:
            opened = range(min(kind.clients, count))
            connections = [batch.enter_context(open_connection(port)) for _ in opened]
            count -= len(connections)
            for connection in connections:
                connection.send(kind.request)
            for connection in connections:
                await_answer(connection, kind)


def await_answer(connection: Connection, kind: Kind) -> None:
    """What a client does after it has sent its request."""
    if not kind.leaves:
        answer = connection.rest()
        assert answer.startswith(kind.begins), answer
        assert answer.endswith(kind.ends), answer
        return
    if kind.leaves == "answered":
        assert connection.fill()
        assert connection.pending.startswith(kind.begins), connection.pending
    connection.reset()


def open_connection(port: int) -> Connection:
    sock = socket.create_connection(("127.0.0.1", port), 280)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
    return Connection(sock)


def give_up(connection: Http2, count: int) -> None:
    """Streams of one connection that are reset while they run, as a browser does on Stop."""
    while count > 0:
        streams = [connection.request("/waits") for _ in range(min(CLIENTS, count))]
        count -= len(streams)
        for number in streams:
            stream = connection.streams[number]
            connection.until(lambda stream=stream: stream.body == b"begun")
            connection.reset(number)
            del connection.streams[number]


def assert_streams_leave_nothing(worker: Worker, count: int) -> None:
    with Http2(worker.tls_port) as connection:
        give_up(connection, FIRST)
        before = worker.state()
        give_up(connection, count - FIRST)
        worker.assert_as(before)


def load(nginx, wanted: int) -> int:
    """At least `wanted` small requests, by wrk, in runs of some seconds. Returns their number."""
    done = 0
    while done < wanted:
        command = ["wrk", "--connections", "16", "--threads", "1", "--duration", "5s"]
        said = subprocess.run(
            [*command, nginx.url("/small")], capture_output=True, text=True, timeout=60
        ).stdout
        assert "Non-2xx" not in said, said
        assert "Socket errors" not in said, said
        done += int(re.search(r"(\d+) requests in", said).group(1))
    return done
