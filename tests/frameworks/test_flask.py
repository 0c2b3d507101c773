"""Flask: accounts, sessions, forms with a token, SQLite, uploads, downloads, JSON, streaming."""

from __future__ import annotations

import hashlib
import re

import pytest


@pytest.fixture
def board(served):
    """The notice board behind nginx, with its SQLite file in the data folder."""
    return served("flask_board", "board.py", "BOARD")


def sign_up(client, field, name):
    """Opens the page, registers, and logs in."""
    token = field(client.get("/").text, "token")
    answer = client.post("/register", data={"token": token, "name": name, "password": "s3cret"})
    assert answer.status_code == 302
    assert answer.headers["location"] == "/"
    answer = client.post("/login", data={"token": token, "name": name, "password": "s3cret"})
    assert answer.status_code == 303
    return token


def test_a_person_registers_logs_in_and_posts(board, field):
    client = board.client()
    token = sign_up(client, field, "Zoë")
    page = client.get("/").text
    assert "welcome, Zoë" in page
    assert "Logged in as Zoë" in page
    assert "welcome" not in client.get("/").text, "a flashed message is shown once"
    text = "snow ❄ & <b>ice</b>"
    answer = client.post("/notices", data={"token": token, "text": text}, follow_redirects=True)
    assert answer.status_code == 200
    assert "Zoë: snow ❄ &amp; &lt;b&gt;ice&lt;/b&gt;" in answer.text
    assert client.get("/api/notices").json() == [{"id": 1, "text": text}]
    assert client.get("/export.txt").text == text + "\n"
    assert board.client().get("/").text.count("Logged in") == 0, "sessions belong to one client"


def test_a_form_without_its_token_is_refused(board, field):
    client = board.client()
    token = sign_up(client, field, "ann")
    answer = client.post("/notices", data={"text": "forged"})
    assert answer.status_code == 400
    answer = board.client().post("/notices", data={"text": "forged", "token": token})
    assert answer.status_code == 400
    assert client.get("/api/notices").json() == []


def test_wrong_password_and_taken_name(board, field):
    client = board.client()
    token = sign_up(client, field, "ann")
    wrong = client.post("/login", data={"token": token, "name": "ann", "password": "?"})
    assert wrong.status_code == 403
    taken = client.post("/register", data={"token": token, "name": "ann", "password": "x"})
    assert taken.status_code == 409


@pytest.mark.parametrize("size", [0, 1, 70_000, 3_000_000])
def test_an_uploaded_file_comes_back(board, field, picture, size):
    client = board.client()
    token = sign_up(client, field, "ann")
    content = (picture * (size // len(picture) + 1))[:size]
    answer = client.post(
        "/notices",
        data={"token": token, "text": "look"},
        files={"file": ("pic ture.png", content, "image/png")},
        follow_redirects=True,
    )
    link = re.search(r'href="(/files/[^"]+)"', answer.text).group(1)
    answer = client.get(link)
    assert answer.status_code == 200
    assert answer.headers["content-length"] == str(size)
    assert "attachment" in answer.headers["content-disposition"]
    assert hashlib.sha256(answer.content).digest() == hashlib.sha256(content).digest()
    # A conditional request that Flask answers, through nginx's filters.
    again = client.get(link, headers={"If-None-Match": answer.headers["etag"]})
    assert again.status_code == 304
    assert again.content == b""


def test_too_large_an_upload_is_the_application_s_413(board, field):
    client = board.client()
    token = sign_up(client, field, "ann")
    answer = client.post(
        "/notices", data={"token": token, "text": "x"}, files={"file": ("big", b"0" * 9_000_000)}
    )
    assert answer.status_code == 413
    assert client.get("/").status_code == 200


def test_json_both_ways_and_chunked(board):
    client = board.client()
    document = {"a": [1, 2.5, None, "ü"], "b": {"c": True}}
    answer = client.post("/api/echo", json=document)
    assert answer.json() == {"received": document, "who": None}

    def pieces():
        yield b'{"a"'
        yield b': "chunk'
        yield b'ed"}'

    answer = client.post(
        "/api/echo", content=pieces(), headers={"Content-Type": "application/json"}
    )
    assert answer.json()["received"] == {"a": "chunked"}
    assert (
        client.post(
            "/api/echo", content=b"{", headers={"Content-Type": "application/json"}
        ).status_code
        == 400
    )


def test_head_missing_page_wrong_method_and_exception(board):
    client = board.client()
    answer = client.head("/")
    assert answer.status_code == 200
    assert answer.content == b""
    answer = client.get("/nowhere/ü")
    assert answer.status_code == 404
    assert "There is nothing at /nowhere/ü." in answer.text
    answer = client.delete("/")
    assert answer.status_code == 405
    assert "GET" in answer.headers["allow"]
    answer = client.get("/boom")
    assert answer.status_code == 500
    board.wait_log("RuntimeError: the board fell down")
    assert client.get("/").status_code == 200


def test_an_application_factory_is_a_target(nginx, deploy):
    place = deploy("flask_board")
    nginx.start(
        "wsgi_app board:create_app();",
        http=f"""
            python_path {place.folder};
            python_env BOARD_DATA={place.data} BOARD_SECRET=not-a-real-secret;
        """,
    )
    answer = nginx.client().get("/api/notices")
    assert answer.json() == []
