"""`wsgi_debug validate`: what an application gives to `start_response`."""

# The applications here have no type annotations, like most applications.
# mypy: allow-untyped-defs, allow-untyped-calls

from __future__ import annotations

import sys

import pytest
from validated import PLAIN, refused, run


def test_start_response_may_be_replaced_with_exc_info():
    def good(environ, start_response):
        start_response("200 OK", [PLAIN])
        try:
            raise ValueError
        except ValueError as error:
            start_response("500 Oops", [PLAIN], (type(error), error, error.__traceback__))
        return [b"x"]

    assert run(good) == [b"x"]


@pytest.mark.parametrize(
    ("status", "what"),
    [
        ("200", "status is str '200'"),
        ("200  ", "status is str '200  '"),
        ("200  OK", "status is str '200  OK'"),
        ("200 OK ", "status is str '200 OK '"),
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


def test_an_empty_reason_phrase():
    """RFC 9112, 4: the phrase may be empty, the space before it may not be left out."""

    def good(environ, start_response):
        start_response("200 ", [PLAIN])
        return [b"x"]

    def bad(environ, start_response):
        start_response("200", [PLAIN])
        return [b"x"]

    assert run(good) == [b"x"]
    refused(bad, 'PEP 3333, "The start_response() Callable"', 'start_response("200"')


@pytest.mark.parametrize(
    "name", ["Content-Type", "ETag", "Last-Modified", "Location", "Date", "Server", "Expires"]
)
def test_what_may_stand_only_once(name):
    def bad(environ, start_response):
        start_response("200 OK", [(name, "a"), ("X", "1"), (name.upper(), "b")])
        return [b"x"]

    refused(bad, f"header {name.upper()!r} is set twice (RFC 9110, 5.3", "start_response(")


def test_what_may_stand_more_than_once():
    names = ["Set-Cookie", "Link", "Vary", "WWW-Authenticate", "Cache-Control", "X-Own"]

    def good(environ, start_response):
        start_response("200 OK", [PLAIN, *((name, "a") for name in names * 2)])
        return [b"x"]

    assert run(good) == [b"x"]


@pytest.mark.parametrize(
    ("headers", "what"),
    [
        ((PLAIN,), "the headers are tuple"),
        ([["Content-Type", "text/plain"]], "a header is list"),
        ([PLAIN, ("X",)], "a header is tuple ('X',)"),
        ([PLAIN, (b"X", "y")], "a header's name is bytes b'X'"),
        ([PLAIN, ("X", 5)], "the value of header 'X' is int 5"),
        ([PLAIN, ("X", "\u20ac")], "the value of header 'X' contains a character outside latin-1"),
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

    wrong = f"header {field[0]!r} is set in a response of {status[:3]}"
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
