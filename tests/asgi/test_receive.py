"""receive(): the parts of a request's body, and `http.disconnect`."""

from __future__ import annotations

import pytest
from rawhttp import wait_for
from rawhttp2 import Http2

# Generous: soon means that the event loop has told the application, which nothing else would.
SOON = 20.0

# Records each message that it receives, up to the last part of the body.
RECORDS = """
    from testkit import opened, record, respond

    async def application(scope, receive, send):
        record("called")
        if scope["query_string"] == b"held":
            await opened("read")
        more = True
        while more:
            message = await receive()
            more = message.get("more_body", False)
            body = message.get("body", b"none").decode()
            record("messages", f"{message['type']} {body} {more}")
        await respond(send, b"read")
"""

HEAD = "POST /{} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n"
CHUNKED = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


def joined(lines: list[str]) -> str:
    """The body that these recorded messages make."""
    return "".join(line.split(" ")[1] for line in lines)


def test_no_body_is_one_empty_message(serve, fetch):
    serve(
        """
        from testkit import respond

        async def application(scope, receive, send):
            message = await receive()
            await respond(send, repr((type(message).__name__, message)).encode())
        """
    )
    kind, message = eval(fetch().body)
    assert kind == "dict"
    assert message == {"type": "http.request", "body": b"", "more_body": False}


def test_parts_come_as_they_are_sent(nginx, serve):
    serve(RECORDS)
    with nginx.connect() as connection:
        connection.send(HEAD.format("", 9))
        nginx.wait_recorded("called")
        for count, part in enumerate(["abc", "def"], 1):
            connection.send(part)
            lines = nginx.wait_recorded("messages", count)
            assert lines[-1] == f"http.request {part} True"
        connection.send("ghi")
        assert connection.response().body == b"read"
    lines = nginx.recorded("messages")
    assert joined(lines) == "abcdefghi"
    assert [line.endswith("True") for line in lines[:-1]] == [True] * (len(lines) - 1)
    assert lines[-1].endswith("False")


@pytest.mark.parametrize("buffering", ["off", "on"])
def test_chunks_are_decoded(nginx, serve, buffering):
    serve(RECORDS, f"asgi_request_buffering {buffering};")
    with nginx.connect() as connection:
        connection.send(CHUNKED + "3\r\nabc\r\n4;ext=1\r\ndefg\r\n0\r\nX-Trailer: 1\r\n\r\n")
        assert connection.response().body == b"read"
        assert joined(nginx.recorded("messages")) == "abcdefg"
        # What follows on the connection is the next request.
        connection.send(HEAD.format("", 3) + "xyz")
        assert connection.response().body == b"read"
    assert joined(nginx.recorded("messages")) == "abcdefgxyz"


def test_chunks_come_as_they_are_sent(nginx, serve):
    serve(RECORDS)
    with nginx.connect() as connection:
        connection.send(CHUNKED + "3\r\nabc\r\n")
        assert nginx.wait_recorded("messages") == ["http.request abc True"]
        connection.send("2\r\nde\r\n")
        nginx.wait_recorded("messages", 2)
        connection.send("0\r\n\r\n")
        assert connection.response().body == b"read"
    assert joined(nginx.recorded("messages")) == "abcde"


def test_a_buffered_body_is_there_when_the_application_is_called(nginx, serve):
    serve(RECORDS, "asgi_request_buffering on;")
    with nginx.connect() as connection:
        connection.send(HEAD.format("", 6) + "abc")
        assert connection.quiet(0.3)
        assert nginx.recorded("called") == []
        connection.send("def")
        assert connection.response().body == b"read"
    assert joined(nginx.recorded("messages")) == "abcdef"


