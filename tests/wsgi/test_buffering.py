"""Response buffering: blocks go out at once, slow clients hold no thread, memory is bounded."""

from __future__ import annotations

import hashlib
import os
import time
from itertools import pairwise
from pathlib import Path

import pytest
from rawhttp import wait_for, wait_still

buffering = pytest.mark.parametrize("buffering", ["on", "off"])
into_a_file = pytest.mark.threads(
    "inline the iteration stands still until the client has taken what there was: no file"
)

# 20 MB that can be checked, and a count of how far the iterator has got.
BIG = """
    import hashlib
    from testkit import Blocks, record

    progress = {}
    BLOCK = bytes(range(256)) * 256  # 64 KiB

    def blocks(name, count, after=None):
        progress[name] = 0
        for number in range(count):
            progress[name] += len(BLOCK)
            record("blocks")
            yield number.to_bytes(8, "big") + BLOCK[8:]
        record("generated", name)

    def application(environ, start_response):
        path, query = environ["PATH_INFO"], environ["QUERY_STRING"]
        headers = [("Content-Type", "application/octet-stream")]
        if path == "/big":
            if query:
                headers.append(("X-Accel-Buffering", query))
            start_response("200 OK", headers)
            return Blocks(blocks("big", 320))
        start_response("200 OK", headers)
        if path == "/progress":
            return [str(progress.get("big", 0)).encode()]
        return [b"quick"]
"""


def big_digest() -> bytes:
    block, digest = bytes(range(256)) * 256, hashlib.sha256()
    for number in range(320):
        digest.update(number.to_bytes(8, "big") + block[8:])
    return digest.digest()


def read_chunks(connection) -> bytes:
    digest = hashlib.sha256()
    for chunk in connection.chunks():
        digest.update(chunk)
    return digest.digest()


def deleted_files(nginx) -> list[int]:
    """Sizes of the unlinked files that nginx's processes have open."""
    sizes = {}
    for pid in {*nginx.workers(), *nginx.runners()}:
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            try:
                if os.readlink(entry).endswith("(deleted)"):
                    found = os.stat(entry)
                    sizes[found.st_ino] = found.st_size
            except FileNotFoundError:
                continue
    return [*sizes.values()]


def settled_progress(client) -> int:
    """How far the iterator has been advanced when it is advanced no further."""
    return wait_still(lambda: int(client.get("/progress").text))


@buffering
def test_each_block_arrives_before_the_next_is_made(nginx, serve, buffering):
    serve(
        """
        from testkit import gate

        def application(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/plain")])
            for number in range(10):
                yield b"block %d" % number
                gate(f"after-{number}")
        """,
        f"wsgi_buffering {buffering};",
    )
    with nginx.connect() as connection:
        connection.get()
        assert connection.head().status == 200
        for number in range(10):
            assert connection.chunk() == b"block %d" % number
            nginx.open_gate(f"after-{number}")
        assert connection.chunk() == b""


@buffering
def test_once_a_second_arrives_once_a_second(nginx, serve, buffering):
    serve(
        """
        import time

        def application(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/event-stream")])
            for number in range(4):
                yield b"data: %d\\n\\n" % number
                time.sleep(1)
        """,
        f"wsgi_buffering {buffering};",
    )
    arrivals = []
    with nginx.client().stream("GET", "/") as response:
        for block in response.iter_raw():
            arrivals.append((time.monotonic(), block))
    assert [block for _, block in arrivals] == [b"data: %d\n\n" % n for n in range(4)]
    # Each arrives one second after the one before: it is not held back for a later one.
    times = [moment for moment, _ in arrivals]
    for before, after in pairwise(times):
        assert 0.5 < after - before < 1.9, times


@buffering
def test_a_block_arrives_at_once_through_gzip(nginx, serve, buffering):
    import zlib

    serve(
        """
        from testkit import gate

        def application(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/plain")])
            yield b"first " * 10
            gate("go")
            yield b"second"
        """,
        f"wsgi_buffering {buffering}; gzip on; gzip_types text/plain; gzip_min_length 0;",
    )
    with nginx.connect() as connection:
        connection.get(headers="Accept-Encoding: gzip\r\n")
        assert connection.head().get("Content-Encoding") == "gzip"
        unzip, text = zlib.decompressobj(31), b""
        while text != b"first " * 10:
            text += unzip.decompress(connection.chunk())
        nginx.open_gate("go")
        for chunk in connection.chunks():
            text += unzip.decompress(chunk)
        assert text == b"first " * 10 + b"second"


