"""A reload while the applications take their time to import: nobody waits for it, and nothing is
lost."""

from __future__ import annotations

import os
import signal
import threading
import time

import httpx
import pytest
from harness import free_port
from rawhttp import wait_for

WSGI = """
    import os
    import testkit

    testkit.record("imports", "{word}")
    testkit.gate("{word}", 600)

    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"{word} %d" % os.getpid()]
"""

ASGI = """
    import os
    import testkit

    testkit.gate("{word}", 600)

    async def application(scope, receive, send):
        await testkit.respond(send, b"{word} %d" % os.getpid())
"""


class Client(threading.Thread):
    """Asks for a path again and again, on one connection or on a new one each time."""

    def __init__(self, nginx, path: str, *, kept: bool) -> None:
        super().__init__()
        self.path = path
        self.kept = kept
        self.answers: list[str] = []
        self.faults: list[str] = []
        self.over = threading.Event()
        self._url = nginx.url("")

    def run(self) -> None:
        limits = httpx.Limits(max_keepalive_connections=int(self.kept))
        with httpx.Client(
            base_url=self._url, limits=limits, timeout=120, trust_env=False
        ) as client:
            while not self.over.is_set():
                try:
                    answer = client.get(self.path)
                except httpx.HTTPError as error:
                    self.faults.append(f"{self.path}, kept={self.kept}: {error!r}")
                    continue
                if answer.status_code != 200:
                    self.faults.append(f"{self.path}: {answer.status_code}")
                self.answers.append(answer.text)
                time.sleep(0.002)


class Load:
    """A client of each kind for each path."""

    def __init__(self, nginx, paths: tuple[str, ...]) -> None:
        self.clients = [Client(nginx, path, kept=kept) for path in paths for kept in (True, False)]
        for client in self.clients:
            client.start()

    def goes_on(self, count: int = 30) -> None:
        """Each client is answered so often, from now on."""
        before = [len(client.answers) for client in self.clients]

        def went_on() -> bool:
            counts = zip(self.clients, before, strict=True)
            return all(len(client.answers) >= last + count for client, last in counts)

        wait_for(went_on, timeout=60, what="further answers for each client")

    def stop(self) -> None:
        for client in self.clients:
            client.over.set()
        for client in self.clients:
            client.join()

    @property
    def faults(self) -> list[str]:
        return [fault for client in self.clients for fault in client.faults]

    @property
    def words(self) -> set[str]:
        return {answer.split()[0] for client in self.clients for answer in client.answers}


@pytest.fixture
def load(nginx):
    """`load()` begins to ask."""
    loads = []

    def begin() -> Load:
        loads.append(Load(nginx, ("/wsgi", "/asgi", "/page.txt")))
        return loads[-1]

    yield begin
    for each in loads:
        each.stop()
    # An import that still waits would keep a worker from ending.
    for word in set(nginx.recorded("imports")):
        nginx.open_gate(word)


@pytest.fixture
def site(nginx):
    """`site("new")` writes an application of each protocol, whose imports wait for the gate `new`;
    it gives the locations."""

    def write(word: str) -> str:
        wsgi = nginx.app("one", WSGI.format(word=word))
        asgi = nginx.app("two", ASGI.format(word=word))
        return f"""
        location /wsgi {{ wsgi_app {wsgi}; }}
        location /asgi {{ asgi_app {asgi}; }}
        location / {{ }}
        """

    nginx.page("page.txt", "page 0")
    nginx.open_gate("old")
    return write


@pytest.fixture
def old(nginx, site):
    """`old(workers=2)` starts nginx with applications that can be imported, and says which workers
    it has, when all can answer."""

    def start(workers: int = 1, more: str = "", **options) -> list[int]:
        nginx.start(server=site("old") + more, workers=workers, **options)
        wait_imported(nginx, workers)
        return nginx.workers()

    return start


def wait_imported(nginx, workers: int) -> None:
    """So many workers have imported both applications."""
    nginx.wait_imports(2 * workers)


def reload(nginx, word: str, count: int = 1) -> None:
    """Sends HUP, and waits until so many further workers have begun to import."""
    before = nginx.recorded("imports").count(word)
    os.kill(nginx.master, signal.SIGHUP)
    wait_for(
        lambda: nginx.recorded("imports").count(word) >= before + count,
        what="a new worker's import",
    )


def settled(nginx, gone: list[int], count: int) -> None:
    """Those workers have gone, and `count` others are there."""
    wait_for(
        lambda: not set(gone) & set(nginx.workers(leaving=True)) and len(nginx.workers()) == count,
        timeout=90,
        what="new workers alone",
    )


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    ("listen", "events"),
    [("", ""), ("reuseport", ""), ("", "accept_mutex on;")],
    ids=["plain", "reuseport", "mutex"],
)
def test_nobody_waits_for_an_import(nginx, site, old, load, workers, listen, events):
    gone = old(workers, listen=listen, events=events)
    clients = load()
    for word in ("new", "newer"):
        site(word)
        reload(nginx, word, workers)
        clients.goes_on()
        assert word not in clients.words
        nginx.open_gate(word)
        settled(nginx, gone, workers)
        gone = nginx.workers()
        clients.goes_on()
    clients.stop()
    assert clients.faults == []
    assert {"old", "new", "newer"} <= clients.words


