"""asgi_client_abort: what becomes of a task whose client has gone."""

from __future__ import annotations

import pytest
from rawhttp import wait_for

# ?receive waits for http.disconnect, ?work for the gate "go".
SOURCE = """
    import asyncio

    from testkit import DATA, record

    async def application(scope, receive, send):
        if scope["type"] != "http":
            raise NotImplementedError(scope["type"])
        query = scope["query_string"].decode()
        record("entered", query)
        try:
            while query == "receive":
                message = await receive()
                if message["type"] != "http.request":
                    record("received", message["type"])
                    break
            while query == "work" and not (DATA / "go").exists():
                await asyncio.sleep(0.01)
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"done"})
            record("sent")
        except BaseException as error:
            names = [base.__name__ for base in type(error).__mro__]
            record("raised", "OSError" if "OSError" in names else names[0])
            raise
"""


@pytest.fixture
def app(nginx):
    return nginx.app("abort", SOURCE)


@pytest.fixture
def leave(nginx):
    """`leave("/?work")`: a client sends this request, and leaves while the application has it."""

    def begin(path: str) -> None:
        known = len(nginx.recorded("entered"))
        with nginx.connect() as connection:
            connection.get(path)
            nginx.wait_recorded("entered", known + 1)

    return begin


@pytest.mark.parametrize("setting", ["", "asgi_client_abort notify;"])
def test_notify_tells_receive_and_send(nginx, app, leave, setting):
    nginx.start(f"asgi_app {app}; {setting}")
    leave("/?receive")
    assert nginx.wait_recorded("received") == ["http.disconnect"]
    assert nginx.wait_recorded("raised") == ["OSError"]
    leave("/?work")
    left = "client prematurely closed connection"
    wait_for(lambda: len(nginx.log_lines(left)) == 2, what="two clients that have left")
    assert nginx.recorded("raised") == ["OSError"], "its task runs on"
    nginx.open_gate("go")
    assert nginx.wait_recorded("raised", 2) == ["OSError"] * 2
    assert nginx.client().get("/").text == "done"
    assert "[error]" not in nginx.error_log()


def test_cancel_ends_the_task(nginx, app, leave):
    nginx.start(f"asgi_app {app}; asgi_client_abort cancel;")
    for number in (1, 2):
        leave("/?work")
        assert nginx.wait_recorded("raised", number) == ["CancelledError"] * number
    assert nginx.client().get("/").text == "done"
    assert "[error]" not in nginx.error_log()


def test_ignore_lets_it_run_and_send(nginx, app, leave):
    nginx.start(f"asgi_app {app}; asgi_client_abort ignore;")
    leave("/?work")
    nginx.open_gate("go")
    assert nginx.wait_recorded("sent") == ["-"]
    assert nginx.recorded("raised") == []
    assert nginx.client().get("/").text == "done"


def test_inheritance(nginx, app, leave):
    nginx.start(
        f"asgi_app {app};",
        http="asgi_client_abort cancel;",
        server=f"location /ignore {{ asgi_app {app}; asgi_client_abort ignore; }}",
    )
    leave("/?work")
    assert nginx.wait_recorded("raised") == ["CancelledError"]
    leave("/ignore?work")
    nginx.open_gate("go")
    assert nginx.wait_recorded("sent") == ["-"]
