"""wsgi_thread_pool inline: `close()` is called once however the response ends; what follows it."""

from __future__ import annotations

import os
import signal

import pytest
from directives.flow import Flow
from rawhttp import wait_for
from rawhttp2 import Http2

# `?end` ends after ten blocks, `?fail` raises there; others continue as long as the client reads.
SOURCE = """
    from testkit import Blocks, record

    def application(environ, start_response):
        what = environ["QUERY_STRING"]
        if what == "quick":
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [b"quick"]
        request = environ["pywsgi.request"]
        request.after_response(lambda: record("after", request.disconnected))
        if what == "told":
            request.on_disconnect(lambda: record("told", request.disconnected))
        record("called")
        if what == "before":
            start_response("200 OK", [("Content-Type", "text/plain")])
            return Blocks(raising())
        start_response("200 OK", [("Content-Type", "application/octet-stream")])
        return Blocks(blocks(what))

    def raising():
        raise ValueError("before the first block")
        yield b""

    def blocks(what):
        number = 0
        try:
            # 200 MB: more than any buffer holds; bounded in case it is not stopped.
            while number < 3000:
                number += 1
                if number == 10 and what == "end":
                    return
                if number == 10 and what == "fail":
                    raise ValueError("in the middle")
                yield b"x" * 65536
        except GeneratorExit:
            record("stopped")
            raise
        finally:
            record("left")
        record("all of them")
"""


@pytest.fixture
def start(nginx):
    """Serves `SOURCE` inline and returns a client."""

    def begin(location: str = "", **options):
        app = nginx.app("app", SOURCE)
        options.setdefault("listen", Flow.LISTEN)
        nginx.start(f"wsgi_app {app}; wsgi_thread_pool inline; {location}", **options)
        return nginx.client()

    return begin


@pytest.fixture
def stalled(nginx):
    """`stalled("what")` is a client that has stopped reading in the middle of the iteration."""

    def connect(what: str = ""):
        connection = nginx.connect()
        connection.get(f"/?{what}")
        assert connection.head().status == 200
        return connection

    return connect


def test_a_complete_response(start, nginx, stalled):
    start()
    with stalled("end") as connection:
        assert sum(map(len, connection.chunks())) == 9 * 65536
    assert nginx.wait_recorded("after") == ["False"]
    assert nginx.recorded("closed") == nginx.recorded("left") == ["-"]


def test_a_head_alone(start, nginx):
    client = start()
    assert client.head("/?long").status_code == 200
    assert nginx.wait_recorded("after") == ["False"]
    assert nginx.recorded("closed") == ["-"]
    assert nginx.recorded("all of them") == []


@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_client_that_leaves_in_the_middle(start, nginx, stalled, how):
    client = start()
    getattr(stalled(), how)()
    assert nginx.wait_recorded("after") == ["True"]
    assert nginx.wait_recorded("closed") == ["-"]
    assert nginx.recorded("stopped") == nginx.recorded("left") == ["-"]
    assert client.get("/?quick").text == "quick"
    assert "[error]" not in nginx.error_log()


def test_a_stream_of_http2_that_its_client_cancels(start, nginx):
    start(http2=True)
    with Http2(nginx.port) as connection:
        stream = connection.request("/")
        nginx.wait_recorded("called")
        connection.reset(stream)
        assert nginx.wait_recorded("after") == ["True"]
        assert nginx.wait_recorded("closed") == ["-"]
        assert connection.response(connection.request("/?quick")).body == b"quick"


def test_an_exception_in_the_middle(start, nginx, stalled):
    client = start()
    with stalled("fail") as connection:
        while connection.chunk():
            pass
        assert connection.closed_by_server
        assert connection.pending == b"", "the last chunk was sent"
    assert nginx.wait_recorded("after")
    assert nginx.recorded("closed") == nginx.recorded("left") == ["-"]
    assert '"GET /?fail HTTP/1.1"' in nginx.wait_log("ValueError: in the middle")
    assert client.get("/?quick").text == "quick"


def test_an_exception_before_the_first_block(start, nginx):
    client = start()
    assert client.get("/?before").status_code == 500
    assert nginx.wait_recorded("after") == ["False"]
    assert nginx.recorded("closed") == ["-"]
    assert client.get("/?quick").text == "quick"


def test_a_client_that_takes_nothing_for_too_long(start, nginx, stalled):
    client = start("send_timeout 1s;")
    stalled()
    nginx.wait_log("client timed out (send_timeout)")
    assert nginx.wait_recorded("after") == ["True"]
    assert nginx.recorded("closed") == ["-"]
    assert client.get("/?quick").text == "quick"


