"""asgi_client_abort: what becomes of an application whose client has gone."""

from __future__ import annotations

import pytest
from rawhttp import wait_still
from rawhttp2 import Http2

APPLICATION = """
    import asyncio
    from testkit import DATA, START, opened, record, respond

    async def application(scope, receive, send):
        path = scope["path"]
        if path == "/good":
            return await respond(send, b"good")
        record("entered")
        try:
            if path == "/receive":
                await receive()
                record("received", (await receive())["type"])
            if path == "/sleep":
                await asyncio.sleep(600)
            if path == "/works":
                await opened("go")
                await respond(send, b"whole")
                record("sent")
            if path == "/stream":
                await send(START)
                for _ in range(2000):
                    await send(
                        {"type": "http.response.body", "body": b"x" * 10_000, "more_body": True}
                    )
                await send({"type": "http.response.body"})
                record("sent")
        except BaseException as error:
            record("raised", type(error).__name__)
            raise
        finally:
            record("ended")
"""


@pytest.fixture
def abort(nginx, serve):
    def begin(mode: str, **options):
        serve(APPLICATION, f"asgi_client_abort {mode};", **options)

    return begin


def leave(nginx, path: str) -> None:
    """A client that leaves while its application runs."""
    connection = nginx.connect()
    connection.get(path)
    nginx.wait_recorded("entered")
    if path == "/stream":
        connection.head()
    connection.reset()


def test_notify_is_the_default(nginx, serve):
    serve(APPLICATION)
    leave(nginx, "/receive")
    assert nginx.wait_recorded("received") == ["http.disconnect"]
    nginx.wait_recorded("ended")
    assert nginx.recorded("raised") == []


def test_notify_lets_the_application_work(nginx, abort):
    abort("notify")
    leave(nginx, "/works")
    assert wait_still(lambda: len(nginx.recorded("ended")), 0.5) == 0
    nginx.open_gate("go")
    nginx.wait_recorded("ended")
    # Its response is refused, as a closed connection refuses it.
    assert "OSError" in nginx.recorded("raised")[0] or "Gone" in nginx.recorded("raised")[0]
    assert not nginx.log_lines("[error]")


def test_notify_stops_a_stream(nginx, abort):
    abort("notify", listen="sndbuf=8k")
    leave(nginx, "/stream")
    nginx.wait_recorded("ended")
    assert nginx.recorded("sent") == []
    assert not nginx.log_lines("[error]")


@pytest.mark.parametrize("path", ["/sleep", "/works", "/stream", "/receive"])
def test_cancel_cancels_the_task(nginx, abort, path):
    abort("cancel", listen="sndbuf=8k")
    leave(nginx, path)
    nginx.wait_recorded("ended")
    if path in ("/sleep", "/works"):
        assert nginx.recorded("raised") == ["CancelledError"]
    assert nginx.recorded("sent") == []
    assert nginx.client().get("/good").text == "good"
    assert not nginx.log_lines("[error]")
    assert not nginx.log_lines("CancelledError")


def test_cancel_of_a_stream_of_http_2(nginx, abort):
    abort("cancel", http2=True)
    with Http2(nginx.port) as connection:
        for count in range(1, 4):
            stream = connection.request("/sleep")
            nginx.wait_recorded("entered", count)
            connection.reset(stream)
            assert nginx.wait_recorded("raised", count) == ["CancelledError"] * count
            assert connection.response(connection.request("/good")).body == b"good"


def test_cancel_leaves_others_alone(nginx, abort, background):
    abort("cancel")
    other = background("/works")
    nginx.wait_recorded("entered")
    for _ in range(20):
        connection = nginx.connect()
        connection.get("/sleep")
        connection.close()
    nginx.open_gate("go")
    assert other.result().text == "whole"


def test_ignore_lets_the_application_run_to_its_end(nginx, abort):
    abort("ignore", listen="sndbuf=8k")
    leave(nginx, "/stream")
    nginx.wait_recorded("sent")
    assert nginx.recorded("raised") == []


def test_ignore_tells_nobody(nginx, abort):
    abort("ignore")
    leave(nginx, "/works")
    nginx.open_gate("go")
    nginx.wait_recorded("sent")
    assert nginx.recorded("raised") == []
    assert not nginx.log_lines("[error]")


def test_ignore_and_an_application_that_waits_for_the_end(nginx, abort):
    """It must not wait for ever: there is nothing that could still come."""
    abort("ignore", http="python_drain_timeout 1s;")
    leave(nginx, "/receive")
    assert wait_still(lambda: len(nginx.recorded("received")), 0.5) == 0
    nginx.quit(timeout=20)
