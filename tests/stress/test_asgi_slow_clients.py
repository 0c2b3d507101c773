"""64 slow clients each way, on one loop; a quick request is answered as ever."""

from __future__ import annotations

import hashlib
import time

import pytest
from process_memory import forget_peak, peak, threads

CLIENTS = 64
MEBIBYTE = 1 << 20

APPLICATION = """
    import hashlib
    from testkit import START, record, respond

    BODY = "http.response.body"

    async def application(scope, receive, send):
        if scope["path"] == "/large":
            await send(START)
            try:
                for number in range(305):
                    block = bytes([number % 256]) * 65536
                    await send({"type": BODY, "body": block, "more_body": True})
                await send({"type": BODY})
                record("ended", "whole")
            except OSError:
                record("ended", "gone")
        elif scope["path"] == "/upload":
            digest, more = hashlib.sha256(), True
            while more:
                message = await receive()
                digest.update(message["body"])
                more = message["more_body"]
            await respond(send, digest.hexdigest().encode())
        else:
            await respond(send, b"quick")
"""


def quick_times(nginx, count: int) -> list[float]:
    client, times = nginx.client(timeout=60), []
    for _ in range(count):
        begun = time.perf_counter()
        assert client.get("/").text == "quick"
        times.append(time.perf_counter() - begun)
    return sorted(times)


def crawl(clients: list, seconds: float, step) -> None:
    """Each client takes a small step ten times a second."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for client in clients:
            step(client)
        time.sleep(0.1)


@pytest.fixture
def worker(nginx):
    path = nginx.app("crawl", APPLICATION)
    nginx.start(
        f"asgi_app {path}; asgi_lifespan off; client_max_body_size 100m;"
        " send_timeout 120s; client_body_timeout 120s; asgi_timeout 120s;"
    )
    (pid,) = nginx.workers()
    return pid


@pytest.mark.parametrize("how", ["close", "reset"])
def test_64_clients_that_read_at_a_crawl(nginx, worker, how):
    idle = quick_times(nginx, 50)
    with nginx.connect() as connection:
        connection.get("/large", close=True)
        assert len(connection.response().body) == 305 * 65536
    before, at_first = forget_peak(worker), threads(worker)
    clients = [nginx.connect(receive=16384) for _ in range(CLIENTS)]
    for client in clients:
        client.get("/large")
    crawl(clients, 2, lambda client: client.sock.recv(1024))
    busy = quick_times(nginx, 50)
    crawl(clients, 1, lambda client: client.sock.recv(1024))
    # Compares the medians, with room for a noisy machine.
    assert busy[25] < 10 * idle[25] + 0.05, (idle[25], busy[25])
    # At most 256k each in memory, and what sockets and Python need.
    assert peak(worker) - before < CLIENTS * 256 * 1024 + 32 * MEBIBYTE
    assert threads(worker) <= at_first
    # All of them wait in send().
    assert nginx.recorded("ended") == ["whole"]
    for client in clients:
        getattr(client, how)()
    ended = nginx.wait_recorded("ended", CLIENTS + 1)
    assert ended[1:] == ["gone"] * CLIENTS
    assert quick_times(nginx, 20)
    assert not nginx.log_lines("[error]")


@pytest.mark.parametrize("chunked", [False, True])
def test_64_clients_that_upload_at_a_crawl(nginx, worker, chunked):
    idle = quick_times(nginx, 50)
    before, at_first = forget_peak(worker), threads(worker)
    clients = [nginx.connect() for _ in range(CLIENTS)]
    body = bytes(range(256)) * 400
    sent = dict.fromkeys(clients, 0)
    framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(body)}"
    for client in clients:
        client.send(f"POST /upload HTTP/1.1\r\nHost: x\r\n{framing}\r\n\r\n")

    def send(client, size: int) -> None:
        piece = body[sent[client] : sent[client] + size]
        client.send(f"{len(piece):x}\r\n".encode() + piece + b"\r\n" if chunked else piece)
        sent[client] += len(piece)

    crawl(clients, 2, lambda client: send(client, 100))
    busy = quick_times(nginx, 50)
    crawl(clients, 1, lambda client: send(client, 100))
    assert busy[25] < 10 * idle[25] + 0.05, (idle[25], busy[25])
    assert peak(worker) - before < 32 * MEBIBYTE
    assert threads(worker) <= at_first
    # All of them end, and no byte is lost.
    for client in clients:
        send(client, len(body))
        if chunked:
            client.send("0\r\n\r\n")
    for client in clients:
        assert client.response().body.decode() == hashlib.sha256(body).hexdigest()
