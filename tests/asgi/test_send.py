"""send(): a response's head and body, their framing, and what ends a response otherwise."""

from __future__ import annotations

import pytest
from rawhttp import wait_for, wait_still
from rawhttp2 import Http2

# An application whose messages are a list in the query: `?[{…}, {…}]` is too long for that, so the
# test formats it into the source.
SENDS = """
    from testkit import START, record, respond

    TEXT = (b"content-type", b"text/plain")

    def start(*headers, status=200):
        return {{"type": "http.response.start", "status": status, "headers": [TEXT, *headers]}}

    def body(data=b"", more=False):
        return {{"type": "http.response.body", "body": data, "more_body": more}}

    async def application(scope, receive, send):
        if scope["path"] == "/good":
            return await respond(send, b"good")
        for message in {messages}:
            await send(message)
        record("sent")
"""


@pytest.fixture
def sends(serve):
    """`sends("start(), body(b'x')")` starts nginx with an application that sends these messages."""

    def begin(messages: str, location: str = "", **options):
        serve(SENDS.format(messages=f"[{messages}]"), location, **options)

    return begin


@pytest.fixture
def alive(nginx, fetch):
    """`alive()`: the next request is served, by the same worker."""

    def check() -> None:
        assert fetch("GET /good HTTP/1.1\r\nHost: x\r\n\r\n").body == b"good"
        assert len(nginx.workers(leaving=True)) == 1
        assert not nginx.log_lines("exited on signal")

    return check


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ("start(), body(b'hello')", b"hello"),
        ("start(), body()", b""),
        ("start(), {'type': 'http.response.body'}", b""),
        ("start(), body(b'hel', True), body(b'lo')", b"hello"),
        ("start(), body(b'hel', True), body(b'lo', True), body()", b"hello"),
        ("start(), body(b'', True), body(b'', True), body(b'x')", b"x"),
        ("start(), body(b'y' * 3_000_000)", b"y" * 3_000_000),
        ("start(), *[body(b'z' * 1000, True)] * 1000, body()", b"z" * 1_000_000),
        ("{'type': 'http.response.start', 'status': 200}, body(b'x')", b"x"),
        ("{'type': 'http.response.start', 'status': 200, 'headers': ()}, body(b'x')", b"x"),
    ],
)
def test_whole_responses(nginx, sends, messages, expected):
    sends(messages)
    with nginx.connect() as connection:
        for _ in range(2):
            connection.get()
            response = connection.response()
            assert (response.status, response.body, response.complete) == (200, expected, True)


@pytest.mark.parametrize("headers", ["[]", "()", "iter([(b'x-a', b'1')])", "[[b'x-a', b'1']]"])
def test_headers_are_any_iterable_of_pairs(nginx, serve, fetch, headers):
    serve(
        f"""
        async def application(scope, receive, send):
            headers = {headers}
            await send({{"type": "http.response.start", "status": 201, "headers": headers}})
            await send({{"type": "http.response.body", "body": b"x"}})
        """
    )
    response = fetch()
    assert (response.status, response.body) == (201, b"x")
    assert (response.get("x-a") == "1") is ("x-a" in headers)


def test_a_response_of_one_message_has_its_length(sends, fetch):
    """The head waits for the first body message, so its length is known."""
    sends("start(), body(b'hello')")
    response = fetch()
    assert (response.framing, response.get("Content-Length")) == ("length", "5")


def test_parts_reach_the_client_as_they_are_sent(nginx, serve):
    serve(
        """
        from testkit import START, opened

        async def application(scope, receive, send):
            await send(START)
            for number in range(3):
                part = b"%d" % number
                await send({"type": "http.response.body", "body": part, "more_body": True})
                await opened(str(number))
            await send({"type": "http.response.body"})
        """
    )
    with nginx.connect() as connection:
        connection.get()
        assert connection.head().status == 200
        for number in range(3):
            assert connection.chunk() == str(number).encode()
            assert connection.quiet(0.1)
            nginx.open_gate(str(number))
        assert connection.chunk() == b""


def test_a_client_that_takes_much_leaves_the_loop_to_others(fetch, serve):
    serve(
        """
        import asyncio
        from testkit import START

        async def application(scope, receive, send):
            turns = 0

            async def other():
                nonlocal turns
                while True:
                    await asyncio.sleep(0)
                    turns += 1

            task = asyncio.create_task(other())
            await send(START)
            for number in range(200):
                await send({"type": "http.response.body", "body": b"-", "more_body": True})
            task.cancel()
            await send({"type": "http.response.body", "body": b"%d" % turns})
        """
    )
    assert int(fetch().body.strip(b"-")) >= 200 // 50


