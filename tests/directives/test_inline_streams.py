"""wsgi_thread_pool inline: slow responses block neither the worker nor use its memory."""

from __future__ import annotations

import asyncio
import hashlib
import re
from pathlib import Path

import httpx
import pytest
from directives.flow import BLOCK, EXPECTED, TOTAL, Flow

MEGABYTE = 1 << 20


def memory(pid: int, name: str) -> int:
    """A line of /proc/PID/status in bytes: VmRSS, or VmHWM for the peak."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(rf"^{name}:\s+(\d+) kB", status, re.MULTILINE)[1]) * 1024


@pytest.fixture
def start(nginx):
    """`start(source)` serves that application inline in `location /` and returns a client."""

    def begin(source: str, location: str = "", **options):
        app = nginx.app("app", source)
        nginx.start(f"wsgi_app {app}; wsgi_thread_pool inline; {location}", **options)
        return nginx.client()

    return begin


# Slow clients


@pytest.mark.parametrize("buffering", ["on", "off"])
def test_a_slow_client_holds_nobody(nginx, buffering):
    """The iteration is suspended in its middle, and the worker serves others."""
    flow = Flow(nginx)
    nginx.start(
        f"wsgi_app {flow.app}; wsgi_thread_pool inline; wsgi_buffering {buffering};",
        listen=Flow.LISTEN,
    )
    client = nginx.client()
    with flow.slow() as slow:
        assert slow.head().status == 200
        assert flow.wait_stalled() < 8 * MEGABYTE
        assert flow.files() == []
        for _ in range(20):
            assert client.get("/").text == "quick"
        # None of that has resumed the iteration.
        given = flow.given()
        assert not flow.is_closed()
        body = b""
        while chunk := slow.chunk():
            body += chunk
        assert body == b"".join(EXPECTED)
    assert flow.given() == TOTAL > given
    flow.wait_closed()


@pytest.mark.unsanitized("it keeps what has been freed")
def test_memory_is_bounded_for_a_client_that_stands_still_and_one_that_reads(start, nginx):
    client = start(
        """
        from testkit import record

        BLOCK = bytes(range(256)) * 256

        def application(environ, start_response):
            if environ["PATH_INFO"] == "/quick":
                start_response("200 OK", [("Content-Type", "text/plain")])
                return [b"quick"]
            start_response("200 OK", [("Content-Type", "application/octet-stream")])
            return blocks()

        def blocks():
            for number in range(3200):
                yield number.to_bytes(8, "big") + BLOCK[8:]
            record("generated")
        """
    )
    (worker,) = nginx.workers()
    assert client.get("/quick").text == "quick"
    before = memory(worker, "VmRSS")
    with nginx.connect() as connection:
        connection.get()
        assert connection.head().status == 200
        assert client.get("/quick").text == "quick"
        assert not nginx.recorded("generated")
        assert sum(map(len, connection.chunks())) == 3200 * 65536
    assert nginx.recorded("generated")
    assert memory(worker, "VmHWM") - before < 32 * MEGABYTE


@pytest.mark.parametrize("form", ["list", "one", "tuple", "iterator"])
def test_ten_megabytes(start, nginx, form):
    """More than the buffer holds, in every form: no other request waits for the client."""
    client = start(
        f"""
        BLOCKS = [bytes([number]) * 1_000_000 for number in range(10)]
        FORMS = dict(
            list=lambda: BLOCKS,
            one=lambda: [b"".join(BLOCKS)],
            tuple=lambda: tuple(BLOCKS),
            iterator=lambda: iter(BLOCKS),
        )

        def application(environ, start_response):
            start_response("200 OK", [("Content-Type", "application/octet-stream")])
            return [b"quick"] if environ["QUERY_STRING"] else FORMS[{form!r}]()
        """,
        listen="sndbuf=128k",
    )
    expected = b"".join(bytes([number]) * 1_000_000 for number in range(10))
    with nginx.connect() as slow:
        slow.get()
        assert client.get("/?quick").text == "quick"
        response = slow.response()
        assert response.complete
        assert response.body == expected
        assert response.framing == ("chunked" if form == "iterator" else "length")
        # The connection goes on.
        slow.get("/?quick")
        assert slow.response().body == b"quick"


STREAM = """
    import hashlib

    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "application/octet-stream")])
        return ((b"%07d" % number) * 1000 for number in range(500))
