"""pywsgi.on_request_finished: what it is told, and when."""

from __future__ import annotations

import json
import time

import pytest
from rawhttp import wait_for

APP = """
    import json
    import os
    import threading

    import pywsgi
    from testkit import DATA, record

    {more}

    @pywsgi.on_request_finished
    def finished(request):
        known = {{name: getattr(request, name) for name in request.__slots__}}
        known["thread"] = threading.current_thread().name
        record("finished", json.dumps(known))

    async def answer(request):
        if request.path == "/id":
            found = request.params.get("pywsgi.request")
            record("id", found.id if found else "none")
        if request.path == "/raise":
            raise KeyError("no such thing")
        if request.path == "/wait":
            record("entered")
            await request.wait((DATA / "go").exists)
        if request.path == "/large":
            await request.start(200)
            for _ in range(400):
                await request.send(b"l" * 50_000)
            return
        await request.respond(b"four", status=int(request.query or 200))
"""


@pytest.fixture
def start(nginx, protocol):
    def start(location: str = "", more: str = "", **options) -> None:
        app = protocol.app("app", APP.format(more="\n    ".join(more.splitlines())))
        nginx.start(f"{protocol}_app {app}; {location}", **options)

    return start


def told(nginx, count: int = 1) -> list[dict]:
    return [json.loads(line) for line in nginx.wait_recorded("finished", count)]


def test_what_is_known_of_a_request(nginx, protocol, start):
    start()
    before = time.time()
    headers = [("X-One", "1"), ("X-One", "2"), ("Traceparent", "00-ab")]
    assert nginx.client().get("/path?201", headers=headers).text == "four"
    (known,) = told(nginx)
    assert (known["method"], known["uri"], known["status"]) == ("GET", "/path?201", 201)
    assert known["application"] == str(nginx.apps / "app.py")
    assert known["headers"]["traceparent"] == "00-ab"
    assert known["headers"]["x-one"] == "1, 2"
    assert known["response_bytes"] == 4
    assert before - 1 < known["begun"] < time.time() + 1
    assert known["queue_time"] >= 0 and known["input_time"] >= 0
    assert (known["gil_wait_time"] is None) == (not protocol.is_wsgi)
    assert known["response_time"] >= known["queue_time"]
    assert known["application_time"] > 0
    assert (known["exception"], known["aborted"], known["timed_out"]) == (None, False, False)
    assert known["thread"] == "py-finished-1"
    pid, _, _ = known["id"].partition("-")
    assert int(pid) in nginx.workers()


def test_its_id_is_that_of_the_application_and_the_log(nginx, start):
    start(
        http="log_format id $pid-$connection-$connection_requests; access_log logs/ids.log id;",
    )
    assert nginx.client().get("/id").text == "four"
    (known,) = told(nginx)
    ids = wait_for(lambda: (nginx.root / "logs/ids.log").read_text().split(), what="the log")
    assert ids == [known["id"]]
    if nginx.recorded("id") != ["none"]:
        assert nginx.recorded("id") == ids


def test_an_exception_is_named(nginx, start):
    start()
    assert nginx.client().get("/raise").status_code == 500
    (known,) = told(nginx)
    assert (known["status"], known["exception"]) == (500, "KeyError")


def test_a_client_that_leaves(nginx, start):
    start()
    with nginx.connect(receive=4096) as connection:
        connection.get("/large")
        assert connection.fill()
        connection.reset()
    (known,) = told(nginx)
    assert (known["status"], known["aborted"]) == (200, True)
    assert 0 < known["response_bytes"] < 20_000_000


@pytest.mark.threads("inline nothing ends a call")
def test_one_that_is_timed_out(nginx, protocol, start):
    """It is reported when the application has left it as well."""
    start(f"{protocol}_timeout 300ms;")
    assert nginx.client().get("/wait").status_code == 504
    nginx.open_gate("go")
    (known,) = told(nginx)
    assert (known["status"], known["timed_out"], known["aborted"]) == (504, True, False)
    assert known["application_time"] > 0.2


