"""python_process start=lazy idle=: processes that start Python for a request, and end without."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from directives.venv import fake_venv, packages_of
from harness import Nginx, title_of
from process_memory import proportional
from process_memory import thread_names as threads
from rawhttp import wait_for
from rawwebsocket import TEXT, close, connect, frame

# Says that it was imported, and by which process; `?gate=` waits in a request.
APP = """
    import os
    import testkit

    testkit.record("{name}", str(os.getpid()))

    def application(environ, start_response):
        query = environ["QUERY_STRING"]
        if query.startswith("gate="):
            testkit.record("begun", query)
            testkit.gate(query.partition("=")[2])
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [str(os.getpid()).encode()]
"""


GROUP = "python_process lazy start=lazy"


def is_dormant(pid: int) -> bool:
    """Whether it has no thread of Python's, and says so."""
    return threads(pid) == ["nginx"] and "(dormant)" in title_of(pid)


def wait_dormant(nginx: Nginx, group: str, count: int = 1) -> list[int]:
    def found() -> list[int] | None:
        pids = nginx.processes(group)
        return pids if len(pids) == count and all(map(is_dormant, pids)) else None

    return wait_for(found, 60, f"{count} dormant processes of {group}")


@pytest.fixture
def serve(nginx):
    """Starts the application behind a wall; `settings` are those of its group."""

    def start(settings: str = "start=lazy", *, location: str = "", **options) -> Nginx:
        app = nginx.app("lazy", APP.format(name="lazy"))
        nginx.start(
            http=f"python_process lazy {settings}; {options.pop('http', '')}",
            server=f"""
                location / {{ wsgi_app {app}; wsgi_process lazy; {location} }}
                location = /status {{ python_status json; }}
            """,
            **options,
        )
        return nginx

    return start


def test_python_starts_with_the_first_request(nginx, serve):
    serve(workers=2)
    (pid,) = wait_dormant(nginx, "lazy")
    assert not nginx.recorded("lazy")
    assert nginx.client().get("/").text == str(pid)
    assert nginx.recorded("lazy") == [str(pid)]
    assert "(dormant)" not in title_of(pid)
    assert any(name.startswith("pywsgi") for name in threads(pid))
    assert nginx.client().get("/").text == str(pid)
    nginx.quit()
    assert len(nginx.recorded("lazy")) == 1


def test_a_dormant_process_ends_with_nginx(nginx, serve):
    serve("start=lazy processes=3")
    wait_dormant(nginx, "lazy", 3)
    nginx.quit()
    assert not nginx.recorded("lazy")


def test_after_a_time_without_requests_it_is_dormant_again(nginx, serve):
    serve("start=lazy idle=1s")
    (first,) = wait_dormant(nginx, "lazy")
    assert nginx.client().get("/").text == str(first)
    (second,) = nginx.wait_processes("lazy", 1, but=[first])
    assert wait_dormant(nginx, "lazy") == [second]
    nginx.wait_log('pywsgi[341]: python_process "lazy": this process has had no request for 1 s')
    assert nginx.client().get("/").text == str(second)
    assert nginx.recorded("lazy") == [str(first), str(second)]


def test_without_idle_it_stays(nginx, serve):
    serve()
    pid = nginx.client().get("/").text
    time.sleep(2)
    assert nginx.client().get("/").text == pid


def test_a_request_keeps_it(nginx, serve):
    serve("start=lazy idle=1s", location="wsgi_timeout 60s;")
    with nginx.connect() as connection:
        connection.send(b"GET /?gate=open HTTP/1.1\r\nHost: x\r\n\r\n")
        (pid,) = nginx.wait_processes("lazy", 1)
        nginx.wait_recorded("begun")
        time.sleep(3)
        assert nginx.processes("lazy") == [pid]
        nginx.open_gate("open")
        assert connection.response().body == str(pid).encode()
    nginx.wait_processes("lazy", 1, but=[pid])


