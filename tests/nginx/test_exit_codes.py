"""os._exit and exit in an application: the log names the request, and the exit code is one after
which nginx starts another worker."""

from __future__ import annotations

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
    # C's exit() has destroyed the thread's locals, and with them the request, by then.
    assert (f'request: "GET /?{call} HTTP/1.0"' in said) is (not call.startswith("libc"))
    assert ("exits with 1 instead" in said) is ("(2)" in call)
    assert nginx.log_lines("cannot be respawned") == []


def test_a_child_exits_as_it_likes(nginx):
    nginx.start(f"wsgi_app {nginx.app('app', SOURCE)};")
    assert nginx.client().get("/?child").text == "2"
    assert nginx.log_lines("was called") == []
