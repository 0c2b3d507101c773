"""The probes of the comparison with other WSGI servers: the path names the probe."""

import io
import json
import os
import sys
import threading
import time

from testkit import DATA, Blocks, gate, record

TEXT = [("Content-Type", "text/plain")]
BLOCK = bytes(range(256)) * 256


PROBES = {}


def application(environ, start_response):
    return PROBES[environ["PATH_INFO"].partition("/at/")[0].strip("/")](environ, start_response)


def probe(function):
    PROBES[function.__name__] = function
    return function


@probe
def hello(environ, start_response):
    start_response("200 OK", TEXT)
    return [b"hello"]


# start_response and the head


@probe
def second_start_response(environ, start_response):
    start_response("200 First", TEXT)
    try:
        start_response("200 Second", TEXT)
    except Exception as error:
        return [type(error).__name__.encode()]
    return [b"accepted"]


@probe
def exc_info_before_the_head(environ, start_response):
    start_response("200 OK", [("X-First", "1"), *TEXT])
    try:
        raise LookupError("original")
    except LookupError:
        start_response("503 Replaced", [("X-Second", "2"), *TEXT], sys.exc_info())
    return [b"replaced"]


@probe
def exc_info_after_the_head(environ, start_response):
    start_response("200 OK", TEXT)
    yield b"begun"
    try:
        raise LookupError("original")
    except LookupError as original:
        try:
            start_response("500 Late", TEXT, sys.exc_info())
        except BaseException as error:
            record("exc_info", error is original)
            raise
        record("exc_info", "nothing raised")


@probe
def write(environ, start_response):
    send = start_response("200 OK", TEXT)
    send(b"one ")
    gate("write")
    send(b"two ")
    return [b"three"]


@probe
def empty_block_first(environ, start_response):
    yield b""
    start_response("200 OK", TEXT)
    yield b"after nothing"


@probe
def late_head(environ, start_response):
    start_response("200 OK", TEXT)
    yield b""
    yield b""
    record("late_head")
    gate("late_head go")
    try:
        raise LookupError
    except LookupError:
        start_response("503 Changed", TEXT, sys.exc_info())
    yield b"changed"


@probe
def no_start_response(environ, start_response):
    return [b"no head"]


@probe
def tuple_of_headers(environ, start_response):
    start_response("200 OK", tuple(TEXT))
    return [b"accepted"]


def started(status, *headers):
    def application(environ, start_response):
        start_response(status, [*TEXT, *headers])
        return [b"accepted"]

    return application


