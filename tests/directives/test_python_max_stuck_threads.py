"""python_max_stuck_threads: threads that nothing wakes are replaced; too many, and their worker."""

from __future__ import annotations

import os
import signal

import pytest
from rawhttp import wait_for

pytestmark = pytest.mark.threads("inline there is no pool")

SOURCE = """
    import ctypes
    import os
    import threading
    import time

    from testkit import DATA, gate, record

    libc = ctypes.CDLL(None)

    def stubborn():
        # An application that catches everything.
        while True:
            try:
                while not (DATA / "release").exists():
                    time.sleep(0.01)
                return
            except BaseException as error:
                record("caught", type(error).__name__)

    def in_c():
        # A call that releases the GIL, and that no exception of Python's ends: ctypes.CDLL.
        while True:
            libc.select(0, None, None, None, None)

    def application(environ, start_response):
        path = environ["PATH_INFO"]
        environ["pywsgi.request"].after_response(lambda: record("after", path))
        if path.endswith("/stubborn"):
            record("entered")
            stubborn()
            record("returned")
        if path.endswith("/c"):
            record("entered")
            in_c()
        if path.endswith("/gate"):
            record("gate")
            gate("gate-go")
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [f"{os.getpid()} {threading.get_native_id()}".encode()]
"""

DEADLINE = "wsgi_timeout 300ms; wsgi_interrupt_timeout 300ms;"
# What is stuck does not delay the end of the test.
END = "python_drain_timeout 1s; python_finalize on timeout=1s;"


@pytest.fixture
def app(nginx):
    return nginx.app("stuck", SOURCE)


def pid(answer) -> str:
    assert answer.status_code == 200
    return answer.text.split()[0]


@pytest.mark.parametrize("path", ["/stubborn", "/c"])
def test_a_stuck_thread_is_replaced_and_siblings_are_not_touched(nginx, app, background, path):
    nginx.start(
        f"wsgi_app {app}; {DEADLINE}",
        server=f"location /long {{ wsgi_app {app}; wsgi_timeout 1h; }}",
        http=f"{END} python_thread_pool default threads=2;",
    )
    client = nginx.client()
    before = pid(client.get("/"))
    for number in range(1, 3):
        assert client.get(path).status_code == 504
        nginx.wait_recorded("entered", number)
        sibling = background("/long/gate")
        nginx.wait_recorded("gate", number)
        wait_for(lambda n=number: len(nginx.log_lines("is written off")) == n, what="a write-off")
        # The sibling holds the other thread: this is served by the one in place of the stuck one.
        assert pid(client.get("/")) == before
        nginx.open_gate("gate-go")
        assert pid(sibling.result()) == before
        (nginx.data / "gate-go").unlink()
    line = nginx.log_lines("is written off")[1]
    assert "[error]" in line and str(app) in line and f'request: "GET {path} ' in line
    assert "that makes 2 in this worker (python_max_stuck_threads 2)" in line
    # Two are no more than two.
    assert not nginx.log_lines("this worker is replaced")
    assert pid(client.get("/")) == before


def test_all_threads_of_a_pool_are_stuck(nginx, app, background):
    """What waits in the queue meanwhile is served, without a thread that ends."""
    nginx.start(
        f"wsgi_app {app}; {DEADLINE}",
        http=f"{END} python_thread_pool default threads=2; python_max_stuck_threads 9;",
    )
    stuck = [background("/stubborn"), background("/c")]
    nginx.wait_recorded("entered", 2)
    waiting = [background("/") for _ in range(6)]
    assert [answer.result().status_code for answer in stuck] == [504, 504]
    assert len({pid(answer.result()) for answer in waiting}) == 1
    nginx.wait_log("is written off")


