"""A gibibyte through `send()` and through `receive()`: memory does not depend on a body's size."""

from __future__ import annotations

import hashlib

import pytest
from process_memory import forget_peak, peak
from rawhttp import wait_still

GIBIBYTE = 1 << 30
MEBIBYTE = 1 << 20
LIMIT = 32 * MEBIBYTE

APPLICATION = """
    import hashlib
    from testkit import START, opened, record, respond

    BLOCK = bytes(range(256)) * 4096  # 1 MiB

    async def application(scope, receive, send):
        if scope["method"] == "GET":
            await send(START)
            for number in range(int(scope["query_string"])):
                block = number.to_bytes(8, "big") + BLOCK[8:]
                await send({"type": "http.response.body", "body": block, "more_body": True})
            return await send({"type": "http.response.body"})
        digest, size, more = hashlib.sha256(), 0, True
        while more:
            message = await receive()
            digest.update(message["body"])
            size += len(message["body"])
            more = message["more_body"]
            if scope["query_string"] == b"held" and size and size == len(message["body"]):
                record("begun")
                await opened("read")
        await respond(send, f"{size} {digest.hexdigest()}".encode())
"""


def blocks(count: int):
    block = bytes(range(256)) * 4096
    for number in range(count):
        yield number.to_bytes(8, "big") + block[8:]


def digest(count: int) -> str:
    whole = hashlib.sha256()
    for block in blocks(count):
        whole.update(block)
    return whole.hexdigest()


@pytest.fixture
def start(nginx):
    """`start("directives")` returns a client and the worker."""

    def begin(location: str = ""):
        app = nginx.app("large", APPLICATION)
        nginx.start(f"asgi_app {app}; asgi_lifespan off; client_max_body_size 0; {location}")
        (worker,) = nginx.workers()
        return nginx.client(timeout=240), worker

    return begin


@pytest.mark.parametrize("temporary", ["0", "64m"])
def test_a_gibibyte_through_send(nginx, start, temporary):
    client, worker = start(f"asgi_max_temp_file_size {temporary};")
    client.get("/?32")
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


def test_a_gibibyte_through_receive(start):
    client, worker = start()
    client.post("/", content=b"x" * 32 * MEBIBYTE)
    before = forget_peak(worker)
    headers = {"Content-Length": str(GIBIBYTE)}
    answer = client.post("/", content=blocks(1024), headers=headers).text
    assert answer == f"{GIBIBYTE} {digest(1024)}"
    assert peak(worker) - before < LIMIT


def test_a_buffered_upload_of_256_mebibytes(start):
    client, worker = start("asgi_request_buffering on;")
    client.post("/", content=b"x" * 32 * MEBIBYTE)
    before = forget_peak(worker)
    assert client.post("/", content=blocks(256)).text == f"{256 * MEBIBYTE} {digest(256)}"
    assert peak(worker) - before < LIMIT


def test_an_application_that_does_not_receive(nginx, start):
    """nginx must stop reading from the client as well."""
    _, worker = start()
    total, block = 64 * MEBIBYTE, b"x" * 65536
    with nginx.connect() as connection:
        connection.send(f"POST /?held HTTP/1.1\r\nHost: x\r\nContent-Length: {total}\r\n\r\n")
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
        assert sent < 32 * MEBIBYTE
        assert peak(worker) - before < LIMIT
        connection.sock.settimeout(60)
        nginx.open_gate("read")
        while sent < total:
            sent += connection.sock.send(block[: total - sent])
        assert connection.response().body.split()[0] == str(total).encode()


def test_a_client_that_does_not_read(nginx, start):
    """send() waits, and the worker holds no more than its buffers."""
    client, worker = start()
    client.get("/?32")
    before = forget_peak(worker)
    with nginx.connect(receive=65536) as connection:
        connection.get("/?256")
        wait_still(lambda: peak(worker), 2)
        assert peak(worker) - before < LIMIT
        assert connection.head().status == 200
        assert sum(map(len, connection.chunks())) == 256 * MEBIBYTE
    assert peak(worker) - before < LIMIT
