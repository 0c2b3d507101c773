"""What an application may give, what it may not, and how each of them is framed."""

from __future__ import annotations

import re

import pytest

OK = '"200 OK", [("Content-Type", "text/plain")]'

# Faults that are known before the head has gone: the answer is a 500.
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

BAD_RESULTS = {
    "None": "None",
    "int": "7",
    "str": '"text"',
    "bytes": 'b"bytes"',
    "dict": '{"a": 1}',
    "list of str": '["text"]',
    "list of None": "[None]",
    "list of int": "[1]",
    "str after nothing": '[b"", "text"]',
    "tuple of str": '("text",)',
    "iterator of str": 'iter(["text"])',
    "iterator of None": "iter([None])",
    "bytes in str in list": '[["nested"]]',
    "object": "object()",
    "start_response": "start_response",
}


def errors(nginx) -> list[str]:
    return [line for line in nginx.error_log().splitlines() if "[error]" in line]


@pytest.mark.parametrize("arguments", BAD_HEADS.values(), ids=BAD_HEADS.keys())
def test_bad_head(nginx, serve, fetch, arguments):
    serve(
        f"""
        def application(environ, start_response):
            if environ["PATH_INFO"] == "/good":
                start_response({OK})
                return [b"good"]
            start_response({arguments})
            return [b"x"]
        """
    )
    with nginx.connect() as connection:
        connection.get()
        response = connection.response()
    assert response.status == 500
    assert response.get("X-Evil") is None
    nginx.wait_log("[error]")
    assert any("app.py" in line for line in errors(nginx)), errors(nginx)
    assert fetch("GET /good HTTP/1.1\r\nHost: x\r\n\r\n").body == b"good"


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


@pytest.mark.parametrize("result", BAD_RESULTS.values(), ids=BAD_RESULTS.keys())
def test_bad_result_before_the_head(nginx, serve, fetch, result):
    serve(
        f"""
        def application(environ, start_response):
            if environ["PATH_INFO"] == "/good":
                start_response({OK})
                return [b"good"]
            start_response({OK})
            return {result}
        """
    )
    assert fetch().status == 500
    nginx.wait_log("[error]")
    assert any("app.py" in line for line in errors(nginx)), errors(nginx)
    assert fetch("GET /good HTTP/1.1\r\nHost: x\r\n\r\n").body == b"good"


@pytest.mark.parametrize("fault", ['"text"', "None", "7", "[b'x']"])
@pytest.mark.parametrize("length", ["", '("Content-Length", "100"),'])
def test_bad_block_after_the_head(nginx, serve, fetch, fault, length):
    serve(
        f"""
        from testkit import Blocks

        def application(environ, start_response):
            start_response("200 OK", [{length} ("Content-Type", "text/plain")])
            return Blocks([b"begun", {fault}, b"never"])
        """
    )
    response = fetch()
    assert (response.status, response.body) == (200, b"begun")
    assert not response.complete
    assert nginx.wait_recorded("closed") == ["-"]
    assert "app.py" in nginx.wait_log("[error]")


@pytest.mark.parametrize(
    "raised",
    [
        "ValueError('boom')",
        "SystemExit(3)",
        "KeyboardInterrupt()",
        "GeneratorExit()",
        "Own('x')",
    ],
)
def test_exception_before_the_head(nginx, serve, fetch, raised):
    serve(
        f"""
        class Own(BaseException):
            pass

        def application(environ, start_response):
            if environ["PATH_INFO"] == "/good":
                start_response({OK})
                return [b"good"]
            raise {raised}
        """
    )
    before = nginx.workers()
    assert fetch().status == 500
    assert "[error]" in nginx.wait_log(re.split(r"\(", raised)[0])
    assert nginx.log_lines("Traceback")
    assert fetch("GET /good HTTP/1.1\r\nHost: x\r\n\r\n").body == b"good"
    assert nginx.workers() == before


@pytest.mark.parametrize("raised", ["ValueError('boom')", "SystemExit(3)", "KeyboardInterrupt()"])
def test_exception_in_mid_body_leaves_chunked_unterminated(nginx, serve, fetch, raised):
    serve(
        f"""
        def application(environ, start_response):
            start_response({OK})
            yield b"one"
            yield b"two"
            raise {raised}
        """
    )
    before = nginx.workers()
    response = fetch()
    assert response.status == 200
    assert response.framing == "chunked"
    assert response.body == b"onetwo"
    assert not response.complete
    assert "[error]" in nginx.wait_log(raised.split("(")[0])
    assert nginx.workers() == before


