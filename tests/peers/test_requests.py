"""What an application is given, row by row of the comparison with other WSGI servers.

Each test is one row, in the table's order, and shows the best answer that any server has there.
"""

from __future__ import annotations

import json

import pytest

STREAMED = "wsgi_request_buffering off;"
UPLOAD = b"first line\nsecond line\r\n\nthe last, without an end"
CHUNKED = b"b\r\nfirst line\n\r\n" + b"%x\r\n%b\r\n" % (len(UPLOAD) - 11, UPLOAD[11:]) + b"0\r\n"
LINES = ["first line\n", "second line\r\n", "\n", "the last, without an end"]

streams = pytest.mark.threads("wsgi_request_buffering off needs a thread that waits for the body")
buffering = pytest.mark.parametrize(
    "location",
    [pytest.param("", id="buffered"), pytest.param(STREAMED, id="streamed", marks=streams)],
)


def environ(nginx, headers: str | bytes = "", target: str = "/seen") -> dict[str, str]:
    """What the application sees of one request that has these header lines."""
    lines = headers.encode() if isinstance(headers, str) else headers
    with nginx.connect() as connection:
        connection.send(b"GET %b HTTP/1.1\r\nHost: x\r\n%b\r\n" % (target.encode(), lines))
        response = connection.response()
    assert response.status == 200
    return json.loads(response.body)


def post(nginx, query: str, headers: bytes, body: bytes) -> tuple[list[list[str]], dict]:
    """What the application reads of an upload, and its environ; the connection stays usable."""
    with nginx.connect() as connection:
        for _ in range(2):
            connection.send(
                b"POST /body?%b HTTP/1.1\r\nHost: x\r\n%b\r\n%b" % (query.encode(), headers, body)
            )
            pieces, seen = json.loads(connection.response().body)
    return pieces, seen


@buffering
@pytest.mark.parametrize(
    ("query", "pieces"),
    [
        ("read", ["".join(LINES)]),
        ("read=-1", ["".join(LINES)]),
        ("read=5&read", ["first", "".join(LINES)[5:]]),
        ("read=1000000", ["".join(LINES)]),
        ("read&read&read=5", ["".join(LINES), "", ""]),
        ("readline&readline=3&readline", [LINES[0], "sec", "ond line\r\n"]),
        ("readlines", LINES),
        ("iter", LINES),
        ("read=3&readline&iter", ["fir", "st line\n", *LINES[1:]]),
        ("iter&read&readline&readlines", [*LINES, "", ""]),
    ],
)
def test_wsgi_input(nginx, serve, location, query, pieces):
    serve(location)
    length = b"Content-Length: %d\r\n" % len(UPLOAD)
    read, _ = post(nginx, query, length, UPLOAD)
    assert [piece for operation in read for piece in operation] == pieces


@buffering
def test_wsgi_input_terminated(nginx, serve, location):
    serve(location)
    assert environ(nginx)["wsgi.input_terminated"] is True
    _, seen = post(nginx, "read", b"Transfer-Encoding: chunked\r\n", CHUNKED + b"\r\n")
    assert seen["wsgi.input_terminated"] is True


@pytest.mark.parametrize("trailers", [b"", b"X-Sum: 1\r\nX-Second: 2\r\n"])
def test_chunked_request_body(nginx, serve, trailers):
    """Readable, with or without trailers, and with the length that frameworks need."""
    serve()
    head = b"Transfer-Encoding: chunked\r\n"
    read, seen = post(nginx, "read", head, CHUNKED + trailers + b"\r\n")
    assert read == [[UPLOAD.decode()]]
    assert seen["CONTENT_LENGTH"] == str(len(UPLOAD))


@buffering
def test_chunked_request_body_with_trailer_fields(nginx, serve, location):
    serve(location)
    head = b"Transfer-Encoding: chunked\r\nTrailer: X-Sum\r\n"
    read, seen = post(nginx, "readlines", head, CHUNKED + b"X-Sum: 1\r\n\r\n")
    assert read == [LINES]
    # Trailers are not added to the headers.
    assert "HTTP_X_SUM" not in seen


