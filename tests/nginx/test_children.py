"""Child processes of an application inherit no connection and no listening socket of nginx."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from pathlib import Path

import pytest
from rawhttp import wait_for
from rawhttp2 import Http2

SOURCE = """
    import multiprocessing, os, subprocess, time
    from testkit import gate, record

    SLEEP = ["/bin/sleep", "120"]

    def forked():
        pid = os.fork()
        if pid == 0:
            time.sleep(120)
            os._exit(0)
        return pid

    def multiprocessed():
        process = multiprocessing.get_context("fork").Process(target=time.sleep, args=(120,))
        process.start()
        return process.pid

    WAYS = {
        "system": lambda: os.system(f"{' '.join(SLEEP)} & echo $! >{DATA}/system"),
        "spawn": lambda: os.posix_spawn(SLEEP[0], SLEEP, os.environ),
        "popen": lambda: subprocess.Popen(SLEEP, close_fds=False).pid,
        "fork": forked,
        "multiprocessing": multiprocessed,
    }

    def application(environ, start_response):
        way = environ["QUERY_STRING"]
        if way == "slow":
            record("slow")
            gate("slow")
        elif way == "many":
            for _ in range(20):
                subprocess.run(["/bin/true"], check=True)
        elif way:
            pid = WAYS[way]()
            if way == "system":
                pid = open(f"{DATA}/system").read().strip()
            record("child", pid)
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "2")])
        return [b"ok"]
"""

WAYS = ["system", "spawn", "popen", "fork", "multiprocessing"]
# Inline, they are children of the event loop's thread as well.
EXECUTORS = ["default", "inline"]


@pytest.fixture
def start(nginx):
    """Starts nginx; at the end the children that applications have recorded are killed."""

    def begin(executor: str, **options: str) -> None:
        source = f"    DATA = {str(nginx.data)!r}\n{SOURCE}"
        path = nginx.app("children", source)
        nginx.start(
            f"wsgi_app {path}; wsgi_thread_pool {executor};",
            http="keepalive_timeout 1s;",
            server="location /static { return 200 ok; }",
            **options,
        )

    yield begin
    for pid in nginx.recorded("child"):
        os.kill(int(pid), signal.SIGKILL)


def check_child(nginx) -> None:
    """Checks that the child is alive."""
    (pid,) = nginx.wait_recorded("child")
    os.kill(int(pid), 0)


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize("way", WAYS)
def test_connections_end_while_the_child_lives(nginx, start, way, executor):
    start(executor)
    with nginx.connect() as idle, nginx.connect() as own:
        idle.get("/")
        assert idle.response().body == b"ok"
        own.get(f"/?{way}", close=True)
        assert own.response().body == b"ok"
        # Neither the connection of the request that has forked, nor another one.
        assert own.rest() == b""
        assert idle.rest() == b""
        check_child(nginx)


@pytest.mark.parametrize("way", WAYS)
def test_a_connection_that_no_application_has_served_ends_as_well(nginx, start, way):
    start("default")
    with nginx.connect() as idle:
        idle.get("/static")
        assert idle.response().body == b"ok"
        assert nginx.client().get(f"/?{way}").text == "ok"
        assert idle.rest() == b""
        check_child(nginx)


@pytest.mark.parametrize("way", WAYS)
def test_one_of_http2_does(nginx, start, way):
    start("default", listen="http2")
    with Http2(nginx.port, plain=True) as idle, Http2(nginx.port, plain=True) as own:
        assert idle.response(idle.request("/static")).body == b"ok"
        assert own.response(own.request(f"/?{way}")).body == b"ok"
        # nginx shuts such a connection down before it closes it: the client cannot tell whether a
        # child holds it.
        (pid,) = nginx.wait_recorded("child")

        def sockets() -> list[str]:
            found = []
            for entry in Path(f"/proc/{pid}/fd").iterdir():
                # A program that starts opens and closes its libraries.
                with contextlib.suppress(FileNotFoundError):
                    found.append(os.readlink(entry))
            return [target for target in found if target.startswith("socket:")]

        wait_for(lambda: not sockets(), what="a child without a socket")


@pytest.mark.parametrize("way", ["system", "spawn", "popen"])
def test_a_program_has_nothing_of_nginx_s(nginx, start, way):
    start("default")
    assert nginx.client().get(f"/?{way}").text == "ok"
    (pid,) = nginx.wait_recorded("child")

    def numbers() -> list[str]:
        return sorted(entry.name for entry in Path(f"/proc/{pid}/fd").iterdir())

    # While it starts it has its libraries open.
    wait_for(lambda: numbers() == ["0", "1", "2"], what="the program with its output alone")


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize("way", WAYS)
def test_the_port_is_free_after_nginx_has_ended(nginx, start, way, executor):
    start(executor)
    with nginx.connect() as connection:
        connection.get(f"/?{way}", close=True)
        assert connection.response().body == b"ok"
    # Now, because multiprocessing joins its children at a worker's exit.
    for pid in [nginx.master, *nginx.workers()]:
        os.kill(pid, signal.SIGKILL)

    def is_free() -> bool:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", nginx.port))
                probe.listen()
            except OSError:
                return False
            return True

    wait_for(is_free, what="a port that nobody listens on")
    check_child(nginx)


@pytest.mark.threads("a request runs while another client hangs up")
@pytest.mark.parametrize("way", WAYS)
def test_a_client_that_hangs_up_takes_no_other_with_it(nginx, start, way):
    """Its connection was still open in the child, and another connection had its number."""
    start("default")
    maker = nginx.connect()
    maker.get(f"/?{way}", close=True)
    assert maker.rest().endswith(b"ok")
    with nginx.connect() as slow:
        slow.get("/?slow")
        nginx.wait_recorded("slow")
        maker.close()
        assert nginx.client().get("/").text == "ok"
        nginx.open_gate("slow")
        assert slow.response().body == b"ok"
    check_child(nginx)


@pytest.mark.parametrize("executor", EXECUTORS)
def test_the_end_of_a_child_does_not_disturb_the_event_loop(nginx, start, executor):
    start(executor)
    with nginx.connect() as connection:
        connection.get("/?many")
        assert connection.response().body == b"ok"
    assert "epoll_wait() failed" not in nginx.error_log()


def test_what_a_child_of_a_daemon_prints_is_in_the_log(nginx, daemon):
    client = daemon(
        """
        import os, subprocess

        def application(environ, start_response):
            os.system("echo token-1; echo token-2 >&2")
            subprocess.run(["/bin/echo", "token-3"], check=True)
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [b"ok"]
        """
    )
    assert client.get("/").text == "ok"
    for number in (1, 2, 3):
        nginx.wait_log(f"token-{number}")


@pytest.mark.parametrize("executor", EXECUTORS)
def test_an_upload_s_file_is_not_a_program_s(nginx, executor):
    app = nginx.app(
        "programs",
        """
        import os
        from testkit import DATA

        def application(environ, start_response):
            os.system(f"ls -l /proc/self/fd >{DATA}/seen")
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [environ["wsgi.input"].read()]
        """,
    )
    nginx.start(f"wsgi_app {app}; wsgi_thread_pool {executor}; client_body_buffer_size 1k;")
    body = b"x" * 50_000
    assert nginx.client().post("/", content=body).content == body
    seen = nginx.recorded("seen")
    assert any("/dev/null" in line for line in seen)
    assert not [line for line in seen if "/tmp/body" in line]
