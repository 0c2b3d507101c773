"""100,000 requests, and 20,000 of each kind of failure, leave a worker as it was.

Memory, threads, tasks and descriptors of the worker are compared after the first thousand of each
kind and after the last. `make test` sends 2,000 of each, `make test-long` all.
"""

from __future__ import annotations

import ast
import os
import re
import socket
import subprocess
from contextlib import ExitStack
from dataclasses import dataclass

import pytest
from harness import FATAL, free_port
from process_memory import anonymous, descriptors, threads
from rawhttp import Connection, wait_for
from rawhttp2 import Http2

LONG = "PYWSGI_LONG" in os.environ
FIRST, ALL = 1000, 20_000 if LONG else 2000
CLIENTS = 16
SLACK = 1 << 20

APPLICATION = """
    import asyncio, gc
    from testkit import START, respond

    BODY = "http.response.body"
    FILE = "{file}"

    async def small(receive, send):
        await respond(send, b"ok")

    async def settle(receive, send):
        gc.collect()
        tasks = len(asyncio.all_tasks()) - 1
        await respond(send, repr({{"tasks": tasks}}).encode())

    async def raises(receive, send):
        raise ValueError("of the app")

    async def exits(receive, send):
        raise SystemExit(1)

    async def cancelled(receive, send):
        raise asyncio.CancelledError

    async def begins(send):
        await send(START)
        await send({{"type": BODY, "body": b"begun", "more_body": True}})

    async def raises_later(receive, send):
        await begins(send)
        raise ValueError("later")

    async def returns(receive, send):
        pass

    async def returns_later(receive, send):
        await begins(send)

    async def out_of_order(receive, send):
        await send({{"type": BODY, "body": b"x"}})

    async def malformed(receive, send):
        await send({{**START, "status": "200"}})

    async def bad_header(receive, send):
        await send({{**START, "headers": [(b"x-bad", b"a\\r\\nb")]}})

    async def short(receive, send):
        await send({{**START, "headers": [(b"content-length", b"100")]}})
        await send({{"type": BODY, "body": b"ten bytes."}})

    async def after(receive, send):
        await respond(send, b"ok")
        raise ValueError("after the response")

    async def waits(receive, send):
        await begins(send)
        while (await receive())["type"] != "http.disconnect":
            pass

    async def sleeps(receive, send):
        await begins(send)
        await asyncio.sleep(600)

    async def sends(receive, send):
        await begins(send)
        while True:
            await send({{"type": BODY, "body": b"x" * 1000, "more_body": True}})
            await asyncio.sleep(0.0005)

    async def large(receive, send):
        await send(START)
        for _ in range(20):
            await send({{"type": BODY, "body": b"l" * 10_000, "more_body": True}})
        await send({{"type": BODY}})

    async def file(receive, send):
        await send(START)
        await send({{"type": "http.response.pathsend", "path": FILE}})

    async def timers(receive, send):
        try:
            await asyncio.wait_for(receive(), 60)
            await asyncio.wait_for(receive(), 0.001)
        except asyncio.TimeoutError:
            await respond(send, b"ok")

    async def tasks(receive, send):
        async with asyncio.Lock():
            await asyncio.gather(*(asyncio.create_task(asyncio.sleep(0)) for _ in range(3)))
        await respond(send, b"ok")

    async def slow(receive, send):
        await asyncio.sleep(600)

    async def application(scope, receive, send):
        await globals()[scope["path"].rpartition("/")[2]](receive, send)
"""

LOCATIONS = {
    "/": "",
    "/cancel/": "asgi_client_abort cancel;",
    "/large": "asgi_buffer_size 16k;",
    "/slow": "asgi_timeout 20ms;",
    "/validate/": "asgi_debug validate;",
    "/traceback/": "asgi_debug traceback;",
    "/buffered/": "asgi_request_buffering on;",
}
HTTP = """
    keepalive_requests 1000000;
    access_log off;
    client_header_timeout 300s;
    asgi_queue_timeout 300s;
    asgi_timeout 300s;
"""


def get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()


def post(path: str, length: int, body: bytes) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}"
    return f"{head}\r\n\r\n".encode() + body


@dataclass
class Kind:
    """A request, what its answer begins and ends with, and how the client behaves.

    leaves: `answered`: with RST, after the first bytes; `at once`: as soon as it has sent.
    """

    request: bytes
    begins: bytes = b"HTTP/1.1 500 "
    ends: bytes = b"</html>\r\n"
    leaves: str = ""
    count: int = ALL


