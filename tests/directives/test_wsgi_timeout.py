"""wsgi_timeout, asgi_timeout: the client is answered on time, whatever the application does."""

from __future__ import annotations

import time

import pytest
from directives.flow import EXPECTED, Flow
from rawhttp import wait_for

STUCK = """
    import time

    async def stuck_in_here(request):
        while True:
            await request.sleep(0.05)

    def busy_in_here():
        # Longer than the deadline, and then the loop of an application of ASGI is free.
        end = time.monotonic() + 3
        while time.monotonic() < end:
            pass

    async def answer(request):
        if request.path.endswith("/body"):
            await request.start(200)
            await request.send(b"the beginning")
            await stuck_in_here(request)
        if request.path.endswith("/stuck"):
            await stuck_in_here(request)
        if request.path.endswith("/busy"):
            busy_in_here()
        await request.respond(b"ok")
"""
READ = """
    async def answer(request):
        await request.respond(str(len(await request.body())).encode())
"""

# A stuck application delays the end of the test by no more than this.
DRAIN = "python_drain_timeout 500ms;"


@pytest.mark.parametrize("path", ["/stuck", "/busy"])
def test_a_stuck_application_is_a_504(nginx, protocol, path):
    app = protocol.app("stuck", STUCK)
    nginx.page("index.html", "static")
    nginx.start(
        http=DRAIN,
        server=f"location ~ ^/(stuck|busy|fine) {{ {protocol}_app {app}; {protocol}_timeout 1s; }}",
    )
    client = nginx.client()
    began = time.monotonic()
    answer = client.get(path)
    assert answer.status_code == 504
    assert time.monotonic() - began > 0.9, "not before its time"
    assert client.get("/").text == "static"
    if protocol.is_wsgi or path == "/stuck":
        assert client.get("/fine").text == "ok"
    line = nginx.wait_log(f"{protocol}_timeout")
    assert f"GET {path}" in line
    nginx.wait_log("stuck_in_here" if path == "/stuck" else "busy_in_here")
    assert nginx.log_lines(f'File "{app}"'), "its Python stack is in the log"
    wait_for(lambda: client.get("/fine").text == "ok", what="a loop that is free again")


def test_after_the_head_the_connection_is_cut(nginx, protocol):
    app = protocol.app("stuck", STUCK)
    nginx.start(f"{protocol}_app {app}; {protocol}_timeout 1s;", http=DRAIN)
    with nginx.connect() as connection:
        connection.get("/body")
        answer = connection.response()
        assert answer.status == 200
        assert answer.body == b"the beginning"
        assert not answer.complete, "no response that looks whole"
    with nginx.connect() as connection:
        connection.send("GET /body HTTP/1.0\r\n\r\n")
        assert connection.head().status == 200
        assert connection.rest() == b"the beginning"


def test_zero_is_off(nginx, protocol, gate, background):
    held = gate(protocol=protocol)
    nginx.start(
        http=f"{protocol}_timeout 500ms;",
        server=f"""
        location /off {{ {protocol}_app {held.app}; {protocol}_timeout 0; }}
        location /on {{ {protocol}_app {held.app}; }}
        """,
    )
    patient = background("/off?hold")
    held.wait_entered(1)
    # Two requests that time out, one after the other, both begun after the patient one.
    for _ in range(2):
        assert nginx.client().get("/on?hold").status_code == 504
    assert not patient.done()
    held.open()
    assert patient.result().status_code == 200


def test_inheritance(nginx, protocol, gate, background):
    held = gate(protocol=protocol)
    app = f"{protocol}_app {held.app};"
    nginx.start(
        http=f"{protocol}_timeout 1h; python_thread_pool default threads=16;",
        server=f"""
        location /long {{ {app} }}
        location /short {{
            {protocol}_timeout 500ms;
            {app}
            if ($arg_if) {{ set $x 1; }}
            location /short/below {{ {app} }}
            location /short/long {{ {protocol}_timeout 1h; {app} }}
        }}
        """,
    )
    patient = [background("/long?hold"), background("/short/long?hold")]
    held.wait_entered(2)
    for path in ["/short?hold", "/short?hold&if=1", "/short/below?hold"]:
        assert nginx.client().get(path).status_code == 504
    assert not any(answer.done() for answer in patient)
    held.open()
    assert [answer.result().status_code for answer in patient] == [200, 200]


