"""python_max_lifetime: a worker is replaced after a time (how: test_python_max_requests.py)."""

from __future__ import annotations

import pytest
from rawhttp import wait_for


@pytest.fixture
def app(protocol):
    return protocol.app(
        "app",
        """
        import os

        async def answer(request):
            await request.respond(str(os.getpid()).encode())
        """,
    )


def test_after_its_time(nginx, protocol, app):
    nginx.start(f"{protocol}_app {app};", http="python_max_lifetime 1500ms;", workers=2)
    before = set(nginx.workers())
    line = nginx.wait_log("this worker is replaced")
    assert "[notice]" in line
    assert "it has lived for 1.5 s (python_max_lifetime)" in line
    wait_for(lambda: not set(nginx.workers(leaving=True)) & before, 120, "the end of both")
    assert nginx.client().get("/").status_code == 200


def test_jitter_adds_to_it(nginx, protocol, app):
    nginx.start(f"{protocol}_app {app};", http="python_max_lifetime 500ms jitter=500ms;")
    line = nginx.wait_log("this worker is replaced")
    assert 0.5 <= float(line.partition("it has lived for ")[2].split()[0]) <= 1.0
    nginx.write_config(f"{protocol}_app {app};", http="python_max_lifetime 1h jitter=1h;")
    nginx.reload()
    before = nginx.workers()
    for _ in range(20):
        assert nginx.client().get("/").text == str(before[0])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("0", ["time of 0"]),
        ("soon", ["invalid time"]),
        ("1h 5m", ["unknown parameter", "jitter="]),
        ("1h jitter=soon", ["invalid time", "soon"]),
    ],
)
def test_mistakes(refused, arguments, words):
    refused("python_max_lifetime", *words, http=f"python_max_lifetime {arguments};")
