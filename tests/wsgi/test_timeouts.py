"""Threads, queues and deadlines: a full pool or a stuck request affects no others."""

from __future__ import annotations

import threading
import time

import pytest

in_a_call = pytest.mark.threads("inline nobody can answer for the event loop while it is in a call")

# Generous: on time means that the event loop has answered.
LATE = 15.0

SLEEPER = """
    from testkit import gate, record

    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        if environ["PATH_INFO"] == "/sleep":
            record("asleep")
            gate("wake")
            return [b"woken"]
        record("called")
        return [b"quick"]
"""


def test_with_every_thread_asleep_the_rest_goes_on(nginx):
    slow, quick = nginx.app("slow", SLEEPER), nginx.app("quick", SLEEPER)
    nginx.page("static.txt", "static\n")
    nginx.start(
        f"wsgi_app {slow};",
        server=f"""
        location /static.txt {{ root {nginx.html}; }}
        location /quick {{ wsgi_app {quick}; wsgi_thread_pool other; }}
        """,
        http="python_thread_pool default threads=4; python_thread_pool other threads=2;",
    )
    sleepers = [nginx.connect() for _ in range(4)]
    for sleeper in sleepers:
        sleeper.get("/sleep")
    nginx.wait_recorded("asleep", 4)
    client = nginx.client(timeout=LATE)
    started = time.monotonic()
    for _ in range(100):
        assert client.get("/static.txt").text == "static\n"
        assert client.get("/quick").text == "quick"
    # As when idle: two hundred requests that wait for no thread.
    assert time.monotonic() - started < LATE
    nginx.open_gate("wake")
    for sleeper in sleepers:
        assert sleeper.response().body == b"woken"


def test_what_waits_is_served_when_a_thread_is_free(nginx):
    path = nginx.app("app", SLEEPER)
    nginx.start(f"wsgi_app {path};", http="python_thread_pool default threads=2;")
    sleepers = [nginx.connect() for _ in range(2)]
    for sleeper in sleepers:
        sleeper.get("/sleep")
    nginx.wait_recorded("asleep", 2)
    waiting = [nginx.connect() for _ in range(20)]
    for connection in waiting:
        connection.get("/quick")
    assert waiting[0].quiet(0.5)
    nginx.open_gate("wake")
    for sleeper in sleepers:
        assert sleeper.response().body == b"woken"
    for connection in waiting:
        assert connection.response().body == b"quick"


def test_a_full_queue_is_a_503(nginx):
    path = nginx.app("app", SLEEPER)
    nginx.start(f"wsgi_app {path};", http="python_thread_pool default threads=1 max_queue=2;")
    sleeper, *waiting = (nginx.connect() for _ in range(3))
    sleeper.get("/sleep")
    nginx.wait_recorded("asleep")
    for connection in waiting:
        connection.get("/quick")
        assert connection.quiet(0.3)
    for _ in range(3):
        with nginx.connect() as refused:
            refused.get("/quick")
            response = refused.response()
            assert response.status == 503
            assert int(response.get("Retry-After")) > 0
    assert not nginx.recorded("called")
    nginx.open_gate("wake")
    assert sleeper.response().body == b"woken"
    for connection in waiting:
        assert connection.response().body == b"quick"
    assert len(nginx.recorded("called")) == 2


def test_a_wait_beyond_the_queue_timeout_is_a_503(nginx):
    path = nginx.app("app", SLEEPER)
    nginx.start(
        f"wsgi_app {path}; wsgi_queue_timeout 1s;",
        http="python_thread_pool default threads=1;",
        # It waits for the import, however slow that is.
        server=f"location /sleep {{ wsgi_app {path}; wsgi_queue_timeout 1h; }}",
    )
    with nginx.connect() as sleeper, nginx.connect() as waiting:
        sleeper.get("/sleep")
        nginx.wait_recorded("asleep")
        started = time.monotonic()
        waiting.get("/quick")
        response = waiting.response()
        assert 0.9 < time.monotonic() - started < LATE
        assert response.status == 503
        assert int(response.get("Retry-After")) > 0
        nginx.open_gate("wake")
        assert sleeper.response().body == b"woken"
    # The refused request is not run later.
    assert nginx.client().get("/quick").text == "quick"
    assert len(nginx.recorded("called")) == 1


