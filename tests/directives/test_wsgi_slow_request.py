"""wsgi_slow_request, asgi_slow_request: a request that runs for long is logged while it runs."""

from __future__ import annotations

import time

import pytest
from rawhttp import wait_for

in_a_call = pytest.mark.threads("inline the event loop serves nobody while it is in a call")

WAITS = """
    from testkit import DATA, record

    async def waits_in_here(request):
        record("entered")
        await request.wait((DATA / "go").exists)

    async def answer(request):
        if request.path.endswith("/slow"):
            await waits_in_here(request)
        await request.respond(b"done")
"""


@pytest.fixture
def app(protocol):
    return protocol.app("waits", WAITS)


@in_a_call
def test_it_is_logged_once_with_its_stack_while_it_runs(nginx, protocol, app, background):
    nginx.start(f"{protocol}_app {app}; {protocol}_slow_request 500ms;")
    slow = background("/slow?a=1")
    line = nginx.wait_log(f"{protocol}_slow_request")
    assert "[warn]" in line
    assert str(app) in line
    assert 'request: "GET /slow?a=1 ' in line
    took = int(line.partition("it has run for ")[2].split()[0])
    assert 500 <= took < 10_000
    assert "[warn]" in nginx.wait_log("in waits_in_here")
    assert not slow.done()
    # Others are not slow, and neither is this one again.
    for _ in range(8):
        assert nginx.client().get("/").text == "done"
        time.sleep(0.1)
    nginx.open_gate("go")
    assert slow.result().text == "done"
    assert len(nginx.log_lines("_slow_request")) == 1
    assert len(nginx.log_lines("in waits_in_here")) == 1
    assert "[error]" not in nginx.error_log()


@in_a_call
def test_it_comes_before_the_deadline_and_again_at_it(nginx, protocol, app):
    nginx.start(
        f"{protocol}_app {app}; {protocol}_slow_request 300ms; {protocol}_timeout 1500ms;",
        http="python_drain_timeout 500ms;",
    )
    assert nginx.client().get("/slow").status_code == 504
    wait_for(lambda: len(nginx.log_lines("in waits_in_here")) == 2, what="both stacks")
    levels = ["[warn]" in line for line in nginx.log_lines("in waits_in_here")]
    assert levels == [True, False]
    assert len(nginx.log_lines("_slow_request")) == 1
    nginx.open_gate("go")


@in_a_call
def test_a_client_that_has_left_changes_nothing(nginx, protocol, app):
    nginx.start(f"{protocol}_app {app}; {protocol}_slow_request 700ms;")
    with nginx.connect() as connection:
        connection.get("/slow")
        nginx.wait_recorded("entered")
    line = nginx.wait_log(f"{protocol}_slow_request")
    assert 'request: "GET /slow ' in line
    nginx.wait_log("in waits_in_here")
    nginx.open_gate("go")
    assert len(nginx.log_lines("_slow_request")) == 1


@in_a_call
@pytest.mark.parametrize("value", ["", "off", "0"])
def test_off(nginx, protocol, app, background, value):
    directive = f"{protocol}_slow_request {value};" if value else ""
    nginx.start(
        server=f"""
        location /off {{ {protocol}_app {app}; {directive} }}
        location /on {{ {protocol}_app {app}; {protocol}_slow_request 300ms; }}
        """
    )
    off = background("/off/slow")
    nginx.wait_recorded("entered")
    on = background("/on/slow")
    nginx.wait_log("GET /on/slow")
    nginx.open_gate("go")
    assert (off.result().text, on.result().text) == ("done", "done")
    assert not [line for line in nginx.log_lines("_slow_request") if "/off" in line]


