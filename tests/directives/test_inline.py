"""wsgi_thread_pool inline: the event loop runs the application; the answers are the same."""

from __future__ import annotations

import hashlib
import re

import pytest
from rawhttp import wait_for

WHO = """
    import os
    import threading

    local = threading.local()

    def application(environ, start_response):
        local.calls = getattr(local, "calls", 0) + 1
        start_response("200 OK", [("Content-Type", "text/plain")])
        words = [
            os.getpid(),
            threading.get_native_id(),
            threading.get_ident(),
            local.calls,
            environ["wsgi.multithread"],
        ]
        return [" ".join(map(str, words)).encode()]
"""


@pytest.fixture
def start(nginx):
    """`start(source)` serves that application inline in `location /` and returns a client."""

    def begin(source: str, location: str = "", **options):
        app = nginx.app("app", source)
        nginx.start(f"wsgi_app {app}; wsgi_thread_pool inline; {location}", **options)
        return nginx.client()

    return begin


# Where it runs


def test_each_request_runs_on_the_event_loop_s_thread(start, nginx):
    start(WHO)
    (worker,) = nginx.workers()
    answers = []
    for _ in range(20):
        with nginx.connect() as connection:
            connection.get()
            answers.append(connection.response().body.decode().split())
    pids, native, idents, calls, multithread = zip(*answers, strict=True)
    assert set(pids) == {str(worker)}
    # The event loop's thread is the process's first.
    assert set(native) == {str(worker)}
    assert len(set(idents)) == 1
    # Thread-local objects of an application are there at the next request.
    assert calls == tuple(str(number) for number in range(1, 21))
    assert set(multithread) == {"False"}


def test_it_is_inherited_and_undone(nginx):
    app = f"wsgi_app {nginx.app('app', WHO)};"
    nginx.start(
        http="python_thread_pool other threads=1;\nwsgi_thread_pool inline;",
        server=f"""
        location /inline {{
            {app}
            if ($arg_if) {{ set $x 1; }}
            location /inline/default {{ wsgi_thread_pool default; {app} }}
        }}
        location /other {{ wsgi_thread_pool other; {app} }}
        """,
    )
    (worker,) = nginx.workers()
    client = nginx.client()

    def asked(path: str) -> tuple[bool, str]:
        words = client.get(path).text.split()
        return words[1] == str(worker), words[4]

    assert asked("/inline") == asked("/inline?if=1") == (True, "False")
    assert asked("/inline/default") == (False, "True")
    assert asked("/other")[0] is False


def test_a_location_inline_and_another_in_a_pool(nginx):
    """A pool's thread that computes or sleeps delays only its own request."""
    source = """
        import time
        from testkit import DATA, record

        def application(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/plain")])
            what = environ["PATH_INFO"].rpartition("/")[2]
            if what in ("computes", "sleeps"):
                record(what)
                deadline = time.monotonic() + 60
                while not (DATA / "go").exists() and time.monotonic() < deadline:
                    if what == "sleeps":
                        time.sleep(0.01)
                    else:
                        sum(range(1000))
            return [what.encode()]
    """
    app = nginx.app("app", source)
    nginx.start(
        server=f"""
        location /pool {{ wsgi_app {app}; wsgi_thread_pool default; }}
        location /inline {{ wsgi_app {app}; wsgi_thread_pool inline; }}
        location /static {{ return 200 static; }}
        """
    )
    slow = {what: nginx.connect() for what in ("computes", "sleeps")}
    for what, connection in slow.items():
        connection.get(f"/pool/{what}")
        nginx.wait_recorded(what)
    client = nginx.client()
    for _ in range(50):
        assert client.get("/inline/quick").text == "quick"
        assert client.get("/static").text == "static"
    nginx.open_gate("go")
    for what, connection in slow.items():
        assert connection.response().body == what.encode()


# Failures


