"""pywsgi.restart_worker: the worker is replaced, and nothing is dropped."""

from __future__ import annotations

import pytest
from load import Load
from rawhttp import wait_for

APP = """
    import os

    import pywsgi

    async def answer(request):
        if request.path == "/restart":
            pywsgi.restart_worker()
        await request.respond(str(os.getpid()).encode())
"""


def test_the_worker_is_replaced(nginx, protocol):
    nginx.start(f"{protocol}_app {protocol.app('app', APP)};", workers=2)
    client = nginx.client()
    first = int(client.get("/restart").text)
    line = nginx.wait_log("this worker is replaced")
    assert "[notice]" in line and "(pywsgi.restart_worker)" in line
    wait_for(lambda: first not in nginx.workers(leaving=True), 60, "the end of the worker")
    wait_for(lambda: len(nginx.workers()) == 2, 60, "another one")
    assert int(nginx.client().get("/").text) != first
    nginx.wait_log(f"worker process {first} exited with code 0")


def test_under_load_nothing_is_dropped(nginx, protocol):
    nginx.start(f"{protocol}_app {protocol.app('app', APP)};", workers=2)
    load = Load(nginx)

    def once(client) -> None:
        assert client.get("/").status_code == 200

    def fresh(client) -> None:
        assert client.get("/", headers={"Connection": "close"}).status_code == 200

    for each in (once, once, fresh):
        load.start(each)
    try:
        for count in range(1, 4):
            # A worker that leaves already may get it.
            while len(nginx.log_lines("this worker is replaced")) < count:
                assert nginx.client().get("/restart").status_code == 200
    finally:
        load.stop()
    assert load.failures == []


@pytest.mark.threads("inline a fork would be the event loop's")
def test_a_child_cannot(nginx, protocol):
    app = protocol.app(
        "app",
        """
        import os

        import pywsgi

        async def answer(request):
            child = os.fork()
            if child == 0:
                try:
                    pywsgi.restart_worker()
                except RuntimeError:
                    os._exit(7)
                os._exit(0)
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            await request.respond(str(code).encode())
        """,
    )
    nginx.start(f"{protocol}_app {app};")
    assert nginx.client().get("/").text == "7"
    assert not nginx.log_lines("is replaced")