OK = b"HTTP/1.1 200 "
KINDS = {
    "small": Kind(get("/small"), OK, b"ok"),
    "exception": Kind(get("/raises")),
    "SystemExit": Kind(get("/exits")),
    "CancelledError": Kind(get("/cancelled")),
    "exception in the body": Kind(get("/raises_later"), OK, b"begun\r\n"),
    "no response": Kind(get("/returns")),
    "no end of the body": Kind(get("/returns_later"), OK, b"begun\r\n"),
    "message out of order": Kind(get("/out_of_order")),
    "malformed message": Kind(get("/malformed")),
    "bad header": Kind(get("/bad_header")),
    "exception after the response": Kind(get("/after"), OK, b"ok"),
    "asgi_debug traceback": Kind(get("/traceback/raises"), ends=b""),
    "asgi_debug validate": Kind(get("/validate/out_of_order"), ends=b""),
    "left while it waits": Kind(get("/waits"), OK, leaves="answered"),
    "left, and cancelled": Kind(get("/cancel/sleeps"), OK, leaves="answered"),
    "left while it sends": Kind(get("/sends"), OK, leaves="answered"),
    "left in a download": Kind(get("/large"), OK, leaves="answered"),
    "left in a file": Kind(get("/file"), OK, leaves="answered"),
    "left in an upload": Kind(post("/waits", 100_000, b"u" * 5000), OK, leaves="answered"),
    "left in a buffered upload": Kind(
        post("/buffered/small", 100_000, b"u" * 5000), leaves="at once"
    ),
    "left at once": Kind(get("/small"), leaves="at once"),
    "receive that is given up": Kind(get("/timers"), OK, b"ok"),
    "tasks of its own": Kind(get("/tasks"), OK, b"ok"),
    "asgi_timeout": Kind(get("/slow"), b"HTTP/1.1 504 ", count=ALL // 5),
    "half a request": Kind(get("/small")[:20], leaves="at once"),
}


class Worker:
    """The worker under test: what of it must stay the same."""

    def __init__(self, nginx, tls_port: int) -> None:
        self.nginx, self.tls_port = nginx, tls_port
        (self.pid,) = nginx.workers()
        self.client = nginx.client(timeout=280)

    def state(self) -> dict[str, int]:
        """Taken when no request is under way and all that is being freed is freed."""
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
            return all(now[what] <= first[what] for what in ("descriptors", "threads", "tasks"))

        wait_for(few, 30, f"descriptors, threads and tasks as at first: {first} {self.state()}")
        last = self.state()
        print(f"\nafter the first: {first}\nafter the last:  {last}")
        assert last["memory"] - first["memory"] <= SLACK, (first, last)
        assert self.nginx.workers() == [self.pid]


@pytest.fixture
def worker(nginx):
    file = nginx.page("file.bin", "f" * 100_000)
    path = nginx.app("leaks", APPLICATION.format(file=file))
    # Errors go to a log of their own, which is read block by block.
    server = "error_log logs/failures.log error;\n" + "".join(
        f"location {prefix} {{ asgi_app {path}; asgi_lifespan off; {more} }}\n"
        for prefix, more in LOCATIONS.items()
    )
    tls_port = free_port()
    server += f"listen 127.0.0.1:{tls_port} ssl http2;\n" + nginx.tls()
    listen = "sndbuf=16k backlog=1024"
    nginx.start(http=HTTP, server=server, listen=listen, log_level="error")
    worker = Worker(nginx, tls_port)
    yield worker
    failures = nginx.root / "logs" / "failures.log"
    with failures.open("rb") as log:
        while block := log.read(1 << 24):
            found = FATAL.search((block + log.readline()).decode("latin-1"))
            assert not found, found


def exchange(port: int, kind: Kind, count: int) -> None:
    """`count` requests of a kind, some at a time, each on a connection of its own."""
    while count > 0:
        with ExitStack() as batch:
            opened = range(min(CLIENTS, count))
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


@pytest.mark.parametrize("name", KINDS)
def test_many_of_a_kind(nginx, worker, name):
    kind = KINDS[name]
    first = min(FIRST, kind.count // 4)
    assert worker.client.get("/small").text == "ok"
    exchange(nginx.port, kind, first)
    before = worker.state()
    exchange(nginx.port, kind, kind.count - first)
    worker.assert_as(before)
    assert worker.client.get("/small").text == "ok"


def test_streams_given_up(nginx, worker):
    """As a browser does on Stop: one HTTP/2 connection, whose streams are reset while they run."""

    def give_up(connection: Http2, count: int) -> None:
        while count > 0:
            streams = [connection.request("/waits") for _ in range(min(CLIENTS, count))]
            count -= len(streams)
            for number in streams:
                stream = connection.streams[number]
                connection.until(lambda stream=stream: stream.body == b"begun")
                connection.reset(number)
                del connection.streams[number]

    with Http2(worker.tls_port) as connection:
        give_up(connection, FIRST)
        before = worker.state()
        give_up(connection, 4000 - FIRST)
        worker.assert_as(before)


@pytest.mark.timeout(900)
def test_100000_small_requests(nginx, worker):
    """Sent by wrk, in runs of some seconds."""

    def load(wanted: int) -> int:
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

    load(10_000)
    before = worker.state()
    load(100_000)
    worker.assert_as(before)
