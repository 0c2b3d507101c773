"""What a static file of the same worker waits while every Python thread is busy computing."""

from __future__ import annotations

import gc
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from statistics import quantiles

from figures import Cell, Section
from place import Place, Run, StartError, stopped_after
from servers import NGINX_GUNICORN, OURS, Server

TITLE = "a static file while all Python threads compute"
BUSY_THREADS = "{}, all computing"
FREE_THREADS = "{}, all idle"
# One connection, one request after the other at this pace: the client must not be what fills the
# processor that the computing leaves.
PACE = 250
THREADS = 8


def measure(run: Run, rounds: int, seconds: int) -> Section:
    """Idle and busy by turns. nginx + gunicorn beside: what two processes on this machine do."""
    section = Section(TITLE, ["p99", "p50"])
    section.note = (
        f"One client asks for a file of 1 KB {PACE} times a second. Computing: {THREADS} "
        "connections, each asking for some tens of milliseconds of nothing but Python. The client "
        "has real-time priority where it may: it stands for one on another machine."
    )
    for server in (OURS, NGINX_GUNICORN):
        free, busy = Cell(), Cell()
        section.rows[FREE_THREADS.format(server.name)] = free
        section.rows[BUSY_THREADS.format(server.name)] = busy
        try:
            _one_server(server, run, free, busy, rounds, seconds)
        except (StartError, OSError) as error:
            free.failed = busy.failed = str(error)
    return section


def _one_server(
    server: Server, run: Run, free: Cell, busy: Cell, rounds: int, seconds: int
) -> None:
    (run.static / "small").write_bytes(b"x" * 1000)
    with stopped_after(server.start(run)) as place:
        for _ in range(rounds):
            _add(free, _latencies(place, seconds))
            with _computing(place):
                _add(busy, _latencies(place, seconds))


@contextmanager
def _computing(place: Place) -> Iterator[None]:
    """wrk keeps every Python thread busy, and takes next to no processor time itself."""
    command = ["wrk", "-t1", f"-c{THREADS}", "-d600s", "--timeout", "30s", f"{place.url}/busy"]
    asking = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        # All threads have begun.
        time.sleep(1)
        yield
        # wrk's sign to stop and to say what there was.
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


@contextmanager
def _as_of_another_machine() -> Iterator[None]:
    """The client waits for no processor, as one elsewhere would not: it waits for the server."""
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    with suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, parameters)


def _latencies(place: Place, seconds: int) -> list[float]:
    """Milliseconds of each request."""
    found = []
    request = b"GET /static/small HTTP/1.1\r\nHost: bench\r\n\r\n"
    gc.disable()
    try:
        with (
            _as_of_another_machine(),
            socket.create_connection(("127.0.0.1", place.port), timeout=30) as client,
        ):
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            begin = time.perf_counter()
            for number in range(PACE * seconds):
                # A late one delays none of those after it.
                time.sleep(max(0.0, begin + number / PACE - time.perf_counter()))
                sent = time.perf_counter()
                client.sendall(request)
                answer = client.recv(65536)
                while not answer.endswith(b"x" * 1000):
                    block = client.recv(65536)
                    if not block:
                        raise OSError(f"the connection was closed: {answer[:100]!r}")
                    answer += block
                found.append((time.perf_counter() - sent) * 1000)
    finally:
        gc.enable()
    return found


def _add(cell: Cell, latencies: list[float]) -> None:
    percentiles = quantiles(latencies, n=100)
    cell.add(p50=percentiles[49], p99=percentiles[98])