def test_a_client_that_does_not_read_holds_no_thread(nginx, serve):
    serve(BIG, "wsgi_buffering on;", http="python_thread_pool default threads=1;")
    with nginx.connect() as slow:
        slow.get("/big")
        assert slow.head().status == 200
        # The iteration has ended, and the only thread is free again.
        assert nginx.wait_recorded("closed") == ["-"]
        assert nginx.client().get("/quick").text == "quick"
        assert read_chunks(slow) == big_digest()
        slow.get("/quick", close=True)
        assert slow.response().body == b"quick"


@into_a_file
def test_what_the_client_cannot_take_waits_in_an_unlinked_file(nginx, serve):
    serve(BIG, "wsgi_buffering on; wsgi_buffer_size 64k;")
    with nginx.connect() as slow:
        slow.get("/big")
        assert slow.head().status == 200
        nginx.wait_recorded("closed")
        assert sum(deleted_files(nginx)) > 8_000_000
        assert read_chunks(slow) == big_digest()
    wait_for(lambda: sum(deleted_files(nginx)) == 0, what="the temporary file's end")


FILE_TRANSPORTS = {
    "write": "sendfile off;",
    "sendfile": "sendfile on; tcp_nopush on;",
    "aio threads": "sendfile off; aio threads;",
    "sendfile in threads": "sendfile on; aio threads;",
    "output buffers": "sendfile off; output_buffers 1 4k;",
    "rate limit": "sendfile on; limit_rate 60m;",
}


@into_a_file
@pytest.mark.parametrize("directives", FILE_TRANSPORTS.values(), ids=FILE_TRANSPORTS.keys())
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
def test_what_was_in_a_file_arrives_whole(nginx, serve, directives, tls):
    serve(
        BIG,
        f"wsgi_buffering on; wsgi_buffer_size 64k; {directives}",
        listen="ssl" if tls else "",
        server=nginx.tls() if tls else "",
    )
    with nginx.client(tls=tls).stream("GET", "/big") as response:
        nginx.wait_recorded("closed")
        digest = hashlib.sha256()
        for block in response.iter_raw():
            digest.update(block)
    assert digest.digest() == big_digest()


@pytest.mark.parametrize("http2", [False, True], ids=["HTTP/1.1", "HTTP/2"])
def test_what_was_in_a_file_arrives_whole_through_gzip(nginx, serve, http2):
    serve(
        BIG,
        "wsgi_buffering on; wsgi_buffer_size 64k; gzip on; gzip_types *; sendfile on;",
        listen="ssl http2" if http2 else "ssl",
        server=nginx.tls(),
    )
    client = nginx.client(tls=True, http2=http2)
    for _ in range(2):
        response = client.get("/big", headers={"Accept-Encoding": "gzip"})
        assert response.headers["Content-Encoding"] == "gzip"
        assert hashlib.sha256(response.content).digest() == big_digest()


@into_a_file
@pytest.mark.parametrize("how", ["close", "reset"])
def test_the_file_is_given_back_when_the_client_goes_away(nginx, serve, how):
    serve(BIG, "wsgi_buffering on; wsgi_buffer_size 64k;")
    slow = nginx.connect()
    slow.get("/big")
    assert slow.head().status == 200
    nginx.wait_recorded("closed")
    assert sum(deleted_files(nginx)) > 8_000_000
    getattr(slow, how)()
    wait_for(lambda: sum(deleted_files(nginx)) == 0, what="the temporary file's end")
    assert nginx.client().get("/quick").text == "quick"


@pytest.mark.parametrize(
    "location",
    [
        "wsgi_buffering on; wsgi_buffer_size 64k; wsgi_max_temp_file_size 0;",
        "wsgi_buffering on; wsgi_buffer_size 64k; wsgi_max_temp_file_size 1m;",
        "wsgi_buffering off; wsgi_buffer_size 64k;",
    ],
)
def test_beyond_the_limit_the_iterator_is_not_advanced(nginx, serve, location):
    serve(BIG, location)
    client = nginx.client()
    with nginx.connect(receive=65536) as slow:
        slow.get("/big")
        assert slow.head().status == 200
        # The sockets' buffers hold some megabytes, but not the whole 20 MB.
        assert settled_progress(client) < 12_000_000
        assert not nginx.recorded("generated")
        assert client.get("/quick").text == "quick"
        assert read_chunks(slow) == big_digest()
    assert nginx.wait_recorded("closed") == ["-"]


