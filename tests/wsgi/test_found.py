"""Faults that were found by attacking the module from outside, each in its smallest form."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import time
from pathlib import Path

import pytest
from rawhttp import wait_for

HEAD = 'start_response("200 OK", [("Content-Type", "text/plain")])'


def test_an_import_that_never_ends_stops_no_other_application(nginx):
    endless = nginx.app("endless", "while True:\n    pass\n")
    good = nginx.app(
        "good",
        f"""\
        def application(environ, start_response):
            {HEAD}
            return [b"good"]
        """,
    )
    # Imported in the order of the configuration.
    nginx.start(
        server=f"""
        location /endless {{ wsgi_app {endless}; wsgi_queue_timeout 1s; }}
        location /good {{ wsgi_app {good}; wsgi_queue_timeout 5s; }}
        """
    )
    client = nginx.client()
    assert client.get("/endless").status_code == 503
    assert client.get("/good").text == "good"


FORK = """\
import os
import sys
import time

def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    child = os.fork()
    if child == 0:
        {end}
    for _ in range(300):
        if os.waitpid(child, os.WNOHANG)[0]:
            return [b"the child has ended"]
        time.sleep(0.01)
    os.kill(child, 9)
    os.waitpid(child, 0)
    return [b"the child lives on"]
"""


@pytest.mark.parametrize(
    "end", ["return [b'x']", "sys.exit(0)", "raise ValueError('in the child')"]
)
def test_a_forked_child_that_leaves_the_application_ends(serve, fetch, end):
    # It has one thread and no event loop; it would keep the listening socket and the client's
    # connection, and its parent waiting, for ever.
    serve(FORK.format(end=end))
    assert fetch().body == b"the child has ended"


def test_an_exception_in_a_forked_child_is_in_the_log(nginx, serve, fetch):
    serve(FORK.format(end="raise ValueError('in the child')"))
    fetch()
    nginx.wait_log("ValueError: in the child", timeout=5)


WRITER = """\
import threading
import time

from testkit import record

class Body:
    def __iter__(self):
        return self

    def __next__(self):
        {next}

    def close(self):
        record("closed")

def application(environ, start_response):
    write = start_response("200 OK", [("Content-Type", "text/plain")])

    def run():
        try:
            while True:
                write(b"w" * 1_000_000)
        except Exception as error:
            record("writer", repr(error))

    threading.Thread(target=run).start()
    time.sleep(1)
    record("returned")
    return Body()
"""


@pytest.mark.parametrize(
    "step", ["raise ValueError('next')", "return b'x' * 1000", "raise StopIteration"]
)
def test_a_write_that_waits_in_another_thread_leaves_close_and_no_panic(nginx, serve, step):
    serve(WRITER.format(next=step), "wsgi_buffering off;")
    with nginx.connect() as client:
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        client.get()
        nginx.wait_recorded("returned", timeout=10)
        time.sleep(0.5)
        client.reset()
    nginx.wait_recorded("writer", timeout=10)
    nginx.wait_recorded("closed", timeout=10)
    assert len(nginx.recorded("closed")) == 1
    assert not nginx.log_lines("panicked")


def test_send_timeout_is_not_for_output_that_waits_for_a_subrequest(nginx):
    """The client takes everything at once: nothing waits for it (ngx_http_upstream.c arms the timer
    only where the connection is not ready for writing)."""
    source = """\
    import time

    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        if environ["PATH_INFO"] == "/slow":
            time.sleep(2)
            return [b"slow"]
        return stream()

    def stream():
        yield b"str"
        time.sleep(0.5)
        yield b"eam"
    """
    nginx.page("page.html", '<!--# include virtual="/slow" -->-<!--# include virtual="/stream" -->')
    nginx.start(
        f"wsgi_app {nginx.app('app', source)};",
        server="send_timeout 1s; location = /page.html { ssi on; }",
    )
    assert nginx.client().get("/page.html").text == "slow-stream"


@pytest.mark.threads("wsgi_request_buffering off needs a thread that waits for the body")
def test_an_error_of_the_application_after_its_client_has_gone_is_an_error(nginx, serve):
    """Only the OSError of the read itself is the client's doing."""
    source = """\
    from testkit import record

    def application(environ, start_response):
        try:
            environ["wsgi.input"].read(3)
            record("reads")
            environ["wsgi.input"].read()
        except OSError:
            pass
        open("/nowhere/at/all")
    """
    serve(source, "wsgi_request_buffering off;")
    with nginx.connect() as client:
        client.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc")
        nginx.wait_recorded("reads")
        client.reset()
    line = nginx.wait_log("/nowhere/at/all")
    assert "[error]" in line