def test_the_order_of_headers_and_repeated_ones(sends, fetch):
    sends(
        "start((b'set-cookie', b'a=1'), (b'x-one', b'1'), (b'set-cookie', b'b=2'),"
        " (b'x-two', b'2'), (b'x-one', b'3')), body()"
    )
    response = fetch()
    own = [(name, value) for name, value in response.headers if name[:2].lower() in ("x-", "se")]
    assert [field for field in own if field[0].lower() != "server"] == [
        ("set-cookie", "a=1"),
        ("x-one", "1"),
        ("set-cookie", "b=2"),
        ("x-two", "2"),
        ("x-one", "3"),
    ]


def test_bytes_of_a_value_are_sent_as_they_are(nginx, sends):
    sends("start((b'x-latin', b'caf\\xe9')), body()")
    assert b"x-latin: caf\xe9\r\n" in nginx.raw(
        b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    )


@pytest.mark.parametrize("status", [200, 201, 299, 404, 418, 503, 599])
def test_statuses(sends, fetch, status):
    sends(f"start(status={status}), body(b'own')")
    response = fetch()
    assert (response.status, response.body) == (status, b"own")


def test_a_status_of_http_s_enum(serve, fetch):
    """`http.HTTPStatus` is an int, and what frameworks pass on."""
    serve(
        """
        from http import HTTPStatus
        from testkit import respond

        async def application(scope, receive, send):
            await respond(send, b"tea", status=HTTPStatus.IM_A_TEAPOT)
        """
    )
    assert fetch().status == 418


# Framing


@pytest.mark.parametrize("status", [200, 404])
def test_head(nginx, sends, status):
    sends(f"start((b'content-length', b'5'), status={status}), body(b'hello')")
    with nginx.connect() as connection:
        for _ in range(2):
            connection.send("HEAD / HTTP/1.1\r\nHost: x\r\n\r\n")
            response = connection.response(head_only=True)
            assert (response.status, response.get("Content-Length")) == (status, "5")
            assert connection.quiet(0.1)