# wsgi_client_abort


@pytest.mark.parametrize("mode", ["notify", "cancel"])
def test_the_application_is_told_of_a_client_that_leaves(start, nginx, stalled, mode):
    client = start(f"wsgi_client_abort {mode};")
    stalled("told").reset()
    assert nginx.wait_recorded("told") == ["True"]
    assert nginx.wait_recorded("closed") == ["-"]
    assert nginx.wait_recorded("after") == ["True"]
    assert nginx.recorded("stopped") == ["-"]
    assert client.get("/?quick").text == "quick"


def test_ignore_lets_the_application_run_to_its_end(start, nginx, stalled):
    """One block per turn of the event loop, which serves other requests meanwhile."""
    client = start("wsgi_client_abort ignore;")
    stalled("told").reset()
    for _ in range(5):
        assert client.get("/?quick").text == "quick"
    nginx.wait_recorded("all of them")
    assert nginx.wait_recorded("closed") == ["-"]
    assert nginx.wait_recorded("after")
    assert nginx.recorded("told") == nginx.recorded("stopped") == []


def test_nobody_is_told_of_a_client_that_stays(start, nginx):
    client = start(listen="")
    assert len(client.get("/?told").content) == 3000 * 65536
    assert nginx.wait_recorded("after") == ["False"]
    assert nginx.recorded("told") == []


# The worker's exit


@pytest.mark.parametrize("way", ["quit", "stop", "reload"])
def test_a_worker_that_exits_in_the_middle(start, nginx, stalled, way):
    start(http="python_drain_timeout 500ms; python_finalize on timeout=30s;")
    connections = [stalled(), stalled()]
    (worker,) = nginx.workers()
    getattr(nginx, way)()
    wait_for(lambda: not os.path.exists(f"/proc/{worker}"), 60, "the worker's end")
    assert nginx.recorded("called") == nginx.recorded("closed") == ["-", "-"]
    assert nginx.recorded("left") == ["-", "-"]
    for connection in connections:
        while connection.chunk():
            pass
        assert connection.closed_by_server
    assert not nginx.log_lines("Python did not end")


def test_a_worker_that_exits_finishes_what_its_clients_take(start, nginx, stalled):
    start(http="python_drain_timeout 60s;", listen="")
    with stalled() as connection:
        os.kill(nginx.master, signal.SIGQUIT)
        wait_for(lambda: nginx.workers() == [], what="a worker that shuts down")
        assert sum(map(len, connection.chunks())) == 3000 * 65536
    wait_for(lambda: not nginx.is_running(), 60, "nginx's end")
    assert nginx.recorded("closed") == nginx.recorded("all of them") == ["-"]
    assert nginx.recorded("after") == ["False"]


AT_EXIT = """
    import atexit
    import threading
    from testkit import record

    class AtTheEnd:
        def __del__(self):
            record("finalised")

    class Local(threading.local):
        pass

    local = Local()
    atexit.register(record, "atexit")

    def application(environ, start_response):
        # Kept in the event loop's thread state.
        local.kept = AtTheEnd()
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"kept"]
"""


@pytest.mark.parametrize("way", ["quit", "stop"])
def test_python_is_finalised_at_the_worker_s_end(nginx, way):
    """Although the event loop's thread has a Python thread state."""
    app = nginx.app("app", AT_EXIT)
    nginx.start(f"wsgi_app {app}; wsgi_thread_pool inline;")
    assert nginx.client().get("/").text == "kept"
    getattr(nginx, way)()
    assert nginx.recorded("atexit") == ["-"]
    assert nginx.recorded("finalised") == ["-"]
    assert nginx.log_lines("exited with code 0")


def test_an_endless_response_that_ignores_its_client_ends_with_the_worker(nginx):
    source = """
        import atexit
        from testkit import Blocks, record

        atexit.register(record, "atexit")

        def endless():
            while True:
                yield b"x" * 1000

        def application(environ, start_response):
            start_response("200 OK", [])
            return Blocks(endless())
    """
    nginx.start(
        f"wsgi_app {nginx.app('app', source)}; wsgi_thread_pool inline; wsgi_client_abort ignore;",
        http="python_finalize on timeout=20s;",
    )
    with nginx.connect() as connection:
        connection.get("/")
        assert connection.head().status == 200
    # The client has left; the application is not told.
    nginx.quit()
    assert nginx.recorded("atexit") == ["-"]
    assert nginx.recorded("closed") == ["-"]
