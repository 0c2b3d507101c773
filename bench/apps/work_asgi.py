"""The application of all works of ASGI; the path selects the work."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import FastAPI, Request

Scope = dict[str, Any]
Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

PLAIN = (b"content-type", b"text/plain")
HELLO = b"Hello, World!\n"
HUNDRED_KB = b"x" * 100_000
TEN_MB = b"x" * 10_000_000
MANY = [(b"x-field-%d" % number, b"a value of some length") for number in range(20)]
PART = b"a block of a hundred bytes ".ljust(100, b".")
# Between two events of a stream, in seconds.
TICK = 0.1

fastapi = FastAPI()


@fastapi.get("/json/{number}")
async def listing(number: int, request: Request) -> dict[str, Any]:
    rows = [{"id": row, "name": f"row {row}", "even": row % 2 == 0} for row in range(number)]
    return {"rows": rows, "agent": request.headers.get("user-agent")}


async def respond(send: Send, body: bytes, more: list[tuple[bytes, bytes]] | None = None) -> None:
    headers = [PLAIN, (b"content-length", b"%d" % len(body)), *(more or ())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    await respond(send, HELLO)


async def headers(scope: Scope, receive: Receive, send: Send) -> None:
    await respond(send, HELLO, MANY)


async def large(scope: Scope, receive: Receive, send: Send) -> None:
    await respond(send, HUNDRED_KB)


async def huge(scope: Scope, receive: Receive, send: Send) -> None:
    await respond(send, TEN_MB)


async def upload(scope: Scope, receive: Receive, send: Send) -> None:
    size, more = 0, True
    while more:
        message = await receive()
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
    await respond(send, b"%d\n" % size)


async def parts(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [PLAIN]})
    for _ in range(100):
        await send({"type": "http.response.body", "body": PART, "more_body": True})
    await send({"type": "http.response.body"})


async def trickle(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [PLAIN]})
    await send({"type": "http.response.body", "body": b"first", "more_body": True})
    await asyncio.sleep(0.3)
    await send({"type": "http.response.body", "body": b"second"})


async def busy(scope: Scope, receive: Receive, send: Send) -> None:
    """Some tens of milliseconds of pure Python, which block the loop."""
    total = 0
    for number in range(1_000_000):
        total += number * number
    await respond(send, HELLO)


class Clock:
    """Makes an event every TICK seconds, for all streams, while there are any."""

    def __init__(self) -> None:
        self.streams = 0
        self.task: asyncio.Task[None] | None = None
        self.event = b""
        self.made = asyncio.Event()

    async def run(self) -> None:
        while self.streams:
            await asyncio.sleep(TICK)
            made, self.made = self.made, asyncio.Event()
            self.event = b"data: %d " % time.monotonic_ns()
            self.event = self.event.ljust(98, b".") + b"\n\n"
            made.set()
        self.task = None

    async def next(self) -> bytes:
        if not self.task:
            self.task = asyncio.create_task(self.run())
        await self.made.wait()
        return self.event


clock: Clock | None = None


async def events(scope: Scope, receive: Receive, send: Send) -> None:
    """Server-sent events until the client is gone: as in Starlette, a task waits for that."""
    global clock
    clock = clock or Clock()

    async def gone() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    start = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": 200, "headers": start})
    await send({"type": "http.response.body", "body": b": hello\n\n", "more_body": True})
    watch = asyncio.create_task(gone())
    clock.streams += 1
    try:
        while not watch.done():
            event = await clock.next()
            await send({"type": "http.response.body", "body": event, "more_body": True})
    except OSError:
        # The client is gone.
        pass
    finally:
        clock.streams -= 1
        watch.cancel()


async def django(scope: Scope, receive: Receive, send: Send) -> None:
    # Imported by its first request, so that it does not count in the start time of other works.
    from shop_asgi import application

    await application(scope, receive, send)


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        # A server may leave out the key of the other kind, or set it to None.
        if (text := message.get("text")) is not None:
            await send({"type": "websocket.send", "text": text})
        else:
            await send({"type": "websocket.send", "bytes": message["bytes"]})


async def lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


WORK: dict[str, Callable[[Scope, Receive, Send], Awaitable[None]]] = {
    "/hello": hello,
    "/headers": headers,
    "/large": large,
    "/huge": huge,
    "/upload": upload,
    "/parts": parts,
    "/trickle": trickle,
    "/busy": busy,
    "/events": events,
    "/django": django,
    "/echo": echo,
}


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
        return
    await WORK.get(scope["path"], fastapi)(scope, receive, send)
