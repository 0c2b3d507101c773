"""A gibibyte each way: the worker's memory does not depend on a body's size."""

from __future__ import annotations

import pytest
from process_memory import forget_peak, peak
from stress.large import MEBIBYTE, download, upload, upload_that_waits

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


@pytest.mark.parametrize("buffering", ["on", "off"])
def test_download_of_a_gibibyte(nginx, buffering):
    nginx.start(f"wsgi_app {nginx.app('large', APPLICATION)}; wsgi_buffering {buffering};")
    download(nginx)


@pytest.fixture
def start(nginx):
    """`start("on")` starts nginx with this `wsgi_request_buffering`."""

    def begin(buffering: str) -> None:
        path = nginx.app("large", APPLICATION)
        nginx.start(f"wsgi_app {path}; wsgi_request_buffering {buffering}; client_max_body_size 0;")

    return begin


def test_unbuffered_upload_of_a_gibibyte(nginx, start):
    start("off")
    upload(nginx, 1024, known=True)


def test_buffered_upload_of_256_mebibytes(nginx, start):
    start("on")
    upload(nginx, 256, known=False)


def test_an_application_slower_than_the_upload(nginx):
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
    upload_that_waits(nginx, "/")


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
