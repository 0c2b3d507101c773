"""`wsgi_debug validate`: what PEP 3333 forbids is refused with its clause and the line."""

# The applications here are written as applications are: without types.
# mypy: allow-untyped-defs, allow-untyped-calls

from __future__ import annotations

import functools
import inspect
import io
import re
import sys
import wsgiref.validate
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pywsgi._validate import ValidationError, validator

PLAIN = ("Content-Type", "text/plain")


class FileWrapper:
    def __init__(self, filelike: Any, blksize: int = 8192) -> None:
        self.filelike = filelike

    def __iter__(self) -> Iterator[bytes]:
        return iter([self.filelike.read()])


def environ(**more: Any) -> dict[str, Any]:
    return {
        "REQUEST_METHOD": "GET",
        "wsgi.input": io.BytesIO(b"one\ntwo\n"),
        "wsgi.errors": io.StringIO(),
        "wsgi.file_wrapper": FileWrapper,
        **more,
    }


def run(application: Callable[..., Any], **more: Any) -> list[bytes]:
    """The body, as the server would read it."""
    written: list[bytes] = []

    def start_response(status: str, headers: Any, exc_info: Any = None) -> Any:
        return written.append

    result = validator(application)(environ(**more), start_response)
    try:
        return written + list(result)
    finally:
        close = getattr(result, "close", None)
        if close is not None:
            close()


def line_of(function: Callable[..., Any], text: str) -> str:
    """Where that text stands in the function's source."""
    lines, first = inspect.getsourcelines(function)
    at = next(number for number, line in enumerate(lines) if text in line)
    return f"{__file__}:{first + at}"


def refused(application: Callable[..., Any], what: str, text: str = "", **more: Any) -> None:
    """That the application is refused, with `what`, a clause, and the line that holds `text`."""
    with pytest.raises(ValidationError) as caught:
        run(application, **more)
    message = str(caught.value)
    assert what in message
    assert re.search(r"\((PEP 3333|RFC \d+)", message), message
    if text:
        assert message.endswith(f", in {line_of(application, text)}"), message


def test_a_good_application_is_left_alone():
    closed = []

    class Body:
        def __iter__(self):
            return iter([b"one", b"", b"two"])

        def close(self):
            closed.append(True)

    def good(environ, start_response):
        stream = environ["wsgi.input"]
        assert stream.read(3) == b"one"
        assert stream.readline() == b"\n"
        assert list(stream) == [b"two\n"]
        assert stream.read() == b""
        assert stream.readlines(5) == []
        environ["wsgi.errors"].write("text")
        environ["wsgi.errors"].writelines(["a", "b"])
        environ["wsgi.errors"].flush()
        start_response("200 OK", [PLAIN, ("Content-Length", "9"), ("X-Latin", "\xe9")])(b"abc")
        return Body()

    assert run(good) == [b"abc", b"one", b"", b"two"]
    assert closed == [True]


def test_start_response_may_be_replaced_with_exc_info():
    def good(environ, start_response):
        start_response("200 OK", [PLAIN])
        try:
            raise ValueError
        except ValueError as error:
            start_response("500 Oops", [PLAIN], (type(error), error, error.__traceback__))
        return [b"x"]

    assert run(good) == [b"x"]


def test_an_early_empty_block_is_allowed():
    def good(environ, start_response):
        yield b""
        start_response("200 OK", [PLAIN])
        yield b"x"

    assert run(good) == [b"", b"x"]


def test_a_file_stays_a_file():
    def files(environ, start_response):
        start_response("200 OK", [PLAIN])
        return environ["wsgi.file_wrapper"](io.BytesIO(b"x"))

    assert type(validator(files)(environ(), lambda *args: None)) is FileWrapper

    def too_early(environ, start_response):
        return environ["wsgi.file_wrapper"](io.BytesIO(b"x"))

    refused(too_early, "the body begins before start_response was called")


