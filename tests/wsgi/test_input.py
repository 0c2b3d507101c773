"""wsgi.input: every way to read it, for every way a body may arrive."""

from __future__ import annotations

import hashlib
import inspect
import io
import json
import random
import time

import pytest


def run(stream, operations: list[str]) -> list:
    """The results of these operations on a stream, as text. The application has it as well."""
    results = []
    for operation in operations:
        name, _, argument = operation.partition(" ")
        arguments = [None if argument == "None" else int(argument)] if argument else []
        if name == "iter":
            result = list(stream)
        elif name == "next":
            result = next(iter(stream), b"")
        else:
            result = getattr(stream, name)(*arguments)
        if isinstance(result, list):
            result = [line.decode("latin-1") for line in result]
        else:
            result = result.decode("latin-1")
        results.append(result)
    return results


# Does what the X-Ops header says, in that order, and shows the results.
OPERATIONS = f"""
import json

{inspect.getsource(run)}

def application(environ, start_response):
    operations = json.loads(environ["HTTP_X_OPS"])
    body = json.dumps({{
        "results": run(environ["wsgi.input"], operations),
        "length": environ.get("CONTENT_LENGTH"),
        "coding": environ.get("HTTP_TRANSFER_ENCODING"),
        "terminated": environ["wsgi.input_terminated"],
    }}).encode()
    start_response("200 OK", [("Content-Type", "application/json")])
    return [body]
"""

streaming = pytest.mark.threads("wsgi_request_buffering off needs a thread that waits for the body")
buffering = pytest.mark.parametrize("buffering", ["on", pytest.param("off", marks=streaming)])


def directive(buffering: str) -> str:
    return f"wsgi_request_buffering {buffering};"


def chunked(body: bytes, source: random.Random, trailers: str = "") -> bytes:
    """The body in chunks of all sizes, some with an extension."""
    pieces = []
    while body:
        size = source.choice([1, 2, 3, 7, 100, 1000, 4096, 8192, 20000])
        piece, body = body[:size], body[size:]
        extension = source.choice([b"", b";a=b"])
        pieces.append(b"%x%b\r\n%b\r\n" % (len(piece), extension, piece))
    return b"".join(pieces) + b"0\r\n" + trailers.encode() + b"\r\n"


def expected(body: bytes, operations: list[str]) -> list:
    """What io.BytesIO, the model of a file of bytes, gives for the same operations."""
    return run(io.BytesIO(body), operations)


def post(body: bytes, *, path: str = "/", headers: str = "") -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


FORMS = [
    ["read"],
    ["read -1"],
    ["read None"],
    ["read 0", "read"],
    ["read 1", "read 2", "read 100000", "read 5"],
    ["read 1000000000000"],
    ["readline", "readline", "read"],
    ["readline 3", "readline 0", "readline -1", "readline 100000", "read"],
    ["readline None", "readlines None"],
    ["readlines"],
    ["readlines 1", "readlines 20", "readlines -1"],
    ["iter"],
    ["next", "next", "read 4", "readline", "iter"],
    ["read 3", "readline", "readlines 5", "next", "read"],
    ["read", "read", "read 10", "readline", "readlines", "iter", "next"],
]

BODIES = {
    "empty": b"",
    "one byte": b"x",
    "lines": b"one\ntwo\r\n\nlast without an end",
    "ends with a line feed": b"a\nb\n",
    "line feeds": b"\n" * 50,
    "one long line": b"z" * 50000,
    "all bytes": bytes(range(256)) * 40,
}


@buffering
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
def test_every_way_of_reading(nginx, serve, buffering, body):
    serve(OPERATIONS, directive(buffering))
    source = random.Random(1)
    with nginx.connect() as connection:
        for operations in FORMS:
            ops = f"X-Ops: {json.dumps(operations)}\r\n"
            connection.send(post(body, headers=ops))
            answer = json.loads(connection.response().body)
            assert answer["results"] == expected(body, operations), operations
            assert answer["length"] == str(len(body))
            assert answer["terminated"] is True

            head = f"POST / HTTP/1.1\r\nHost: x\r\n{ops}Transfer-Encoding: chunked\r\n\r\n"
            connection.send(head.encode() + chunked(body, source))
            answer = json.loads(connection.response().body)
            assert answer["results"] == expected(body, operations), operations
            assert answer["coding"] is None
            if buffering == "on":
                assert answer["length"] == str(len(body))
            assert answer["terminated"] is True