def test_a_thread_that_comes_back_is_not_used_again(nginx, app):
    nginx.start(f"wsgi_app {app}; {DEADLINE}", http=f"{END} python_thread_pool default threads=1;")
    client = nginx.client()
    old = client.get("/").text
    assert client.get("/stubborn").status_code == 504
    nginx.wait_log("is written off")
    assert nginx.recorded("caught") == ["RequestTimeout"]
    new = client.get("/").text
    assert new.split()[0] == old.split()[0] and new != old
    nginx.open_gate("release")
    nginx.wait_recorded("returned")
    assert "[notice]" in nginx.wait_log("has left application")
    assert {client.get("/").text for _ in range(20)} == {new}
    # What the application has asked for after its response is done all the same.
    wait_for(lambda: "/stubborn" in nginx.recorded("after"), what="after_response")
    # Three more are not too many, because this one no longer counts.
    for number in range(2, 4):
        (nginx.data / "release").unlink(missing_ok=True)
        assert client.get("/stubborn").status_code == 504
        wait_for(lambda n=number: len(nginx.log_lines("is written off")) == n, what="a write-off")
    assert not nginx.log_lines("this worker is replaced")


@pytest.mark.parametrize("limit", [0, 1])
def test_too_many_and_the_worker_is_replaced(nginx, app, background, limit):
    nginx.start(
        f"wsgi_app {app}; {DEADLINE}",
        server=f"location /long {{ wsgi_app {app}; wsgi_timeout 1h; }}",
        http=f"""
        python_drain_timeout 10s; python_finalize on timeout=1s;
        python_max_stuck_threads {limit};
        """,
    )
    client = nginx.client()
    before = pid(client.get("/"))
    sibling = background("/long/gate")
    nginx.wait_recorded("gate")
    for number in range(1, limit + 2):
        assert nginx.client().get("/stubborn").status_code == 504
        nginx.wait_recorded("entered", number)
    line = nginx.wait_log("this worker is replaced")
    assert f"{limit + 1} of its threads are stuck" in line
    # It finishes what it has.
    assert pid(nginx.client().get("/")) == before
    nginx.open_gate("gate-go")
    assert pid(sibling.result()) == before
    wait_for(lambda: int(before) not in nginx.workers(leaving=True), what="the end of the worker")
    assert pid(nginx.client().get("/")) != before
    assert not nginx.log_lines(f"{before} exited with code 1")
    assert not nginx.log_lines("exited on signal")


def test_a_worker_with_stuck_threads_exits(nginx, app):
    """Nobody waits for them: not for the request, and not for what it wants after its response."""
    nginx.start(
        f"wsgi_app {app}; {DEADLINE}",
        http="python_drain_timeout 2s; python_finalize on timeout=2s;",
    )
    assert nginx.client().get("/c").status_code == 504
    nginx.wait_log("is written off")
    nginx.quit(timeout=30)
    assert not nginx.is_running()


def test_where_nothing_is_interrupted_nothing_is_written_off(nginx, app):
    nginx.start(
        server=f"""
        wsgi_timeout 300ms;
        location /off {{ wsgi_app {app}; wsgi_interrupt_timeout off; }}
        location /on {{ wsgi_app {app}; wsgi_interrupt_timeout 300ms; }}
        """,
        http=END,
    )
    assert nginx.client().get("/off/stubborn").status_code == 504
    assert nginx.client().get("/on/stubborn").status_code == 504
    assert "/on/stubborn" in nginx.wait_log("is written off")
    assert len(nginx.log_lines("is written off")) == 1


@pytest.mark.parametrize("value", ["many", "-1", "1.5", "''"])
def test_anything_but_a_number_is_refused(refused, value):
    refused("python_max_stuck_threads", "number", http=f"python_max_stuck_threads {value};")


def test_another_worker_goes_on(nginx, app):
    """A worker that is killed while others are stuck leaves nothing behind."""
    nginx.allow_log(r"\[alert\].* worker process \d+ exited on signal 9")
    nginx.start(f"wsgi_app {app}; {DEADLINE}", http=END)
    client = nginx.client()
    before = pid(client.get("/"))
    assert client.get("/c").status_code == 504
    nginx.wait_log("is written off")
    os.kill(int(before), signal.SIGKILL)
    wait_for(lambda: nginx.workers() and int(before) not in nginx.workers(), what="another worker")
    assert pid(nginx.client().get("/")) != before