def test_inheritance(nginx, protocol, app, background):
    own = f"{protocol}_app {app};"
    nginx.start(
        http=f"{protocol}_slow_request 300ms; python_thread_pool default threads=16;",
        server=f"""
        location /http {{ {own} }}
        location /off {{
            {protocol}_slow_request off;
            {own}
            location /off/below {{ {own} }}
            location /off/on {{ {protocol}_slow_request 200ms; {own} }}
        }}
        """,
    )
    # Those that are not logged begin first.
    quiet = [background("/off/slow"), background("/off/below/slow")]
    nginx.wait_recorded("entered", 2)
    said = [background("/http/slow"), background("/off/on/slow")]
    for path in ("/http/slow", "/off/on/slow"):
        wait_for(
            lambda path=path: [one for one in nginx.log_lines("_slow_request") if path in one],
            what=f"a line for {path}",
        )
    assert len(nginx.log_lines("_slow_request")) == 2
    nginx.open_gate("go")
    assert [answer.result().text for answer in quiet + said] == ["done"] * 4


def test_time_in_the_queue_does_not_count(nginx, background, protocol, app):
    queue = "" if protocol.is_wsgi else "asgi_max_requests_in_flight 1;"
    nginx.start(
        f"{protocol}_app {app}; {protocol}_slow_request 500ms; {queue}",
        http="python_thread_pool default threads=1;",
    )
    slow = background("/slow")
    nginx.wait_recorded("entered")
    queued = background("/queued")
    nginx.wait_log("_slow_request")
    # It has waited for longer than the limit.
    time.sleep(1)
    assert not queued.done()
    nginx.open_gate("go")
    assert (slow.result().text, queued.result().text) == ("done", "done")
    assert len(nginx.log_lines("_slow_request")) == 1


def test_the_clock_stands_still_while_the_client_does_not_read(nginx, protocol):
    app = protocol.app(
        "large",
        """
        async def answer(request):
            await request.start(200)
            for _ in range(320):
                await request.send(b"x" * 65536)
        """,
    )
    nginx.start(f"{protocol}_app {app}; {protocol}_slow_request 1s; {protocol}_buffering off;")
    with nginx.connect(receive=65536) as connection:
        connection.get()
        assert connection.head().status == 200
        time.sleep(3)
        assert sum(map(len, connection.chunks())) == 65536 * 320
    assert not nginx.log_lines("_slow_request")


def test_a_stream_that_sends_is_not_slow(nginx, asgi):
    app = asgi.app(
        "drips",
        """
        async def answer(request):
            await request.start(200)
            for _ in range(6):
                await request.sleep(0.4)
                await request.send(b"drip")
        """,
    )
    nginx.start(f"asgi_app {app}; asgi_slow_request 1s; asgi_timeout 0;")
    assert nginx.client().get("/").text == "drip" * 6
    assert not nginx.log_lines("_slow_request")


def test_a_loop_that_is_blocked(nginx, asgi):
    """nginx's thread says it on time; the stack is that of the loop's thread."""
    app = asgi.app(
        "blocks",
        """
        import time

        async def answer(request):
            time.sleep(3)
            await request.respond(b"done")
        """,
    )
    nginx.start(f"asgi_app {app}; asgi_slow_request 500ms;", http="asgi_stall_warning off;")
    assert nginx.client().get("/").text == "done"
    assert "[warn]" in nginx.wait_log("asgi_slow_request")
    nginx.wait_log("in answer")


def test_the_event_loop_itself_runs_it(nginx, background):
    """It is logged while the call runs, which may never end."""
    app = nginx.app(
        "blocks",
        """
        from testkit import gate

        def blocks_in_here():
            gate("go")

        def application(environ, start_response):
            if environ["PATH_INFO"] == "/slow":
                blocks_in_here()
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [b"done"]
        """,
    )
    nginx.start(f"wsgi_app {app}; wsgi_thread_pool inline; wsgi_slow_request 500ms;")
    client = nginx.client()
    for _ in range(200):
        assert client.get("/").text == "done"
    slow = background("/slow")
    line = nginx.wait_log("wsgi_slow_request")
    assert "[warn]" in line and 'request: "GET /slow ' in line
    nginx.wait_log("in blocks_in_here")
    assert not slow.done()
    nginx.open_gate("go")
    assert slow.result().text == "done"
    assert client.get("/").text == "done"
    assert len(nginx.log_lines("_slow_request")) == 1
