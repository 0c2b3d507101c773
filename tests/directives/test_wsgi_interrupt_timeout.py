"""wsgi_interrupt_timeout: the thread of a request beyond its deadline is interrupted, it alone."""

from __future__ import annotations

import pytest
from rawhttp import wait_for

pytestmark = pytest.mark.threads("inline nothing interrupts the event loop")

SOURCE = """
    import time

    import pywsgi
    from testkit import Blocks, gate, record

    def runs_in_here(query):
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            time.sleep(0.001)
        record("end", "of the loop")

    def application(environ, start_response):
        path, query = environ["PATH_INFO"], environ["QUERY_STRING"]
        start_response("200 OK", [("Content-Type", "text/plain")])
        if path.endswith("/stuck"):
            record("entered")
            try:
                runs_in_here(query)
            except BaseException as error:
                record("raised", f"{type(error).__module__}.{type(error).__name__}")
                if query == "other":
                    raise ValueError("the application's own")
                if query != "caught":
                    raise
        if path.endswith("/own"):
            raise pywsgi.RequestTimeout("raised by the application")
        if path.endswith("/sibling"):
            record("sibling")
            gate("sibling-go")
        if path.endswith("/blocks"):
            return Blocks(blocks())
        return Blocks([path.encode()])

    def blocks():
        yield b"begun"
        try:
            runs_in_here("")
        finally:
            record("finally")
"""

DEADLINE = "wsgi_timeout 500ms; wsgi_interrupt_timeout 300ms;"


@pytest.fixture
def app(nginx):
    return nginx.app("stuck", SOURCE)


def test_the_thread_is_interrupted_and_serves_on(nginx, app):
    nginx.start(f"wsgi_app {app}; {DEADLINE}", http="python_thread_pool default threads=1;")
    client = nginx.client()
    for number in range(1, 4):
        assert client.get("/stuck").status_code == 504
        assert nginx.wait_recorded("raised", number)[-1] == "pywsgi.RequestTimeout"
        assert client.get("/fine").text == "/fine"
    assert nginx.recorded("end") == []
    line = nginx.wait_log("is raised in its thread")
    assert "[warn]" in line and "300 ms after its wsgi_timeout" in line
    assert 'request: "GET /stuck ' in line
    # Each time: the deadline's line and the stack's, at error; the traceback is at info.
    told = nginx.log_lines("with RequestTimeout")
    assert len(told) == 3 and all("[info]" in line for line in told)
    tracebacks = nginx.log_lines("Traceback")
    assert len(tracebacks) == 3 and all("[info]" in line for line in tracebacks)
    errors = nginx.log_lines("[error]")
    assert len([line for line in errors if "in runs_in_here" in line]) == 3
    assert not [line for line in errors if "Timeout" in line and "wsgi_timeout)" not in line]


def test_a_client_that_has_left_changes_nothing(nginx, app):
    nginx.start(f"wsgi_app {app}; {DEADLINE}", http="python_thread_pool default threads=1;")
    with nginx.connect() as connection:
        connection.get("/stuck")
        nginx.wait_recorded("entered")
    assert nginx.wait_recorded("raised") == ["pywsgi.RequestTimeout"]
    assert nginx.client().get("/fine").text == "/fine"


def test_an_iteration_is_interrupted_and_closed(nginx, app):
    nginx.start(f"wsgi_app {app}; {DEADLINE}")
    with nginx.connect() as connection:
        connection.get("/blocks")
        response = connection.response()
        assert (response.body, response.complete) == (b"begun", False)
    nginx.wait_recorded("finally")
    nginx.wait_recorded("closed")
    assert "[info]" in nginx.wait_log("with RequestTimeout")


def test_siblings_are_not_touched(nginx, app, background):
    nginx.start(
        f"wsgi_app {app}; {DEADLINE}",
        server=f"location /long {{ wsgi_app {app}; wsgi_timeout 1h; }}",
        http="python_thread_pool default threads=5;",
    )
    siblings = [background("/long/sibling") for _ in range(4)]
    nginx.wait_recorded("sibling", 4)
    for number in range(1, 4):
        assert nginx.client().get("/stuck").status_code == 504
        nginx.wait_recorded("raised", number)
    nginx.open_gate("sibling-go")
    assert [answer.result().text for answer in siblings] == ["/long/sibling"] * 4