def test_a_client_that_leaves_the_queue_is_not_served(nginx):
    path = nginx.app("app", SLEEPER)
    nginx.start(f"wsgi_app {path};", http="python_thread_pool default threads=1 max_queue=3;")
    with nginx.connect() as sleeper:
        sleeper.get("/sleep")
        nginx.wait_recorded("asleep")
        for _ in range(20):
            with nginx.connect() as connection:
                connection.get("/quick")
                # If its place were not given back, the queue would be full by now.
                assert connection.quiet(0.05)
            time.sleep(0.02)
        nginx.open_gate("wake")
        assert sleeper.response().body == b"woken"
    assert nginx.client().get("/quick").text == "quick"
    assert len(nginx.recorded("called")) == 1


STUCK = """
    import time
    from testkit import Blocks, gate, record

    def stuck_in_c():
        time.sleep(1000)

    def stuck_in_python():
        while True:
            pass

    def application(environ, start_response):
        path = environ["PATH_INFO"]
        if path == "/sleep":
            stuck_in_c()
        if path == "/loop":
            stuck_in_python()
        if path == "/sibling":
            record("sibling")
            time.sleep(float(environ["QUERY_STRING"]))
        if path == "/gate":
            gate("late")
        start_response("200 OK", [("Content-Type", "text/plain")])
        if path == "/body":
            return Blocks(body())
        return Blocks([path.encode()])

    def body():
        yield b"begun"
        gate("late")
        yield b"ended"
"""

# Stuck requests do not delay the end of the test.
END_QUICKLY = "python_drain_timeout 1s; python_finalize on timeout=1s;"


@in_a_call
@pytest.mark.parametrize(
    ("path", "function"), [("/sleep", "stuck_in_c"), ("/loop", "stuck_in_python")]
)
def test_a_stuck_request_is_answered_504_on_time(nginx, serve, path, function):
    serve(
        STUCK,
        "wsgi_timeout 2s;",
        server=f"location /sibling {{ wsgi_app {nginx.apps}/app.py; wsgi_timeout 30s; }}",
        http=END_QUICKLY,
    )
    results: list[tuple[int, str]] = []

    def sibling() -> None:
        response = nginx.client().get("/sibling?4")
        results.append((response.status_code, response.text))

    siblings = [threading.Thread(target=sibling) for _ in range(2)]
    for thread in siblings:
        thread.start()
    nginx.wait_recorded("sibling", 2)
    with nginx.connect(timeout=LATE) as connection:
        started = time.monotonic()
        connection.get(path)
        response = connection.response()
        took = time.monotonic() - started
        assert response.status == 504
        assert 1.9 < took < 6, took
    for thread in siblings:
        thread.join(60)
    assert results == [(200, "/sibling")] * 2
    # The log says where it is stuck.
    assert "app.py" in nginx.wait_log(f"in {function}")
    said = nginx.wait_log("wsgi_timeout")
    assert "app.py" in said
    assert f'request: "GET {path} ' in said
    assert nginx.client().get("/fine").text == "/fine"


def test_many_stuck_requests(nginx, serve):
    serve(
        STUCK,
        "wsgi_timeout 1s;",
        http=END_QUICKLY + " python_thread_pool default threads=3;",
    )
    connections = [nginx.connect() for _ in range(3)]
    for connection in connections:
        connection.get("/sleep")
    for connection in connections:
        assert connection.response().status == 504


@in_a_call
def test_beyond_the_head_the_connection_is_cut(nginx, serve):
    serve(STUCK, "wsgi_timeout 1s;", http=END_QUICKLY)
    with nginx.connect() as connection:
        connection.get("/body")
        response = connection.response()
        assert (response.status, response.body) == (200, b"begun")
        assert not response.complete
    assert not nginx.recorded("closed")
    nginx.open_gate("late")
    assert nginx.wait_recorded("closed") == ["-"]


