"""Bodies through a wall: long ones, slow clients, and many at once."""

from __future__ import annotations

import hashlib
import threading

import pytest
import websockets.sync.client
from harness import Nginx
from process_memory import forget_peak, peak

APP = """
    import hashlib
    from testkit import record

    BLOCK = bytes(range(256)) * 256

    def application(environ, start_response):
        path = environ["PATH_INFO"]
        if path == "/upload":
            digest, size = hashlib.sha256(), 0
            while block := environ["wsgi.input"].read(100_000):
                digest.update(block)
                size += len(block)
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [f"{size} {digest.hexdigest()}".encode()]
        if path == "/download":
            start_response("200 OK", [("Content-Length", str(256 * len(BLOCK)))])
            return (BLOCK for _ in range(256))
        if path == "/gibibyte":
            start_response("200 OK", [("Content-Length", str(1 << 30))])
            return (BLOCK for _ in range((1 << 30) // len(BLOCK)))
        if path == "/once":
            start_response("200 OK", [("Content-Length", str(256 * len(BLOCK)))])
            return [BLOCK * 256]
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"hello"]
"""
BLOCK = bytes(range(256)) * 256
WHOLE = BLOCK * 256
SLOW = 64
GIBIBYTE = 1 << 30


@pytest.fixture
def serve(nginx):
    def start(settings: str = "", location: str = "", workers: int = 1) -> Nginx:
        app = nginx.app("flow", APP)
        return nginx.start(
            http=f"python_process flow {settings};",
            server=f"""
                client_max_body_size 0;
                send_timeout 600s;
                client_body_timeout 600s;
                location / {{ wsgi_app {app}; wsgi_process flow; {location} }}
            """,
            workers=workers,
        )

    return start


@pytest.mark.parametrize("request_buffering", ["on", "off"])
@pytest.mark.parametrize("buffering", ["on", "off"])
def test_long_bodies_through_the_smallest_ring(nginx, serve, buffering, request_buffering):
    serve("ring=64k", f"wsgi_buffering {buffering}; wsgi_request_buffering {request_buffering};")
    client = nginx.client()
    expected = f"{len(WHOLE)} {hashlib.sha256(WHOLE).hexdigest()}"
    for _ in range(2):
        assert client.post("/upload", content=WHOLE).text == expected
        assert client.get("/download").content == WHOLE
        assert client.get("/once").content == WHOLE


LARGE = """
    async def application(scope, receive, send):
        if scope["type"] == "websocket":
            await send({"type": "websocket.accept"})
            await send({"type": "websocket.send", "bytes": bytes(65 << 20)})
            await send({"type": "websocket.close"})
        else:
            await send({"type": "http.response.start", "status": 204})
            await send({"type": "http.response.body"})
"""


def test_what_is_too_large_for_a_process_fails_alone(nginx):
    app = nginx.app("large", LARGE)
    nginx.start(
        http="python_process large; large_client_header_buffers 4 5m;",
        server=f"location / {{ asgi_app {app}; asgi_process large; }}",
    )
    client = nginx.client()
    assert client.get("/", headers={"Field": "x" * 4_500_000}).status_code == 500
    nginx.wait_log("not carried to its process: its head may have 4 MiB")
    with (
        websockets.sync.client.connect(
            nginx.url(scheme="ws"), max_size=None, compression=None
        ) as connection,
        pytest.raises(websockets.ConnectionClosed) as closed,
    ):
        connection.recv(timeout=60)
    assert closed.value.rcvd is None or closed.value.rcvd.code == 1011
    nginx.wait_log("not carried to nginx's worker: a message of a WebSocket may have 64 MiB")
    assert client.get("/").status_code == 204
    assert len(nginx.log_lines("pywsgi[202]")) == 1


@pytest.mark.parametrize("path", ["/download", "/once"])
def test_slow_clients_hold_no_thread(nginx, serve, path):
    serve("threads=2 ring=64k")
    slow = [nginx.connect(receive=4096) for _ in range(SLOW)]
    for connection in slow:
        connection.get(path)
        assert connection.head().status == 200
    client = nginx.client()
    for _ in range(20):
        assert client.get("/").text == "hello"
    # The others leave.
    for connection in slow[::16]:
        assert len(connection.take(len(WHOLE))) == len(WHOLE)


def test_slow_uploads_hold_no_thread(nginx, serve):
    serve("threads=2 ring=64k")
    size = 1_000_000
    slow = [nginx.connect() for _ in range(SLOW)]
    for connection in slow:
        connection.send(f"POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n")
        connection.send(b"x" * (size // 2))
    client = nginx.client()
    for _ in range(20):
        assert client.get("/").text == "hello"
    for connection in slow:
        connection.send(b"x" * (size // 2))
    for connection in slow:
        assert connection.response().body.startswith(b"1000000 ")


def test_slow_uploads_hold_the_ring_of_nobody(nginx, serve):
    serve("threads=8 ring=64k", "wsgi_request_buffering off;")
    size = 1_000_000
    head = f"POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n".encode()
    slow = [nginx.connect() for _ in range(6)]
    for connection in slow:
        connection.send(head + b"x" * 500_000)
    client = nginx.client()
    for _ in range(20):
        assert client.get("/").text == "hello"
    for connection in slow:
        connection.send(b"x" * 500_000)
    for connection in slow:
        assert connection.response().body.startswith(b"1000000 ")


def test_many_requests_at_once(nginx, serve):
    serve("processes=2 threads=4 ring=64k", workers=2)
    failures = []

    def ask(number: int) -> None:
        with nginx.client() as client:
            for turn in range(30):
                path = ["/", "/download", "/once"][(number + turn) % 3]
                content = client.get(path).content
                if content != (b"hello" if path == "/" else WHOLE):
                    failures.append((path, len(content)))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_a_gibibyte_each_way_takes_little_memory(nginx, serve):
    serve("ring=64k", "wsgi_request_buffering off; wsgi_max_temp_file_size 0;")
    (worker,) = nginx.workers()
    (process,) = nginx.wait_processes("flow", 1)
    client = nginx.client()
    assert client.post("/upload", content=WHOLE).status_code == 200
    assert client.get("/download").content == WHOLE
    before = {pid: forget_peak(pid) for pid in (worker, process)}
    with nginx.connect(receive=4096) as slow, nginx.connect() as connection:
        # A client that takes nothing meanwhile.
        slow.get("/download")
        assert slow.head().status == 200
        connection.send(f"POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: {GIBIBYTE}\r\n\r\n")
        digest = hashlib.sha256()
        for _ in range(GIBIBYTE // len(WHOLE)):
            connection.send(WHOLE)
            digest.update(WHOLE)
        assert connection.response().body == f"{GIBIBYTE} {digest.hexdigest()}".encode()
        connection.get("/gibibyte", close=True)
        assert connection.head().status == 200
        left, received = connection.pending, 0
        while left or (left := connection.sock.recv(1 << 20)):
            at = received % 256
            assert left == (BLOCK * 17)[at : at + len(left)]
            received += len(left)
            left = b""
        assert received == GIBIBYTE
    for pid, size in before.items():
        assert peak(pid) - size < 8 << 20
