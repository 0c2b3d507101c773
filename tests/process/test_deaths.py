"""A process of a `python_process` that dies: what its clients see, and what the others do."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import httpx
import pytest
from harness import Nginx
from process.load import Load
from rawhttp import wait_for

# `die=` says in which phase of the request, `how=` by what.
APP = """
    import ctypes, os, signal, time
    from testkit import gate, record

    def die(how):
        record("died", how)
        if how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif how == "segv":
            ctypes.string_at(0)
        elif how == "abort":
            os.abort()
        elif how == "memory":
            while True:
                eaten.append(bytearray(os.urandom(1 << 16)) * 16)
        os._exit(2)

    eaten = []

    class Body:
        def __init__(self, args, parts):
            self.args, self.parts = args, iter(parts)

        def __iter__(self):
            return self

        def __next__(self):
            part = next(self.parts)
            if part is None:
                die(self.args["how"])
            return part

        def close(self):
            if self.args.get("die") == "close":
                die(self.args["how"])

    def application(environ, start_response):
        args = dict(pair.split("=") for pair in environ["QUERY_STRING"].split("&") if pair)
        at = args.get("die")
        if "gate" in args:
            record("begun")
            gate(args["gate"])
        if at == "call":
            die(args["how"])
        if at == "read":
            environ["wsgi.input"].read(5)
            die(args["how"])
        start_response("200 OK", [("Content-Type", "text/plain")])
        if at == "head":
            die(args["how"])
        return Body(args, [b"x" * 100_000, None] if at == "block" else [b"hello"])