@pytest.mark.parametrize("buffering", ["off", "on"])
@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("http2", [False, True])
def test_megabytes_come_in_parts_of_bounded_size(nginx, serve, buffering, chunked, http2):
    serve(
        """
        import hashlib
        from testkit import respond

        async def application(scope, receive, send):
            digest, largest, more = hashlib.sha256(), 0, True
            while more:
                message = await receive()
                digest.update(message["body"])
                largest = max(largest, len(message["body"]))
                more = message["more_body"]
            await respond(send, f"{digest.hexdigest()} {largest}".encode())
        """,
        f"asgi_request_buffering {buffering}; client_max_body_size 8m;",
        http2=http2,
    )
    import hashlib

    body = bytes(range(251)) * 20_000
    content = (body[at : at + 70_001] for at in range(0, len(body), 70_001)) if chunked else body
    text = nginx.client(http2=http2).post("/", content=content).text
    digest, largest = text.split()
    assert digest == hashlib.sha256(body).hexdigest()
    assert int(largest) <= 1 << 20


def test_100_continue_is_sent_when_the_application_reads(nginx, serve):
    serve(RECORDS)
    with nginx.connect() as connection:
        head = HEAD.format("?held", 3).replace("\r\n\r\n", "\r\nExpect: 100-continue\r\n\r\n")
        connection.send(head)
        nginx.wait_recorded("called")
        assert connection.quiet(0.3)
        nginx.open_gate("read")
        assert connection.response().status == 100
        connection.send("abc")
        assert connection.response().body == b"read"


def test_no_100_continue_for_an_application_that_does_not_read(nginx, serve, fetch):
    serve(
        """
        from testkit import respond

        async def application(scope, receive, send):
            await respond(send, b"no", status=403)
        """
    )
    head = HEAD.format("", 3).replace("\r\n\r\n", "\r\nExpect: 100-continue\r\n\r\n")
    assert fetch(head).status == 403


def test_a_body_that_nobody_reads_is_discarded(nginx, serve):
    serve(
        """
        from testkit import respond

        async def application(scope, receive, send):
            await respond(send, scope["path"].encode())
        """
    )
    with nginx.connect() as connection:
        for number in range(3):
            connection.send(HEAD.format(number, 100_000) + "x" * 100_000)
            assert connection.response().body == f"/{number}".encode()


def test_a_part_of_a_body_that_is_read_no_further(nginx, serve):
    serve(
        """
        from testkit import respond

        async def application(scope, receive, send):
            assert (await receive())["more_body"]
            await respond(send, b"enough")
        """
    )
    with nginx.connect() as connection:
        connection.send(HEAD.format("", 3_000) + "x" * 1_000)
        assert connection.response().body == b"enough"


def test_a_body_larger_than_allowed_is_a_413(nginx, serve):
    serve(RECORDS, "client_max_body_size 10;")
    assert nginx.client().post("/", content=b"x" * 11).status_code == 413
    assert nginx.recorded("called") == []


# Waits for the client's end by `receive` alone.
WAITS = """
    from testkit import START, record, respond

    async def application(scope, receive, send):
        if scope["path"] == "/":
            return await respond(send, b"fine")
        if scope["path"] == "/begun":
            await send(START)
            await send({"type": "http.response.body", "body": b"begun", "more_body": True})
        record("entered")
        while (message := await receive())["type"] == "http.request":
            record("part", message["body"].decode())
        record("gone", message)
        record("again", await receive())
"""
GONE = "{'type': 'http.disconnect'}"


@pytest.mark.parametrize("path", ["/quiet", "/begun"])
@pytest.mark.parametrize("how", ["close", "reset"])
def test_disconnect_comes_as_soon_as_the_client_has_gone(nginx, serve, path, how):
    """No timer, no other request and no output wakes that task."""
    serve(WAITS)
    connection = nginx.connect()
    connection.get(path)
    nginx.wait_recorded("entered")
    if path == "/begun":
        assert connection.until(b"begun") is not None
    assert nginx.recorded("gone") == []
    getattr(connection, how)()
    assert nginx.wait_recorded("gone", timeout=SOON) == [GONE]
    assert nginx.wait_recorded("again") == [GONE]
    assert nginx.client().get("/").text == "fine"
    assert not nginx.log_lines("[error]")


def test_disconnect_of_a_stream_of_http_2(nginx, serve):
    serve(WAITS, http2=True)
    with Http2(nginx.port) as connection:
        for count in range(1, 4):
            stream = connection.request("/quiet")
            nginx.wait_recorded("entered", count)
            connection.reset(stream)
            assert nginx.wait_recorded("gone", count, timeout=SOON) == [GONE] * count
            assert connection.response(connection.request("/")).body == b"fine"


