"""wsgi_kill_timeout, asgi_kill_timeout: a process ends although a request in it does not."""

from __future__ import annotations

import contextlib
import os
import re
import time

import pytest
from harness import Nginx
from process_memory import threads as count_threads
from rawhttp import wait_for

# `?deaf` runs on in Python whatever is raised in its thread; `?gil` keeps the GIL in C; `?gate=`
# waits.
APP = """
    import ctypes
    import os
    import time
    import testkit

    testkit.record("imported", str(os.getpid()))

    def deaf():
        while True:
            try:
                time.sleep(0.01)
            except BaseException:
                testkit.record("interrupted")

    def application(environ, start_response):
        what, _, value = environ["QUERY_STRING"].partition("=")
        if what:
            testkit.record("begun", environ["QUERY_STRING"])
        if what == "deaf":
            deaf()
        if what == "gil":
            # PyDLL does not release it.
            ctypes.PyDLL(None).sleep(3600)
        if what == "after":
            environ["pywsgi.request"].after_response(deaf)
        if what == "gate":
            testkit.gate(value)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [str(os.getpid()).encode()]
"""

TIMES = "wsgi_timeout 500ms; wsgi_interrupt_timeout 300ms; wsgi_kill_timeout 500ms;"


@pytest.fixture
def serve(nginx):
    def start(settings: str = "", times: str = TIMES, *, http: str = "", **options) -> Nginx:
        app, quick = nginx.app("app", APP), nginx.app("quick", APP)
        nginx.start(
            http=f"python_process shop {settings}; {http}",
            server=f"""
                location / {{ wsgi_app {app}; wsgi_process shop; {times} }}
                location /quick {{ wsgi_app {quick}; wsgi_process shop; }}
            """,
            **options,
        )
        return nginx

    return start


def is_there(pid: int) -> bool:
    return os.path.exists(f"/proc/{pid}")


@pytest.mark.parametrize("how", ["deaf", "gil"])
def test_a_process_is_killed(nginx, serve, how):
    serve()
    (pid,) = nginx.wait_processes("shop", 1)
    nginx.wait_recorded("imported", 2)
    response = nginx.client().get(f"/?{how}")
    assert response.status_code == 504
    (other,) = nginx.wait_processes("shop", 1, but=[pid])
    assert nginx.client().get("/").text == str(other)
    line = nginx.wait_log("pywsgi[421]")
    assert re.search(
        r'application ".*app.py" still runs 800 ms after its wsgi_timeout \(wsgi_kill_timeout\): '
        rf'process {pid} of python_process "shop" is killed when its other requests have ended',
        line,
    )
    assert f'request: "GET /?{how} HTTP/1.1"' in line
    assert f'process {pid} of python_process "shop" is killed now' in nginx.wait_log("pywsgi[422]")
    assert not is_there(pid)


def test_one_that_ends_by_its_interrupt_is_not(nginx, serve):
    serve(times="wsgi_timeout 300ms; wsgi_interrupt_timeout 300ms; wsgi_kill_timeout 1s;")
    (pid,) = nginx.wait_processes("shop", 1)
    assert nginx.client().get("/?gate=never").status_code == 504
    nginx.wait_log("pywsgi[409]")
    time.sleep(2.5)
    assert nginx.processes("shop") == [pid]
    assert not nginx.log_lines("pywsgi[421]")


def test_without_it_nothing_is_killed(nginx, serve):
    serve(
        times="wsgi_timeout 300ms; wsgi_interrupt_timeout 300ms;",
        http="python_drain_timeout 1s; python_finalize on timeout=1s;",
    )
    (pid,) = nginx.wait_processes("shop", 1)
    assert nginx.client().get("/?deaf").status_code == 504
    time.sleep(2)
    assert nginx.processes("shop") == [pid]


