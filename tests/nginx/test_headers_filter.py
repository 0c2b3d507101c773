"""expires, add_header and add_trailer over the fields that an application sets itself."""

from __future__ import annotations

import socket
from email.utils import parsedate_to_datetime

import pytest

# ?cache, ?second, ?expires and ?link add the header that each is a value of.
SOURCE = """
    from urllib.parse import parse_qs
    from wsgiref.validate import validator

    NAMES = {
        "cache": "Cache-Control", "second": "Cache-Control", "expires": "Expires",
        "link": "Link", "location": "Location",
        "modified": "Last-Modified", "length": "Content-Length", "etag": "ETag",
    }

    @validator
    def application(environ, start_response):
        query = {k: v[0] for k, v in parse_qs(environ["QUERY_STRING"]).items()}
        headers = [("Content-Type", "text/plain"), ("X-Own", "mine")]
        headers += [(NAMES[name], value) for name, value in query.items() if name in NAMES]
        start_response(query.get("status", "200 OK"), headers)
        return [b"hello"]
"""
OWN = {
    "cache": "private, max-age=5",
    "second": "must-revalidate",
    "expires": "Thu, 01 Jan 2032 00:00:00 GMT",
}
LONG_AGO = "Thu, 01 Jan 2015 00:00:00 GMT"


@pytest.fixture
def pair(twins):
    return twins(SOURCE)


def caching(headers) -> tuple[list[str], list[str]]:
    return headers.get_list("cache-control"), headers.get_list("expires")


@pytest.mark.parametrize(
    ("value", "cache", "expires"),
    [
        ("epoch", "no-cache", "Thu, 01 Jan 1970 00:00:01 GMT"),
        ("max", "max-age=315360000", "Thu, 31 Dec 2037 23:55:55 GMT"),
    ],
)
@pytest.mark.parametrize("own", [{}, OWN, {"expires": OWN["expires"]}, {"cache": "no-store"}])
def test_expires_replaces_the_application_s_own(pair, value, cache, expires, own):
    pair.start(f"APP; expires {value};")
    assert caching(pair.get(params=own).headers) == ([cache], [expires])


def test_expires_counts_from_now_and_from_the_modification(nginx, pair):
    pair.start(
        server="location /now { APP; expires 1h; } location /file { APP; expires modified 1h; }"
    )
    client = nginx.client()
    now = client.get("/now", params=OWN).headers
    assert now.get_list("cache-control") == ["max-age=3600"]
    # nginx updates its clock once per event, so both headers are of one instant.
    assert len(now.get_list("expires")) == 1
    ahead = parsedate_to_datetime(now["expires"]) - parsedate_to_datetime(now["date"])
    assert 3590 <= ahead.total_seconds() <= 3610
    old = pair.get("/file", params=OWN | {"modified": LONG_AGO}).headers
    assert caching(old) == (["no-cache"], ["Thu, 01 Jan 2015 01:00:00 GMT"])


def test_without_expires_the_application_s_own_stay(pair):
    pair.start("APP; expires off;")
    headers = pair.get(params=OWN).headers
    assert caching(headers) == ([OWN["cache"], OWN["second"]], [OWN["expires"]])


@pytest.mark.parametrize(("status", "counts"), [("200 OK", 1), ("404 Not Found", 0)])
def test_expires_leaves_an_error_alone(pair, status, counts):
    pair.start("APP; expires max;")
    headers = pair.get(params=OWN | {"status": status}).headers
    assert (headers.get_list("expires") == [OWN["expires"]]) is (counts == 0)


def test_expires_by_the_media_type_of_the_application(pair):
    pair.start(
        "APP; expires $age;",
        http="map $sent_http_content_type $age { default off; text/plain epoch; }",
    )
    assert caching(pair.get().headers)[0] == ["no-cache"]


