"""Imports that fail are tried again, and imports that never end hold up no other application."""

from __future__ import annotations

import re
import select
import time

import pytest
from rawhttp import wait_for

# Fails as long as the test has not opened the gate "database".
NEEDS_DATABASE = """
    from testkit import DATA, record

    record("attempts")
    if not (DATA / "database").exists():
        raise ConnectionRefusedError("token-no-database")

    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"hello"]
"""


def until_ok(client, path="/"):
    """Asks until the answer is 200."""

    def ask():
        response = client.get(path)
        assert response.status_code in (200, 500)
        return response if response.status_code == 200 else None

    return wait_for(ask, 60, "an answer 200")


def test_it_is_imported_once_the_database_is_there(nginx):
    nginx.start(f"wsgi_app {nginx.app('app', NEEDS_DATABASE)};")
    client = nginx.client()
    assert client.get("/").status_code == 500
    assert "some seconds" in nginx.wait_log("cannot be imported")
    nginx.open_gate("database")
    assert until_ok(client).text == "hello"
    line = nginx.wait_log("failed attempts")
    assert "[notice]" in line
    assert re.search(r"imported in \d+\.\d+ s, after \d+ failed attempts and \d+ requests", line)


def test_the_failure_is_logged_once(nginx):
    nginx.start(f"wsgi_app {nginx.app('app', NEEDS_DATABASE)};")
    client = nginx.client()
    for _ in range(100):
        assert client.get("/").status_code == 500

    # Further failures are not logged each.
    def again():
        client.get("/")
        return len(nginx.recorded("attempts")) >= 3

    wait_for(again, 60, "a third attempt")
    nginx.open_gate("database")
    until_ok(client)
    nginx.wait_log("failed attempts")
    assert len(nginx.log_lines("ConnectionRefusedError: token-no-database")) == 1
    errors = nginx.log_lines("[error]")
    assert sum("Traceback" in line for line in errors) == 1
    assert len(errors) < 10, errors


def test_the_attempts_are_some_time_apart(nginx):
    nginx.start(f"wsgi_app {nginx.app('app', NEEDS_DATABASE)};")
    client = nginx.client()
    begin = time.monotonic()
    while time.monotonic() - begin < 5:
        assert client.get("/").status_code == 500
    # At 0, 1, 3 s; a slow machine makes them fewer.
    assert len(nginx.recorded("attempts")) <= 4


def test_what_only_a_change_can_mend_is_not_tried_again(nginx):
    app = nginx.app("app", "from testkit import record; record('attempts')")
    nginx.start(f"wsgi_app {app};")
    client = nginx.client()
    begin = time.monotonic()
    while time.monotonic() - begin < 2:
        assert client.get("/").status_code == 500
    assert len(nginx.recorded("attempts")) == 1
    assert "pause" not in nginx.wait_log("cannot be imported")


SLOW = """
    from testkit import DATA, gate, record

    record("attempts")
    if (DATA / "failed").exists():
        record("again")
        gate("go on")
    else:
        record("failed")
        raise ConnectionRefusedError("token-no-database")

    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"hello"]
"""


def request_that_waits(nginx):
    """Asks until a request begins another attempt; returns its connection."""
    connections = []

    def begins():
        connections.append(nginx.connect())
        connections[-1].get("/")
        wait_for(lambda: nginx.recorded("again") or is_answered(connections[-1]), 60, "either")
        return nginx.recorded("again")

    wait_for(begins, 60, "a request that waits for another attempt")
    return connections[-1]


def is_answered(connection):
    return bool(select.select([connection.sock], [], [], 0.05)[0])


def test_others_are_answered_at_once_while_it_is_tried_again(nginx):
    nginx.page("static.txt", "static\n")
    nginx.start(
        f"wsgi_app {nginx.app('app', SLOW)};",
        server=f"location /static.txt {{ root {nginx.html}; }}",
    )
    client = nginx.client()
    assert client.get("/").status_code == 500
    with request_that_waits(nginx) as first:
        for _ in range(20):
            assert client.get("/").status_code == 500
            assert client.get("/static.txt").text == "static\n"
        assert len(nginx.recorded("attempts")) == 2
        nginx.open_gate("go on")
        assert first.response().body == b"hello"
    assert client.get("/").text == "hello"


