"""Falcon: resources, hooks, media, multipart, raw streams both ways, 201, 204 and cookies."""

from __future__ import annotations

import hashlib

import pytest

KEY = {"Authorization": "Bearer let-me-in"}


STREAMS = pytest.mark.threads("wsgi_request_buffering off needs a thread that waits for the body")


@pytest.fixture(
    params=[pytest.param("on", id="buffered"), pytest.param("off", id="unbuffered", marks=STREAMS)]
)
def files(request, nginx, deploy):
    """The store of files, with buffered and with streamed request bodies."""
    place = deploy("falcon_files")
    nginx.start(
        f"""
            wsgi_app {place.folder}/files.py:create();
            wsgi_request_buffering {request.param};
            client_max_body_size 16m;
        """,
        http=f"python_env FILES_DATA={place.data} FILES_KEY=let-me-in;",
    )
    return nginx


def test_put_get_and_delete(files, picture):
    client = files.client()
    assert client.put("/files/a.bin", content=picture).status_code == 401
    answer = client.put("/files/a.bin", content=picture, headers=KEY)
    assert answer.status_code == 201
    assert answer.json() == {"size": len(picture)}
    assert answer.headers["location"] == files.url("/files/a.bin")
    answer = client.get("/files/a.bin")
    assert answer.content == picture
    assert answer.headers["content-length"] == str(len(picture))
    assert client.get("/files?prefix=a").json() == [{"name": "a.bin", "size": len(picture)}]
    assert client.get("/files", params={"prefix": "b"}).json() == []
    answer = client.delete("/files/a.bin", headers=KEY)
    assert answer.status_code == 204
    assert answer.content == b""
    answer = client.get("/files/a.bin")
    assert answer.status_code == 404
    assert answer.json()["title"] == "no such file"


def test_an_unauthorised_upload_leaves_the_connection_usable(files, picture):
    client = files.client()
    for _ in range(3):
        answer = client.put("/files/a.bin", content=picture * 4)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        assert client.get("/files").json() == []


def test_multipart(files, picture):
    contents = {"one": picture, "two": picture[::-1] * 3}
    answer = files.client().post(
        "/files",
        files={name: (f"{name}.png", data) for name, data in contents.items()},
        headers=KEY,
    )
    assert answer.status_code == 201
    assert answer.json() == [
        {"field": name, "name": f"{name}.png.bin", "sha256": hashlib.sha256(data).hexdigest()}
        for name, data in contents.items()
    ]
    for name, data in contents.items():
        assert files.client().get(f"/files/{name}.png.bin").content == data


def test_cookies_and_json(files):
    client = files.client()
    assert [client.get("/visits").json()["visits"] for _ in range(3)] == [1, 2, 3]
    answer = client.post("/visits", json={"b": 1, "a": 2})
    assert answer.json() == {"keys": ["a", "b"]}
    assert client.post("/visits", content=b"{").status_code in (400, 415)
    assert client.request("PATCH", "/visits").status_code == 405
