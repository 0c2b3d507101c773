"""Quart: forms, sessions, uploads, events, background tasks, a WebSocket."""

from __future__ import annotations

import hashlib

import pytest
from rawhttp import wait_for


@pytest.fixture
def board(served_asgi):
    return lambda **options: served_asgi("quart_board", "board.py:app", "BOARD", **options)


@pytest.mark.parametrize("http2", [False, True])
def test_people_log_in_and_post(board, log_of, http2):
    client = board(http2=http2).client(http2=http2, follow_redirects=True)
    assert client.post("/notices", json={"text": "x"}).status_code == 403
    assert client.post("/login", data={"name": "Zoë"}).text == "<ul><li>opened</li></ul>Zoë"
    answer = client.post("/notices", json={"text": "<b>ice</b>"})
    assert (answer.status_code, answer.json()) == (201, {"count": 2})
    assert "Zoë: &lt;b&gt;ice&lt;/b&gt;" in client.get("/").text
    wait_for(lambda: "counted 2" in log_of(), what="the background task")


def test_uploads_and_events(board, picture):
    client = board().client()
    data = picture * 10
    expected = hashlib.sha256(data).hexdigest()
    answer = client.post("/upload", files={"file": ("a.bin", data)}).json()
    assert answer == {"name": "a.bin", "sha256": expected}
    parts = (data[at : at + 65_537] for at in range(0, len(data), 65_537))
    assert client.post("/raw", content=parts).text == expected
    assert client.get("/events").text == "".join(f"data: {number}\n\n" for number in range(5))


def test_an_exception(nginx, board):
    client = board().client()
    assert client.get("/boom").status_code == 500
    assert 'request: "GET /boom ' in nginx.wait_log("RuntimeError: of the view")


def test_notices_reach_all_sockets(nginx, board, websocket, log_of):
    board()
    client = nginx.client()
    client.post("/login", data={"name": "ann"})
    with websocket("/live") as one, websocket("/live") as two:
        for number in range(3):
            client.post("/notices", json={"text": str(number)})
            assert one.recv(timeout=60) == two.recv(timeout=60) == f"ann: {number}"
    wait_for(lambda: log_of().count("left") == 2, what="their ends")
    nginx.quit()
    assert log_of()[-1] == "closed"
