"""How long a static file waits beside clients that are sent small rows and read nothing."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from figures import Cell, Section
from isolation import FILE, PACE, one_round
from pairs import two_rows
from place import Place, Run, stopped_after
from servers import UNREAD, Server

CLIENTS = 20
SIZES = (1, 10, 1000)
PACES = ("quick", "slow")
TITLE = f"a static file beside {CLIENTS} clients that read nothing"
SENT = "{}, sent rows"
NONE_UNREAD = "{}, no such client"


def measure(run: Run, rounds: int, seconds: int) -> Section:
    """Without and with these clients, in turn."""
    section = Section(TITLE, ["p99", "p50", "waited", "grown"])
    section.note = (
        f"One client asks for a file of 1 KB {PACE} times a second. The others read nothing, have "
        "`SO_RCVBUF` 4096, and are sent rows without end: of 1, 10 and 1,000 bytes, as quickly as "
        "Python makes them or, by threads, also with a pause after each hundred."
    )
    for server in UNREAD:
        with two_rows(section, server, NONE_UNREAD, SENT) as (without, sent):
            _one_server(server, run, without, sent, rounds, seconds)
    return section


def _one_server(
    server: Server, run: Run, without: Cell, sent: Cell, rounds: int, seconds: int
) -> None:
    (run.static / "small").write_bytes(FILE)
    with stopped_after(server.start(run)) as place:
        idle = _resident(place)
        for _ in range(rounds):
            without.add(**one_round(place, seconds), grown=_resident(place) - idle)
            # Inline, a pause would block the event loop.
            with _unread(place, PACES[:1] if "inline" in server.name else PACES):
                sent.add(**one_round(place, seconds), grown=_resident(place) - idle)
            # The applications must notice the disconnects before the next round.
            time.sleep(0.5)


@contextmanager
def _unread(place: Place, paces: tuple[str, ...]) -> Iterator[None]:
    with ExitStack() as stack:
        for number in range(CLIENTS):
            client = stack.enter_context(socket.socket())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(("127.0.0.1", place.port))
            rows = f"{SIZES[number % len(SIZES)]}-{paces[number % len(paces)]}"
            client.sendall(f"GET /rows?{rows} HTTP/1.1\r\nHost: bench\r\n\r\n".encode())
        yield


def _resident(place: Place) -> float:
    """The worker's memory in MB."""
    lines = Path(f"/proc/{place.workers(-1)[0]}/status").read_text().splitlines()
    (size,) = [line.split()[1] for line in lines if line.startswith("VmRSS:")]
    return int(size) / 1024
