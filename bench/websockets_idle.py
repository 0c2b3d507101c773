"""The memory of a server that has thousands of idle WebSockets."""

from __future__ import annotations

import time
from dataclasses import replace

import client
from accounting import memory, processes
from figures import Cell, Section
from load import LoadError
from place import Place, Run, StartError, allow_files, stopped_after
from servers import FLOOR, Server
from servers_asgi import NGINX_UVICORN
from works import Echo

NUMBER = 10_000
PLAIN = f"memory of {NUMBER:,} idle WebSockets"
# As a browser's are.
DEFLATE = f"{PLAIN}, deflate negotiated"
ECHO = Echo("/echo", connections=NUMBER)
# Descriptors besides those of the WebSockets.
SPARE = 1000


def of(servers: list[Server]) -> list[Server]:
    """Those that are measured. Behind nginx there would be another 10,000 connections."""
    return [server for server in servers if server not in (FLOOR, NGINX_UVICORN)]


def measure(run: Run, servers: list[Server], rounds: int, *, deflate: bool) -> Section:
    """All processes of each server, before the connections and with them."""
    section = Section(DEFLATE if deflate else PLAIN, ["each", "idle", "with_them"])
    section.note = (
        f"{NUMBER:,} WebSockets that have been accepted and have had no message; the PSS of all "
        "processes of the server, restarted in every round. The kernel's memory is not in it."
    )
    section.rows = {server.name: Cell() for server in servers}
    for number in range(rounds):
        for server in servers[number % len(servers) :] + servers[: number % len(servers)]:
            cell = section.rows[server.name]
            if not cell.failed:
                try:
                    _once(server, run, cell, replace(ECHO, deflate=deflate))
                except (StartError, LoadError, OSError) as error:
                    cell.failed = str(error)
    return section


def _once(server: Server, run: Run, cell: Cell, echo: Echo) -> None:
    allow_files(NUMBER + SPARE)
    with stopped_after(server.start(run, connections=NUMBER + SPARE)) as place:
        # Imports what a WebSocket needs.
        client.check(place, echo)
        time.sleep(0.5)
        before = _pss(place)
        with client.idle(place, echo):
            time.sleep(1)
            with_them = _pss(place)
        cell.add(each=(with_them - before) * 1024 / NUMBER, idle=before, with_them=with_them)


def _pss(place: Place) -> float:
    return sum(memory(pid).pss for session in place.sessions for pid in processes(session))
