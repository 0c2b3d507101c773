"""write(), which start_response returns (PEP 3333, "The write() Callable")."""

from __future__ import annotations

import pytest
from rawhttp import wait_still


def test_write_of_nothing_does_not_send_the_head(fetch, serve):
    serve(
        """
        import sys

        def application(environ, start_response):
            write = start_response("200 OK", [("Content-Type", "text/plain")])
            write(b"")
            try:
                raise KeyError("x")
            except KeyError:
                start_response("418 Late", [("Content-Type", "text/x")], sys.exc_info())
            return [b"tea"]
        """
    )
    assert fetch().status == 418


@pytest.mark.threads("inline what write() is given goes out when the call returns")
def test_write_goes_out_at_once_and_in_order(nginx, serve):
    serve(
        """
        from testkit import gate

        def application(environ, start_response):
            write = start_response("200 OK", [("Content-Type", "text/plain")])
            assert write(b"first") is None
            gate("one")
            write(b"second")
            gate("two")
            return [b"third", b"fourth"]
        """
    )
    with nginx.connect() as connection:
        connection.get()
        assert connection.head().status == 200
        assert connection.chunk() == b"first"
        nginx.open_gate("one")
        assert connection.chunk() == b"second"
        nginx.open_gate("two")
        assert b"".join(connection.chunks()) == b"thirdfourth"


@pytest.mark.parametrize("value", ['"text"', "None", "1"])
def test_write_of_something_that_is_not_bytes_raises(fetch, serve, value):
    serve(
        f"""
        def application(environ, start_response):
            write = start_response("200 OK", [("Content-Type", "text/plain")])
            try:
                write({value})
            except Exception as error:
                return [b"raised ", type(error).__name__.encode()]
            return [b"did not raise"]
        """
    )
    assert fetch().body.startswith(b"raised ")


def test_write_alone_with_an_empty_iterable(fetch, serve):
    serve(
        """
        def application(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/plain")])(b"all of it")
            return []
        """
    )
    response = fetch()
    assert (response.body, response.complete) == (b"all of it", True)


def test_write_respects_content_length(nginx, serve):
    serve(
        """
        def application(environ, start_response):
            headers = [("Content-Type", "text/plain"), ("Content-Length", "4")]
            write = start_response("200 OK", headers)
            write(b"123")
            write(b"456")
            return [b"789"]
        """
    )
    with nginx.connect() as connection:
        connection.get()
        response = connection.response()
        assert (response.framing, response.body) == ("length", b"1234")
        connection.get()
        assert connection.response().body == b"1234"


WRITER = """\
import threading

from testkit import gate, record

class Body:
    def __iter__(self):
        return self

    def __next__(self):
        record("next")
        {next}

    def close(self):
        record("closed")

def application(environ, start_response):
    write = start_response("200 OK", [("Content-Type", "text/plain")])

    def run():
        try:
            while True:
                record("writes")
                write(b"w" * 1_000_000)
        except Exception as error:
            record("writer", repr(error))

    threading.Thread(target=run).start()
    gate("return")
    return Body()
"""


@pytest.mark.parametrize(
    "step", ["raise ValueError('next')", "return b'x' * 1000", "raise StopIteration"]
)
def test_a_write_that_waits_in_another_thread_leaves_close_and_no_panic(nginx, serve, step):
    serve(WRITER.format(next=step), "wsgi_buffering off;")
    with nginx.connect(receive=65536) as client:
        client.get()
        nginx.wait_recorded("writes")
        # The thread waits in write() until the client takes more.
        wait_still(lambda: len(nginx.recorded("writes")))
        nginx.open_gate("return")
        nginx.wait_recorded("next")
        wait_still(lambda: len(nginx.recorded("next")), 0.5)
        client.reset()
    nginx.wait_recorded("writer", timeout=10)
    nginx.wait_recorded("closed", timeout=10)
    assert len(nginx.recorded("closed")) == 1
    assert not nginx.log_lines("panicked")
