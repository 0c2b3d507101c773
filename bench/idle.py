"""How much thousands of idle connections add to the cost of the busy ones."""

from __future__ import annotations

import socket
import time
from contextlib import ExitStack

from figures import Cell, Section
from pairs import two_rows
from place import Place, Run, allow_files, stopped_after, take_answer
from servers import FLOOR, OURS, Server
from turns import one_round
from works import WSGI

TITLE = "5,000 idle connections beside 16 busy ones"
NUMBER = 5000
IDLE = "{}, 5,000 idle"
NONE_IDLE = "{}, none idle"
# Besides the idle ones: those of wrk and the process itself.
SPARE = 1000


def measure(run: Run, rounds: int, seconds: int) -> Section:
    """hello with and without them, in turn; also for nginx alone, as a baseline."""
    section = Section(TITLE, ["cpu", "rate", "p50", "p99", "generator"])
    for server in (FLOOR, OURS):
        with two_rows(section, server, NONE_IDLE, IDLE) as (without, with_them):
            allow_files(NUMBER + SPARE)
            _one_server(server, run, without, with_them, rounds, seconds)
    return section


def _one_server(
    server: Server, run: Run, without: Cell, with_them: Cell, rounds: int, seconds: int
) -> None:
    work = WSGI["hello"]
    with stopped_after(server.start(run, connections=NUMBER + SPARE)) as place:
        for _ in range(rounds):
            one_round(place, without, work, seconds)
            with ExitStack() as stack:
                for _ in range(NUMBER):
                    stack.enter_context(_kept_alive(place))
                one_round(place, with_them, work, seconds)
            # The server must notice the disconnects before the next round.
            time.sleep(0.5)


def _kept_alive(place: Place) -> socket.socket:
    """A kept-alive connection that has had a response."""
    client = socket.create_connection(("127.0.0.1", place.port), timeout=30)
    client.sendall(b"GET /hello HTTP/1.1\r\nHost: bench\r\n\r\n")
    take_answer(client, b"Hello, World!\n")
    return client
