"""For the tests of buffering: an application that counts what it yields, and a slow client."""

from __future__ import annotations

import os
from pathlib import Path

from rawhttp import Connection, wait_for, wait_still

BLOCK = 64 * 1024
BLOCKS = 512
TOTAL = BLOCK * BLOCKS

SOURCE = """
    import os
    from wsgiref.validate import validator

    COUNT = {folder!r} + "/count"
    CLOSED = {folder!r} + "/closed"


    class Blocks:
        def __init__(self, number):
            self.left = number
            self.file = os.open(COUNT, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)

        def __iter__(self):
            return self

        def __next__(self):
            if self.left == 0:
                raise StopIteration
            self.left -= 1
            os.write(self.file, b"x")
            return bytes([self.left % 251]) * {block}

        def close(self):
            os.close(self.file)
            open(CLOSED, "w").close()


    @validator
    def application(environ, start_response):
        if "blocks" not in environ["QUERY_STRING"]:
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [b"quick"]
        headers = [("Content-Type", "application/octet-stream")]
        if "accel" in environ["QUERY_STRING"]:
            headers.append(("X-Accel-Buffering", environ["QUERY_STRING"].rpartition("=")[2]))
        start_response("200 OK", headers)
        return Blocks({blocks})
"""
EXPECTED = [bytes([left % 251]) * BLOCK for left in reversed(range(BLOCKS))]


class Flow:
    """The application: `?blocks` streams 32 MB, and `&accel=no` says so in X-Accel-Buffering."""

    # Small kernel buffers, so that nearly all that waits is in nginx.
    LISTEN = "sndbuf=32k"

    def __init__(self, nginx, name: str = "flow") -> None:
        self.nginx = nginx
        self.folder: Path = nginx.data / name
        self.folder.mkdir()
        self.folder.chmod(0o777)
        source = SOURCE.format(folder=str(self.folder), block=BLOCK, blocks=BLOCKS)
        self.app = nginx.app(name, source)

    def given(self) -> int:
        """How many bytes the application has yielded."""
        count = self.folder / "count"
        return count.stat().st_size * BLOCK if count.exists() else 0

    def is_closed(self) -> bool:
        return (self.folder / "closed").exists()

    def wait_closed(self) -> None:
        wait_for(self.is_closed, 60, "the end of the iteration, with close()")

    def wait_stalled(self) -> int:
        """Waits until the application is no longer asked for more, and returns how many bytes it
        has given."""
        wait_for(lambda: self.given() > 0, what="the first block")
        return wait_still(self.given)

    def slow(self, path: str = "/?blocks") -> Connection:
        """A client with a small receive buffer that has sent a request and does not read."""
        connection = self.nginx.connect(receive=16 * 1024)
        connection.get(path)
        return connection

    def files(self) -> list[str]:
        """Unlinked files that the workers hold open."""
        found = []
        for pid in self.nginx.workers():
            for entry in Path(f"/proc/{pid}/fd").iterdir():
                try:
                    target = os.readlink(entry)
                except OSError:
                    continue
                if target.endswith(" (deleted)"):
                    found.append(target.removesuffix(" (deleted)"))
        return found
