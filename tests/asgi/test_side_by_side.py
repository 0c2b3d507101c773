"""A WSGI and an ASGI application in one nginx; a loop that is blocked holds up nothing else."""

from __future__ import annotations

import time

import pytest
from rawhttp import wait_for

WSGI = """
    import threading
    from wsgiref.validate import validator

    @validator
    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"wsgi ", environ["wsgi.input"].read(1 << 20)]
"""
ASGI = """
    from testkit import gate, read_body, record, respond

    def blocks():
        record("blocked")
        gate("unblock", 120)

    async def application(scope, receive, send):
        if scope["path"].endswith("/block"):
            blocks()
        await respond(send, b"asgi " + await read_body(receive))
"""


@pytest.fixture
def site(nginx):
    """Both kinds of applications, another loop, and a static file."""

    def start(http: str = "", **options):
        wsgi, main, other = nginx.app("w", WSGI), nginx.app("a", ASGI), nginx.app("b", ASGI)
        nginx.page("static/file.txt", "static")
        nginx.start(
            server=f"""
            location /static/ {{ root {nginx.html}; }}
            location /wsgi {{ wsgi_app {wsgi}; }}
            location /asgi {{ asgi_app {main}; asgi_lifespan off; }}
            location /other {{ asgi_app {other}; asgi_event_loop other; asgi_lifespan off; }}
            """,
            http=f"python_event_loop other asyncio; {http}",
            **options,
        )
        return nginx.client(timeout=15)

    return start


def test_both_serve(site):
    client = site()
    for number in range(20):
        body = str(number).encode() * number
        assert client.post("/wsgi", content=body).content == b"wsgi " + body
        assert client.post("/asgi", content=body).content == b"asgi " + body
        assert client.post("/other", content=body).content == b"asgi " + body
        assert client.get("/static/file.txt").text == "static"


def test_both_on_one_connection_of_http_2(nginx, site):
    site(http2=True)
    from rawhttp2 import Http2

    with Http2(nginx.port) as connection:
        streams = [
            (path, connection.request(f"/{path}")) for _ in range(10) for path in ("wsgi", "asgi")
        ]
        for path, stream in streams:
            assert connection.response(stream).body == f"{path} ".encode()


def test_both_share_one_interpreter(nginx):
    """One `sys.modules`: a module that both import is imported once."""
    nginx.app("shared", "import os\nvalue = os.urandom(8).hex()\n")
    wsgi = nginx.app(
        "w",
        """
        import shared

        def application(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [shared.value.encode()]
        """,
    )
    asgi = nginx.app(
        "a",
        """
        import shared
        from testkit import respond

        async def application(scope, receive, send):
            await respond(send, shared.value.encode())
        """,
    )
    nginx.start(
        server=f"location /w {{ wsgi_app {wsgi}; }}"
        f" location /a {{ asgi_app {asgi}; asgi_lifespan off; }}"
    )
    client = nginx.client()
    assert client.get("/w").text == client.get("/a").text != ""


def test_a_blocked_loop_holds_up_its_own_applications_alone(nginx, site, background):
    """The stall is in the log, with the stack of what blocks."""
    client = site("asgi_stall_warning 500ms;")
    for path in ("/wsgi", "/asgi", "/other"):
        assert client.get(path).status_code == 200
    blocked = background("/asgi/block")
    nginx.wait_recorded("blocked")
    begun = time.monotonic()
    for _ in range(100):
        assert client.get("/static/file.txt").text == "static"
        assert client.get("/wsgi").text == "wsgi "
        assert client.post("/other", content=b"x").content == b"asgi x"
    assert time.monotonic() - begun < 15
    assert not blocked.done()
    assert "[warn]" in nginx.wait_log("asgi_stall_warning")
    nginx.wait_log("in blocks")
    nginx.open_gate("unblock")
    assert blocked.result().text == "asgi "


def test_blocked_threads_hold_up_no_loop(nginx, background):
    wsgi = nginx.app(
        "w",
        """
        from testkit import gate, record

        def application(environ, start_response):
            record("blocked")
            gate("unblock", 120)
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [b"wsgi"]
        """,
    )
    asgi = nginx.app("a", ASGI)
    nginx.start(
        f"asgi_app {asgi}; asgi_lifespan off;",
        server=f"location /wsgi {{ wsgi_app {wsgi}; }}",
        http="python_thread_pool default threads=2;",
    )
    blocked = [background("/wsgi") for _ in range(4)]
    nginx.wait_recorded("blocked", 2)
    client = nginx.client(timeout=15)
    for _ in range(100):
        assert client.get("/").text == "asgi "
    nginx.open_gate("unblock")
    assert [answer.result().text for answer in blocked] == ["wsgi"] * 4


def test_a_loop_that_computes_beside_a_static_file_and_wsgi(nginx, site):
    """A loop that never lets go of the interpreter for long: nginx's own thread does not wait for
    the GIL, and threads get their turns."""
    app = nginx.app(
        "computes",
        """
        import asyncio
        from testkit import DATA, record, respond

        async def application(scope, receive, send):
            await respond(send, b"begun")
            record("begun")
            number = 0
            while not (DATA / "stop").exists():
                for number in range(200_000):
                    number * number
                await asyncio.sleep(0)
            record("stopped")
        """,
    )
    wsgi = nginx.app("w", WSGI)
    nginx.page("static/file.txt", "static")
    nginx.start(
        f"asgi_app {app}; asgi_lifespan off;",
        server=f"location /static/ {{ root {nginx.html}; }} location /wsgi {{ wsgi_app {wsgi}; }}",
    )
    client = nginx.client(timeout=15)
    assert client.get("/wsgi").text == "wsgi "
    assert client.get("/").text == "begun"
    nginx.wait_recorded("begun")
    begun = time.monotonic()
    for _ in range(50):
        assert client.get("/static/file.txt").text == "static"
        assert client.get("/wsgi").text == "wsgi "
    assert time.monotonic() - begun < 15
    nginx.open_gate("stop")
    nginx.wait_recorded("stopped")


@pytest.mark.parametrize(
    ("directive", "other"), [("asgi_app", "wsgi_app"), ("wsgi_app", "asgi_app")]
)
def test_each_says_when_the_other_is_meant(nginx, directive, other):
    wsgi = "def application(environ, start_response): ..."
    path = nginx.app("wrong", wsgi if directive == "asgi_app" else ASGI)
    nginx.start(f"{directive} {path};")
    assert nginx.client().get("/").status_code == 500
    wait_for(lambda: nginx.log_lines(f"use {other}"), what="a line that says so")
