"""wsgi_accel, asgi_accel: X-Accel-Redirect and its companions in an application's response."""

from __future__ import annotations

import pytest

HEADERS = [
    ("Content-Type", "text/x-mine; charset=koi8-r"),
    ("Set-Cookie", "a=1"),
    ("Set-Cookie", "b=2"),
    ("Content-Disposition", "attachment"),
    ("Cache-Control", "private"),
    ("Expires", "Thu, 01 Jan 2037 00:00:00 GMT"),
    ("ETag", '"mine"'),
    ("Last-Modified", "Thu, 01 Jan 2015 00:00:00 GMT"),
    ("X-Other", "gone"),
]
# ?to=TARGET redirects there.
SOURCE = f"""
    from urllib.parse import parse_qs

    from testkit import record

    HEADERS = {HEADERS!r}

    async def answer(request):
        query = parse_qs(request.query)
        headers = list(HEADERS)
        if "to" in query:
            headers.append(("X-Accel-Redirect", query["to"][0]))
        if "charset" in query:
            headers[0] = ("Content-Type", "text/plain")
            headers.append(("X-Accel-Charset", query["charset"][0]))
        if "rate" in query:
            headers.append(("X-Accel-Limit-Rate", query["rate"][0]))
        try:
            await request.start(201, headers)
            await request.send(b"from the ")
            await request.send(b"application")
        finally:
            record("closed")
"""
FILE = "0123456789"
SERVER = """
    location /files/ { internal; alias %(html)s/; }
    location @named { return 202 "named $request_method"; }
    location /method { return 203 "$request_method $args"; }
"""


@pytest.fixture
def start(nginx, protocol):
    """`start("more directives", http2=True)` starts nginx with the application."""
    app = protocol.app("accel", SOURCE)
    nginx.page("file.txt", FILE)

    def begin(more: str = "", *, http2: bool = False, server: str = ""):
        text = SERVER % {"html": nginx.html} + server.replace("APP", str(app))
        nginx.start(
            f"{protocol}_app {app}; {more}",
            http="python_thread_pool default threads=1; client_max_body_size 8m;",
            http2=http2,
            server=text,
        )
        return nginx.client(http2=http2)

    return begin


@pytest.mark.parametrize("http2", [False, True])
def test_a_file_with_the_headers_that_nginx_keeps(nginx, start, http2):
    client = start(http2=http2)
    for count in range(1, 4):
        response = client.get("/?to=/files/file.txt")
        assert (response.status_code, response.text) == (200, FILE)
        headers = response.headers
        assert headers["content-type"] == "text/x-mine; charset=koi8-r"
        assert headers.get_list("set-cookie") == ["a=1", "b=2"]
        assert headers["content-disposition"] == "attachment"
        assert headers["cache-control"] == "private"
        assert headers["expires"] == "Thu, 01 Jan 2037 00:00:00 GMT"
        assert headers["etag"] != '"mine"'
        assert "2015" not in headers["last-modified"]
        assert headers["content-length"] == "10"
        assert "x-other" not in headers
        assert "x-accel-redirect" not in headers
        # The iterable is closed, and the pool's only thread serves the next request.
        nginx.wait_recorded("closed", count)


def test_a_range_and_a_head_and_not_modified(start):
    client = start()
    response = client.get("/?to=/files/file.txt", headers={"Range": "bytes=2-4"})
    assert (response.status_code, response.text) == (206, "234")
    head = client.head("/?to=/files/file.txt")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == "10"
    tag = {"If-None-Match": head.headers["etag"]}
    assert client.get("/?to=/files/file.txt", headers=tag).status_code == 304
    assert client.get("/").status_code == 201


def test_an_internal_location_is_not_for_clients(start):
    assert start().get("/files/file.txt").status_code == 404


