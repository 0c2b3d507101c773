"""A fuzzer of WebSockets: frames, sound and broken, through a real nginx (`make fuzz`).

    FUZZ_SECONDS, FUZZ_SEED, FUZZ_CASE, FUZZ_LOG     as for run.py

A case is a connection: messages in fragments with control frames between them, compressed or not,
in pieces; then a close frame, a broken rule, random bytes, or the client's end. What is checked:
each message comes back as it was sent and in order, pings are answered in order, a broken rule gets
its close code, and nothing follows a close frame; the worker lives, its log has nothing fatal, each
call of the application has ended, and descriptors and memory are what they were.
"""

from __future__ import annotations

import contextlib
import itertools
import random
import socket
import sys
import threading
import zlib
from dataclasses import dataclass, field

from fuzz.fuzzer import PATIENCE, SLACK, Finding, Fuzzer, main
from harness import Nginx
from process_memory import anonymous, descriptors
from rawhttp import Connection, wait_for
from rawwebsocket import (
    BINARY,
    CLOSE,
    ECHO,
    FIN,
    HANDSHAKE,
    PING,
    PONG,
    RSV1,
    TEXT,
    WebSocket,
    close,
    frame,
)

LIMIT = 100_000
TAIL = b"\0\0\xff\xff"
CONTINUATION = 0

LOCATION = """
    asgi_app {app};
    asgi_lifespan off;
    asgi_websocket_max_message_size 100000;
    asgi_websocket_queue {queue};
"""

OFFERS = [
    "",
    "permessage-deflate",
    "permessage-deflate; client_max_window_bits",
    "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
    "permessage-deflate; server_max_window_bits=9; client_max_window_bits=9",
    "permessage-deflate; unknown",
]


@dataclass
class Case:
    """One connection: what is sent on it, and what must come of it."""

    number: int
    offer: str
    queue: str
    data: bytes
    pieces: list[int]
    messages: list[tuple[int, bytes]]
    pings: list[bytes]
    # The code of the server's close frame; None if there is none, or if it may be any.
    code: int | None
    ending: str
    # Whether the client closes its side of the connection when it gets the close frame.
    hangs_up: bool
    received: list[str] = field(default_factory=list)


def deflates(offer: str) -> bool:
    return offer.startswith("permessage-deflate") and "unknown" not in offer


