"""A gibibyte each way: the worker's memory does not depend on a body's size."""

from __future__ import annotations

import hashlib

import pytest
from process_memory import forget_peak, peak

GIBIBYTE = 1 << 30
MEBIBYTE = 1 << 20
LIMIT = 32 * MEBIBYTE

APPLICATION = """
    import hashlib

    BLOCK = bytes(range(256)) * 4096  # 1 MiB

    def blocks(count):
        for number in range(count):
            yield number.to_bytes(8, "big") + BLOCK[8:]

    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "application/octet-stream")])
        if environ["REQUEST_METHOD"] == "GET":
            return blocks(int(environ["QUERY_STRING"]))
        digest, stream, size = hashlib.sha256(), environ["wsgi.input"], 0
        while block := stream.read(262_144):
            digest.update(block)
            size += len(block)
        return [f"{size} {digest.hexdigest()}".encode()]
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


@pytest.mark.parametrize("buffering", ["on", "off"])
def test_download_of_a_gibibyte(nginx, buffering):
    path = nginx.app("large", APPLICATION)
    nginx.start(f"wsgi_app {path}; wsgi_buffering {buffering};")
    (worker,) = nginx.workers()
    client = nginx.client()
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


def before_upload(nginx, buffering: str):
    """Starts nginx and uploads 32 MB; returns a client, the worker, and its memory afterwards."""
    path = nginx.app("large", APPLICATION)
    nginx.start(f"wsgi_app {path}; wsgi_request_buffering {buffering}; client_max_body_size 0;")
    (worker,) = nginx.workers()
    client = nginx.client(timeout=240)
    client.post("/", content=b"x" * 32 * MEBIBYTE)
    before = forget_peak(worker)
    return client, worker, before


def test_unbuffered_upload_of_a_gibibyte(nginx):
    client, worker, before = before_upload(nginx, "off")
    headers = {"Content-Length": str(GIBIBYTE)}
    answer = client.post("/", content=blocks(1024), headers=headers).text
    assert answer == f"{GIBIBYTE} {digest(1024)}"
    assert peak(worker) - before < LIMIT


def test_buffered_upload_of_256_mebibytes(nginx):
    client, worker, before = before_upload(nginx, "on")
    answer = client.post("/", content=blocks(256)).text
    assert answer == f"{256 * MEBIBYTE} {digest(256)}"
    assert peak(worker) - before < LIMIT


def test_an_application_slower_than_the_upload(nginx):
    """The application does not read: nginx must stop reading from the client as well."""
    path = nginx.app(
        "slow",
        """
        from testkit import gate, record

        def application(environ, start_response):
            environ["wsgi.input"].read(1)
            record("begun")
            gate("read")
            size = 1
            while block := environ["wsgi.input"].read(65536):
                size += len(block)
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [str(size).encode()]
        """,
    )
    nginx.start(f"wsgi_app {path}; wsgi_request_buffering off; client_max_body_size 0;")
    (worker,) = nginx.workers()
    total, block = 64 * MEBIBYTE, b"x" * 65536
    with nginx.connect() as connection:
        connection.send(f"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {total}\r\n\r\n")
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
        assert connection.response().body == str(total).encode()


def test_memory_stays_flat_over_many_requests(nginx):
    path = nginx.app("large", APPLICATION)
    nginx.start(f"wsgi_app {path};")
    (worker,) = nginx.workers()
    body = b"p" * 20_000
    post = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 20000\r\n\r\n" + body

    def round_of(requests: int) -> None:
        with nginx.connect() as connection:
            for _ in range(requests):
                connection.send(post)
                assert connection.response().body.startswith(b"20000 ")

    round_of(1000)
    before = forget_peak(worker)
    # keepalive_requests closes a connection after 1000.
    for _ in range(10):
        round_of(1000)
    assert peak(worker) - before < 4 * MEBIBYTE
