"""100,000 requests, and 20,000 of each kind of failure, leave a worker as it was.

Its tasks are counted beside what leaks.py compares. `make test` sends 2,000 of each, `make
test-long` all.
"""

from __future__ import annotations

import os

import pytest
from stress.leaks import (
    FIRST,
    OK,
    Kind,
    assert_streams_leave_nothing,
    exchange,
    get,
    load,
    post,
    serving,
)

LONG = "PYWSGI_LONG" in os.environ
ALL = 20_000 if LONG else 2000

APPLICATION = """
    import asyncio, gc
    from testkit import START, respond

    BODY = "http.response.body"
    FILE = "{file}"

    async def small(receive, send):
        await respond(send, b"ok")

    async def settle(receive, send):
        gc.collect()
        tasks = len(asyncio.all_tasks()) - 1
        await respond(send, repr({{"tasks": tasks}}).encode())

    async def raises(receive, send):
        raise ValueError("of the app")

    async def exits(receive, send):
        raise SystemExit(1)

    async def cancelled(receive, send):
        raise asyncio.CancelledError

    async def begins(send):
        await send(START)
        await send({{"type": BODY, "body": b"begun", "more_body": True}})

    async def raises_later(receive, send):
        await begins(send)
        raise ValueError("later")

    async def returns(receive, send):
        pass

    async def returns_later(receive, send):
        await begins(send)

    async def out_of_order(receive, send):
        await send({{"type": BODY, "body": b"x"}})

    async def malformed(receive, send):
        await send({{**START, "status": "200"}})

    async def bad_header(receive, send):
        await send({{**START, "headers": [(b"x-bad", b"a\\r\\nb")]}})

    async def short(receive, send):
        await send({{**START, "headers": [(b"content-length", b"100")]}})
        await send({{"type": BODY, "body": b"ten bytes."}})

    async def after(receive, send):
        await respond(send, b"ok")
        raise ValueError("after the response")

    async def waits(receive, send):
        await begins(send)
        while (await receive())["type"] != "http.disconnect":
            pass

    async def sleeps(receive, send):
        await begins(send)
        await asyncio.sleep(600)

    async def sends(receive, send):
        await begins(send)
        while True:
            await send({{"type": BODY, "body": b"x" * 1000, "more_body": True}})
            await asyncio.sleep(0.0005)

    async def large(receive, send):
        await send(START)
        for _ in range(20):
            await send({{"type": BODY, "body": b"l" * 10_000, "more_body": True}})
        await send({{"type": BODY}})

    async def file(receive, send):
        await send(START)
        await send({{"type": "http.response.pathsend", "path": FILE}})

    async def timers(receive, send):
        try:
            await asyncio.wait_for(receive(), 60)
            await asyncio.wait_for(receive(), 0.001)
        except asyncio.TimeoutError:
            await respond(send, b"ok")

    async def tasks(receive, send):
        async with asyncio.Lock():
            await asyncio.gather(*(asyncio.create_task(asyncio.sleep(0)) for _ in range(3)))
        await respond(send, b"ok")

    async def slow(receive, send):
        await asyncio.sleep(600)

    async def application(scope, receive, send):
        await globals()[scope["path"].rpartition("/")[2]](receive, send)
"""

LOCATIONS = {
    "/": "",
    "/cancel/": "asgi_client_abort cancel;",
    "/large": "asgi_buffer_size 16k;",
    "/slow": "asgi_timeout 20ms;",
    "/validate/": "asgi_debug validate;",
    "/traceback/": "asgi_debug traceback;",
    "/buffered/": "asgi_request_buffering on;",
}
HTTP = """
    keepalive_requests 1000000;
    access_log off;
    client_header_timeout 300s;
    asgi_queue_timeout 300s;
    asgi_timeout 300s;
"""


KINDS = {
    "small": Kind(get("/small"), OK, b"ok"),
    "exception": Kind(get("/raises")),
    "SystemExit": Kind(get("/exits")),
    "CancelledError": Kind(get("/cancelled")),
    "exception in the body": Kind(get("/raises_later"), OK, b"begun\r\n"),
    "no response": Kind(get("/returns")),
    "no end of the body": Kind(get("/returns_later"), OK, b"begun\r\n"),
    "message out of order": Kind(get("/out_of_order")),
    "malformed message": Kind(get("/malformed")),
    "bad header": Kind(get("/bad_header")),
    "exception after the response": Kind(get("/after"), OK, b"ok"),
    "asgi_debug traceback": Kind(get("/traceback/raises"), ends=b""),
    "asgi_debug validate": Kind(get("/validate/out_of_order"), ends=b""),
    "left while it waits": Kind(get("/waits"), OK, leaves="answered"),
    "left, and cancelled": Kind(get("/cancel/sleeps"), OK, leaves="answered"),
    "left while it sends": Kind(get("/sends"), OK, leaves="answered"),
    "left in a download": Kind(get("/large"), OK, leaves="answered"),
    "left in a file": Kind(get("/file"), OK, leaves="answered"),
    "left in an upload": Kind(post("/waits", 100_000, b"u" * 5000), OK, leaves="answered"),
    "left in a buffered upload": Kind(
        post("/buffered/small", 100_000, b"u" * 5000), leaves="at once"
    ),
    "left at once": Kind(get("/small"), leaves="at once"),
    "receive that is given up": Kind(get("/timers"), OK, b"ok"),
    "tasks of its own": Kind(get("/tasks"), OK, b"ok"),
    "asgi_timeout": Kind(get("/slow"), b"HTTP/1.1 504 ", count=ALL // 5),
    "half a request": Kind(get("/small")[:20], leaves="at once"),
}


@pytest.fixture
def worker(nginx):
    file = nginx.page("file.bin", "f" * 100_000)
    path = nginx.app("leaks", APPLICATION.format(file=file))
    with serving(nginx, f"asgi_app {path}; asgi_lifespan off;", LOCATIONS, HTTP) as worker:
        yield worker


@pytest.mark.parametrize("name", KINDS)
def test_many_of_a_kind(nginx, worker, name):
    kind = KINDS[name]
    count = kind.count or ALL
    first = min(FIRST, count // 4)
    assert worker.client.get("/small").text == "ok"
    exchange(nginx.port, kind, first)
    before = worker.state()
    exchange(nginx.port, kind, count - first)
    worker.assert_as(before)
    assert worker.client.get("/small").text == "ok"


def test_streams_given_up(worker):
    """As a browser does on Stop: one HTTP/2 connection, whose streams are reset while they run."""
    assert_streams_leave_nothing(worker, 4000)


@pytest.mark.timeout(900)
def test_100000_small_requests(nginx, worker):
    """Sent by wrk."""
    load(nginx, 10_000)
    before = worker.state()
    load(nginx, 100_000)
    worker.assert_as(before)
