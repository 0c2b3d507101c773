"""The status and header fields of start_response: what is refused, and what is sent unchanged."""

from __future__ import annotations

import pytest
from rawhttp2 import Http2

OK = '"200 OK", [("Content-Type", "text/plain")]'
TEXT = '[("Content-Type", "text/plain")]'


# Faults that are known before the head is sent: the answer is a 500.
BAD_HEADS = {
    "empty status": '"", []',
    "no number": '"OK", []',
    "letters": '"2x0 OK", []',
    "two digits": '"20 OK", []',
    "four digits": '"2000 OK", []',
    "code 99": '"099 Low", []',
    "code 99 short": '"99 Low", []',
    "code 0": '"000 Zero", []',
    "code 1000": '"1000 High", []',
    "negative": '"-20 X", []',
    "interim": '"100 Continue", []',
    "switching": '"101 Switching Protocols", []',
    "CR LF in status": '"200 OK\\r\\nX-Evil: 1", []',
    "LF in status": '"200 O\\nK", []',
    "CR in status": '"200 O\\rK", []',
    "NUL in status": '"200 O\\0K", []',
    "not latin-1 in status": '"200 \\u20ac", []',
    "status of bytes": 'b"200 OK", []',
    "status of int": "200, []",
    "status of None": "None, []",
    "headers of None": '"200 OK", None',
    "headers in a tuple": '"200 OK", (("Content-Type", "text/plain"),)',
    "headers in a dict": '"200 OK", {"Content-Type": "text/plain"}',
    "a header of one": '"200 OK", [("X-A",)]',
    "a header of three": '"200 OK", [("X-A", "b", "c")]',
    "a header that is a str": '"200 OK", ["XA"]',
    "name of bytes": '"200 OK", [(b"X-A", "b")]',
    "name of None": '"200 OK", [(None, "b")]',
    "empty name": '"200 OK", [("", "b")]',
    "space in name": '"200 OK", [("X A", "b")]',
    "colon in name": '"200 OK", [("X-A:", "b")]',
    "CR LF in name": '"200 OK", [("X-A\\r\\nX-Evil", "b")]',
    "NUL in name": '"200 OK", [("X\\0A", "b")]',
    "not ASCII in name": '"200 OK", [("X-\\xe9", "b")]',
    "not latin-1 in name": '"200 OK", [("X-\\u20ac", "b")]',
    "value of bytes": '"200 OK", [("X-A", b"b")]',
    "value of int": '"200 OK", [("X-A", 1)]',
    "value of None": '"200 OK", [("X-A", None)]',
    "CR LF in value": '"200 OK", [("X-A", "b\\r\\nX-Evil: 1")]',
    "LF in value": '"200 OK", [("X-A", "b\\nX-Evil: 1")]',
    "CR in value": '"200 OK", [("X-A", "b\\rc")]',
    "NUL in value": '"200 OK", [("X-A", "b\\0c")]',
    "control in value": '"200 OK", [("X-A", "b\\x01c")]',
    "not latin-1 in value": '"200 OK", [("X-A", "\\u20ac")]',
    "CR LF in Content-Type": '"200 OK", [("Content-Type", "a/b\\r\\nX-Evil: 1")]',
    "CR LF in Location": '"302 Found", [("Location", "/\\r\\nX-Evil: 1")]',
    "Content-Length of letters": '"200 OK", [("Content-Length", "abc")]',
    "negative Content-Length": '"200 OK", [("Content-Length", "-1")]',
    "fractional Content-Length": '"200 OK", [("Content-Length", "1.5")]',
    "empty Content-Length": '"200 OK", [("Content-Length", "")]',
    "huge Content-Length": '"200 OK", [("Content-Length", "99999999999999999999")]',
    "two Content-Lengths": '"200 OK", [("Content-Length", "1"), ("content-length", "2")]',
}


