"""wsgi.input as a binary file: what io's classes and libraries need beyond PEP 3333."""

from __future__ import annotations

import inspect
import io
import json
import random
import zipfile

import pytest

streaming = pytest.mark.threads("wsgi_request_buffering off needs a thread that waits for the body")

# Where a buffered body lies: in memory, partly or wholly in nginx's temporary file.
PLACES = {
    "memory": "client_body_buffer_size 1m;",
    "file": "client_body_buffer_size 1k;",
    "file only": "client_body_in_file_only clean;",
}
places = pytest.mark.parametrize("place", PLACES.values(), ids=PLACES.keys())


def run(stream, steps: list[str]) -> list[str]:
    """Each expression's result or exception, as text. The application has it as well."""
    names = {"stream": stream, "io": io}
    results = []
    for step in steps:
        try:
            results.append(repr(eval(step, names)))
        except Exception as error:
            results.append(type(error).__name__)
    return results


# Evaluates the expressions of X-Steps, on `stream`.
SERVE = f"""
import io
import json

{inspect.getsource(run)}

def application(environ, start_response):
    body = json.dumps(run(environ["wsgi.input"], json.loads(environ["HTTP_X_STEPS"]))).encode()
    start_response("200 OK", [("Content-Type", "application/json")])
    return [body]
"""

# What a buffer of `size` bytes holds after readinto: `[r, b]`.
INTO = "[(stream.{name}(b), bytes(b)) for b in [bytearray({size})]]"


def results(nginx, body: bytes, steps: list[str], *, chunked: bool = False) -> list[str]:
    """The results of these steps in the application."""
    steps_field = f"X-Steps: {json.dumps(steps)}\r\n"
    with nginx.connect() as connection:
        if chunked:
            head = f"POST / HTTP/1.1\r\nHost: x\r\n{steps_field}Transfer-Encoding: chunked\r\n\r\n"
            half = len(body) // 2
            parts = [part for part in (body[:half], body[half:]) if part]
            framed = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)
            connection.send(head.encode() + framed + b"0\r\n\r\n")
        else:
            head = f"POST / HTTP/1.1\r\nHost: x\r\n{steps_field}Content-Length: {len(body)}\r\n\r\n"
            connection.send(head.encode() + body)
        return json.loads(connection.response().body)


def expected(body: bytes, steps: list[str]) -> list[str]:
    """The results of the same steps on io.BytesIO, the model."""
    return run(io.BytesIO(body), steps)


