"""start_response and write: what PEP 3333 says of these two callables."""

from __future__ import annotations

import pytest
from rawhttp2 import Http2

TEXT = '[("Content-Type", "text/plain")]'


def test_validated(fetch, serve):
    serve(
        """
        from wsgiref.validate import validator

        @validator
        def application(environ, start_response):
            write = start_response("200 OK", [("Content-Type", "text/plain"), ("X-A", "b")])
            write(b"one ")
            write(b"two ")
            return [b"three"]
        """
    )
    response = fetch()
    assert (response.status, response.reason) == (200, "OK")
    assert response.get("Content-Type") == "text/plain"
    assert response.get("X-A") == "b"
    assert response.body == b"one two three"
    assert response.complete


def test_second_call_without_exc_info_raises(fetch, serve):
    serve(
        """
        def application(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/plain"), ("X-Which", "first")])
            try:
                start_response("404 Not Found", [("X-Which", "second")])
            except Exception as error:
                return [b"raised ", type(error).__name__.encode()]
            return [b"did not raise"]
        """
    )
    response = fetch()
    assert response.status == 200
    assert response.get("X-Which") == "first"
    assert response.body.startswith(b"raised ")


def test_second_call_that_is_not_caught_is_a_500(nginx, fetch, serve):
    serve(
        """
        def application(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/plain")])
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [b"x"]
        """
    )
    assert fetch().status == 500
    nginx.wait_log("Traceback")


def test_exc_info_before_the_head_has_gone_replaces_the_response(fetch, serve):
    serve(
        """
        import sys

        def application(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/plain"), ("X-First", "1")])
            try:
                raise ValueError("late")
            except ValueError:
                start_response("503 Replaced", [("Content-Type", "text/html")], sys.exc_info())
            return [b"replaced"]
        """
    )
    response = fetch()
    assert (response.status, response.reason) == (503, "Replaced")
    assert response.get("X-First") is None
    assert response.get("Content-Type") == "text/html"
    assert response.body == b"replaced"


def test_exc_info_after_the_head_has_gone_reraises_the_original(nginx, fetch, serve):
    serve(
        """
        import sys
        from testkit import record

        def application(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/plain")])
            yield b"begun"
            original = ValueError("the original")
            try:
                raise original
            except ValueError:
                try:
                    start_response("500 Oops", [], sys.exc_info())
                except BaseException as again:
                    record("raised", again is original)
                    record("traceback", again.__traceback__ is not None)
                    raise
                record("raised", "nothing")
        """
    )
    response = fetch()
    assert (response.status, response.body) == (200, b"begun")
    assert not response.complete
    assert nginx.wait_recorded("raised") == ["True"]
    assert nginx.recorded("traceback") == ["True"]
    nginx.wait_log("the original")


def test_head_is_held_back_until_the_first_non_empty_block(fetch, serve):
    serve(
        """
        import sys

        def application(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/plain")])
            yield b""
            yield b""
            try:
                raise KeyError("x")
            except KeyError:
                start_response("418 Late", [("Content-Type", "text/x")], sys.exc_info())
            yield b""
            yield b"tea"
        """
    )
    response = fetch()
    assert (response.status, response.reason, response.body) == (418, "Late", b"tea")
    assert response.get("Content-Type") == "text/x"


def test_write_of_nothing_does_not_send_the_head(fetch, serve):
    serve(
        """
        import sys

        def application(environ, start_response):
            write = start_response("200 OK", [("Content-Type", "text/plain")])
            write(b"")
            try:
                raise KeyError("x")
            except KeyError:
                start_response("418 Late", [("Content-Type", "text/x")], sys.exc_info())
            return [b"tea"]
        """
    )
    assert fetch().status == 418


def test_empty_first_block_before_start_response(fetch, serve):
    serve(
        """
        def application(environ, start_response):
            yield b""
            start_response("200 OK", [("Content-Type", "text/plain")])
            yield b"late"
        """
    )
    response = fetch()
    assert (response.status, response.body) == (200, b"late")


def test_start_response_in_the_first_step_of_a_generator(fetch, serve):
    serve(
        """
        def application(environ, start_response):
            start_response("201 Created", [("Content-Type", "text/plain")])
            yield b"made"
        """
    )
    response = fetch()
    assert (response.status, response.body) == (201, b"made")


@pytest.mark.parametrize(
    "body",
    ['return [b"x"]', 'return iter([b"x"])', "return []", "return iter(())", 'return [b""]'],
)
def test_start_response_never_called(nginx, fetch, serve, body):
    serve(f"def application(environ, start_response):\n    {body}\n")
    assert fetch().status == 500
    line = nginx.wait_log("start_response")
    assert "[error]" in line
    assert "app.py" in line