def test_exception_in_mid_body_with_content_length(serve, fetch):
    serve(
        """
        def application(environ, start_response):
            start_response("200 OK", [("Content-Type", "a/b"), ("Content-Length", "10")])
            yield b"12345"
            raise ValueError("boom")
        """
    )
    response = fetch()
    assert (response.framing, response.body, response.complete) == ("length", b"12345", False)


def test_exception_in_mid_body_of_http_1_0(nginx, serve):
    serve(
        f"""
        def application(environ, start_response):
            start_response({OK})
            yield b"one"
            raise ValueError("boom")
        """
    )
    with nginx.connect() as connection:
        connection.send("GET / HTTP/1.0\r\n\r\n")
        with pytest.raises(ConnectionResetError):
            # A body that ends with its connection looks whole unless the connection is reset.
            while connection.sock.recv(65536):
                pass


def test_exception_in_mid_body_of_http_2(nginx, serve):
    import httpx

    serve(
        f"""
        def application(environ, start_response):
            start_response({OK})
            yield b"one"
            raise ValueError("boom")
        """,
        listen="ssl http2",
        server=nginx.tls(),
    )
    with pytest.raises(httpx.RemoteProtocolError):
        nginx.client(tls=True, http2=True).get("/")


def test_fewer_bytes_than_content_length(nginx, serve, fetch):
    serve(
        """
        def application(environ, start_response):
            start_response("200 OK", [("Content-Type", "a/b"), ("Content-Length", "1234")])
            return iter([b"12345"])
        """
    )
    response = fetch()
    assert response.get("Content-Length") == "1234"
    assert (response.body, response.complete) == (b"12345", False)
    line = nginx.wait_log("1234")
    assert "[error]" in line
    assert "app.py" in line


@pytest.mark.parametrize("result", ["[b'12345']", "[b'12', b'345']", "[]", "iter([])", "[b'']"])
def test_fewer_bytes_than_content_length_is_never_whole(nginx, serve, result):
    serve(
        f"""
        def application(environ, start_response):
            start_response("200 OK", [("Content-Type", "a/b"), ("Content-Length", "1234")])
            return {result}
        """
    )
    with nginx.connect() as connection:
        connection.get(close=True)
        # Where nothing has gone yet a 500 is as good as a connection that is cut.
        raw = connection.rest()
    head, _, body = raw.partition(b"\r\n\r\n")
    assert b" 500 " in head.split(b"\r\n")[0] or len(body) < 1234
    assert "app.py" in nginx.wait_log("[error]")


@pytest.mark.parametrize("result", ["[b'123456']", "[b'12', b'3456']", "iter([b'12', b'3456'])"])
def test_more_bytes_than_content_length_are_cut(nginx, serve, result):
    serve(
        f"""
        from testkit import Blocks

        def application(environ, start_response):
            start_response("200 OK", [("Content-Type", "a/b"), ("Content-Length", "4")])
            return {result}
        """
    )
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
def test_content_length_is_deduced_for_a_list_or_tuple(serve, fetch, result, expected):
    serve(
        f"""
        def application(environ, start_response):
            start_response({OK})
            return {result}
        """
    )
    response = fetch()
    assert response.framing == "length"
    assert response.get("Content-Length") == str(len(expected))
    assert response.body == expected


def test_a_list_keeps_its_own_content_length(serve, fetch):
    serve(
        """
        def application(environ, start_response):
            start_response("200 OK", [("Content-Type", "a/b"), ("content-LENGTH", "5")])
            return [b"he", b"llo"]
        """
    )
    response = fetch()
    assert response.get("Content-Length") == "5"
    assert response.body == b"hello"


def test_unknown_length_is_chunked_and_the_connection_is_kept(nginx, serve):
    serve(
        f"""
        def application(environ, start_response):
            start_response({OK})
            yield b"hel"
            yield b"lo"
        """
    )
    with nginx.connect() as connection:
        for _ in range(3):
            connection.get()
            response = connection.response()
            assert response.framing == "chunked"
            assert response.body == b"hello"
            assert response.complete