def test_an_upload_that_is_broken_off_is_a_disconnect(nginx, serve):
    """It is no last part of the body: the application would take the half for the whole."""
    serve(WAITS)
    connection = nginx.connect()
    connection.send(HEAD.format("upload", 100) + "half")
    assert nginx.wait_recorded("part") == ["half"]
    connection.close()
    assert nginx.wait_recorded("gone", timeout=SOON) == [GONE]
    assert nginx.recorded("part") == ["half"]


def test_an_upload_of_http_2_that_is_reset_is_a_disconnect(nginx, serve):
    serve(WAITS, http2=True)
    with Http2(nginx.port) as connection:
        stream = connection.request("/upload", method="POST", end=False)
        connection.send(stream, b"half")
        nginx.wait_recorded("part")
        connection.reset(stream)
        assert nginx.wait_recorded("gone", timeout=SOON) == [GONE]
        assert nginx.recorded("part") == ["half"]


def test_a_malformed_chunk_is_a_disconnect(nginx, serve):
    serve(WAITS)
    with nginx.connect() as connection:
        connection.send(CHUNKED.replace("POST /", "POST /upload") + "3\r\nabc\r\n")
        assert nginx.wait_recorded("part") == ["abc"]
        connection.send("ZZ\r\n")
        connection.rest()
    assert nginx.wait_recorded("gone", timeout=SOON) == [GONE]
    assert nginx.recorded("part") == ["abc"]


def test_after_the_response_there_is_a_disconnect(nginx, serve):
    """Also while the client keeps the connection, and for a task that has waited before the end."""
    serve(
        """
        import asyncio
        from testkit import record, respond

        async def application(scope, receive, send):
            await receive()
            waiting = asyncio.ensure_future(receive())
            await asyncio.sleep(0.05)
            assert not waiting.done()
            await respond(send, b"whole")
            record("waited", await waiting)
            record("asked", await receive())
        """
    )
    with nginx.connect() as connection:
        for count in range(1, 3):
            connection.get()
            assert connection.response().body == b"whole"
            assert nginx.wait_recorded("waited", count, timeout=SOON) == [GONE] * count
            assert nginx.wait_recorded("asked", count, timeout=SOON) == [GONE] * count


def test_disconnect_while_the_application_does_other_things(nginx, serve):
    """As Starlette does: a task of its own waits for the disconnect beside one that works."""
    serve(
        """
        import asyncio
        from testkit import record

        async def application(scope, receive, send):
            await receive()
            work = asyncio.create_task(asyncio.sleep(600))

            async def watch():
                record("gone", await receive())
                work.cancel()

            watching = asyncio.create_task(watch())
            record("entered")
            try:
                await work
            except asyncio.CancelledError:
                record("stopped")
        """
    )
    connection = nginx.connect()
    connection.get()
    nginx.wait_recorded("entered")
    connection.close()
    assert nginx.wait_recorded("gone", timeout=SOON) == [GONE]
    nginx.wait_recorded("stopped")


def test_several_tasks_that_wait_are_all_told(nginx, serve):
    serve(
        """
        import asyncio
        from testkit import record

        async def application(scope, receive, send):
            await receive()
            record("entered")
            messages = await asyncio.gather(receive(), receive(), receive())
            record("gone", [message["type"] for message in messages])
        """
    )
    connection = nginx.connect()
    connection.get()
    nginx.wait_recorded("entered")
    connection.close()
    assert nginx.wait_recorded("gone", timeout=SOON) == [str(["http.disconnect"] * 3)]


def test_a_receive_that_is_given_up_loses_nothing(nginx, serve):
    """`wait_for` cancels what it waits for; the next call gets the part that comes later."""
    serve(
        """
        import asyncio
        from testkit import record, respond

        async def application(scope, receive, send):
            parts, timeouts = [], 0
            while True:
                try:
                    message = await asyncio.wait_for(receive(), 0.05)
                except asyncio.TimeoutError:
                    timeouts += 1
                    record("timeouts")
                    continue
                parts.append(message["body"])
                if not message["more_body"]:
                    break
            await respond(send, b"".join(parts))
        """
    )
    with nginx.connect() as connection:
        connection.send(HEAD.format("", 6))
        for number, letter in enumerate("abcdef", 1):
            nginx.wait_recorded("timeouts", 2 * number)
            connection.send(letter)
        assert connection.response().body == b"abcdef"


