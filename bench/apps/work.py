"""The application of all works; the path selects the work."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from flask import Flask, jsonify, request

Environ = dict[str, Any]
StartResponse = Callable[..., Any]

PLAIN = [("Content-Type", "text/plain")]
HUNDRED_KB = b"x" * 100_000
TEN_MB = b"x" * 10_000_000
MANY = [(f"X-Field-{number}", "a value of some length") for number in range(20)]
FILE = Path(os.environ.get("BENCH_FILE", "/dev/null"))

flask = Flask(__name__)


@flask.get("/json/<int:number>")
def listing(number: int) -> Any:
    rows = [{"id": row, "name": f"row {row}", "even": row % 2 == 0} for row in range(number)]
    return jsonify(rows=rows, agent=request.headers.get("User-Agent"))


def hello(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [*PLAIN, ("Content-Length", "14")])
    return [b"Hello, World!\n"]


def headers(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [*PLAIN, ("Content-Length", "14"), *MANY])
    return [b"Hello, World!\n"]


def large(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [*PLAIN, ("Content-Length", str(len(HUNDRED_KB)))])
    return [HUNDRED_KB]


def huge(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [*PLAIN, ("Content-Length", str(len(TEN_MB)))])
    return [TEN_MB]


def file(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    opened = open(FILE, "rb")  # noqa: SIM115 (the server closes it)
    start_response("200 OK", [*PLAIN, ("Content-Length", str(FILE.stat().st_size))])
    wrapper = environ.get("wsgi.file_wrapper")
    return wrapper(opened, 65536) if wrapper else iter(lambda: opened.read(65536), b"")


def upload(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    left, size = int(environ.get("CONTENT_LENGTH") or 0), 0
    while size < left and (block := environ["wsgi.input"].read(min(65536, left - size))):
        size += len(block)
    body = b"%d\n" % size
    start_response("200 OK", [*PLAIN, ("Content-Length", str(len(body)))])
    return [body]


def yields(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", PLAIN)
    return (b"a block of a hundred bytes ".ljust(100, b".") for _ in range(100))


def trickle(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", PLAIN)
    yield b"first"
    time.sleep(0.3)
    yield b"second"


def rows(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Endless rows, for /rows?10-quick or /rows?10-slow."""
    size, _, pace = environ["QUERY_STRING"].partition("-")
    row = b"x" * int(size)
    start_response("200 OK", PLAIN)
    for number in itertools.count():
        if pace == "slow" and number % 100 == 0:
            time.sleep(0.001)
        yield row


def busy(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Some tens of milliseconds of pure Python, which holds the GIL."""
    total = 0
    for number in range(1_000_000):
        total += number * number
    return hello(environ, start_response)


def django(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    # Imported by its first request, so that it does not count in the start time of other works.
    from shop import application

    answer: Iterable[bytes] = application(environ, start_response)
    return answer


def sleeps(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    time.sleep(0.01)
    return hello(environ, start_response)


WORK: dict[str, Callable[[Environ, StartResponse], Iterable[bytes]]] = {
    "/hello": hello,
    "/headers": headers,
    "/large": large,
    "/huge": huge,
    "/file": file,
    "/upload": upload,
    "/yields": yields,
    "/trickle": trickle,
    "/rows": rows,
    "/busy": busy,
    "/sleeps": sleeps,
    "/django": django,
}


def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    work = WORK.get(environ["PATH_INFO"])
    return work(environ, start_response) if work else flask(environ, start_response)
