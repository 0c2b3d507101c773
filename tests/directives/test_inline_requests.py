"""wsgi_thread_pool inline: what nginx does with requests: subrequests, redirects, connections."""

from __future__ import annotations

import os
import signal

import pytest
from rawhttp2 import Http2

SOURCE = """
    import threading

    def application(environ, start_response):
        path, query = environ["PATH_INFO"], environ["QUERY_STRING"]
        headers = [("Content-Type", "text/html"), ("X-Thread", str(threading.get_native_id()))]
        if path == "/judge":
            allowed = environ.get("HTTP_X_PASS") == "good"
            start_response("204 No Content" if allowed else "403 Forbidden", headers)
            return []
        if path == "/send":
            start_response("200 OK", [*headers, ("X-Accel-Redirect", query)])
            return [b"not this"]
        if path == "/part":
            start_response("200 OK", headers)
            name, count = query.split("-")
            return (name.encode() * 50_000 for _ in range(int(count)))
        if path == "/page":
            start_response("200 OK", headers)
            return (b'%s<!--# include virtual="/part?%s" -->' % (name[:1], name)
                    for name in query.encode().split(b","))
        body = environ["wsgi.input"].read()
        start_response("200 OK", [*headers, ("Content-Length", str(len(path) + len(body)))])
        return [path.encode() + body]
"""
ENDS_IN_A_COMMAND = """
    TEXT = {text!r}.encode()

    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/html")])
        return (TEXT[at : at + {size}] for at in range(0, len(TEXT), {size}))
"""
SERVER = """
    location = /guarded {{ auth_request /judge; {app} }}
    location = /judge {{ internal; {app} }}
    location /page {{ ssi on; {app} }}
    location = /file {{ internal; alias {page}; }}
    location @other {{ rewrite ^ /named break; {app} }}
    location = /pooled {{ {app} wsgi_thread_pool default; }}
    location = /static {{ return 200 static; }}
    location = /missing {{ error_page 404 /from-error-page; return 404; }}
"""


@pytest.fixture
def start(nginx):
    def begin(**options):
        app = f"wsgi_app {nginx.app('app', SOURCE)};"
        page = nginx.page("file.txt", "the file")
        server = SERVER.format(app=app, page=page) + options.pop("server", "")
        nginx.start(app, server=server, http="wsgi_thread_pool inline;", **options)
        return nginx.client()

    return begin


def test_auth_request(start):
    client = start()
    for _ in range(3):
        assert client.get("/guarded").status_code == 403
        response = client.get("/guarded", headers={"X-Pass": "good"})
        assert (response.status_code, response.text) == (200, "/guarded")


@pytest.mark.parametrize(
    ("target", "text"),
    [
        ("/file", "the file"),
        ("/other", "/other"),
        ("@other", "/named"),
        ("/part?x-40", "x" * 2_000_000),
        ("/pooled", "/pooled"),
        ("/static", "static"),
    ],
)
def test_x_accel_redirect(start, target, text):
    client = start()
    for _ in range(2):
        assert client.get(f"/send?{target}").text == text


def test_error_page(start):
    assert start().get("/missing").text == "/from-error-page"


@pytest.mark.parametrize("http2", [False, True], ids=["HTTP/1.1", "HTTP/2 over TLS"])
def test_a_page_of_several_parts(nginx, start, http2):
    """Each part is a request of its own, and longer than the buffer."""
    if http2:
        start(http2=True)
        client = nginx.client(http2=True)
    else:
        client = start()
    for _ in range(2):
        text = client.get("/page?a-1,b-20,c-0,d-3,e-40").text
        sizes = {"a": 1, "b": 20, "c": 0, "d": 3, "e": 40}
        expected = "".join(name + name * 50_000 * count for name, count in sizes.items())
        assert text == expected


@pytest.mark.parametrize("size", [1, 5, 1000])
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('<!--# echo var="none" -->', "(none)"),
        ('ab<!--# set var="x" value="y" --><!--# echo var="x" -->', "aby"),
        ('<!--# include virtual="/part?p-1" -->', "p" * 50_000),
        ('a<!--# include virtual="/part?p-20" -->b', "a" + "p" * 1_000_000 + "b"),
    ],
)
def test_a_page_that_ends_in_a_command(nginx, text, expected, size):
    """SSI holds its block until more comes; the page does not wait for the client."""
    page = nginx.app("page", ENDS_IN_A_COMMAND.format(text=text, size=size))
    nginx.start(
        server=f"""
        location /page {{ ssi on; wsgi_app {page}; }}
        location /part {{ wsgi_app {nginx.app("app", SOURCE)}; }}
        """,
        http="wsgi_thread_pool inline;",
    )
    for _ in range(2):
        assert nginx.client().get("/page").text == expected


def test_a_client_that_leaves_a_page_of_several_parts(nginx, start):
    client = start(listen="sndbuf=32k")
    for _ in range(5):
        connection = nginx.connect()
        connection.get("/page?a-100,b-100,c-100")
        assert connection.head().status == 200
        connection.reset()
    assert client.get("/page?a-1").text == "a" * 50_001


def test_requests_one_behind_the_other(nginx, start):
    """Pipelining: all are answered whole and in order, whether their bodies are read or not."""
    start()
    count = 60
    with nginx.connect() as connection:
        for number in range(count):
            match number % 4:
                case 0:
                    connection.get(f"/{number}")
                case 1:
                    connection.get("/part?y-9")
                case 2:
                    connection.send(
                        f"POST /{number} HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n12345"
                    )
                case 3:
                    connection.send(f"HEAD /{number} HTTP/1.1\r\nHost: x\r\n\r\n")
        for number in range(count):
            response = connection.response(head_only=number % 4 == 3)
            assert response.status == 200
            assert response.complete
            path = f"/{number}"
            match number % 4:
                case 0:
                    assert response.body == path.encode()
                case 1:
                    assert response.body == b"y" * 450_000
                case 2:
                    assert response.body == path.encode() + b"12345"
                case 3:
                    assert response.get("Content-Length") == str(len(path))


def test_streams_of_http2_are_reset_and_others_go_on(nginx, start):
    start(http2=True)
    with Http2(nginx.port) as connection:
        for _ in range(10):
            left = [connection.request("/part?z-100") for _ in range(3)]
            stays = connection.request("/part?z-2")
            for stream in left:
                connection.reset(stream)
            response = connection.response(stays)
            assert response.body == b"z" * 100_000
            assert response.ended


def test_all_of_it_runs_on_one_thread(nginx, start):
    client = start()
    (worker,) = nginx.workers()
    for path in ("/", "/part?x-3", "/page?a-1", "/send?/other", "/missing"):
        assert client.get(path).headers["X-Thread"] == str(worker)
    assert client.get("/pooled").headers["X-Thread"] != str(worker)


def test_a_slow_call_holds_up_no_response_that_is_there(nginx):
    """Calls are batched before their responses are sent only if many before were quick."""
    app = nginx.app(
        "together",
        """
        from testkit import gate

        def application(environ, start_response):
            if environ["PATH_INFO"] == "/slow":
                gate("first")
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [b"here"]
        """,
    )
    nginx.start(f"wsgi_app {app}; wsgi_thread_pool inline;")
    first, second = nginx.connect(), nginx.connect()
    for connection in first, second:
        connection.get("/")
        assert connection.response().body == b"here"
    [worker] = nginx.workers()
    os.kill(worker, signal.SIGSTOP)
    try:
        first.get("/")
        second.get("/slow")
    finally:
        os.kill(worker, signal.SIGCONT)
    assert first.response().body == b"here"
    nginx.open_gate("first")
    assert second.response().body == b"here"
