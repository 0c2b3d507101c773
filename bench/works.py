"""The works: the requests to every server, and the application that responds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Load:
    """The request for wrk; `size` is that of the correct response's body, if fixed."""

    path: str
    connections: int = 16
    headers: int = 0
    body: int = 0
    size: int | None = None
    # Only servers with the same interface get it.
    interface: str = "wsgi"


HELLO = 14
TEN_MB = 10_000_000

WORKS = {
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
    "100 yields": Load("/yields", size=100 * 100),
    "10 ms of sleep, 64 connections": Load("/sleeps", connections=64, size=HELLO),
}
# For this work it is also tested which servers send each block at once.
YIELDS = "100 yields"
