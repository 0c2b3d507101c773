"""WebSockets as bytes, for what an ordinary client hides: frames, masks, broken rules."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from rawhttp import Connection, Response

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
FIN, RSV1, RSV2, RSV3 = 0x80, 0x40, 0x20, 0x10

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

HANDSHAKE = (
    "GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n{{fields}}\r\n"
)

# Answers each message with the same message, and records how the connection has ended.
ECHO = """
    from testkit import record

    async def application(scope, receive, send):
        assert scope["type"] == "websocket", scope
        assert await receive() == {"type": "websocket.connect"}
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            await send({**message, "type": "websocket.send"})
        record("disconnect", f"{message['code']} {message['reason']}")
"""


@dataclass
class Frame:
    """One frame of the server's."""

    first: int
    payload: bytes

    @property
    def opcode(self) -> int:
        return self.first & 0x0F

    @property
    def close_code(self) -> int | None:
        """The code of a close frame; None if it has none."""
        assert self.opcode == CLOSE, self
        return struct.unpack("!H", self.payload[:2])[0] if self.payload else None


def frame(
    opcode: int,
    payload: bytes | str = b"",
    *,
    first: int = FIN,
    mask: bytes | None = b"\x37\xfa\x21\x3d",
    length: bytes | None = None,
) -> bytes:
    """A client's frame; `first`: FIN and the reserved bits, `length`: another form of it."""
    if isinstance(payload, str):
        payload = payload.encode()
    if length is None:
        size = len(payload)
        if size < 126:
            length = bytes([size])
        elif size < 65536:
            length = struct.pack("!BH", 126, size)
        else:
            length = struct.pack("!BQ", 127, size)
    head = bytes([first | opcode, length[0] | (0x80 if mask else 0)]) + length[1:]
    if mask is None:
        return head + payload
    key = int.from_bytes(mask * (len(payload) // 4 + 1))
    padded = payload.ljust(len(mask) * (len(payload) // 4 + 1), b"\0")
    masked = (int.from_bytes(padded) ^ key).to_bytes(len(padded))
    return head + mask + masked[: len(payload)]


def close(code: int | None = 1000, reason: str | bytes = b"") -> bytes:
    """A client's close frame."""
    if isinstance(reason, str):
        reason = reason.encode()
    return frame(CLOSE, b"" if code is None else struct.pack("!H", code) + reason)


class WebSocket:
    """A client's WebSocket over a connection whose handshake has been sent."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.response: Response = connection.head()
        assert self.response.status == 101, self.response

    def send(self, data: bytes) -> None:
        self.connection.send(data)

    def frame(self) -> Frame | None:
        """The server's next frame; None if the connection ends first."""
        head = self.connection.take(2)
        if len(head) < 2:
            return None
        first, size = head
        assert not size & 0x80, "a server's frames are not masked"
        if size == 126:
            (size,) = struct.unpack("!H", self.connection.take(2))
        elif size == 127:
            (size,) = struct.unpack("!Q", self.connection.take(8))
        payload = self.connection.take(size)
        assert len(payload) == size, "the connection ended in the middle of a frame"
        return Frame(first, payload)

    def message(self) -> Frame:
        """The server's next message, which is one frame; pings are answered."""
        while True:
            received = self.frame()
            assert received is not None, "the connection ended"
            if received.opcode == PING:
                self.send(frame(PONG, received.payload))
            elif received.opcode != PONG:
                return received

    def ends(self) -> bool:
        """Reads on; whether the server then closes the connection without sending more."""
        return self.connection.rest() == b""


def serve(nginx, source: str = ECHO, location: str = "", **options):
    """Starts nginx with this application in `location /`; without pings unless they are set."""
    text = f"asgi_app {nginx.app('app', source)};\nasgi_lifespan off;\n{location}\n"
    if "asgi_websocket_ping_interval" not in location:
        text += "asgi_websocket_ping_interval 0;\n"
    return nginx.start(text, **options)


def handshake(nginx, path: str = "/", fields: str = "", **options) -> Connection:
    """A connection on which a handshake has been sent."""
    connection = nginx.connect(**options)
    connection.send(HANDSHAKE.format(path=path, fields=fields))
    return connection


def connect(nginx, path: str = "/", fields: str = "", **options) -> WebSocket:
    """A WebSocket that the application has accepted."""
    return WebSocket(handshake(nginx, path, fields, **options))
