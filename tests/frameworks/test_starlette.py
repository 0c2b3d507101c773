"""Starlette: forms, files, events, sessions, gzip, disconnects, WebSockets."""

from __future__ import annotations

import hashlib
import json

import pytest
from rawhttp import wait_for
from websockets.exceptions import ConnectionClosed, InvalidStatus


@pytest.fixture
def gallery(served_asgi):
    return lambda **options: served_asgi(
        "starlette_gallery", "gallery.py:app", "GALLERY", **options
    )


def test_sessions_state_and_urls(nginx, gallery):
    gallery()
    ann, ben = nginx.client(), nginx.client()
    assert [client.get("/").json()["seen"] for client in (ann, ann, ben, ann)] == [1, 2, 1, 3]
    answer = ann.get("/?a=%C3%A9").json()
    assert answer["visits"] == 5
    assert answer["same_worker"] is True
    assert answer["url"] == nginx.url("/?a=%C3%A9")
    assert answer["next"] == nginx.url("/pictures/a.bin")


@pytest.mark.parametrize("http2", [False, True])
def test_a_form_with_a_file_and_a_background_task(nginx, gallery, log_of, picture, http2):
    client = gallery(http2=http2).client(http2=http2)
    data = picture * 20
    answer = client.post("/pictures", files={"picture": ("a.bin", data)})
    assert answer.status_code == 303
    assert client.get(answer.headers["location"]).content == data
    wait_for(lambda: f"indexed a.bin {len(data)}" in log_of(), what="the task")


def test_file_responses(nginx, gallery, picture):
    client = gallery().client()
    (nginx.data / "a.bin").write_bytes(picture)
    whole = client.get("/pictures/a.bin", headers={"Accept-Encoding": "identity"})
    assert (whole.content, whole.headers["content-length"]) == (picture, str(len(picture)))
    for asked, expected in (("0-9", picture[:10]), ("-5", picture[-5:])):
        part = client.get("/pictures/a.bin", headers={"Range": f"bytes={asked}"})
        assert (part.status_code, part.content) == (206, expected)
    several = client.get("/pictures/a.bin", headers={"Range": "bytes=0-1,5-6"})
    assert several.status_code == 206
    assert "multipart/byteranges" in several.headers["content-type"]
    assert client.get("/static/gallery.py").text.startswith('"""A gallery')
    assert client.head("/pictures/a.bin").headers["content-length"] == str(len(picture))
    assert not nginx.log_lines("[error]")


def test_gzip_of_its_own(gallery):
    client = gallery().client()
    answer = client.get("/long")
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.text == "long " * 1000


def test_events_until_the_client_leaves(nginx, gallery, log_of):
    gallery()
    connection = nginx.connect()
    connection.get("/events")
    assert connection.head().get("Content-Type").startswith("text/event-stream")
    for number in range(5):
        assert connection.until(f"data: event {number}\n\n".encode()) is not None
    connection.close()
    wait_for(lambda: "events ended" in log_of(), what="the end of the events")
    assert not nginx.log_lines("[error]")


def test_is_disconnected(nginx, gallery, log_of):
    gallery()
    connection = nginx.connect()
    connection.get("/slow")
    wait_for(lambda: "slow began" in log_of(), what="the handler")
    connection.close()
    wait_for(lambda: "slow noticed" in log_of(), what="the disconnect")


@pytest.mark.parametrize("chunked", [False, True])
def test_a_streamed_upload(gallery, picture, chunked):
    client = gallery().client()
    data = picture * 30
    content = (data[at : at + 65_537] for at in range(0, len(data), 65_537)) if chunked else data
    assert client.post("/digest", content=content).text == hashlib.sha256(data).hexdigest()


def test_an_echo(nginx, gallery, websocket, log_of):
    gallery()
    with websocket("/echo") as socket:
        assert socket.response.headers["x-room"] == "echo"
        for data in (b"abc", b"", bytes(range(256)), b"x" * 1_000_000):
            socket.send(data)
            assert socket.recv(timeout=60) == data[::-1]
        assert socket.ping().wait(60)
    wait_for(lambda: "echo ended" in log_of(), what="its end")


def test_a_denial_response(gallery, websocket):
    gallery()
    with pytest.raises(InvalidStatus) as refused, websocket("/refuse"):
        pass
    response = refused.value.response
    assert response.status_code == 429
    assert json.loads(response.body) == {"reason": "full"}


def test_text_for_an_application_that_wants_bytes(nginx, gallery, websocket):
    gallery()
    with websocket("/echo") as socket:
        socket.send("text")
        with pytest.raises(ConnectionClosed):
            socket.recv(timeout=60)
    assert "[error]" in nginx.wait_log("KeyError")


def test_the_lifespan_ends(nginx, gallery, log_of):
    assert gallery().client().get("/").status_code == 200
    nginx.quit()
    assert log_of()[-1] == "closed"