def test_non_empty_block_before_start_response(fetch, serve):
    serve(
        """
        def application(environ, start_response):
            yield b"too early"
            start_response("200 OK", [("Content-Type", "text/plain")])
        """
    )
    response = fetch()
    assert response.status == 500
    assert b"too early" not in response.body


@pytest.mark.threads("inline what write() is given goes out when the call returns")
def test_write_goes_out_at_once_and_in_order(nginx, serve):
    serve(
        """
        from testkit import gate

        def application(environ, start_response):
            write = start_response("200 OK", [("Content-Type", "text/plain")])
            assert write(b"first") is None
            gate("one")
            write(b"second")
            gate("two")
            return [b"third", b"fourth"]
        """
    )
    with nginx.connect() as connection:
        connection.get()
        assert connection.head().status == 200
        assert connection.chunk() == b"first"
        nginx.open_gate("one")
        assert connection.chunk() == b"second"
        nginx.open_gate("two")
        rest = b""
        while piece := connection.chunk():
            rest += piece
        assert piece == b""
        assert rest == b"thirdfourth"


@pytest.mark.parametrize("value", ['"text"', "None", "1"])
def test_write_of_something_that_is_not_bytes_raises(fetch, serve, value):
    serve(
        f"""
        def application(environ, start_response):
            write = start_response("200 OK", {TEXT})
            try:
                write({value})
            except Exception as error:
                return [b"raised ", type(error).__name__.encode()]
            return [b"did not raise"]
        """
    )
    assert fetch().body.startswith(b"raised ")


def test_write_alone_with_an_empty_iterable(fetch, serve):
    serve(
        """
        def application(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/plain")])(b"all of it")
            return []
        """
    )
    response = fetch()
    assert (response.body, response.complete) == (b"all of it", True)


def test_write_respects_content_length(nginx, serve):
    serve(
        """
        def application(environ, start_response):
            headers = [("Content-Type", "text/plain"), ("Content-Length", "4")]
            write = start_response("200 OK", headers)
            write(b"123")
            write(b"456")
            return [b"789"]
        """
    )
    with nginx.connect() as connection:
        connection.get()
        response = connection.response()
        assert (response.framing, response.body) == ("length", b"1234")
        connection.get()
        assert connection.response().body == b"1234"


def test_wrong_arguments_raise_in_the_application(fetch, serve):
    serve(
        """
        def application(environ, start_response):
            for arguments in [(), ("200 OK",), ("200 OK", [], None, None)]:
                try:
                    start_response(*arguments)
                except TypeError:
                    continue
                raise SystemExit(f"accepted {arguments!r}")
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [b"all refused"]
        """
    )
    assert fetch().body == b"all refused"


