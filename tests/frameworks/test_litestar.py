"""Litestar: data classes, dependencies, streams, events, files, a WebSocket listener."""

from __future__ import annotations

import hashlib

import pytest
from rawhttp import wait_for


@pytest.fixture
def books(served_asgi):
    return lambda **options: served_asgi("litestar_books", "books.py:app", "BOOKS", **options)


@pytest.mark.parametrize("http2", [False, True])
def test_books(nginx, books, log_of, http2):
    client = books(http2=http2).client(http2=http2)
    first = {"title": "First", "pages": 100, "tags": []}
    second = {"title": "Zwölf", "pages": 12, "tags": ["a", "b"]}
    assert client.get("/books").json() == [first]
    answer = client.post("/books", json=second)
    assert (answer.status_code, answer.json()) == (201, second)
    assert client.get("/books/1").json() == second
    assert client.get("/books", params={"longer_than": 50}).json() == [first]
    assert client.get("/books/7").status_code == 404
    assert client.post("/books", json={"title": "x", "pages": "many"}).status_code == 400
    wait_for(lambda: "indexed Zwölf" in log_of(), what="the background task")
    assert client.get("/sync").text != "MainThread"
    assert "Litestar" in client.get("/schema/openapi.json").text
    nginx.quit()
    assert log_of()[-1] == "closed"


def test_uploads_streams_events_and_files(nginx, books, picture):
    client = books().client()
    data = picture * 10
    expected = hashlib.sha256(data).hexdigest()
    answer = client.post("/upload", files={"data": ("a.bin", data)})
    assert answer.json() == {"name": "a.bin", "sha256": expected}
    parts = (data[at : at + 65_537] for at in range(0, len(data), 65_537))
    assert client.post("/raw", content=parts).text == expected
    assert client.get("/stream").text == "0\n1\n2\n3\n4\n"
    lines = client.get("/events").text.split()
    assert lines == [part for number in range(5) for part in ("data:", str(number))]
    answer = client.get("/file")
    assert answer.content == (nginx.apps / "litestar_books" / "books.py").read_bytes()


def test_a_listener(books, websocket):
    books()
    with websocket("/upper") as socket:
        for text in ("snow ❄", "", "a" * 70_000):
            socket.send(text)
            assert socket.recv(timeout=60) == text.upper()
