"""For the tests of buffering: an application that counts what it gives, and a slow client."""

from __future__ import annotations

import os
from pathlib import Path

from protocols import Protocol
from rawhttp import Connection, wait_for, wait_still

BLOCK = 64 * 1024
BLOCKS = 512
TOTAL = BLOCK * BLOCKS

SOURCE = """
    import os

    async def answer(request):
        if "blocks" not in request.query:
            await request.respond(b"quick")
            return
        headers = [("Content-Type", "application/octet-stream")]
        if "accel" in request.query:
            headers.append(("X-Accel-Buffering", request.query.rpartition("=")[2]))
        count = os.open({folder!r} + "/count", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        try:
            await request.start(200, headers)
            for left in reversed(range({blocks})):
                os.write(count, b"x")
                await request.send(bytes([left % 251]) * {block})
        finally:
            os.close(count)
            open({folder!r} + "/closed", "w").close()
"""
EXPECTED = [bytes([left % 251]) * BLOCK for left in reversed(range(BLOCKS))]


class Flow:
    """The application: `?blocks` streams 32 MB, and `&accel=no` says so in X-Accel-Buffering."""

    # Small kernel buffers, so that nearly all that waits is in nginx.
    LISTEN = "sndbuf=32k"

    def __init__(self, nginx, name: str = "flow", protocol: Protocol | None = None) -> None:
        self.nginx = nginx
        protocol = protocol or Protocol(nginx, "wsgi")
        self.folder: Path = nginx.data / name
        self.folder.mkdir()
        self.folder.chmod(0o777)
        source = SOURCE.format(folder=str(self.folder), block=BLOCK, blocks=BLOCKS)
        self.app = protocol.app(name, source)

    def given(self) -> int:
        """How many bytes the application has given."""
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
