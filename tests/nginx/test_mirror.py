"""mirror: an application that gets a copy of every request, and one that is copied."""

from __future__ import annotations

import pytest

COPY = """
    from testkit import gate, record

    def application(environ, start_response):
        if environ["QUERY_STRING"] == "wait":
            gate("copy")
        body = environ["wsgi.input"].read()
        words = (environ["REQUEST_METHOD"], environ["PATH_INFO"], environ["REQUEST_URI"],
                 environ.get("CONTENT_LENGTH"), environ.get("HTTP_X_MINE"), len(body))
        record("copies", " ".join(str(word) for word in words))
        if environ["REQUEST_URI"] == "/raise":
            raise ValueError("the copy is broken")
        start_response("500 Copy", [("Content-Type", "text/plain"), ("X-Copy", "1")])
        return [b"nobody sees this"]
"""
ORIGINAL = """
    from wsgiref.validate import validator

    @validator
    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [f"{environ['REQUEST_METHOD']} {len(environ['wsgi.input'].read(1 << 24))}".encode()]
"""


@pytest.fixture
def start(nginx, protocol):
    def begin(more: str = "", *, http2: bool = False, copied: str | None = None):
        copy = protocol.wrap("copy", COPY)
        original = protocol.wrap("original", ORIGINAL)
        nginx.start(
            server=f"""
            client_max_body_size 8m; {protocol.like_wsgi}
            location /copy {{ internal; {protocol}_app {copy}; }}
            location / {{ mirror /copy; {copied or f"{protocol}_app {original};"} {more} }}
            """,
            http2=http2,
        )
        return nginx.client(http2=http2)

    return begin


@pytest.mark.parametrize("http2", [False, True])
@pytest.mark.parametrize("size", [4, 100_000, 3_000_000])
def test_the_copy_has_the_body(nginx, start, http2, size):
    client = start(http2=http2)
    for count in range(1, 3):
        response = client.post("/x?y=1", content=b"x" * size, headers={"X-Mine": "a"})
        assert (response.status_code, response.text) == (200, f"POST {size}")
        assert "x-copy" not in response.headers
        # The mirror subrequest has the method of its request (ngx_http_mirror_module.c).
        line = f"POST /copy /x?y=1 {size} a {size}"
        assert nginx.wait_recorded("copies", count) == [line] * count


def test_without_the_body(nginx, start):
    client = start("mirror_request_body off;")
    assert client.post("/x", content=b"x" * 100_000).text == "POST 100000"
    method, path, uri, _length, _mine, size = nginx.wait_recorded("copies")[0].split(" ")
    assert (method, path, uri, size) == ("POST", "/copy", "/x", "0")


def test_a_chunked_body(nginx, start):
    client = start()
    response = client.post("/x", content=iter([b"x" * 5, b"y" * 50_000]))
    assert response.text == "POST 50005"
    assert nginx.wait_recorded("copies")[0].endswith(" 50005")


def test_several_copies(nginx, start):
    client = start("mirror /copy;")
    assert client.get("/x").text == "GET 0"
    assert len(nginx.wait_recorded("copies", 2)) == 2


def test_a_copy_that_fails_changes_nothing(nginx, start):
    client = start()
    for _ in range(2):
        response = client.get("/raise")
        assert (response.status_code, response.text) == (200, "GET 0")
    nginx.wait_log("the copy is broken")


def test_a_copy_that_is_late(nginx, start):
    client = start("mirror /copy?wait;")
    connection = nginx.connect()
    connection.get("/x")
    assert connection.response().body == b"GET 0"
    nginx.open_gate("copy")
    nginx.wait_recorded("copies", 2)
    assert client.get("/x").text == "GET 0"


def test_copies_of_requests_for_a_file(nginx, start):
    nginx.page("file.txt", "a file")
    client = start(copied=f"root {nginx.html};")
    assert client.get("/file.txt").text == "a file"
    assert nginx.wait_recorded("copies") == ["GET /copy /file.txt None None 0"]