@pytest.mark.parametrize(
    "expression",
    [
        "await receive()",
        "await asyncio.ensure_future(receive())",
        "await asyncio.create_task(receive())",
        "await asyncio.wait_for(receive(), 60)",
        "await asyncio.shield(receive())",
        "(await asyncio.gather(receive()))[0]",
        "await asyncio.create_task(awaits(receive))",
        "await asyncio.wait_for(asyncio.create_task(receive()), 60)",
        "[await each for each in asyncio.as_completed([receive()])][0]",
    ],
)
@pytest.mark.parametrize("late", [False, True])
def test_however_it_is_awaited(nginx, serve, expression, late):
    """Both a message that is there at once and one that has to be waited for."""
    serve(
        f"""
        import asyncio
        from testkit import record, respond

        async def awaits(receive):
            return await receive()

        async def application(scope, receive, send):
            record("called")
            message = {expression}
            await respond(send, message["body"])
        """
    )
    with nginx.connect() as connection:
        if late:
            connection.send(HEAD.format("", 4))
            nginx.wait_recorded("called")
            connection.send("body")
        else:
            connection.send(HEAD.format("", 4) + "body")
        assert connection.response().body == b"body"


def test_receive_takes_no_arguments(serve, fetch):
    serve(
        """
        from testkit import respond

        async def application(scope, receive, send):
            try:
                await receive(1)
            except TypeError as error:
                await respond(send, str(error).encode())
        """
    )
    assert b"argument" in fetch().body


def test_pipelined_requests_each_have_their_own_body(nginx, serve):
    serve(
        """
        from testkit import read_body, respond

        async def application(scope, receive, send):
            await respond(send, scope["path"].encode() + b" " + await read_body(receive))
        """
    )
    with nginx.connect() as connection:
        connection.send("".join(HEAD.format(n, 5) + f"body{n}" for n in range(5)))
        for number in range(5):
            assert connection.response().body == f"/{number} body{number}".encode()


def test_many_uploads_side_by_side_on_one_connection(nginx, serve):
    serve(
        """
        from testkit import read_body, respond

        async def application(scope, receive, send):
            await respond(send, await read_body(receive))
        """,
        http2=True,
    )
    with Http2(nginx.port) as connection:
        streams = [connection.request("/", method="POST", end=False) for _ in range(20)]
        for letter in b"abc":
            for number, stream in enumerate(streams):
                connection.send(stream, bytes([letter, 65 + number]))
        for stream in streams:
            connection.send(stream, b"", end=True)
        for number, stream in enumerate(streams):
            own = bytes([65 + number])
            assert connection.response(stream).body == b"a" + own + b"b" + own + b"c" + own


def test_the_lines_of_a_client_that_left_are_at_info(nginx, serve):
    serve(
        """
        from testkit import read_body, record, respond

        async def application(scope, receive, send):
            record("entered")
            await respond(send, await read_body(receive))
        """
    )
    connection = nginx.connect()
    connection.send(HEAD.format("upload", 100) + "half")
    nginx.wait_recorded("entered")
    connection.close()
    # testkit raises a ConnectionError of its own, which is an error of the application's.
    nginx.wait_log("ConnectionError: http.disconnect in the body")
    wait_for(lambda: nginx.log_lines("client prematurely closed"), what="nginx's own line")


def test_an_application_need_not_answer_a_client_that_left(nginx, serve):
    serve(
        """
        from testkit import record

        async def application(scope, receive, send):
            while (await receive())["type"] != "http.disconnect":
                record("part")
            record("left")
        """
    )
    for count in range(1, 21):
        with nginx.connect() as connection:
            connection.send(HEAD.format("", 10) + "abc")
            nginx.wait_recorded("part", count)
    nginx.wait_recorded("left", 20)
    assert not nginx.log_lines("without a response")
