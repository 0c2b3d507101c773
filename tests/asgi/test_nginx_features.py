"""What nginx does around an application of ASGI, where that shows in the scope, in receive() or in
send(). The rest is the same for WSGI: `tests/nginx` runs for both.
"""

from __future__ import annotations

import pytest
from rawhttp import wait_for
from rawhttp2 import Http2

RESPONDS = """
    import json
    from urllib.parse import parse_qsl
    from testkit import record, respond

    async def application(scope, receive, send):
        query = dict(parse_qsl(scope["query_string"].decode()))
        status = int(query.pop("status", 200))
        body = query.pop("body", "the body").encode()
        parts = int(query.pop("parts", 1))
        fields = [(b"content-type", b"text/html")]
        fields += [(name.encode(), value.encode()) for name, value in query.items()]
        await send({"type": "http.response.start", "status": status, "headers": fields})
        for number in range(1, parts + 1):
            more = number < parts
            await send({"type": "http.response.body", "body": body, "more_body": more})
        record("sent", scope["path"])
"""


@pytest.fixture
def start(nginx):
    """Starts nginx with the application above; `APP;` in a configuration is its directive."""

    def begin(location: str = "APP;", server: str = "", **options):
        app = f"asgi_app {nginx.app('app', RESPONDS)}; asgi_lifespan off;"
        location, server = (text.replace("APP;", app) for text in (location, server))
        nginx.start(location, server=server, **options)
        return nginx.client()

    return begin


def show_app(nginx, name: str = "show") -> str:
    app = nginx.app(
        name,
        """
        from testkit import read_body, respond

        async def application(scope, receive, send):
            shown = [scope[key] for key in ("method", "path", "raw_path", "query_string")]
            await respond(send, repr((shown, await read_body(receive))).encode())
        """,
    )
    return f"asgi_app {app}; asgi_lifespan off;"


# X-Accel-*


@pytest.mark.parametrize("parts", [1, 3])
def test_x_accel_redirect_to_a_file(nginx, start, parts):
    nginx.page("private/file.txt", "of the file")
    client = start(server=f"location /private/ {{ internal; root {nginx.html}; }}")
    for _ in range(2):
        response = client.get(f"/?x-accel-redirect=/private/file.txt&parts={parts}&x-own=1")
        assert (response.status_code, response.text) == (200, "of the file")
        assert "x-accel-redirect" not in response.headers
    assert client.get("/private/file.txt").status_code == 404
    assert not nginx.log_lines("[error]")


def test_x_accel_redirect_to_another_application(nginx, start):
    client = start(server=f"location /inner {{ internal; {show_app(nginx)} }}")
    shown, _ = eval(client.get("/outer?x-accel-redirect=/inner/x?y=1").text)
    method, path, raw_path, query = shown
    assert (method, path, query) == ("GET", "/inner/x", b"y=1")
    # raw_path is what the client sent.
    assert raw_path == b"/outer"


# error_page, if, rewrites, try_files


def test_error_page_for_an_exception(nginx, serve):
    serve(
        """
        async def application(scope, receive, send):
            raise ValueError(scope["path"])
        """,
        "error_page 500 /page;",
        server="location /page { return 200 page; }",
    )
    response = nginx.client().get("/x")
    assert (response.status_code, response.text) == (500, "page")


def test_an_application_as_error_page(nginx):
    nginx.start(
        "return 503;",
        server=f"error_page 503 /sorry?a=b; location /sorry {{ {show_app(nginx)} }}",
    )
    response = nginx.client().get("/busy?x=y")
    assert response.status_code == 503
    (method, path, raw_path, query), _ = eval(response.text)
    assert (method, path, query) == ("GET", "/sorry", b"a=b")
    assert raw_path == b"/busy"


def test_rewrite_and_try_files(nginx):
    show = show_app(nginx)
    nginx.start(
        server=f"""
        location /old {{ rewrite ^/old/(.*)$ /new/$1?more=1 last; }}
        location /new {{ {show} }}
        location /files {{ try_files $uri @app; }}
        location @app {{ {show} }}
        """
    )
    client = nginx.client()
    (_, path, raw_path, query), _ = eval(client.get("/old/a%20b?x=y").text)
    assert (path, raw_path) == ("/new/a b", b"/old/a%20b")
    assert query == b"more=1&x=y"
    (_, path, raw_path, query), body = eval(client.post("/files/x?q", content=b"sent").text)
    assert (path, raw_path, query, body) == ("/files/x", b"/files/x", b"q", b"sent")


