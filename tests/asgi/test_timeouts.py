"""asgi_timeout: how long the client waits for the next part of a response."""

from __future__ import annotations

import time

import pytest
from rawhttp import wait_for
from rawhttp2 import Http2

# Generous: on time means that the event loop has answered.
LATE = 15.0

WAITS = """
    import asyncio
    import time
    from testkit import gate, opened, record, respond

    BODY = "http.response.body"

    async def waits(name):
        await opened(name)

    async def begins(send, body=b""):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": BODY, "body": body, "more_body": True})

    async def application(scope, receive, send):
        path = scope["path"]
        try:
            if path == "/wait":
                record("entered")
                await waits("go")
            if path == "/block":
                record("entered")
                gate("go")
            if path == "/middle":
                await begins(send, b"begun")
                await waits("go")
            if path == "/drip":
                await begins(send)
                for _ in range(6):
                    await asyncio.sleep(0.6)
                    await send({"type": BODY, "body": b"drip", "more_body": True})
                return await send({"type": BODY})
            if path == "/after":
                await respond(send, b"whole")
                await waits("go")
                return record("finished")
            await respond(send, b"served")
        except BaseException as error:
            record("raised", type(error).__name__)
            raise
"""


@pytest.fixture
def start(nginx, serve):
    def begin(timeout: str = "1s", **options):
        serve(WAITS, f"asgi_timeout {timeout};", **options)
        secure = {"tls": "ssl" in options.get("listen", ""), "http2": options.get("http2", False)}
        client = nginx.client(timeout=LATE, **secure)
        # The application is imported, and its loop runs.
        assert client.get("/").text == "served"
        return client

    return begin


def test_a_task_that_waits_too_long_is_a_504_and_cancelled(nginx, start):
    """Its stack is in the log, through what it awaits."""
    start()
    begun = time.monotonic()
    with nginx.connect(timeout=LATE) as connection:
        connection.get("/wait")
        response = connection.response()
        took = time.monotonic() - begun
        assert response.status == 504
        assert 0.9 < took < 10
        assert nginx.wait_recorded("raised") == ["CancelledError"]
        # The connection serves the next request.
        connection.get("/")
        assert connection.response().body == b"served"
    line = nginx.wait_log("asgi_timeout")
    assert "[error]" in line
    assert "app.py" in line
    assert 'request: "GET /wait ' in line
    for function in ("application", "waits", "opened"):
        assert "line" in nginx.wait_log(f"in {function}")
    # A task that is cancelled for its deadline is no further error.
    assert not nginx.log_lines("CancelledError")


def test_a_loop_that_is_blocked_answers_504_on_time(nginx, start):
    """nginx's thread does that; the stack is that of the loop's thread."""
    nginx.page("static.txt", "static")
    queued = f"asgi_app {nginx.apps}/app.py; asgi_queue_timeout 2s; asgi_lifespan off;"
    start(
        server=f"location /static.txt {{ root {nginx.html}; }} location /queued {{ {queued} }}",
    )
    with nginx.connect(timeout=LATE) as connection, nginx.connect(timeout=LATE) as second:
        begun = time.monotonic()
        connection.get("/block")
        nginx.wait_recorded("entered")
        second.get("/queued")
        assert connection.response().status == 504
        # One that has not begun.
        assert second.response().status == 503
        assert time.monotonic() - begun < 10
        assert nginx.client().get("/static.txt").text == "static"
        nginx.wait_log("in application")
        nginx.open_gate("go")
    assert nginx.client(timeout=LATE).get("/").text == "served"


def test_in_the_middle_the_connection_is_cut(nginx, start):
    start()
    with nginx.connect(timeout=LATE) as connection:
        connection.get("/middle")
        response = connection.response()
        assert (response.status, response.body, response.complete) == (200, b"begun", False)
    assert nginx.wait_recorded("raised") == ["CancelledError"]


def test_over_http_2_the_stream_is_reset_alone(nginx, start):
    start(http2=True)
    with Http2(nginx.port) as connection:
        waits, middle = connection.request("/wait"), connection.request("/middle")
        assert connection.response(waits).status == 504
        assert connection.response(middle).reset
        assert connection.response(connection.request("/")).body == b"served"


