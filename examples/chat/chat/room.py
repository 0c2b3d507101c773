"""The room: the pages of this worker, and a socket towards the other workers."""

import asyncio
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

log = logging.getLogger(__name__)

# How many messages wait for a page that is slow to take them.
MAX_WAITING = 100
MAX_BYTES = 64 * 1024


class Room:
    """nginx has several workers, and a page is connected to one of them.

    Each worker has a datagram socket in the same folder, and sends what its pages say to all.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.address = folder / f"{os.getpid()}.sock"
        self.seats: set[asyncio.Queue[str]] = set()
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.setblocking(False)

    async def __aenter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        # A worker that crashed may have had this process id.
        self.address.unlink(missing_ok=True)
        self.socket.bind(str(self.address))
        self.listener = asyncio.create_task(self._listen())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.listener.cancel()
        await asyncio.gather(self.listener, return_exceptions=True)
        self.address.unlink(missing_ok=True)
        self.socket.close()

    @contextmanager
    def seat(self) -> Iterator["asyncio.Queue[str]"]:
        """What the room hears while a page is in it."""
        heard: asyncio.Queue[str] = asyncio.Queue(MAX_WAITING)
        self.seats.add(heard)
        try:
            yield heard
        finally:
            self.seats.discard(heard)

    def say(self, text: str) -> None:
        """Sends `text` to all workers, this one included."""
        for address in self.folder.glob("*.sock"):
            try:
                self.socket.sendto(text.encode(), str(address))
            except (ConnectionRefusedError, FileNotFoundError):
                # Its worker has crashed, or has just left.
                address.unlink(missing_ok=True)
            except BlockingIOError:
                log.warning("the worker of %s is too busy to hear a message", address.name)

    async def _listen(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            text = (await loop.sock_recv(self.socket, MAX_BYTES)).decode()
            for heard in self.seats:
                if heard.full():
                    heard.get_nowait()
                heard.put_nowait(text)