@buffering
def test_random_reads_of_random_bodies(nginx, serve, buffering):
    serve(OPERATIONS, f"{directive(buffering)} client_body_buffer_size 4k;")
    source = random.Random(2)
    with nginx.connect() as connection:
        for _ in range(150):
            size = source.choice([0, 1, 10, 500, 4095, 4096, 4097, 8192, 16384, 16385, 70000])
            letters = source.choice([b"ab\n", b"abcdefghijklmnop\n", b"\n", b"abc"])
            body = bytes(source.choices(letters, k=size))
            operations = []
            for _ in range(source.randrange(1, 10)):
                name = source.choice(["read", "readline", "readlines", "next", "iter"])
                argument = source.choice(["", "", " 0", " 1", " 7", " 4096", " 5000", " -1"])
                operations.append(name if name in ("next", "iter") else name + argument)
            ops = f"X-Ops: {json.dumps(operations)}\r\n"
            if source.random() < 0.5:
                connection.send(post(body, headers=ops))
            else:
                head = f"POST / HTTP/1.1\r\nHost: x\r\n{ops}Transfer-Encoding: chunked\r\n\r\n"
                connection.send(head.encode() + chunked(body, source))
            answer = json.loads(connection.response().body)
            assert answer["results"] == expected(body, operations), (size, operations)


@buffering
def test_validated_reads(nginx, serve, buffering):
    serve(
        """
        from wsgiref.validate import validator

        def copy(environ, start_response):
            stream = environ["wsgi.input"]
            parts = [stream.read(3), stream.readline()] + stream.readlines() + [stream.read(10)]
            start_response("200 OK", [("Content-Type", "text/plain")])
            return parts

        application = validator(copy)
        """,
        directive(buffering),
    )
    body = "first line\nsecond\nthird"
    assert nginx.client().post("/", content=body).text == body


@buffering
def test_chunked_with_trailers(nginx, serve, buffering):
    serve(OPERATIONS, directive(buffering))
    source = random.Random(3)
    ops = 'X-Ops: ["read", "read"]\r\n'
    with nginx.connect() as connection:
        for body in (b"", b"abc", b"q" * 30000):
            trailers = "X-Checksum: 1\r\nX-Other: 2\r\n"
            head = f"POST / HTTP/1.1\r\nHost: x\r\n{ops}Transfer-Encoding: chunked\r\n"
            head += "Trailer: X-Checksum\r\n\r\n"
            connection.send(head.encode() + chunked(body, source, trailers))
            answer = json.loads(connection.response().body)
            assert answer["results"] == [body.decode(), ""]
            connection.send(post(b"next", headers=ops))
            assert json.loads(connection.response().body)["results"] == ["next", ""]


@buffering
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_a_request_without_a_body(nginx, serve, buffering, method):
    serve(OPERATIONS, directive(buffering))
    with nginx.connect() as connection:
        for _ in range(2):
            ops = 'X-Ops: ["read", "readline", "readlines", "iter", "read 5"]\r\n'
            connection.send(f"{method} / HTTP/1.1\r\nHost: x\r\n{ops}\r\n")
            answer = json.loads(connection.response().body)
            assert answer["results"] == ["", "", [], [], ""]


@buffering
def test_a_body_of_http_1_0(nginx, serve, buffering):
    serve(OPERATIONS, directive(buffering))
    with nginx.connect() as connection:
        head = 'POST / HTTP/1.0\r\nX-Ops: ["read"]\r\nContent-Length: 5\r\n\r\nhello'
        connection.send(head)
        assert json.loads(connection.response().body)["results"] == ["hello"]


@buffering
def test_a_body_of_http_2_without_a_length(nginx, serve, buffering):
    serve(OPERATIONS, directive(buffering), http2=True)
    client = nginx.client(http2=True)

    def pieces():
        for number in range(100):
            yield f"{number} ".encode() * 100

    whole = b"".join(pieces()).decode()
    response = client.post("/", content=pieces(), headers={"X-Ops": '["read"]'})
    assert response.http_version == "HTTP/2"
    answer = response.json()
    assert answer["results"] == [whole]
    if buffering == "on":
        assert answer["length"] == str(len(whole))


@buffering
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_large_upload_arrives_whole(nginx, serve, buffering, framing):
    serve(
        """
        import hashlib

        def application(environ, start_response):
            digest, stream = hashlib.sha256(), environ["wsgi.input"]
            while block := stream.read(100_000):
                digest.update(block)
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [digest.hexdigest().encode()]
        """,
        f"{directive(buffering)} client_max_body_size 100m;",
    )
    body = random.Random(4).randbytes(30_000_000)
    pieces = (body[start : start + 777_777] for start in range(0, len(body), 777_777))
    content = body if framing == "length" else pieces
    response = nginx.client().post("/", content=content)
    assert response.text == hashlib.sha256(body).hexdigest()