def test_a_client_that_has_left_does_not_end_its_request(nginx, serve):
    serve("start=lazy idle=1s", location="wsgi_timeout 60s;")
    with nginx.connect() as connection:
        connection.send(b"GET /?gate=open HTTP/1.1\r\nHost: x\r\n\r\n")
        nginx.wait_recorded("begun")
    (pid,) = nginx.wait_processes("lazy", 1)
    time.sleep(3)
    assert nginx.processes("lazy") == [pid]
    nginx.open_gate("open")
    nginx.wait_processes("lazy", 1, but=[pid])


def test_what_comes_after_a_response_keeps_it(nginx):
    app = nginx.app(
        "after",
        """
        import os
        import testkit

        def application(environ, start_response):
            environ["pywsgi.request"].after_response(lambda: testkit.gate("open"))
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [str(os.getpid()).encode()]
        """,
    )
    nginx.start(f"wsgi_app {app}; wsgi_process lazy;", http=f"{GROUP} idle=1s;")
    pid = int(nginx.client().get("/").text)
    time.sleep(3)
    assert nginx.processes("lazy") == [pid]
    nginx.open_gate("open")
    nginx.wait_processes("lazy", 1, but=[pid])


def test_a_websocket_keeps_it(nginx):
    app = nginx.app(
        "socket",
        """
        async def app(scope, receive, send):
            if scope["type"] == "lifespan":
                raise NotImplementedError
            await receive()
            await send({"type": "websocket.accept"})
            while (await receive())["type"] != "websocket.disconnect":
                await send({"type": "websocket.send", "text": "here"})
        """,
    )
    nginx.start(f"asgi_app {app}:app; asgi_process lazy;", http=f"{GROUP} idle=1s;")
    socket = connect(nginx)
    (pid,) = nginx.wait_processes("lazy", 1)
    time.sleep(3)
    assert nginx.processes("lazy") == [pid]
    socket.send(frame(TEXT, "still there?"))
    assert socket.message().payload == b"here"
    socket.send(close())
    nginx.wait_processes("lazy", 1, but=[pid])


def test_the_second_is_woken_when_the_first_is_busy(nginx, serve):
    serve("start=lazy processes=2 threads=2", location="wsgi_timeout 60s;")
    wait_dormant(nginx, "lazy", 2)
    first = nginx.client().get("/").text
    for _ in range(20):
        assert nginx.client().get("/").text == first
    with contextlib.ExitStack() as stack:
        for count in range(1, 3):
            connection = stack.enter_context(nginx.connect())
            connection.send(b"GET /?gate=open HTTP/1.1\r\nHost: x\r\n\r\n")
            nginx.wait_recorded("begun", count)
        assert nginx.recorded("lazy") == [first]
        second = nginx.client().get("/").text
        assert second != first
        nginx.open_gate("open")
    assert nginx.recorded("lazy") == [first, second]


def test_a_failing_import_is_answered_and_tried_by_the_next(nginx, serve):
    serve("start=lazy idle=1s")
    nginx.app("lazy", "import testkit\ntestkit.record('lazy')\nraise OSError('no disk')\n")
    (first,) = wait_dormant(nginx, "lazy")
    statuses = {nginx.client().get("/").status_code for _ in range(3)}
    assert statuses <= {500, 503} and 500 in statuses
    assert nginx.processes("lazy") == [first]
    (second,) = nginx.wait_processes("lazy", 1, but=[first])
    assert wait_dormant(nginx, "lazy") == [second]
    imports = len(nginx.recorded("lazy"))
    nginx.app("lazy", APP.format(name="lazy"))
    assert nginx.client().get("/").text == str(second)
    assert len(nginx.recorded("lazy")) == imports + 1


def test_reload_with_dormant_processes(nginx, serve):
    serve("start=lazy")
    (first,) = wait_dormant(nginx, "lazy")
    nginx.reload()
    (second,) = nginx.wait_processes("lazy", 1, but=[first])
    assert nginx.client().get("/").text == str(second)
    nginx.reload()
    (third,) = nginx.wait_processes("lazy", 1, but=[second])
    assert wait_dormant(nginx, "lazy") == [third]
    assert nginx.client().get("/").text == str(third)