# HTTP/2: a stream that is reset while a frame of it is half written


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    head = struct.pack(">I", len(payload))[1:] + bytes([kind, flags])
    return head + struct.pack(">I", stream) + payload


def get(stream: int, path: bytes) -> bytes:
    block = b"\x82\x86\x04" + bytes([len(path)]) + path + b"\x01\x01x"
    return frame(1, 5, stream, block)


def test_a_reset_stream_never_sends_what_is_another_request_s(nginx):
    app = nginx.app(
        "blocks",
        """
        def application(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/plain")])
            letter = b"B" if environ["PATH_INFO"] == "/other" else b"A"
            return (letter * 16384 for _ in range(1000))
        """,
    )
    nginx.start(f"wsgi_app {app};", listen="http2")
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    widest = frame(4, 0, 0, struct.pack(">HI", 4, 2**31 - 1))
    widest += frame(8, 0, 0, struct.pack(">I", 2**31 - 1 - 65535))
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", nginx.port))
        client.sendall(preface + widest + get(1, b"/"))
        time.sleep(1.5)  # nobody reads: the socket fills in the middle of a frame
        client.sendall(frame(3, 0, 1, struct.pack(">I", 8)))
        time.sleep(0.5)
        with socket.create_connection(("127.0.0.1", nginx.port)) as other:
            other.sendall(preface + frame(4, 0, 0) + get(1, b"/other"))
            assert other.recv(65536)
            client.settimeout(3)
            received = b""
            with contextlib.suppress(TimeoutError):
                while data := client.recv(65536):
                    received += data
    seen = set()
    while len(received) > 9:
        length, kind = int.from_bytes(received[:3], "big"), received[3]
        if kind == 0:
            seen |= set(received[9 : 9 + length])
        received = received[9 + length :]
    assert seen == {ord("A")}


# Temporary files of one long response


def is_deleted(descriptor: Path) -> bool:
    """Is it of a file without a name? One that was closed meanwhile is not."""
    with contextlib.suppress(FileNotFoundError):
        return "(deleted)" in os.readlink(descriptor)
    return False


@pytest.mark.threads(
    "inline the iteration stands still until the client has taken what there was: no file"
)
def test_a_long_response_keeps_no_old_file_open(nginx):
    app = nginx.app(
        "bursts",
        """
        import time

        def application(environ, start_response):
            start_response("200 OK", [("Content-Type", "application/octet-stream")])
            for _ in range(8):
                yield b"x" * (16 << 20)
                time.sleep(0.3)
        """,
    )
    nginx.start(f"wsgi_app {app}; wsgi_buffer_size 64k;")
    [worker] = nginx.workers()
    folder = Path(f"/proc/{worker}/fd")
    received, most = 0, 0

    def files() -> int:
        return sum(map(is_deleted, folder.iterdir()))

    with nginx.client().stream("GET", "/") as response:
        # As long as nobody reads, the application can only go on into a file.
        wait_for(lambda: files() > 0, what="the first file")
        for block in response.iter_raw(1 << 20):
            received += len(block)
            most = max(most, files())
    assert received == 8 * (16 << 20)
    # One that is written, and one that the client does not have all of yet.
    assert 1 <= most <= 2
