"""How a response's body is framed: Content-Length, chunked, HEAD, statuses without a body."""

from __future__ import annotations

import pytest

OK = '"200 OK", [("Content-Type", "text/plain")]'


def test_fewer_bytes_than_content_length(nginx, returns, fetch):
    returns('iter([b"12345"])', '("Content-Type", "a/b"), ("Content-Length", "1234")')
    response = fetch()
    assert response.get("Content-Length") == "1234"
    assert (response.body, response.complete) == (b"12345", False)
    line = nginx.wait_log("1234")
    assert "[error]" in line
    assert "app.py" in line


@pytest.mark.parametrize("result", ["[b'12345']", "[b'12', b'345']", "[]", "iter([])", "[b'']"])
def test_fewer_bytes_than_content_length_is_never_whole(nginx, returns, result):
    returns(result, '("Content-Type", "a/b"), ("Content-Length", "1234")')
    with nginx.connect() as connection:
        connection.get(close=True)
        # If nothing has been sent yet, a 500 is as good as a cut connection.
        raw = connection.rest()
    head, _, body = raw.partition(b"\r\n\r\n")
    assert b" 500 " in head.split(b"\r\n")[0] or len(body) < 1234
    assert "app.py" in nginx.wait_log("[error]")


@pytest.mark.parametrize("result", ["[b'123456']", "[b'12', b'3456']", "iter([b'12', b'3456'])"])
def test_more_bytes_than_content_length_are_cut(nginx, returns, result):
    returns(result, '("Content-Type", "a/b"), ("Content-Length", "4")')
    with nginx.connect() as connection:
        for _ in range(2):
            connection.get()
            response = connection.response()
            assert response.body == b"1234"
            assert not connection.pending
    assert "app.py" in nginx.wait_log("[error]")


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        ('[b"hello"]', b"hello"),
        ('(b"hello",)', b"hello"),
        ('[b"hel", b"", b"lo"]', b"hello"),
        ('(b"hel", b"lo")', b"hello"),
        ("[]", b""),
        ("()", b""),
        ('[b""]', b""),
        ('[b"", b""]', b""),
        ('[b"x" * 1000] * 1000', b"x" * 1_000_000),
        ('[b"y" * 3_000_000]', b"y" * 3_000_000),
    ],
)
def test_content_length_is_deduced_for_a_list_or_tuple(returns, fetch, result, expected):
    returns(result)
    response = fetch()
    assert response.framing == "length"
    assert response.get("Content-Length") == str(len(expected))
    assert response.body == expected


def test_a_list_keeps_its_own_content_length(returns, fetch):
    returns('[b"he", b"llo"]', '("Content-Type", "a/b"), ("content-LENGTH", "5")')
    response = fetch()
    assert response.get("Content-Length") == "5"
    assert response.body == b"hello"


UNKNOWN_LENGTH = f"""
    def application(environ, start_response):
        start_response({OK})
        yield b"hel"
        yield b"lo"
"""


def test_unknown_length_is_chunked_and_the_connection_is_kept(nginx, serve):
    serve(UNKNOWN_LENGTH)
    with nginx.connect() as connection:
        for _ in range(3):
            connection.get()
            response = connection.response()
            assert response.framing == "chunked"
            assert response.body == b"hello"
            assert response.complete


