"""An application that ends its worker: nginx starts another one, and the log says who it was."""

from __future__ import annotations

import contextlib

import httpx
import pytest
from rawhttp import wait_for

SOURCE = """
    import ctypes, os, posix, sys
    from testkit import record

    libc = ctypes.CDLL(None)

    def application(environ, start_response):
        query = environ["QUERY_STRING"]
        if query == "child":
            pid = os.fork()
            if pid == 0:
                os._exit(2)
            query = str(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        elif query:
            eval(query)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [query.encode()]
"""


@pytest.mark.parametrize(
    "call", ["os._exit(2)", "posix._exit(2)", "libc.exit(2)", "os._exit(3)", "libc.exit(0)"]
)
def test_another_worker_is_started(nginx, call):
    nginx.start(f"wsgi_app {nginx.app('app', SOURCE)};")
    (worker,) = nginx.workers()
    assert nginx.client().get("/").text == ""
    assert nginx.raw(f"GET /?{call} HTTP/1.0\r\n\r\n".encode()) == b""
    wait_for(lambda: nginx.workers() not in ([], [worker]), what="another worker")
    wait_for(lambda: nginx.client().get("/").status_code == 200, what="an answer of it")
    said = nginx.wait_log(f"{call.split('.')[1]} was called")
    # C's exit() ends what this thread has of its own before anybody is asked.
    assert (f'request: "GET /?{call} HTTP/1.0"' in said) is (not call.startswith("libc"))
    assert ("exits with 1 instead" in said) is ("(2)" in call)
    assert nginx.log_lines("cannot be respawned") == []


def test_a_child_exits_as_it_likes(nginx):
    nginx.start(f"wsgi_app {nginx.app('app', SOURCE)};")
    assert nginx.client().get("/?child").text == "2"
    assert nginx.log_lines("was called") == []


CLOSES = """
    import os, time
    from testkit import gate

    def application(environ, start_response):
        query = environ["QUERY_STRING"]
        if query == "eventfds":
            for number in os.listdir("/proc/self/fd"):
                try:
                    if "eventfd" in os.readlink(f"/proc/self/fd/{number}"):
                        os.close(int(number))
                except OSError:
                    pass
        elif query == "all":
            os.closerange(3, os.sysconf("SC_OPEN_MAX"))
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"whole"]
"""


@pytest.mark.parametrize("what", ["eventfds", "all"])
def test_an_application_that_closes_nginx_s_descriptors_ends_its_worker(nginx, what):
    """Nobody else's connection gets what was meant for the descriptor of that number before."""
    if what == "all":
        nginx.allow_log(r"\[alert\].* failed \(9: Bad file descriptor\)")
    nginx.start(f"wsgi_app {nginx.app('app', CLOSES)};")
    client = nginx.client()
    assert client.get("/").text == "whole"
    (worker,) = nginx.workers()
    idle = [nginx.connect() for _ in range(20)]
    with nginx.connect() as connection:
        connection.get(f"/?{what}", close=True)
        # The response, if the event loop did not sleep by then.
        connection.rest()

    def is_replaced() -> bool:
        """What comes next needs the bell, sooner or later."""
        with contextlib.suppress(httpx.TransportError):
            nginx.client().get("/")
        return bool(nginx.workers()) and nginx.workers() != [worker]

    wait_for(is_replaced, what="another worker")
    assert nginx.log_lines("descriptors of nginx's have been closed")
    wait_for(lambda: nginx.client().get("/").status_code == 200, what="an answer of it")
    for connection in idle:
        assert connection.rest() == b""
