"""python_finalize: atexit at a worker's exit, and what happens if it hangs."""

from __future__ import annotations

import pytest
from rawhttp import wait_for

SOURCE = """
    import atexit
    import os
    import time

    def leave():
        open({folder!r} + f"/left-{{os.getpid()}}", "w").close()
        if {hang}:
            while True:
                time.sleep(1)

    atexit.register(leave)

    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [str(os.getpid()).encode()]
"""


@pytest.fixture
def app(nginx):
    """`app()` writes the application; with `hang` its atexit never ends."""

    def write(hang: bool = False):
        return nginx.app("wsgi", SOURCE.format(folder=str(nginx.data), hang=hang))

    return write


def left(nginx) -> set[int]:
    return {int(path.name.removeprefix("left-")) for path in nginx.data.glob("left-*")}


@pytest.mark.parametrize("http", ["", "python_finalize on;", "python_finalize on timeout=30s;"])
@pytest.mark.parametrize("way", ["quit", "stop"])
def test_atexit_runs_in_every_worker(nginx, app, http, way):
    nginx.start(f"wsgi_app {app()};", http=http, workers=2)
    # An answer proves that the import is done in at least one of them.
    nginx.client().get("/")
    workers = set(nginx.workers())
    wait_for(
        lambda: workers <= {int(nginx.client().get("/").text) for _ in range(20)},
        what="an answer from either worker",
    )
    getattr(nginx, way)()
    assert left(nginx) == workers


def test_atexit_runs_in_the_old_worker_at_a_reload(nginx, app):
    nginx.start(f"wsgi_app {app()};")
    old = int(nginx.client().get("/").text)
    nginx.reload()
    wait_for(lambda: left(nginx) == {old}, what="atexit in the old worker")
    assert int(nginx.client().get("/").text) != old


@pytest.mark.parametrize("way", ["quit", "stop"])
def test_off_leaves_it_out(nginx, app, way):
    nginx.start(f"wsgi_app {app()};", http="python_finalize off;")
    nginx.client().get("/")
    getattr(nginx, way)()
    assert left(nginx) == set()


def test_one_that_hangs_is_cut_off(nginx, app):
    nginx.start(f"wsgi_app {app(hang=True)};", http="python_finalize on timeout=500ms;")
    worker = int(nginx.client().get("/").text)
    nginx.quit(timeout=30)
    assert left(nginx) == {worker}
    nginx.wait_log("python_finalize")


def test_one_that_hangs_is_cut_off_by_default(nginx, app):
    nginx.start(f"wsgi_app {app(hang=True)};")
    worker = int(nginx.client().get("/").text)
    nginx.quit(timeout=30)
    assert left(nginx) == {worker}


STUCK = """
    import atexit, threading, time
    from testkit import record

    def never_ends():
        while True:
            time.sleep(0.05)

    def application(environ, start_response):
        how = environ["QUERY_STRING"]
        if how == "atexit":
            atexit.register(never_ends)
        elif how == "thread":
            threading.Thread(target=never_ends, name="the-mailer", daemon=False).start()
        elif how == "request":
            record("began")
            never_ends()
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"done"]
"""


@pytest.mark.parametrize(
    ("how", "thread"),
    [("atexit", "MainThread"), ("thread", "the-mailer"), ("request", "py-default-1")],
)
@pytest.mark.threads("inline the event loop itself would be stuck")
def test_the_log_says_which_threads_are_left(nginx, how, thread):
    nginx.start(
        f"wsgi_app {nginx.app('app', STUCK)};",
        http="python_finalize on timeout=6s; python_drain_timeout 100ms;",
    )
    connection = nginx.connect()
    connection.get(f"/?{how}")
    if how == "request":
        wait_for(lambda: nginx.recorded("began"), what="the request")
    else:
        assert connection.response().body == b"done"
    nginx.quit(timeout=40)
    (line,) = nginx.log_lines(f'thread "{thread}" is at:')
    assert "[warn]" in line
    assert len(nginx.log_lines("in never_ends")) == 1


@pytest.mark.parametrize(
    ("value", "word"),
    [
        ("maybe", "maybe"),
        ("on timeout=soon", "soon"),
        ("on timeout=", "time"),
        ("on 2s", "2s"),
        ("on time=2s", "time=2s"),
        ("timeout=2s on", "timeout=2s|on"),
    ],
)
def test_mistakes(refused, value, word):
    refused("python_finalize", word, http=f"python_finalize {value};")