# Subrequests


def test_auth_request_before_an_application_with_a_body(nginx):
    """The subrequest has no body; the request has all of its own."""
    auth = nginx.app(
        "auth",
        """
        from testkit import read_body, record, respond

        async def application(scope, receive, send):
            record("auth", (await read_body(receive), scope["method"], scope["raw_path"]))
            await respond(send, b"", status=204)
        """,
    )
    nginx.start(
        f"auth_request /auth; {show_app(nginx)}",
        server=f"location = /auth {{ internal; asgi_app {auth}; asgi_lifespan off; }}",
    )
    client = nginx.client()
    for size in (4, 300_000):
        _, body = eval(client.post("/upload", content=b"x" * size).text)
        assert body == b"x" * size
    assert nginx.recorded("auth") == [str((b"", "GET", b"/upload"))] * 2


@pytest.mark.parametrize("http2", [False, True])
def test_mirror(nginx, http2):
    copy = nginx.app(
        "copy",
        """
        from testkit import read_body, record, respond

        async def application(scope, receive, send):
            body = await read_body(receive)
            record("copies", (scope["method"], scope["path"], scope["raw_path"], len(body)))
            await respond(send, b"nobody sees this", status=500)
        """,
    )
    nginx.start(
        f"mirror /copy; {show_app(nginx)}",
        server=f"""
        client_max_body_size 8m;
        location /copy {{ internal; asgi_app {copy}; asgi_lifespan off; }}
        """,
        http2=http2,
    )
    client = nginx.client(http2=http2)
    for count, size in enumerate((4, 100_000, 3_000_000), 1):
        _, body = eval(client.post("/x?y", content=b"x" * size).text)
        assert len(body) == size
        line = str(("POST", "/copy", b"/x", size))
        assert nginx.wait_recorded("copies", count)[-1] == line


# Filters


def test_gzip_does_not_hold_back_a_stream(nginx, serve):
    """Server-sent events: each part reaches the client at once."""
    serve(
        """
        from testkit import opened

        async def application(scope, receive, send):
            headers = [(b"content-type", b"text/event-stream")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            for number in range(3):
                data = b"data: %d\\n\\n" % number
                await send({"type": "http.response.body", "body": data, "more_body": True})
                await opened(f"next-{number}")
            await send({"type": "http.response.body"})
        """,
        "gzip on; gzip_types text/event-stream; gzip_min_length 1;",
    )
    import zlib

    with nginx.connect() as connection:
        connection.get(headers="Accept-Encoding: gzip\r\n")
        assert connection.head().get("Content-Encoding") == "gzip"
        unzip, text = zlib.decompressobj(31), b""
        for number in range(3):
            while f"data: {number}\n\n".encode() not in text:
                text += unzip.decompress(connection.chunk())
            nginx.open_gate(f"next-{number}")


def test_proxied_by_another_server(nginx, start):
    client = start(
        server="location /proxied/ { proxy_pass http://127.0.0.1:PORT/; }".replace(
            "PORT", str(nginx.port)
        )
    )
    assert client.get("/proxied/?parts=3").text == "the body" * 3


def test_a_reset_stream_beside_an_include(nginx, serve):
    """The request is freed while its subrequest's task runs."""
    nginx.page("page.html", '<!--# include virtual="/held" -->')
    serve(
        """
        from testkit import record, respond

        async def application(scope, receive, send):
            if scope["path"] == "/":
                return await respond(send, b"fine")
            record("entered")
            await receive()
            record("gone", (await receive())["type"])
        """,
        server=f"location /page.html {{ ssi on; root {nginx.html}; }}",
        http2=True,
    )
    with Http2(nginx.port) as connection:
        for count in range(1, 4):
            stream = connection.request("/page.html")
            nginx.wait_recorded("entered", count)
            connection.reset(stream)
            assert nginx.wait_recorded("gone", count)[-1] == "http.disconnect"
            assert connection.response(connection.request("/")).body == b"fine"


def test_post_action(nginx, start):
    client = start(
        "APP; post_action /after;",
        server="location = /after { internal; APP; }",
    )
    for count in range(1, 4):
        assert client.get("/x").text == "the body"
        wait_for(lambda count=count: nginx.recorded("sent").count("/after") == count, what="after")
