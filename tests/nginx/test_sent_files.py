"""Files that nginx sends while its filters hold copies of the buffers: none is closed early.

Clients ask for bodies of many lengths and read nothing at first. For some lengths nginx still holds
the end of a body when the file of the buffer seems to be sent. Meanwhile other requests open files:
no body may contain their content. PYWSGI_ROUNDS=5 makes more than 10,000 responses in all.
"""

from __future__ import annotations

import gzip
import os
import socket

import pytest
from harness import free_port
from rawhttp2 import Http2

ROUNDS = int(os.environ.get("PYWSGI_ROUNDS", "1"))

SOURCE = """
    import gzip, tempfile
    from testkit import DATA, record

    kept = []

    def application(environ, start_response):
        way, _, size = environ["QUERY_STRING"].partition("=")
        if way == "open":
            kept.append(open(DATA / "secret", "rb"))
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [b"opened"]
        body, fields = b"P" * int(size), [("Content-Type", "text/html; charset=koi8-r")]
        if environ["PATH_INFO"].startswith("/gunzip"):
            body = gzip.compress(body, 0)
            fields.append(("Content-Encoding", "gzip"))
        if environ["PATH_INFO"].startswith("/ranges"):
            fields.append(("Content-Length", str(len(body))))
        start_response("200 OK", fields)
        if way == "spilled":
            return (body[at : at + 1024] for at in range(0, len(body), 1024))
        file = tempfile.TemporaryFile()
        file.write(body)
        file.seek(0)
        return environ["wsgi.file_wrapper"](file)
"""

FILTERS = {
    "plain": "",
    "ssi": "ssi on;",
    "sub": "sub_filter NONE SOME; sub_filter_once off;",
    "addition": "add_before_body /frame; add_after_body /frame;",
    "gzip": "gzip on; gzip_min_length 0;",
    "gunzip": "gunzip on;",
    "charset": "charset utf-8; source_charset koi8-r; override_charset on;",
    "ranges": "wsgi_force_ranges on;",
    "all": "ssi on; sub_filter NONE SOME; add_after_body /frame; charset utf-8; gzip on; "
    "gzip_min_length 0;",
}

FIELDS = {
    "gzip": {"accept-encoding": "gzip"},
    "all": {"accept-encoding": "gzip"},
    "ranges": {"range": "bytes=1-"},
}

SIZES = range(20_000, 400_000, 8_000)


def start(nginx, listen: str) -> int:
    """Starts nginx with small socket buffers; returns the port of plain HTTP/1.1."""
    path = nginx.app("files", SOURCE)
    (nginx.data / "secret").write_text("SECRET" * 100_000)
    port = free_port()
    locations = "\n".join(
        f"location /{name} {{ wsgi_app {path}; wsgi_buffer_size 4k; {filters} }}"
        for name, filters in FILTERS.items()
    )
    nginx.start(
        server=f"listen 127.0.0.1:{port};\nlocation /frame {{ return 200 frame; }}\n{locations}",
        http="charset_map koi8-r utf-8 { C0 D18E; }\nsendfile on;\nsend_timeout 120s;\n"
        "python_thread_pool default threads=8;",
        listen=f"{listen} sndbuf=16k",
    )
    return port


def open_others(port: int) -> None:
    """Opens as many files as there are bodies that wait."""
    with socket.create_connection(("127.0.0.1", port), 60) as sock:
        for _ in range(len(SIZES) + 8):
            sock.sendall(b"GET /plain?open HTTP/1.1\r\nHost: localhost\r\n\r\n")
            answer = b""
            while not answer.endswith(b"opened"):
                answer += sock.recv(65536)


def check(name: str, size: int, coding: str | None, body: bytes) -> None:
    if coding == "gzip":
        body = gzip.decompress(body)
    expected = b"P" * (size - 1 if name == "ranges" else size)
    frame = b"frame"
    expected = {"addition": frame + expected + frame, "all": expected + frame}.get(name, expected)
    assert len(body) == len(expected)
    assert body == expected


@pytest.mark.parametrize("way", ["file", "spilled"])
def test_each_body_is_its_own(nginx, way):
    port = start(nginx, "")
    for name in list(FILTERS) * ROUNDS:
        lines = "".join(f"{key}: {value}\r\n" for key, value in FIELDS.get(name, {}).items())
        clients = []
        for size in SIZES:
            client = nginx.connect()
            client.get(f"/{name}?{way}={size}", headers=lines, close=True)
            clients.append((size, client))
        open_others(port)
        for size, client in clients:
            with client:
                # A window of less than a segment would only open by a timer of the kernel.
                client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
                answer = client.response()
                assert answer.complete
                check(name, size, answer.get("Content-Encoding"), answer.body)


@pytest.mark.parametrize("way", ["file", "spilled"])
@pytest.mark.parametrize("window", [1_000, 9_999])
def test_each_body_is_its_own_over_http2(nginx, way, window):
    port = start(nginx, "http2")
    for name in list(FILTERS) * ROUNDS:
        with Http2(nginx.port, plain=True, window=window) as client:
            streams = {
                client.request(f"/{name}?{way}={size}", fields=FIELDS.get(name)): size
                for size in SIZES
            }
            open_others(port)
            for stream, size in streams.items():
                answer = client.response(stream)
                assert answer.ended
                check(name, size, answer.headers.get("content-encoding"), answer.body)