@pytest.mark.parametrize(
    ("status", "what"),
    [
        ("200", "status is str '200'"),
        ("200 ", "status is str '200 '"),
        ("OK", "status is str 'OK'"),
        ("099 Low", "status is str '099 Low'"),
        ("200 OK\r\n", r"status is str '200 OK\r\n'"),
        ("103 Early Hints", "RFC 9110, 15.2"),
        (b"200 OK", "status is bytes b'200 OK'"),
        (type("Text", (str,), {})("200 OK"), "status is Text"),
        ("200 \u20ac", "outside latin-1"),
    ],
)
def test_status(status, what):
    def bad(environ, start_response):
        start_response(status, [PLAIN])
        return []

    refused(bad, what, "start_response(status")


@pytest.mark.parametrize(
    ("headers", "what"),
    [
        ((PLAIN,), "the headers are tuple"),
        ([["Content-Type", "text/plain"]], "a header is list"),
        ([PLAIN, ("X",)], "a header is tuple ('X',)"),
        ([PLAIN, (b"X", "y")], "a header's name is bytes b'X'"),
        ([PLAIN, ("X", 5)], "the value of header 'X' is int 5"),
        ([PLAIN, ("X", "\u20ac")], "the value of header 'X' holds a character outside latin-1"),
        ([PLAIN, ("X:", "y")], "a header's name is 'X:'"),
        ([PLAIN, ("X-", "y")], "a header's name is 'X-'"),
        ([PLAIN, ("X", "y\r\nZ: a")], "the value of header 'X' contains a control character"),
        ([PLAIN, ("X", "y\tz")], "the value of header 'X' contains a control character"),
        ([PLAIN, ("Status", "200")], "there is a header 'Status'"),
        ([PLAIN, ("Connection", "close")], "header 'Connection' is a hop-by-hop header"),
        ([PLAIN, ("Transfer-Encoding", "chunked")], "is a hop-by-hop header"),
        ([], "the headers have no Content-Type"),
    ],
)
def test_headers(headers, what):
    def bad(environ, start_response):
        start_response("200 OK", headers)
        return []

    refused(bad, what, 'start_response("200 OK"')


@pytest.mark.parametrize(
    ("status", "field"),
    [
        ("204 No Content", ("Content-Length", "5")),
        ("304 Not Modified", PLAIN),
    ],
)
def test_no_body_no_description_of_it(status, field):
    def bad(environ, start_response):
        start_response(status, [field])
        return []

    wrong = f"header {field[0]!r} stands in a response of {status[:3]}"
    refused(bad, wrong, "start_response(status")


@pytest.mark.parametrize(
    ("status", "fields"),
    [
        ("304 Not Modified", [("Content-Length", "5")]),  # That of the 200.
        ("204 No Content", [PLAIN]),  # Flask's
        ("204 No Content", [PLAIN, ("Content-Length", "0")]),  # Django's
    ],
)
def test_what_may_be_said_without_a_body(status, fields):
    def good(environ, start_response):
        start_response(status, fields)
        return []

    assert run(good) == []


def test_204_and_304_have_no_body():
    def bad(environ, start_response):
        start_response("304 Not Modified", [])
        return [b"", b"x"]

    refused(bad, "a response of 304 has a body")


def test_how_start_response_is_called():
    def named(environ, start_response):
        start_response("200 OK", headers=[PLAIN])

    def alone(environ, start_response):
        start_response("200 OK")

    def twice(environ, start_response):
        start_response("200 OK", [PLAIN])
        start_response("201 Made", [PLAIN])

    def odd(environ, start_response):
        start_response("200 OK", [PLAIN], ValueError())

    refused(named, "start_response was called with the names headers", "headers=")
    refused(alone, "start_response was called with 1 arguments", '("200 OK")')
    refused(twice, "start_response was called a second time without exc_info", "201")

    def calm(environ, start_response):
        start_response("200 OK", [PLAIN], sys.exc_info())

    refused(odd, "exc_info is ValueError", "ValueError()")
    refused(calm, "exc_info is tuple (None, None, None)", "sys.exc_info()")


@pytest.mark.parametrize("result", ["text", b"bytes", bytearray(b"x"), None, 5])
def test_what_is_returned(result):
    def bad(environ, start_response):
        start_response("200 OK", [PLAIN])
        return result

    refused(bad, f"the application returned {type(result).__name__} ", "def bad")