def test_an_application_that_ends_at_that_moment(nginx):
    """The exception hits its own request or none; what comes next on the thread is untouched."""
    app = nginx.app(
        "ends",
        """
        import time
        from testkit import record

        def application(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/plain")])
            if environ["PATH_INFO"] == "/next":
                for _ in range(2000):
                    pass
                return [b"untouched"]
            request = environ["pywsgi.request"]
            end = request.deadline + 0.05 + float(environ["QUERY_STRING"])
            while time.monotonic() < end:
                time.sleep(0.001)
            record("ended")
            return [b"late"]
        """,
    )
    nginx.start(
        f"wsgi_app {app}; wsgi_timeout 100ms; wsgi_interrupt_timeout 50ms;",
        server=f"location /next {{ wsgi_app {app}; }}",
        http="python_thread_pool default threads=1;",
    )
    client = nginx.client()
    for step in range(40):
        # If nginx is late, the application has answered before.
        assert client.get(f"/?{(step - 10) / 1000}").status_code in (200, 504)
        for _ in range(3):
            response = client.get("/next")
            assert (response.status_code, response.text) == (200, "untouched")


def test_an_application_may_catch_it(nginx, app):
    nginx.start(f"wsgi_app {app}; {DEADLINE}", http="python_thread_pool default threads=1;")
    client = nginx.client()
    assert client.get("/stuck?caught").status_code == 504
    nginx.wait_recorded("raised")
    assert client.get("/fine").text == "/fine"
    assert not nginx.log_lines("with RequestTimeout")
    assert client.get("/stuck?other").status_code == 504
    assert "[error]" in nginx.wait_log("ValueError: the application's own")
    assert client.get("/fine").text == "/fine"


def test_one_that_the_application_raises_is_its_own(nginx, app):
    nginx.start(f"wsgi_app {app};")
    assert nginx.client().get("/own").status_code == 500
    assert "[error]" in nginx.wait_log("RequestTimeout: raised by the application")


@pytest.mark.parametrize("value", ["off", "0"])
def test_off(nginx, app, value):
    nginx.start(
        server=f"""
        wsgi_timeout 300ms;
        location /off {{ wsgi_app {app}; wsgi_interrupt_timeout {value}; }}
        location /on {{ wsgi_app {app}; wsgi_interrupt_timeout 500ms; }}
        """,
        http="python_drain_timeout 500ms; python_finalize on timeout=1s;",
    )
    client = nginx.client()
    assert client.get("/off/stuck").status_code == 504
    assert client.get("/on/stuck").status_code == 504
    nginx.wait_recorded("raised")
    assert len(nginx.log_lines("(wsgi_interrupt_timeout)")) == 2
    assert not [line for line in nginx.log_lines("wsgi_interrupt_timeout") if "/off" in line]
    assert len(nginx.recorded("raised")) == 1


def test_inheritance(nginx, app):
    own = f"wsgi_app {app};"
    nginx.start(
        http="""
        wsgi_interrupt_timeout 200ms; wsgi_timeout 300ms;
        python_drain_timeout 500ms; python_finalize on timeout=1s;
        """,
        server=f"""
        location /http {{ {own} }}
        location /off {{
            wsgi_interrupt_timeout off;
            {own}
            location /off/below {{ {own} }}
            location /off/on {{ wsgi_interrupt_timeout 100ms; {own} }}
        }}
        """,
    )
    client = nginx.client()
    for path in ("/off", "/off/below", "/http", "/off/on"):
        assert client.get(f"{path}/stuck").status_code == 504
    wait_for(lambda: len(nginx.recorded("raised")) == 2, what="two exceptions")
    told = nginx.log_lines("is raised in its thread")
    assert sorted(path for path in ("/http", "/off/on") for line in told if f"{path}/" in line) == [
        "/http",
        "/off/on",
    ]
    assert len(told) == 2


def test_without_a_deadline_nothing_is_interrupted(nginx, background):
    app = nginx.app(
        "patient",
        """
        import time

        def application(environ, start_response):
            time.sleep(1.5)
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [b"done"]
        """,
    )
    nginx.start(f"wsgi_app {app}; wsgi_timeout 0; wsgi_interrupt_timeout 100ms;")
    assert nginx.client().get("/").text == "done"
    assert not nginx.log_lines("wsgi_interrupt_timeout")