def random_steps(source: random.Random, size: int) -> list[str]:
    steps = []
    for _ in range(source.randrange(5, 30)):
        many = source.choice([0, 1, 5, 100, 4096, 20000, size, -1])
        place = source.choice(
            [0, 1, size // 2, size - 1, size, size + 7, source.randrange(size + 1)]
        )
        by = source.choice([0, 1, -1, -50, 1000, -size, size])
        step = source.choice([
            f"stream.read({many})",
            f"stream.readline({many})",
            f"stream.readlines({source.choice([1, 300])})",
            INTO.format(name="readinto", size=abs(many)),
            INTO.format(name="readinto1", size=abs(many)),
            f"stream.seek({place})",
            f"stream.seek({place}, 0)",
            f"stream.seek({by}, 1)",
            f"stream.seek({by}, 2)",
            "stream.tell()",
            "stream.seek(-1)",
            "next(stream, b'')",
        ])  # fmt: skip
        steps.append(step)
    return steps


@places
def test_a_buffered_body_is_read_as_bytesio_is(nginx, serve, place):
    serve(SERVE, f"{place} client_max_body_size 10m; client_body_temp_path tmp/body;")
    source = random.Random(1)
    for size in [0, 1, 1023, 1025, 60_000, 300_000, 700_000]:
        body = bytes(source.choices(b"abcdefgh\n", k=size))
        for chunked in (False, True):
            steps = [step for step in random_steps(source, size) if len(step) < 1000]
            assert results(nginx, body, steps, chunked=chunked) == expected(body, steps), steps


def test_the_whole_of_a_file_s_interface(nginx, serve):
    serve(SERVE)
    steps = [
        "stream.readable(), stream.writable(), stream.seekable(), stream.closed",
        "stream.isatty()",
        "stream.flush()",
        "stream.fileno()",
        "stream.detach()",
        "isinstance(stream, io.BufferedIOBase), isinstance(stream, io.IOBase)",
        "stream.tell()",
        "stream.read1(3)",
        "stream.read1()",
        "stream.read1(-1)",
        "stream.seek(0)",
        "stream.seek(0, 5)",
        "stream.seek('x')",
        "stream.seek(1.5)",
        "stream.readinto(b'immutable')",
        "stream.readinto('text')",
        "stream.tell()",
        "[stream.readinto(a) and a.tolist() for a in [memoryview(bytearray(8)).cast('H')]]",
        "stream.seek(0)",
        "stream.__enter__() is stream",
        "stream.__exit__(None, None, None)",
        "stream.closed",
        *(
            f"stream.{call}"
            for call in ("read()", "read(0)", "readline()", "readlines()", "tell()")
        ),
        *(f"stream.{call}" for call in ("seek(0)", "readable()", "seekable()", "writable()")),
        *(f"stream.{call}" for call in ("isatty()", "flush()", "read1()", "__enter__()")),
        "list(stream)",
        "stream.readinto(bytearray(3))",
        "stream.close()",
        "stream.closed",
    ]
    body = b"the body of a request\nand more"
    model = expected(body, steps)
    # BytesIO can be written to, and stays writable.
    model[0] = "(True, False, True, False)"
    assert results(nginx, body, steps) == model


def test_keywords_and_none(nginx, serve):
    serve(SERVE)
    steps = [
        "stream.read(size=2)",
        "stream.readline(size=3)",
        "stream.readlines(hint=1)",
        "stream.read1(size=2)",
        "stream.seek(offset=0, whence=0)",
        "stream.read(None)",
        "stream.seek(0), stream.readline(None), stream.readlines(None), stream.read1(None)",
        "stream.write(b'x')",
        "stream.writelines([b'x'])",
        "stream.truncate(0)",
    ]
    unsupported = ["UnsupportedOperation"] * 3
    assert results(nginx, b"0123456\n89\nabc", steps) == [
        "b'01'",
        "b'234'",
        "[b'56\\n']",
        "b'89'",
        "0",
        "b'0123456\\n89\\nabc'",
        "(0, b'0123456\\n', [b'89\\n', b'abc'], b'')",
        *unsupported,
    ]


def test_a_request_without_a_body_is_an_empty_file(nginx, serve):
    serve(SERVE)
    steps = "stream.seekable()", "stream.seek(0, 2)", "stream.read()", "stream.tell()"
    with nginx.connect() as connection:
        connection.get(headers=f"X-Steps: {json.dumps(steps)}\r\n")
        assert json.loads(connection.response().body) == ["True", "0", "b''", "0"]


WRAPPED = """
    import csv
    import io

    def application(environ, start_response):
        stream, kind = environ["wsgi.input"], environ["PATH_INFO"]
        if kind == "/text":
            rows = list(csv.reader(io.TextIOWrapper(stream, encoding="utf-8", newline="")))
            body = repr(rows)
        elif kind == "/buffered":
            with io.BufferedReader(stream, 100) as reader:
                body = repr([reader.peek(1)[:1], reader.readline(), reader.read(5), reader.read()])
        elif kind == "/both":
            body = io.TextIOWrapper(io.BufferedReader(stream), encoding="utf-8").read()
        elif kind == "/kept":
            wrapper = io.TextIOWrapper(stream, encoding="utf-8")
            first = wrapper.readline()
            body = first + wrapper.detach().read().decode()
        start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8")])
        return [body.encode()]
"""


@pytest.mark.parametrize("buffering", ["on", pytest.param("off", marks=streaming)])
def test_io_s_own_wrappers(nginx, serve, buffering):
    serve(WRAPPED, f"wsgi_request_buffering {buffering};")
    client = nginx.client()
    rows = [["é", "b"], ["1", "2\n3"]] * 500
    text = "".join(f'{a},"{b}"\r\n' for a, b in rows)
    assert client.post("/text", content=text).text == repr(rows)
    body = b"one\n" + b"x" * 1000
    expected = [b"o", b"one\n", b"xxxxx", b"x" * 995]
    assert client.post("/buffered", content=body).text == repr(expected)
    assert client.post("/both", content=body).content == body
    # TextIOWrapper has taken what it wanted; the rest is left in the stream.
    assert client.post("/kept", content=b"only\n").content == b"only\n"


@places
def test_a_library_that_seeks(nginx, serve, place):
    """A zip file is read from its end."""
    serve(
        """
        import zipfile

        def application(environ, start_response):
            with zipfile.ZipFile(environ["wsgi.input"]) as archive:
                names = archive.namelist()
                body = b"".join(archive.read(name) for name in reversed(names))
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [body]
        """,
        f"{place} client_max_body_size 10m;",
    )
    source, packed, contents = random.Random(3), io.BytesIO(), []
    with zipfile.ZipFile(packed, "w") as archive:
        for number in range(20):
            contents.append(source.randbytes(source.choice([1, 1000, 90_000])))
            archive.writestr(str(number), contents[-1])
    answer = nginx.client().post("/", content=packed.getvalue())
    assert answer.content == b"".join(reversed(contents))


@streaming
def test_a_streamed_body_does_not_seek(nginx, serve):
    serve(SERVE, "wsgi_request_buffering off;")
    steps = [
        "stream.seekable(), stream.readable(), stream.writable()",
        "stream.tell()",
        "stream.read(3), stream.tell()",
        "stream.seek(0)",
        "stream.seek(0, 1)",
        "stream.read(), stream.tell()",
        "stream.seek(0)",
        INTO.format(name="readinto", size=3),
    ]
    assert results(nginx, b"0123456789", steps) == [
        "(False, True, False)",
        "0",
        "(b'012', 3)",
        "UnsupportedOperation",
        "UnsupportedOperation",
        "(b'3456789', 10)",
        "UnsupportedOperation",
        "[(0, b'\\x00\\x00\\x00')]",
    ]


@streaming
@pytest.mark.parametrize("how", ["read1", "readinto", "BufferedReader", "TextIOWrapper"])
def test_what_is_here_is_not_held_back_for_more(nginx, serve, how):
    """The client sends more only when it has been answered."""
    serve(
        """
        import io

        def lines(stream, how):
            if how == "BufferedReader":
                yield from io.BufferedReader(stream)
            elif how == "TextIOWrapper":
                yield from (line.encode() for line in io.TextIOWrapper(stream, encoding="ascii"))
            elif how == "readinto":
                buffer = bytearray(1000)
                while size := stream.readinto(buffer):
                    yield bytes(buffer[:size])
            else:
                while block := stream.read1(1000):
                    yield block

        def application(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/plain")])
            for line in lines(environ["wsgi.input"], environ["HTTP_X_HOW"]):
                yield line.upper()
        """,
        "wsgi_request_buffering off; wsgi_buffering off;",
    )
    with nginx.connect() as connection:
        connection.send(f"POST / HTTP/1.1\r\nHost: x\r\nX-How: {how}\r\n")
        connection.send("Transfer-Encoding: chunked\r\n\r\n4\r\none\n\r\n")
        assert connection.head().status == 200
        assert connection.chunk() == b"ONE\n"
        connection.send("4\r\ntwo\n\r\n")
        assert connection.chunk() == b"TWO\n"
        connection.send("0\r\n\r\n")
        assert connection.chunk() == b""


@streaming
def test_an_error_comes_after_what_is_here(nginx, serve):
    serve(
        """
        from testkit import record

        def application(environ, start_response):
            stream, buffer = environ["wsgi.input"], bytearray(1000)
            record("began")
            try:
                while size := stream.readinto(buffer):
                    record("read", bytes(buffer[:size]).decode())
                record("end", "an end")
            except OSError:
                record("end", "OSError")
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [b"x"]
        """,
        "wsgi_request_buffering off;",
    )
    with nginx.connect() as connection:
        connection.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2000\r\n\r\nabcd")
        nginx.wait_recorded("read")
    assert nginx.wait_recorded("end") == ["OSError"]
    assert "".join(nginx.recorded("read")) == "abcd"


@pytest.mark.unsanitized("it keeps what has been freed")
def test_a_body_read_again_needs_no_more_memory_than_once(nginx, serve):
    """A large body in the temporary file is read in blocks each time."""
    serve(
        """
        import hashlib
        import resource

        def application(environ, start_response):
            stream, digests = environ["wsgi.input"], set()
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            for _ in range(3):
                stream.seek(0)
                digest = hashlib.sha256()
                while block := stream.read(65536):
                    digest.update(block)
                digests.add(digest.hexdigest())
            grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [f"{len(digests)} {grown < 8192}".encode()]
        """,
        "client_max_body_size 0;",
    )
    body = random.Random(5).randbytes(40_000_000)
    assert nginx.client().post("/", content=body).text == "1 True"


def test_a_forked_child_has_no_body(nginx, serve):
    serve(
        """
        import os

        def application(environ, start_response):
            stream = environ["wsgi.input"]
            reader, writer = os.pipe()
            if os.fork() == 0:
                try:
                    stream.seek(1000)
                except OSError as error:
                    os.write(writer, str(error).encode())
                os._exit(0)
            os.close(writer)
            with open(reader, "rb") as said:
                body = said.read()
            os.wait()
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [body]
        """
    )
    answer = nginx.client().post("/", content=b"x" * 5000)
    assert answer.text == "the request body is the worker's, not its children's"
