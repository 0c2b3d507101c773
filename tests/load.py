"""Clients that send requests without a pause, for tests that no request fails meanwhile.

The application answers `v ` and the request's body; at /blocks it takes a second to send BLOCKS.
"""

from __future__ import annotations

import threading

import httpx

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