def test_an_exception_is_a_500_and_the_next_request_is_served(start, nginx):
    client = start(
        """
        def application(environ, start_response):
            if environ["QUERY_STRING"] == "raise":
                raise ValueError("not today")
            if environ["QUERY_STRING"] == "exit":
                raise SystemExit(3)
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [b"good"]
        """
    )
    for query in ("raise", "exit", "raise"):
        assert client.get(f"/?{query}").status_code == 500
        assert client.get("/").text == "good"
    assert '"GET /?raise HTTP/1.1"' in nginx.wait_log("ValueError: not today")


def test_a_failed_import_is_a_500_and_is_tried_anew(start, nginx):
    client = start("raise ImportError('not yet')")
    assert client.get("/").status_code == 500
    nginx.wait_log("ImportError: not yet")
    nginx.app("app", WHO)
    assert client.get("/").status_code == 200


def test_wsgi_debug_shows_and_checks(start, nginx):
    client = start(
        """
        def application(environ, start_response):
            if environ["QUERY_STRING"]:
                raise ValueError("a line of many\\n" * int(environ["QUERY_STRING"]))
            start_response("200 OK", [("Content-Type", "text/plain")])
            return ["text"]
        """,
        "wsgi_debug validate; wsgi_buffer_size 4k;",
    )
    response = client.get("/")
    assert response.status_code == 500
    assert "PEP 3333" in response.text
    # The page itself is longer than what is kept in memory for a client.
    page = client.get("/?2000")
    assert page.status_code == 500
    assert page.text.count("a line of many\n") == 2000
    assert page.text.rstrip().endswith("that others can reach.")


# Before the import is done

SLOW_IMPORT = """
    from testkit import gate, record

    record("importing")
    gate("import")

    def application(environ, start_response):
        record("called", environ["PATH_INFO"])
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"imported"]
"""


def test_what_comes_before_the_import_is_done_is_answered_after_it(start, nginx):
    client = start(SLOW_IMPORT, server="location /static { return 200 static; }")
    nginx.wait_recorded("importing")
    early = [nginx.connect() for _ in range(5)]
    for number, connection in enumerate(early):
        connection.get(f"/{number}")
    # The event loop has read those requests, and is free.
    assert client.get("/static").text == "static"
    assert early[0].quiet(0.2)
    nginx.open_gate("import")
    for connection in early:
        assert connection.response().body == b"imported"
    assert sorted(nginx.recorded("called")) == [f"/{number}" for number in range(5)]


def test_wsgi_queue_timeout_ends_the_wait_for_the_import(start, nginx):
    client = start(SLOW_IMPORT, "wsgi_queue_timeout 200ms;")
    response = client.get("/late")
    assert response.status_code == 503
    assert int(response.headers["retry-after"]) > 0
    assert "its import has not ended" in nginx.wait_log("wsgi_queue_timeout")
    nginx.open_gate("import")
    nginx.wait_recorded("importing")
    assert client.get("/after").text == "imported"
    assert nginx.recorded("called") == ["/after"]


def test_who_leaves_before_the_import_is_done_is_not_served(start, nginx):
    client = start(SLOW_IMPORT, server="location /static { return 200 static; }")
    with nginx.connect() as connection:
        connection.get("/left")
        assert client.get("/static").text == "static"
        connection.reset()
    nginx.wait_log("/left")
    nginx.open_gate("import")
    assert client.get("/").text == "imported"
    assert nginx.recorded("called") == ["/"]


# Bodies of requests


def test_an_upload_is_read_before_the_application_is_called(start, nginx):
    client = start(
        """
        import hashlib
        from testkit import record

        def application(environ, start_response):
            record("called", environ["CONTENT_LENGTH"])
            body = environ["wsgi.input"]
            digest, size = hashlib.sha256(), 0
            while block := body.read(100_000):
                digest.update(block)
                size += len(block)
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [f"{size} {digest.hexdigest()}".encode()]
        """,
        "client_max_body_size 20m; client_body_buffer_size 16k;",
    )
    body = bytes(range(256)) * 40960
    assert client.post("/", content=body).text == f"{len(body)} {hashlib.sha256(body).hexdigest()}"
    chunked = client.post("/", content=(body[at : at + 65536] for at in range(0, len(body), 65536)))
    assert chunked.text == f"{len(body)} {hashlib.sha256(body).hexdigest()}"
    assert nginx.recorded("called") == [str(len(body))] * 2
    # A client that sends slowly delays no other request.
    with nginx.connect() as slow:
        slow.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nfir")
        assert client.post("/", content=b"abc").text.startswith("3 ")
        assert len(nginx.recorded("called")) == 3
        slow.send(b"st")
        assert slow.response().body.startswith(b"5 ")


