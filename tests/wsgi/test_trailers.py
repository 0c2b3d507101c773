"""environ["pywsgi.request"].send_trailers: fields that follow the body (RFC 9110, 6.5)."""

from __future__ import annotations

import pytest
from rawhttp2 import Http2

# ?when=before|late|last, ?declare, ?length
SOURCE = """
    from urllib.parse import parse_qsl

    def application(environ, start_response):
        query = dict(parse_qsl(environ["QUERY_STRING"], keep_blank_values=True))
        request = environ["pywsgi.request"]
        trailers = [("X-Checksum", "abc"), ("Server-Timing", " app;dur=5 ")]
        headers = [("Content-Type", "text/plain")]
        if "declare" in query:
            headers.append(("Trailer", "X-Checksum"))
        if "length" in query:
            headers.append(("Content-Length", "6"))
        if query["when"] == "before":
            request.send_trailers(trailers)
        start_response("200 OK", headers)

        def blocks():
            yield b"abc"
            if query["when"] == "late":
                request.send_trailers(trailers)
            yield b"def"
            if query["when"] == "last":
                request.send_trailers(trailers)

        return blocks()
"""
TRAILERS = b"X-Checksum: abc\r\nServer-Timing: app;dur=5\r\n"


@pytest.fixture
def start(nginx):
    def begin(**options):
        nginx.start(f"wsgi_app {nginx.app('trailers', SOURCE)};", **options)

    return begin


def ask(nginx, query: str, version: str = "1.1", method: str = "GET") -> bytes:
    head = f"{method} /?{query} HTTP/{version}\r\nHost: a\r\nConnection: close\r\n\r\n"
    return nginx.raw(head.encode())


@pytest.mark.parametrize(
    "query",
    ["when=before", "when=late", "when=last", "when=last&declare", "when=last&declare&length"]
    + ["when=before&length", "when=late&declare&length"],
)
def test_trailers_follow_a_chunked_body(nginx, start, query):
    start()
    head, _, body = ask(nginx, query).partition(b"\r\n\r\n")
    assert b"Transfer-Encoding: chunked" in head and b"Content-Length" not in head
    assert (b"Trailer: X-Checksum" in head) is ("declare" in query)
    data, _, trailers = body.partition(b"\r\n0\r\n")
    assert b"".join(data.split(b"\r\n")[1::2]) == b"abcdef"
    assert trailers == TRAILERS + b"\r\n"


@pytest.mark.parametrize("query", ["when=last&length", "when=late&length"])
def test_a_body_that_is_not_chunked_has_none(nginx, start, query):
    start()
    head, _, body = ask(nginx, query).partition(b"\r\n\r\n")
    assert b"Content-Length: 6" in head and body == b"abcdef"


def test_http_1_0_and_head_have_none(nginx, start):
    start()
    assert ask(nginx, "when=before&declare", "1.0").partition(b"\r\n\r\n")[2] == b"abcdef"
    assert ask(nginx, "when=before&declare", method="HEAD").partition(b"\r\n\r\n")[2] == b""


@pytest.mark.parametrize("query", ["when=before", "when=last", "when=last&length&declare"])
def test_over_http_2(nginx, start, query):
    start(http2=True)
    with Http2(nginx.port) as client:
        stream = client.response(client.request(f"/?{query}"))
    assert bytes(stream.body) == b"abcdef"
    assert stream.trailers == [("x-checksum", "abc"), ("server-timing", "app;dur=5")]


def test_add_trailer_follows_too(nginx):
    app = nginx.app("trailers", SOURCE)
    nginx.start(f"wsgi_app {app}; add_trailer X-Status $status;")
    body = ask(nginx, "when=last").partition(b"\r\n\r\n")[2]
    assert body.endswith(b"0\r\n" + TRAILERS + b"X-Status: 200\r\n\r\n")


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ([("Content-Length", "3")], 'ValueError: "Content-Length" cannot be a trailer'),
        ([("X-A", "b\r\nX-B: c")], 'ValueError: value of header "X-A" contains CR'),
        ([("X A", "b")], 'ValueError: header name "X A" contains a space'),
        ([("X-A", b"b")], "TypeError: a trailer's value must be a str, not bytes"),
        ([("X-A",)], "ValueError: expected tuple of length 2, but got tuple of length 1"),
    ],
)
def test_what_cannot_be_a_trailer_is_refused(nginx, fields, wrong):
    app = nginx.app(
        "wrong",
        f"""
        def application(environ, start_response):
            environ["pywsgi.request"].send_trailers({fields!r})
        """,
    )
    nginx.start(f"wsgi_app {app};")
    assert nginx.client().get("/").status_code == 500
    assert nginx.wait_log(wrong)


@pytest.mark.parametrize("size", [1 << 20, 3 << 20])
def test_trailers_are_no_longer_than_a_head(nginx, size):
    """Beyond 2 MB, nginx's HTTP/2 would log at crit that a field is too long."""
    app = nginx.app(
        "long",
        f"""
        def application(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/plain")])
            try:
                environ["pywsgi.request"].send_trailers([("X-Long", "v" * ({size} - 5))])
            except ValueError as error:
                return [str(error).encode()]
            return [b"sent"]
        """,
    )
    nginx.start(f"wsgi_app {app};", http2=True)
    text = nginx.client(http2=True).get("/").text
    assert text.startswith("a trailer's fields are longer than 1048576 bytes in all")


def test_trailers_without_an_end_are_refused(nginx):
    app = nginx.app(
        "endless",
        """
        import itertools

        def application(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/plain")])
            try:
                environ["pywsgi.request"].send_trailers(itertools.repeat(("", ""), 1_000_000))
            except ValueError as error:
                return [str(error).encode()]
            return [b"sent"]
        """,
    )
    nginx.start(f"wsgi_app {app};")
    text = nginx.client().get("/").text
    assert text.startswith("a trailer's fields are longer than 1048576 bytes in all")