def test_a_client_that_leaves_while_it_waits(nginx):
    nginx.start(f"wsgi_app {nginx.app('app', SLOW)};")
    client = nginx.client()
    assert client.get("/").status_code == 500
    request_that_waits(nginx).close()
    nginx.open_gate("go on")
    assert until_ok(client).text == "hello"


def test_the_main_thread_tries_again(nginx):
    """Some libraries insist on being imported by the main thread."""
    source = NEEDS_DATABASE.replace(
        "record(",
        "import threading; assert threading.current_thread() is threading.main_thread(); record(",
        1,
    )
    nginx.start(f"wsgi_app {nginx.app('app', source)};")
    client = nginx.client()
    assert client.get("/").status_code == 500
    nginx.open_gate("database")
    assert until_ok(client).text == "hello"


def test_it_is_tried_again_beside_an_import_that_never_ends(nginx):
    endless = nginx.app("endless", "import threading\n\nthreading.Event().wait()\n")
    nginx.start(
        server=f"""
        location /endless {{ wsgi_app {endless}; }}
        location / {{ wsgi_app {nginx.app("app", NEEDS_DATABASE)}; }}
        """
    )
    client = nginx.client()
    assert client.get("/").status_code == 500
    nginx.open_gate("database")
    assert until_ok(client).text == "hello"


@pytest.mark.parametrize("readable", [True, False])
def test_a_folder_that_is_made_readable_later(nginx, readable):
    """Only its mode changes."""
    package = nginx.app("lib/part/__init__.py", "WORD = 'hello'\n").parent
    source = f"""
    import sys
    sys.path.append("{nginx.apps}/lib")
    from part import WORD

    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [WORD.encode()]
    """
    package.chmod(0o755 if readable else 0o000)
    nginx.start(f"wsgi_app {nginx.app('app', source)};")
    client = nginx.client()
    if not readable and nginx.user:
        assert client.get("/").status_code == 500
        package.chmod(0o755)
    assert until_ok(client).text == "hello"


def test_each_application_says_that_it_is_imported(nginx):
    source = NEEDS_DATABASE.replace("if not", "if False and not")
    one, two = nginx.app("one", source), nginx.app("two", source)
    nginx.start(
        server=f"location /one {{ wsgi_app {one}; }} location /two {{ wsgi_app {two}; }}", workers=2
    )
    for file in (one, two):
        lines = wait_for(
            lambda file=file: nginx.log_lines(f'"{file}" imported in ')[1:], 60, "a line per worker"
        )
        assert "[notice]" in lines[0]
        assert re.search(r"imported in \d+\.\d+ s", lines[0])


def test_an_import_that_never_ends_stops_no_other_application(nginx):
    endless = nginx.app("endless", "while True:\n    pass\n")
    good = nginx.app(
        "good",
        """
        def application(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [b"good"]
        """,
    )
    # Imported in the order of the configuration.
    nginx.start(
        server=f"""
        location /endless {{ wsgi_app {endless}; wsgi_queue_timeout 1s; }}
        location /good {{ wsgi_app {good}; wsgi_queue_timeout 5s; }}
        """
    )
    client = nginx.client()
    assert client.get("/endless").status_code == 503
    assert client.get("/good").text == "good"


@pytest.mark.threads("inline nobody can answer for the event loop while it is in a call")
def test_another_application_s_stack_is_logged(nginx):
    endless = nginx.app("endless", "import threading\n\nthreading.Event().wait()\n")
    slow = nginx.app(
        "slow",
        """
        from testkit import gate

        def wait_in_vain():
            gate("never")

        def application(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/plain")])
            wait_in_vain()
            return [b"x"]
        """,
    )
    # Imported in the order of the configuration.
    nginx.start(
        server=f"""
        location /endless {{ wsgi_app {endless}; }}
        location /slow {{ wsgi_app {slow}; wsgi_timeout 1s; }}
        """
    )
    assert nginx.client().get("/slow").status_code == 504
    nginx.wait_log("in wait_in_vain")
    nginx.open_gate("never")