def test_head_of_a_stream_ends(nginx, sends):
    sends("start(), *[body(b'x' * 1000, True)] * 5000, body()")
    with nginx.connect() as connection:
        connection.send("HEAD / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert connection.response(head_only=True).status == 200
        assert connection.quiet(0.1)
    nginx.wait_recorded("sent")


@pytest.mark.parametrize("status", [204, 304])
@pytest.mark.parametrize("messages", ["body()", "body(b'never', True), body(b'seen')"])
def test_statuses_without_a_body(nginx, sends, status, messages):
    sends(f"start(status={status}), {messages}")
    with nginx.connect() as connection:
        for _ in range(2):
            connection.get()
            response = connection.response()
            assert response.status == status
            assert response.get("Transfer-Encoding") is None
            assert connection.quiet(0.1)


@pytest.mark.parametrize("tail", ["body(b'12345')", "body(b'12', True), body(b'345')", "body()"])
def test_fewer_bytes_than_content_length_are_never_whole(nginx, sends, tail, alive):
    sends(f"start((b'content-length', b'1234')), {tail}")
    raw = nginx.raw(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    head, _, body = raw.partition(b"\r\n\r\n")
    assert b" 500 " in head.split(b"\r\n")[0] or len(body) < 1234
    line = nginx.wait_log("1234")
    assert "[error]" in line
    assert 'request: "GET / ' in line
    alive()


@pytest.mark.parametrize(
    "tail",
    ["body(b'123456')", "body(b'12', True), body(b'3456')", "body(b'1234', True), body(b'5')"],
)
def test_more_bytes_than_content_length_are_an_error(nginx, sends, tail, alive):
    sends(f"start((b'content-length', b'4')), {tail}")
    raw = nginx.raw(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    head, _, body = raw.partition(b"\r\n\r\n")
    # A 500, or the four bytes and not one more.
    assert b" 500 " in head.split(b"\r\n")[0] or b"1234".startswith(body)
    assert "[error]" in nginx.wait_log("ontent-")
    alive()


def test_content_length_is_kept(sends, fetch):
    sends("start((b'content-length', b'10')), body(b'12345', True), body(b'67890')")
    response = fetch()
    assert (response.framing, response.body) == ("length", b"1234567890")


@pytest.mark.parametrize("length", ["b'5'", "b''"])
def test_transfer_encoding_is_nginx_s(nginx, sends, length):
    """The specification: a server must ignore the application's."""
    more = f", (b'content-length', {length})" if length != "b''" else ""
    sends(f"start((b'transfer-encoding', b'chunked'){more}), body(b'he', True), body(b'llo')")
    with nginx.connect() as connection:
        for _ in range(2):
            connection.get()
            response = connection.response()
            assert (response.body, response.complete) == (b"hello", True)
            assert len(response.all("Transfer-Encoding")) == (response.framing == "chunked")


def test_hop_by_hop_headers_are_dropped(sends, fetch):
    sends(
        "start((b'connection', b'close'), (b'keep-alive', b'timeout=5'), (b'upgrade', b'h2c'),"
        " (b'proxy-connection', b'close'), (b'te', b'trailers'), (b'x-own', b'1')), body(b'x')"
    )
    response = fetch()
    assert response.get("X-Own") == "1"
    for name in ("Keep-Alive", "Upgrade", "Proxy-Connection", "TE"):
        assert response.get(name) is None
    assert response.get("Connection") in (None, "keep-alive")


def test_http_1_0_ends_with_the_connection(nginx, sends):
    sends("start(), body(b'hel', True), body(b'lo')")
    raw = nginx.raw(b"GET / HTTP/1.0\r\n\r\n")
    assert raw.endswith(b"\r\n\r\nhello")
    assert b"chunked" not in raw


# Clients that are slow, and those that leave


def test_send_waits_while_the_client_does_not_read(nginx, serve):
    serve(
        """
        from testkit import START, record

        async def application(scope, receive, send):
            await send(START)
            for number in range(640):
                await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
                record("sent")
            await send({"type": "http.response.body"})
            record("done")
        """
    )
    with nginx.connect(receive=65536) as connection:
        connection.get()
        nginx.wait_recorded("sent")
        # What the buffers and the sockets take: a tenth of it.
        assert wait_still(lambda: len(nginx.recorded("sent"))) < 160
        assert nginx.recorded("done") == []
        assert connection.head().status == 200
        assert sum(map(len, connection.chunks())) == 640 * 65536
    nginx.wait_recorded("done")


def test_other_requests_are_served_while_send_waits(nginx, serve):
    serve(
        """
        from testkit import START, respond

        async def application(scope, receive, send):
            if scope["path"] == "/":
                return await respond(send, b"quick")
            await send(START)
            for _ in range(640):
                await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
            await send({"type": "http.response.body"})
        """
    )
    slow = [nginx.connect(receive=65536) for _ in range(8)]
    for connection in slow:
        connection.get("/slow")
    client = nginx.client(timeout=15)
    for _ in range(50):
        assert client.get("/").text == "quick"
    for connection in slow:
        assert connection.head().status == 200
        assert sum(map(len, connection.chunks())) == 640 * 65536


STREAMS = """
    import asyncio
    from testkit import START, record, respond

    async def application(scope, receive, send):
        if scope["path"] == "/good":
            return await respond(send, b"good")
        await send(START)
        try:
            while True:
                await send({"type": "http.response.body", "body": b"x" * 1000, "more_body": True})
                await asyncio.sleep(0.001)
        except BaseException as error:
            record("raised", [kind.__name__ for kind in type(error).__mro__])
            record("again", await repeated(send))
            raise

    async def repeated(send):
        try:
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
        except OSError as error:
            return str(error)
"""


@pytest.mark.parametrize("how", ["close", "reset"])
def test_send_raises_an_oserror_once_the_client_has_gone(nginx, serve, how, alive):
    """It is not logged as an error, though the application lets it through."""
    serve(STREAMS)
    connection = nginx.connect()
    connection.get()
    assert connection.until(b"x" * 1000) is not None
    getattr(connection, how)()
    (raised,) = nginx.wait_recorded("raised")
    assert "OSError" in raised
    (again,) = nginx.wait_recorded("again")
    assert again not in ("", "None")
    alive()
    assert not nginx.log_lines("[error]")


def test_send_that_waits_for_a_client_that_leaves_raises(nginx, serve, alive):
    serve(
        """
        from testkit import START, record, respond

        async def application(scope, receive, send):
            if scope["path"] == "/good":
                return await respond(send, b"good")
            await send(START)
            try:
                while True:
                    await send(
                        {"type": "http.response.body", "body": b"x" * 65536, "more_body": True}
                    )
                    record("sent")
            except OSError:
                record("raised")
        """
    )
    connection = nginx.connect(receive=65536)
    connection.get()
    nginx.wait_recorded("sent")
    wait_still(lambda: len(nginx.recorded("sent")))
    assert nginx.recorded("raised") == []
    connection.reset()
    nginx.wait_recorded("raised")
    alive()
    assert not nginx.log_lines("[error]")


def test_a_stream_of_http_2_that_is_reset(nginx, serve):
    serve(STREAMS, http2=True)
    with Http2(nginx.port) as connection:
        for count in range(1, 4):
            stream = connection.request("/")
            connection.until(lambda stream=stream: connection.streams[stream].body)
            connection.reset(stream)
            assert "OSError" in nginx.wait_recorded("raised", count)[-1]
            assert connection.response(connection.request("/good")).body == b"good"
    assert not nginx.log_lines("[error]")


def test_streams_of_http_2_side_by_side(nginx, sends):
    sends("start(), *[body(b'z' * 10_000, True)] * 50, body(b'end')", http2=True)
    with Http2(nginx.port) as connection:
        streams = [connection.request("/") for _ in range(20)]
        for stream in streams:
            assert connection.response(stream).body == b"z" * 500_000 + b"end"


# Exceptions, and responses that do not come to their end


@pytest.mark.parametrize(
    "statement",
    [
        "raise ValueError('of the app')",
        "raise SystemExit('of the app')",
        "raise KeyboardInterrupt('of the app')",
        "raise GeneratorExit('of the app')",
        "raise asyncio.CancelledError('of the app')",
        "raise BaseExceptionGroup('of the app', [ValueError()])"
        " if sys.version_info >= (3, 11) else ValueError('of the app')",
        "raise Own('of the app')",
        "await asyncio.gather(fails())",
        "await send(START); raise ValueError('of the app')",
    ],
)
def test_an_exception_before_the_body_is_a_500(nginx, serve, fetch, alive, statement):
    serve(
        f"""
        import asyncio
        import sys
        from testkit import START, respond

        class Own(BaseException):
            pass

        async def fails():
            raise ValueError("of the app")

        async def application(scope, receive, send):
            if scope["path"] == "/good":
                return await respond(send, b"good")
            {statement}
        """
    )
    for number in range(1, 4):
        assert fetch("GET /bad HTTP/1.1\r\nHost: x\r\n\r\n").status == 500
        wait_for(lambda number=number: len(nginx.log_lines("of the app")) >= number, what="a line")
    line = nginx.log_lines("of the app")[-1]
    assert "[error]" in line
    assert 'request: "GET /bad ' in line
    assert "app.py" in nginx.wait_log("in application")
    alive()


def test_an_exception_in_the_body_cuts_it(nginx, serve, alive):
    serve(
        """
        from testkit import START, respond

        async def application(scope, receive, send):
            if scope["path"] == "/good":
                return await respond(send, b"good")
            await send(START)
            await send({"type": "http.response.body", "body": b"begun", "more_body": True})
            raise ValueError("in the middle")
        """
    )
    with nginx.connect() as connection:
        connection.get()
        response = connection.response()
        assert (response.status, response.body, response.complete) == (200, b"begun", False)
        assert connection.rest() == b""
    assert "[error]" in nginx.wait_log("ValueError: in the middle")
    alive()


def test_an_exception_after_the_response_is_logged(nginx, serve, alive):
    serve(
        """
        from testkit import respond

        async def application(scope, receive, send):
            await respond(send, b"good")
            raise ValueError("afterwards")
        """
    )
    with nginx.connect() as connection:
        for _ in range(2):
            connection.get()
            response = connection.response()
            assert (response.body, response.complete) == (b"good", True)
    line = nginx.wait_log("ValueError: afterwards")
    assert "[error]" in line
    assert 'request: "GET / ' in line
    alive()


@pytest.mark.parametrize(
    "messages", ["", "start()", "start((b'content-length', b'0'))", "start(status=204)"]
)
def test_an_application_that_returns_without_a_response_is_a_500(nginx, sends, alive, messages):
    sends(messages)
    raw = nginx.raw(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert raw.startswith(b"HTTP/1.1 500 ")
    line = nginx.wait_log("[error]")
    assert "returned" in line
    assert 'request: "GET / ' in line
    alive()


def test_an_application_that_returns_in_the_middle_is_cut(nginx, sends, alive):
    sends("start(), body(b'begun', True)")
    with nginx.connect() as connection:
        connection.get()
        response = connection.response()
        assert (response.body, response.complete) == (b"begun", False)
    line = nginx.wait_log("[error]")
    assert "returned" in line
    assert "more_body" in line
    alive()


@pytest.mark.parametrize(
    "source",
    [
        "def application(scope, receive, send): return None",
        "def application(scope, receive, send): return [b'of wsgi']",
    ],
)
def test_a_callable_that_returns_no_awaitable_is_a_500(nginx, serve, fetch, source):
    serve(source)
    assert fetch().status == 500
    assert nginx.wait_log("[error]")


@pytest.mark.parametrize(
    "source",
    [
        """
        from testkit import respond

        class Application:
            async def __call__(self, scope, receive, send):
                await respond(send, b"good")

        application = Application()
        """,
        """
        import functools
        from testkit import respond

        async def whole(word, scope, receive, send):
            await respond(send, word)

        application = functools.partial(whole, b"good")
        """,
        """
        from testkit import respond

        def application(scope, receive, send):
            return respond(send, b"good")
        """,
        """
        from testkit import respond

        class Awaitable:
            def __init__(self, scope, receive, send):
                self.send = send

            def __await__(self):
                return respond(self.send, b"good").__await__()

        def application(scope, receive, send):
            return Awaitable(scope, receive, send)
        """,
    ],
    ids=["object", "partial", "returns-a-coroutine", "returns-an-awaitable"],
)
def test_kinds_of_callables(serve, fetch, source):
    serve(source)
    assert fetch().body == b"good"


# What goes on after the response


def test_an_application_goes_on_after_the_response(nginx, serve):
    serve(
        """
        from testkit import opened, record, respond

        async def application(scope, receive, send):
            await respond(send, b"whole")
            record("responded")
            await opened("later")
            record("worked", scope["path"])
        """
    )
    with nginx.connect() as connection:
        for number in range(3):
            connection.get(f"/{number}")
            assert connection.response().body == b"whole"
    nginx.wait_recorded("responded", 3)
    assert nginx.recorded("worked") == []
    nginx.open_gate("later")
    assert sorted(nginx.wait_recorded("worked", 3)) == ["/0", "/1", "/2"]


def test_background_work_goes_on_though_the_client_leaves(nginx, serve):
    serve(
        """
        from testkit import opened, record, respond

        async def application(scope, receive, send):
            await respond(send, b"whole")
            await opened("later")
            record("worked")
        """,
        "asgi_client_abort cancel;",
    )
    with nginx.connect() as connection:
        connection.get()
        assert connection.response().body == b"whole"
        connection.reset()
    wait_still(lambda: len(nginx.recorded("worked")), 0.3)
    nginx.open_gate("later")
    nginx.wait_recorded("worked")


def test_messages_from_other_tasks_and_threads(serve, fetch):
    """Only their order counts, not who sends them."""
    serve(
        """
        import asyncio
        import threading
        from testkit import START

        async def application(scope, receive, send):
            loop = asyncio.get_running_loop()

            async def part(data):
                await send({"type": "http.response.body", "body": data, "more_body": True})

            await asyncio.create_task(send(START))
            await asyncio.gather(*(part(b"task ") for _ in range(3)))
            await asyncio.to_thread(
                lambda: asyncio.run_coroutine_threadsafe(part(b"thread "), loop).result()
            )
            await asyncio.ensure_future(send({"type": "http.response.body", "body": b"end"}))
        """
    )
    assert fetch().body == b"task task task thread end"


def test_send_wants_one_message(serve, fetch):
    serve(
        """
        from testkit import START, respond

        async def application(scope, receive, send):
            errors = []
            for arguments in ((), (START, START)):
                try:
                    await send(*arguments)
                except TypeError as error:
                    errors.append(str(error))
            await respond(send, repr(errors).encode())
        """
    )
    errors = eval(fetch().body)
    assert len(errors) == 2
    assert all("argument" in error for error in errors)
