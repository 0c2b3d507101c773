"""python_max_requests: a worker is replaced after so many requests, and none is dropped.

How a worker is replaced is tested here for all directives that do it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time

import pytest
from load import Load, fresh, stream, upload
from rawhttp import wait_for

in_a_call = pytest.mark.threads("inline the event loop serves nobody while it is in a call")

APP = """
    import os
    import time

    from testkit import record

    record("imports", os.getpid())
    time.sleep({wait})

    def blocks():
        for index in range(50):
            time.sleep(0.02)
            yield b"%05d\\n" % index

    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        if environ["PATH_INFO"].endswith("/pid"):
            return [str(os.getpid()).encode()]
        if environ["PATH_INFO"].endswith("/blocks"):
            return blocks()
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        return [b"v " + body]
"""


@pytest.fixture
def app(nginx, protocol):
    return protocol.wrap("app", APP.format(wait="0"))


def kept(client) -> None:
    """A GET on a connection that is kept, without a second try."""
    answer = client.get("/")
    assert (answer.status_code, answer.text) == (200, "v ")


def replaced(nginx) -> list[int]:
    """The pids of the workers that have said that they are replaced."""
    lines = nginx.log_lines("this worker is replaced")
    return [int(line.partition("] ")[2].partition("#")[0]) for line in lines]


def test_after_so_many_requests(nginx, protocol, app):
    nginx.start(f"{protocol}_app {app};", http="python_max_requests 5;")
    client = nginx.client()
    first = client.get("/pid").text
    for _ in range(3):
        assert client.get("/pid").text == first
    assert not replaced(nginx)
    # Those of others do not count.
    nginx.page("index.html", "static")
    assert client.get("/pid").text == first
    line = nginx.wait_log("this worker is replaced")
    assert "[notice]" in line
    assert "it has had 5 requests (python_max_requests)" in line
    assert replaced(nginx) == [int(first)]
    wait_for(lambda: int(first) not in nginx.workers(leaving=True), what="the end of the worker")
    assert client.get("/pid").text != first
    nginx.wait_log(f"worker process {first} exited with code 0")


@in_a_call
def test_what_runs_is_finished_and_the_others_serve(nginx, protocol, gate, background):
    held = gate(protocol=protocol)
    nginx.start(
        f"{protocol}_app {held.app};",
        http="python_max_requests 1; python_drain_timeout 60s;",
        workers=3,
    )
    answer = background("/?hold")
    held.wait_entered(1)
    nginx.wait_log("this worker is replaced")
    (old,) = replaced(nginx)
    wait_for(lambda: old not in nginx.workers(), what="a worker that leaves")
    for _ in range(5):
        assert nginx.client().get("/").text.split()[0] != str(old)
    assert not answer.done()
    held.open()
    assert answer.result().text.split()[0] == str(old)
    wait_for(lambda: old not in nginx.workers(leaving=True), what="the end of the worker")


@pytest.mark.parametrize("listen", ["", "reuseport"])
def test_under_load_nothing_is_dropped_and_one_at_a_time_leaves(nginx, protocol, listen):
    path = protocol.wrap("app", APP.format(wait="0.3"))
    nginx.start(
        f"{protocol}_app {path};",
        http="python_max_requests 150 jitter=50;",
        workers=3,
        listen=listen,
    )
    assert nginx.client().get("/").status_code == 200
    load = Load(nginx)
    for once in [fresh, fresh, kept, kept, kept, upload, stream]:
        load.start(once)
    most = 0
    try:
        deadline = time.monotonic() + 200
        while len(replaced(nginx)) < 6 and time.monotonic() < deadline:
            leaving = set(nginx.workers(leaving=True)) - set(nginx.workers())
            # Without those that have ended meanwhile.
            most = max(most, len(leaving & set(nginx.workers(leaving=True))))
            time.sleep(0.01)
    finally:
        load.stop()
    assert load.failures == []
    assert len(replaced(nginx)) >= 6, "workers are replaced"
    assert len(set(replaced(nginx))) == len(replaced(nginx)), "each once"
    assert most == 1, "never two at a time"


def test_the_next_one_waits_for_the_import(nginx, protocol):
    """Of two workers that have reached the limit, one leaves; the other waits for its successor."""
    path = protocol.wrap(
        "app",
        APP.format(wait="0").replace(
            "time.sleep(0)",
            """
    from testkit import DATA, gate
    if len((DATA / "imports").read_text().split()) > 2:
        gate("import")
    """.strip(),
        ),
    )
    nginx.start(f"{protocol}_app {path};", http="python_max_requests 3;", workers=2)
    nginx.wait_recorded("imports", 2)
    before = set(nginx.workers())
    while len(replaced(nginx)) < 2:
        assert nginx.client().get("/pid").status_code == 200
    # The successor of the first one imports.
    nginx.wait_recorded("imports", 3)
    time.sleep(1.5)
    left = set(nginx.workers()) & before
    assert len(left) == 1, "the second one is still there"
    nginx.open_gate("import")
    (second,) = left
    wait_for(lambda: second not in nginx.workers(leaving=True), what="the end of the second one")
    assert nginx.client().get("/pid").status_code == 200


def test_the_next_one_waits_for_the_startup(nginx):
    app = nginx.app(
        "app",
        """
        import os
        from testkit import DATA, opened, record, respond

        async def application(scope, receive, send):
            if scope["type"] == "lifespan":
                await receive()
                record("startups")
                if len((DATA / "startups").read_text().split()) > 2:
                    await opened("startup")
                await send({"type": "lifespan.startup.complete"})
                await receive()
                return await send({"type": "lifespan.shutdown.complete"})
            await respond(send, str(os.getpid()).encode())
        """,
    )
    nginx.start(f"asgi_app {app};", http="python_max_requests 3;", workers=2)
    nginx.wait_recorded("startups", 2)
    before = set(nginx.workers())
    while len(replaced(nginx)) < 2:
        assert nginx.client().get("/").status_code == 200
    nginx.wait_recorded("startups", 3)
    time.sleep(1.5)
    left = set(nginx.workers()) & before
    assert len(left) == 1, "the second one is still there"
    nginx.open_gate("startup")
    wait_for(lambda: not left & set(nginx.workers(leaving=True)), what="the end of the second one")
    assert nginx.client().get("/").status_code == 200


@in_a_call
def test_a_worker_that_dies_as_it_leaves_blocks_nobody(nginx, protocol, gate, background):
    nginx.allow_log(r"\[alert\].* worker process \d+ exited on signal 9")
    held = gate(protocol=protocol)
    nginx.start(
        f"{protocol}_app {held.app};",
        http="python_max_requests 1; python_drain_timeout 60s;",
        workers=2,
    )
    background("/?hold")
    held.wait_entered(1)
    nginx.wait_log("this worker is replaced")
    (first,) = replaced(nginx)
    wait_for(lambda: first not in nginx.workers(), what="a worker that leaves")
    # The other one, which alone accepts now, wants to leave as well, and waits for the first.
    answer = background("/?hold")
    held.wait_entered(2)
    wait_for(lambda: len(replaced(nginx)) == 2, what="the second one")
    second = replaced(nginx)[1]
    time.sleep(1.5)
    assert second in nginx.workers()
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: second not in nginx.workers(), what="the second one that leaves")
    held.open()
    assert answer.result().text.split()[0] == str(second)
    assert nginx.client().get("/").status_code == 200


@in_a_call
def test_a_client_is_told_to_use_another_connection(nginx, protocol, app, gate, background):
    nginx.page("files/a.txt", "static")
    held = gate(protocol=protocol)
    nginx.start(
        f"{protocol}_app {held.app};",
        http="python_max_requests 2; python_drain_timeout 60s;",
        server="location /files/ { }",
    )
    answer = background("/?hold")
    held.wait_entered(1)
    with nginx.connect() as connection:
        connection.get("/files/a.txt")
        assert connection.response().get("Connection") == "keep-alive"
        assert nginx.client().get("/").status_code == 200
        nginx.wait_log("this worker is replaced")
        connection.get("/files/a.txt")
        response = connection.response()
        assert (response.body, response.get("Connection")) == (b"static", "close")
    held.open()
    assert answer.result().status_code == 200


@in_a_call
def test_the_only_worker_serves_until_it_has_no_request(nginx, protocol, gate, background):
    held = gate(protocol=protocol)
    nginx.start(
        f"{protocol}_app {held.app};", http="python_max_requests 1; python_drain_timeout 60s;"
    )
    answer = background("/?hold")
    held.wait_entered(1)
    nginx.wait_log("this worker is replaced")
    (old,) = replaced(nginx)
    # Longer than it tells its clients.
    deadline = time.monotonic() + 3
    while time.monotonic() < deadline:
        assert nginx.client().get("/").text.split()[0] == str(old)
        time.sleep(0.05)
    held.open()
    assert answer.result().text.split()[0] == str(old)
    wait_for(lambda: old not in nginx.workers(leaving=True), what="the end of the worker")
    assert nginx.client().get("/").text.split()[0] != str(old)


@in_a_call
def test_the_only_worker_does_not_wait_for_ever(nginx, protocol, gate, background):
    held = gate(protocol=protocol)
    nginx.start(
        f"{protocol}_app {held.app};", http="python_max_requests 1; python_drain_timeout 2s;"
    )
    answer = background("/?hold")
    held.wait_entered(1)
    (old,) = nginx.workers()
    wait_for(lambda: old not in nginx.workers(leaving=True), what="the end of the worker")
    assert answer.result().status_code == 503
    assert nginx.client().get("/").text.split()[0] != str(old)


@in_a_call
def test_a_stream_of_http_2_is_finished(nginx, protocol, gate):
    held = gate(protocol=protocol)
    nginx.start(
        f"{protocol}_app {held.app};",
        http="python_max_requests 1; python_drain_timeout 60s;",
        http2=True,
        workers=2,
    )
    # The library of the other tests takes nothing more after a GOAWAY.
    command = ["curl", "--silent", "--show-error", "--insecure", "--http2"]
    url = nginx.url("/?hold", scheme="https")
    with subprocess.Popen(
        [*command, "--write-out", " %{http_code} %{http_version}", url], stdout=subprocess.PIPE
    ) as client:
        held.wait_entered(1)
        nginx.wait_log("this worker is replaced")
        (old,) = replaced(nginx)
        wait_for(lambda: old not in nginx.workers(), what="a worker that leaves")
        held.open()
        body, *_, status, version = client.communicate(timeout=60)[0].decode().split()
    assert (body, status, version) == (str(old), "200", "2")
    wait_for(lambda: old not in nginx.workers(leaving=True), what="the end of the worker")


def test_a_reload_in_between(nginx, protocol, app):
    """The workers of the old configuration leave, whatever they were waiting for."""
    nginx.start(f"{protocol}_app {app};", http="python_max_requests 1;", workers=2)
    assert nginx.client().get("/pid").status_code == 200
    nginx.wait_log("this worker is replaced")
    nginx.write_config(f"{protocol}_app {app};", workers=2)
    nginx.reload()
    seen = set(nginx.workers())
    for _ in range(20):
        assert int(nginx.client().get("/pid").text) in seen
    time.sleep(1.5)
    assert set(nginx.workers()) == seen


def test_jitter(nginx, protocol, app):
    """Each worker draws a limit of its own: of several, not all have the same."""
    nginx.start(f"{protocol}_app {app};", http="python_max_requests 1 jitter=1000000;")
    client = nginx.client()
    # One of a million has a limit this low.
    assert len({client.get("/pid").text for _ in range(20)}) == 1
    assert not replaced(nginx)
    nginx.write_config(f"{protocol}_app {app};", http="python_max_requests 2 jitter=0;")
    nginx.reload()
    pids = [nginx.client().get("/pid").text for _ in range(2)]
    assert len(set(pids)) == 1
    nginx.wait_log("it has had 2 requests")


def test_without_a_master_the_process_stays(nginx, protocol, app):
    nginx.start(f"{protocol}_app {app};", http="python_max_requests 2;", main="master_process off;")
    client = nginx.client()
    pids = {client.get("/pid").text for _ in range(10)}
    assert "[warn]" in nginx.wait_log("no master would start another one")
    assert len(nginx.log_lines("python_max_requests")) == 1
    assert {client.get("/pid").text} == pids


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("0", ["number", "1"]),
        ("-1", ["number"]),
        ("many", ["number"]),
        ("5 6", ["unknown parameter", "jitter="]),
        ("5 jitter=x", ["jitter=x", "number"]),
        ("5 jitter=", ["jitter=", "number"]),
    ],
)
def test_mistakes(refused, arguments, words):
    refused("python_max_requests", *words, http=f"python_max_requests {arguments};")
