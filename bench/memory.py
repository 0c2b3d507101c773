"""The memory of servers with the Django application."""

from __future__ import annotations

import http.client
from concurrent.futures import ThreadPoolExecutor

from accounting import memory, processes
from figures import Cell, Section
from place import Place, Run, StartError, stopped_after
from servers import GUNICORN, OURS, TWO_WALLED

TITLE = "memory of a worker with Django"
WHOLE = "memory of an nginx of four workers with Django"
WORKERS = 4
CLIENTS = 16
REQUESTS = 4000


def measure(run: Run, rounds: int) -> Section:
    """One worker of 8 threads and no other server, because PSS divides shared pages."""
    section = Section(TITLE, ["pss", "private", "rss", "others"])
    section.note = (
        f"After {REQUESTS} requests on {CLIENTS} connections to a Django view with a template and "
        "an SQLite query; 8 threads; each server started anew in every round, alone. The worker is "
        "nginx's worker process, and gunicorn's."
    )
    for server in (OURS, GUNICORN):
        section.rows[server.name] = Cell()
    for _ in range(rounds):
        for server in (OURS, GUNICORN):
            cell = section.rows[server.name]
            if not cell.failed:
                try:
                    with stopped_after(server.start(run, app="shop", path="/django")) as place:
                        _after_requests(place, cell)
                except (StartError, OSError) as error:
                    cell.failed = str(error)
    return section


def measure_whole(run: Run, rounds: int) -> Section:
    """Four workers that have the application each, and four that send to two processes."""
    section = Section(WHOLE, ["pss"])
    section.note = (
        f"All processes of an nginx with {WORKERS} workers, after the same requests: the"
        " application in each worker, or in two processes of its own."
    )
    for server in (OURS, TWO_WALLED):
        section.rows[server.name] = Cell()
    for _ in range(rounds):
        for server in (OURS, TWO_WALLED):
            cell = section.rows[server.name]
            if not cell.failed:
                try:
                    started = server.start(run, app="shop", path="/django", count=WORKERS)
                    with stopped_after(started) as place:
                        _ask_all(place)
                        cell.add(pss=sum(memory(pid).pss for pid in processes(place.sessions[0])))
                except (StartError, OSError) as error:
                    cell.failed = str(error)
    return section


def _ask_all(place: Place) -> None:
    with ThreadPoolExecutor(CLIENTS) as clients:
        asked = [clients.submit(_ask, place.port) for _ in range(CLIENTS)]
    for one in asked:
        one.result()


def _after_requests(place: Place, cell: Cell) -> None:
    _ask_all(place)
    workers = place.workers()
    if len(workers) != 1:
        raise OSError(f"{len(workers)} workers instead of one")
    of_worker = memory(workers[0])
    others = [pid for session in place.sessions for pid in processes(session) if pid != workers[0]]
    cell.add(
        pss=of_worker.pss,
        private=of_worker.private,
        rss=of_worker.rss,
        others=sum(memory(pid).pss for pid in others),
    )


def _ask(port: int) -> None:
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    for _ in range(REQUESTS // CLIENTS):
        client.request("GET", "/django")
        response = client.getresponse()
        response.read()
        if response.status != 200:
            raise OSError(f"/django: {response.status}")
    client.close()
