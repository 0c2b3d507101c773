"""The time from a server's start to its first answer."""

from __future__ import annotations

import time

from figures import Cell, Section
from place import Run, StartError, stopped_after
from servers import Server

TITLE = "from start to the first answer"


def measure(run: Run, servers: list[Server], rounds: int, framework: str) -> Section:
    section = Section(TITLE, ["start"])
    section.note = f"The application imports {framework}. Asked every 5 ms until the first answer."
    section.rows = {server.name: Cell() for server in servers}
    for number in range(rounds):
        for server in servers[number % len(servers) :] + servers[: number % len(servers)]:
            cell = section.rows[server.name]
            if not cell.failed:
                _once(server, run, cell)
    return section


def _once(server: Server, run: Run, cell: Cell) -> None:
    begin = time.monotonic()
    try:
        with stopped_after(server.start(run)):
            cell.add(start=time.monotonic() - begin)
    except StartError as error:
        cell.failed = f"does not start: {error}"