def test_expires_after_a_redirect_to_a_file(nginx, twins):
    pair = twins(
        """
        def application(environ, start_response):
            start_response("200 OK", [
                ("Cache-Control", "private"), ("Cache-Control", "no-transform"),
                ("Expires", "Thu, 01 Jan 2032 00:00:00 GMT"),
                ("X-Accel-Redirect", environ["PATH_INFO"][4:]),
            ])
            return []
        """
    )
    nginx.page("file.txt", "a file")
    pair.start(
        server="location /app { APP; } location / { internal; }"
        " location /max/ { internal; alias html/; expires max; }"
    )
    plain = pair.get("/app/file.txt")
    assert plain.text == "a file"
    assert caching(plain.headers) == (
        ["private", "no-transform"],
        ["Thu, 01 Jan 2032 00:00:00 GMT"],
    )
    replaced = pair.get("/app/max/file.txt")
    assert caching(replaced.headers) == (["max-age=315360000"], ["Thu, 31 Dec 2037 23:55:55 GMT"])


@pytest.mark.parametrize("status", ["200 OK", "302 Found", "404 Not Found", "500 Broken"])
def test_add_header_and_always(pair, status):
    pair.start(
        'APP; add_header X-Some "$status $sent_http_x_own"; add_header X-All "here" always;'
        " add_header X-Empty $arg_none always; add_header Cache-Control no-transform always;"
    )
    headers = pair.get(params={"status": status, "cache": "private"}).headers
    assert headers.get("x-some") == (f"{status[:3]} mine" if status[0] in "23" else None)
    assert headers["x-all"] == "here"
    assert "x-empty" not in headers
    assert headers.get_list("cache-control") == ["private", "no-transform"]


def test_add_header_replaces_a_field_of_nginx_s_own(pair):
    pair.start('APP; add_header Last-Modified ""; add_header ETag "";')
    response = pair.get(params={"modified": LONG_AGO, "etag": '"a"'})
    assert "last-modified" not in response.headers
    assert "etag" not in response.headers


def test_add_header_of_a_link_beside_the_application_s(pair):
    pair.start("APP; add_header Link '</two>; rel=preload';")
    headers = pair.get(params={"link": "</one>; rel=preload"}).headers
    assert headers.get_list("link") == ["</one>; rel=preload", "</two>; rel=preload"]


def test_variables_of_what_is_sent(pair):
    names = (
        "cache_control",
        "link",
        "expires",
        "last_modified",
        "etag",
        "content_length",
        "location",
    )
    texts = "|".join(f"$sent_http_{name}" for name in names)
    pair.start(f'APP; add_header X-Seen "{texts}" always;')
    query = OWN | {"link": "</one>", "modified": LONG_AGO, "etag": '"a"', "length": "5"}
    assert pair.get(params=query).headers["x-seen"] == (
        f'{OWN["cache"]}, {OWN["second"]}|</one>|{OWN["expires"]}|{LONG_AGO}|"a"|5|'
    )
    for target in ("/relative", "http://example.test/absolute"):
        moved = pair.get(params={"location": target, "status": "302 Found"})
        assert moved.headers["x-seen"] == f"||||||{target}"


@pytest.mark.parametrize("query", ["", "?length=5"])
def test_add_trailer(nginx, pair, query):
    pair.start("APP; add_trailer X-Sum $sent_http_x_own;")
    ours, theirs = (exchange(port, f"/{query}") for port in (nginx.port, pair.port))
    # nginx omits Content-Length, because trailers need chunked encoding.
    assert ours.endswith(b"\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: mine\r\n\r\n")
    assert ours.partition(b"\r\n\r\n")[2] == theirs.partition(b"\r\n\r\n")[2]


def exchange(port: int, path: str) -> bytes:
    with socket.create_connection(("127.0.0.1", port), 60) as sock:
        sock.sendall(
            f"GET {path} HTTP/1.1\r\nHost: x\r\nTE: trailers\r\nConnection: close\r\n\r\n".encode()
        )
        return b"".join(iter(lambda: sock.recv(65536), b""))