@buffering
def test_transfer_encoding_hidden_when_dechunked(nginx, serve, location):
    serve(location)
    _, seen = post(nginx, "", b"Transfer-Encoding: chunked\r\n", CHUNKED + b"\r\n")
    assert "HTTP_TRANSFER_ENCODING" not in seen


@streams
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_app_can_read_body_before_it_is_complete(nginx, serve, framing):
    serve(STREAMED)
    connection = nginx.connect()
    if framing == "length":
        head, first, rest = "Content-Length: 9", "line\n", "rest"
    else:
        head, first, rest = (
            "Transfer-Encoding: chunked",
            "5\r\nline\n\r\n",
            "4\r\nrest\r\n0\r\n\r\n",
        )
    connection.send(f"POST /first_line HTTP/1.1\r\nHost: x\r\n{head}\r\n\r\n{first}")
    assert nginx.wait_recorded("first_line") == ["line"]
    connection.send(rest)
    assert connection.response().body == b"rest"


@streams
def test_expect_100_continue_answered_on_first_read(nginx, serve):
    serve(STREAMED)
    connection = nginx.connect()
    head = "Host: x\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n"
    connection.send(f"POST /reads_late HTTP/1.1\r\n{head}")
    nginx.wait_recorded("reads_late")
    assert connection.quiet(0.3)
    nginx.open_gate("reads_late go")
    assert connection.response().status == 100
    connection.send("body")
    assert connection.response().body == b"body"
    # An application that does not read does not cause a 100.
    connection.send(f"POST /hello HTTP/1.1\r\n{head}")
    assert connection.response().status == 200


@streams
@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize(
    "upload",
    [
        "Content-Length: 20\r\n\r\n12345678",
        "Transfer-Encoding: chunked\r\n\r\n8\r\n12345678\r\n",
        "Transfer-Encoding: chunked\r\n\r\nff\r\n12345678",
    ],
    ids=["length", "chunked", "in a chunk"],
)
def test_client_aborts_upload(nginx, serve, upload, how):
    """The application gets an error if it is reading, and is not called if it has not begun."""
    serve(
        STREAMED,
        server=f"location /aborted/at/ {{ wsgi_app {nginx.apps / 'probes.py'}; }}",
    )
    connection = nginx.connect()
    connection.send(f"POST /aborted HTTP/1.1\r\nHost: x\r\n{upload}")
    nginx.wait_recorded("aborted", 3)
    getattr(connection, how)()
    expected = ["called", "a block", "a block", "OSError"]
    assert nginx.wait_recorded("aborted", 4) == expected
    buffered = nginx.connect()
    buffered.send(f"POST /aborted/at/ HTTP/1.1\r\nHost: x\r\n{upload}")
    getattr(buffered, how)()
    with nginx.connect() as another:
        another.get("/hello")
        assert another.response().body == b"hello"
    nginx.quit()
    assert nginx.recorded("aborted") == expected


def test_path_info_decoded_as_latin_1(nginx, serve):
    serve()
    seen = environ(nginx, target="/seen/at/caf%C3%A9%20%e2%82%ac%3F%23%25?q=%C3%A9")
    assert seen["PATH_INFO"] == "/seen/at/caf\xc3\xa9 \xe2\x82\xac?#%"
    assert seen["QUERY_STRING"] == "q=%C3%A9"
    assert environ(nginx, target="/seen/at/%E9%FF")["PATH_INFO"] == "/seen/at/\xe9\xff"


def test_encoded_slash_in_path(nginx, serve):
    """Decoded, not a 404; an application that must tell it from a slash has the raw URI."""
    serve()
    seen = environ(nginx, target="/seen/at/a%2Fb")
    assert seen["PATH_INFO"] == "/seen/at/a/b"
    assert seen["RAW_URI"] == "/seen/at/a%2Fb"