def test_time_in_the_queue_does_not_count(nginx, gate, background):
    held = gate()
    nginx.start(
        http="python_thread_pool default threads=1; python_thread_pool other threads=2;",
        server=f"""
        location /slow {{ wsgi_app {held.app}; }}
        location /quick {{ wsgi_app {held.app}; wsgi_timeout 2s; }}
        location /other {{ wsgi_app {held.app}; wsgi_timeout 2s; wsgi_thread_pool other; }}
        """,
    )
    slow = background("/slow?hold")
    held.wait_entered(1)
    quick = background("/quick")
    # Two requests that time out, one after the other.
    for _ in range(2):
        assert nginx.client().get("/other?hold").status_code == 504
    assert not quick.done()
    held.open()
    assert slow.result().status_code == 200
    assert quick.result().status_code == 200


def test_the_clock_stands_still_while_the_application_waits_for_the_body(nginx, protocol):
    app = protocol.app("read", READ)
    nginx.start(f"{protocol}_app {app}; {protocol}_request_buffering off; {protocol}_timeout 3s;")
    with nginx.connect() as connection:
        connection.send("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n")
        for byte in b"slow!":
            time.sleep(1.2)
            connection.send(bytes([byte]))
        answer = connection.response()
        assert (answer.status, answer.body) == (200, b"5")


def test_the_clock_stands_still_while_the_application_waits_for_the_client(nginx, protocol):
    flow = Flow(nginx, protocol=protocol)
    nginx.start(
        f"{protocol}_app {flow.app}; {protocol}_buffering off; {protocol}_timeout 4s;",
        listen=Flow.LISTEN,
    )
    with flow.slow() as connection:
        flow.wait_stalled()
        time.sleep(6)
        answer = connection.response()
        assert answer.complete
        assert answer.body == b"".join(EXPECTED)
    assert nginx.log_lines(f"{protocol}_timeout") == []


def test_two_threads_that_wait_for_the_client_are_one_wait(nginx):
    """One waits for the body, one for room; after that the clock runs again."""
    app = nginx.app(
        "app",
        """
        import threading
        from testkit import gate, record

        def application(environ, start_response):
            reader = threading.Thread(target=environ["wsgi.input"].read)
            reader.start()
            start_response("200 OK", [("Content-Type", "application/octet-stream")])
            for number in range(64):
                yield bytes(1 << 18)
                record("sent", number)
            reader.join()
            record("waited")
            gate("for ever")
        """,
    )
    nginx.start(
        f"wsgi_app {app}; wsgi_timeout 2s; wsgi_request_buffering off; wsgi_buffering off;"
        " wsgi_buffer_size 64k;",
        listen="sndbuf=8k",
    )
    with nginx.connect() as connection:
        connection.send("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n")
        # Both wait: the client sends nothing and takes nothing.
        nginx.wait_recorded("sent")
        time.sleep(3)
        assert not nginx.log_lines("wsgi_timeout")
        connection.send(b"body!")
        response = connection.response()
    assert nginx.recorded("waited") == ["-"]
    assert not response.complete
    assert "timed out after 2000 ms" in nginx.wait_log("wsgi_timeout")
    nginx.open_gate("for ever")


