"""Small blocks for clients that read nothing cost little memory."""

from __future__ import annotations

import socket
from contextlib import ExitStack

import pytest
from process_memory import forget_peak, peak
from rawhttp import Connection, wait_still

CLIENTS = 20
MEBIBYTE = 1 << 20
# If each row were kept as a block of its own, so many would cost far more than is allowed.
ROWS = {1: 100_000, 10: 50_000, 1000: 15_000}

APPLICATION = """
    import time

    made = {}

    def rows(name, size, count, pause):
        # The application itself keeps no rows.
        kinds = [bytes([number]) * size for number in range(251)]
        for number in range(count):
            made[name] = number
            if pause and number % 100 == 0:
                time.sleep(0.001)
            yield kinds[number % 251]
        made[name] = count

    def application(environ, start_response):
        if environ["PATH_INFO"] == "/made":
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [b"%d" % sum(made.values())]
        write = start_response("200 OK", [("Content-Type", "application/octet-stream")])
        form, size, count = environ["QUERY_STRING"].split("-")
        size, count = int(size), int(count)
        name = environ["REMOTE_PORT"]
        if form == "quick":
            return rows(name, size, count, pause=False)
        if form == "slow":
            return rows(name, size, count, pause=True)
        if form == "list":
            return list(rows(name, size, count, pause=False))
        for row in rows(name, size, count, pause=False):
            write(row)
        return []
"""

# What the application does in each mode. (Inline, write() cannot wait: it needs the file.)
FORMS = {
    "threads": ["quick", "slow", "write", "list"],
    "inline": ["quick", "slow", "write", "list"],
    "inline without a file": ["quick", "slow", "list"],
}
MODES = {
    "threads": ("threads", ""),
    "threads, no buffering": ("threads", "wsgi_buffering off;"),
    "threads, no file": ("threads", "wsgi_max_temp_file_size 0;"),
    "threads, small buffers": ("threads", "wsgi_buffer_size 4k;"),
    "threads, gzip": ("threads", "gzip on; gzip_types *;"),
    "threads, ssi": ("threads", "ssi on; ssi_types *;"),
    "inline": ("inline", ""),
    "inline, no buffering": ("inline without a file", "wsgi_buffering off;"),
    "inline, no file": ("inline without a file", "wsgi_max_temp_file_size 0;"),
}


def stingy(nginx, path: str) -> Connection:
    """A client that has sent a request, does not read, and has a small receive buffer."""
    connection = nginx.connect(timeout=120, receive=4096)
    connection.get(path)
    return connection


@pytest.fixture
def closing():
    with ExitStack() as stack:
        yield stack


def wait_until_it_stands_still(client, total: int) -> None:
    """Waits until the applications have made all rows, or make no more of them."""

    def made() -> int:
        # A static file is served meanwhile.
        assert client.get("/file.txt").text == "static"
        return int(client.get("/made").text)

    wait_still(made, 2, until=total)


@pytest.mark.parametrize("size", ROWS)
@pytest.mark.parametrize("mode", MODES)
def test_clients_that_read_nothing_cost_no_memory(nginx, closing, mode, size):
    executor, location = MODES[mode]
    nginx.page("file.txt", "static")
    pool = "inline" if executor.startswith("inline") else "rows"
    nginx.start(
        f"wsgi_app {nginx.app('rows', APPLICATION)}; wsgi_thread_pool {pool}; {location}"
        "send_timeout 600s;",
        http="python_thread_pool rows threads=24;",
        server="location = /file.txt { }",
        listen="sndbuf=32k",
    )
    (worker,) = nginx.workers()
    client = nginx.client()
    assert client.get("/made").text == "0"
    idle = forget_peak(worker)
    forms, count = FORMS[executor], ROWS[size]
    clients = []
    for number in range(CLIENTS):
        form = forms[number % len(forms)]
        clients.append(closing.enter_context(stingy(nginx, f"/?{form}-{size}-{count}")))
    wait_until_it_stands_still(client, CLIENTS * count)
    assert peak(worker) - idle < 64 * MEBIBYTE, f"{(peak(worker) - idle) / MEBIBYTE:.0f} MiB"
    # Nothing is lost, and all is in order.
    expected = b"".join(bytes([number % 251]) * size for number in range(count))
    for connection in clients[: len(forms)]:
        # With a window of 4 KB each would take tens of milliseconds.
        connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, MEBIBYTE)
        response = connection.response()
        assert response.complete
        assert response.body == expected
    assert peak(worker) - idle < 64 * MEBIBYTE, f"{(peak(worker) - idle) / MEBIBYTE:.0f} MiB"


@pytest.mark.parametrize("pool", ["rows", "inline"])
def test_a_long_stream_to_a_client_that_reads_costs_no_memory(nginx, pool):
    """nginx frees what its filters allocate from a request's pool only at the request's end."""
    count = 300_000
    nginx.start(
        f"wsgi_app {nginx.app('rows', APPLICATION)}; wsgi_thread_pool {pool};",
        http="python_thread_pool rows threads=2;",
    )
    (worker,) = nginx.workers()
    assert nginx.client().get("/made").text == "0"
    with nginx.connect() as connection:
        connection.get(f"/?quick-1-{count}")
        assert connection.head().status == 200
        read, idle = 0, 0
        for chunk in connection.chunks():
            read += len(chunk)
            # The pool and buffers have their size by then.
            if not idle and read > count // 10:
                idle = forget_peak(worker)
        assert read == count
    assert peak(worker) - idle < 4 * MEBIBYTE, f"{(peak(worker) - idle) / MEBIBYTE:.1f} MiB"
