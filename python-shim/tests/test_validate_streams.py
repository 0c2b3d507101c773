"""`wsgi_debug validate`: what an application does with `wsgi.input` and `wsgi.errors`."""

# The applications here have no type annotations, like most applications.
# mypy: allow-untyped-defs, allow-untyped-calls

from __future__ import annotations

import pytest
from validated import refused, run


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


def test_what_not_every_server_s_input_has():
    def seeks(environ, start_response):
        assert not hasattr(environ["wsgi.input"], "seek")
        environ["wsgi.input"].seek(0)

    with pytest.raises(AttributeError, match=r"not every server has wsgi\.input\.seek"):
        run(seeks)