@buffering
def test_bytes_are_there_as_soon_as_they_have_arrived(nginx, serve, buffering):
    serve(
        """
        from testkit import record

        def application(environ, start_response):
            record("called")
            stream = environ["wsgi.input"]
            record("read", stream.readline().decode().strip())
            record("read", stream.read(5).decode())
            record("read", stream.read().decode())
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [b"done"]
        """,
        directive(buffering),
    )
    with nginx.connect() as connection:
        connection.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 20\r\n\r\nline\n")
        if buffering == "off":
            assert nginx.wait_recorded("read", 1) == ["line"]
            connection.send("12345")
            assert nginx.wait_recorded("read", 2)[1] == "12345"
            connection.send("67")
        else:
            connection.send("1234567")
            assert connection.quiet(0.5)
            assert not nginx.recorded("called")
        connection.send("89012345")
        assert connection.response().body == b"done"
    assert nginx.recorded("read") == ["line", "12345", "6789012345"]


@streaming
def test_100_continue_is_sent_at_the_first_read(nginx, serve):
    serve(
        """
        from testkit import gate, record

        def application(environ, start_response):
            record("called")
            gate("read")
            body = environ["wsgi.input"].read()
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [body]
        """,
        directive("off"),
    )
    with nginx.connect() as connection:
        connection.send(
            "POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n"
        )
        nginx.wait_recorded("called")
        assert connection.quiet(0.5)
        nginx.open_gate("read")
        assert connection.response().status == 100
        connection.send("body")
        response = connection.response()
        assert (response.status, response.body) == (200, b"body")


@streaming
def test_no_100_continue_for_an_application_that_does_not_read(nginx, serve):
    serve(
        """
        def application(environ, start_response):
            start_response("401 Unauthorized", [("Content-Type", "text/plain")])
            return [b"not you"]
        """,
        directive("off"),
    )
    with nginx.connect() as connection:
        connection.send(
            "POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n"
        )
        response = connection.response()
        assert (response.status, response.body) == (401, b"not you")


def test_100_continue_while_buffering(nginx, serve):
    serve(OPERATIONS, directive("on"))
    with nginx.connect() as connection:
        connection.send(
            "POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4\r\n"
            'X-Ops: ["read"]\r\n\r\n'
        )
        assert connection.response().status == 100
        connection.send("body")
        assert json.loads(connection.response().body)["results"] == ["body"]


@buffering
def test_a_body_sent_without_waiting_for_100_continue(nginx, serve, buffering):
    serve(OPERATIONS, directive(buffering))
    with nginx.connect() as connection:
        expect = 'Expect: 100-continue\r\nX-Ops: ["read"]\r\n'
        for _ in range(2):
            connection.send(post(b"body", headers=expect))
            response = connection.response()
            if response.status == 100:
                response = connection.response()
            assert json.loads(response.body)["results"] == ["body"]


CUT_SHORT = """
    from testkit import record

    def application(environ, start_response):
        record("called")
        stream = environ["wsgi.input"]
        try:
            while block := stream.read(4):
                record("block", block.decode())
            record("end", "an end")
        except BaseException as error:
            record("end", f"{type(error).__name__} {isinstance(error, OSError)}")
            if environ["PATH_INFO"] == "/raise":
                raise
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"x"]
"""

PARTIAL = {
    "length": "Content-Length: 20\r\n\r\n12345678",
    "chunked": "Transfer-Encoding: chunked\r\n\r\n8\r\n12345678\r\n",
    "in a chunk": "Transfer-Encoding: chunked\r\n\r\nf\r\n12345678",
    "before the last chunk's end": "Transfer-Encoding: chunked\r\n\r\n8\r\n12345678\r\n0\r\n",
}


@streaming
@pytest.mark.parametrize("how", ["close", "reset", "shutdown"])
@pytest.mark.parametrize("partial", PARTIAL.values(), ids=PARTIAL.keys())
def test_an_upload_cut_short_raises_oserror(nginx, serve, partial, how):
    serve(CUT_SHORT, directive("off"))
    connection = nginx.connect()
    connection.send(f"POST /raise HTTP/1.1\r\nHost: x\r\n{partial}")
    nginx.wait_recorded("block", 2)
    if how == "shutdown":
        connection.sock.shutdown(1)
    else:
        getattr(connection, how)()
    assert nginx.wait_recorded("end")[0].endswith(" True"), nginx.recorded("end")
    assert "".join(nginx.recorded("block")) == "12345678"
    # The client has caused it: info, as in nginx itself, and no traceback at error.
    assert nginx.client().get("/").status_code == 200
    assert not nginx.log_lines("[error]")