@pytest.mark.parametrize("arguments", BAD_HEADS.values(), ids=BAD_HEADS.keys())
def test_bad_head(nginx, fails, arguments):
    response = fails(f"start_response({arguments}); return [b'x']")
    assert response.get("X-Evil") is None
    assert any("app.py" in line for line in nginx.log_lines("[error]")), nginx.error_log()


def test_bad_head_raises_in_the_application(nginx, serve, fetch):
    serve(
        """
        def application(environ, start_response):
            try:
                start_response("200 OK\\r\\nX: y", [])
            except Exception as error:
                start_response("200 Recovered", [("Content-Type", "text/plain")])
                return [str(error).encode()]
            return [b"accepted"]
        """
    )
    response = fetch()
    assert response.reason == "Recovered"
    assert response.body


def test_set_cookie_and_other_repeated_headers_are_kept_in_order(fetch, returns):
    returns(
        '[b"x"]',
        '("Set-Cookie", "a=1"), '
        '("X-Two", "1"), '
        '("Set-Cookie", "b=2; Path=/"), '
        '("X-Two", "2"), '
        '("Set-Cookie", "c=3"), '
        '("Content-Type", "text/plain")',
    )
    response = fetch()
    assert response.all("Set-Cookie") == ["a=1", "b=2; Path=/", "c=3"]
    assert response.all("X-Two") == ["1", "2"]


def test_latin_1_header_value_and_reason(fetch, serve):
    serve(
        """
        def application(environ, start_response):
            headers = [("Content-Type", "text/plain"), ("X-Latin", "caf\\xe9")]
            start_response("200 D\\xe9j\\xe0", headers)
            return [b"x"]
        """
    )
    response = fetch()
    assert response.reason == "D\xe9j\xe0"
    assert response.get("X-Latin") == "caf\xe9"


@pytest.mark.parametrize(
    "status",
    ["200 Fine by me", "299 Odd", "404 Not Found", "418 I'm a teapot", "451 X", "599 Y", "999 Z"],
)
def test_status_line_is_kept(fetch, returns, status):
    returns('[b"body of it"]', status=status)
    response = fetch()
    assert f"{response.status} {response.reason}" == status
    assert response.body == b"body of it"


@pytest.mark.parametrize("status", ["200 ", "200", "200   ", "404 ", "404", "299", "999 "])
def test_an_empty_reason_phrase(nginx, fetch, returns, status):
    """Django makes it of `reason=""`, and a proxying view of an upstream's status without a phrase.

    RFC 9112, 4: the phrase may be empty; the space before it is required.
    """
    returns('[b"body of it"]', status=status)
    code = status[:3].encode()
    for version in (b"HTTP/1.1", b"HTTP/1.0"):
        whole = nginx.raw(b"GET / " + version + b"\r\nHost: x\r\nConnection: close\r\n\r\n")
        # nginx answers HTTP/1.0 with HTTP/1.1, as RFC 9110, 2.5, allows.
        assert whole.startswith(b"HTTP/1.1 " + code + b" \r\n"), whole
        assert whole.endswith(b"\r\n\r\nbody of it")


def test_an_empty_reason_phrase_of_http2(nginx, serve):
    serve(
        f"""
        def application(environ, start_response):
            start_response(environ["QUERY_STRING"].replace("+", " "), {TEXT})
            return [b"body of it"]
        """,
        http2=True,
    )
    client = nginx.client(http2=True)
    for status in ("200", "200+", "418"):
        response = client.get(f"/?{status}")
        assert (response.http_version, response.status_code) == ("HTTP/2", int(status[:3]))
        assert response.content == b"body of it"


