"""The clients of `make stress`: what each asks for, and what it must get.

A request has one of these ends: the right answer, byte by byte; a connection that is closed, or a
5xx, if a trouble explains it (excuses.py). Everything else is a finding, and so is one that takes
longer than PATIENCE.
"""

from __future__ import annotations

import collections
import random
import select
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import h2.exceptions
from fuzz.planned import pattern
from rawhttp import Connection, Response
from rawhttp2 import Http2
from rawwebsocket import BINARY, CLOSE, HANDSHAKE, PING, PONG, WebSocket, frame
from rawwebsocket import close as closing
from trouble.excuses import CLOSED, FAILED, Excuses

# Generous: a machine may stand still for seconds.
PATIENCE = 90.0
# What does not fit into the buffers of nginx and the module, and may need the disk.
LARGE = 200_000
PROTOCOLS = ("wsgi", "asgi")


class Finding(Exception):
    """Something that must not be."""


class Closed(Exception):
    """The connection has ended before the response has; `begun`: after its head."""

    def __init__(self, where: str, *, begun: bool = False) -> None:
        super().__init__(where)
        self.begun = begun


@dataclass
class Site:
    """Where the clients connect, and what they compare with."""

    port: int
    tls_port: int
    file: bytes


class Counts:
    """How many requests had which end, by protocol, for all clients together."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: collections.Counter[tuple[str, str]] = collections.Counter()

    def add(self, protocol: str, end: str) -> None:
        with self._lock:
            self._counts[protocol, end] += 1

    def __getitem__(self, key: tuple[str, str]) -> int:
        with self._lock:
            return self._counts[key]

    def __str__(self) -> str:
        with self._lock:
            return ", ".join(f"{a} {b}: {n}" for (a, b), n in sorted(self._counts.items()))


@dataclass
class Request:
    """A request of HTTP, and the body of its answer."""

    protocol: str
    path: str
    token: str
    expected: bytes
    status: int = 200
    body: bytes | None = None
    chunked: bool = False
    # Whether it may need the disk.
    large: bool = False

    def head(self, *, close: bool) -> bytes:
        lines = [
            f"{'GET' if self.body is None else 'POST'} {self.path} HTTP/1.1",
            "Host: localhost",
        ]
        if self.chunked:
            lines.append("Transfer-Encoding: chunked")
        elif self.body is not None:
            lines.append(f"Content-Length: {len(self.body)}")
        if close:
            lines.append("Connection: close")
        return "\r\n".join([*lines, "", ""]).encode()

    def parts(self, source: random.Random) -> list[bytes]:
        """The body as it is sent."""
        if self.body is None:
            return []
        if not self.chunked:
            cut = source.randrange(len(self.body) + 1)
            return [self.body[:cut], self.body[cut:]]
        pieces = [self.body[at : at + 30_000] for at in range(0, len(self.body), 30_000)]
        return [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces] + [b"0\r\n\r\n"]


class Client(threading.Thread):
    """Sends requests of all kinds until it is stopped, or until anybody has found something."""

    def __init__(
        self,
        number: int,
        seed: int,
        site: Site,
        excuses: Excuses,
        counts: Counts,
        findings: list[str],
    ) -> None:
        super().__init__(name=f"client {number}")
        self.number, self.site = number, site
        self.source = random.Random(f"{seed}/client/{number}")
        self.excuses, self.counts, self.findings = excuses, counts, findings
        self.over = threading.Event()
        self.done = 0
        self.kept: Connection | None = None
        self.streams: Streams | None = None
        kinds: list[tuple[int, Callable[[], None]]] = [
            (6, self.kept_connection),
            (6, self.fresh_connection),
            (4, self.over_http2),
            (2, self.slow_reader),
            (2, self.slow_writer),
            (3, self.leaves),
            (2, self.websocket),
        ]
        self.kinds = [kind for weight, kind in kinds for _ in range(weight)]

    def run(self) -> None:
        while not self.over.is_set() and not self.findings:
            kind = self.source.choice(self.kinds)
            begun = time.monotonic()
            self.now = kind.__name__
            try:
                kind()
                took = time.monotonic() - begun
                if took > PATIENCE:
                    raise Finding(f"it took {took:.0f} s")
            except Exception as error:
                took = time.monotonic() - begun
                what = f"{type(error).__name__}: {error}"
                self.findings.append(f"{self.name}, {self.now}, after {took:.1f} s: {what}")
            self.done += 1
        for connection in (self.kept, self.streams):
            if connection is not None:
                connection.close()

    # What is asked for

    def request(self, *, small: bool = False) -> Request:
        source = self.source
        protocol = source.choice(PROTOCOLS)
        token = f"c{self.number}n{self.done}x{source.randrange(10**6)}"
        stream = source.choice(["", "", "/stream"])
        size = source.choice([0, 1, 100, 5000, 5000, 50_000, *([] if small else [300_000])])
        kinds = ["text", "text", "text", "mirror", "mirror", "file", "static", "raise", "spend"]
        kind = source.choice(kinds + ([] if small else ["big", "keep", "late"]))
        base = f"{stream}/{protocol}"
        large = size > LARGE
        if kind == "static":
            return Request("static", "/file.bin", "", self.site.file)
        if kind == "file":
            return Request(protocol, f"{base}/file?token={token}", token, self.site.file)
        if kind == "raise":
            return Request(protocol, f"{base}/raise?token={token}", token, b"", 500)
        if kind == "late":
            return Request(protocol, f"/late/{protocol}/late?token={token}", token, b"", 504)
        if kind == "keep":
            path = f"{base}/keep?token={token}&size={source.choice([10_000, 3_000_000])}"
            return Request(protocol, path, token, b"")
        if kind == "spend":
            path = f"{base}/spend?token={token}&size=30000000&answer=1000"
            return Request(protocol, path, token, pattern(token, 1000))
        if kind in ("mirror", "big"):
            # Such a one is written to the disk.
            body = pattern(token, 3_000_000 if kind == "big" else size)
            chunked = source.random() < 0.3
            large = len(body) > 10_000
            path = f"{base}/mirror?token={token}"
            return Request(protocol, path, token, body, 200, body, chunked, large)
        length = source.choice(["", "&length=1"])
        path = f"{base}/text?token={token}&size={size}{length}"
        return Request(protocol, path, token, pattern(token, size), large=large)

    # How it is asked for

    def fresh_connection(self) -> None:
        request = self.request()
        begun = time.monotonic()
        tls = self.source.random() < 0.2
        with self.judged(request, begun), self.open(tls=tls) as connection:
            self.ask(connection, request, close=True)

    def kept_connection(self) -> None:
        """A connection that is kept. If nginx has closed it meanwhile, without a byte of a
        response, the request crossed that, and is sent again (RFC 9112, 9.3.1)."""
        request = self.request()
        begun = time.monotonic()
        with self.judged(request, begun):
            if self.kept is not None and is_closed(self.kept.sock):
                self.kept.close()
                self.kept = None
            if self.kept is not None:
                connection, self.kept = self.kept, None
                try:
                    self.kept = self.ask(connection, request)
                    return
                except (Closed, ConnectionError) as error:
                    connection.close()
                    if connection.pending or getattr(error, "begun", False):
                        raise
                    self.crossed(request, begun)
            connection = self.open()
            self.kept = self.ask(connection, request)

    def slow_reader(self) -> None:
        request = self.request()
        begun = time.monotonic()
        with self.judged(request, begun), self.open(receive=4096) as connection:
            pause = self.source.choice([0.0005, 0.002])
            self.ask(Slow(connection.sock, pause), request, close=True)

    def slow_writer(self) -> None:
        request = self.request(small=True)
        begun = time.monotonic()
        with self.judged(request, begun), self.open() as connection:
            data = request.head(close=True) + b"".join(request.parts(self.source))
            step = max(1, len(data) // 40)
            for at in range(0, len(data), step):
                connection.send(data[at : at + step])
                time.sleep(0.01)
            self.take(connection, request)

    def leaves(self) -> None:
        """A client that goes away at some moment."""
        request = self.request()
        self.counts.add(request.protocol, "left")
        data = request.head(close=False) + b"".join(request.parts(self.source))
        try:
            with self.open() as connection:
                sent = self.source.choice([1.0, 1.0, self.source.random()])
                connection.send(data[: int(len(data) * sent)])
                time.sleep(self.source.choice([0, 0.001, 0.05]))
                if self.source.random() < 0.5:
                    connection.sock.settimeout(0.2)
                    connection.fill()
                if self.source.random() < 0.5:
                    connection.reset()
        except OSError:
            # It does not care why.
            pass

    def over_http2(self) -> None:
        """Some requests at once on one connection, each a stream."""
        requests = [self.request(small=True) for _ in range(self.source.choice([1, 3, 8]))]
        begun = time.monotonic()
        for _ in range(3):
            if self.streams is not None and is_closed(self.streams.sock):
                self.streams.close()
                self.streams = None
            if self.streams is None:
                try:
                    self.streams = Streams(self.site.tls_port, PATIENCE)
                except (OSError, ssl.SSLError, AssertionError) as error:
                    self.excuse(CLOSED, begun, requests[0], repr(error))
                    return
            kept, self.streams = self.streams, None
            unanswered = self.ask_streams(kept, requests, begun)
            if kept.usable() and not unanswered:
                self.streams = kept
            else:
                kept.close()
            if not unanswered:
                return
            # A GOAWAY crossed them: they have not been processed (RFC 9113, 6.8).
            requests = unanswered
        raise Finding(f"{len(requests)} streams were refused three times")

    def ask_streams(self, http2: Streams, requests: list[Request], begun: float) -> list[Request]:
        """Asks, compares, and returns the requests that have to be sent again."""
        numbers: dict[int, Request] = {}
        broken = ""
        http2.silent = http2.asked > 0
        try:
            for request in requests:
                method = "GET" if request.body is None else "POST"
                number = http2.request(request.path, method=method, end=request.body is None)
                numbers[number] = request
                if request.body is not None:
                    http2.send_all(number, request.body)
            for number in numbers:
                http2.response(number)
        except TimeoutError:
            raise Finding(f"a stream was not answered in {PATIENCE:.0f} s") from None
        except (OSError, h2.exceptions.ProtocolError, AssertionError) as error:
            broken = repr(error)
        again = requests[len(numbers) :]
        for number, request in numbers.items():
            stream = http2.streams[number]
            if stream.ended and stream.headers:
                self.judge(
                    request, begun, stream.status, stream.headers.get("x-token"), stream.body
                )
            elif http2.last is not None and number > http2.last:
                again.append(request)
            elif http2.silent:
                # nginx has closed the connection, which was idle.
                self.crossed(request, begun)
                again.append(request)
            else:
                self.excuse(CLOSED, begun, request, f"stream {number} has ended early; {broken}")
        return again

    def websocket(self) -> None:
        """Messages that come back. A server that leaves says so, with the code 1001 or 1012."""
        source = self.source
        token = f"c{self.number}n{self.done}"
        begun = time.monotonic()
        request = Request("websocket", "/asgi/ws", token, b"")
        with self.judged(request, begun), self.open() as connection:
            connection.send(HANDSHAKE.format(path="/asgi/ws", fields=""))
            answer = self.head(connection)
            if answer.status != 101:
                self.excuse(FAILED, begun, request, f"the handshake got {answer.status}")
                return
            connection.pending, pending = b"", connection.pending
            socket_ = Messages(connection, pending)
            for index in range(source.choice([1, 5, 20])):
                message = pattern(f"{token}m{index}", source.choice([1, 100, 70_000]))
                connection.send(frame(BINARY, message))
                received = socket_.message()
                if received.opcode == CLOSE:
                    if received.close_code not in (1001, 1012):
                        raise Finding(f"the WebSocket was closed with {received.close_code}")
                    self.counts.add("websocket", "going away")
                    return
                if received.payload != message:
                    raise Finding("another message than the one that was sent")
                time.sleep(source.choice([0, 0, 0.02]))
            connection.send(closing(1000))
            received = socket_.message()
            if received.opcode != CLOSE:
                raise Finding(f"{received} instead of the close frame")
            self.counts.add("websocket", "whole")

    # What comes of it

    def open(self, *, tls: bool = False, receive: int | None = None) -> Connection:
        sock = socket.socket()
        sock.settimeout(PATIENCE)
        if receive is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
        try:
            sock.connect(("127.0.0.1", self.site.tls_port if tls else self.site.port))
            if tls:
                context = ssl.create_default_context()
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
                sock = context.wrap_socket(sock)
        except OSError:
            sock.close()
            raise
        return Connection(sock)

    def ask(self, connection: Connection, request: Request, *, close: bool = False):
        """Sends a request and takes its answer; returns the connection if it may be used again."""
        connection.send(request.head(close=close))
        try:
            for part in request.parts(self.source):
                connection.send(part)
        except ConnectionError:
            # An answer may have come before.
            if not connection.pending and not self.readable(connection):
                raise
        return self.take(connection, request)

    def readable(self, connection: Connection) -> bool:
        try:
            return connection.fill()
        except OSError:
            return False

    def head(self, connection: Connection) -> Response:
        if b"\r\n\r\n" not in connection.pending and not self.fill_head(connection):
            raise Closed("before the response's head")
        return connection.head()

    def fill_head(self, connection: Connection) -> bool:
        while b"\r\n\r\n" not in connection.pending:
            if not connection.fill():
                return False
        return True

    def take(self, connection: Connection, request: Request) -> Connection | None:
        begun = self.begun
        answer = self.head(connection)
        connection.take_body(answer)
        if not answer.complete:
            where = f"in the body of a {answer.status}, after {len(answer.body)} bytes"
            raise Closed(where, begun=True)
        self.judge(request, begun, answer.status, answer.get("X-Token"), answer.body)
        if answer.framing == "close" or answer.get("Connection") == "close":
            connection.close()
            return None
        return connection

    def judge(
        self, request: Request, begun: float, status: int, token: str | None, body: bytes
    ) -> None:
        """Compares a whole response."""
        if status != request.status and status in (500, 502, 503, 504):
            self.excuse(FAILED, begun, request, f"it got {status}")
            return
        if status != request.status:
            raise Finding(f"{request.path} got {status}")
        if status == 200:
            if request.token and token != request.token:
                raise Finding(f"{request.path} got the answer of {token}")
            if body != request.expected:
                raise Finding(
                    f"{request.path}: {len(body)} bytes of {len(request.expected)}, "
                    f"different from {differs(body, request.expected)} on"
                )
        self.counts.add(request.protocol, str(status))

    def crossed(self, request: Request, begun: float) -> None:
        """A connection that was kept has ended without an answer, and the request is sent again:
        nginx has closed it meanwhile, unless a trouble explains it."""
        what = f"{request.path}: its connection had been kept"
        explained = self.excuses.allow(CLOSED, begun, what, large=request.large)
        self.counts.add(request.protocol, CLOSED if explained else "crossed")

    def excuse(self, outcome: str, begun: float, request: Request, what: str) -> None:
        what = f"{request.path}: {what}"
        if not self.excuses.allow(outcome, begun, what, large=request.large):
            raise Finding(what)
        self.counts.add(request.protocol, outcome)

    def judged(self, request: Request, begun: float) -> Judged:
        self.begun = begun
        return Judged(self, request, begun)


class Judged:
    """Turns the end of a connection into an outcome that has to be explained."""

    def __init__(self, client: Client, request: Request, begun: float) -> None:
        self.client, self.request, self.begun = client, request, begun

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind, error, traceback) -> bool:
        if isinstance(error, TimeoutError):
            raise Finding(f"{self.request.path} was not answered in {PATIENCE:.0f} s") from None
        if isinstance(error, Closed | OSError):
            self.client.excuse(CLOSED, self.begun, self.request, f"{error!r}")
            return True
        return False


class Slow(Connection):
    """Reads a little at a time."""

    def __init__(self, sock: socket.socket, pause: float) -> None:
        super().__init__(sock)
        self.pause = pause

    def fill(self) -> bool:
        time.sleep(self.pause)
        return super().fill()


class Messages(WebSocket):
    """A WebSocket after its handshake."""

    def __init__(self, connection: Connection, pending: bytes) -> None:
        self.connection = connection
        connection.pending = pending

    def message(self):
        while True:
            try:
                received = self.frame()
            except (AssertionError, struct.error):
                received = None
            if received is None:
                raise Closed("in the WebSocket")
            if received.opcode == PING:
                self.send(frame(PONG, received.payload))
            elif received.opcode != PONG:
                return received


class Streams(Http2):
    """A connection of HTTP/2 that outlives a GOAWAY, which h2 takes for the end of it all."""

    GOAWAY = 7

    def __init__(self, port: int, timeout: float) -> None:
        # The last stream that the server answers, after a GOAWAY.
        self.last: int | None = None
        # Whether nothing has come since this was set.
        self.silent = False
        self.rest = b""
        self.asked = 0
        super().__init__(port, timeout)

    def usable(self) -> bool:
        return self.last is None and self.asked < 200

    def request(self, path: str, **options) -> int:
        self.asked += 1
        return super().request(path, **options)

    def until(self, condition) -> None:
        while not condition():
            data = self.sock.recv(65536)
            if not data:
                raise ConnectionError("the server closed the connection")
            self.silent = False
            for event in self.state.receive_data(self.without_goaway(data)):
                self._take(event)
            self._flush()

    def response(self, stream: int):
        answer = self.streams[stream]
        self.until(
            lambda: answer.ended or answer.reset or (self.last is not None and stream > self.last)
        )
        return answer

    def send_all(self, stream: int, data: bytes) -> None:
        """Sends a body, as far as the windows are open; takes what comes while they are shut."""
        answer = self.streams[stream]

        def is_over() -> bool:
            return answer.ended or answer.reset or (self.last is not None and stream > self.last)

        def room() -> int:
            return min(self.state.local_flow_control_window(stream), 16_000)

        left = memoryview(data)
        self.until(lambda: is_over() or not data or room() > 0)
        while not is_over():
            piece, left = left[: room()], left[room() :]
            self.send(stream, bytes(piece), end=not left)
            if not left:
                break
            self.until(lambda: is_over() or room() > 0)

    def without_goaway(self, data: bytes) -> bytes:
        data, kept = self.rest + data, []
        while len(data) >= 9:
            size = 9 + int.from_bytes(data[:3])
            if len(data) < size:
                break
            whole, data = data[:size], data[size:]
            if whole[3] == self.GOAWAY:
                self.last = int.from_bytes(whole[9:13]) & 0x7FFFFFFF
            else:
                kept.append(whole)
        self.rest = data
        return b"".join(kept)


def is_closed(sock: socket.socket) -> bool:
    """Whether the server has closed an idle connection, or sent something, such as a GOAWAY."""
    return bool(select.select([sock], [], [], 0)[0])


def differs(one: bytes, other: bytes) -> int:
    """Where two bodies begin to differ."""
    return next(
        (at for at, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]),
        min(len(one), len(other)),
    )