def test_what_is_yielded():
    def text(environ, start_response):
        start_response("200 OK", [PLAIN])
        yield b"good"
        yield "text"

    def array(environ, start_response):
        start_response("200 OK", [PLAIN])
        return [bytearray(b"x")]

    def early(environ, start_response):
        yield b"early"

    refused(text, "the application yielded str 'text'", 'yield "text"')
    refused(array, "the application yielded bytearray", "def array")
    refused(early, "the body begins before start_response was called", 'yield b"early"')


def test_content_length():
    def long(environ, start_response):
        start_response("200 OK", [PLAIN, ("Content-Length", "3")])
        yield b"abc"
        yield b"d"

    refused(long, "the body is longer than its Content-Length of 3", 'yield b"d"')
    assert run(long, REQUEST_METHOD="HEAD") == [b"abc", b"d"]


def test_a_body_that_is_too_short():
    def short(environ, start_response):
        start_response("200 OK", [PLAIN, ("Content-Length", "3")])
        yield b"ab"

    def listed(environ, start_response):
        start_response("200 OK", [PLAIN, ("Content-Length", "3")])
        return [b"a", b"b"]

    refused(short, "the body ends after 2 bytes; its Content-Length is 3", "def short")
    refused(listed, "the body ends after 2 bytes; its Content-Length is 3", "def listed")
    assert run(short, REQUEST_METHOD="HEAD") == [b"ab"]


def test_an_empty_body_needs_start_response_as_well():
    def forgets(environ, start_response):
        return []

    def yields_nothing(environ, start_response):
        yield b""

    refused(forgets, "the body begins before start_response was called", "def forgets")
    refused(yields_nothing, "the body begins before start_response", "def yields_nothing")


@pytest.mark.parametrize("kind", [list, tuple])
def test_what_is_known_as_a_whole_stays_so(kind):
    """So the server can tell its length, as without the checks."""
    blocks = kind([b"one", b"two"])

    def good(environ, start_response):
        start_response("200 OK", [PLAIN])
        return blocks

    assert validator(good)(environ(), lambda *args: None) is blocks


def test_a_list_is_refused_before_any_of_it_goes():
    def mixed(environ, start_response):
        start_response("200 OK", [PLAIN])
        return [b"good", "text"]

    with pytest.raises(ValidationError, match="the application yielded str 'text'"):
        validator(mixed)(environ(), lambda *args: None)


def test_write():
    def text(environ, start_response):
        start_response("200 OK", [PLAIN])("text")

    def many(environ, start_response):
        start_response("200 OK", [PLAIN])(b"a", b"b")

    def late(environ, start_response):
        write = start_response("200 OK", [PLAIN])

        def body():
            write(b"late")
            yield b"x"

        return body()

    refused(text, "write() was given str 'text'", "start_response(")
    refused(many, "write() was called with 2 arguments", "start_response(")
    refused(late, "write() was called after the application has returned", 'write(b"late")')


def test_the_streams():
    def closes_input(environ, start_response):
        environ["wsgi.input"].close()

    def closes_errors(environ, start_response):
        environ["wsgi.errors"].close()

    def reads(environ, start_response):
        environ["wsgi.input"].read(1, 2)

    def logs(environ, start_response):
        environ["wsgi.errors"].write(b"bytes")

    refused(closes_input, "the application closes wsgi.input", "close()")
    refused(closes_errors, "the application closes wsgi.errors", "close()")
    refused(reads, "wsgi.input.read() was called with 2 arguments", "read(1, 2)")
    refused(logs, "wsgi.errors.write() was given bytes", "write(b")


def test_an_application_that_is_an_object_is_named_by_its_call():
    class Application:
        def __call__(self, environ, start_response):
            start_response("200 OK", [PLAIN])
            return "text"

    with pytest.raises(ValidationError) as caught:
        run(Application())
    assert str(caught.value).endswith(f"in {line_of(Application, 'def __call__')}")