@pytest.mark.threads("inline there is no queue")
def test_one_that_no_application_has_had(nginx, protocol, background, start):
    limits = "python_thread_pool default threads=1;"
    location = f"{protocol}_queue_timeout 300ms; {protocol}_timeout 1h;"
    if not protocol.is_wsgi:
        limits, location = "", location + "asgi_max_requests_in_flight 1;"
    start(location, http=limits)
    # Requests that wait for the import wait as long as others.
    nginx.wait_log("imported in")
    first = background("/wait")
    nginx.wait_recorded("entered")
    assert nginx.client().get("/never").status_code == 503
    (known,) = told(nginx)
    assert (known["uri"], known["status"], known["application_time"]) == ("/never", 503, None)
    assert known["queue_time"] > 0.2
    nginx.open_gate("go")
    assert first.result().status_code == 200
    assert told(nginx, 2)[1]["uri"] == "/wait"


def test_several_functions_and_one_that_raises(nginx, start):
    more = """
@pywsgi.on_request_finished
def broken(request):
    raise ValueError("token-in-report")

@pywsgi.on_request_finished
def counts(request):
    record("counted", f"{request!r}")
""".replace("{", "{{").replace("}", "}}")
    start(more=more.replace("{{", "{").replace("}}", "}"))
    for _ in range(3):
        assert nginx.client().get("/").status_code == 200
    told(nginx, 3)
    assert nginx.wait_recorded("counted", 3) == ["<FinishedRequest GET / 200>"] * 3
    nginx.wait_log("ValueError: token-in-report")
    assert nginx.log_lines("on_request_finished function") and nginx.log_lines(".broken raised")


@pytest.mark.threads("inline a call is not under way while another one is")
def test_it_delays_no_request_and_the_last_ones_are_told_of(nginx, protocol, start):
    """The functions wait; requests do not. The worker's exit waits for the functions, and these
    come before those of on_worker_exit."""
    more = """
from testkit import gate

@pywsgi.on_request_finished
def slow(request):
    record("slow")
    gate("slow-go")

@pywsgi.on_worker_exit
def leave():
    record("exit", len((DATA / "finished").read_text().splitlines()))
"""
    start(more=more, http="python_finalize on timeout=60s;")
    client = nginx.client()
    for _ in range(20):
        assert client.get("/").status_code == 200
    nginx.wait_recorded("slow")
    assert nginx.recorded("finished") == []
    nginx.open_gate("slow-go")
    nginx.quit()
    assert len(nginx.recorded("finished")) == 20
    assert nginx.recorded("exit") == ["20"]


def test_too_slow_a_function_loses_requests_and_the_log_says_so(nginx, protocol, start):
    more = """
from testkit import gate

@pywsgi.on_request_finished
def slow(request):
    gate("slow-go")
"""
    start(more=more, http="access_log off; keepalive_requests 100000;", log_level="warn")
    batch = 100
    with nginx.connect() as connection:
        for _ in range(4200 // batch):
            connection.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * batch)
            for _ in range(batch):
                assert connection.response().body == b"four"
    nginx.open_gate("slow-go")
    line = nginx.wait_log("were not passed to the functions of on_request_finished")
    assert "[warn]" in line
    assert nginx.client().get("/last").status_code == 200
    wait_for(lambda: "/last" in nginx.recorded("finished")[-1], 60, "the last one")


def test_a_websocket(nginx, protocol):
    if protocol.is_wsgi:
        pytest.skip("WSGI has none")
    from rawwebsocket import close, connect, serve

    serve(
        nginx,
        """
        import pywsgi
        from testkit import record

        @pywsgi.on_request_finished
        def finished(request):
            record("finished", f"{request.uri} {request.status} {request.application_time > 0}")

        async def application(scope, receive, send):
            await receive()
            await send({"type": "websocket.accept"})
            while (await receive())["type"] != "websocket.disconnect":
                pass
        """,
    )
    socket = connect(nginx, "/socket")
    assert nginx.recorded("finished") == []
    socket.send(close(1000))
    assert socket.frame().close_code == 1000
    assert nginx.wait_recorded("finished") == ["/socket 101 True"]