class Maker:
    """Makes the frames of a case."""

    def __init__(self, source: random.Random, offer: str) -> None:
        self.source = source
        self.deflates = deflates(offer)
        self.takes_over = "client_no" not in offer
        self.bits = 9 if "bits=9" in offer else 12
        self.deflater = self.new_deflater()
        self.messages: list[tuple[int, bytes]] = []
        self.pings: list[bytes] = []

    def new_deflater(self):
        level = self.source.choice([1, 6, 9])
        return zlib.compressobj(level, wbits=-self.bits)

    def mask(self) -> bytes:
        return self.source.randbytes(4) or b"\1\2\3\4"

    def payload(self, opcode: int) -> bytes:
        source = self.source
        size = source.choice([0, 1, 5, 60, 125, 126, 1000, 4096, 65535, 65536, LIMIT])
        if source.random() < 0.6:
            size = min(size, 1000)
        if opcode == BINARY and source.random() < 0.5:
            return source.randbytes(size)
        words = ["a", "hello ", "grün", "\N{SNOWMAN}", "\N{GRINNING FACE}", '{"id": 12}, ']
        text = "".join(source.choice(words) for _ in range(size // 4 + 1)).encode()
        # Cut at a character.
        return text[:size].decode("utf-8", "ignore").encode()

    def message(self) -> bytes:
        opcode = self.source.choice([TEXT, BINARY])
        payload = self.payload(opcode)
        self.messages.append((opcode, payload))
        first = 0
        if self.deflates and self.source.random() < 0.6:
            if not self.takes_over:
                self.deflater = self.new_deflater()
            payload = self.deflater.compress(payload) + self.deflater.flush(zlib.Z_SYNC_FLUSH)
            payload, first = payload[:-4], RSV1
        return self.fragments(opcode, payload, first)

    def fragments(self, opcode: int, payload: bytes, first: int) -> bytes:
        source, frames = self.source, []
        count = source.choice([0, 0, 0, 1, 2, 7])
        marks = sorted(source.randrange(len(payload) + 1) for _ in range(count))
        parts = [payload[a:b] for a, b in itertools.pairwise([0, *marks, len(payload)])]
        for index, part in enumerate(parts):
            if index == len(parts) - 1:
                first |= FIN
            frames.append(frame(opcode, part, first=first, mask=self.mask()))
            opcode, first = CONTINUATION, 0
            if source.random() < 0.1 and index < len(parts) - 1:
                frames.append(self.control())
        return b"".join(frames)

    def control(self) -> bytes:
        payload = self.source.randbytes(self.source.choice([0, 1, 125]))
        if self.source.random() < 0.3:
            return frame(PONG, payload, mask=self.mask())
        self.pings.append(payload)
        return frame(PING, payload, mask=self.mask())

    def fault(self) -> tuple[bytes, int]:
        """Frames that break a rule, and the code that they get."""
        bomb = zlib.compressobj(wbits=-9)
        bombed = bomb.compress(bytes(LIMIT + 1)) + bomb.flush(zlib.Z_SYNC_FLUSH)
        faults = [
            (frame(self.source.choice([3, 4, 5, 6, 7, 11, 12, 13, 14, 15])), 1002),
            (frame(TEXT, "x", first=FIN | self.source.choice([0x10, 0x20, 0x30])), 1002),
            (frame(PING, "", first=FIN | RSV1), 1002),
            (frame(TEXT, "x", mask=None), 1002),
            (frame(self.source.choice([CLOSE, PING, PONG]), "", first=0), 1002),
            (frame(PING, bytes(126)), 1002),
            (frame(TEXT, "x", length=b"\x7e\x00\x01"), 1002),
            (frame(TEXT, "x", length=b"\x7f\0\0\0\0\0\0\0\x01"), 1002),
            (frame(CONTINUATION, "x"), 1002),
            (frame(TEXT, "x", first=0) + frame(BINARY, "x"), 1002),
            (frame(TEXT, b"\xff"), 1007),
            (frame(TEXT, b"\xe2", first=0) + frame(CONTINUATION, b"\x98"), 1007),
            (frame(BINARY, bytes(LIMIT + 1)), 1009),
            (close(self.source.choice([0, 999, 1004, 1005, 1006, 1015, 2999, 5000])), 1002),
            (frame(CLOSE, b"\x03"), 1002),
            (close(1000, b"\xff"), 1007),
        ]
        if self.deflates:
            faults += [
                (frame(BINARY, b"\xff\xff", first=FIN | RSV1), 1007),
                (frame(BINARY, bombed[:-4], first=FIN | RSV1), 1009),
                (frame(TEXT, "", first=RSV1) + frame(CONTINUATION, "", first=FIN | RSV1), 1002),
            ]
        return self.source.choice(faults)


def make_case(seed: int, number: int) -> Case:
    source = random.Random(f"{seed}/{number}")
    offer = source.choice(OFFERS)
    maker = Maker(source, offer)
    parts = []
    for _ in range(source.choice([0, 1, 3, 20])):
        parts.append(maker.control() if source.random() < 0.2 else maker.message())
    ending = source.choice(["close", "close", "fault", "fault", "noise", "leaves"])
    code: int | None = None
    data = b"".join(parts)
    match ending:
        case "close":
            code = source.choice([1000, 1001, 1003, 1007, 1014, 3000, 4999])
            data += close(code, "bye") + source.randbytes(source.choice([0, 9]))
        case "fault":
            fault, code = maker.fault()
            data += fault
            # The event loop refuses other faults of later frames before a payload is looked at.
            data += source.randbytes(source.choice([0, 9])) if code == 1002 else b""
        case "noise":
            changed = bytearray(data + source.randbytes(50))
            for _ in range(source.choice([0, 1, 5])):
                changed[source.randrange(len(changed))] = source.randrange(256)
            data = bytes(changed)
        case "leaves":
            data = data[: source.randrange(len(data) + 1)]
    count = source.choice([0, 1, 2, 30])
    pieces = sorted(source.randrange(len(data) + 1) for _ in range(count))
    queue = source.choice(["small", "large"])
    # nginx waits for a client's close frame if a task has found the fault.
    hangs_up = ending == "fault" and source.random() < 0.95
    made = (maker.messages, maker.pings, code, ending, hangs_up)
    return Case(number, offer, queue, data, pieces, *made)


def send(case: Case, sock: socket.socket) -> None:
    """Sends the case's bytes; the server may close before it has taken them."""
    try:
        for a, b in itertools.pairwise([0, *case.pieces, len(case.data)]):
            sock.sendall(case.data[a:b])
        if case.ending in ("leaves", "noise"):
            sock.shutdown(socket.SHUT_WR)
    except OSError:
        return


def run_case(nginx: Nginx, case: Case) -> None:
    sock = socket.create_connection(("127.0.0.1", nginx.port), PATIENCE)
    with Connection(sock) as connection:
        fields = f"Sec-WebSocket-Extensions: {case.offer}\r\n" if case.offer else ""
        connection.send(HANDSHAKE.format(path=f"/{case.queue}", fields=fields))
        websocket = WebSocket(connection)
        agreed = websocket.response.get("Sec-WebSocket-Extensions") is not None
        if agreed != deflates(case.offer):
            raise Finding(f"{case.offer!r} gets {websocket.response.headers}")
        sender = threading.Thread(target=send, args=(case, sock))
        sender.start()
        try:
            check(case, websocket)
        finally:
            sock.close()
            sender.join()


def check(case: Case, websocket: WebSocket) -> None:
    """Reads all that the server sends."""
    inflater = zlib.decompressobj(-15)
    takes_over = "server_no" not in case.offer
    messages, pings, closed = iter(case.messages), iter(case.pings), False
    try:
        while (received := websocket.frame()) is not None:
            case.received.append(f"{received.first:#x} {len(received.payload)}")
            if closed:
                raise Finding("a frame after the close frame")
            if received.opcode == CLOSE:
                closed = True
                if case.hangs_up:
                    with contextlib.suppress(OSError):
                        websocket.connection.sock.shutdown(socket.SHUT_WR)
                if case.code is not None and received.close_code != case.code:
                    raise Finding(f"close code {received.close_code} {received.payload[2:]!r}")
            elif received.opcode == PONG:
                if case.ending != "noise" and received.payload not in pings:
                    raise Finding("a pong without its ping, or out of order")
            elif case.ending != "noise":
                payload = received.payload
                if received.first & RSV1:
                    if not takes_over:
                        inflater = zlib.decompressobj(-15)
                    payload = inflater.decompress(payload + TAIL)
                if next(messages, None) != (received.opcode, payload):
                    raise Finding("a message that was not sent, or out of order")
    except ConnectionResetError:
        if case.ending in ("close", "fault"):
            raise
    if case.code is not None and not closed:
        raise Finding(f"no close frame, where {case.code} is due")
    if case.ending == "close" and next(messages, None) is not None:
        # The answers that are still on their way when the client closes may be lost.
        return


class Frames(Fuzzer):
    name = "frames"
    seconds = 30

    def configure(self) -> dict[str, str]:
        app = self.nginx.app("echo", ECHO)
        locations = "".join(
            f"location /{name} {{ {LOCATION.format(app=app, queue=queue)} }}\n"
            for name, queue in (("small", "4k"), ("large", "64k"))
        )
        return {"server": locations, "http": "lingering_timeout 2s;"}

    def warm_up(self) -> None:
        self.run_case(self.make_case(0))
        self.idle = descriptors(self.worker)

    def make_case(self, number: int) -> Case:
        return make_case(self.seed, number)

    def run_case(self, case: Case) -> None:
        run_case(self.nginx, case)

    def describe(self, case: Case) -> str:
        shown = f"({case.ending}, {case.offer!r}, {len(case.data)} bytes)"
        return f"{shown} has received {case.received[-9:]}"

    def is_fault(self, line: str) -> bool:
        # The application does not fail, whatever its client does.
        return super().is_fault(line) or "[error]" in line

    def settle(self, before: int | None = None) -> int:
        """The worker's memory, once it has no more descriptors than it had when it was idle."""

        def quiet() -> bool:
            return descriptors(self.worker) <= self.idle

        wait_for(quiet, PATIENCE, f"{self.idle} descriptors in the worker")
        return anonymous(self.worker)

    def compare(self, before: int, after: int) -> None:
        if after > before + SLACK:
            self.findings.append(f"the worker had {before} bytes, and has {after}")


if __name__ == "__main__":
    sys.exit(main(Frames))
