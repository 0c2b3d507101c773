"""What test applications share. The harness copies it beside every application."""

import os
import time
from pathlib import Path

DATA = Path(__file__).resolve().parent.parent / "data"


def record(name, text="-"):
    """Appends one line to a file that the test reads with `nginx.recorded(name)`."""
    fd = os.open(DATA / name, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        os.write(fd, f"{text}\n".encode("utf-8", "backslashreplace"))
    finally:
        os.close(fd)


def gate(name, timeout=60):
    """Waits until the test has called `nginx.open_gate(name)`."""
    deadline = time.monotonic() + timeout
    while not (DATA / name).exists():
        if time.monotonic() > deadline:
            raise TimeoutError(f"nobody opened the gate {name}")
        time.sleep(0.01)


async def opened(name, timeout=60):
    """As `gate`, for a task of ASGI: its loop goes on meanwhile."""
    import asyncio

    deadline = time.monotonic() + timeout
    while not (DATA / name).exists():
        if time.monotonic() > deadline:
            raise TimeoutError(f"nobody opened the gate {name}")
        await asyncio.sleep(0.01)


START = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"text/plain")],
}


async def respond(send, body=b"", status=200, headers=START["headers"]):
    """A whole response of ASGI."""
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def read_body(receive):
    """The whole body of a request of ASGI."""
    parts = []
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise ConnectionError(f"{message['type']} in the body")
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


class Blocks:
    """A response's iterable that records each call of its `close` under `name`."""

    def __init__(self, blocks, name="closed"):
        self.blocks = iter(blocks)
        self.name = name

    def __iter__(self):
        return self

    def __next__(self):
        return next(self.blocks)

    def close(self):
        record(self.name)
        close = getattr(self.blocks, "close", None)
        if close is not None:
            close()
