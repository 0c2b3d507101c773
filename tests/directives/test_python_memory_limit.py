"""python_memory_limit: a worker that takes too much memory is replaced, or exits at once."""

from __future__ import annotations

import pytest
from rawhttp import wait_for

in_a_call = pytest.mark.threads("inline the event loop serves nobody while it is in a call")

# The workers' own memory is far below this, with everything that a sanitizer adds or not.
pytestmark = pytest.mark.unsanitized("the sanitizer's memory counts as well")

APP = """
    import os

    kept = []
    # Filled, so that it is in RAM.
    held = bytearray(b"x") * ({at_import} << 20)

    async def answer(request):
        if request.query:
            kept.append(bytearray(b"x") * (int(request.query) << 20))
        if request.path == "/hold":
            from testkit import DATA, record

            record("entered")
            await request.wait((DATA / "go").exists)
        await request.respond(str(os.getpid()).encode())
"""


@pytest.fixture
def app(protocol):
    return protocol.app("app", APP.format(at_import=0))


@in_a_call
def test_beyond_the_soft_limit_it_is_replaced(nginx, protocol, app, background):
    nginx.start(
        f"{protocol}_app {app};",
        http="python_memory_limit soft=300m hard=2g check=100ms; python_drain_timeout 60s;",
    )
    client = nginx.client()
    before = client.get("/").text
    running = background("/hold")
    nginx.wait_recorded("entered")
    assert client.get("/?300").text == before
    line = nginx.wait_log("this worker is replaced")
    assert "[notice]" in line and "(python_memory_limit soft=300m)" in line
    assert int(line.partition("it takes ")[2].split()[0]) >= 300
    nginx.open_gate("go")
    assert running.result().text == before
    wait_for(lambda: int(before) not in nginx.workers(leaving=True), what="the end of the worker")
    assert nginx.client().get("/").text != before
    assert len(nginx.log_lines("this worker is replaced")) == 1


@in_a_call
def test_beyond_the_hard_limit_it_exits_at_once(nginx, protocol, app):
    nginx.start(
        f"{protocol}_app {app};",
        http="""
        python_memory_limit soft=200m hard=400m check=100ms;
        python_drain_timeout 60s; python_finalize on timeout=1s;
        """,
    )
    before = nginx.client().get("/").text
    with nginx.connect() as connection:
        # 450 MB in one request that does not end.
        connection.send(b"GET /hold?450 HTTP/1.1\r\nHost: x\r\n\r\n")
        line = nginx.wait_log("(python_memory_limit hard=400m)")
        assert "[error]" in line and "it exits at once" in line
        assert connection.rest() == b"", "the connection is cut"
    wait_for(lambda: int(before) not in nginx.workers(leaving=True), what="the end of the worker")
    assert nginx.client().get("/").text != before
    nginx.wait_log(f"worker process {before} exited with code 0")


def test_a_soft_limit_below_the_import_is_not_applied(nginx, protocol):
    app = protocol.app("app", APP.format(at_import=200))
    nginx.start(f"{protocol}_app {app};", http="python_memory_limit soft=150m check=100ms;")
    line = nginx.wait_log("python_memory_limit soft=150m is not applied")
    assert "[warn]" in line
    client = nginx.client()
    before = client.get("/").text
    for _ in range(20):
        assert client.get("/?1").text == before
    assert not nginx.log_lines("this worker is replaced")
    assert len(nginx.log_lines("is not applied")) == 1


def test_a_hard_limit_below_the_import_is_not_applied(nginx, protocol):
    """Each worker would exit at once, and nobody would be served."""
    app = protocol.app("app", APP.format(at_import=200))
    limit = "python_memory_limit soft=100m hard=150m"
    nginx.start(f"{protocol}_app {app};", http=f"{limit} check=100ms;")
    line = nginx.wait_log(f"{limit} is not applied")
    assert "[warn]" in line
    client = nginx.client()
    before = client.get("/").text
    for _ in range(20):
        assert client.get("/?1").text == before
    assert not nginx.log_lines("it exits at once")
    assert len(nginx.log_lines("is not applied")) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("hard=1g", ["no soft="]),
        ("much", ["soft=much", "size"]),
        ("off hard=1g", ["soft=off", "size"]),
        ("soft=much", ["soft=much", "size"]),
        ("soft=0", ["soft=0", "size"]),
        ("soft=1g hard=500m", ["not above"]),
        ("soft=1g hard=1g", ["not above"]),
        ("soft=1g check=0", ["check=0"]),
        ("soft=1g check=soon", ["invalid time"]),
        ("soft=1g more=1", ["unknown parameter", "soft=SIZE"]),
    ],
)
def test_mistakes(refused, arguments, words):
    refused("python_memory_limit", *words, http=f"python_memory_limit {arguments};")