@pytest.mark.parametrize("partial", PARTIAL.values(), ids=PARTIAL.keys())
def test_an_upload_cut_short_is_never_called_while_buffering(nginx, serve, partial):
    serve(CUT_SHORT, directive("on"))
    with nginx.connect() as connection:
        connection.send(f"POST / HTTP/1.1\r\nHost: x\r\n{partial}")
    nginx.wait_log("prematurely closed connection")
    assert nginx.client().get("/").status_code == 200
    assert nginx.recorded("called") == ["-"]
    assert not nginx.log_lines("[error]")


@streaming
def test_a_malformed_chunk_raises_oserror(nginx, serve):
    serve(CUT_SHORT, directive("off"))
    with nginx.connect() as connection:
        connection.send(
            "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n"
        )
        nginx.wait_recorded("block", 1)
        connection.send("zz\r\n")
        assert nginx.wait_recorded("end")[0].endswith(" True")


@streaming
def test_an_upload_beyond_the_limit_while_streaming(nginx, serve):
    serve(CUT_SHORT, f"{directive('off')} client_max_body_size 1k;")
    nginx.allow_log(r"client intended to send too large")
    with nginx.connect() as connection:
        connection.send(
            "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n"
        )
        nginx.wait_recorded("block", 1)
        connection.send(b"800\r\n" + b"x" * 2048 + b"\r\n0\r\n\r\n")
        assert connection.head().status == 413
        assert nginx.wait_recorded("end")[0].endswith(" True")


@buffering
def test_a_declared_length_beyond_the_limit_never_reaches_the_application(nginx, serve, buffering):
    serve(CUT_SHORT, f"{directive(buffering)} client_max_body_size 1k;")
    with nginx.connect() as connection:
        connection.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2000\r\n\r\n")
        assert connection.head().status == 413
    assert not nginx.recorded("called")


@streaming
def test_a_client_that_stops_sending_is_a_timeout(nginx, serve):
    serve(CUT_SHORT, f"{directive('off')} client_body_timeout 1s;")
    with nginx.connect() as connection:
        connection.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 20\r\n\r\nabcd")
        assert nginx.wait_recorded("end")[0].endswith(" True")
        answer = connection.rest()
    assert not answer or answer.startswith(b"HTTP/1.1 408 ")


UNREAD = """
    def application(environ, start_response):
        if environ["PATH_INFO"] == "/some":
            environ["wsgi.input"].read(10)
        if environ["PATH_INFO"] == "/all":
            body = environ["wsgi.input"].read()
        else:
            body = b"unread"
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [body]
"""


@buffering
@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("size", [1, 100, 5000, 100_000, 1_000_000])
@pytest.mark.parametrize("path", ["/none", "/some"])
def test_an_unread_body_does_not_break_the_next_request(
    nginx, serve, buffering, framing, size, path
):
    serve(UNREAD, directive(buffering))
    body, source = b"GET /evil HTTP/1.1\r\n"[:size].ljust(size, b"u"), random.Random(5)
    connection = nginx.connect()
    for _ in range(3):
        if framing == "length":
            connection.send(post(body, path=path))
        else:
            head = f"POST {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
            connection.send(head.encode() + chunked(body, source))
        response = connection.response()
        assert (response.status, response.body) == (200, b"unread")
        connection = next_connection(nginx, connection, response, buffering)
        connection.send(post(b"the next", path="/all"))
        response = connection.response()
        assert (response.status, response.body) == (200, b"the next")


def next_connection(nginx, connection, response, buffering):
    """The same connection, unless the body streams and the server has said that it closes."""
    if response.get("Connection") != "close":
        return connection
    assert buffering == "off"
    assert connection.rest() == b""
    return nginx.connect()


@buffering
def test_a_body_that_comes_after_the_response(nginx, serve, buffering):
    serve(UNREAD, directive(buffering))
    connection = nginx.connect()
    connection.send("POST /none HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n")
    if buffering == "off":
        response = connection.response()
    connection.send(b"x" * 100_000)
    if buffering == "on":
        response = connection.response()
    assert response.body == b"unread"
    connection = next_connection(nginx, connection, response, buffering)
    connection.send(post(b"the next", path="/all"))
    assert connection.response().body == b"the next"


