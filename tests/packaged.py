"""What each way of installing must show with the sites of packaging/apps.

Each answers; a reload and a TERM under load lose no request.
"""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Protocol

import httpx
from load import BLOCKS, Load, fresh, kept, stream, upload
from rawhttp import wait_for
from websockets.sync.client import connect

Once = Callable[[httpx.Client], None]
# Every kind of request, the most frequent ones twice.
ALL: Sequence[Once] = (fresh, fresh, kept, upload, stream, stream)


class Site(Protocol):
    """An nginx that serves one of apps/, with python_status at /-/status."""

    port: int

    def url(self, path: str = "/") -> str: ...

    def reload(self) -> None:
        """Asks for a reload, as an administrator does."""

    def term(self) -> None:
        """Sends TERM to what has been started."""

    def exit_code(self) -> int:
        """Waits for its exit."""


def django_answers(site: Site) -> None:
    """Views, the admin with its style sheet, and an upload that nginx serves at /media/.

    There is a superuser `ann` with the password `of a test`.
    """
    with httpx.Client(base_url=site.url(""), trust_env=False, timeout=60) as client:
        assert client.post("/", content=b"body").text == "v body"
        login = client.get("/admin/login/")
        (token,) = re.findall(r'name="csrfmiddlewaretoken" value="(\w+)"', login.text)
        (style,) = re.findall(r'href="(/static/admin/css/base[.\w]*css)"', login.text)
        answer = client.get(style)
        assert (answer.status_code, answer.headers["content-type"]) == (200, "text/css")
        form = {"csrfmiddlewaretoken": token, "username": "ann", "password": "of a test"}
        answer = client.post("/admin/login/?next=/admin/", data=form, follow_redirects=True)
        assert answer.status_code == 200
        assert "Site administration" in answer.text
        answer = client.post("/upload", files={"file": ("snow.txt", b"snow" * 10_000)})
        assert answer.status_code == 200
        answer = client.get(answer.text)
        assert answer.content == b"snow" * 10_000
        # By nginx: Django has no route for it.
        assert answer.headers["accept-ranges"] == "bytes"


def flask_answers(site: Site) -> None:
    with httpx.Client(base_url=site.url(""), trust_env=False, timeout=60) as client:
        assert client.post("/", content=b"body").text == "v body"
        assert client.get("/blocks").text == BLOCKS
        assert client.get("/none").status_code == 404


def fastapi_answers(site: Site) -> None:
    """HTTP and a WebSocket."""
    flask_answers(site)
    with connect(f"ws://127.0.0.1:{site.port}/echo", proxy=None) as websocket:
        websocket.send("snow")
        assert websocket.recv(timeout=60) == "v snow"


def workers(site: Site) -> set[int]:
    """The pids of the workers that serve."""
    with httpx.Client(trust_env=False, timeout=60) as client:
        answer = client.get(site.url("/-/status?format=json"))
    assert answer.status_code == 200, answer.text
    return {worker["pid"] for worker in answer.json()["workers"] if worker["state"] == "serving"}


def reload(site: Site) -> None:
    """Reloads, and waits until none of the workers before accepts connections."""
    before = workers(site)
    site.reload()
    wait_for(lambda: workers(site) and not workers(site) & before, 60, "new workers")


@contextmanager
def under_load(site: Site, requests: Sequence[Once] = ALL) -> Iterator[Load]:
    """A client for each of these requests: none is lost, and some are answered at the end."""
    load = Load(site)
    for once in requests:
        load.start(once)
    try:
        yield load
        _goes_on(load)
    finally:
        load.stop()
    assert load.failures == []


def reload_under_load(site: Site, times: int = 2) -> int:
    """Reloads under requests of all kinds, and returns how many were answered."""
    with under_load(site) as load:
        for _ in range(times):
            wait_for(lambda: workers(site), 60, "workers that serve")
            reload(site)
            _goes_on(load)
    return load.answered


def term_under_load(site: Site, streams: int = 12) -> None:
    """Sends TERM during responses and an upload: all are finished, and the exit is clean."""
    with ExitStack() as stack:
        client = stack.enter_context(httpx.Client(trust_env=False, timeout=60))
        answers = []
        for _ in range(streams):
            answer = stack.enter_context(client.stream("GET", site.url("/blocks")))
            assert answer.status_code == 200
            parts = answer.iter_text()
            answers.append((next(parts), parts))
        body = b"u" * 200_000
        sending = stack.enter_context(socket.create_connection(("127.0.0.1", site.port), 60))
        sending.sendall(
            b"POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
            b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(body)
        )
        # Then a worker has accepted it.
        assert sending.recv(1000).startswith(b"HTTP/1.1 100 ")
        sending.sendall(body[:1000])

        site.term()
        wait_for(lambda: _refused(site), 60, "the end of listening")
        sending.sendall(body[1000:])
        for first, parts in answers:
            assert first + "".join(parts) == BLOCKS
        answer = b"".join(iter(lambda: sending.recv(65536), b""))
    head, _, content = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert content == b"v " + body
    began = time.monotonic()
    assert site.exit_code() == 0
    assert time.monotonic() - began < 60


def _goes_on(load: Load) -> None:
    answered = load.answered
    wait_for(lambda: load.answered >= answered + 50, 60, "more requests")


def _refused(site: Site) -> bool:
    try:
        socket.create_connection(("127.0.0.1", site.port), 60).close()
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:
        # It was still in the queue of a socket that nginx has closed: the next one is refused.
        return False
    return False
