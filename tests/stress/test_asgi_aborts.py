"""2,000 clients that go away at random moments: all tasks end, and descriptors come back."""

from __future__ import annotations

import random
import time

import pytest
from process_memory import descriptors, threads
from rawhttp import wait_for
from rawhttp2 import Http2
from stress.aborts import counts, many, one

ABORTS = 2000

APPLICATION = """
    import asyncio
    from pathlib import Path
    from testkit import START, respond

    BODY = "http.response.body"
    FILE = Path(__file__).parent.parent / "html" / "file.bin"
    counts = {"called": 0, "ended": 0}

    async def parts(send, size):
        await send(START)
        for _ in range(20):
            await send({"type": BODY, "body": b"s" * size, "more_body": True})
            await asyncio.sleep(0.002)
        await send({"type": BODY})

    async def application(scope, receive, send):
        path, query = scope["path"], scope["query_string"]
        if path == "/counts":
            tasks = len(asyncio.all_tasks()) - 1
            return await respond(send, repr({**counts, "tasks": tasks}).encode())
        counts["called"] += 1
        try:
            await globals()[path.strip("/")](receive, send, int(query or 0))
        finally:
            counts["ended"] += 1

    async def body(receive, send, size):
        await parts(send, size)

    async def whole(receive, send, size):
        await respond(send, b"w" * size)

    async def late(receive, send, size):
        await asyncio.sleep(0.02)
        await parts(send, size)

    async def waits(receive, send, size):
        while (await receive())["type"] != "http.disconnect":
            pass

    async def events(receive, send, size):
        # As frameworks do: one task sends, another waits for the disconnect.
        await receive()
        sending = asyncio.ensure_future(parts(send, 10))
        watching = asyncio.ensure_future(receive())
        try:
            await asyncio.wait([sending, watching], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (sending, watching):
                task.cancel()
            await asyncio.gather(sending, watching, return_exceptions=True)

    async def background(receive, send, size):
        await respond(send, b"x")
        await asyncio.sleep(0.02)

    async def to_thread(receive, send, size):
        await asyncio.to_thread(sum, range(1000))
        await parts(send, size)

    async def file(receive, send, size):
        await send(START)
        await send({"type": "http.response.pathsend", "path": str(FILE)})

    async def upload(receive, send, size):
        more = True
        while more:
            message = await receive()
            more = message.get("more_body", False)
        await respond(send, b"done")
"""
KINDS = ["body", "body", "whole", "late", "waits", "events", "background", "to_thread", "file"]
READ = {"body", "whole", "file", "events"}


@pytest.mark.parametrize("mode", ["notify", "cancel", "ignore"])
def test_2000_clients_that_go_away(nginx, mode):
    # "waits" would wait for ever.
    aborts = ABORTS if mode == "notify" else ABORTS // 4
    path = nginx.app("aborts", APPLICATION)
    nginx.page("file.bin", "f" * 300_000)
    nginx.start(
        f"asgi_app {path}; asgi_lifespan off; asgi_client_abort {mode};",
        server=f"location /waits {{ asgi_app {path}; asgi_lifespan off; }}",
    )
    (worker,) = nginx.workers()
    client = nginx.client()
    for kind in ("to_thread", "file", "events"):
        assert client.get(f"/{kind}?10").status_code == 200
    first, at_first = counts(client), (descriptors(worker), threads(worker))
    kinds = ["head", "upload", "upload", *KINDS]
    many(client, aborts, lambda source: one(nginx, source, kinds, READ, {"upload"}))

    def over() -> bool:
        now = counts(client)
        return now["tasks"] <= first["tasks"] and now["called"] == now["ended"]

    wait_for(over, 60, "the end of every task")
    assert counts(client)["called"] > aborts / 4
    wait_for(lambda: descriptors(worker) <= at_first[0], 60, "descriptors as at first")
    # The default executor of the loop has made its own.
    assert threads(worker) <= at_first[1] + 32
    assert nginx.workers() == [worker]
    nginx.quit()
    assert not nginx.log_lines("Traceback")
    assert not nginx.log_lines("[error]")


def test_streams_of_http_2_that_are_reset(nginx):
    path = nginx.app("aborts", APPLICATION)
    nginx.page("file.bin", "f" * 300_000)
    nginx.start(f"asgi_app {path}; asgi_lifespan off;", http2=True)
    client, source = nginx.client(http2=True), random.Random(11)
    first = counts(client)
    for _ in range(20):
        with Http2(nginx.port) as connection:
            streams = [
                connection.request(f"/{source.choice(KINDS)}?{source.choice([1, 1000])}")
                for _ in range(source.randrange(1, 20))
            ]
            time.sleep(source.random() * 0.03)
            for stream in source.sample(streams, len(streams) // 2):
                connection.reset(stream)
            assert connection.response(connection.request("/whole?5")).body == b"wwwww"

    def over() -> bool:
        now = counts(client)
        return now["tasks"] <= first["tasks"] and now["called"] == now["ended"]

    wait_for(over, 60, "the end of every task")
    assert not nginx.log_lines("[error]")
