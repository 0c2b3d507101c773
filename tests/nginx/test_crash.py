"""An application that ends its worker: the master starts another one."""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor

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
            # A child that exits by itself must not affect nginx.
            child = os.fork()
            if child == 0:
                os._exit(7)
            how += str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [f"{os.getpid()} {how}".encode()]
"""


@pytest.fixture
def app(nginx):
    """The path of an application that ends its worker as the query says."""
    return nginx.app("crash", SOURCE)


def pid(nginx) -> int:
    return int(nginx.client().get("/").text.split()[0])


SEGV = pytest.param("segv", marks=pytest.mark.unsanitized("it handles the signal itself"))


@pytest.mark.parametrize("how", ["exit0", "exit1", "exit2", "exit3", SEGV, "abort", "kill"])
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
    """nginx starts the worker again and again; a reload with a repaired file is served."""
    path = nginx.app("broken", f"import os, time\ntime.sleep(0.2)\nos._exit({code})\n")
    nginx.start(f"wsgi_app {path};")
    first = nginx.workers()
    wait_for(lambda: nginx.workers() not in ([], first), 60, "another worker")
    nginx.app("broken", SOURCE)
    nginx.reload()
    assert nginx.client().get("/").status_code == 200
    assert nginx.log_lines("cannot be respawned") == []


KILLERS = {
    "kill": "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
    "segv": "import ctypes; ctypes.string_at(0)",
    "exit": "import os; os._exit(3)",
}


@pytest.fixture(params=["kill", SEGV, "exit"])
def killer(nginx, request):
    """The path of an application whose import ends the worker as long as data/deadly exists."""
    nginx.allow_log(r"\[alert\].* worker process \d+ exited on signal (11|9)")
    (nginx.data / "deadly").touch()
    source = f"""
        import os, testkit
        testkit.record("imports", os.getpid())
        if os.path.exists(testkit.DATA / "deadly"):
            {KILLERS[request.param]}

        def application(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [b"alive"]
    """
    return nginx.app("killer", source)


def get(nginx, path: str) -> int:
    """The status, or 0 if the connection is cut."""
    answer = nginx.raw(f"GET {path} HTTP/1.0\r\n\r\n".encode())
    return int(answer.split()[1]) if answer else 0


def test_an_import_that_ends_the_worker_leaves_the_other_application_alone(nginx, killer):
    """It is tried again after growing pauses, whichever requests arrive."""
    good = nginx.app("good", SOURCE)
    began = time.monotonic()
    nginx.start(f"wsgi_app {killer};", server=f"location /good {{ wsgi_app {good}; }}")
    statuses, cut = {0, 200}, 0
    while len(nginx.log_lines("died while it imported")) < 3:
        statuses.add(get(nginx, "/"))
        cut += get(nginx, "/good") != 200
        assert time.monotonic() - began < 60
    imports = len(nginx.recorded("imports"))
    # The pauses before the third are 1 s and 2 s.
    assert 2 ** (imports - 1) - 1 <= time.monotonic() - began
    assert len(nginx.log_lines("start worker process ")) <= imports + 1
    assert cut <= imports
    assert statuses == {0, 200, 500}
    lines = nginx.log_lines("died while it imported")
    assert all(f'application "{killer}"' in line and "[error]" in line for line in lines)
    assert [line.partition("request after ")[2].split(",")[0] for line in lines] == [
        "1 s",
        "2 s",
        "4 s",
    ]
    assert f"worker process {nginx.recorded('imports')[2]} died" in lines[2]
    assert "as 2 before it" in lines[2]
    for line in nginx.log_lines("os._exit(3) was called"):
        assert line.endswith(f'while application "{killer}" was imported')


def test_an_import_that_no_longer_ends_the_worker(nginx, killer):
    """If the file changes, one worker imports it at once; then all is as usual."""
    nginx.start(f"wsgi_app {killer};")
    nginx.wait_log("died while it imported")
    assert get(nginx, "/") == 500
    (nginx.data / "deadly").unlink()
    killer.write_text(killer.read_text() + "\n# mended\n")
    assert get(nginx, "/") == 200
    assert len(nginx.recorded("imports")) == 2
    nginx.wait_log("imported in")
    nginx.reload()
    assert get(nginx, "/") == 200
    assert len(nginx.log_lines("died while it imported")) == 1


def test_an_import_is_tried_again_after_a_pause(nginx, killer):
    nginx.start(f"wsgi_app {killer};")
    nginx.wait_log("died while it imported")
    (nginx.data / "deadly").unlink()
    wait_for(lambda: get(nginx, "/") == 200, 60, "an answer")
    os.kill(nginx.workers()[0], signal.SIGKILL)
    # The next worker imports it at once.
    nginx.wait_recorded("imports", 3)
    assert get(nginx, "/") == 200
    assert len(nginx.log_lines("died while it imported")) == 1


def test_after_one_death_requests_wait_for_the_import(nginx):
    """It may have been an accident: as at the start, requests wait for the import."""
    nginx.allow_log(r"\[alert\].* worker process \d+ exited on signal 9")
    path = nginx.app(
        "slow",
        """
        import os, signal, testkit
        testkit.record("imports")
        if len((testkit.DATA / "imports").read_text().split()) == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        testkit.gate("go")

        def application(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [b"alive"]
        """,
    )
    nginx.start(f"wsgi_app {path};")
    nginx.wait_log("died while it imported")
    with ThreadPoolExecutor(4) as clients:

        def begins() -> bool:
            first = clients.submit(get, nginx, "/")
            wait_for(lambda: first.done() or len(nginx.recorded("imports")) == 2, 60, "an answer")
            return not first.done()

        wait_for(begins, 60, "another import")
        later = [clients.submit(get, nginx, "/") for _ in range(3)]
        nginx.open_gate("go")
        assert [answer.result() for answer in later] == [200, 200, 200]
