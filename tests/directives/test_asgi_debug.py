"""asgi_debug validate: strict checks of ASGI's messages. The rest of it is wsgi_debug's."""

from __future__ import annotations

import re

import pytest

SOURCE = """
    async def app(scope, receive, send):
        if scope["type"] != "http":
            raise ValueError("only http")
        query = scope["query_string"].decode()
        start = {"type": "http.response.start", "status": 200, "headers": [(b"a", b"1")]}
        body = {"type": "http.response.body", "body": b"good"}
        if query == "status":
            start["status"] = "200"
        if query == "headers":
            start["headers"] = [("a", "1")]
        if query == "empty":
            return
        if query == "body":
            return await send(body)
        if query == "unknown":
            start["more"] = 1
        if query == "upload":
            size = 0
            while True:
                message = await receive()
                size += len(message["body"])
                if not message["more_body"]:
                    break
            body["body"] = str(size).encode()
        await send(start)
        if query == "late":
            body["body"] = "text"
        await send(body)
        if query == "twice":
            await send(body)
"""


@pytest.fixture
def client(nginx):
    app = nginx.app("debug", SOURCE)
    nginx.start(f"asgi_app {app}; asgi_debug validate; asgi_lifespan auto;")
    return nginx.client()


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("status", "http.response.start: 'status' is str '200', not int (ASGI, "),
        ("headers", "http.response.start: 'headers' contains tuple ('a', '1') (ASGI, "),
        ("late", "http.response.body: 'body' is str 'text', not bytes (ASGI, "),
        ("body", "http.response.body was sent, but the response has not started (ASGI, "),
        ("empty", "the application has returned, but the response has not started (ASGI, "),
    ],
)
def test_validate_names_the_message_the_section_and_the_line(nginx, client, query, shown):
    response = client.get(f"/?{query}")
    assert response.status_code == 500
    assert f"ValidationError: {shown}" in response.text
    assert "because asgi_debug is on" in response.text
    place = re.search(r"in (\S+/debug\.py):(\d+)$", response.text, re.M)
    assert place
    line = (nginx.apps / "debug.py").read_text().splitlines()[int(place[2]) - 1]
    assert ("async def app" if query == "empty" else "await send(") in line
    assert nginx.wait_log(f"ValidationError: {shown}")


def test_validate_logs_what_comes_after_the_response(nginx, client):
    assert client.get("/?twice").text == "good"
    shown = "http.response.body was sent, but the response is complete"
    assert nginx.wait_log(f"ValidationError: {shown}")


def test_validate_leaves_a_good_application_alone(nginx, client):
    for _ in range(3):
        assert client.get("/").text == "good"
    assert client.post("/?upload", content=b"x" * 100_000).text == "100000"


def test_validate_logs_unknown_fields_once(nginx, client):
    for _ in range(3):
        assert client.get("/?unknown").text == "good"
    assert nginx.wait_log("http.response.start: 'more' is unknown (ASGI, ")
    assert len(nginx.log_lines("'more' is unknown")) == 1