def test_a_second_reload_during_the_first(nginx, site, old, load):
    first = old(2)
    clients = load()
    site("new")
    reload(nginx, "new", 2)
    second = [pid for pid in nginx.workers(leaving=True) if pid not in first]
    site("newer")
    reload(nginx, "newer", 2)
    clients.goes_on()
    nginx.open_gate("new")
    nginx.open_gate("newer")
    settled(nginx, first + second, 2)
    clients.goes_on()
    clients.stop()
    assert clients.faults == []
    assert clients.words == {"old", "newer", "page"}


@pytest.mark.parametrize(("before", "after"), [(1, 3), (3, 1)])
def test_more_and_fewer_workers(nginx, site, old, load, before, after):
    gone = old(before)
    clients = load()
    nginx.write_config(server=site("new"), workers=after)
    reload(nginx, "new", after)
    clients.goes_on()
    nginx.open_gate("new")
    settled(nginx, gone, after)
    clients.goes_on()
    clients.stop()
    assert clients.faults == []


def test_a_new_worker_that_is_killed_at_its_start(nginx, site, old, load):
    nginx.allow_log("exited on signal 9")
    gone = old()
    clients = load()
    site("new")
    reload(nginx, "new")
    (new,) = (pid for pid in nginx.workers() if pid not in gone)
    os.kill(new, signal.SIGKILL)
    clients.goes_on()
    assert clients.words == {"old", "page"}
    # The next one puts off what was imported as this one died, and is ready without it.
    nginx.open_gate("new")
    settled(nginx, gone, 1)
    clients.goes_on()
    clients.stop()
    assert [fault for fault in clients.faults if not fault.endswith(": 500")] == []


def test_a_worker_that_dies_is_replaced_without_a_gap(nginx, site, old, load):
    """The other one answers until the new one can."""
    nginx.allow_log("exited on signal 9")
    killed, other = old(2)
    site("new")
    os.kill(killed, signal.SIGKILL)
    nginx.wait_recorded("imports", 3)
    clients = load()
    clients.goes_on()
    assert clients.words == {"old", "page"}
    nginx.open_gate("new")
    wait_imported(nginx, 3)
    clients.goes_on()
    clients.stop()
    assert clients.faults == []
    assert other in nginx.workers()


def test_a_worker_that_is_being_replaced_stays_until_the_new_ones_are_ready(
    nginx, site, old, gate, background
):
    """The only one, which has a request, so that it is still there when the reload begins."""
    held = gate()
    gone = old(
        http="python_max_requests 2; python_drain_timeout 60s;",
        more=f"location /held {{ wsgi_app {held.app}; }}",
    )
    answer = background("/held?hold")
    held.wait_entered(1)
    assert nginx.client().get("/wsgi").text.split()[0] == "old"
    nginx.wait_log("this worker is replaced")
    site("new")
    reload(nginx, "new")
    held.open()
    assert answer.result().status_code == 200
    # It would part for a second, and leave.
    deadline = time.monotonic() + 2
    while time.monotonic() < deadline:
        assert nginx.client().get("/wsgi").text == f"old {gone[0]}"
    with nginx.connect() as connection:
        connection.get("/wsgi")
        assert connection.response().get("Connection") == "keep-alive"
    nginx.open_gate("new")
    settled(nginx, gone, 1)
    assert nginx.client().get("/wsgi").text.split()[0] == "new"


def test_after_the_limit_the_old_workers_leave(nginx, site, old):
    gone = old(http="python_check off timeout=1s;")
    site("never")
    reload(nginx, "never")
    settled(nginx, gone, 1)
    nginx.wait_log("have not started within 1 s")
    assert nginx.client().get("/page.txt").text == "page 0"
    nginx.open_gate("never")


def test_nginx_can_end_during_a_reload(nginx, site, old):
    old(2)
    site("new")
    reload(nginx, "new", 2)
    threading.Timer(1, nginx.open_gate, ["new"]).start()
    nginx.quit()
    assert not nginx.log_lines("have not started")


def test_the_successor_has_no_python(nginx, old):
    gone = old()
    nginx.write_config(server="location / { }")
    os.kill(nginx.master, signal.SIGHUP)
    settled(nginx, gone, 1)
    assert nginx.client().get("/page.txt").text == "page 0"


def test_what_the_new_configuration_adds_is_served_at_once(nginx, site, old):
    """A port that only the new workers listen to."""
    old()
    port = free_port()
    more = f"server {{ listen 127.0.0.1:{port}; location / {{ }} }}"
    nginx.write_config(server=site("new"), http=more)
    reload(nginx, "new")
    with httpx.Client(trust_env=False, timeout=60) as client:
        assert client.get(f"http://127.0.0.1:{port}/page.txt").text == "page 0"
    assert len(nginx.log_lines("imported in")) == 2, "the new worker's import still runs"
    nginx.open_gate("new")


def test_old_connections_are_closed_behind_their_next_response(nginx, site, old):
    gone = old()
    with nginx.connect() as connection:
        connection.get("/wsgi")
        assert connection.response().get("Connection") == "keep-alive"
        site("new")
        reload(nginx, "new")
        nginx.open_gate("new")
        nginx.wait_log("the workers of the new configuration are ready")
        connection.get("/wsgi")
        answer = connection.response()
        assert (answer.status, answer.get("Connection")) == (200, "close")
        settled(nginx, gone, 1)
