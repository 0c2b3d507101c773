"""The memory of a worker with the Django application."""

from __future__ import annotations

import http.client
from concurrent.futures import ThreadPoolExecutor

from accounting import memory, processes
from figures import Cell, Section
from place import Place, Run, StartError, stopped_after
from servers import GUNICORN, OURS

TITLE = "memory of a worker with Django"
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


def _after_requests(place: Place, cell: Cell) -> None:
    with ThreadPoolExecutor(CLIENTS) as clients:
        asked = [clients.submit(_ask, place.port) for _ in range(CLIENTS)]
    for one in asked:
        one.result()
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
