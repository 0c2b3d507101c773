"""HTTP/2: streams side by side, and streams that a client resets."""

from __future__ import annotations

import contextlib
import socket
import struct
from pathlib import Path

import pytest
from rawhttp import wait_for, wait_still
from rawhttp2 import Http2


@pytest.mark.threads("one request waits, in a call, for the others")
def test_http_2_multiplexes(nginx):
    path = nginx.app(
        "gated",
        """
        from testkit import gate, record

        def application(environ, start_response):
            number = environ["QUERY_STRING"]
            start_response("200 OK", [("Content-Type", "text/plain")])
            if number == "0":
                record("asleep")
                gate("first")
            else:
                record("others")
            return [number.encode() * 1000]
        """,
    )
    nginx.start(f"wsgi_app {path};", http2=True)
    with Http2(nginx.port) as connection:
        first = connection.request("/?0")
        nginx.wait_recorded("asleep")
        others = [connection.request(f"/?{number}") for number in range(1, 10)]
        for number, stream in enumerate(others, 1):
            assert connection.response(stream).body.decode() == str(number) * 1000
        assert not connection.streams[first].ended
        nginx.open_gate("first")
        assert connection.response(first).body == b"0" * 1000


def test_a_cancelled_http_2_stream_leaves_the_connection_usable(nginx):
    path = nginx.app(
        "endless",
        """
        import time
        from testkit import Blocks

        def endless():
            while True:
                yield b"x" * 1000
                time.sleep(0.01)

        def application(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/plain")])
            if environ["PATH_INFO"] == "/endless":
                return Blocks(endless())
            return [b"fine"]
        """,
    )
    nginx.start(f"wsgi_app {path};", http2=True)
    with Http2(nginx.port) as connection:
        for count in range(1, 4):
            stream = connection.request("/endless")
            connection.until(lambda stream=stream: connection.streams[stream].body)
            connection.reset(stream)
            assert len(nginx.wait_recorded("closed", count)) == count
            assert connection.response(connection.request("/")).body == b"fine"


@pytest.mark.threads("wsgi_request_buffering off needs a thread that waits for the body")
def test_a_cancelled_http_2_upload(nginx):
    path = nginx.app(
        "upload",
        """
        from testkit import record

        def application(environ, start_response):
            try:
                while block := environ["wsgi.input"].read(4):
                    record("block", block.decode())
            except OSError:
                record("end", "cut")
                raise
            record("end", "whole")
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [b"fine"]
        """,
    )
    nginx.start(
        f"wsgi_app {path}; wsgi_request_buffering off;",
        http2=True,
    )
    with Http2(nginx.port) as connection:
        for count in range(1, 4):
            stream = connection.request("/", method="POST", end=False)
            connection.send(stream, b"1234")
            nginx.wait_recorded("block", count)
            connection.reset(stream)
            assert nginx.wait_recorded("end", count)[-1] == "cut"
        stream = connection.request("/", method="POST", end=False)
        connection.send(stream, b"5678", end=True)
        assert connection.response(stream).body == b"fine"
    assert not nginx.log_lines("[error]")


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    head = struct.pack(">I", len(payload))[1:] + bytes([kind, flags])
    return head + struct.pack(">I", stream) + payload


def get_request(stream: int, path: bytes) -> bytes:
    block = b"\x82\x86\x04" + bytes([len(path)]) + path + b"\x01\x01x"
    return frame(1, 5, stream, block)


def unsent(client: socket.socket) -> int:
    """How many bytes the server has sent, and the kernel holds because `client` has no room."""
    addresses = client.getsockname(), client.getpeername()
    ours, theirs = (f":{port:04X}" for _, port in addresses)
    for line in Path("/proc/net/tcp").read_text().splitlines():
        _, local, remote, _, queues, *_ = line.split()
        if local.endswith(theirs) and remote.endswith(ours):
            return int(queues.partition(":")[0], 16)
    return 0


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
        client.sendall(preface + widest + get_request(1, b"/"))
        # Nobody reads: the socket fills in the middle of a frame.
        wait_for(lambda: unsent(client), what="what nginx sends")
        wait_still(lambda: unsent(client))
        client.sendall(frame(3, 0, 1, struct.pack(">I", 8)))
        nginx.wait_log("client canceled stream 1")
        with socket.create_connection(("127.0.0.1", nginx.port)) as other:
            other.sendall(preface + frame(4, 0, 0) + get_request(1, b"/other"))
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