def test_a_stuck_request_is_reported_though_its_client_has_left(nginx, gate):
    held = gate()
    nginx.start(
        f"wsgi_app {held.app}; wsgi_timeout 500ms; wsgi_queue_timeout 1s;",
        http="python_thread_pool default threads=2;",
    )
    # A request does not wait longer for it than for a thread.
    nginx.wait_log("imported in")
    assert nginx.client().get("/").status_code == 200
    for number in (1, 2):
        with nginx.connect() as connection:
            connection.get("/?hold")
            held.wait_entered(number)
    wait_for(lambda: len(nginx.log_lines("for a client that has left")) == 2, what="both reports")
    assert "after 500 ms (wsgi_timeout)" in nginx.log_lines("for a client that has left")[0]
    wait_for(lambda: len(nginx.log_lines("is at:")) == 2, what="both stacks")
    nginx.wait_log('all threads of python_thread_pool "default" (2) are in requests beyond')
    # Logged before the last stack, for which the interpreter has to be free.
    said, last = (nginx.error_log().rindex(text) for text in ("all threads of", "is at:"))
    assert said < last
    assert nginx.client().get("/").status_code == 503
    held.open()
    wait_for(lambda: nginx.client().get("/").status_code == 200, what="a thread")
    assert len(nginx.log_lines("all threads of python_thread_pool")) == 1


def test_a_request_that_ends_in_time_is_not_reported_though_its_client_has_left(nginx, gate):
    held, stuck = gate(), gate("stuck")
    nginx.start(
        f"wsgi_app {held.app}; wsgi_timeout 3s;",
        server=f"location /stuck {{ wsgi_app {stuck.app}; wsgi_timeout 3s; }}",
    )
    for path, each in (("/", held), ("/stuck", stuck)):
        with nginx.connect() as connection:
            connection.get(f"{path}?hold")
            each.wait_entered(1)
    held.open()
    # The later one is reported; by then the other would have been as well.
    assert "GET /stuck?hold" in nginx.wait_log("for a client that has left")
    assert len(nginx.log_lines("for a client that has left")) == 1


def test_a_late_answer_is_dropped_and_its_thread_serves_on(nginx, protocol, gate, background):
    held = gate(protocol=protocol)
    nginx.start(
        f"{protocol}_app {held.app}; {protocol}_timeout 2s;",
        http="python_thread_pool default threads=1;",
    )
    client = nginx.client()
    assert client.get("/?hold").status_code == 504
    assert held.entered() == 1
    held.open()
    for _ in range(5):
        assert client.get("/").status_code == 200


def test_the_504_is_nginx_s_own_error_page(nginx, protocol, gate):
    held = gate(protocol=protocol)
    nginx.page("late.html", "too late")
    nginx.start(
        f"{protocol}_app {held.app}; {protocol}_timeout 500ms; error_page 504 /late.html;",
        server="location = /late.html { root html; }",
    )
    answer = nginx.client().get("/?hold")
    assert (answer.status_code, answer.text) == (504, "too late")


# ASGI's own


def test_asgi_timeout_is_for_the_next_part(nginx, asgi):
    app = asgi.app(
        "drips",
        """
        async def answer(request):
            await request.start(200)
            for _ in range(6):
                await request.sleep(0.6)
                await request.send(b"drop ")
        """,
    )
    nginx.start(f"asgi_app {app}; asgi_timeout 1500ms;")
    assert nginx.client().get("/").text == "drop " * 6
    assert not nginx.log_lines("asgi_timeout")


def test_a_task_is_cancelled_at_its_asgi_timeout(nginx, asgi):
    app = asgi.app(
        "task",
        """
        import asyncio
        from testkit import record

        async def answer(request):
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                record("cancelled")
                raise
        """,
    )
    nginx.start(f"asgi_app {app}; asgi_timeout 500ms;")
    assert nginx.client().get("/").status_code == 504
    assert nginx.wait_recorded("cancelled") == ["-"]


def test_time_before_the_call_does_not_count_for_asgi_timeout(nginx, asgi, background):
    """A request waits for its turn longer than the application may take."""
    app = asgi.app(
        "turns",
        """
        from testkit import record

        async def answer(request):
            record("entered", request.query)
            await request.start(200)
            if request.query == "long":
                for _ in range(6):
                    await request.sleep(0.5)
                    await request.send(b".")
        """,
    )
    nginx.start(f"asgi_app {app}; asgi_timeout 1500ms; asgi_max_requests_in_flight 1;")
    long = background("/?long")
    nginx.wait_recorded("entered")
    assert nginx.client().get("/?short").status_code == 200
    assert long.result().text == "......"
    assert nginx.recorded("entered") == ["long", "short"]