def test_its_other_requests_may_end(nginx, serve):
    serve("threads=4")
    (pid,) = nginx.wait_processes("shop", 1)
    with nginx.connect() as connection:
        connection.send(b"GET /quick?gate=open HTTP/1.1\r\nHost: x\r\n\r\n")
        nginx.wait_recorded("begun")
        assert nginx.client().get("/?deaf").status_code == 504
        nginx.wait_log("pywsgi[421]")
        wait_for(lambda: not nginx.processes("shop"), 30, "a process that leaves")
        time.sleep(1)
        assert is_there(pid)
        nginx.open_gate("open")
        assert connection.response().body == str(pid).encode()
    nginx.wait_processes("shop", 1, but=[pid])
    assert not is_there(pid)


def test_they_are_cut_after_the_drain_timeout(nginx, serve):
    serve("threads=4", http="python_drain_timeout 1s;")
    (pid,) = nginx.wait_processes("shop", 1)
    with nginx.connect() as connection:
        connection.send(b"GET /quick?gate=never HTTP/1.1\r\nHost: x\r\n\r\n")
        nginx.wait_recorded("begun")
        assert nginx.client().get("/?gil").status_code == 504
        assert connection.response().status == 502
    nginx.wait_processes("shop", 1, but=[pid])


def test_requests_meanwhile_go_to_another(nginx, serve):
    serve("processes=2", workers=2)
    nginx.wait_processes("shop", 2)
    nginx.wait_recorded("imported", 4)
    client = nginx.client()
    assert client.get("/?gil").status_code == 504
    end = time.monotonic() + 60
    while not nginx.log_lines("pywsgi[422]"):
        assert time.monotonic() < end
        assert client.get("/quick").status_code == 200
    for _ in range(20):
        assert client.get("/quick").status_code == 200


def test_never_two_at_once(nginx, serve):
    serve("processes=2", workers=2)
    first = nginx.wait_processes("shop", 2)
    nginx.wait_recorded("imported", 4)
    with contextlib.ExitStack() as stack:
        for _ in range(2):
            connection = stack.enter_context(nginx.connect())
            connection.send(b"GET /?deaf HTTP/1.1\r\nHost: x\r\n\r\n")
        nginx.wait_recorded("begun", 2)
        least = 2
        end = time.monotonic() + 60
        while len(nginx.log_lines("pywsgi[422]")) < 2:
            assert time.monotonic() < end
            least = min(least, len(nginx.processes("shop")))
        assert least >= 1
    nginx.wait_processes("shop", 2, but=first)


def test_a_client_that_has_left(nginx, serve):
    serve()
    (pid,) = nginx.wait_processes("shop", 1)
    with nginx.connect() as connection:
        connection.send(b"GET /?gil HTTP/1.1\r\nHost: x\r\n\r\n")
        nginx.wait_recorded("begun")
    nginx.wait_processes("shop", 1, but=[pid])
    nginx.wait_log("pywsgi[422]")


def test_an_asgi_task_that_is_not_cancelled(nginx):
    app = nginx.app(
        "app",
        """
        import asyncio
        import os
        import time
        import testkit

        async def app(scope, receive, send):
            if scope["type"] == "lifespan":
                raise NotImplementedError
            query = scope["query_string"].decode()
            if query == "deaf":
                while True:
                    try:
                        await asyncio.sleep(3600)
                    except asyncio.CancelledError:
                        testkit.record("cancelled")
            if query == "block":
                time.sleep(3600)
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": str(os.getpid()).encode()})
        """,
    )
    nginx.start(
        f"asgi_app {app}:app; asgi_process shop; asgi_timeout 500ms; asgi_kill_timeout 500ms;",
        http="python_process shop;",
    )
    (pid,) = nginx.wait_processes("shop", 1)
    for how in ["deaf", "block"]:
        assert nginx.client().get(f"/?{how}").status_code == 504
        (other,) = nginx.wait_processes("shop", 1, but=[pid])
        assert nginx.client().get("/").text == str(other)
        pid = other
    assert len(nginx.log_lines("pywsgi[422]")) == 2
    assert nginx.recorded("cancelled")


def test_a_lazy_process(nginx, serve):
    serve("start=lazy")
    (pid,) = nginx.wait_processes("shop", 1)
    assert nginx.client().get("/?gil").status_code == 504
    (other,) = nginx.wait_processes("shop", 1, but=[pid])
    wait_for(lambda: count_threads(other) == 1, 30, "a dormant process")
    assert nginx.client().get("/").text == str(other)