"""

HOWS = ["kill", "segv", "exit", "abort"]
PHASES = ["call", "read", "head", "block", "close"]
PATHS = ["/", "/other", "/worker"]
DEATHS = 2000 if "PYWSGI_LONG" in os.environ else 60


def descriptors(pid: int) -> list[str]:
    """What a process has open, without what changes with each link."""
    found = []
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found.append(os.readlink(entry).split(":")[0])
        except FileNotFoundError:
            continue
    return sorted(found)


@pytest.fixture
def serve(nginx):
    """Starts the application behind a wall."""

    def start(settings: str = "", *, location: str = "", workers: int = 1) -> Nginx:
        app = nginx.app("mortal", APP)
        other = nginx.app("other", APP)
        within = nginx.app("within", APP)
        nginx.allow_log(r"\[alert\].* exited (on signal (6|9|11)|with fatal code 2)")
        return nginx.start(
            http=f"python_process mortal {settings}; python_process other;",
            server=f"""
                location / {{ wsgi_app {app}; wsgi_process mortal; {location} }}
                location /other {{ wsgi_app {other}; wsgi_process other; }}
                location /worker {{ wsgi_app {within}; }}
            """,
            workers=workers,
        )

    return start


def post(nginx: Nginx, body: bytes) -> bool:
    with nginx.connect() as connection:
        head = f"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        connection.send(head.encode() + body)
        response = connection.response()
    assert (response.status, response.get("Retry-After")) in [(200, None), (503, "1")]
    return response.status == 200


@pytest.fixture
def settled(nginx):
    """The descriptors of a worker or a process once each has a link with each other."""
    client = None

    def count(pid: int) -> list[str]:
        nonlocal client
        client = client or nginx.client()
        for _ in range(3):
            for path in PATHS:
                assert client.get(path).text == "hello"
        return descriptors(pid)

    return count


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("phase", PHASES)
def test_a_process_that_dies_takes_its_own_requests_along(nginx, serve, settled, phase, how):
    serve(location="wsgi_request_buffering off;")
    (worker,) = nginx.workers()
    before = settled(worker)
    (first,) = nginx.wait_processes("mortal", 1)
    with nginx.connect() as waiting, nginx.connect() as dying:
        waiting.get("/other?gate=other")
        nginx.wait_recorded("begun")
        path = f"/?die={phase}&how={how}"
        dying.send(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12345")
        if phase in ("head", "block", "close"):
            # The head may have gone, or not: the process dies at that moment.
            assert b"hello" not in dying.rest() or phase == "close"
        else:
            assert dying.response().status == 502
        # The next one waits for the next process, unless it still went to the one that dies.
        wait_for(lambda: post(nginx, b"x" * 100_000), what="the next process")
        nginx.open_gate("other")
        assert waiting.response().body == b"hello"
    assert nginx.wait_processes("mortal", 1) != [first]
    assert nginx.workers() == [worker]
    wait_for(lambda: settled(worker) == before, what="what was open before")


@pytest.mark.parametrize("how", HOWS)
def test_what_has_not_begun_is_tried_or_refused(nginx, serve, how):
    serve("threads=1")
    with nginx.connect() as dying, nginx.connect() as reads, nginx.connect() as writes:
        dying.get(f"/?gate=die&die=call&how={how}")
        nginx.wait_recorded("begun")
        reads.get("/")
        writes.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx")
        # They wait behind the first one, in that process.
        assert reads.quiet(0.3) and writes.quiet(0.1)
        nginx.open_gate("die")
        assert dying.response().status == 502
        refused = writes.response()
        assert refused.status == 503 and refused.get("Retry-After") == "1"
        assert reads.response().body == b"hello"
    assert nginx.log_lines(r"1 are answered 502 or cut, 1 are answered 503, and 1 are tried")


def test_the_other_process_serves_meanwhile(nginx, serve):
    serve("processes=2", workers=2)
    pids = nginx.wait_processes("mortal", 2)
    os.kill(pids[0], signal.SIGSTOP)
    try:
        # What it has not begun waits for it; what comes later goes to the other.
        statuses = []
        clients = [nginx.client() for _ in range(4)]

        def ask(client):
            statuses.append(client.get("/").status_code)

        threads = [threading.Thread(target=ask, args=(client,)) for client in clients]
        for thread in threads:
            thread.start()
        wait_for(lambda: statuses, what="the other process")
        os.kill(pids[0], signal.SIGKILL)
        for thread in threads:
            thread.join(60)
        assert statuses == [200] * 4
    finally:
        wait_for(lambda: pids[0] not in nginx.processes("mortal"), what="its end")


def test_a_worker_that_dies_leaves_nothing_behind(nginx, serve):
    serve("threads=2")
    (process,) = nginx.wait_processes("mortal", 1)

    def asks() -> bool:
        with nginx.connect() as connection:
            connection.get("/", close=True)
            return connection.response().body == b"hello"

    assert asks()
    before = descriptors(process)
    for number in range(4):
        (worker,) = nginx.workers()
        with nginx.connect() as connection:
            connection.get(f"/?gate=gate{number}")
            nginx.wait_recorded("begun", number + 1)
            os.kill(worker, signal.SIGKILL)
            wait_for(lambda worker=worker: [*nginx.workers(), worker][0] != worker, what="the next")
        # The other thread serves, and the first one again after its application has ended.
        assert asks()
        nginx.open_gate(f"gate{number}")
    assert nginx.processes("mortal") == [process]
    wait_for(lambda: asks() and descriptors(process) == before, what="what was open before")


@pytest.fixture
def short_of_memory():
    """A function that lets a process have little memory: the kernel kills it when it takes more."""
    for place, limit in (
        ("memory", "memory.limit_in_bytes"),
        ("unified", "memory.max"),
        ("", "memory.max"),
    ):
        folder = Path("/sys/fs/cgroup", place, f"pywsgi-memory-{os.getpid()}")
        try:
            folder.mkdir()
        except OSError:
            continue
        if (folder / limit).exists():
            break
        folder.rmdir()
    else:
        pytest.skip("needs root, and a cgroup with a limit of memory")
    (folder / limit).write_text(str(64 << 20))
    yield lambda pid: (folder / "cgroup.procs").write_text(str(pid))
    wait_for(lambda: not (folder / "cgroup.procs").read_text(), 60, "an empty cgroup")
    folder.rmdir()


def test_a_process_that_takes_too_much_memory(nginx, serve, short_of_memory):
    serve()
    (worker,) = nginx.workers()
    client = nginx.client()
    for _ in range(3):
        assert client.get("/").text == "hello"
        (pid,) = nginx.wait_processes("mortal", 1)
        short_of_memory(pid)
        assert client.get("/?die=call&how=memory").status_code == 502
        assert client.get("/other").text == "hello"
    assert client.get("/").text == "hello"
    assert nginx.workers() == [worker]


@pytest.mark.timeout(1800)
def test_deaths_under_load(nginx, serve):
    """Nobody else notices, and nothing is left of them. `make test-long`: 2,000 of them."""
    serve("processes=2 threads=4 queue=64", workers=2)
    client = nginx.client()
    paths = ["/other", "/worker"] * 2
    # One in each worker, and three in the processes.
    nginx.wait_imports(5)
    workers = nginx.workers()
    before = [left_over(nginx, pid) for pid in workers]
    with Load(nginx, paths) as load:
        for number in range(DEATHS):
            phase, how = PHASES[number % len(PHASES)], HOWS[number % len(HOWS)]
            try:
                status = client.get(f"/?die={phase}&how={how}").status_code
                assert status == 502 or phase in ("head", "block", "close")
            except (httpx.RemoteProtocolError, httpx.ReadError):
                assert phase in ("head", "block", "close")
            assert client.get("/").text == "hello"
        assert client.get("/").text == "hello"
    assert load.answers() == [{(200, "hello")}] * len(paths)
    assert nginx.workers() == workers
    assert len(nginx.recorded("died")) == DEATHS
    nginx.wait_processes("mortal", 2)
    client.close()
    for pid, old in zip(workers, before, strict=True):
        wait_for(lambda pid=pid, old=old: left_over(nginx, pid) <= old, 60, "what was there before")
    assert not [path for path in (nginx.root / "tmp").rglob("*") if path.is_file()]


def left_over(nginx: Nginx, pid: int) -> tuple[int, int]:
    """How many descriptors a worker has, and rings."""
    with nginx.client() as client:
        for path in PATHS:
            assert client.get(path).text == "hello"
    rings = Path(f"/proc/{pid}/maps").read_text().count("/memfd:pywsgi")
    return len(descriptors(pid)), rings
