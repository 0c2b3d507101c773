"""How long a static file of the same worker waits while Python computes."""

from __future__ import annotations

import gc
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import quantiles

from figures import Cell, Section
from pairs import two_rows
from place import Place, Run, stopped_after, take_answer
from servers import Server

TITLE = "a static file while Python computes"
COMPUTING = "{}, computing"
IDLE = "{}, idle"
# One connection, one request after the other at this pace: the client must not use up the
# remaining processor.
PACE = 250
# Enough for all threads of a pool, or for the one of an event loop.
CONNECTIONS = 8
# The static file that is asked for.
FILE = b"x" * 1000


def measure(run: Run, servers: list[Server], rounds: int, seconds: int) -> Section:
    """Idle and busy in turn. A server behind nginx shows how this machine runs two processes."""
    section = Section(TITLE, ["p99", "p50", "waited"])
    section.note = (
        f"One client asks for a file of 1 KB {PACE} times a second. Computing: {CONNECTIONS} "
        "connections, each asking for some tens of milliseconds of nothing but Python."
    )
    for server in servers:
        if not server.installed():
            continue
        with two_rows(section, server, IDLE, COMPUTING) as (free, busy):
            _one_server(server, run, free, busy, rounds, seconds)
    return section


def _one_server(
    server: Server, run: Run, free: Cell, busy: Cell, rounds: int, seconds: int
) -> None:
    (run.static / "small").write_bytes(FILE)
    with stopped_after(server.start(run)) as place:
        for _ in range(rounds):
            free.add(**one_round(place, seconds))
            with _computing(place):
                busy.add(**one_round(place, seconds))


def one_round(place: Place, seconds: int) -> dict[str, float]:
    """Requests only the static file `small`."""
    # nginx was started last; its worker's first thread is the event loop.
    event_loop = str(place.workers(-1)[0])
    before = _waited(event_loop)
    latencies = _latencies(place, seconds)
    return _figures(latencies, _waited(event_loop) - before)


@contextmanager
def _computing(place: Place) -> Iterator[None]:
    """wrk keeps Python busy, and uses almost no processor time itself."""
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", "-d600s", "--timeout", "30s", f"{place.url}/busy"]
    asking = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        # It is busy now.
        time.sleep(1)
        yield
        # Makes wrk stop and print its results.
        asking.send_signal(signal.SIGINT)
        said = asking.communicate(timeout=30)[0]
        if (
            "Socket errors" in said
            or "Non-2xx" in said
            or not re.search(r"[1-9]\d* requests", said)
        ):
            raise OSError(f"/busy: {said}")
    finally:
        if asking.poll() is None:
            asking.kill()
            asking.wait()


def _latencies(place: Place, seconds: int) -> list[float]:
    """The time of each request, in milliseconds."""
    found = []
    request = b"GET /static/small HTTP/1.1\r\nHost: bench\r\n\r\n"
    gc.disable()
    try:
        with socket.create_connection(("127.0.0.1", place.port), timeout=30) as client:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            begin = time.perf_counter()
            for number in range(PACE * seconds):
                # A late request does not delay the next ones.
                time.sleep(max(0.0, begin + number / PACE - time.perf_counter()))
                waited = _waited("thread-self")
                sent = time.perf_counter()
                client.sendall(request)
                take_answer(client, FILE)
                answered = time.perf_counter()
                # A client on another machine would not have waited for this machine's processors.
                own = _waited("thread-self") - waited
                found.append((answered - sent - own) * 1000)
    finally:
        gc.enable()
    return found


def _waited(thread: str) -> float:
    """How long a thread has waited for a processor, in seconds."""
    return int(Path(f"/proc/{thread}/schedstat").read_text().split()[1]) / 1e9


def _figures(latencies: list[float], waited: float) -> dict[str, float]:
    percentiles = quantiles(latencies, n=100)
    return {
        "p50": percentiles[49],
        "p99": percentiles[98],
        "waited": waited * 1000 / len(latencies),
    }
