"""The works: what every server is asked, and by which application it is answered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class Load:
    """The request for wrk; `size` is that of the correct response's body, if fixed."""

    # What is counted, and what asks.
    unit: ClassVar[str] = "request"
    generator: ClassVar[str] = "wrk"

    path: str
    connections: int = 16
    headers: int = 0
    body: int = 0
    size: int | None = None
    # Whether it is also tested which servers send each block of a response at once.
    blocks: bool = False


@dataclass(frozen=True)
class Echo:
    """WebSockets, each with one message on its way."""

    unit: ClassVar[str] = "message"
    generator: ClassVar[str] = "client"

    path: str
    connections: int = 16
    size: int = 40
    deflate: bool = False


@dataclass(frozen=True)
class Events:
    """Server-sent events, as many as the application makes; its pace is fixed."""

    unit: ClassVar[str] = "event"
    generator: ClassVar[str] = "client"

    path: str
    connections: int


Work = Load | Echo | Events

HELLO = 14
TEN_MB = 10_000_000

WSGI: dict[str, Work] = {
    "hello": Load("/hello", size=HELLO),
    "hello, 1 connection": Load("/hello", connections=1, size=HELLO),
    "hello, 128 connections": Load("/hello", connections=128, size=HELLO),
    "20 headers each way": Load("/headers", headers=20, size=HELLO),
    "Flask, JSON": Load("/json/10"),
    "Django, a template and a query": Load("/django"),
    "a response of 100 KB": Load("/large", size=100_000),
    "a response of 10 MB": Load("/huge", size=TEN_MB),
    "a file of 10 MB by wsgi.file_wrapper": Load("/file", size=TEN_MB),
    "a POST of 10 KB": Load("/upload", body=10_000, size=len("10000\n")),
    "a POST of 10 MB": Load("/upload", body=TEN_MB, size=len("10000000\n")),
    "100 yields": Load("/yields", size=100 * 100, blocks=True),
    "10 ms of sleep, 64 connections": Load("/sleeps", connections=64, size=HELLO),
}

ASGI: dict[str, Work] = {
    "hello": Load("/hello", size=HELLO),
    "hello, 1 connection": Load("/hello", connections=1, size=HELLO),
    "20 headers each way": Load("/headers", headers=20, size=HELLO),
    "FastAPI, JSON": Load("/json/10"),
    "Django, a template and a query": Load("/django"),
    "a response of 100 KB": Load("/large", size=100_000),
    "a response of 10 MB": Load("/huge", size=TEN_MB),
    "a POST of 10 MB": Load("/upload", body=TEN_MB, size=len("10000000\n")),
    "100 parts": Load("/parts", size=100 * 100, blocks=True),
    "events to 1,000 clients": Events("/events", connections=1000),
    "WebSocket echo": Echo("/echo"),
    "WebSocket echo, 1,000 connections": Echo("/echo", connections=1000),
    "WebSocket echo of 64 KB": Echo("/echo", size=65536),
    "WebSocket echo of 4 KB, deflated": Echo("/echo", size=4096, deflate=True),
}
