"""A worker that may start no threads (RLIMIT_NPROC; a cgroup's `pids.max` has the same effect)."""

from __future__ import annotations

import os
import resource
import subprocess
import time

import pytest
from harness import Nginx
from rawhttp import Connection, wait_for

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="changes the limits of nginx's processes")

NONE = 1
ALL = resource.getrlimit(resource.RLIMIT_NPROC)[1]

SOURCE = """
    from testkit import gate, record

    def application(environ, start_response):
        if environ["QUERY_STRING"]:
            record("began", environ["QUERY_STRING"])
            gate(environ["QUERY_STRING"])
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"done"]
"""


def limit(pid: int, threads: int) -> None:
    """The soft limit alone, as the user of the process: a container's root may do no more."""
    owner = os.stat(f"/proc/{pid}")
    soft = "unlimited" if threads == resource.RLIM_INFINITY else threads
    subprocess.run(
        ["prlimit", "--pid", str(pid), f"--nproc={soft}:"],
        check=True,
        user=owner.st_uid,
        group=owner.st_gid,
        extra_groups=[],
    )


def as_somebody(nginx: Nginx) -> None:
    if nginx.user == "root":
        pytest.skip("root's processes have no limit")


def test_python_s_main_thread(nginx):
    """Requests are answered 500 at once, static files are served, and the start is tried again."""
    as_somebody(nginx)
    nginx.allow_log(r"\[alert\].*Python's main thread cannot be started")
    nginx.page("files/a.txt", "static")
    path = nginx.app("app", SOURCE)
    nginx.start(f"wsgi_app {path};", server="location /files/ { }")
    limit(nginx.master, NONE)
    nginx.reload()
    nginx.wait_log("Python's main thread cannot be started: ")
    client = nginx.client()
    begin = time.monotonic()
    answers = [client.get("/") for _ in range(3)]
    assert {answer.status_code for answer in answers} == {500}
    assert time.monotonic() - begin < 10, "they wait for nothing"
    assert client.get("/files/a.txt").text == "static"
    nginx.wait_log("Python did not start in this worker")
    assert len(nginx.log_lines("cannot be started")) == 1
    for pid in nginx.workers():
        limit(pid, ALL)
    nginx.wait_log("Python's main thread has been started now")
    wait_for(lambda: client.get("/").status_code == 200, what="the application")
    limit(nginx.master, ALL)


def test_a_worker_without_python_ends(nginx):
    as_somebody(nginx)
    nginx.allow_log(r"\[alert\].*Python's main thread cannot be started")
    nginx.start(f"wsgi_app {nginx.app('app', SOURCE)};", http="python_finalize on timeout=60s;")
    limit(nginx.master, NONE)
    nginx.reload()
    nginx.wait_log("Python's main thread cannot be started: ")
    nginx.quit(timeout=30)


@pytest.mark.threads("inline there is no pool")
def test_a_further_thread_of_a_pool(nginx):
    """The requests share the existing threads, and that is logged once."""
    as_somebody(nginx)
    nginx.allow_log(r"\[alert\].*a thread of python_thread_pool \"default\" cannot be started")
    nginx.start(f"wsgi_app {nginx.app('app', SOURCE)};")
    client = nginx.client()
    assert client.get("/").text == "done"
    (worker,) = nginx.workers()

    def hold(gate: str, count: int) -> list[Connection]:
        clients = [nginx.connect() for _ in range(count)]
        for connection in clients:
            connection.get(f"/?{gate}")
        return clients

    def finish(gate: str, clients: list[Connection]) -> None:
        nginx.open_gate(gate)
        assert {connection.response().body for connection in clients} == {b"done"}

    limit(worker, NONE)
    clients = hold("one", 3)
    nginx.wait_log('a thread of python_thread_pool "default" cannot be started: ')
    assert len(nginx.recorded("began")) < 3
    finish("one", clients)
    limit(worker, ALL)
    number = 0

    def can_be_started() -> bool:
        nonlocal number
        number += 1
        finish(f"more{number}", hold(f"more{number}", 3))
        return bool(
            nginx.log_lines('a thread of python_thread_pool "default" has been started again')
        )

    wait_for(can_be_started, what="another thread")
    assert len(nginx.log_lines("cannot be started")) == 1
