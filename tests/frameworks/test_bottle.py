"""Bottle: routes, templates, signed cookies, uploads, static files with ranges, SQLite."""

from __future__ import annotations

import pytest


@pytest.fixture
def wiki(served):
    """The wiki at the root."""
    return served("bottle_wiki", "wiki.py", "WIKI")


def test_a_page_is_written_and_read(wiki, field):
    client = wiki.client(follow_redirects=True)
    page = client.get("/")
    assert page.url.path == "/page/Start"
    assert "no page Start yet" in page.text
    token = field(page.text, "token")
    text = "Übung <macht> den Meister"
    answer = client.post("/page/Start", data={"token": token, "text": text})
    assert answer.status_code == 200
    assert "<article>Übung &lt;macht&gt; den Meister</article>" in answer.text
    assert client.get("/pages.json").json() == {"Start": text}
    client.post("/page/Zwei Wörter", data={"token": token, "text": "x"})
    assert "Zwei Wörter" in client.get("/pages.json").json()


def test_a_token_is_needed(wiki, field):
    client = wiki.client()
    token = field(client.get("/page/A").text, "token")
    assert client.post("/page/A", data={"text": "forged"}).status_code == 403
    answer = wiki.client().post("/page/A", data={"text": "forged", "token": token})
    assert answer.status_code == 403
    assert client.get("/pages.json").json() == {}


def test_an_attachment_comes_back_whole_and_in_part(wiki, field, picture):
    client = wiki.client()
    token = field(client.get("/page/A").text, "token")
    answer = client.post(
        "/attachments",
        data={"token": token},
        files={"file": ("Bild.png", picture, "image/png")},
    )
    assert answer.status_code == 201
    url = answer.json()["url"]
    answer = client.get(url)
    assert answer.content == picture
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["content-length"] == str(len(picture))
    # Bottle handles Range itself: the range must be cut only once.
    part = client.get(url, headers={"Range": "bytes=1000-1999"})
    assert part.status_code == 206
    assert part.headers["content-range"] == f"bytes 1000-1999/{len(picture)}"
    assert part.content == picture[1000:2000]
    unchanged = client.get(url, headers={"If-Modified-Since": answer.headers["last-modified"]})
    assert unchanged.status_code == 304


def test_mounted_below_a_prefix(nginx, deploy):
    place = deploy("bottle_wiki")
    nginx.page("index.html", "the front page")
    nginx.start(
        server=f"location /wiki {{ wsgi_app {place.folder}/wiki.py; wsgi_script_name /wiki; }}",
        http=f"python_env WIKI_DATA={place.data} WIKI_SECRET=not-a-real-secret;",
    )
    client = nginx.client()
    assert client.get("/").text == "the front page"
    assert "no page A yet" in client.get("/wiki/page/A").text
    answer = client.get("/wiki/")
    assert answer.status_code == 302
    assert answer.headers["location"] == nginx.url("/wiki/page/Start"), "built from SCRIPT_NAME"
    assert client.get("/wiki/nowhere").status_code == 404
