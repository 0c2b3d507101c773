"""Large blocks of responses, which cross in memory that a worker and a process share."""

from __future__ import annotations

import os
import signal
import threading

import pytest
from harness import Nginx
from rawhttp import wait_for
from rawhttp2 import Http2

# Each line has its own number: what is sent from a wrong place is another body.
APP = """
    import struct

    LINE = 64
    RING, SLOTS, TRAYS = 64 * 1024, 1 << 16, 16
    WORDS = 2 * (4 * LINE + RING) + 8 * SLOTS
    BODY = b"".join(b"%8d <p>line</p>\\n" % number for number in range(100_000))

    def taken():
        count = 0
        with open("/proc/self/maps") as maps, open("/proc/self/mem", "rb") as memory:
            for line in maps:
                # It can write to what it shares with a worker alone.
                if "rw-s" in line and "/memfd:pywsgi" in line:
                    memory.seek(int(line.partition("-")[0], 16) + WORDS)
                    words = struct.unpack(f"={TRAYS}Q", memory.read(8 * TRAYS))
                    count += TRAYS - words.count(0)
        return count

    def application(environ, start_response):
        body = str(taken()).encode() if environ["PATH_INFO"] == "/taken" else BODY
        blocks = [body] * (20 if environ["PATH_INFO"] == "/long" else 1)
        length = str(sum(map(len, blocks)))
        start_response("200 OK", [("Content-Type", "text/html"), ("Content-Length", length)])
        return iter(blocks)
"""
BODY = b"".join(b"%8d <p>line</p>\n" % number for number in range(100_000))
# More than there are trays for.
CLIENTS = 24


@pytest.fixture
def serve(nginx):
    def start(settings: str = "", location: str = "", **options: object) -> Nginx:
        app = nginx.app("large", APP)
        return nginx.start(
            http=f"python_process large ring=64k {settings};",
            server=f"location / {{ wsgi_app {app}; wsgi_process large; {location} }}",
            **options,
        )

    return start


def wait_until_all_are_free(nginx: Nginx) -> None:
    client = nginx.client()
    wait_for(lambda: client.get("/taken").text == "0", what="all trays")


def test_many_at_once(nginx, serve):
    serve("processes=2 threads=4", workers=2)
    wrong = []

    def ask() -> None:
        with nginx.client() as client:
            wrong.extend(None for _ in range(10) if client.get("/").content != BODY)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_clients_that_read_nothing(nginx, serve):
    serve()
    slow = [nginx.connect(receive=4096) for _ in range(CLIENTS)]
    for connection in slow:
        connection.get("/")
        assert connection.head().status == 200
    client = nginx.client()
    for _ in range(3):
        assert client.get("/").content == BODY
    for connection in slow:
        assert connection.take(len(BODY)) == BODY
    wait_until_all_are_free(nginx)


def test_clients_that_leave(nginx, serve):
    serve()
    for _ in range(3):
        for connection in [nginx.connect(receive=4096) for _ in range(CLIENTS)]:
            connection.get("/")
            assert connection.head().status == 200
            connection.close()
    wait_until_all_are_free(nginx)
    assert nginx.client().get("/").content == BODY


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ("gzip on;", BODY),
        ("ssi on;", BODY),
        ("sub_filter_once off; sub_filter 'line' 'LINE';", BODY.replace(b"line", b"LINE")),
        ("limit_rate 20m;", BODY),
        ("output_buffers 1 4k; sendfile off;", BODY),
    ],
)
def test_filters(nginx, serve, settings, expected):
    serve(location=settings)
    client = nginx.client()
    for _ in range(3):
        response = client.get("/", headers={"Accept-Encoding": "gzip"})
        assert response.content == expected
        assert ("content-encoding" in response.headers) == settings.startswith("gzip")
    wait_until_all_are_free(nginx)


def test_ranges(nginx, serve):
    serve(location="wsgi_force_ranges on;")
    client = nginx.client()
    response = client.get("/", headers={"Range": "bytes=100000-1900000"})
    assert (response.status_code, response.content) == (206, BODY[100_000:1_900_001])


def test_http_2(nginx, serve):
    serve(http2=True)
    with Http2(nginx.port) as connection:
        streams = [connection.request("/") for _ in range(4)]
        for stream in streams:
            assert connection.response(stream).body == BODY


def test_a_process_that_dies_leaves_what_nginx_sends(nginx, serve):
    serve()
    connection = nginx.connect(receive=4096)
    connection.get("/long")
    assert connection.head().status == 200
    (process,) = nginx.wait_processes("large", 1)
    nginx.allow_log(r"\[alert\].* exited on signal|pywsgi\[\d+\]")
    os.kill(process, signal.SIGKILL)
    # It is cut, and what has come is right.
    received = connection.rest()
    assert 0 < len(received) < 20 * len(BODY)
    assert (20 * BODY).startswith(received)
    wait_for(lambda: nginx.client().get("/").content == BODY, what="the next process")