# The log, and what else an application does


def test_a_call_that_logs_a_lot_loses_nothing_and_ends(start, nginx):
    """The event loop, which empties the log's queue, is in the application meanwhile."""
    client = start(
        """
        def application(environ, start_response):
            for number in range(4000):
                print(f"line {number:05} " + "." * 100, file=environ["wsgi.errors"])
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [b"logged"]
        """
    )
    assert client.get("/").text == "logged"
    nginx.wait_log("line 03999")
    numbers = re.findall(r"line (\d{5}) \.{100}", nginx.error_log())
    assert numbers == [f"{number:05}" for number in range(4000)]


def test_a_child_that_the_application_forks_ends_with_its_call(start, nginx):
    client = start(
        """
        import os
        from testkit import record

        def application(environ, start_response):
            query = environ["QUERY_STRING"]
            child = os.fork()
            if child == 0:
                if query == "leaves":
                    os._exit(7)
                if query == "raises":
                    raise ValueError("in the child")
                start_response("200 OK", [("Content-Type", "text/plain")])
                return [b"from the child"]
            record(query, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [b"from the parent"]
        """
    )
    (worker,) = nginx.workers()
    for query in ("leaves", "raises", "returns"):
        assert client.get(f"/?{query}").text == "from the parent"
    assert nginx.recorded("leaves") == ["7"]
    assert len(nginx.recorded("raises")) == len(nginx.recorded("returns")) == 1
    assert nginx.workers() == [worker]
    assert client.get("/?leaves").text == "from the parent"


def test_nginx_s_clock_has_seen_the_call(start, nginx):
    client = start(
        """
        import time

        def application(environ, start_response):
            time.sleep(0.3)
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [b"late"]
        """,
        "access_log logs/times.log times;",
        http="log_format times $request_time;",
    )
    assert client.get("/").text == "late"
    log = nginx.root / "logs" / "times.log"
    wait_for(lambda: log.read_text(), what="the access log")
    assert float(log.read_text()) >= 0.3


# Mistakes


@pytest.mark.parametrize(
    "contexts",
    [
        {"location": "wsgi_thread_pool inline;\nwsgi_request_buffering off;"},
        {"http": "wsgi_thread_pool inline;", "location": "wsgi_request_buffering off;"},
        {"server": "wsgi_request_buffering off;", "location": "wsgi_thread_pool inline;"},
        {"http": "wsgi_request_buffering off;", "server": "wsgi_thread_pool inline;"},
    ],
    ids=["same level", "pool inherited", "buffering inherited", "both inherited"],
)
def test_it_is_refused_with_wsgi_request_buffering_off(refused, say, contexts):
    location = f"wsgi_app {say('one')};\n{contexts.get('location', '')}"
    text = {**contexts, "location": location}
    refused(
        "wsgi_thread_pool inline", "wsgi_thread_pool inline", "wsgi_request_buffering off", **text
    )


def test_a_location_without_an_application_may_have_both(nginx, say):
    result = nginx.check(
        http="wsgi_thread_pool inline;",
        server=f"""
        wsgi_request_buffering off;
        location /app {{ wsgi_app {say("one")}; wsgi_request_buffering on; }}
        location /upload {{ wsgi_app {say("one")}; wsgi_thread_pool default; }}
        location /static {{ return 200 static; }}
        """,
    )
    assert result.returncode == 0, result.stderr


def test_no_pool_has_that_name(refused):
    refused(
        "python_thread_pool inline",
        "inline",
        http="python_thread_pool inline threads=2;",
    )


def test_an_unknown_pool_is_answered_with_what_there_is(refused, say):
    location = f"wsgi_app {say('one')};\nwsgi_thread_pool in-line;"
    refused("wsgi_thread_pool in-line", "default", r"\binline\b", location=location)