@buffering
def test_pipelined_requests_with_bodies(nginx, serve, buffering):
    serve(OPERATIONS, directive(buffering))
    source = random.Random(6)
    ops = 'X-Ops: ["read"]\r\n'
    bodies = [source.randbytes(source.choice([0, 1, 30, 2000])) for _ in range(30)]
    sent = b""
    for body in bodies:
        if source.random() < 0.5:
            sent += post(body, headers=ops)
        else:
            head = f"POST / HTTP/1.1\r\nHost: x\r\n{ops}Transfer-Encoding: chunked\r\n\r\n"
            sent += head.encode() + chunked(body, source)
    with nginx.connect() as connection:
        connection.send(sent)
        for body in bodies:
            answer = json.loads(connection.response().body)
            assert answer["results"] == [body.decode("latin-1")]


@buffering
def test_a_body_that_arrives_byte_by_byte(nginx, serve, buffering):
    serve(OPERATIONS, directive(buffering))
    source = random.Random(7)
    body = b"line one\nline two\nrest"
    ops = 'X-Ops: ["readline", "read 3", "readlines"]\r\n'
    head = f"POST / HTTP/1.1\r\nHost: x\r\n{ops}Transfer-Encoding: chunked\r\n\r\n"
    whole = head.encode() + chunked(body, source, "X-T: 1\r\n")
    with nginx.connect() as connection:
        connection.sock.setsockopt(6, 1, 1)
        for start in range(len(whole)):
            connection.send(whole[start : start + 1])
            if start % 16 == 0:
                time.sleep(0.001)
        answer = json.loads(connection.response().body)
    assert answer["results"] == expected(body, ["readline", "read 3", "readlines"])


@buffering
def test_input_kept_beyond_its_request(nginx, serve, buffering):
    serve(
        """
        kept = []

        def application(environ, start_response):
            outcome = b"first"
            if kept:
                try:
                    outcome = b"y" if b"y" in kept[0].read(10) else b"none of it"
                except (OSError, ValueError):
                    outcome = b"none of it"
            kept.append(environ["wsgi.input"])
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [outcome]
        """,
        directive(buffering),
    )
    connection = nginx.connect()
    connection.send(post(b"x" * 100_000))
    response = connection.response()
    assert response.body == b"first"
    for _ in range(3):
        connection = next_connection(nginx, connection, response, buffering)
        connection.send(post(b"y" * 100_000))
        response = connection.response()
        # It may still return its own request's bytes, never those of another.
        assert response.body == b"none of it"


@buffering
def test_input_read_while_responding(nginx, serve, buffering):
    serve(
        """
        def application(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/plain")])
            for line in environ["wsgi.input"]:
                yield line.upper()
        """,
        directive(buffering),
    )
    lines = [f"line {number}\n" for number in range(500)]
    with nginx.connect() as connection:
        head = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        connection.send(head)
        if buffering == "off":
            # Each line is answered before the next one is sent.
            connection.send("5\r\nfirst\r\n1\r\n\n\r\n")
            assert connection.head().status == 200
            assert connection.chunk() == b"FIRST\n"
            connection.send("7\r\nsecond\n\r\n")
            assert connection.chunk() == b"SECOND\n"
            connection.send("0\r\n\r\n")
            assert connection.chunk() == b""
        else:
            body = "".join(lines)
            connection.send(f"{len(body):x}\r\n{body}\r\n0\r\n\r\n")
            assert connection.response().body.decode() == body.upper()


@buffering
def test_form_parsing_of_the_standard_library_s_kind(nginx, serve, buffering):
    """Reads by CONTENT_LENGTH, as applications did before wsgi.input_terminated."""
    serve(
        """
        from urllib.parse import parse_qs

        def application(environ, start_response):
            size = int(environ.get("CONTENT_LENGTH") or 0)
            form = parse_qs(environ["wsgi.input"].read(size).decode())
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [repr(sorted(form.items())).encode()]
        """,
        directive(buffering),
    )
    response = nginx.client().post("/", data={"a": "1", "b": ["2", "3"]})
    assert response.text == "[('a', ['1']), ('b', ['2', '3'])]"


def test_both_framings_at_once_are_refused(nginx, serve):
    serve(CUT_SHORT)
    with nginx.connect() as connection:
        connection.send(
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n"
            "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        )
        assert connection.head().status == 400
    assert not nginx.recorded("called")


def test_two_lengths_are_refused(nginx, serve):
    serve(CUT_SHORT)
    with nginx.connect() as connection:
        connection.send(
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd"
        )
        assert connection.head().status == 400
    assert not nginx.recorded("called")