@pytest.mark.parametrize("status", ["200  OK", "200 OK ", "200   OK  "])
def test_white_space_around_the_reason_phrase_is_taken_off(nginx, returns, status):
    returns('[b"body of it"]', status=status)
    whole = nginx.raw(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert whole.startswith(b"HTTP/1.1 200 OK\r\n"), whole


def test_filters_change_a_response_without_a_reason_phrase(nginx, serve, fetch):
    """If a filter changes the status, the status line is nginx's own."""
    serve(
        """
        def application(environ, start_response):
            headers = [("Content-Type", "text/plain"), ("ETag", '"a"'), ("Content-Length", "10")]
            start_response("200 ", headers)
            return [b"0123456789"]
        """,
        "wsgi_force_ranges on;",
    )
    response = fetch('GET / HTTP/1.1\r\nHost: x\r\nIf-None-Match: "a"\r\n\r\n')
    assert (response.status, response.reason) == (304, "Not Modified")
    response = fetch("GET / HTTP/1.1\r\nHost: x\r\nRange: bytes=2-4\r\n\r\n")
    assert (response.status, response.reason, response.body) == (206, "Partial Content", b"234")


def test_no_content_type_is_invented(fetch, returns):
    returns('[b"x"]', "")
    response = fetch()
    assert response.get("Content-Type") is None
    assert response.body == b"x"


def test_date_and_server_occur_once(fetch, returns):
    returns(
        '[b"x"]',
        '("Content-Type", "text/plain"), '
        '("Server", "mine/1"), '
        '("Date", "Tue, 15 Nov 1994 08:12:31 GMT")',
    )
    response = fetch()
    assert response.get("Server")
    assert response.get("Date") == "Tue, 15 Nov 1994 08:12:31 GMT"


def test_location_is_passed_on_as_it_is(fetch, returns):
    returns('[b""]', '("Location", "/login?next=/"), ("Content-Type", "a/b")', status="302 Found")
    response = fetch()
    assert response.status == 302
    assert response.get("Location") == "/login?next=/"


def test_the_header_list_may_be_reused(fetch, serve):
    serve(
        """
        HEADERS = [("Content-Type", "text/plain"), ("X-Shared", "1")]

        def application(environ, start_response):
            start_response("200 OK", HEADERS)
            return [repr(HEADERS).encode()]
        """
    )
    for _ in range(3):
        response = fetch()
        assert response.get("X-Shared") == "1"
        assert response.body == b"[('Content-Type', 'text/plain'), ('X-Shared', '1')]"


@pytest.mark.parametrize("http2", [False, True])
@pytest.mark.parametrize(("count", "size"), [(1, 1 << 22), (600, 2000), (40_000, 0)])
def test_headers_that_no_client_would_take(nginx, serve, http2, count, size):
    serve(
        f"""
        def application(environ, start_response):
            headers = [(f"X-{{number}}", "v" * {size}) for number in range({count})]
            start_response("200 OK", headers)
            return [b"x"]
        """,
        http2=http2,
    )
    assert nginx.client(http2=http2).get("/").status_code == 500
    nginx.wait_log("start_response's headers are longer than 1048576 bytes in all")


def test_a_status_that_no_client_would_take(nginx, serve, fetch):
    serve(
        """
        def application(environ, start_response):
            start_response("200 " + "O" * (1 << 21), [])
            return [b"x"]
        """
    )
    assert fetch().status == 500
    nginx.wait_log("start_response's status is longer than 1048576 bytes")


LONGEST = """
    def application(environ, start_response):
        headers = [(f"X-{number:03}", "v" * 10) for number in range(50)]
        headers.append(("X-Long", "v" * (1048576 - 50 * 47 - 40)))
        start_response("200 OK", headers)
        return [b"x"]
"""


def test_the_longest_headers(serve, fetch):
    serve(LONGEST)
    response = fetch()
    assert (response.status, response.body) == (200, b"x")
    assert len(response.get("X-Long")) == 1048576 - 50 * 47 - 40


def test_the_longest_headers_with_http_2(nginx, serve):
    serve(LONGEST, http2=True)
    with Http2(nginx.port) as connection:
        connection.request("/")
        # Without h2, whose limit is lower. Huffman coding makes 7 bits of each letter.
        received = 0
        while received < 900_000:
            data = connection.sock.recv(65536)
            assert data, "the server closed the connection"
            received += len(data)
