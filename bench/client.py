"""The load of WebSockets and of server-sent events: `client/`; and a single one that is checked."""

from __future__ import annotations

import contextlib
import json
import subprocess
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from accounting import cpu_time
from load import LoadError, Result
from place import Place
from websockets.exceptions import WebSocketException
from websockets.sync.client import ClientConnection, connect
from works import Echo, Events

# Of a single WebSocket, in seconds.
TIMEOUT = 5
# Messages of this size or more are binary.
BINARY = 10_000
# What compresses about as well as the JSON of a feed.
TEXT = '{"id": %d, "name": "row %d", "even": true, "price": %d.%02d}, '


def check(place: Place, work: Echo | Events) -> None:
    """LoadError if one message does not come back as it was, or if there are no events."""
    if isinstance(work, Events):
        with _asking(place, "events", "--path", work.path, "--connections", "1") as asking:
            _figures(asking)
        return
    message = _message(work)
    try:
        with websocket(place, work.path, deflate=work.deflate) as one:
            if bool(one.protocol.extensions) != work.deflate:
                raise LoadError(f"{work.path}: no permessage-deflate")
            one.send(message)
            if one.recv(timeout=TIMEOUT) != message:
                raise LoadError(f"{work.path}: another message than was sent")
    except (WebSocketException, OSError) as error:
        raise LoadError(f"no WebSocket: {type(error).__name__}: {error}") from error


def websocket(place: Place, path: str, *, deflate: bool = False) -> ClientConnection:
    compression = "deflate" if deflate else None
    url = place.url.replace("http:", "ws:") + path
    return connect(url, compression=compression, max_size=None, proxy=None, open_timeout=TIMEOUT)


def run(place: Place, work: Echo | Events, seconds: int) -> Result:
    """Measures for `seconds` seconds, with all connections open before and until after."""
    options = ["--path", work.path, "--connections", str(work.connections)]
    options += ["--seconds", str(seconds)]
    if isinstance(work, Echo):
        options += _message_options(work, place.run.folder)
    with _asking(place, "echo" if isinstance(work, Echo) else "events", *options) as asking:
        before = cpu_time(place.sessions)
        figures = _figures(asking)
        cpu = cpu_time(place.sessions) - before
    if isinstance(work, Echo) and work.deflate and not figures["compressed"]:
        raise LoadError(f"{work.path}: no message was compressed")
    return Result(
        number=int(figures["number"]),
        seconds=figures["seconds"],
        cpu=cpu,
        p50=figures["p50"],
        p99=figures["p99"],
        generator=figures["used"] / figures["seconds"],
    )


@contextmanager
def idle(place: Place, echo: Echo) -> Iterator[None]:
    """Has its WebSockets open, which only answer pings."""
    options = ["--path", echo.path, "--connections", str(echo.connections)]
    options += ["--deflate"] if echo.deflate else []
    with _asking(place, "idle", *options):
        yield


@contextmanager
def _asking(place: Place, command: str, *options: str) -> Iterator[subprocess.Popen[str]]:
    """The client, with all its connections open; LoadError if it cannot open them."""
    asking = subprocess.Popen(
        [place.run.client, command, "--port", str(place.port), *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        _line(asking)
        yield asking
    finally:
        # The end of its input ends it.
        with contextlib.suppress(subprocess.TimeoutExpired, BrokenPipeError):
            asking.communicate(timeout=10)
        asking.kill()
        asking.wait()


def _figures(asking: subprocess.Popen[str]) -> dict[str, float]:
    """Has the client measure."""
    assert asking.stdin
    with contextlib.suppress(BrokenPipeError):
        asking.stdin.write("\n")
        asking.stdin.flush()
    figures: dict[str, float] = json.loads(_line(asking))
    if not figures["number"]:
        raise LoadError("nothing came back")
    return figures


def _line(asking: subprocess.Popen[str]) -> str:
    assert asking.stdout and asking.stderr
    line = asking.stdout.readline()
    if not line:
        raise LoadError(asking.stderr.read().strip() or "the client has failed")
    return line


def _message(work: Echo) -> str | bytes:
    text = "".join(
        TEXT % (row, row, row * 7919 % 1000, row % 100) for row in range(work.size // 40)
    )
    text = text.ljust(work.size, ".")[: work.size]
    return text if work.size < BINARY else text.encode()


def _message_options(work: Echo, folder: Path) -> list[str]:
    message = _message(work)
    payload = message.encode() if isinstance(message, str) else message
    if work.deflate:
        # Each message alone, in the smallest window that a server may ask for by default.
        deflate = zlib.compressobj(wbits=-12)
        payload = deflate.compress(payload) + deflate.flush(zlib.Z_SYNC_FLUSH)
        payload = payload.removesuffix(b"\x00\x00\xff\xff")
    file = folder / f"message-{work.size}-{work.deflate}"
    file.write_bytes(payload)
    options = ["--message", str(file)]
    if isinstance(message, str):
        options.append("--text")
    if work.deflate:
        options.append("--deflate")
    return options