@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_thread_that_waits_for_its_client_learns_that_it_is_gone(nginx, serve, how):
    serve(
        BIG,
        "wsgi_buffering off; wsgi_buffer_size 64k;",
        http="python_thread_pool default threads=1;",
    )
    for count in range(1, 4):
        slow = nginx.connect()
        slow.get("/big")
        assert slow.head().status == 200
        # The only thread waits, so that /progress would not be answered.
        wait_still(lambda: len(nginx.recorded("blocks")))
        getattr(slow, how)()
        assert len(nginx.wait_recorded("closed", count)) == count
    assert nginx.client().get("/quick").text == "quick"
    assert not nginx.recorded("generated")
    assert not nginx.log_lines("[error]")


@pytest.mark.parametrize(
    ("directive", "header"), [("on", "no"), pytest.param("off", "yes", marks=into_a_file)]
)
def test_x_accel_buffering_decides_for_one_response(nginx, serve, directive, header):
    serve(BIG, f"wsgi_buffering {directive}; wsgi_buffer_size 64k;")
    client = nginx.client()
    with nginx.connect() as slow:
        slow.get(f"/big?{header}")
        head = slow.head()
        assert head.get("X-Accel-Buffering") is None
        if header == "yes":
            nginx.wait_recorded("closed")
        else:
            assert settled_progress(client) < 16_000_000
        assert read_chunks(slow) == big_digest()


@buffering
def test_a_client_that_reads_nothing_times_out(nginx, serve, buffering):
    serve(BIG, f"wsgi_buffering {buffering}; send_timeout 1s;")
    slow = nginx.connect()
    slow.get("/big")
    nginx.wait_recorded("closed")
    nginx.wait_log("timed out")
    assert nginx.client().get("/quick").text == "quick"


def test_rate_limit(nginx, serve):
    serve(BIG, "wsgi_buffering on; limit_rate 8m; limit_rate_after 1m;")
    with nginx.connect() as connection:
        connection.get("/big")
        assert connection.head().status == 200
        assert read_chunks(connection) == big_digest()


@buffering
def test_a_thousand_responses_in_a_row(nginx, serve, buffering):
    serve(
        """
        def application(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/plain")])
            size = int(environ["QUERY_STRING"])
            return iter([b"x" * size, b"", b"y" * size])
        """,
        f"wsgi_buffering {buffering}; wsgi_buffer_size 4k;",
    )
    with nginx.connect() as connection:
        for number in range(1000):
            size = (number * 37) % 9000
            connection.get(f"/?{size}")
            assert connection.response().body == b"x" * size + b"y" * size


@pytest.mark.threads(
    "inline the iteration stands still until the client has taken what there was: no file"
)
def test_a_long_response_keeps_no_old_file_open(nginx):
    app = nginx.app(
        "bursts",
        """
        import time

        def application(environ, start_response):
            start_response("200 OK", [("Content-Type", "application/octet-stream")])
            for _ in range(8):
                yield b"x" * (16 << 20)
                time.sleep(0.3)
        """,
    )
    nginx.start(f"wsgi_app {app}; wsgi_buffer_size 64k;")
    received, most = 0, 0
    with nginx.client().stream("GET", "/") as response:
        # As long as the client does not read, the rest goes into a file.
        wait_for(lambda: deleted_files(nginx), what="the first file")
        for block in response.iter_raw(1 << 20):
            received += len(block)
            most = max(most, len(deleted_files(nginx)))
    assert received == 8 * (16 << 20)
    # One that is being written, and one that the client has not read to its end.
    assert 1 <= most <= 2


NOT_SENT = """
    from testkit import record

    class Body(bytes):
        def __del__(self):
            record("freed")

    def application(environ, start_response):
        if environ["PATH_INFO"] == "/moved":
            start_response("200 OK", [("X-Accel-Redirect", "/page.html")])
        else:
            start_response("404 Not Found", [])
        return [Body(64 * 1024)]
"""


@pytest.mark.parametrize("path", ["/moved", "/intercepted"])
def test_a_body_that_another_page_takes_the_place_of(serve, nginx, path):
    # nginx still sends the page when the thread is idle again.
    nginx.page("page.html", "page" * 512)
    serve(
        NOT_SENT,
        "wsgi_intercept_errors on; error_page 404 /page.html;",
        server="location = /page.html { limit_rate 1k; }",
    )
    assert nginx.client().get(path).text == "page" * 512
    assert nginx.wait_recorded("freed", timeout=20) == ["-"]
