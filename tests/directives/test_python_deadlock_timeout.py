"""python_deadlock_timeout: a worker in which nobody gets the GIL is replaced."""

from __future__ import annotations

import os
import signal
import time

import pytest
from rawhttp import wait_for

in_a_call = pytest.mark.threads("inline the event loop serves nobody while it is in a call")

APP = """
    import ctypes
    import os

    from testkit import record

    def holds_the_gil(seconds):
        # PyDLL keeps the GIL while it is in C.
        ctypes.PyDLL(None).sleep(seconds)

    async def answer(request):
        if request.query:
            record("holding")
            holds_the_gil(int(request.query))
        await request.respond(str(os.getpid()).encode())
"""

CRIT = r"\[crit\].*could take the GIL"
END = "python_drain_timeout 1s; python_finalize on timeout=1s;"


@pytest.fixture
def app(protocol):
    return protocol.app("app", APP)


@in_a_call
def test_the_worker_is_replaced(nginx, protocol, app):
    nginx.allow_log(CRIT)
    nginx.page("files/a.txt", "static")
    nginx.start(
        f"{protocol}_app {app};",
        http=f"python_deadlock_timeout 1s; {END}",
        server="location /files/ { }",
    )
    before = nginx.client().get("/").text
    with nginx.connect() as connection:
        connection.get("/?1000")
        nginx.wait_recorded("holding")
        assert nginx.client().get("/files/a.txt").text == "static"
        line = nginx.wait_log("could take the GIL for 1 s (python_deadlock_timeout)")
        assert "[crit]" in line
        # faulthandler's stack.
        nginx.wait_log("holds_the_gil")
        nginx.wait_log("this worker is replaced: its applications do not run")
        assert connection.response().status == 503
    wait_for(lambda: int(before) not in nginx.workers(leaving=True), what="the end of the worker")
    assert nginx.client().get("/").text != before
    assert len(nginx.log_lines("could take the GIL")) == 1
    nginx.wait_log(f"worker process {before} exited with code 0")


def test_a_shorter_hold_changes_nothing(nginx, protocol, app):
    nginx.start(
        f"{protocol}_app {app};",
        http="python_deadlock_timeout 60s; asgi_stall_warning off;",
    )
    client = nginx.client()
    before = client.get("/").text
    assert client.get("/?2").text == before
    assert not nginx.log_lines("GIL")


def test_a_stopped_process_is_no_deadlock(nginx, protocol, app):
    nginx.start(
        f"{protocol}_app {app};", http="python_deadlock_timeout 1s; asgi_stall_warning off;"
    )
    client = nginx.client()
    before = client.get("/").text
    os.kill(int(before), signal.SIGSTOP)
    time.sleep(2)
    os.kill(int(before), signal.SIGCONT)
    assert client.get("/").text == before
    assert not nginx.log_lines("GIL")


@pytest.mark.parametrize("value", ["off", "0"])
def test_off(nginx, protocol, app, value):
    nginx.start(
        f"{protocol}_app {app};",
        http=f"python_deadlock_timeout {value}; asgi_stall_warning off;",
    )
    client = nginx.client()
    before = client.get("/").text
    assert client.get("/?3").text == before
    assert not nginx.log_lines("GIL")


def test_the_event_loop_itself_waits(nginx):
    """Nobody could tell it: the watchdog ends the process."""
    nginx.allow_log(CRIT)
    app = nginx.app(
        "inline",
        """
        import ctypes
        import os

        def holds_the_gil(seconds):
            ctypes.PyDLL(None).sleep(seconds)

        def application(environ, start_response):
            if environ["QUERY_STRING"]:
                holds_the_gil(int(environ["QUERY_STRING"]))
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [str(os.getpid()).encode()]
        """,
    )
    nginx.start(
        f"wsgi_app {app}; wsgi_thread_pool inline;", http=f"python_deadlock_timeout 1s; {END}"
    )
    before = nginx.client().get("/").text
    assert nginx.raw(b"GET /?1000 HTTP/1.0\r\n\r\n") == b""
    nginx.wait_log("could take the GIL for 1 s")
    nginx.wait_log("holds_the_gil")
    nginx.wait_log("event loop itself waits for the GIL")
    wait_for(lambda: nginx.workers() and int(before) not in nginx.workers(), what="another worker")
    assert nginx.client().get("/").text != before
