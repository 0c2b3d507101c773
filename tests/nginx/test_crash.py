"""An application that ends its worker: the master starts another, and nginx goes on."""

from __future__ import annotations

import pytest
from rawhttp import wait_for

SOURCE = """
    import ctypes
    import os
    import signal
    import sys

    def application(environ, start_response):
        how = environ["QUERY_STRING"]
        if how.startswith("exit"):
            os._exit(int(how.removeprefix("exit")))
        if how == "segv":
            ctypes.string_at(0)
        if how == "abort":
            os.abort()
        if how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if how == "sysexit":
            sys.exit(3)
        if how == "interrupt":
            raise KeyboardInterrupt
        if how == "fork":
            # A child that leaves by itself must not take anything of nginx with it.
            child = os.fork()
            if child == 0:
                os._exit(7)
            how += str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [f"{os.getpid()} {how}".encode()]
"""


@pytest.fixture
def app(nginx):
    """The path of an application that dies as its query says."""
    return nginx.app("crash", SOURCE)


def pid(nginx) -> int:
    return int(nginx.client().get("/").text.split()[0])


@pytest.mark.parametrize("how", ["exit0", "exit1", "exit2", "exit3", "segv", "abort", "kill"])
def test_another_worker_takes_its_place(nginx, app, how):
    nginx.allow_log(r"\[alert\].* worker process \d+ exited on signal (11|6|9)")
    nginx.page("files/a.txt", "static")
    nginx.start(f"wsgi_app {app};", server="location /files/ { }")
    seen = {pid(nginx)}
    for _ in range(3):
        answer = nginx.raw(f"GET /?{how} HTTP/1.0\r\n\r\n".encode())
        assert answer == b"", "the connection is cut: there is no answer"
        wait_for(lambda: set(nginx.workers()) - seen, 60, "another worker")
        new = pid(nginx)
        assert new not in seen
        seen.add(new)
        assert nginx.client().get("/files/a.txt").text == "static"
    assert nginx.log_lines("cannot be respawned") == []


@pytest.mark.parametrize("how", ["exit0", "exit2"])
def test_the_other_worker_goes_on(nginx, app, how):
    nginx.start(f"wsgi_app {app};", workers=2)
    pid(nginx)
    before = set(nginx.workers())
    assert nginx.raw(f"GET /?{how} HTTP/1.0\r\n\r\n".encode()) == b""
    wait_for(
        lambda: len(nginx.workers()) == 2 and set(nginx.workers()) != before, 60, "another worker"
    )
    assert len(set(nginx.workers()) & before) == 1
    for _ in range(10):
        assert nginx.client().get("/").status_code == 200


@pytest.mark.parametrize("how", ["sysexit", "interrupt"])
def test_what_only_raises_is_a_500(nginx, app, how):
    nginx.start(f"wsgi_app {app};")
    before = pid(nginx)
    assert nginx.client().get(f"/?{how}").status_code == 500
    nginx.wait_log("SystemExit" if how == "sysexit" else "KeyboardInterrupt")
    assert pid(nginx) == before


def test_a_child_of_the_application(nginx, app):
    nginx.start(f"wsgi_app {app};")
    before = pid(nginx)
    for _ in range(3):
        assert nginx.client().get("/?fork").text == f"{before} fork7"
    assert pid(nginx) == before


@pytest.mark.parametrize("code", [0, 2])
def test_an_import_that_ends_the_process_does_not_end_nginx(nginx, code):
    """The worker is started again and again, as nginx does; its master lives and takes a repair."""
    path = nginx.app("broken", f"import os, time\ntime.sleep(0.2)\nos._exit({code})\n")
    nginx.start(f"wsgi_app {path};")
    first = nginx.workers()
    wait_for(lambda: nginx.workers() and nginx.workers() != first, 60, "another worker")
    nginx.app("broken", SOURCE)
    nginx.reload()
    assert nginx.client().get("/").status_code == 200
    assert nginx.log_lines("cannot be respawned") == []
