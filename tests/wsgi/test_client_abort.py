"""wsgi_client_abort: what becomes of an application whose client has gone."""

from __future__ import annotations

import pytest

in_a_call = pytest.mark.threads(
    "the application waits, in a call, for what the event loop is to notice meanwhile"
)


ABORT = """
    import time

    import pywsgi
    from testkit import Blocks, record

    def application(environ, start_response):
        query = environ["QUERY_STRING"]
        record("entered")
        try:
            if query == "loop":
                deadline = time.monotonic() + 60
                while time.monotonic() < deadline:
                    time.sleep(0.001)
                record("end", "of the loop")
            elif query == "wait":
                request = environ["pywsgi.request"]
                deadline = time.monotonic() + 60
                while not request.disconnected and time.monotonic() < deadline:
                    time.sleep(0.001)
        except BaseException as error:
            record("raised", f"{type(error).__module__}.{type(error).__name__}")
            raise
        if query in ("time", "blocks"):
            environ["pywsgi.request"].on_disconnect(lambda: record("told"))
        if query == "time":
            time.sleep(0.3)
            record("late", environ["pywsgi.request"].disconnected)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return Blocks(blocks(query))

    def blocks(query):
        try:
            for number in range(1 if query in ("", "wait", "time") else 2000):
                yield b"x" * 10000
        except GeneratorExit:
            record("end", "stopped")
            raise
        record("end", "of the blocks")
"""


@pytest.fixture
def abort(nginx):
    app = nginx.app("abort", ABORT)

    def begin(mode: str, **options):
        nginx.start(f"wsgi_app {app}; wsgi_client_abort {mode};", **options)
        return nginx.client()

    return begin


def test_cancel_interrupts_the_thread(abort, nginx):
    client = abort("cancel", http="python_thread_pool default threads=1;")
    with nginx.connect() as connection:
        connection.get("/?loop")
        nginx.wait_recorded("entered")
    assert nginx.wait_recorded("raised") == ["pywsgi.ClientDisconnected"]
    # The thread serves the next request, and nothing is logged at error.
    assert len(client.get("/").content) == 10000
    line = nginx.wait_log("ClientDisconnected")
    assert "[info]" in line
    assert "[error]" not in nginx.error_log()
    assert nginx.recorded("end") == ["of the blocks"]


def test_an_interrupt_hits_its_own_request_alone(abort, nginx):
    """Clients that leave at the moment their request ends."""
    client = abort("cancel", http="python_thread_pool default threads=1;")
    for _ in range(300):
        with nginx.connect() as connection:
            # It may leave before nginx has read its request, while it runs, or afterwards.
            connection.get("/?wait")
        assert len(client.get("/").content) == 10000
    assert "[error]" not in nginx.error_log()


def test_an_interrupt_that_comes_too_late_is_taken_back(nginx):
    """After the first block no bytecode runs that could be interrupted: the iterators are
    written in C, and the last of them waits until the interrupt has been set.
    """
    app = nginx.app(
        "late",
        """
        import itertools
        import threading

        from testkit import record

        def application(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/plain")])
            if environ["PATH_INFO"] == "/next":
                return [b"untouched"]
            lock = threading.Lock()
            lock.acquire()

            # Called when the thread has been interrupted.
            @environ["pywsgi.request"].on_disconnect
            def left():
                record("left")
                lock.release()

            return itertools.chain([b"first"], iter(lock.acquire, True))
        """,
    )
    nginx.start(
        f"wsgi_app {app}; wsgi_client_abort cancel;",
        http="python_thread_pool default threads=1;",
    )
    client = nginx.client()
    for number in range(1, 4):
        with nginx.connect() as connection:
            connection.get("/")
            assert connection.until(b"first") is not None
            connection.reset()
        nginx.wait_recorded("left", number)
        response = client.get("/next")
        assert (response.status_code, response.text) == (200, "untouched")
    assert "ClientDisconnected" not in nginx.error_log()


@pytest.mark.threads("inline the event loop retries the import itself, and sees no client leave")
def test_cancel_leaves_an_import_alone(nginx):
    path = nginx.app("late", "raise ImportError('not yet')")
    nginx.start(f"wsgi_app {path};\nwsgi_client_abort cancel;")
    client = nginx.client()
    assert client.get("/").status_code == 500
    nginx.app(
        "late",
        """
        import time
        from testkit import DATA, record

        record("importing")
        deadline = time.monotonic() + 60
        while not (DATA / "go").exists() and time.monotonic() < deadline:
            time.sleep(0.001)

        def application(environ, start_response):
            record("called", environ["PATH_INFO"])
            start_response("200 OK", [])
            return [b"imported"]
        """,
    )
    with nginx.connect() as connection:
        connection.get("/left")
        nginx.wait_recorded("importing")
        connection.reset()
        nginx.wait_log("/left")
    nginx.open_gate("go")
    assert client.get("/").text == "imported"
    assert nginx.recorded("importing") == ["-"]
    assert nginx.recorded("called") == ["/"]


def leave_in_the_body(nginx) -> None:
    """A client that leaves once it has the head."""
    connection = nginx.connect()
    connection.get("/?blocks")
    connection.head()
    connection.reset()


def test_notify_stops_the_iteration(abort, nginx):
    abort("notify", listen="sndbuf=8k")
    leave_in_the_body(nginx)
    assert nginx.wait_recorded("end") == ["stopped"]
    nginx.wait_recorded("closed")


def test_ignore_lets_the_application_run_to_its_end(abort, nginx):
    abort("ignore", listen="sndbuf=8k")
    leave_in_the_body(nginx)
    assert nginx.wait_recorded("end") == ["of the blocks"]
    nginx.wait_recorded("closed")
    assert nginx.recorded("told") == []


def test_ignore_tells_nobody(abort, nginx):
    abort("ignore")
    connection = nginx.connect()
    connection.get("/?time")
    nginx.wait_recorded("entered")
    connection.close()
    assert nginx.wait_recorded("late") == ["False"]
    assert nginx.wait_recorded("end") == ["of the blocks"]
    assert nginx.recorded("told") == []


def test_a_wrong_word_is_refused(nginx):
    app = nginx.app("abort", ABORT)
    result = nginx.check(f"wsgi_app {app}; wsgi_client_abort sometimes;")
    assert result.returncode != 0
    wanted = 'wsgi_client_abort has "sometimes"; it must be ignore, notify or cancel'
    assert wanted in result.stderr


@in_a_call
def test_what_is_raised_from_a_client_that_has_gone_is_said_at_info(nginx):
    app = nginx.app(
        "chained",
        """
        import time

        def application(environ, start_response):
            write = start_response("200 OK", [("Content-Type", "text/plain")])
            write(b"begun")
            deadline = time.monotonic() + 60
            while not environ["pywsgi.request"].disconnected and time.monotonic() < deadline:
                time.sleep(0.001)
            try:
                write(b"more")
            except OSError as error:
                raise ValueError("the protocol was broken off") from error
            return []
        """,
    )
    nginx.start(f"wsgi_app {app};")
    connection = nginx.connect()
    connection.get("/")
    connection.until(b"begun")
    connection.reset()
    assert "[info]" in nginx.wait_log("ValueError: the protocol was broken off")
    assert "[error]" not in nginx.error_log()
