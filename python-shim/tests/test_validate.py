"""`wsgi_debug validate`: what is good passes, what the standard library refuses is refused, and
the application is named as its author wrote it."""

# The applications here have no type annotations, like most applications.
# mypy: allow-untyped-defs, allow-untyped-calls

from __future__ import annotations

import functools
import wsgiref.validate
from collections.abc import Callable
from typing import Any

import pytest
from validated import PLAIN, environ, line_of, run

from pywsgi import ValidationError


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
