"""A request body that one location has streamed, and a redirect to another location after that."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.threads(
    "wsgi_request_buffering off needs a thread that waits for the body"
)

SOURCE = """
    import io

    def refuse(environ, start_response):
        got = environ["wsgi.input"].read(3)
        start_response("500 Internal Server Error", [("Content-Type", "text/plain")])
        return [got]

    def page(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"sorry, ", environ["REQUEST_METHOD"].encode()]

    def read(environ, start_response):
        body = environ["wsgi.input"].read()
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"read ", body]
"""

# What is sent with the head: some of the body, or all of it.
PARTS = [b"01234", b"0123456789"]


@pytest.fixture
def ask(nginx):
    """The response to ten bytes of which the first location has read three."""
    app = nginx.app("app", SOURCE)

    def locations(buffering: str) -> str:
        return f"""
        location = /page {{ wsgi_app {app}; wsgi_callable page; }}
        location @page {{ wsgi_app {app}; wsgi_callable page; }}
        location @read {{ wsgi_app {app}; wsgi_callable read; wsgi_request_buffering {buffering}; }}
        location @refuse {{ wsgi_app {app}; wsgi_callable refuse; wsgi_intercept_errors on;
                            wsgi_request_buffering {buffering}; error_page 500 = @read; }}
        """

    def send(page: str, sent: bytes, buffering: str = "on", framing: str = "length"):
        nginx.start(
            f"""
            wsgi_app {app}; wsgi_callable refuse;
            wsgi_request_buffering off; wsgi_intercept_errors on;
            error_page 500 = {page};
            """,
            server="recursive_error_pages on;" + locations(buffering),
        )
        with nginx.connect() as connection:
            head = "POST / HTTP/1.1\r\nHost: x\r\n"
            if framing == "length":
                connection.send(f"{head}Content-Length: 10\r\n\r\n".encode() + sent)
            else:
                size = f"{len(sent):x}".encode()
                end = b"0\r\n\r\n" if len(sent) == 10 else b""
                head = f"{head}Transfer-Encoding: chunked\r\n\r\n"
                connection.send(head.encode() + size + b"\r\n" + sent + b"\r\n" + end)
            return connection.response()

    return send


@pytest.mark.parametrize("sent", PARTS)
@pytest.mark.parametrize(("page", "method"), [("/page", b"GET"), ("@page", b"POST")])
def test_a_page_that_wants_no_body(ask, page, method, sent):
    response = ask(page, sent)
    assert (response.status, response.body) == (200, b"sorry, " + method)
    assert response.complete


@pytest.mark.parametrize("sent", PARTS)
@pytest.mark.parametrize("buffering", ["on", "off"])
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_rest_is_never_taken_for_the_body(nginx, ask, sent, buffering, framing):
    assert ask("@read", sent, buffering, framing).status == 500
    nginx.wait_log("OSError: the request body was read as it arrived, for another location")


@pytest.mark.parametrize("sent", PARTS)
def test_nor_by_a_third_location(nginx, ask, sent):
    # The second location cannot read it either, and its error page is the third.
    assert ask("@refuse", sent).status == 500
    nginx.wait_log("OSError: the request body was read as it arrived, for another location")
    assert len(nginx.log_lines("OSError: the request body was read")) == 2


def test_an_include_while_the_body_arrives(nginx):
    """A subrequest shares its main request's body, of which only a part has arrived."""
    source = """
        from testkit import gate

        def page(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/html")])
            environ["wsgi.input"].read(3)
            return [b'<!--# include virtual="/part" -->']

        def part(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/plain")])
            try:
                return [b"part ", environ["wsgi.input"].read()]
            except OSError as error:
                return [b"no body"]
    """
    app = nginx.app("app", source)
    nginx.start(
        f"wsgi_app {app}; wsgi_callable page; wsgi_request_buffering off; ssi on;",
        server=f"location /part {{ wsgi_app {app}; wsgi_callable part; }}",
    )
    with nginx.connect() as connection:
        connection.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n01234")
        assert connection.response().body == b"no body"
