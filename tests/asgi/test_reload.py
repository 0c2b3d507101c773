"""nginx -s reload with ASGI applications: no request fails, each lifespan ends once."""

from __future__ import annotations

import json

import pytest
from load import Load, fresh, stream, upload
from rawhttp import wait_for

APPLICATION = """
    import asyncio
    import os
    from testkit import START, opened, read_body, record, respond

    BODY = "http.response.body"
    HEADERS = [(b"content-type", b"text/plain"), (b"x-pid", str(os.getpid()).encode())]

    async def application(scope, receive, send):
        path = scope.get("path")
        if scope["type"] == "lifespan":
            await receive()
            await asyncio.sleep({startup})
            record("started", os.getpid())
            await send({{"type": "lifespan.startup.complete"}})
            await receive()
            record("shutdown", os.getpid())
            return await send({{"type": "lifespan.shutdown.complete"}})
        if path == "/blocks":
            await send(START)
            for index in range(50):
                await asyncio.sleep(0.02)
                data = b"%05d\\n" % index
                await send({{"type": BODY, "body": data, "more_body": True}})
            return await send({{"type": BODY}})
        if path == "/events":
            headers = [(b"content-type", b"text/event-stream")]
            await send({{**START, "headers": headers}})
            try:
                while True:
                    data = b"data: %d\\n\\n" % os.getpid()
                    await send({{"type": BODY, "body": data, "more_body": True}})
                    await asyncio.sleep(0.1)
            finally:
                record("events-ended", os.getpid())
        body = await read_body(receive)
        await asyncio.sleep(0.005)
        await respond(send, b"v " + body, headers=HEADERS)
        if path == "/background":
            record("responded")
            await opened("background")
            record("worked", os.getpid())
"""
CLOSE = {"Connection": "close"}


def test_ten_reloads_under_load_with_events_open(nginx, serve):
    serve(
        APPLICATION.format(startup=0.1),
        "asgi_lifespan on; client_max_body_size 1m;",
        http="python_drain_timeout 3s;",
        workers=2,
    )
    assert nginx.client().get("/").status_code == 200
    pids = {str(pid) for pid in nginx.runners()}
    load = Load(nginx)
    for once in (fresh, fresh, upload, stream, stream):
        load.start(once)
    listeners = []
    try:
        for _ in range(10):
            listener = nginx.connect()
            listener.get("/events")
            assert listener.until(b"data: ") is not None
            listeners.append(listener)
            nginx.reload()
            now = {str(pid) for pid in nginx.runners()} - pids
            assert len(now) == 2
            pids |= now
            answered = load.answered
            wait_for(lambda answered=answered: load.answered > answered + 10, 60, "answers")
    finally:
        load.stop()
    assert load.failures == []

    # The drain time ends what would never end by itself.
    for listener in listeners:
        listener.rest()

    def only_new() -> bool:
        return set(nginx.runners(leaving=True)) == set(nginx.runners())

    wait_for(only_new, 60, "the end of the old workers")
    assert nginx.client().get("/").status_code == 200
    assert len(nginx.wait_recorded("events-ended", 10)) == 10
    nginx.quit()
    # Each lifespan that began has ended, once.
    for name in ("started", "shutdown"):
        assert sorted(nginx.recorded(name)) == sorted(pids)


def test_a_reload_waits_for_background_work(nginx, serve):
    serve(APPLICATION.format(startup=0), "asgi_lifespan on;")
    (old,) = nginx.runners()
    assert nginx.client().get("/background", headers=CLOSE).text == "v "
    nginx.wait_recorded("responded")
    nginx.reload()
    assert nginx.client().get("/", headers=CLOSE).headers["x-pid"] != str(old)
    assert old in nginx.runners(leaving=True)
    assert nginx.recorded("shutdown") == []
    nginx.open_gate("background")
    assert nginx.wait_recorded("worked") == [str(old)]
    assert nginx.wait_recorded("shutdown") == [str(old)]
    wait_for(lambda: old not in nginx.runners(leaving=True), 30, "the end of the old worker")


def test_background_work_is_cut_after_the_drain_time(nginx, serve):
    serve(APPLICATION.format(startup=0), "asgi_lifespan on;", http="python_drain_timeout 1s;")
    (old,) = nginx.runners()
    assert nginx.client().get("/background", headers=CLOSE).text == "v "
    nginx.wait_recorded("responded")
    nginx.reload()
    wait_for(lambda: old not in nginx.runners(leaving=True), 30, "the end of the old worker")
    assert nginx.recorded("worked") == []
    assert nginx.recorded("shutdown") == [str(old)]


@pytest.mark.parametrize("first", ["wsgi", "asgi"])
def test_a_location_changes_its_protocol(nginx, first):
    wsgi = nginx.app(
        "w",
        """
        def application(environ, start_response):
            start_response("200 OK", [("Content-Type", "application/json")])
            return [b'"wsgi"']
        """,
    )
    asgi = nginx.app(
        "a",
        """
        from testkit import respond

        async def application(scope, receive, send):
            await respond(send, b'"asgi"')
        """,
    )
    locations = {"wsgi": f"wsgi_app {wsgi};", "asgi": f"asgi_app {asgi}; asgi_lifespan off;"}
    nginx.start(locations[first])
    assert json.loads(nginx.client().get("/").text) == first
    for protocol in ("asgi", "wsgi", "asgi"):
        nginx.write_config(locations[protocol])
        nginx.reload()
        assert json.loads(nginx.client().get("/", headers=CLOSE).text) == protocol


def test_a_worker_that_imports_when_the_next_reload_comes(nginx, serve):
    serve(APPLICATION.format(startup=1), "asgi_lifespan on;")
    for _ in range(3):
        nginx.reload()
    assert nginx.client().get("/").text == "v "
    wait_for(lambda: nginx.runners(leaving=True) == nginx.runners(), 60, "the end of the others")
    nginx.quit()
    # A startup that was completed is followed by a shutdown.
    assert sorted(nginx.recorded("started")) == sorted(nginx.recorded("shutdown"))