def test_methods(start):
    client = start()
    response = client.post("/?to=/method%3Fx=1", content=b"a body")
    assert (response.status_code, response.text) == (203, "GET x=1")
    named = client.post("/?to=@named", content=b"a body")
    assert (named.status_code, named.text) == (202, "named POST")
    assert client.get("/").text == "from the application"


@pytest.mark.parametrize("buffering", ["on", "off"])
def test_with_an_upload_that_nobody_reads(protocol, start, buffering):
    client = start(f"{protocol}_request_buffering {buffering};")
    for _ in range(3):
        response = client.post("/?to=/files/file.txt", content=b"x" * 2_000_000)
        assert (response.status_code, response.text) == (200, FILE)
    assert client.get("/").text == "from the application"


def test_to_another_application_and_back_to_itself(protocol, start):
    other = protocol.say("other")
    client = start(server=f"location /other {{ {protocol}_app {other}; }}")
    assert client.get("/?to=/other").text == "other"
    assert client.get("/?to=/%3Fto=/other").text == "other"


def test_a_loop_ends_with_500(nginx, protocol):
    app = protocol.app(
        "loop",
        """
        async def answer(request):
            await request.respond(b"", 200, [*bothkit.TEXT, ("X-Accel-Redirect", "/")])
        """,
    )
    nginx.start(f"{protocol}_app {app};")
    assert nginx.client().get("/").status_code == 500
    assert nginx.client().get("/").status_code == 500
    nginx.wait_log("internal redirection cycle")


@pytest.mark.parametrize(
    ("target", "status"),
    [("/files/../../etc/passwd", 404), ("/files/none", 404), ("@nowhere", 500)],
)
def test_targets_that_are_not_there(start, target, status):
    client = start()
    assert client.get("/", params={"to": target}).status_code == status
    assert client.get("/").status_code == 201


def test_companions(start):
    # nginx knows the charsets that its configuration names.
    client = start(server="location /other { charset utf-8; }")
    response = client.get("/?to=/files/file.txt&charset=utf-8")
    assert response.text == FILE
    assert response.headers["content-type"] == "text/plain; charset=utf-8"
    assert client.get("/?rate=1000000").text == "from the application"
    assert client.get("/?rate=fast").text == "from the application"


def test_off_and_inheritance(protocol, start):
    client = start(
        f"{protocol}_accel off;",
        server=f"location /on {{ {protocol}_app APP; {protocol}_accel on; }}",
    )
    response = client.get("/?to=/files/file.txt")
    assert (response.status_code, response.text) == (201, "from the application")
    assert "x-accel-redirect" not in response.headers
    assert client.get("/on?to=/files/file.txt").text == FILE


def test_in_a_subrequest(nginx, start):
    nginx.page("page.shtml", '[<!--#include virtual="/?to=/files/file.txt" -->]')
    client = start(server=f"location /page.shtml {{ root {nginx.html}; ssi on; ssi_types *; }}")
    for _ in range(3):
        assert client.get("/page.shtml").text == f"[{FILE}]"


def test_the_same_headers_as_from_a_proxied_application(nginx, start):
    from threading import Thread
    from wsgiref.simple_server import WSGIRequestHandler, make_server

    def application(environ, start_response):
        start_response("201 Made", [*HEADERS, ("X-Accel-Redirect", "/files/file.txt")])
        return []

    class Quiet(WSGIRequestHandler):
        def log_message(self, *args):
            return None

    server = make_server("127.0.0.1", 0, application, handler_class=Quiet)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        place = f"http://127.0.0.1:{server.server_port}"
        client = start(server=f"location /proxied {{ proxy_pass {place}; }}")
        ours, theirs = (client.get(path) for path in ("/?to=/files/file.txt", "/proxied"))
    finally:
        server.shutdown()
        server.server_close()
    drop = {"date"}
    assert ours.status_code == theirs.status_code == 200
    assert ours.text == theirs.text == FILE
    assert sorted(item for item in ours.headers.multi_items() if item[0] not in drop) == sorted(
        item for item in theirs.headers.multi_items() if item[0] not in drop
    )