@pytest.mark.parametrize(
    ("location", "path"),
    [("", "/seen/at/b/c"), ("wsgi_path_info raw;", "/seen/at/a/../b//c")],
    ids=["normalized", "raw"],
)
def test_double_slash_and_dot_segments_in_path_info(nginx, serve, location, path):
    """Both answers of the table, as configured."""
    serve(location)
    assert environ(nginx, target="/seen/at/a/../b//c")["PATH_INFO"] == path


def test_raw_uri_key(nginx, serve):
    serve()
    target = "/seen/at/..//at/%41%2f?a=%20&b"
    seen = environ(nginx, target=target)
    assert seen["REQUEST_URI"] == seen["RAW_URI"] == target


def test_remote_port(nginx, serve):
    serve()
    with nginx.connect() as connection:
        connection.get("/seen")
        seen = json.loads(connection.response().body)
        assert seen["REMOTE_PORT"] == str(connection.sock.getsockname()[1])


def test_duplicate_request_headers_and_cookies(nginx, serve):
    serve()
    seen = environ(nginx, "X-A: a\r\nCookie: a=1\r\nX-A: b\r\nCookie: b=2\r\n")
    assert seen["HTTP_X_A"] == "a, b"
    assert seen["HTTP_COOKIE"] == "a=1; b=2"


@pytest.mark.parametrize("lines", ["X-Under: good\r\nX_Under: evil\r\n", "X_Under: evil\r\n"])
def test_underscore_cannot_shadow_a_dash(nginx, serve, lines):
    serve()
    seen = environ(nginx, lines)
    assert seen.get("HTTP_X_UNDER") == ("good" if "good" in lines else None)


def test_proxy_header_dropped(nginx, serve):
    serve()
    seen = environ(nginx, "Proxy: http://evil.example\r\npROXY: again\r\nX-Proxy: kept\r\n")
    assert "HTTP_PROXY" not in seen
    assert seen["HTTP_X_PROXY"] == "kept"


def test_non_ascii_request_header_value(nginx, serve):
    serve()
    seen = environ(nginx, b"X-A: caf\xe9 \xe2\x82\xac\r\n")
    assert seen["HTTP_X_A"] == "caf\xe9 \xe2\x82\xac"


def test_os_environ_not_copied_into_environ(nginx, serve):
    serve(http="python_env PROBES_OUTSIDE=1;")
    assert environ(nginx, target="/environment") == []


def test_content_type_and_length_not_as_http_keys(nginx, serve):
    serve()
    head = b"Content-Type: text/x-mine\r\nContent-Length: 4\r\n"
    _, seen = post(nginx, "read", head, b"body")
    assert (seen["CONTENT_TYPE"], seen["CONTENT_LENGTH"]) == ("text/x-mine", "4")
    assert "HTTP_CONTENT_TYPE" not in seen
    assert "HTTP_CONTENT_LENGTH" not in seen


def test_query_string_and_script_name_always_present(nginx, serve):
    serve()
    seen = environ(nginx)
    assert (seen["QUERY_STRING"], seen["SCRIPT_NAME"]) == ("", "")


SMUGGLED = b"GET /hello HTTP/1.1\r\nHost: smuggled\r\n\r\n"


@buffering
@pytest.mark.parametrize("order", [1, -1])
def test_content_length_with_transfer_encoding_rejected(nginx, serve, location, order):
    serve(location)
    framings = [b"Content-Length: 4\r\n", b"Transfer-Encoding: chunked\r\n"][::order]
    head = b"POST /body?read HTTP/1.1\r\nHost: x\r\n" + b"".join(framings)
    answer = nginx.raw(head + b"\r\n0\r\n\r\n" + SMUGGLED)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1") == 1


@buffering
def test_two_different_content_lengths_rejected(nginx, serve, location):
    serve(location)
    head = b"POST /body?read HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nContent-Length: 44\r\n"
    answer = nginx.raw(head + b"\r\nbody" + SMUGGLED)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1") == 1
