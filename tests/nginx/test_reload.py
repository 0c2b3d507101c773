"""nginx -s reload: no request fails, the new code serves, the old workers exit."""

from __future__ import annotations

import os
import signal
import threading

import httpx
import pytest
from rawhttp import wait_for

SLOW_IMPORT = """
    import os
    import time
    from wsgiref.validate import validator

    from testkit import gate, record

    record("importing")
    {wait}


    def blocks(number):
        for index in range(number):
            time.sleep(0.02)
            yield b"%05d\\n" % index


    @validator
    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain"), ("X-Pid", str(os.getpid()))])
        if environ["PATH_INFO"].endswith("/blocks"):
            return blocks(50)
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        return [b"{version} ", body]
"""
BLOCKS = "".join(f"{index:05d}\n" for index in range(50))


class Load:
    """Clients that send requests without a pause until they are stopped, and collect failures."""

    def __init__(self, nginx) -> None:
        self.nginx = nginx
        self.failures: list[str] = []
        self.answered = 0
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self, once) -> None:
        """Starts a client that calls `once(client)`, one request with its checks, over and over."""

        def run() -> None:
            with httpx.Client(base_url=self.nginx.url(""), timeout=60, trust_env=False) as client:
                while not self._stop.is_set():
                    try:
                        once(client)
                    except Exception as error:
                        with self._lock:
                            self.failures.append(f"{type(error).__name__}: {error}")
                    with self._lock:
                        self.answered += 1

        self._threads.append(threading.Thread(target=run))
        self._threads[-1].start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive()


def fresh(client) -> None:
    """A GET on a connection of its own."""
    answer = client.get("/", headers={"Connection": "close"})
    assert (answer.status_code, answer.text) == (200, "v ")


def kept(client) -> None:
    """A GET on a connection that is kept.

    nginx closes an idle one when its worker leaves. Every client sends a request that crosses that
    once again (RFC 9112, 9.3.1): there is no answer that it could have missed.
    """
    try:
        answer = client.get("/")
    except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError):
        answer = client.get("/")
    assert (answer.status_code, answer.text) == (200, "v ")


def upload(client) -> None:
    """A POST with a body that does not fit into one segment, on a connection of its own."""
    body = b"u" * 200_000
    answer = client.post("/", content=body, headers={"Connection": "close"})
    assert answer.status_code == 200
    assert answer.content == b"v " + body


def stream(client) -> None:
    """A response that takes a second, so that many begin before a reload and end after it."""
    answer = client.get("/blocks", headers={"Connection": "close"})
    assert (answer.status_code, answer.text) == (200, BLOCKS)


def test_ten_reloads_under_load(nginx):
    app = nginx.app("app", SLOW_IMPORT.format(wait="time.sleep(0.2)", version="v"))
    nginx.start(f"wsgi_app {app};", workers=2)
    assert nginx.client().get("/").status_code == 200
    first = nginx.workers()
    load = Load(nginx)
    for once in [fresh, fresh, kept, kept, upload, stream, stream]:
        load.start(once)
    try:
        seen = set(first)
        for _ in range(10):
            nginx.reload()
            now = set(nginx.workers())
            assert not now & seen, "every reload has workers of its own"
            seen |= now
            answered = load.answered
            wait_for(lambda answered=answered: load.answered > answered + 10, 60, "answers")
    finally:
        load.stop()
    assert load.failures == []
    wait_for(
        lambda: set(nginx.workers(leaving=True)) == set(nginx.workers()),
        60,
        "the end of the old workers",
    )
    assert len(nginx.workers()) == 2
    assert nginx.client().get("/").status_code == 200


def test_the_new_code_serves(nginx):
    app = nginx.app("app", SLOW_IMPORT.format(wait="", version="one"))
    nginx.start(f"wsgi_app {app};")
    assert nginx.client().get("/").text == "one "
    nginx.app("app", SLOW_IMPORT.format(wait="", version="two"))
    assert nginx.client().get("/").text == "one ", "the code in memory serves until a reload"
    nginx.reload()
    assert nginx.client().get("/").text == "two "


@pytest.mark.threads("inline the event loop hears of a signal after the call that it is in")
def test_a_response_that_runs_ends_in_the_old_worker(nginx, gate, background):
    held = gate()
    nginx.start(f"wsgi_app {held.app};", workers=1)
    old = nginx.workers()[0]
    answer = background("/?hold")
    held.wait_entered(1)
    nginx.reload()
    new = nginx.client().get("/").text.split()[0]
    assert new != str(old)
    assert not answer.done()
    held.open()
    assert answer.result().text.split()[0] == str(old)
    wait_for(lambda: old not in nginx.workers(leaving=True), what="the end of the old worker")


def test_a_wrong_configuration_keeps_the_old_workers(nginx, gate):
    held = gate()
    nginx.allow_log(r"\[emerg\].*wsgi_thread_pool|\[emerg\].*nowhere")
    nginx.start(f"wsgi_app {held.app};")
    workers = nginx.workers()
    nginx.write_config(f"wsgi_app {held.app}; wsgi_thread_pool nowhere;")
    # The master reads the file and refuses it.
    os.kill(nginx.master, signal.SIGHUP)
    nginx.wait_log("nowhere")
    assert nginx.workers() == workers
    assert nginx.client().get("/").text.split()[0] == str(workers[0])


def test_applications_come_and_go(nginx, gate):
    held = gate()
    nginx.page("index.html", "static")
    nginx.start(f"wsgi_app {held.app};")
    assert nginx.client().get("/").status_code == 200
    nginx.write_config("index index.html;")
    nginx.reload()
    assert nginx.client().get("/").text == "static"
    nginx.write_config(f"wsgi_app {held.app};", workers=2)
    nginx.reload()
    pids = set()
    wait_for(
        lambda: pids.add(nginx.client().get("/").text.split()[0]) or len(pids) == 2,
        what="answers from two workers",
    )


def test_requests_wait_for_an_import_that_takes_long(nginx, background):
    app = nginx.app("app", SLOW_IMPORT.format(wait="gate('import')", version="v"))
    nginx.page("files/static.txt", "static")
    nginx.start(f"wsgi_app {app};", server="location /files/ { }")
    waiting = [background("/") for _ in range(4)]
    assert nginx.client().get("/files/static.txt").text == "static"
    assert not any(answer.done() for answer in waiting), "served while Python imports"
    nginx.open_gate("import")
    assert [answer.result().text for answer in waiting] == ["v "] * 4


def test_two_reloads_at_once(nginx, gate):
    """Each comes while the workers of the one before import."""
    app = nginx.app("app", SLOW_IMPORT.format(wait="time.sleep(1)", version="v"))
    nginx.start(f"wsgi_app {app};")
    first = nginx.workers()
    for number in range(1, 4):
        nginx.wait_recorded("importing", number)
        nginx.reload()
    assert nginx.client().get("/").text == "v "
    wait_for(
        lambda: nginx.workers(leaving=True) == nginx.workers(), 60, "the end of all old workers"
    )
    assert len(nginx.workers()) == 1
    assert nginx.workers() != first
