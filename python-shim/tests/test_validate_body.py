"""`wsgi_debug validate`: what an application returns, yields and writes."""

# The applications here have no type annotations, like most applications.
# mypy: allow-untyped-defs, allow-untyped-calls

from __future__ import annotations

import io

import pytest
from validated import PLAIN, FileWrapper, environ, refused, run

from pywsgi import ValidationError
from pywsgi._validate import validator


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


def test_204_and_304_have_no_body():
    def bad(environ, start_response):
        start_response("304 Not Modified", [])
        return [b"", b"x"]

    refused(bad, "a response of 304 has a body")


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
