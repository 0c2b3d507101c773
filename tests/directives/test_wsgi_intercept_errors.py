"""wsgi_intercept_errors, asgi_*: nginx's error_page in place of the application's own page."""

from __future__ import annotations

import pytest

SOURCE = """
    from testkit import record

    async def answer(request):
        headers = [("Content-Type", "text/plain"), ("X-Mine", "1"), ("Location", "/there")]
        try:
            await request.start(int(request.query or "200"), headers)
            await request.send(b"from the ")
            await request.send(b"application")
        finally:
            record("closed")
"""
PAGES = """
    error_page 404 302 /page;
    error_page 503 = @app;
    location /page { return 200 page; }
"""


@pytest.fixture
def start(nginx, protocol):
    app = protocol.app("errors", SOURCE)
    handler = protocol.app(
        "handler",
        """
        async def answer(request):
            await request.respond(f"handler {request.method} {request.path}".encode())
        """,
    )
    on = f"{protocol}_intercept_errors on;"

    def begin(more: str = on, *, http2: bool = False, server: str = ""):
        pages = f"{PAGES}\nlocation @app {{ {protocol}_app {handler}; }}\n"
        nginx.start(
            f"{protocol}_app {app}; {more}",
            http="python_thread_pool default threads=1; client_max_body_size 8m;",
            http2=http2,
            server=pages + server.replace("APP", str(app)),
        )
        return nginx.client(http2=http2)

    return begin


@pytest.mark.parametrize("http2", [False, True])
def test_statuses_that_error_page_names(nginx, start, http2):
    client = start(http2=http2)
    for count in range(1, 4):
        response = client.get("/?404")
        assert (response.status_code, response.text) == (404, "page")
        assert "x-mine" not in response.headers
        nginx.wait_recorded("closed", count)
    redirected = client.get("/?302")
    assert (redirected.status_code, redirected.text) == (302, "page")
    assert redirected.headers.get("location") is None
    assert client.get("/?200").text == "from the application"


def test_other_statuses_are_the_application_s(start):
    client = start()
    response = client.get("/?410")
    assert (response.status_code, response.text) == (410, "from the application")
    assert response.headers["x-mine"] == "1"


def test_off_is_the_default(start):
    client = start("")
    response = client.get("/?404")
    assert (response.status_code, response.text) == (404, "from the application")


def test_an_application_as_the_handler(start):
    client = start()
    response = client.post("/x?503", content=b"a body")
    assert (response.status_code, response.text) == (200, "handler POST /x")
    assert client.get("/?404").text == "page"


@pytest.mark.parametrize("buffering", ["on", "off"])
def test_with_an_upload_that_nobody_reads(protocol, start, buffering):
    client = start(f"{protocol}_intercept_errors on; {protocol}_request_buffering {buffering};")
    for _ in range(3):
        response = client.post("/?404", content=b"x" * 2_000_000)
        assert (response.status_code, response.text) == (404, "page")
    assert client.get("/").text == "from the application"


def test_head(start):
    client = start()
    for _ in range(2):
        response = client.head("/?404")
        assert (response.status_code, response.content) == (404, b"")


def test_inheritance(protocol, start):
    client = start(
        f"{protocol}_intercept_errors off;",
        server=f"{protocol}_intercept_errors on; location /on {{ {protocol}_app APP; }}",
    )
    assert client.get("/?404").text == "from the application"
    assert client.get("/on?404").text == "page"


def test_the_challenge_of_a_401_stays(nginx, protocol):
    app = protocol.app(
        "login",
        """
        async def answer(request):
            headers = [("WWW-Authenticate", 'Basic realm="shop"'), ("X-Mine", "1")]
            headers.append(("Content-Type", "text/plain"))
            await request.respond(b"from the application", 401, headers)
        """,
    )
    nginx.start(
        f"{protocol}_app {app}; {protocol}_intercept_errors on;",
        server='error_page 401 /login; location = /login { return 200 "please log in"; }',
    )
    response = nginx.client().get("/")
    assert (response.status_code, response.text) == (401, "please log in")
    assert response.headers["www-authenticate"] == 'Basic realm="shop"'
    assert "x-mine" not in response.headers
