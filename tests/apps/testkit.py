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
