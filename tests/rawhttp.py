"""HTTP/1 as bytes, for what an ordinary client hides: framing, pipelining, broken responses."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field


@dataclass
class Response:
    """One response as it was on the wire; `complete`: its framing came to its end."""

    version: str
    status: int
    reason: str
    headers: list[tuple[str, str]]
    body: bytes = b""
    framing: str = "none"  # none, length, chunked, close
    complete: bool = True
    chunks: list[bytes] = field(default_factory=list)

    def all(self, name: str) -> list[str]:
        """Every value of a header field, in order."""
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def get(self, name: str) -> str | None:
        """The value of a header field that may occur once; None if it is absent."""
        values = self.all(name)
        assert len(values) < 2, f"{name} occurs {len(values)} times: {values}"
        return values[0] if values else None


class Connection:
    """A client's TCP or Unix connection that shows exactly what the server sends."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.pending = b""
        self.closed_by_server = False

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        self.sock.close()

    def reset(self) -> None:
        """Closes with RST, as a client that crashes does."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.sock.close()

    def send(self, data: bytes | str) -> None:
        self.sock.sendall(data.encode("latin-1") if isinstance(data, str) else data)

    def get(self, path: str = "/", *, close: bool = False, headers: str = "") -> None:
        """Sends a GET; `headers` are whole lines, each with its CRLF."""
        last = "Connection: close\r\n" if close else ""
        self.send(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}{last}\r\n")

    def fill(self) -> bool:
        """Takes what the server has sent next; False at the end of the connection."""
        if self.closed_by_server:
            return False
        try:
            data = self.sock.recv(65536)
        except ConnectionResetError:
            data = b""
        if not data:
            self.closed_by_server = True
            return False
        self.pending += data
        return True

    def until(self, mark: bytes) -> bytes | None:
        """What comes before `mark`, which is taken too; None when the connection ends first."""
        while mark not in self.pending:
            if not self.fill():
                return None
        before, _, self.pending = self.pending.partition(mark)
        return before

    def take(self, size: int) -> bytes:
        """`size` bytes, or fewer when the connection ends first."""
        pieces = []
        while size > 0:
            if not self.pending and not self.fill():
                break
            piece, self.pending = self.pending[:size], self.pending[size:]
            pieces.append(piece)
            size -= len(piece)
        return b"".join(pieces)

    def rest(self) -> bytes:
        """Everything until the server closes."""
        while self.fill():
            pass
        data, self.pending = self.pending, b""
        return data

    def head(self) -> Response:
        """Status line and header fields of the next response, interim ones included."""
        raw = self.until(b"\r\n\r\n")
        assert raw is not None, f"the connection ended before a whole head: {self.pending!r}"
        status_line, *lines = raw.decode("latin-1").split("\r\n")
        version, _, rest = status_line.partition(" ")
        status, _, reason = rest.partition(" ")
        headers = []
        for line in lines:
            name, colon, value = line.partition(":")
            assert colon and name and name == name.strip(), f"malformed header line {line!r}"
            headers.append((name, value.strip()))
        return Response(version, int(status), reason, headers)

    def chunk(self) -> bytes | None:
        """The next chunk of a chunked body, b"" for the last one; None when it is cut off."""
        size_line = self.until(b"\r\n")
        if size_line is None:
            return None
        size = int(size_line.split(b";")[0], 16)
        data = self.take(size)
        if len(data) < size or self.until(b"\r\n") is None:
            return None
        return data

    def chunks(self) -> Iterator[bytes]:
        """The chunks that are left of a chunked body, which must come to its end."""
        while chunk := self.chunk():
            yield chunk
        assert chunk == b"", "the body was cut off"

    def response(self, *, head_only: bool = False) -> Response:
        """A whole response. `head_only`: it answers a HEAD."""
        answer = self.head()
        coding = answer.get("Transfer-Encoding")
        assert coding in (None, "chunked")
        assert coding is None or answer.get("Content-Length") is None, "two framings"
        if not (head_only or answer.status in (204, 304) or answer.status < 200):
            self.take_body(answer)
        return answer

    def take_body(self, answer: Response) -> None:
        """Takes the body that follows the head of `answer`, and adds it to `answer`."""
        length = answer.get("Content-Length")
        if answer.get("Transfer-Encoding") is not None:
            answer.framing = "chunked"
            self.take_chunks(answer)
            answer.body = b"".join(answer.chunks)
        elif length is not None:
            answer.framing = "length"
            answer.body = self.take(int(length))
            answer.complete = len(answer.body) == int(length)
        else:
            answer.framing = "close"
            answer.body = self.rest()

    def take_chunks(self, answer: Response) -> None:
        """Takes the chunks of a body, which no trailers follow."""
        while chunk := self.chunk():
            answer.chunks.append(chunk)
        answer.complete = chunk is not None

    def quiet(self, seconds: float) -> bool:
        """Whether nothing arrives for that long."""
        if self.pending:
            return False
        before = self.sock.gettimeout()
        self.sock.settimeout(seconds)
        try:
            return not self.fill()
        except TimeoutError:
            return True
        finally:
            self.sock.settimeout(before)


def wait_for(condition, timeout: float = 30.0, what: str = "the condition"):
    """Polls until `condition()` is true and returns its value; fails the test after `timeout`."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"{what} was not met within {timeout} s"
        time.sleep(0.02)


def wait_still(value: Callable[[], int], seconds: float = 1.0, until: int | None = None) -> int:
    """Waits until `value()` has been the same for that long, or is `until`, and returns it.

    For "it goes no further", which nothing announces.
    """
    last, since = value(), time.monotonic()
    while last != until and time.monotonic() - since < seconds:
        time.sleep(0.02)
        now = value()
        if now != last:
            last, since = now, time.monotonic()
    return last
