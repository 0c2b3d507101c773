"""asgi_file_wrapper: the extensions by which nginx sends an application's files."""

from __future__ import annotations

import pytest

SOURCE = """
    FILE = {file!r}
    EXTENSIONS = ("http.response.pathsend", "http.response.zerocopysend")

    async def application(scope, receive, send):
        if scope["type"] != "http":
            raise NotImplementedError(scope["type"])
        there = [name in scope["extensions"] for name in EXTENSIONS]
        headers = [(b"content-type", b"text/plain"), (b"x-there", str(there).encode())]
        await send({{"type": "http.response.start", "status": 200, "headers": headers}})
        if scope["query_string"] == b"path":
            await send({{"type": "http.response.pathsend", "path": FILE}})
        elif scope["query_string"] == b"zero":
            with open(FILE, "rb") as file:
                message = {{"type": "http.response.zerocopysend", "file": file}}
                await send(message | {{"offset": 2, "count": 5}})
        else:
            await send({{"type": "http.response.body", "body": b"in parts"}})
"""


@pytest.fixture
def app(nginx):
    return nginx.app("files", SOURCE.format(file=str(nginx.page("file.txt", "0123456789"))))


@pytest.mark.parametrize("setting", ["", "asgi_file_wrapper on;"])
def test_on(nginx, app, setting):
    nginx.start(f"asgi_app {app}; {setting}")
    client = nginx.client()
    assert client.get("/").headers["x-there"] == "[True, True]"
    assert client.get("/?path").text == "0123456789"
    assert client.get("/?zero").text == "23456"
    ranged = client.get("/?path", headers={"Range": "bytes=3-4"})
    assert (ranged.status_code, ranged.text) == (206, "34")


def test_off_takes_both_away(nginx, app):
    nginx.start(f"asgi_app {app}; asgi_file_wrapper off;")
    client = nginx.client()
    response = client.get("/")
    assert (response.headers["x-there"], response.text) == ("[False, False]", "in parts")
    for query in ("path", "zero"):
        assert client.get(f"/?{query}").status_code == 500
    assert client.get("/").text == "in parts"


def test_inheritance(nginx, app):
    nginx.start(
        f"asgi_app {app};",
        http="asgi_file_wrapper off;",
        server=f"location /on {{ asgi_app {app}; asgi_file_wrapper on; }}",
    )
    client = nginx.client()
    assert client.get("/").headers["x-there"] == "[False, False]"
    assert client.get("/on").headers["x-there"] == "[True, True]"
