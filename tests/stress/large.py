"""Bodies of a gibibyte, and what a worker's memory does meanwhile."""

from __future__ import annotations

import hashlib

from process_memory import forget_peak, peak

GIBIBYTE = 1 << 30
MEBIBYTE = 1 << 20
LIMIT = 32 * MEBIBYTE


def blocks(count: int):
    block = bytes(range(256)) * 4096
    for number in range(count):
        yield number.to_bytes(8, "big") + block[8:]


def digest(count: int) -> str:
    whole = hashlib.sha256()
    for block in blocks(count):
        whole.update(block)
    return whole.hexdigest()


def download(nginx) -> None:
    """A gibibyte of `blocks`, after a smaller response; the worker's memory stays bounded."""
    (worker,) = nginx.workers()
    nginx.client().get("/?32")
    before = forget_peak(worker)
    with nginx.connect() as connection:
        connection.get("/?1024")
        assert connection.head().status == 200
        whole, size = hashlib.sha256(), 0
        for chunk in connection.chunks():
            whole.update(chunk)
            size += len(chunk)
    assert size == GIBIBYTE
    assert whole.hexdigest() == digest(1024)
    assert peak(worker) - before < LIMIT


def upload(nginx, count: int, *, known: bool) -> None:
    """`count` of `blocks`, after a smaller upload; the worker's memory stays bounded.

    known: with their length, or in chunks.
    """
    (worker,) = nginx.workers()
    client = nginx.client(timeout=240)
    client.post("/", content=b"x" * 32 * MEBIBYTE)
    before = forget_peak(worker)
    headers = {"Content-Length": str(count * MEBIBYTE)} if known else {}
    answer = client.post("/", content=blocks(count), headers=headers).text
    assert answer == f"{count * MEBIBYTE} {digest(count)}"
    assert peak(worker) - before < LIMIT


def upload_that_waits(nginx, path: str) -> None:
    """64 MB, of which the application reads the first bytes, and the rest when it is told.

    Until then nginx must stop reading from the client as well.
    """
    (worker,) = nginx.workers()
    total, block = 64 * MEBIBYTE, b"x" * 65536
    with nginx.connect() as connection:
        connection.send(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {total}\r\n\r\n")
        connection.send(block)
        nginx.wait_recorded("begun")
        before = forget_peak(worker)
        sent = len(block)
        connection.sock.settimeout(2)
        try:
            while sent < total:
                sent += connection.sock.send(block)
        except TimeoutError:
            pass
        # The rest is in the sockets' buffers and the input pipe, which is bounded.
        assert sent < 32 * MEBIBYTE
        assert peak(worker) - before < LIMIT
        connection.sock.settimeout(60)
        nginx.open_gate("read")
        while sent < total:
            sent += connection.sock.send(block[: total - sent])
        assert connection.response().body.split()[0] == str(total).encode()
