"""permessage-deflate (RFC 7692): negotiation, context take-over, limits and broken streams."""

from __future__ import annotations

import random
import zlib

import pytest
import websockets.sync.client
from rawwebsocket import (
    BINARY,
    CLOSE,
    FIN,
    RSV1,
    TEXT,
    close,
    connect,
    frame,
    serve,
)
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

CONTINUATION = 0
TAIL = b"\0\0\xff\xff"
TEXT_OF_1K = "".join(f'{{"id": {number}, "name": "hello"}}, ' for number in range(40))


class Peer:
    """What a client of this extension compresses and inflates with."""

    def __init__(self, bits: int = 15, *, takes_over: bool = True) -> None:
        self.bits = bits
        self.takes_over = takes_over
        self.inflater = zlib.decompressobj(-15)
        self.deflater = zlib.compressobj(wbits=-bits)

    def deflate(self, data: bytes) -> bytes:
        if not self.takes_over:
            self.deflater = zlib.compressobj(wbits=-self.bits)
        deflated = self.deflater.compress(data) + self.deflater.flush(zlib.Z_SYNC_FLUSH)
        assert deflated.endswith(TAIL)
        return deflated[:-4]

    def inflate(self, data: bytes) -> bytes:
        return self.inflater.decompress(data + TAIL)


def offer(parameters: str = "") -> str:
    return f"Sec-WebSocket-Extensions: permessage-deflate{parameters}\r\n"


@pytest.mark.parametrize(
    ("parameters", "accepted"),
    [
        ("", ""),
        ("; client_max_window_bits", "; client_max_window_bits=12"),
        ("; client_max_window_bits=10", "; client_max_window_bits=10"),
        ("; server_max_window_bits=9", "; server_max_window_bits=9"),
        (
            "; server_no_context_takeover; client_no_context_takeover",
            "; server_no_context_takeover; client_no_context_takeover",
        ),
        ("; server_max_window_bits=8, permessage-deflate", ""),
        ("; unknown, x-other, permessage-deflate", ""),
    ],
)
def test_negotiation(nginx, parameters, accepted):
    serve(nginx)
    response = connect(nginx, fields=offer(parameters)).response
    assert response.get("Sec-WebSocket-Extensions") == f"permessage-deflate{accepted}"


def test_what_cannot_be_accepted_is_left_out(nginx):
    serve(nginx)
    for parameters in (
        "; server_max_window_bits=8",
        "; unknown",
        "; client_max_window_bits=7",
        ";",
    ):
        socket = connect(nginx, fields=offer(parameters))
        assert socket.response.get("Sec-WebSocket-Extensions") is None


def test_without_deflate_no_offer_is_accepted(nginx):
    serve(nginx, location="asgi_websocket_deflate off;")
    socket = connect(nginx, fields=offer())
    assert socket.response.get("Sec-WebSocket-Extensions") is None
    socket.send(frame(TEXT, TEXT_OF_1K))
    answer = socket.message()
    assert (answer.first, answer.payload.decode()) == (FIN | TEXT, TEXT_OF_1K)


def test_context_take_over_both_ways(nginx):
    serve(nginx)
    socket = connect(nginx, fields=offer())
    peer = Peer()
    sizes = []
    for _ in range(3):
        deflated = peer.deflate(TEXT_OF_1K.encode())
        socket.send(frame(TEXT, deflated, first=FIN | RSV1))
        answer = socket.message()
        assert answer.first == FIN | RSV1 | TEXT
        assert peer.inflate(answer.payload).decode() == TEXT_OF_1K
        sizes.append((len(deflated), len(answer.payload)))
    assert sizes[1][0] * 2 < sizes[0][0]
    assert sizes[1][1] * 2 < sizes[0][1]


def test_without_context_take_over(nginx):
    serve(nginx)
    parameters = "; server_no_context_takeover; client_no_context_takeover"
    socket = connect(nginx, fields=offer(parameters))
    sizes = set()
    for _ in range(3):
        # Each message can be inflated alone.
        peer = Peer(takes_over=False)
        socket.send(frame(TEXT, peer.deflate(TEXT_OF_1K.encode()), first=FIN | RSV1))
        answer = socket.message()
        assert peer.inflate(answer.payload).decode() == TEXT_OF_1K
        sizes.add(len(answer.payload))
    assert len(sizes) == 1


