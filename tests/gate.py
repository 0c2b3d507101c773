"""An application that waits for its test, so that tests depend on order and not on time."""

from __future__ import annotations

import contextlib
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from protocols import Protocol
from rawhttp import wait_for

SOURCE = """
    import itertools
    import os
    import threading

    FOLDER = {folder!r}
    _numbers = itertools.count()


    async def answer(request):
        if "hold" in request.query:
            name = f"in-{{os.getpid()}}-{{next(_numbers)}}"
            open(os.path.join(FOLDER, name), "w").close()
            await request.wait(lambda: os.path.exists(os.path.join(FOLDER, "open")))
        await request.respond(f"{{os.getpid()}} {{threading.get_native_id()}}".encode())
"""


class Gate:
    """Requests with `?hold` enter and stay until `open()`; all others are answered at once.

    The answer's body is the worker's pid and the thread's id.
    """

    def __init__(self, nginx, name: str, protocol: Protocol) -> None:
        self.folder: Path = nginx.data / name
        self.folder.mkdir()
        self.folder.chmod(0o777)
        self.app = protocol.app(name, SOURCE.format(folder=str(self.folder)))

    def entered(self) -> int:
        """How many requests have been held in the application so far."""
        return len(list(self.folder.glob("in-*")))

    def wait_entered(self, count: int, timeout: float = 30.0) -> None:
        wait_for(lambda: self.entered() >= count, timeout, f"{count} requests in the application")

    def open(self) -> None:
        (self.folder / "open").touch()

    def shut(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            (self.folder / "open").unlink()


@pytest.fixture
def gate(nginx):
    """`gate()` makes a Gate, `gate("other")` a second one. All are opened at the test's end.

    protocol: that of the application, WSGI unless given.
    """
    gates: list[Gate] = []

    def make(name: str = "gate", protocol: Protocol | None = None) -> Gate:
        gates.append(Gate(nginx, name, protocol or Protocol(nginx, "wsgi")))
        return gates[-1]

    yield make
    for each in gates:
        each.open()


@pytest.fixture
def background(nginx):
    """`background("/path")` sends a GET from a thread of its own, and returns a Future."""
    executor = ThreadPoolExecutor(64)

    def get(path: str, **options) -> Future:
        client = nginx.client()
        return executor.submit(client.get, path, **options)

    yield get
    executor.shutdown(wait=False, cancel_futures=True)


__all__ = ["Gate", "background", "gate"]