def test_unknown_length_in_http_1_0_ends_with_the_connection(serve, fetch):
    serve(
        f"""
        def application(environ, start_response):
            start_response({OK})
            yield b"hel"
            yield b"lo"
        """
    )
    response = fetch("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    assert response.framing == "close"
    assert response.get("Transfer-Encoding") is None
    assert response.body == b"hello"


def test_known_length_in_http_1_0_may_keep_the_connection(nginx, serve):
    serve(
        f"""
        def application(environ, start_response):
            start_response({OK})
            return [b"hello"]
        """
    )
    with nginx.connect() as connection:
        for _ in range(2):
            connection.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            response = connection.response()
            assert (response.framing, response.body) == ("length", b"hello")


@pytest.mark.parametrize("result", ["iter([])", "iter([b''])", "iter([b''] * 1000)"])
def test_an_iterator_of_nothing(nginx, serve, result):
    serve(
        f"""
        def application(environ, start_response):
            start_response({OK})
            return {result}
        """
    )
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
def test_statuses_without_a_body(nginx, serve, status, method, result):
    serve(
        f"""
        from testkit import Blocks

        def application(environ, start_response):
            start_response("{status}", [("X-Kept", "1")])
            return {result}
        """
    )
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
def test_head_has_no_body(nginx, serve, result, length):
    serve(
        f"""
        from testkit import Blocks

        def application(environ, start_response):
            start_response("200 OK", [{length}])
            return {result}
        """
    )
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


def test_head_with_an_empty_list_invents_no_length(serve, fetch):
    serve(
        f"""
        def application(environ, start_response):
            start_response({OK})
            return []
        """
    )
    response = fetch("HEAD / HTTP/1.1\r\nHost: x\r\n\r\n", head_only=True)
    assert response.get("Content-Length") is None


def test_head_keeps_the_length_of_the_application(nginx, serve, fetch):
    serve(
        """
        def application(environ, start_response):
            start_response("200 OK", [("Content-Type", "a/b"), ("Content-Length", "123456")])
            return []
        """
    )
    response = fetch("HEAD / HTTP/1.1\r\nHost: x\r\n\r\n", head_only=True)
    assert (response.status, response.get("Content-Length")) == (200, "123456")
    assert not errors(nginx)


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


PATHS_TO_CLOSE = {
    "normal": "return Blocks([b'a', b'b'])",
    "empty": "return Blocks([])",
    "empty blocks": "return Blocks([b'', b''])",
    "raises at once": "return Blocks(raising(0))",
    "raises in mid-body": "return Blocks(raising(2))",
    "str block": "return Blocks(['x'])",
    "str block later": "return Blocks([b'a', 'x'])",
    "too short": "length = 9; return Blocks([b'a'])",
    "too long": "length = 1; return Blocks([b'abc', b'def'])",
    "no start_response": "start = False; return Blocks([b'a'])",
    "after write": "write = True; return Blocks([b'a'])",
}


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("case", PATHS_TO_CLOSE)
def test_close_is_called_exactly_once(nginx, serve, case, method):
    settings, _, result = PATHS_TO_CLOSE[case].rpartition("return ")
    serve(
        f"""
        from testkit import Blocks

        def raising(after):
            for _ in range(after):
                yield b"block"
            raise ValueError("in mid-iteration")

        def application(environ, start_response):
            length, start, write = None, True, False
            {settings or "pass"}
            headers = [("Content-Type", "text/plain")]
            if length is not None:
                headers.append(("Content-Length", str(length)))
            if start:
                writer = start_response("200 OK", headers)
                if write:
                    writer(b"written")
            return {result}
        """
    )
    for count in range(1, 4):
        with nginx.connect() as connection:
            connection.send(f"{method} / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            connection.rest()
        assert len(nginx.wait_recorded("closed", count)) == count
    nginx.quit()
    assert len(nginx.recorded("closed")) == 3


def test_close_is_that_of_the_iterable_not_of_its_iterator(nginx, serve, fetch):
    serve(
        f"""
        from testkit import record

        class Iterable:
            def __iter__(self):
                record("iter")
                return iter([b"a", b"b"])

            def close(self):
                record("closed")

        def application(environ, start_response):
            start_response({OK})
            return Iterable()
        """
    )
    assert fetch().body == b"ab"
    assert nginx.wait_recorded("closed") == ["-"]
    assert nginx.recorded("iter") == ["-"]


def test_close_of_a_list_subclass(nginx, serve, fetch):
    serve(
        f"""
        from testkit import record

        class Closing(list):
            def close(self):
                record("closed")

        def application(environ, start_response):
            start_response({OK})
            return Closing([b"a"])
        """
    )
    assert fetch().body == b"a"
    assert nginx.wait_recorded("closed") == ["-"]


def test_close_that_raises(nginx, serve):
    serve(
        f"""
        class Iterable:
            def __iter__(self):
                return iter([b"a"])

            def close(self):
                raise RuntimeError("close failed")

        def application(environ, start_response):
            start_response({OK})
            return Iterable()
        """
    )
    with nginx.connect() as connection:
        for _ in range(3):
            connection.get(close=False)
            response = connection.response()
            assert response.body == b"a"
            if not response.complete:
                break
    assert "[error]" in nginx.wait_log("close failed")


def test_close_when_the_client_goes_away(nginx, serve):
    serve(
        f"""
        import time
        from testkit import Blocks, record

        def endless():
            try:
                while True:
                    yield b"x" * 1000
                    time.sleep(0.01)
            except GeneratorExit:
                record("exited")
                raise

        def application(environ, start_response):
            start_response({OK})
            return Blocks(endless())
        """
    )
    with nginx.connect() as connection:
        connection.get()
        assert connection.head().status == 200
        assert connection.chunk()
    assert nginx.wait_recorded("closed") == ["-"]
    assert nginx.wait_recorded("exited") == ["-"]
    assert not errors(nginx)


def test_close_when_the_client_goes_away_before_the_head(nginx, serve):
    serve(
        f"""
        from testkit import Blocks, gate, record

        def application(environ, start_response):
            record("called")
            gate("go")
            start_response({OK})
            return Blocks([b"x"] * 10)
        """
    )
    with nginx.connect() as connection:
        connection.get()
        nginx.wait_recorded("called")
    nginx.open_gate("go")
    assert nginx.wait_recorded("closed") == ["-"]
    assert not errors(nginx)


def test_large_bodies_arrive_whole(nginx, serve):
    import hashlib
    import random

    serve(
        f"""
        import random

        def application(environ, start_response):
            start_response({OK})
            source = random.Random(environ["QUERY_STRING"])
            for _ in range(300):
                yield source.randbytes(source.choice([1, 10, 100, 5000, 70000, 300000]))
        """
    )
    client = nginx.client()
    for seed in ("1", "2", "3"):
        source = random.Random(seed)
        expected = hashlib.sha256()
        for _ in range(300):
            expected.update(source.randbytes(source.choice([1, 10, 100, 5000, 70000, 300000])))
        assert hashlib.sha256(client.get(f"/?{seed}").content).digest() == expected.digest()


def test_many_small_blocks(nginx, serve):
    serve(
        f"""
        def application(environ, start_response):
            start_response({OK})
            return (b"%d\\n" % number for number in range(50000))
        """
    )
    expected = "".join(f"{number}\n" for number in range(50000))
    assert nginx.client().get("/").text == expected


def test_nginx_s_filters_do_their_work(nginx, serve):
    serve(
        """
        HEADERS = [
            ("Content-Type", "text/plain"),
            ("ETag", '"abc"'),
            ("Last-Modified", "Tue, 15 Nov 1994 08:12:31 GMT"),
        ]

        def application(environ, start_response):
            start_response("200 OK", HEADERS)
            if environ["PATH_INFO"] == "/stream":
                return iter([b"hello " * 50, b"world " * 50])
            return [b"hello " * 100]
        """,
        "gzip on; gzip_types text/plain; gzip_min_length 1; charset utf-8;",
    )
    client = nginx.client(headers={"Accept-Encoding": "identity"})
    plain = client.get("/")
    assert plain.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert plain.headers["ETag"] == '"abc"'
    assert client.get("/", headers={"If-None-Match": '"abc"'}).status_code == 304
    date = "Tue, 15 Nov 1994 08:12:31 GMT"
    assert client.get("/", headers={"If-Modified-Since": date}).status_code == 304
    for path in ("/", "/stream"):
        zipped = client.get(path, headers={"Accept-Encoding": "gzip"})
        assert zipped.headers["Content-Encoding"] == "gzip"
        assert "Content-Length" not in zipped.headers
        assert zipped.text == client.get(path).text
        assert len(zipped.text) == 600
    # The last one: nginx closes the connection after it (ngx_http_filter_finalize_request).
    assert client.get("/", headers={"If-Match": '"other"'}).status_code == 412


def test_an_encoded_response_is_not_encoded_again(nginx, serve):
    serve(
        """
        import gzip

        def application(environ, start_response):
            headers = [("Content-Type", "text/plain"), ("Content-Encoding", "gzip")]
            start_response("200 OK", headers)
            return [gzip.compress(b"text " * 1000)]
        """,
        "gzip on; gzip_types text/plain; gzip_min_length 1;",
    )
    response = nginx.client().get("/")
    assert response.text == "text " * 1000
    assert response.headers.get_list("Content-Encoding") == ["gzip"]


def test_a_charset_of_the_application_is_kept(nginx, serve):
    serve(
        """
        def application(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/plain; charset=koi8-r")])
            return [b"x"]
        """,
        "charset utf-8; override_charset off;",
    )
    assert nginx.client().get("/").headers["Content-Type"] == "text/plain; charset=koi8-r"


def test_error_page_for_an_exception(nginx, serve):
    nginx.page("500.html", "our own page\n")
    serve(
        """
        def application(environ, start_response):
            raise ValueError("boom")
        """,
        "error_page 500 /500.html;",
        server=f"location = /500.html {{ root {nginx.html}; }}",
    )
    response = nginx.client().get("/")
    assert (response.status_code, response.text) == (500, "our own page\n")