@pytest.mark.parametrize("bits", range(9, 16))
def test_window_bits(nginx, bits):
    serve(nginx)
    parameters = f"; server_max_window_bits={bits}; client_max_window_bits={bits}"
    socket = connect(nginx, fields=offer(parameters))
    peer = Peer(min(bits, 12))
    # A window of so many bits is enough for the answers.
    peer.inflater = zlib.decompressobj(-bits)
    data = random.Random(bits).randbytes(200) * 300
    for _ in range(2):
        socket.send(frame(BINARY, peer.deflate(data), first=FIN | RSV1))
        assert peer.inflate(socket.message().payload) == data


def test_fragments_of_a_compressed_message(nginx):
    serve(nginx)
    socket = connect(nginx, fields=offer())
    peer = Peer()
    deflated = peer.deflate(TEXT_OF_1K.encode())
    first, second, third = deflated[:1], deflated[1:50], deflated[50:]
    socket.send(
        frame(TEXT, first, first=RSV1)
        + frame(CONTINUATION, second, first=0)
        + frame(CONTINUATION, third, first=0)
        + frame(CONTINUATION, b"")
    )
    assert peer.inflate(socket.message().payload).decode() == TEXT_OF_1K
    socket.send(frame(TEXT, "not compressed"))
    assert socket.message().payload == b"not compressed"


def test_short_and_random_messages_are_not_compressed(nginx):
    serve(nginx)
    socket = connect(nginx, fields=offer())
    peer = Peer()
    for data in (b"", b"x", random.Random(1).randbytes(5000)):
        socket.send(frame(BINARY, peer.deflate(data), first=FIN | RSV1))
        answer = socket.message()
        assert (answer.first, answer.payload) == (FIN | BINARY, data)


def test_a_bomb_within_the_limit_of_what_is_sent(nginx):
    serve(nginx, location="asgi_websocket_max_message_size 64k;")
    socket = connect(nginx, fields=offer())
    deflated = Peer().deflate(bytes(16 << 20))
    assert len(deflated) < 64 * 1024
    socket.send(frame(BINARY, deflated, first=FIN | RSV1))
    answer = socket.message()
    assert (answer.opcode, answer.close_code) == (CLOSE, 1009)
    assert answer.payload[2:] == b"message is larger than 65536 bytes"
    socket.send(close(1009))
    assert socket.ends()
    assert nginx.wait_recorded("disconnect") == ["1009 message is larger than 65536 bytes"]


def test_a_message_as_large_as_the_limit(nginx):
    serve(nginx, location="asgi_websocket_max_message_size 64k;")
    socket = connect(nginx, fields=offer())
    peer = Peer()
    socket.send(frame(BINARY, peer.deflate(bytes(64 << 10)), first=FIN | RSV1))
    assert peer.inflate(socket.message().payload) == bytes(64 << 10)


@pytest.mark.parametrize("payload", [b"\xff\xff", b"\x00\x05\x00\xfb\xff", b"\x06"])
def test_a_corrupt_stream(nginx, payload):
    serve(nginx)
    socket = connect(nginx, fields=offer())
    socket.send(frame(BINARY, payload, first=FIN | RSV1))
    answer = socket.message()
    assert (answer.close_code, answer.payload[2:]) == (1007, b"compressed message is corrupt")
    socket.send(close(1007))
    assert socket.ends()
    assert "[info]" in nginx.wait_log("client broke the WebSocket protocol")


def test_compressed_text_that_is_not_utf8(nginx):
    serve(nginx)
    socket = connect(nginx, fields=offer())
    socket.send(frame(TEXT, Peer().deflate(b"\xff" * 100), first=FIN | RSV1))
    assert socket.message().close_code == 1007


def test_more_connections_than_compressors(nginx):
    serve(nginx)
    sockets = [(connect(nginx, fields=offer()), Peer()) for _ in range(150)]
    for turn in range(3):
        for number, (socket, peer) in enumerate(sockets):
            text = f"{number} {turn} {TEXT_OF_1K}".encode()
            socket.send(frame(TEXT, peer.deflate(text), first=FIN | RSV1))
            assert peer.inflate(socket.message().payload) == text


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"server_no_context_takeover": True},
        {"client_no_context_takeover": True},
        {"server_max_window_bits": 9, "client_max_window_bits": 9},
    ],
)
def test_with_the_library_websockets(nginx, options):
    serve(nginx)
    extensions = [ClientPerMessageDeflateFactory(**options)]
    with websockets.sync.client.connect(
        nginx.url("/", scheme="ws"), extensions=extensions, compression=None, proxy=None
    ) as socket:
        for text in [TEXT_OF_1K, "short", TEXT_OF_1K * 100, ""] * 2:
            socket.send(text)
            assert socket.recv(timeout=60) == text
