"""64 very slow clients at a time, against a pool of four threads."""

from __future__ import annotations

import time

import pytest
from process_memory import forget_peak, peak, threads
from rawhttp import wait_for

CLIENTS = 64
MEBIBYTE = 1 << 20

APPLICATION = """
    import hashlib
    from testkit import Blocks

    BLOCK = bytes(range(256)) * 256  # 64 KiB

    def blocks():
        for _ in range(305):  # 20 MB
            yield BLOCK

    def application(environ, start_response):
        path = environ["PATH_INFO"]
        start_response("200 OK", [("Content-Type", "application/octet-stream")])
        if path == "/large":
            return Blocks(blocks())
        if path == "/upload":
            return [hashlib.sha256(environ["wsgi.input"].read()).hexdigest().encode()]
        return [b"quick"]
"""

POOL = "python_thread_pool default threads=4;"


def quick_times(nginx, count: int) -> list[float]:
    """How long quick requests take, each on a connection of its own."""
    times = []
    for _ in range(count):
        started = time.monotonic()
        with nginx.connect() as connection:
            connection.get("/quick", close=True)
            assert connection.response().body == b"quick"
        times.append(time.monotonic() - started)
    return sorted(times)


def crawl(connections, seconds: float, step) -> None:
    """Lets every client take one small step at a time, for so long."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for connection in connections:
            step(connection)
        time.sleep(0.05)


@pytest.mark.parametrize("how", ["close", "reset"])
def test_64_clients_that_read_at_a_crawl(nginx, how):
    path = nginx.app("crawl", APPLICATION)
    nginx.start(f"wsgi_app {path}; send_timeout 120s;", http=POOL)
    (worker,) = nginx.workers()
    idle = quick_times(nginx, 50)
    with nginx.connect() as connection:
        connection.get("/large", close=True)
        assert len(connection.response().body) == 305 * 65536
    before = forget_peak(worker)
    clients = [nginx.connect(receive=16384) for _ in range(CLIENTS)]
    for client in clients:
        client.get("/large")
    crawl(clients, 2, lambda client: client.sock.recv(1024))
    # All responses have been generated: no thread is held, though no client has read its response.
    nginx.wait_recorded("closed", CLIENTS + 1, timeout=120)
    busy = quick_times(nginx, 50)
    crawl(clients, 1, lambda client: client.sock.recv(1024))
    # Compares the medians, with room for a noisy machine.
    assert busy[25] < 10 * idle[25] + 0.05, (idle[25], busy[25])
    # At most 256k each in memory, and what sockets and Python need.
    assert peak(worker) - before < CLIENTS * 256 * 1024 + 32 * MEBIBYTE
    assert threads(worker) < 4 + 10
    for client in clients:
        getattr(client, how)()
    assert quick_times(nginx, 20)
    assert len(nginx.recorded("closed")) == CLIENTS + 1


@pytest.mark.parametrize("buffering", ["on", "off"])
def test_64_clients_that_upload_at_a_crawl(nginx, buffering):
    """With buffering off an upload holds its thread, so that those beyond the pool's size wait."""
    path = nginx.app("crawl", APPLICATION)
    nginx.start(
        f"wsgi_app {path}; client_body_timeout 120s;",
        server=f"""
        client_max_body_size 100m;
        location /upload {{
            wsgi_app {path};
            wsgi_request_buffering {buffering};
            wsgi_queue_timeout 120s;
            {"wsgi_thread_pool uploads;" if buffering == "off" else ""}
        }}
        """,
        http=POOL + " python_thread_pool uploads threads=4;",
    )
    (worker,) = nginx.workers()
    idle = quick_times(nginx, 50)
    before = forget_peak(worker)
    clients = [nginx.connect() for _ in range(CLIENTS)]
    body = bytes(range(256)) * 400
    sent = dict.fromkeys(clients, 0)
    for client in clients:
        client.send(f"POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n")

    def step(client) -> None:
        piece = body[sent[client] : sent[client] + 100]
        client.send(piece)
        sent[client] += len(piece)

    crawl(clients, 2, step)
    busy = quick_times(nginx, 50)
    crawl(clients, 1, step)
    assert busy[25] < 10 * idle[25] + 0.05, (idle[25], busy[25])
    assert peak(worker) - before < 32 * MEBIBYTE
    # All of them end, and no byte is lost.
    for client in clients:
        client.send(body[sent[client] :])
    import hashlib

    for client in clients:
        assert client.response().body.decode() == hashlib.sha256(body).hexdigest()
    wait_for(lambda: quick_times(nginx, 1), what="a quick request")
