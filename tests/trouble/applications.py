"""The applications of `make stress`, one of each protocol, which answer alike.

The last part of the path says what is done, the query's `token` whose request it is. `VERSION`
stands for what a deploy changes.
"""

HEAD = """
import os
import signal
import time
from urllib.parse import parse_qsl

import pywsgi
import testkit
from planned import pattern

VERSION = "{version}"
KEPT = []
SEEN = {{"started": False, "finished": 0}}
# Long enough for a request to come meanwhile.
time.sleep(0.3)


@pywsgi.on_worker_start
def start():
    SEEN["started"] = True


@pywsgi.on_request_finished
def finished(request):
    SEEN["finished"] += 1


def die():
    testkit.record("crashed", os.getpid())
    # As a C extension does that follows a wrong pointer.
    import ctypes

    ctypes.string_at(0)


def text(token, size):
    for offset in range(0, size, 20_000):
        yield pattern(token, min(20_000, size - offset), offset)


def fields(query):
    found = [("Content-Type", "text/plain"), ("X-Token", query.get("token", "none"))]
    found += [("X-Worker", str(os.getpid())), ("X-Version", VERSION)]
    if "length" in query:
        found.append(("Content-Length", query["size"]))
    return found
"""

WSGI = (
    HEAD
    + """

def application(environ, start_response):
    name = environ["PATH_INFO"].rpartition("/")[2]
    query = dict(parse_qsl(environ["QUERY_STRING"]))
    size = int(query.get("size", 0))
    if name == "raise" or not SEEN["started"]:
        raise ValueError("on purpose")
    if name == "restart":
        pywsgi.restart_worker()
    if name == "crash":
        die()
    if name == "late":
        for _ in range(100):
            time.sleep(0.05)
    if name == "keep":
        KEPT.append(b"k" * size)
    if name == "mirror":
        source = environ["wsgi.input"]
        body = b"".join(iter(lambda: source.read(50_000), b""))
    if name == "spend":
        # It needs the memory at once, for a moment.
        bytes(size)
        size = int(query["answer"])
    start_response("200 OK", fields(query))
    if name == "mirror":
        return [body]
    if name == "file":
        return environ["wsgi.file_wrapper"](open("{file}", "rb"))
    return text(query.get("token", "none"), 0 if name == "keep" else size)
"""
)

ASGI = (
    HEAD
    + """
import asyncio


async def websocket(receive, send):
    await receive()
    await send({{"type": "websocket.accept"}})
    while (message := await receive())["type"] == "websocket.receive":
        await send({{**message, "type": "websocket.send"}})


async def application(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({{"type": "lifespan.startup.complete"}})
        await receive()
        return await send({{"type": "lifespan.shutdown.complete"}})
    if scope["type"] == "websocket":
        return await websocket(receive, send)
    name = scope["path"].rpartition("/")[2]
    query = dict(parse_qsl(scope["query_string"].decode()))
    size = int(query.get("size", 0))
    if name == "raise" or not SEEN["started"]:
        raise ValueError("on purpose")
    if name == "restart":
        pywsgi.restart_worker()
    if name == "crash":
        die()
    if name == "late":
        await asyncio.sleep(60)
    if name == "keep":
        KEPT.append(b"k" * size)
    if name == "mirror":
        body = await testkit.read_body(receive)
    if name == "spend":
        bytes(size)
        size = int(query["answer"])
    headers = [(name.lower().encode(), value.encode()) for name, value in fields(query)]
    await send({{"type": "http.response.start", "status": 200, "headers": headers}})
    if name == "mirror":
        return await send({{"type": "http.response.body", "body": body}})
    if name == "file":
        return await send({{"type": "http.response.pathsend", "path": "{file}"}})
    for block in text(query.get("token", "none"), 0 if name == "keep" else size):
        await send({{"type": "http.response.body", "body": block, "more_body": True}})
    await send({{"type": "http.response.body"}})
"""
)

BROKEN = "def application(:\n    this is not Python\n"