"""
STREAMED = b"".join((b"%07d" % number) * 1000 for number in range(500))


@pytest.mark.parametrize(
    ("tls", "http2", "location"),
    [
        (False, False, ""),
        (True, False, ""),
        (True, True, ""),
        (False, False, "limit_rate 4m;"),
        (True, True, "limit_rate 4m;"),
        (False, False, "wsgi_buffer_size 4k;"),
        (True, True, "wsgi_buffer_size 4k;"),
        (False, False, "gzip on; gzip_types *; wsgi_buffer_size 4k;"),
        (False, False, "postpone_output 0; output_buffers 1 1k;"),
    ],
)
def test_a_stream_arrives_whole(start, nginx, tls, http2, location):
    start(
        STREAM,
        location,
        listen="ssl http2" if http2 else "ssl" if tls else "",
        server=nginx.tls() if tls else "",
    )
    client = nginx.client(tls=tls, http2=http2)
    for _ in range(2):
        response = client.get("/")
        assert response.status_code == 200
        assert hashlib.sha256(response.content).digest() == hashlib.sha256(STREAMED).digest()


def test_many_streams_at_once_over_one_http2_connection(start, nginx):
    start(STREAM, http2=True)

    async def ask():
        # On one thread: with several, httpx sometimes opens streams in the wrong order.
        async with httpx.AsyncClient(http2=True, verify=False, timeout=60) as client:
            asked = (client.get(nginx.url("/", scheme="https")) for _ in range(24))
            return await asyncio.gather(*asked)

    assert {answer.content == STREAMED for answer in asyncio.run(ask())} == {True}


def test_a_rest_that_waits_for_its_client_goes_on_after_a_pause(start, nginx):
    """`send_timeout` limits how long the client may take nothing, as for any response."""
    start(STREAM, "send_timeout 1s;", listen=Flow.LISTEN)
    flow = nginx.connect(receive=4096)
    flow.get()
    nginx.wait_log("client timed out (send_timeout)")
    assert nginx.client().get("/").content == STREAMED


# One block at a time


def test_each_block_is_on_its_way_before_the_next_is_asked_for(start, nginx):
    """PEP 3333, "Buffering and Streaming". The event loop itself waits in the application here."""
    start(
        """
        from testkit import gate, record

        def application(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/plain")])
            for number in range(40):
                yield b"block %d" % number
                gate(f"after-{number}")
        """
    )
    # More than the blocks of one turn.
    with nginx.connect() as connection:
        connection.get()
        assert connection.head().status == 200
        for number in range(40):
            assert connection.chunk() == b"block %d" % number
            nginx.open_gate(f"after-{number}")
        assert connection.chunk() == b""


TURNS = """
    from testkit import record

    LIMIT = 1_000_000
    made = {}

    def blocks(name, other, block):
        # Until the other one has made as much progress.
        for number in range(LIMIT):
            made[name] = number
            if min(number, made.get(other, 0)) > 100:
                break
            yield block
        record(name, "ended" if made[name] < LIMIT - 1 else "never had company")

    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        name, other, block = environ["QUERY_STRING"].split("-")
        if name == "quick":
            made["quick"] = 1000
            return [b"quick"]
        return blocks(name, other, block.encode())
"""


@pytest.mark.parametrize("block", ["", "x"], ids=["empty blocks", "one byte"])
def test_two_streams_take_turns(start, nginx, block):
    start(TURNS)
    first, second = nginx.connect(), nginx.connect()
    first.get(f"/?a-b-{block}", close=True)
    second.get(f"/?b-a-{block}", close=True)
    assert first.response().complete
    assert second.response().complete
    assert nginx.recorded("a") == nginx.recorded("b") == ["ended"]


@pytest.mark.parametrize("block", ["", "x"], ids=["empty blocks", "one byte"])
def test_an_iteration_that_goes_on_leaves_turns_to_others(start, nginx, block):
    client = start(TURNS, server="location /static { return 200 static; }")
    with nginx.connect() as connection:
        connection.get(f"/?a-quick-{block}", close=True)
        for _ in range(5):
            assert client.get("/static").text == "static"
        assert client.get("/?quick--").text == "quick"
        assert connection.response().complete
    assert nginx.recorded("a") == ["ended"]


# wsgi_timeout


@pytest.mark.parametrize("block", [b"", b"x"], ids=["before the head", "after it"])
def test_an_iteration_ends_at_wsgi_timeout(start, nginx, block):
    client = start(
        f"""
        import time
        from testkit import Blocks

        def blocks():
            while True:
                time.sleep(0.02)
                yield {block!r}

        def application(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [b"quick"] if environ["QUERY_STRING"] else Blocks(blocks())
        """,
        "wsgi_timeout 500ms;",
    )
    with nginx.connect() as connection:
        connection.get()
        response = connection.response()
        assert response.status == (200 if block else 504)
        assert response.complete is not bool(block)
    assert nginx.wait_recorded("closed") == ["-"]
    assert "its iteration ends" in nginx.wait_log("timed out after 500 ms (wsgi_timeout)")
    assert client.get("/?quick").text == "quick"


def test_turns_that_wait_for_nobody_count_for_wsgi_timeout(start, nginx):
    """Measured by processor time, which never exceeds the time that has passed."""
    start(
        """
        import time
        from testkit import Blocks, record

        def blocks():
            begin = time.thread_time()
            try:
                while True:
                    yield b""
            finally:
                record("spent", time.thread_time() - begin)

        def application(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/plain")])
            return Blocks(blocks())
        """,
        "wsgi_timeout 1s;",
    )
    with nginx.connect() as connection:
        connection.get()
        assert connection.response().status == 504
    assert float(nginx.wait_recorded("spent")[0]) < 1.5


def test_a_call_is_not_interrupted_by_wsgi_timeout(start, nginx):
    """The event loop, which keeps the time, is itself in the call."""
    client = start(
        """
        import time

        def application(environ, start_response):
            time.sleep(0.6)
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [b"late"]
        """,
        "wsgi_timeout 200ms;",
    )
    assert client.get("/").text == "late"
    assert not nginx.log_lines("wsgi_timeout")


def test_a_client_s_time_does_not_count(nginx):
    flow = Flow(nginx)
    nginx.start(
        f"wsgi_app {flow.app}; wsgi_thread_pool inline; wsgi_timeout 1s;", listen=Flow.LISTEN
    )
    with flow.slow() as slow:
        # The client reads nothing for longer than the limit.
        flow.wait_stalled()
        flow.wait_stalled()
        response = slow.response()
        assert response.complete
        assert len(response.body) == TOTAL == BLOCK * len(EXPECTED)
    assert not nginx.log_lines("wsgi_timeout")


def test_a_second_writer_waits_for_nothing_and_loses_nothing(nginx):
    """A part of a block waits for room: no other thread's write may come before it."""
    source = """
        import threading
        from testkit import gate, record

        def application(environ, start_response):
            if environ["PATH_INFO"] == "/quick":
                start_response("200 OK", [("Content-Length", "2")])
                return [b"ok"]
            write = start_response("200 OK", [("Content-Length", "4800000")])

            def other():
                gate("go")
                try:
                    write(b"W" * 1000)
                    record("written", "taken")
                except RuntimeError as error:
                    record("written", error)

            threading.Thread(target=other).start()
            return [b"x" * 150_000] * 32
    """
    nginx.start(
        f"wsgi_app {nginx.app('app', source)}; wsgi_thread_pool inline;", listen=Flow.LISTEN
    )
    with nginx.connect() as slow:
        slow.get("/")
        assert slow.head().status == 200
        # The iteration is suspended until its client takes more.
        assert nginx.client().get("/quick").text == "ok"
        nginx.open_gate("go")
        assert "another thread sends this response" in nginx.wait_recorded("written")[0]
        assert slow.take(4_800_000) == b"x" * 4_800_000


def test_a_body_that_is_too_long_is_cut_where_its_length_ends(nginx):
    """With a trailer to come, the last block, part of which waits, is not the end."""
    nginx.allow_log("sends more bytes than its Content-Length")
    source = """
        def application(environ, start_response):
            start_response("200 OK", [("Content-Length", "399000"), ("Trailer", "X-Sum")])
            return [b"x" * 200_000, b"x" * 200_000]
    """
    nginx.start(f"wsgi_app {nginx.app('app', source)}; wsgi_thread_pool inline;")
    with nginx.connect() as connection:
        for _ in range(2):
            connection.get("/")
            assert connection.response().body == b"x" * 399_000


def test_one_block_shorter_than_its_length_is_cut(nginx):
    nginx.allow_log("ended its body after 9000000 bytes")
    source = """
        def application(environ, start_response):
            start_response("200 OK", [("Content-Length", "9000001")])
            return [b"x" * 9_000_000]
    """
    nginx.start(
        f"wsgi_app {nginx.app('app', source)}; wsgi_thread_pool inline; wsgi_buffer_size 4k;"
    )
    with nginx.connect() as connection:
        connection.get("/")
        assert connection.head().status == 200
        assert len(connection.rest()) == 9_000_000


def test_many_requests_that_waited_for_the_import_leave_others_their_turn(nginx):
    """If all of them ran in one turn, a static file would wait for all of them."""
    source = """
        import time
        from testkit import gate, record

        gate("import")

        def application(environ, start_response):
            time.sleep(0.02)
            record("ran")
            start_response("200 OK", [("Content-Length", "2")])
            return [b"ok"]
    """
    nginx.page("file.txt", "static")
    nginx.start(
        f"wsgi_app {nginx.app('app', source)}; wsgi_thread_pool inline;",
        server="location = /file.txt { }",
    )
    connections = [nginx.connect() for _ in range(200)]
    for connection in connections:
        connection.get("/")
    client = nginx.client()
    assert client.get("/file.txt").text == "static"
    nginx.open_gate("import")
    nginx.wait_recorded("ran")
    assert client.get("/file.txt").text == "static"
    assert len(nginx.recorded("ran")) < 200
    assert {connection.response().body for connection in connections} == {b"ok"}