@probe
def set_cookie(environ, start_response):
    start_response("200 OK", [*TEXT, ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2; Path=/")])
    return [b"cookies"]


@probe
def hop_by_hop(environ, start_response):
    headers = [("Keep-Alive", "timeout=99"), ("Transfer-Encoding", "chunked")]
    start_response("200 OK", TEXT + headers)
    return iter([b"one", b"two"])


# The body


@probe
def str_in_the_body(environ, start_response):
    start_response("200 OK", TEXT)
    return ["text"]


@probe
def none(environ, start_response):
    start_response("200 OK", TEXT)


@probe
def exception(environ, start_response):
    raise LookupError("before any output")


@probe
def exception_in_mid_stream(environ, start_response):
    start_response("200 OK", TEXT)
    yield b"begun"
    raise LookupError("in mid-stream")


@probe
def closed(environ, start_response):
    start_response("200 OK", TEXT)
    return Blocks([b"whole"], "closed")


@probe
def closed_after_an_exception(environ, start_response):
    def blocks():
        yield b"begun"
        raise LookupError("in an iterable that has close()")

    start_response("200 OK", TEXT)
    return Blocks(blocks(), "closed after an exception")


@probe
def endless(environ, start_response):
    start_response("200 OK", TEXT)
    try:
        while True:
            yield BLOCK
            # Bounded, in case the server never stops it; the test notices that.
            if (DATA / "stop").exists():
                record("endless", "ran to its end")
                return
            time.sleep(0.005)
    except GeneratorExit:
        record("endless", "GeneratorExit")
        raise


@probe
def client_gone(environ, start_response):
    request = environ["pywsgi.request"]
    request.on_disconnect(lambda: record("client_gone", "called"))
    record("client_gone", "entered")
    deadline = time.monotonic() + 60
    while not request.disconnected:
        if time.monotonic() > deadline:
            raise TimeoutError("nobody says that the client has gone")
        time.sleep(0.005)
    record("client_gone", "seen")
    start_response("200 OK", TEXT)
    return [b"for nobody"]


@probe
def yields(environ, start_response):
    start_response("200 OK", TEXT)
    for number in range(3):
        yield b"block %d" % number
        gate(f"yields{number}")


@probe
def too_long(environ, start_response):
    start_response("200 OK", [*TEXT, ("Content-Length", "5")])
    return iter([b"01", b"23", b"45", b"67"])


@probe
def no_content(environ, start_response):
    start_response("204 No Content", [])
    return [b"a body all the same"]


@probe
def not_modified(environ, start_response):
    start_response("304 Not Modified", [("ETag", '"a"')])
    return [b"a body all the same"]


@probe
def unknown_length(environ, start_response):
    start_response("200 OK", TEXT)
    return iter([b"one ", b"two"])


@probe
def file_wrapper(environ, start_response):
    path = DATA / f"file_wrapper.{threading.get_ident()}"
    path.write_bytes(b"0123456789")
    file = path.open("rb")
    file.seek(4)
    start_response("200 OK", TEXT)
    return environ["wsgi.file_wrapper"](file, 3)


@probe
def file_wrapper_of_memory(environ, start_response):
    start_response("200 OK", TEXT)
    content = Content(b"0123456789")
    content.seek(4)
    return environ["wsgi.file_wrapper"](content, 3)


class Content(io.BytesIO):
    def close(self):
        record("file_wrapper", "closed")
        super().close()


@probe
def early_hints(environ, start_response):
    hints = environ.get("wsgi.early_hints")
    if hints is not None:
        hints([("Link", "</style.css>; rel=preload")])
        gate("early_hints")
    start_response("200 OK", TEXT)
    return [b"hints" if hints else b"no hints"]


@probe
def keyboard_interrupt(environ, start_response):
    raise KeyboardInterrupt


@probe
def system_exit(environ, start_response):
    sys.exit(3)


# The request


@probe
def seen(environ, start_response):
    """The strings of environ, as JSON."""
    known = {key: value for key, value in environ.items() if isinstance(value, str | bool)}
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(known).encode()]


@probe
def environment(environ, start_response):
    start_response("200 OK", TEXT)
    os.environ["PROBES_SECRET"] = "secret"
    shared = [key for key in environ if key in os.environ]
    return [json.dumps(shared).encode()]


@probe
def body(environ, start_response):
    """Reads as the query says, such as `?read=3&readline=`, and answers the pieces as JSON."""
    stream = environ["wsgi.input"]
    pieces = []
    for operation in filter(None, environ["QUERY_STRING"].split("&")):
        name, _, size = operation.partition("=")
        result = list(stream) if name == "iter" else getattr(stream, name)(*map(int, size.split()))
        lines = result if isinstance(result, list) else [result]
        pieces.append([line.decode("latin-1") for line in lines])
    seen = {key: value for key, value in environ.items() if isinstance(value, str | bool)}
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps([pieces, seen]).encode()]


@probe
def first_line(environ, start_response):
    record("first_line", environ["wsgi.input"].readline().decode().strip())
    rest = environ["wsgi.input"].read()
    start_response("200 OK", TEXT)
    return [rest]


@probe
def reads_late(environ, start_response):
    record("reads_late", "called")
    gate("reads_late go")
    body = environ["wsgi.input"].read()
    start_response("200 OK", TEXT)
    return [body]


@probe
def aborted(environ, start_response):
    record("aborted", "called")
    try:
        while environ["wsgi.input"].read(4):
            record("aborted", "a block")
    except OSError:
        record("aborted", "OSError")
        raise
    record("aborted", "an end")
    return hello(environ, start_response)


# Load


@probe
def large(environ, start_response):
    """Yields 20 MB."""
    start_response("200 OK", TEXT)
    return Blocks((BLOCK for _ in range(305)), "large")


@probe
def ahead(environ, start_response):
    """Yields 200 MB, and records each block."""
    start_response("200 OK", TEXT)
    for _ in range(3052):
        record("ahead")
        yield BLOCK


PROBES |= {
    "cr_lf_in_a_value": started("200 OK", ("X-A", "a\r\nX-Evil: 1")),
    "lf_in_a_value": started("200 OK", ("X-A", "a\nX-Evil: 1")),
    "cr_in_a_value": started("200 OK", ("X-A", "a\rX-Evil: 1")),
    "cr_lf_in_the_status": started("200 OK\r\nX-Evil: 1"),
    "lf_in_the_status": started("200 OK\nX-Evil: 1"),
    "cr_in_the_status": started("200 OK\rX-Evil: 1"),
    "status_99": started("99 Low"),
    "reason": started("299 A Phrase Of Its Own"),
    "value_of_bytes": started("200 OK", ("X-A", b"bytes")),
    "value_of_int": started("200 OK", ("X-A", 7)),
    "value_beyond_latin_1": started("200 OK", ("X-A", "\u20ac")),
}
