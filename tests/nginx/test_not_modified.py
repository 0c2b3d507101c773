"""Conditional requests: nginx compares them with the application's own ETag and Last-Modified.

With uwsgi_pass nginx leaves them to the application unless it caches. Here nginx compares them, and
the application may also answer 304 itself.
"""

from __future__ import annotations

import pytest

SOURCE = """
    from urllib.parse import parse_qs

    from testkit import Blocks

    def application(environ, start_response):
        query = {k: v[0] for k, v in parse_qs(environ["QUERY_STRING"]).items()}
        headers = [("Content-Type", "text/plain"), ("Set-Cookie", "a=b")]
        headers.append(("Cache-Control", "private"))
        for key, name in (("etag", "ETag"), ("modified", "Last-Modified"), ("vary", "Vary")):
            if key in query:
                headers.append((name, query[key]))
        body = b"hello " * int(query.get("times", "1"))
        if "length" in query:
            headers.append(("Content-Length", str(len(body))))
        start_response(query.get("status", "200 OK"), headers)
        return Blocks([body[i : i + 65536] for i in range(0, len(body), 65536)])
"""
DATE = "Thu, 01 Jan 2015 00:00:00 GMT"
BEFORE = "Wed, 31 Dec 2014 23:59:59 GMT"
AFTER = "Thu, 01 Jan 2015 00:00:01 GMT"


@pytest.fixture
def start(nginx, protocol):
    def begin(more: str = "", *, http2: bool = False, app: str = SOURCE):
        path = protocol.wrap("validators", app)
        nginx.start(
            f"{protocol}_app {path}; {more}",
            http="python_thread_pool default threads=1;",
            http2=http2,
        )
        return nginx.client(http2=http2)

    return begin


@pytest.mark.parametrize("http2", [False, True])
def test_what_of_a_304_is_sent(nginx, start, http2):
    client = start(http2=http2)
    target = {"params": {"etag": '"a"', "modified": DATE, "vary": "Cookie", "length": "1"}}
    for count in range(1, 4):
        response = client.get("/", **target, headers={"If-None-Match": '"a"'})
        assert (response.status_code, response.content) == (304, b"")
        headers = response.headers
        assert headers["etag"] == '"a"'
        assert headers["last-modified"] == DATE
        assert headers["vary"] == "Cookie"
        assert headers["cache-control"] == "private"
        assert headers["set-cookie"] == "a=b"
        assert "content-type" not in headers
        assert "content-length" not in headers
        assert "transfer-encoding" not in headers
        # The pool's only thread is free again, and the iterable is closed.
        nginx.wait_recorded("closed", count)


@pytest.mark.parametrize(
    ("tag", "asked", "status"),
    [
        ('"a"', '"a"', 304),
        ('"a"', '"b"', 200),
        ('"a"', '"b", "c" ,"a"', 304),
        ('"a"', "*", 304),
        ('"a"', 'W/"a"', 304),
        ('W/"a"', 'W/"a"', 304),
        ('W/"a"', '"a"', 304),
        ('"a"', '"A"', 200),
        ('"a,b"', '"a,b"', 304),
        ('"ab"', '"a"', 200),
    ],
)
def test_if_none_match(start, tag, asked, status):
    response = start().get("/", params={"etag": tag}, headers={"If-None-Match": asked})
    assert (response.status_code, response.text) == (status, "hello " if status == 200 else "")
    assert response.headers["etag"] == tag


@pytest.mark.parametrize(
    ("tag", "asked", "status"),
    [('"a"', '"a"', 200), ('"a"', '"b"', 412), ('"a"', "*", 200), ('"a"', 'W/"a"', 412)],
)
def test_if_match(start, tag, asked, status):
    response = start().get("/", params={"etag": tag}, headers={"If-Match": asked})
    assert response.status_code == status


@pytest.mark.parametrize(
    ("more", "asked", "status"),
    [
        ("", DATE, 304),
        ("", BEFORE, 200),
        ("", AFTER, 200),
        ("if_modified_since before;", AFTER, 304),
        ("if_modified_since before;", BEFORE, 200),
        ("if_modified_since off;", DATE, 200),
        ("", "nonsense", 200),
    ],
)
def test_if_modified_since(start, more, asked, status):
    response = start(more).get("/", params={"modified": DATE}, headers={"If-Modified-Since": asked})
    assert response.status_code == status


