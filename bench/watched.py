"""What it costs the requests that somebody watches the status."""

from __future__ import annotations

import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

from figures import Cell, Section
from pairs import two_rows
from place import Place, Run, stopped_after
from servers import WATCHED as SERVER
from turns import one_round
from works import WSGI

TITLE = "hello while somebody watches python_status"
WATCHED = "{}, watched"
UNWATCHED = "{}, unwatched"
# The page asks every two seconds, and Prometheus mostly every fifteen.
PACE = 0.5
FORMATS = ("html", "prometheus")


def measure(run: Run, rounds: int, seconds: int) -> Section:
    """With and without a watcher, in turn."""
    section = Section(TITLE, ["cpu", "rate", "p50", "p99", "generator"])
    section.note = f"A client asks for the page, then for Prometheus's format, every {PACE} s."
    with two_rows(section, SERVER, UNWATCHED, WATCHED) as (without, with_it):
        _one_server(run, without, with_it, rounds, seconds)
    return section


def _one_server(run: Run, without: Cell, with_it: Cell, rounds: int, seconds: int) -> None:
    work = WSGI["hello"]
    with stopped_after(SERVER.start(run)) as place:
        for _ in range(rounds):
            one_round(place, without, work, seconds)
            with _watching(place):
                one_round(place, with_it, work, seconds)


@contextmanager
def _watching(place: Place) -> Iterator[None]:
    """Somebody who has had an answer of each kind, and asks on."""
    ended = threading.Event()
    failed: list[BaseException] = []

    def ask(number: int) -> None:
        url = f"{place.url}/status?format={FORMATS[number % len(FORMATS)]}"
        with urllib.request.urlopen(url, timeout=30) as answer:
            if b"pywsgi" not in answer.read():
                raise OSError("the status is empty")

    def watch() -> None:
        number = 0
        try:
            while not ended.wait(PACE):
                ask(number)
                number += 1
        except OSError as error:
            failed.append(error)

    for number in range(len(FORMATS)):
        ask(number)
    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()
    if failed:
        raise failed[0]