def test_reload_does_not_wait_for_what_is_dormant(nginx, serve):
    serve("start=lazy", http="python_check on timeout=60s;")
    begin = time.monotonic()
    nginx.reload()
    assert nginx.client().get("/").status_code == 200
    assert time.monotonic() - begin < 30


def test_the_check_tries_them(nginx):
    app = nginx.app("broken", "raise OSError('no disk')")
    result = nginx.check(f"wsgi_app {app}; wsgi_process lazy;", http=f"{GROUP}; python_check on;")
    assert result.returncode != 0
    assert "no disk" in result.stderr


def test_recycling(nginx, serve):
    serve("start=lazy", http="python_max_requests 5;")
    seen = Counter(nginx.client().get("/").text for _ in range(25))
    assert len(seen) >= 3, seen
    assert nginx.recorded("lazy") == [*seen]


def test_one_that_dies_while_dormant(nginx, serve):
    nginx.allow_log(r"\[alert\].* exited on signal 9")
    serve("start=lazy")
    (pid,) = wait_dormant(nginx, "lazy")
    os.kill(pid, signal.SIGKILL)
    (other,) = nginx.wait_processes("lazy", 1, but=[pid])
    assert nginx.client().get("/").text == str(other)


def test_stacks_of_a_dormant_process(nginx, serve):
    serve("start=lazy")
    (pid,) = wait_dormant(nginx, "lazy")
    status = nginx.client().get("/status").json()
    states = [each["state"] for each in status["workers"] if each["pid"] == pid]
    assert states == ["dormant"]
    (group,) = status["processes"]
    assert (group["serving"], group["dormant"]) == (0, 1)


def test_load_that_starts_while_it_leaves(nginx, serve):
    """The pauses are around `idle`, so that requests meet the process in each moment of its end."""
    serve("start=lazy idle=1s", workers=2)
    clients = [nginx.client() for _ in range(4)]
    with ThreadPoolExecutor(len(clients)) as pool:
        for at in range(24):
            responses = list(pool.map(lambda client: client.get("/"), clients))
            assert [response.status_code for response in responses] == [200] * len(clients)
            time.sleep(0.97 + at * 0.005)
    assert len(nginx.recorded("lazy")) >= 2, "it has never left"


SITES = 20


def test_twenty_sites(nginx):
    """Each with a virtual environment of its own."""
    http, server = [], []
    for at in range(SITES):
        venv = fake_venv(nginx.root / f"venv{at}")
        (packages_of(venv) / "site_number.py").write_text(f"NUMBER = {at}\n")
        app = nginx.app(
            f"site{at}",
            f"""
            import os
            import site_number
            import testkit

            testkit.record("site{at}", str(os.getpid()))

            def application(environ, start_response):
                start_response("200 OK", [("Content-Type", "text/plain")])
                return [f"{{site_number.NUMBER}} {{os.getpid()}}".encode()]
            """,
        )
        http.append(f"python_process site{at} home={venv} start=lazy idle=2s;")
        server.append(f"location /{at} {{ wsgi_app {app}; wsgi_process site{at}; }}")
    nginx.start(http="\n".join(http), server="\n".join(server), workers=2)
    client = nginx.client(timeout=60)
    before = {at: wait_dormant(nginx, f"site{at}")[0] for at in range(SITES)}
    sizes = [proportional(pid) for pid in before.values()]
    print("PSS of a dormant process:", max(sizes) // 1024, "KB")
    assert max(sizes) < 4 << 20
    for at in range(SITES):
        assert client.get(f"/{at}").text == f"{at} {before[at]}"
        assert nginx.recorded(f"site{at}") == [str(before[at])]
    for at in range(SITES):
        (pid,) = nginx.wait_processes(f"site{at}", 1, but=[before[at]])
        assert wait_dormant(nginx, f"site{at}") == [pid]
        assert len(nginx.recorded(f"site{at}")) == 1
    assert client.get("/7").text.startswith("7 ")
    assert len(nginx.recorded("site7")) == 2
    assert not re.search(r"pywsgi\[33[123]\].* [1-9]\d* are", nginx.error_log())
