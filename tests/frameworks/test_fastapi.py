"""FastAPI: dependencies, background tasks, streaming, uploads, lifespan state, WebSockets."""

from __future__ import annotations

import hashlib
import json

import pytest
from rawhttp import wait_for
from websockets.exceptions import ConnectionClosed, InvalidStatus


@pytest.fixture
def notes(served_asgi):
    """The notes behind nginx; arguments are those of `Nginx.start`."""
    return lambda **options: served_asgi("fastapi_notes", "notes.py:app", "NOTES", **options)


ANN = {"Authorization": "Bearer ann"}


@pytest.mark.parametrize("http2", [False, True])
def test_json_validation_and_dependencies(nginx, notes, http2):
    client = notes(http2=http2).client(http2=http2)
    answer = client.post("/notes", json={"text": "snow ❄", "stars": 3}, headers=ANN)
    assert answer.status_code == 201
    assert answer.json() == {"id": 1, "author": "ann", "text": "snow ❄", "stars": 3}
    assert answer.headers["x-path"] == "/notes"
    assert client.get("/notes/1").json() == {"text": "snow ❄", "stars": 3}
    assert client.get("/notes/2").json() == {"detail": "no such note"}
    refused = client.post("/notes", json={"text": "x"})
    assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
    wrong = client.post("/notes", json={"text": "", "stars": 9}, headers=ANN)
    assert wrong.status_code == 422
    assert {error["loc"][1] for error in wrong.json()["detail"]} == {"text", "stars"}
    assert client.get("/openapi.json").json()["info"]["title"] == "Notes"
    assert "swagger" in client.get("/docs").text


def test_background_tasks_run_after_the_response(nginx, notes, log_of):
    client = notes().client()
    for number in range(1, 4):
        assert client.post("/notes", json={"text": f"n{number}"}, headers=ANN).status_code == 201
    wait_for(lambda: "announced ann: n3" in log_of(), what="the last task")
    assert [f"announced ann: n{n}" in log_of() for n in (1, 2, 3)] == [True] * 3
    assert "counted 3" in log_of()


def test_a_path_operation_on_a_thread_and_a_dependency_with_an_end(nginx, notes, log_of):
    client = notes().client()
    for _ in range(5):
        answer = client.get("/sync").json()
        assert answer == {"main": False, "session": "session", "client": "127.0.0.1"}
    wait_for(lambda: log_of().count("session ends") == 5, what="their ends")


@pytest.mark.parametrize("target", ["/stream", "/threads"])
@pytest.mark.parametrize("http2", [False, True])
def test_streams(notes, target, http2):
    client = notes(http2=http2).client(http2=http2)
    for count in (0, 3, 100):
        text = client.get(target, params={"count": count}).text
        assert text == "".join(f"{number}\n" for number in range(count))


def test_a_client_that_leaves_a_stream(nginx, notes):
    notes()
    for target in ("/stream", "/threads"):
        connection = nginx.connect()
        connection.get(f"{target}?count=1000000")
        assert connection.until(b"100\n") is not None
        connection.reset()
    assert nginx.client().get("/stream").text == "0\n1\n2\n"
    assert not nginx.log_lines("[error]")


@pytest.mark.parametrize("http2", [False, True])
@pytest.mark.parametrize("size", [10, 3_000_000])
def test_uploads(notes, picture, http2, size):
    client = notes(http2=http2).client(http2=http2)
    data = (picture * (size // len(picture) + 1))[:size]
    expected = hashlib.sha256(data).hexdigest()
    for _ in range(2):
        answer = client.post("/upload", files={"file": ("é.bin", data)}).json()
        assert answer == {"name": "é.bin", "size": size, "sha256": expected}
        parts = (data[at : at + 10_001] for at in range(0, size, 10_001))
        assert client.post("/raw", content=parts).text == expected


def test_a_file_with_ranges(nginx, notes):
    client = notes().client()
    whole = client.get("/file")
    assert whole.content == (nginx.apps / "fastapi_notes" / "notes.py").read_bytes()
    part = client.get("/file", headers={"Range": "bytes=3-9"})
    assert (part.status_code, part.content) == (206, whole.content[3:10])
    again = client.get("/file", headers={"If-None-Match": whole.headers["etag"]})
    assert again.status_code in (200, 304)


def test_an_exception_is_a_500_with_its_traceback(nginx, notes):
    client = notes().client()
    assert client.get("/boom").status_code == 500
    line = nginx.wait_log("RuntimeError: of the handler")
    assert "[error]" in line
    assert 'request: "GET /boom ' in line
    assert client.get("/notes/1").status_code == 404


def test_lifespan_state_and_its_end(nginx, notes, log_of):
    client = notes().client()
    assert client.get("/notes/1").status_code == 404
    (worker,) = nginx.workers()
    nginx.quit()
    assert log_of() == [f"startup {worker}", f"shutdown {worker}"]


def test_mounted_below_a_prefix(nginx, served_asgi):
    served_asgi("fastapi_notes", "notes.py:app", "NOTES", location="asgi_script_name /api/v1;")
    client = nginx.client()
    assert client.get("/api/v1/stream").text == "0\n1\n2\n"
    assert "/api/v1/openapi.json" in client.get("/api/v1/docs").text


@pytest.mark.parametrize("tls", [False, True])
def test_a_websocket(nginx, notes, websocket, log_of, tls):
    notes(**({"listen": "ssl", "server": nginx.tls()} if tls else {}))
    client = nginx.client(tls=tls)
    with websocket("/live", tls=tls) as socket, websocket("/live", tls=tls) as other:
        socket.send("hello ❄")
        assert json.loads(socket.recv(timeout=60)) == {"echo": "hello ❄", "notes": 0}
        client.post("/notes", json={"text": "to all"}, headers=ANN)
        assert socket.recv(timeout=60) == other.recv(timeout=60) == "ann: to all"
        socket.close(4001, "bye")
        assert socket.close_code == 4001
    wait_for(lambda: "left 4001" in log_of(), what="the close code")
    wait_for(lambda: "left 1000" in log_of(), what="the other's")


def test_a_websocket_that_is_refused_and_one_that_is_closed(notes, websocket):
    notes()
    with pytest.raises(InvalidStatus) as refused, websocket("/members"):
        pass
    assert refused.value.response.status_code == 403
    with websocket("/members?token=secret", subprotocols=["other", "notes.v1"]) as socket:
        assert socket.subprotocol == "notes.v1"
        assert socket.recv(timeout=60) == "welcome"
        with pytest.raises(ConnectionClosed):
            socket.recv(timeout=60)
        assert (socket.close_code, socket.close_reason) == (4000, "that was all")