def test_a_stream_with_parts_lives_longer_than_the_timeout(nginx, start):
    """The clock starts again with each part: 3.6 seconds in parts of 0.6."""
    start()
    begun = time.monotonic()
    with nginx.connect(timeout=60) as connection:
        connection.get("/drip")
        response = connection.response()
    assert (response.body, response.complete) == (b"drip" * 6, True)
    assert time.monotonic() - begun > 3
    assert not nginx.log_lines("asgi_timeout")


def test_after_the_response_there_is_no_deadline(nginx, start):
    client = start()
    assert client.get("/after").text == "whole"
    time.sleep(2)
    assert nginx.recorded("finished") == []
    nginx.open_gate("go")
    nginx.wait_recorded("finished")
    assert nginx.recorded("raised") == []
    assert not nginx.log_lines("asgi_timeout")


def test_0_is_no_deadline(nginx, serve):
    serve(
        """
        import asyncio
        from testkit import respond

        async def application(scope, receive, send):
            await asyncio.sleep(2)
            await respond(send, b"late")
        """,
        "asgi_timeout 0;",
    )
    assert nginx.client().get("/").text == "late"


def test_the_clock_stands_still_while_the_client_sends(nginx, serve):
    serve(
        """
        from testkit import read_body, respond

        async def application(scope, receive, send):
            await respond(send, await read_body(receive))
        """,
        "asgi_timeout 1s;",
    )
    with nginx.connect() as connection:
        connection.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\n")
        for letter in "abcdef":
            time.sleep(0.5)
            connection.send(letter)
        response = connection.response()
        assert (response.status, response.body) == (200, b"abcdef")


def test_the_clock_stands_still_while_the_client_does_not_read(nginx, serve):
    serve(
        """
        async def application(scope, receive, send):
            await send({"type": "http.response.start", "status": 200, "headers": []})
            for _ in range(320):
                message = {"type": "http.response.body", "body": b"x" * 65536, "more_body": True}
                await send(message)
            await send({"type": "http.response.body"})
        """,
        "asgi_timeout 1s;",
    )
    with nginx.connect(receive=65536) as connection:
        connection.get()
        assert connection.head().status == 200
        time.sleep(3)
        assert sum(map(len, connection.chunks())) == 65536 * 320


def test_a_task_that_ignores_its_cancellation(nginx, serve):
    """What it sends is refused; the client has had its 504."""
    serve(
        """
        import asyncio
        from testkit import opened, record, respond

        async def application(scope, receive, send):
            if scope["path"] == "/good":
                return await respond(send, b"good")
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                record("cancelled")
            try:
                await respond(send, b"too late")
            except OSError as error:
                record("raised", error)
            record("received", (await receive())["type"])
        """,
        "asgi_timeout 1s;",
    )
    with nginx.connect(timeout=LATE) as connection:
        connection.get("/good")
        assert connection.response().body == b"good"
        connection.get("/stubborn")
        assert connection.response().status == 504
        nginx.wait_recorded("raised")
        nginx.wait_recorded("received")
        connection.get("/good")
        assert connection.response().body == b"good"
    assert nginx.recorded("cancelled") == ["-"]
    assert "504" in nginx.recorded("raised")[0]


def test_the_deadline_of_a_task_whose_client_has_left(nginx, start):
    """The application has been told, and does not care."""
    start()
    with nginx.connect() as connection:
        connection.get("/wait")
        nginx.wait_recorded("entered")
    assert nginx.wait_recorded("raised") == ["CancelledError"]
    line = nginx.wait_log("after 1000 ms (asgi_timeout) for a client that has left")
    assert "[error]" in line
    assert "; its task is cancelled, its stack follows" in line
    assert 'request: "GET /wait ' in line
    nginx.wait_log("in opened")


def test_many_at_once(nginx, start):
    start()
    connections = [nginx.connect(timeout=LATE) for _ in range(50)]
    for connection in connections:
        connection.get("/wait")
    for connection in connections:
        assert connection.response().status == 504
    assert nginx.wait_recorded("raised", 50) == ["CancelledError"] * 50
    assert nginx.client().get("/").text == "served"


def test_a_deadline_in_a_subrequest(nginx):
    nginx.page("index.html", "page\n")
    path = nginx.app("app", WAITS)
    nginx.start(
        f"auth_request /wait; root {nginx.html};",
        server=f"location = /wait {{ asgi_app {path}; asgi_timeout 1s; asgi_lifespan off; }}",
    )
    assert nginx.client(timeout=LATE).get("/").status_code == 500
    wait_for(lambda: nginx.recorded("raised"), what="the cancelled task")
