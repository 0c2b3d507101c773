"""python_drain_timeout: how long a worker that exits waits for running requests."""

from __future__ import annotations

import pytest
from rawhttp import wait_for

STUCK = """
    import ctypes
    import time

    def application(environ, start_response):
        open({folder!r} + "/entered", "a").write("x")
        how = environ["QUERY_STRING"]
        if how == "sleep":
            time.sleep(1000)
        elif how == "loop":
            while True:
                pass
        elif how == "c":
            # Keeps the GIL and never returns to the interpreter.
            ctypes.PyDLL(None).sleep(1000)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"ok"]
"""


@pytest.fixture
def stuck(nginx):
    """The path of an application that never returns, in one of three ways."""
    return nginx.app("stuck", STUCK.format(folder=str(nginx.data)))


@pytest.fixture
def begin(nginx):
    """`begin("loop")` sends a request that never ends, and returns once it runs."""

    def ask(how: str):
        connection = nginx.connect()
        connection.get(f"/?{how}")
        wait_for((nginx.data / "entered").exists, what="the request in the application")
        return connection

    return ask


@pytest.mark.parametrize("how", ["sleep", "loop", "c"])
def test_a_stuck_request_delays_quit_by_that_long(nginx, stuck, begin, how):
    nginx.start(f"wsgi_app {stuck};", http="python_drain_timeout 1s;")
    connection = begin(how)
    nginx.quit(timeout=25)
    answer = connection.rest()
    assert answer == b"" or answer.startswith(b"HTTP/1.1 503 ")


@pytest.mark.parametrize("how", ["sleep", "loop", "c"])
def test_a_stuck_request_does_not_keep_an_old_worker_after_a_reload(nginx, stuck, begin, how):
    nginx.start(f"wsgi_app {stuck};", http="python_drain_timeout 1s;")
    old = nginx.workers()
    connection = begin(how)
    nginx.reload()
    assert nginx.client().get("/").text == "ok"
    wait_for(
        lambda: not set(old) & set(nginx.workers(leaving=True)), 25, "the end of the old worker"
    )
    answer = connection.rest()
    assert answer == b"" or answer.startswith(b"HTTP/1.1 503 ")


@pytest.mark.parametrize("how", ["sleep", "loop", "c"])
def test_a_stuck_request_does_not_delay_stop(nginx, stuck, begin, how):
    nginx.start(f"wsgi_app {stuck};", http="python_drain_timeout 1s;")
    connection = begin(how)
    nginx.stop(timeout=25)
    assert not connection.rest().startswith(b"HTTP/1.1 200")


def test_what_ends_in_time_is_answered(nginx, gate, background):
    held = gate()
    nginx.start(f"wsgi_app {held.app};", http="python_drain_timeout 1h;")
    old = nginx.workers()
    answer = background("/?hold")
    held.wait_entered(1)
    nginx.reload()
    assert old[0] in nginx.workers(leaving=True)
    assert not answer.done()
    held.open()
    assert answer.result().status_code == 200
    assert answer.result().text.split()[0] == str(old[0])
    wait_for(lambda: old[0] not in nginx.workers(leaving=True), what="the end of the old worker")


def test_default_is_worker_shutdown_timeout(nginx, stuck, begin):
    nginx.start(f"wsgi_app {stuck};", main="worker_shutdown_timeout 1s;")
    begin("sleep")
    nginx.quit(timeout=20)


def test_it_wins_over_worker_shutdown_timeout(nginx, stuck, begin):
    nginx.start(
        f"wsgi_app {stuck};",
        main="worker_shutdown_timeout 1h;",
        http="python_drain_timeout 1s;",
    )
    begin("sleep")
    nginx.quit(timeout=25)


def test_an_idle_worker_leaves_at_once(nginx, stuck):
    nginx.start(f"wsgi_app {stuck};", http="python_drain_timeout 1h;")
    assert nginx.client().get("/").text == "ok"
    nginx.quit(timeout=30)
