"""Slow and idle clients, and 100 probes on one worker, row by row of the comparison."""

from __future__ import annotations

import re
import socket

import pytest
from rawhttp import wait_still

CLIENTS = 16
POOL = "python_thread_pool default threads=4;"
MEBIBYTE = 1 << 20


def quick(nginx) -> None:
    """Checks that a request is served while all these clients are connected."""
    with nginx.connect() as connection:
        connection.get("/hello", close=True)
        assert connection.response().body == b"hello"


def test_quick_get_while_16_clients_upload_slowly(nginx, serve):
    serve(http=POOL)
    clients = [nginx.connect() for _ in range(CLIENTS)]
    for client in clients:
        client.send("POST /body?read HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n")
    for _ in range(5):
        for client in clients:
            client.send(b"a piece of")
        quick(nginx)
    for client in clients:
        client.send(b"a piece of" * 5)
        assert client.response().body.count(b"a piece of") == 10


def test_quick_get_while_16_clients_do_not_read_20_mb(nginx, serve):
    serve(http=POOL)
    clients = [nginx.connect() for _ in range(CLIENTS)]
    for client in clients:
        client.get("/large")
    for client in clients:
        # One whose answer has begun.
        assert client.sock.recv(1, socket.MSG_PEEK)
    quick(nginx)
    # No thread is held: all responses have been made, and none has been read.
    nginx.wait_recorded("large", CLIENTS)
    quick(nginx)
    assert len(clients[0].response().body) == 305 * 65536


def test_quick_get_while_16_idle_tcp_connections(nginx, serve):
    serve(http=POOL)
    clients = [nginx.connect() for _ in range(CLIENTS)]
    quick(nginx)
    for client in clients:
        client.send(b"GET /hello HTT")
    quick(nginx)
    for client in clients:
        client.send("P/1.1\r\nHost: x\r\n\r\n")
        assert client.response().body == b"hello"


@pytest.mark.parametrize("limit", ["wsgi_buffering off;", "wsgi_max_temp_file_size 512k;"])
def test_mb_generated_ahead_of_a_client_that_reads_nothing(nginx, serve, limit):
    """Limited here; by default it may be 1 GB in a file, which frees the thread."""
    serve(limit, listen="sndbuf=1m")
    client = nginx.connect()
    client.get("/ahead")

    def made() -> int:
        return len(nginx.recorded("ahead")) * 65536

    nginx.wait_recorded("ahead")
    assert wait_still(made) <= 4 * MEBIBYTE
    assert len(client.response().body) == 3052 * 65536


# Every probe on one worker, except those that depend on what their client does.
WITHOUT = {"endless", "client_gone", "ahead", "first_line", "reads_late", "aborted"}
MALFORMED = [
    "GARBAGE\r\n\r\n",
    "GET / HTTP/9.9\r\n\r\n",
    "GET /hello HTTP/1.1\r\n\r\n",
    "GET /hello HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
    "GET /hello HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n",
    "GET /\0 HTTP/1.1\r\nHost: x\r\n\r\n",
    "GET /%00 HTTP/1.1\r\nHost: x\r\n\r\n",
    "GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n",
    "POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    "POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
    "POST /body HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n",
    "POST /body HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "POST /body HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\nx",
]


@pytest.mark.threads("some probes wait, in a call, for their client to leave")
def test_no_worker_dies_during_the_probes(nginx, serve):
    serve()
    workers = nginx.workers()
    for gate in ("write", "late_head go", "yields0", "yields1", "yields2", "early_hints"):
        nginx.open_gate(gate)
    source = (nginx.apps / "probes.py").read_text()
    names = set(re.findall(r"(?m)^@probe\ndef (\w+)|^    \"(\w+)\": started", source))
    paths = sorted({first or second for first, second in names} - WITHOUT)
    assert len(paths) > 40
    for _ in range(2):
        for path in paths:
            for method in ("GET", "HEAD", "POST"):
                request = f"{method} /{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
                assert nginx.raw(request.encode()).startswith(b"HTTP/1.1 "), path
        for request in MALFORMED:
            with nginx.connect() as connection:
                connection.send(request)
                connection.sock.shutdown(socket.SHUT_WR)
                connection.rest()
        for path in WITHOUT:
            with nginx.connect() as connection:
                connection.get(f"/{path}")
    quick(nginx)
    assert nginx.workers() == workers
