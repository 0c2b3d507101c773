"""A million requests, or 20,000 failures of a kind: the worker is as after the first thousand."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from rawhttp import wait_for
from stress_memory import threads

REQUESTS = 1_000_000
FAILURES = 20_000
CLIENTS = 32

# What an allocator may keep more than after the first thousand, in bytes: less than a word for each
# of a million requests, and 200 bytes for each of 20,000 failures.
SLACK = 4 << 20

SOURCE = """
    import threading
    import time

    PLAIN = [("Content-Type", "text/plain")]


    class Body:
        def __init__(self, blocks):
            self.blocks = blocks

        def __iter__(self):
            return iter(self.blocks)

        def close(self):
            raise RuntimeError("in close()")


    def late():
        yield b"begun"
        raise RuntimeError("in the midst")


    def endless():
        while True:
            yield b"x" * 8000


    def application(environ, start_response):
        kind = environ["PATH_INFO"][1:]
        request = environ["pywsgi.request"]
        if kind == "raise":
            raise ValueError("a failure")
        if kind == "exit":
            raise SystemExit(1)
        if kind == "never":
            return [b"no start_response"]
        if kind == "none":
            return None
        if kind == "header":
            start_response("200 OK", [("X", "a\\\\r\\\\nb")])
        if kind == "twice":
            start_response("200 OK", PLAIN)
            start_response("200 OK", PLAIN)
        if kind == "short":
            start_response("200 OK", [*PLAIN, ("Content-Length", "100")])
            return [b"short"]
        if kind == "callbacks":
            request.on_disconnect(lambda: None)
            request.after_response(lambda: {}["missing"])
        if kind == "sleep":
            request.on_disconnect(lambda: None)
            time.sleep(0.02)
        start_response("200 OK", PLAIN)
        if kind == "late":
            return late()
        if kind == "endless":
            return endless()
        if kind == "close":
            return Body([b"good"])
        if kind == "file":
            return environ["wsgi.file_wrapper"](open(__file__, "rb"))
        if kind == "upload":
            try:
                environ["wsgi.input"].read()
            except OSError:
                pass
        return [b"Hello, World!\\n"]