def test_set_cookie_and_other_repeated_headers_are_kept_in_order(fetch, serve):
    serve(
        """
        def application(environ, start_response):
            start_response("200 OK", [
                ("Set-Cookie", "a=1"), ("X-Two", "1"), ("Set-Cookie", "b=2; Path=/"),
                ("X-Two", "2"), ("Set-Cookie", "c=3"), ("Content-Type", "text/plain"),
            ])
            return [b"x"]
        """
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
def test_status_line_is_kept(fetch, serve, status):
    serve(
        f"""
        def application(environ, start_response):
            start_response({status!r}, {TEXT})
            return [b"body of it"]
        """
    )
    response = fetch()
    assert f"{response.status} {response.reason}" == status
    assert response.body == b"body of it"


@pytest.mark.parametrize("status", ["200 ", "200", "200   ", "404 ", "404", "299", "999 "])
def test_an_empty_reason_phrase(nginx, fetch, serve, status):
    """What Django makes of `reason=""`, and a view of an upstream's status line without a phrase.

    RFC 9112, 4: the phrase may be empty, and the space before it is there all the same.
    """
    serve(
        f"""
        def application(environ, start_response):
            start_response({status!r}, {TEXT})
            return [b"body of it"]
        """
    )
    code = status[:3].encode()
    for version in (b"HTTP/1.1", b"HTTP/1.0"):
        whole = nginx.raw(b"GET / " + version + b"\r\nHost: x\r\nConnection: close\r\n\r\n")
        # nginx answers HTTP/1.0 in HTTP/1.1, as RFC 9110, 2.5, has it.
        assert whole.startswith(b"HTTP/1.1 " + code + b" \r\n"), whole
        assert whole.endswith(b"\r\n\r\nbody of it")


def test_an_empty_reason_phrase_of_http2(nginx, serve):
    serve(
        f"""
        def application(environ, start_response):
            start_response(environ["QUERY_STRING"].replace("+", " "), {TEXT})
            return [b"body of it"]
        """,
        listen="ssl http2",
        server=nginx.tls(),
    )
    client = nginx.client(tls=True, http2=True)
    for status in ("200", "200+", "418"):
        response = client.get(f"/?{status}")
        assert (response.http_version, response.status_code) == ("HTTP/2", int(status[:3]))
        assert response.content == b"body of it"


@pytest.mark.parametrize("status", ["200  OK", "200 OK ", "200   OK  "])
def test_white_space_around_the_reason_phrase_is_taken_off(nginx, serve, status):
    serve(
        f"""
        def application(environ, start_response):
            start_response({status!r}, {TEXT})
            return [b"body of it"]
        """
    )
    whole = nginx.raw(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert whole.startswith(b"HTTP/1.1 200 OK\r\n"), whole


def test_filters_change_a_response_without_a_reason_phrase(nginx, serve, fetch):
    """nginx's own line follows where a filter has made another status of it."""
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


def test_no_content_type_is_invented(fetch, serve):
    serve(
        """
        def application(environ, start_response):
            start_response("200 OK", [])
            return [b"x"]
        """
    )
    response = fetch()
    assert response.get("Content-Type") is None
    assert response.body == b"x"


def test_date_and_server_occur_once(fetch, serve):
    serve(
        """
        def application(environ, start_response):
            start_response("200 OK", [
                ("Content-Type", "text/plain"), ("Server", "mine/1"),
                ("Date", "Tue, 15 Nov 1994 08:12:31 GMT"),
            ])
            return [b"x"]
        """
    )
    response = fetch()
    assert response.get("Server")
    assert response.get("Date") == "Tue, 15 Nov 1994 08:12:31 GMT"


def test_location_is_passed_on_as_it_is(fetch, serve):
    serve(
        """
        def application(environ, start_response):
            start_response("302 Found", [("Location", "/login?next=/"), ("Content-Type", "a/b")])
            return [b""]
        """
    )
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


def test_start_response_kept_beyond_its_request(nginx, serve):
    serve(
        """
        kept = []

        def application(environ, start_response):
            outcome = b"first"
            if kept:
                try:
                    kept[0][0]("200 OK", [("X-Old", "1")])
                    kept[0][1](b"stray bytes")
                    outcome = b"accepted"
                except Exception:
                    outcome = b"refused"
            kept.append((start_response, start_response("200 OK", [("Content-Type", "a/b")])))
            return [outcome]
        """
    )
    with nginx.connect() as connection:
        for expected in (b"first", b"refused", b"refused"):
            connection.get()
            response = connection.response()
            assert response.body == expected
            assert response.get("X-Old") is None


def test_any_callable_is_an_application(nginx):
    path = nginx.app(
        "kinds",
        """
        class Instance:
            def __call__(self, environ, start_response):
                start_response("200 OK", [("Content-Type", "text/plain")])
                return (b"instance",)

        class Iterated:
            def __init__(self, environ, start_response):
                self.start = start_response

            def __iter__(self):
                self.start("200 OK", [("Content-Type", "text/plain")])
                yield b"iterated"

        class Old:
            # The iteration protocol of old: no __iter__.
            def __getitem__(self, index):
                return [b"o", b"l", b"d"][index]

        def old(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/plain")])
            return Old()

        instance = Instance()
        """,
    )
    nginx.start(
        server=f"""
        location /instance {{ wsgi_app {path}:instance; }}
        location /iterated {{ wsgi_app {path}:Iterated; }}
        location /old {{ wsgi_app {path}:old; }}
        """
    )
    client = nginx.client()
    for name in ("instance", "iterated", "old"):
        assert client.get(f"/{name}").text == name


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
        listen="ssl http2" if http2 else "",
        server=nginx.tls() if http2 else "",
    )
    assert nginx.client(tls=http2, http2=http2).get("/").status_code == 500
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
    serve(LONGEST, listen="ssl http2", server=nginx.tls())
    with Http2(nginx.port) as connection:
        connection.request("/")
        # Not by way of h2, whose own limit is lower. Huffman coding makes 7 bits of each letter.
        received = 0
        while received < 900_000:
            data = connection.sock.recv(65536)
            assert data, "the server closed the connection"
            received += len(data)
