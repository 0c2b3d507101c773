"""Pyramid: routes, a signed session, its CSRF check, uploads, renderers, SQLite."""

from __future__ import annotations

import pytest


@pytest.fixture
def polls(served):
    """The polls by a factory, loaded from its file."""
    return served("pyramid_polls", "polls.py:main()", "POLLS")


def test_a_poll_is_made_voted_on_and_counted(polls, field):
    client = polls.client()
    page = client.get("/").text
    assert "visit 1" in page
    token = field(page, "csrf_token")
    answer = client.post("/", data={"csrf_token": token, "question": "Tea or <coffee>?"})
    assert answer.status_code == 302
    poll = answer.headers["location"]
    assert poll == polls.url("/polls/1"), "the URL is built from SERVER_* and HTTP_HOST"
    assert "Tea or &lt;coffee&gt;?" in client.get(poll).text
    for choice in ["tea", "coffee", "tea"]:
        answer = client.post(poll, data={"csrf_token": token, "choice": choice})
        assert answer.status_code == 302
    answer = client.get(poll + "/results.json")
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == {"coffee": 1, "tea": 2}
    assert "visit 2" in client.get("/").text


def test_a_token_is_needed(polls, field):
    client = polls.client()
    token = field(client.get("/").text, "csrf_token")
    assert client.post("/", data={"question": "?"}).status_code == 400
    assert polls.client().post("/", data={"csrf_token": token, "question": "?"}).status_code == 400
    headers = {"X-CSRF-Token": token}
    assert client.post("/", data={"question": "?"}, headers=headers).status_code == 302


def test_a_picture_comes_back(polls, field, picture):
    client = polls.client()
    token = field(client.get("/").text, "csrf_token")
    client.post("/", data={"csrf_token": token, "question": "Which?"})
    content = picture * 6
    answer = client.post(
        "/polls/1/picture",
        data={"csrf_token": token},
        files={"picture": ("p.png", content, "image/png")},
    )
    assert answer.status_code == 302
    answer = client.get("/polls/1/picture")
    assert answer.content == content
    assert answer.headers["content-length"] == str(len(content))


def test_missing_pages(polls):
    client = polls.client()
    assert client.get("/polls/7").status_code == 404
    assert "no such page" in client.get("/nowhere").text
    assert client.head("/").content == b""