@pytest.mark.parametrize(("asked", "status"), [(DATE, 200), (AFTER, 200), (BEFORE, 412)])
def test_if_unmodified_since(start, asked, status):
    response = start().get("/", params={"modified": DATE}, headers={"If-Unmodified-Since": asked})
    assert response.status_code == status


@pytest.mark.parametrize(("tag", "status"), [('"a"', 304), ('"b"', 200)])
def test_the_tag_goes_before_the_date(start, tag, status):
    headers = {"If-None-Match": tag, "If-Modified-Since": DATE}
    response = start().get("/", params={"etag": '"a"', "modified": DATE}, headers=headers)
    assert response.status_code == status


@pytest.mark.parametrize("headers", [{"If-None-Match": '"a"'}, {"If-Modified-Since": DATE}])
def test_a_response_without_validators(start, headers):
    response = start().get("/", headers=headers)
    assert (response.status_code, response.text) == (200, "hello ")


@pytest.mark.parametrize("status", ["201 Made", "404 Not Found", "206 Partial Content"])
def test_other_statuses_are_left_alone(start, status):
    headers = {"If-None-Match": '"a"', "If-Match": '"b"'}
    response = start().get("/", params={"etag": '"a"', "status": status}, headers=headers)
    assert (response.status_code, response.text) == (int(status[:3]), "hello ")


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("name", ["If-Match", "If-None-Match", "If-Unmodified-Since"])
def test_what_has_been_done_is_not_denied(start, method, name):
    # The application has compared the condition with the state before; its answer has the state
    # afterwards. A 412 would mean that nothing has been done.
    condition = {"If-Match": '"old"', "If-None-Match": '"new"', "If-Unmodified-Since": BEFORE}
    response = start().request(
        method,
        "/",
        params={"etag": '"new"', "modified": DATE},
        headers={name: condition[name]},
        content=b"body",
    )
    assert (response.status_code, response.text) == (200, "hello ")
    assert response.headers["etag"] == '"new"'


def test_head(start):
    client = start()
    target = {"params": {"etag": '"a"'}}
    assert client.head("/", **target, headers={"If-None-Match": '"a"'}).status_code == 304
    assert client.head("/", **target, headers={"If-None-Match": '"b"'}).status_code == 200


def test_a_large_body_that_nobody_wants(nginx, protocol, start):
    client = start(f"{protocol}_buffering off; {protocol}_buffer_size 64k;")
    target = {"params": {"etag": '"a"', "times": "1000000"}}
    for count in range(1, 4):
        response = client.get("/", **target, headers={"If-None-Match": '"a"'})
        assert (response.status_code, response.content) == (304, b"")
        nginx.wait_recorded("closed", count)
    assert client.get("/").text == "hello "


def test_the_application_s_own_304(start):
    client = start()
    for length in ({}, {"length": "1"}):
        target = {"params": {"status": "304 Not Modified", "etag": '"a"', "times": "0"} | length}
        response = client.get("/", **target, headers={"If-None-Match": '"a"'})
        assert (response.status_code, response.content) == (304, b"")
        assert response.headers["etag"] == '"a"'


def test_a_compressed_page(start):
    client = start("gzip on; gzip_min_length 1; gzip_types text/plain;")
    target = {"params": {"etag": '"a"'}}
    first = client.get("/", **target)
    assert first.headers["content-encoding"] == "gzip"
    assert first.headers["etag"] == 'W/"a"'
    again = client.get("/", **target, headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    # If-Match compares strongly, so the weakened validator does not match.
    strong = client.get("/", **target, headers={"If-Match": first.headers["etag"]})
    assert strong.status_code == 412


def test_error_page_of_a_412(nginx, protocol):
    app = protocol.wrap("validators", SOURCE)
    nginx.start(
        f"{protocol}_app {app}; error_page 412 /changed;",
        server='location = /changed { return 200 "$status changed"; }',
    )
    for _ in range(2):
        # nginx closes the connection after its own 412, as it does for a file.
        client = nginx.client()
        response = client.get("/", params={"etag": '"a"'}, headers={"If-Match": '"b"'})
        assert (response.status_code, response.text) == (412, "412 changed")
    assert nginx.client().get("/").text == "hello "