"""


class Worker:
    """What a worker process holds."""

    def __init__(self, nginx) -> None:
        (self.pid,) = nginx.workers()

    def memory(self) -> int:
        """Its private memory (and its share of the rest), in bytes."""
        text = Path(f"/proc/{self.pid}/smaps_rollup").read_text()
        return int(re.findall(r"^Pss:\s+(\d+) kB$", text, re.M)[0]) * 1024

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def threads(self) -> int:
        return threads(self.pid)

    def settled(self) -> tuple[int, int]:
        """Threads and descriptors, when the last clients have been let go of."""
        seen = [(-1, -1)]

        def unchanged() -> bool:
            seen.append((self.threads(), self.descriptors()))
            return len(seen) > 20 and len(set(seen[-20:])) == 1

        wait_for(unchanged, 60, "the worker to come to rest")
        return seen[-1]


def wrk(nginx, path: str, count: int) -> int:
    """At least `count` requests; how many it were."""
    done = 0
    while done < count:
        command = ["wrk", "-t1", f"-c{CLIENTS}", "-d2s", "--timeout", "30s"]
        run = subprocess.run(
            [*command, nginx.url(path)], check=True, capture_output=True, text=True
        )
        found = re.search(r"(\d+) requests in", run.stdout)
        errors = re.search(r"Socket errors: connect \d+, read (\d+)", run.stdout)
        now = int(found[1]) if found else 0
        now += int(errors[1]) if errors else 0
        assert now > 0, run.stdout
        done += now
    return done


def by_hand(nginx, request: bytes, count: int, *, read: int = 0) -> None:
    """`count` connections that send `request`, read so much of the answer, and are reset."""

    def some(number: int) -> None:
        for _ in range(number):
            with socket.create_connection(("127.0.0.1", nginx.port), 60) as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                with contextlib.suppress(ConnectionError):
                    client.sendall(request)
                    left = read
                    while left > 0 and (data := client.recv(left)):
                        left -= len(data)

    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(some, count // 8) for _ in range(8)]:
            done.result()


@pytest.fixture
def serve(nginx):
    app = nginx.app("leaks", SOURCE)

    def begin() -> Worker:
        nginx.start(
            f"wsgi_app {app};",
            # Each failure is said; nginx need not write 20,000 tracebacks.
            log_level="crit",
            http="access_log off; client_max_body_size 100k;"
            "python_thread_pool small threads=1 max_queue=0;"
            "python_thread_pool large threads=32;",
            server=f"""
            location /upload {{ wsgi_app {app}; wsgi_request_buffering off; }}
            location /full {{ wsgi_app {app}; wsgi_thread_pool small; }}
            location /timeout/ {{
                rewrite ^/timeout(.*) $1 break;
                wsgi_app {app};
                wsgi_thread_pool large;
                wsgi_timeout 5ms;
            }}
            location /cancel/ {{
                rewrite ^/cancel(.*) $1 break;
                wsgi_app {app};
                wsgi_client_abort cancel;
            }}
            location /debug/ {{
                rewrite ^/debug(.*) $1 break;
                wsgi_app {app};
                wsgi_debug validate;
            }}
            """,
        )
        return Worker(nginx)

    return begin


def assert_unchanged(worker: Worker, run) -> None:
    """That `run(count)` leaves the worker as its first thousand have left it."""
    run(1000)
    before = worker.settled()
    memory = worker.memory()
    run(0)
    after = worker.settled()
    grown = worker.memory() - memory
    what = f"(threads, descriptors) {before} -> {after}, {grown} bytes more"
    assert after[0] <= before[0] + 8, what
    assert after[1] <= before[1], what
    assert grown < SLACK, what


@pytest.mark.timeout(900)
def test_a_million_requests(nginx, serve):
    worker = serve()
    assert_unchanged(worker, lambda first: wrk(nginx, "/", first or REQUESTS))


@pytest.mark.parametrize(
    "path",
    ["raise", "exit", "never", "none", "header", "twice", "short", "late", "close", "callbacks"]
    + ["file", "debug/raise", "debug/none"],
)
def test_failures_that_are_answered(nginx, serve, path):
    worker = serve()
    assert_unchanged(worker, lambda first: wrk(nginx, f"/{path}", first or FAILURES))


GET = b"GET /%s HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST /%s HTTP/1.1\r\nHost: a\r\n%s\r\n\r\nbody"


@pytest.mark.parametrize(
    ("request_", "read"),
    [
        pytest.param(GET % b"sleep", 0, id="a client that leaves while the application runs"),
        pytest.param(GET % b"cancel/sleep", 0, id="the same, and the application is cancelled"),
        pytest.param(GET % b"endless", 1000, id="a client that leaves an endless response"),
        pytest.param(GET % b"file", 20, id="a client that leaves a file"),
        pytest.param(POST % (b"", b"Content-Length: 50"), 0, id="an upload that breaks off"),
        pytest.param(
            POST % (b"upload", b"Content-Length: 50"), 0, id="a streamed upload that breaks off"
        ),
        pytest.param(
            POST % (b"upload", b"Transfer-Encoding: chunked"), 20, id="chunks that are none"
        ),
        pytest.param(POST % (b"", b"Content-Length: 200000"), 20, id="an upload that is too large"),
        pytest.param(b"GET / HTTP/9.9\r\nHost\r\n\r\n", 20, id="a request that is none"),
        pytest.param(GET[:20], 0, id="half a request"),
    ],
)
def test_clients_that_leave(nginx, serve, request_, read):
    worker = serve()
    assert_unchanged(worker, lambda first: by_hand(nginx, request_, first or FAILURES, read=read))


@pytest.mark.parametrize("path", ["full", "timeout/sleep"])
def test_what_the_server_answers_by_itself(nginx, serve, path):
    worker = serve()
    assert_unchanged(worker, lambda first: wrk(nginx, f"/{path}", first or FAILURES))
