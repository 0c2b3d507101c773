"""wsgi_thread_pool inline: `write()`, which cannot be suspended as an iteration can."""

from __future__ import annotations

import hashlib

import pytest
from directives.flow import Flow
from rawhttp import wait_for

# ?COUNT-SIZE writes so many blocks of that size, and returns their digest.
SOURCE = """
    import hashlib
    from testkit import record

    def application(environ, start_response):
        write = start_response("200 OK", [("Content-Type", "application/octet-stream")])
        if not environ["QUERY_STRING"]:
            return [b"quick"]
        count, size = map(int, environ["QUERY_STRING"].split("-"))
        digest = hashlib.sha256()
        try:
            for number in range(count):
                block = bytes([number % 251]) * size
                write(block)
                digest.update(block)
        except OSError as error:
            record("raised", f"{number} {error}")
            raise
        record("written")
        return iter([b"", digest.digest(), digest.digest()])
"""


@pytest.fixture
def start(nginx):
    """Serves `SOURCE` inline and returns a client."""

    def begin(location: str = "", **options):
        app = nginx.app("app", SOURCE)
        nginx.start(f"wsgi_app {app}; wsgi_thread_pool inline; {location}", **options)
        return nginx.client()

    return begin


def is_whole(body: bytes, size: int) -> bool:
    written, digests = body[:size], body[size:]
    return digests == hashlib.sha256(written).digest() * 2 and len(written) == size


@pytest.mark.parametrize(
    ("count", "size"), [(1, 1), (10, 1000), (4, 65536), (160, 65536), (1, 10_000_000), (7, 300_000)]
)
@pytest.mark.parametrize("sendfile", ["on", "off"])
def test_what_it_is_given_arrives_before_what_is_returned(start, count, size, sendfile):
    client = start(f"sendfile {sendfile};")
    for _ in range(2):
        assert is_whole(client.get(f"/?{count}-{size}").content, count * size)


def test_beyond_the_buffer_it_goes_into_a_temporary_file(start, nginx):
    """A slow client blocks neither the worker nor uses its memory: the call has returned."""
    client = start(listen=Flow.LISTEN)
    flow = Flow(nginx)
    size = 160 * 65536
    with flow.slow("/?160-65536") as slow:
        assert slow.head().status == 200
        assert nginx.wait_recorded("written") == ["-"]
        assert len(flow.files()) == 1
        for _ in range(10):
            assert client.get("/").text == "quick"
        body = b""
        while chunk := slow.chunk():
            body += chunk
        assert chunk == b""
    assert is_whole(body, size)
    assert flow.files() == []


def test_the_file_is_given_back_when_the_client_goes_away(start, nginx):
    client = start(listen=Flow.LISTEN)
    flow = Flow(nginx)
    slow = flow.slow("/?160-65536")
    assert slow.head().status == 200
    assert len(flow.files()) == 1
    slow.reset()
    wait_for(lambda: flow.files() == [], what="the file's end")
    assert client.get("/").text == "quick"


@pytest.mark.parametrize(
    "location",
    [
        "wsgi_buffer_size 64k; wsgi_max_temp_file_size 1m;",
        "wsgi_buffer_size 64k; wsgi_max_temp_file_size 0;",
        "wsgi_buffer_size 64k; wsgi_buffering off;",
    ],
)
def test_beyond_the_file_it_raises(start, nginx, location):
    """write() cannot wait, so it raises, and the response is cut."""
    client = start(location)
    with nginx.connect() as connection:
        connection.get("/?100-65536")
        response = connection.response()
        assert response.status == 200
        assert not response.complete
    (raised,) = nginx.wait_recorded("raised")
    assert 0 < int(raised.split()[0]) < 20
    for name in ("wsgi_buffer_size", "wsgi_buffering", "wsgi_max_temp_file_size"):
        assert name in raised
    assert not nginx.recorded("written")
    nginx.wait_log("OSError: write() was given more than waits for a client inline")
    assert client.get("/").text == "quick"
    assert is_whole(client.get("/?3-20000").content, 60000)


@pytest.mark.parametrize("length", [True, False], ids=["Content-Length", "chunked"])
@pytest.mark.parametrize("rest", ["[b'the end']", "[]", "iter([b'', b'a', b'b'])"])
@pytest.mark.parametrize("location", ["wsgi_buffering off;", "wsgi_max_temp_file_size 0;"])
def test_an_application_that_takes_no_notice_is_cut_off(nginx, length, rest, location):
    """Part of the body is missing, so no client may take the rest for the whole."""
    app = nginx.app(
        "app",
        f"""
        def application(environ, start_response):
            size = 300_000
            headers = [("Content-Type", "text/plain")]
            if {length}:
                headers.append(("Content-Length", str(size)))
            write = start_response("200 OK", headers)
            try:
                write(b"x" * 120_000)
                write(b"x" * 30_000)
                write(b"x" * 150_000)
            except OSError:
                return {rest}
        """,
    )
    nginx.start(f"wsgi_app {app}; wsgi_thread_pool inline; wsgi_buffer_size 120k; {location}")
    with nginx.connect() as connection:
        connection.get()
        response = connection.response()
        assert not response.complete
        assert connection.closed_by_server
    nginx.wait_log("a write() that raised is missing; the connection is cut")
