"""A gibibyte through `send()` and through `receive()`: memory does not depend on a body's size."""

from __future__ import annotations

import pytest
from process_memory import forget_peak, peak
from rawhttp import wait_still
from stress.large import LIMIT, MEBIBYTE, download, upload, upload_that_waits

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


@pytest.fixture
def start(nginx):
    """`start("directives")` starts nginx with the application."""

    def begin(location: str = "") -> None:
        app = nginx.app("large", APPLICATION)
        nginx.start(f"asgi_app {app}; asgi_lifespan off; client_max_body_size 0; {location}")

    return begin


@pytest.mark.parametrize("temporary", ["0", "64m"])
def test_a_gibibyte_through_send(nginx, start, temporary):
    start(f"asgi_max_temp_file_size {temporary};")
    download(nginx)


def test_a_gibibyte_through_receive(nginx, start):
    start()
    upload(nginx, 1024, known=True)


def test_a_buffered_upload_of_256_mebibytes(nginx, start):
    start("asgi_request_buffering on;")
    upload(nginx, 256, known=False)


def test_an_application_that_does_not_receive(nginx, start):
    start()
    upload_that_waits(nginx, "/?held")


def test_a_client_that_does_not_read(nginx, start):
    """send() waits, and the worker holds no more than its buffers."""
    start()
    (worker,) = nginx.workers()
    nginx.client().get("/?32")
    before = forget_peak(worker)
    with nginx.connect(receive=65536) as connection:
        connection.get("/?256")
        wait_still(lambda: peak(worker), 2)
        assert peak(worker) - before < LIMIT
        assert connection.head().status == 200
        assert sum(map(len, connection.chunks())) == 256 * MEBIBYTE
    assert peak(worker) - before < LIMIT
