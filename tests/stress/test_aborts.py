"""2,000 requests that their clients abort at random moments."""

from __future__ import annotations

import random

from process_memory import threads
from rawhttp import wait_for
from stress.aborts import counts, many, one

ABORTS = 2000
KINDS = ["head", "late", "body", "body", "upload", "stream", "write", "list"]
READ = {"body", "write", "list"}
UPLOADS = {"upload", "stream"}

APPLICATION = """
    import threading, time
    from testkit import record

    lock = threading.Lock()
    counts = {"called": 0, "closed": 0, "running": 0}

    def count(name, change=1):
        with lock:
            counts[name] += change

    class Body:
        def __init__(self, blocks):
            self.blocks = blocks
            count("called")
            count("running")

        def __iter__(self):
            return self.blocks

        def close(self):
            count("closed")
            count("running", -1)

    def slowly(size):
        for _ in range(20):
            yield b"s" * size
            time.sleep(0.002)

    def application(environ, start_response):
        path, query = environ["PATH_INFO"], environ["QUERY_STRING"]
        headers = [("Content-Type", "text/plain")]
        if path == "/counts":
            start_response("200 OK", headers)
            return [repr(counts).encode()]
        if path == "/late":
            time.sleep(0.02)
        if path == "/write":
            body = Body(iter(()))
            try:
                write = start_response("200 OK", headers)
                for block in slowly(1000):
                    write(block)
            except BaseException:
                body.close()
                raise
            return body
        if path in ("/upload", "/stream"):
            stream = environ["wsgi.input"]
            body = Body(iter([b"done"]))
            try:
                while stream.read(1000):
                    pass
                start_response("200 OK", headers)
            except BaseException:
                body.close()
                raise
            return body
        start_response("200 OK", headers)
        if path == "/list":
            return Body(iter([b"l" * int(query)]))
        return Body(slowly(int(query)))
"""


def test_2000_aborted_requests(nginx):
    path = nginx.app("aborts", APPLICATION)
    nginx.start(
        f"wsgi_app {path};",
        server=f"location /stream {{ wsgi_app {path}; wsgi_request_buffering off; }}",
        http="python_thread_pool default threads=6;",
    )
    (worker,) = nginx.workers()
    client = nginx.client()
    # Start all of the pool's threads before they are counted.
    warm = [nginx.connect() for _ in range(12)]
    for connection in warm:
        connection.get("/late?10")
    for connection in warm:
        assert connection.response().complete
        connection.close()
    at_first = threads(worker)

    many(client, ABORTS, lambda source: one(nginx, source, KINDS, READ, UPLOADS))

    wait_for(lambda: counts(client)["running"] == 0, 60, "every close()")
    seen = counts(client)
    assert seen["called"] == seen["closed"]
    assert seen["called"] > ABORTS / 4
    assert threads(worker) <= at_first
    assert nginx.workers() == [worker]
    # The whole pool still works: as many requests at once as it has threads.
    connections = [nginx.connect() for _ in range(6)]
    for connection in connections:
        connection.get("/body?10")
    for connection in connections:
        assert connection.response().body == b"s" * 200
    nginx.quit()
    assert not nginx.log_lines("Traceback")
    assert not nginx.log_lines("[error]")


def test_aborts_over_http_2(nginx):
    import httpx

    path = nginx.app("aborts", APPLICATION)
    nginx.start(
        f"wsgi_app {path};",
        listen="ssl http2",
        server=nginx.tls() + f"location /stream {{ wsgi_app {path}; wsgi_request_buffering off; }}",
        http="python_thread_pool default threads=6;",
    )
    source = random.Random(11)

    def upload():
        for _ in range(source.randrange(1, 20)):
            yield b"u" * 1000
        raise KeyboardInterrupt

    for _ in range(60):
        client = nginx.client(http2=True)
        for _ in range(source.randrange(1, 5)):
            if source.random() < 0.6:
                with client.stream("GET", "/body?1000") as response:
                    next(response.iter_raw())
            else:
                try:
                    client.post(source.choice(["/upload", "/stream"]), content=upload())
                except (KeyboardInterrupt, httpx.HTTPError):
                    break
        client.close()
    client = nginx.client(http2=True)
    wait_for(lambda: counts(client)["running"] == 0, 60, "every close()")
    seen = counts(client)
    assert seen["called"] == seen["closed"]
    assert client.get("/list?5").text == "lllll"
