"""wsgi_force_ranges, asgi_*: ranges of a response of known length, compared with uwsgi_pass."""

from __future__ import annotations

import pytest

SOURCE = """
    from urllib.parse import parse_qsl

    BODY = b"".join(b"%05d " % n for n in range(10_000))

    def application(environ, start_response):
        query = dict(parse_qsl(environ["QUERY_STRING"]))
        headers = [("Content-Type", "text/plain"), ("ETag", query.get("etag", '"a"'))]
        headers.append(("Last-Modified", "Thu, 01 Jan 2015 00:00:00 GMT"))
        if "accept" in query:
            headers.append(("Accept-Ranges", query["accept"]))
        if "streamed" not in query:
            headers.append(("Content-Length", str(len(BODY))))
        start_response(query.get("status", "200 OK"), headers)
        size = int(query.get("size", "20000"))
        return (BODY[i : i + size] for i in range(0, len(BODY), size))
"""
BODY = b"".join(b"%05d " % n for n in range(10_000))
FORCE = "wsgi_force_ranges on; uwsgi_force_ranges on;"
PLAIN = {"Accept-Encoding": "identity"}


@pytest.fixture
def pair(twins):
    return twins(SOURCE)


@pytest.mark.parametrize(
    ("asked", "status", "first", "end"),
    [
        ("bytes=0-0", 206, 0, 1),
        ("bytes=0-", 206, 0, 60_000),
        ("bytes=-6", 206, 59_994, 60_000),
        ("bytes=19999-20000", 206, 19_999, 20_001),
        ("bytes=30000-99999", 206, 30_000, 60_000),
        ("bytes=-99999", 206, 0, 60_000),
        ("bytes= 5 - 9", 206, 5, 10),
        ("BYTES=5-9", 206, 5, 10),
        ("bytes=60000-", 416, 0, 0),
        ("bytes=9-5", 416, 0, 0),
        ("bytes=x", 416, 0, 0),
        ("bytes=0-1,3-4", 200, 0, 60_000),
        ("lines=0-1", 200, 0, 60_000),
        ("bytes=", 200, 0, 60_000),
    ],
)
def test_ranges(pair, asked, status, first, end):
    pair.start(f"APP; {FORCE}")
    for size in ("20000", "7000"):
        answer = pair.get("/", params={"size": size}, headers={"Range": asked})
        assert answer.status_code == status
        if status == 416:
            assert answer.headers["content-range"] == "bytes */60000"
            continue
        assert answer.content == BODY[first:end]
        assert answer.headers["content-length"] == str(end - first)
        assert answer.headers["etag"] == '"a"'
        if status == 206:
            assert answer.headers["content-range"] == f"bytes {first}-{end - 1}/60000"


@pytest.mark.parametrize(
    ("condition", "status"),
    [
        ('"a"', 206),
        ('"b"', 200),
        ('W/"a"', 200),
        ("Thu, 01 Jan 2015 00:00:00 GMT", 206),
        ("Fri, 02 Jan 2015 00:00:00 GMT", 200),
        ("nonsense", 200),
    ],
)
def test_if_range(pair, condition, status):
    pair.start(f"APP; {FORCE}")
    headers = {"Range": "bytes=6-11", "If-Range": condition}
    answer = pair.get("/", headers=headers)
    assert (answer.status_code, answer.content) == (
        (206, b"00001 ") if status == 206 else (200, BODY)
    )


def test_what_has_no_ranges(pair):
    pair.start(
        server=f"""
        location / {{ APP; {FORCE} }}
        location /plain {{ APP; }}
        location /off {{ APP; wsgi_force_ranges off; }}
        location /none {{ APP; {FORCE} max_ranges 0; }}
        location /sub {{ APP; {FORCE} sub_filter x y; sub_filter_types *; }}
        """
    )
    asked = {"Range": "bytes=0-9"}
    for path in ("/plain", "/off", "/none", "/sub", "/?streamed=1", "/?status=404+No"):
        answer = pair.get(path, headers=asked)
        assert (answer.status_code, answer.content) == (404 if "404" in path else 200, BODY)
        assert "accept-ranges" not in answer.headers
    assert pair.get("/").headers["accept-ranges"] == "bytes"


def test_the_application_s_own_accept_ranges(nginx, pair):
    pair.start(server=f"location / {{ APP; {FORCE} }} location /plain {{ APP; }}")
    asked = {"Range": "bytes=0-9"}
    own = pair.get("/plain?accept=bytes", headers=asked)
    assert (own.status_code, own.headers["accept-ranges"]) == (200, "bytes")
    assert pair.get("/?accept=bytes", headers=asked).status_code == 206
    assert pair.get("/?accept=bytes").headers.get_list("accept-ranges") == ["bytes"]


def test_head(pair):
    pair.start(f"APP; {FORCE}")
    answer = pair.request("HEAD", "/", headers={"Range": "bytes=0-9"})
    assert (answer.status_code, answer.headers["content-length"]) == (206, "10")
    assert pair.get("/").content == BODY


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_ranges_are_for_get(nginx, pair, method):
    # RFC 9110, section 14.2: a Range with another method must be ignored.
    pair.start(f"APP; {FORCE}")
    answer = nginx.client().request(method, "/", headers={"Range": "bytes=0-9"}, content=b"form")
    assert (answer.status_code, answer.content) == (200, BODY)
    assert "accept-ranges" not in answer.headers


def test_gzip_and_ranges(pair):
    pair.start(f"APP; {FORCE} gzip on; gzip_types text/plain;")
    ranged = pair.get("/", headers={"Range": "bytes=6-11"} | PLAIN)
    assert (ranged.status_code, ranged.content) == (206, b"00001 ")
    packed = pair.get("/")
    assert packed.headers["content-encoding"] == "gzip"
    assert "accept-ranges" not in packed.headers
    # A compressed response has no known length, and so no ranges.
    assert pair.get("/", headers={"Range": "bytes=6-11"}).content == BODY


def test_an_application_s_own_ranges(nginx, protocol):
    app = protocol.wrap(
        "own",
        """
        def application(environ, start_response):
            assert environ["HTTP_RANGE"] == "bytes=2-4"
            headers = [("Content-Type", "text/plain"), ("Content-Range", "bytes 2-4/10"),
                       ("Content-Length", "3"), ("Accept-Ranges", "bytes")]
            start_response("206 Partial Content", headers)
            return [b"234"]
        """,
    )
    nginx.start(
        server=f"location / {{ {protocol}_app {app}; }}\n"
        f"location /forced {{ {protocol}_app {app}; {protocol}_force_ranges on; }}"
    )
    for path in ("/", "/forced"):
        answer = nginx.client().get(path, headers={"Range": "bytes=2-4"})
        assert (answer.status_code, answer.content) == (206, b"234")
        assert answer.headers.get_list("content-range") == ["bytes 2-4/10"]
        assert answer.headers.get_list("accept-ranges") == ["bytes"]