def test_a_late_result_is_dropped_and_closed(nginx, serve):
    serve(STUCK, "wsgi_timeout 1s;", http="python_thread_pool default threads=1;")
    with nginx.connect() as connection:
        connection.get("/gate")
        assert connection.response().status == 504
        nginx.open_gate("late")
        assert nginx.wait_recorded("closed") == ["-"]
        # The thread is free again, and nothing of the old response is on the connection.
        connection.get("/next")
        assert connection.response().body == b"/next"
    assert len(nginx.wait_recorded("closed", 2)) == 2


def test_no_deadline(nginx, serve):
    serve(STUCK, "wsgi_timeout 0;")
    with nginx.connect() as connection:
        connection.get("/sibling?3")
        assert connection.response().body == b"/sibling"


def test_time_in_the_queue_does_not_count(nginx, serve):
    serve(STUCK, "wsgi_timeout 2s;", http="python_thread_pool default threads=1;")
    connections = [nginx.connect() for _ in range(4)]
    for connection in connections:
        connection.get("/sibling?1")
    for connection in connections:
        assert connection.response().body == b"/sibling"


@pytest.mark.threads("wsgi_request_buffering off needs a thread that waits for the body")
def test_the_clock_stands_still_while_the_client_sends(nginx, serve):
    serve(
        """
        def application(environ, start_response):
            body = environ["wsgi.input"].read()
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [body]
        """,
        "wsgi_timeout 1s; wsgi_request_buffering off;",
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
        def application(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/plain")])
            return (b"x" * 65536 for _ in range(320))
        """,
        "wsgi_timeout 1s; wsgi_buffering off;",
    )
    with nginx.connect(receive=65536) as connection:
        connection.get()
        assert connection.head().status == 200
        time.sleep(3)
        assert sum(map(len, connection.chunks())) == 65536 * 320


@in_a_call
def test_a_deadline_in_a_subrequest(nginx, serve):
    nginx.page("index.html", "page\n")
    path = nginx.app("app", STUCK)
    nginx.start(
        f"auth_request /sleep; root {nginx.html};",
        server=f"location = /sleep {{ wsgi_app {path}; wsgi_timeout 1s; }}",
        http=END_QUICKLY,
    )
    assert nginx.client(timeout=LATE).get("/").status_code == 500


@in_a_call
def test_a_deadline_while_a_thread_holds_the_interpreter_for_long(nginx, serve):
    """A call in C that does not release the GIL: the event loop answers all the same."""
    serve(
        """
        import ctypes
        from testkit import record

        def application(environ, start_response):
            if environ["PATH_INFO"] == "/hold":
                record("holding")
                # PyDLL keeps the GIL while it is in C.
                ctypes.PyDLL(None).sleep(6)
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [b"x"]
        """,
        "wsgi_timeout 1s;",
        server=f"location /static.txt {{ root {nginx.html}; }}",
    )
    nginx.page("static.txt", "static\n")
    with nginx.connect() as connection:
        started = time.monotonic()
        connection.get("/hold")
        nginx.wait_recorded("holding")
        assert nginx.client().get("/static.txt").text == "static\n"
        assert connection.response().status == 504
        assert time.monotonic() - started < 5
    assert nginx.client().get("/").text == "x"


def test_send_timeout_is_not_for_output_that_waits_for_a_subrequest(nginx):
    """The client takes everything at once, so nothing waits for it: ngx_http_upstream.c, too, arms
    the timer only if the connection is not ready for writing."""
    source = """\
    import time

    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        if environ["PATH_INFO"] == "/slow":
            time.sleep(2)
            return [b"slow"]
        return stream()

    def stream():
        yield b"str"
        time.sleep(0.5)
        yield b"eam"
    """
    nginx.page("page.html", '<!--# include virtual="/slow" -->-<!--# include virtual="/stream" -->')
    nginx.start(
        f"wsgi_app {nginx.app('app', source)};",
        server="send_timeout 1s; location = /page.html { ssi on; }",
    )
    assert nginx.client().get("/page.html").text == "slow-stream"