def test_unknown_length_in_http_1_0_ends_with_the_connection(serve, fetch):
    serve(UNKNOWN_LENGTH)
    response = fetch("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    assert response.framing == "close"
    assert response.get("Transfer-Encoding") is None
    assert response.body == b"hello"


def test_known_length_in_http_1_0_may_keep_the_connection(nginx, returns):
    returns('[b"hello"]')
    with nginx.connect() as connection:
        for _ in range(2):
            connection.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            response = connection.response()
            assert (response.framing, response.body) == ("length", b"hello")


@pytest.mark.parametrize("result", ["iter([])", "iter([b''])", "iter([b''] * 1000)"])
def test_an_iterator_of_nothing(nginx, returns, result):
    returns(result)
    with nginx.connect() as connection:
        for _ in range(2):
            connection.get()
            response = connection.response()
            assert (response.status, response.body, response.complete) == (200, b"", True)
            assert response.framing in ("length", "chunked")


BODIES = ['[b"body"]', '[b"bo", b"dy"]', 'iter([b"bo", b"dy"])', 'Blocks([b"bo", b"dy"])']


@pytest.mark.parametrize("result", BODIES)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
def test_statuses_without_a_body(nginx, returns, status, method, result):
    returns(result, '("X-Kept", "1")', status=status)
    with nginx.connect() as connection:
        for _ in range(3):
            connection.send(f"{method} / HTTP/1.1\r\nHost: x\r\n\r\n")
            response = connection.response()
            assert f"{response.status} {response.reason}" == status
            assert response.get("X-Kept") == "1"
            assert response.get("Transfer-Encoding") is None
            assert response.get("Content-Length") in (None, "4" if "304" in status else None)
            assert not connection.pending
    if "Blocks" in result:
        assert len(nginx.wait_recorded("closed", 3)) == 3


@pytest.mark.parametrize("result", BODIES)
@pytest.mark.parametrize("length", ["", '("Content-Length", "4")'])
def test_head_has_no_body(nginx, returns, result, length):
    returns(result, length)
    with nginx.connect() as connection:
        for _ in range(3):
            connection.send("HEAD / HTTP/1.1\r\nHost: x\r\n\r\n")
            response = connection.response(head_only=True)
            assert response.status == 200
            if length or result.startswith("["):
                assert response.get("Content-Length") == "4"
        connection.get(close=True)
        response = connection.response()
        assert response.body == b"body"
    if "Blocks" in result:
        assert len(nginx.wait_recorded("closed", 4)) == 4


def test_head_with_an_empty_list_invents_no_length(returns, fetch):
    returns("[]")
    response = fetch("HEAD / HTTP/1.1\r\nHost: x\r\n\r\n", head_only=True)
    assert response.get("Content-Length") is None


def test_head_keeps_the_length_of_the_application(nginx, returns, fetch):
    returns("[]", '("Content-Type", "a/b"), ("Content-Length", "123456")')
    response = fetch("HEAD / HTTP/1.1\r\nHost: x\r\n\r\n", head_only=True)
    assert (response.status, response.get("Content-Length")) == (200, "123456")
    assert not nginx.log_lines("[error]")


def test_hop_by_hop_headers_are_dropped_and_that_is_said_once(nginx, serve):
    names = [
        ("Connection", "close"),
        ("Keep-Alive", "timeout=5"),
        ("Proxy-Authenticate", "Basic"),
        ("Proxy-Authorization", "x"),
        ("TE", "trailers"),
        ("Trailers", "x"),
        ("Transfer-Encoding", "chunked"),
        ("Upgrade", "h2c"),
    ]
    serve(
        f"""
        def application(environ, start_response):
            start_response("200 OK", [("Content-Type", "a/b"), ("X-End", "1")] + {names!r})
            return iter([b"4\\r\\nbody\\r\\n", b"0\\r\\n\\r\\n"])
        """
    )
    with nginx.connect() as connection:
        for _ in range(5):
            connection.get()
            response = connection.response()
            assert response.body == b"4\r\nbody\r\n0\r\n\r\n"
            assert response.complete
            assert response.get("X-End") == "1"
            for name, value in names:
                assert value not in response.all(name) or name == "Transfer-Encoding"
            assert response.all("Transfer-Encoding") == ["chunked"]
    nginx.wait_log("hop-by-hop")
    said = nginx.log_lines("hop-by-hop")
    assert len(said) == 1
    assert "app.py" in said[0]


def test_each_application_s_hop_by_hop_headers_are_said(nginx):
    source = """
        def application(environ, start_response):
            start_response("200 OK", [("Content-Type", "a/b"), ("Connection", "close")])
            return [b"x"]
    """
    one, two = nginx.app("one", source), nginx.app("two", source)
    nginx.start(
        server=f"location /one {{ wsgi_app {one}; }} location /two {{ wsgi_app {two}; }}",
    )
    client = nginx.client()
    for path in ("/one", "/two", "/one", "/two"):
        assert client.get(path).headers["Connection"] == "keep-alive"
    for name in ("one.py", "two.py"):
        nginx.wait_log(name)
        assert len([line for line in nginx.log_lines("hop-by-hop") if name in line]) == 1