def definition(application: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        run(application)
    return str(caught.value).rpartition(", in ")[2]


def returns_text(environ, start_response):
    start_response("200 OK", [PLAIN])
    return "text"


def test_an_application_is_named_by_what_its_author_wrote():
    class Base:
        def __call__(self, environ, start_response):
            return returns_text(environ, start_response)

        def view(self, environ, start_response):
            return returns_text(environ, start_response)

    class Derived(Base):
        pass

    class PerRequest:
        def __init__(self, environ, start_response):
            start_response("200 OK", [PLAIN])

    @functools.wraps(returns_text)
    def decorated(*args):
        return returns_text(*args)

    plain = line_of(returns_text, "def returns_text")
    assert definition(decorated) == plain
    assert definition(functools.partial(returns_text)) == plain
    assert definition(Derived()) == line_of(Base, "def __call__")
    assert definition(Base().view) == line_of(Base, "def view")
    assert definition(PerRequest) == line_of(PerRequest, "def __init__")


def test_an_application_with_every_attribute_is_named_somehow():
    class Endless:
        def __getattr__(self, name):
            return Endless()

        def __call__(self, environ, start_response):
            return returns_text(environ, start_response)

    assert "Endless" in definition(Endless())


# What the standard library's validator refuses.

STATUSES = ["200", "OK", "20 OK", "099 Low", b"200 OK", 200]
HEADERS: list[Any] = [
    (PLAIN,),
    [list(PLAIN)],
    [(*PLAIN, "x")],
    [PLAIN, ("X", 1)],
    [PLAIN, (b"X", "y")],
    [PLAIN, ("Status", "200")],
    [PLAIN, ("X:", "y")],
    [PLAIN, ("X\n", "y")],
    [PLAIN, ("X-", "y")],
    [PLAIN, ("X_", "y")],
    [PLAIN, ("", "y")],
    [PLAIN, ("a b", "y")],
    *([PLAIN, ("X", f"y{chr(control)}z")] for control in range(32)),
    [],
]
RESULTS = [None, False, "text", b"bytes", ["text"], [bytearray(b"x")]]
CALLS: list[Callable[..., Any]] = [
    lambda environ, start: start("200 OK"),
    lambda environ, start: start("200 OK", headers=[PLAIN]),
    lambda environ, start: start("200 OK", [PLAIN], ValueError()),
    lambda environ, start: start("200 OK", [PLAIN], None, None),
    lambda environ, start: start("304 Not Modified", [PLAIN]),
    lambda environ, start: start("200 OK", [PLAIN])("text"),
    lambda environ, start: environ["wsgi.input"].read(1, 2),
    lambda environ, start: environ["wsgi.input"].readline(1, 2),
    lambda environ, start: environ["wsgi.input"].readlines(1, 2),
    lambda environ, start: environ["wsgi.input"].close(),
    lambda environ, start: environ["wsgi.errors"].write(b"bytes"),
    lambda environ, start: environ["wsgi.errors"].writelines([b"bytes"]),
    lambda environ, start: environ["wsgi.errors"].close(),
    lambda environ, start: [b"x"],
]


def starts(status, headers):
    def application(environ, start_response):
        start_response(status, headers)
        return []

    return application


def returns(result):
    def application(environ, start_response):
        start_response("200 OK", [PLAIN])
        return result

    return application


def start_response(status: str, headers: Any, exc_info: Any = None) -> Any:
    return lambda block: None


def run_by_wsgiref(application: Callable[..., Any]) -> None:
    given = {
        **environ(),
        "SERVER_NAME": "a",
        "SERVER_PORT": "80",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/",
        "QUERY_STRING": "",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    body: Any = wsgiref.validate.validator(application)(given, start_response)
    try:
        list(body)
    finally:
        body.close()


def test_wsgiref_is_asked_in_the_right_way():
    run_by_wsgiref(starts("200 OK", [PLAIN]))


@pytest.mark.filterwarnings("error::wsgiref.validate.WSGIWarning")
@pytest.mark.parametrize(
    "application",
    [
        *(starts(status, [PLAIN]) for status in STATUSES),
        *(starts("200 OK", headers) for headers in HEADERS),
        *(returns(result) for result in RESULTS),
        *CALLS,
    ],
)
def test_what_wsgiref_refuses_is_refused(application):
    with pytest.raises((AssertionError, ValueError, wsgiref.validate.WSGIWarning)):
        run_by_wsgiref(application)
    with pytest.raises(ValidationError):
        run(application)
