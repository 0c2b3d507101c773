"""The filters that change a body: gzip, gunzip, charset, sub and addition."""

from __future__ import annotations

import gzip

import pytest

# The body is ?text (or what follows /add/) in ?encoding, ?times over, in blocks of ?size bytes;
# ?coded is its coding.
SOURCE = """
    import gzip
    from urllib.parse import parse_qs
    from wsgiref.validate import validator

    @validator
    def application(environ, start_response):
        query = {k: v[0] for k, v in parse_qs(environ["QUERY_STRING"]).items()}
        text = environ["PATH_INFO"][5:] or query.get("text", "hello world ")
        text *= int(query.get("times", "1"))
        body = text.encode(query.get("encoding", "utf-8"))
        headers = [("Content-Type", query.get("type", "text/html"))]
        if query.get("coded") == "gzip":
            body = gzip.compress(body, mtime=0)
        if "coded" in query:
            headers.append(("Content-Encoding", query["coded"]))
        for key, name in (("etag", "ETag"), ("vary", "Vary"), ("cache", "Cache-Control"),
                          ("modified", "Last-Modified"), ("charset", "X-Accel-Charset")):
            if key in query:
                headers.append((name, query[key]))
        if "length" in query:
            headers.append(("Content-Length", str(len(body))))
        start_response(query.get("status", "200 OK"), headers)
        size = int(query.get("size", "65536"))
        return [body[i : i + size] for i in range(0, len(body), size)]
"""
LONG = {"times": "3000"}
WHOLE = "hello world " * 3000
DATE = "Thu, 01 Jan 2015 00:00:00 GMT"
PLAIN = {"Accept-Encoding": "identity"}


@pytest.fixture
def pair(twins):
    return twins(SOURCE)


@pytest.mark.parametrize("length", [{}, {"length": "1"}])
@pytest.mark.parametrize("size", ["100", "65536"])
def test_gzip(pair, length, size):
    pair.start("APP; gzip on; gzip_vary on;")
    response = pair.get("/", params=LONG | length | {"size": size, "etag": '"a"'})
    assert response.text == WHOLE
    headers = response.headers
    assert headers["content-encoding"] == "gzip"
    assert headers["vary"] == "Accept-Encoding"
    assert headers["etag"] == 'W/"a"'
    assert "content-length" not in headers
    plain = pair.get("/", params=LONG | length, headers=PLAIN)
    assert plain.text == WHOLE
    assert "content-encoding" not in plain.headers
    assert plain.headers["vary"] == "Accept-Encoding"


def test_what_gzip_leaves_alone(pair):
    pair.start(
        "APP; gzip on; gzip_min_length 1000; gzip_types text/css; gzip_comp_level 1; gzip_vary on;"
    )

    def coding(**query) -> str | None:
        response = pair.get("/", params=LONG | query)
        # A body that the application has compressed is not compressed again.
        assert len(response.headers.get_list("content-encoding")) < 2
        return response.headers.get("content-encoding")

    assert coding() == "gzip"
    assert coding(type="text/css; charset=utf-8") == "gzip"
    assert coding(type="image/png") is None
    assert coding(times="1", length="1") is None
    assert coding(coded="gzip") == "gzip"
    assert coding(coded="identity") == "identity"
    assert coding(status="404 Not Found") == "gzip"
    assert coding(status="500 Broken") is None
    assert pair.request("HEAD", "/", params=LONG).headers["content-encoding"] == "gzip"


def test_gzip_proxied_asks_the_application_s_headers(pair):
    pair.start("APP; gzip on; gzip_proxied no-cache no_last_modified auth;")
    via = {"Via": "1.1 example", "Accept-Encoding": "gzip"}

    def coding(headers=(), **query) -> str | None:
        response = pair.get("/", params=LONG | query, headers={**via, **dict(headers)})
        return response.headers.get("content-encoding")

    modified = {"modified": DATE}
    assert coding() == "gzip"
    assert coding(**modified) is None
    assert coding(cache="no-cache", **modified) == "gzip"
    assert coding(cache="no-store", **modified) is None
    assert coding({"Authorization": "Basic YTpi"}, **modified) == "gzip"


def test_gzip_s_http_version(nginx, pair):
    pair.start("APP; gzip on;")
    request = b"GET /?times=3000 HTTP/1.0\r\nAccept-Encoding: gzip\r\n\r\n"
    assert b"Content-Encoding" not in nginx.raw(request)


def test_gunzip(pair):
    pair.start("APP; gunzip on; gzip_vary on;")
    query = LONG | {"coded": "gzip", "etag": '"a"', "length": "1"}
    plain = pair.get("/", params=query, headers=PLAIN)
    assert plain.text == WHOLE
    assert "content-encoding" not in plain.headers
    assert "content-length" not in plain.headers
    assert plain.headers["etag"] == 'W/"a"'
    coded = pair.get("/", params=query)
    assert coded.text == WHOLE
    assert coded.headers["content-encoding"] == "gzip"
    assert coded.headers["content-length"] == str(len(gzip.compress(WHOLE.encode(), mtime=0)))


def test_gunzip_of_small_blocks(pair):
    pair.start("APP; gunzip on;")
    query = LONG | {"coded": "gzip", "size": "3"}
    assert pair.get("/", params=query, headers=PLAIN).text == WHOLE


def test_gunzip_of_what_is_no_gzip(nginx, protocol):
    app = protocol.wrap(
        "liar",
        """
        def application(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Encoding", "gzip")])
            return [b"this is not gzip, whatever the header says"]
        """,
    )
    nginx.start(f"{protocol}_app {app}; gunzip on;")
    connection = nginx.connect()
    connection.get("/")
    # The head has been sent, so the connection is cut before the end of the body.
    assert b"0\r\n\r\n" not in connection.rest()
    nginx.wait_log("inflate() failed")
    assert nginx.is_running()


def test_charset_names_and_converts(pair):
    pair.start(
        "APP; charset utf-8; source_charset koi8-r; charset_types text/html text/plain;",
        http="charset_map koi8-r utf-8 { C1 D0B0; C2 D0B1; }",
    )
    query = {"text": "\u0430\u0431", "encoding": "koi8-r", "times": "2000", "size": "7"}
    response = pair.get("/", params=query)
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert response.text == "\u0430\u0431" * 2000
    # A response with a charset of its own, or that is no text, stays as it is.
    own = pair.get("/", params=query | {"type": "text/html; charset=latin-1"})
    assert own.headers["content-type"] == "text/html; charset=latin-1"
    assert own.content == "\u0430\u0431".encode("koi8-r") * 2000
    other = pair.get("/", params=query | {"type": "application/x-mine"})
    assert other.headers["content-type"] == "application/x-mine"
    named = pair.get("/", params=query | {"type": "text/html; charset=koi8-r"})
    assert named.content == own.content


def test_override_charset(pair):
    pair.start(
        "APP; charset utf-8; override_charset on;",
        http="charset_map koi8-r utf-8 { C1 D0B0; C2 D0B1; }",
    )
    query = {"text": "\u0430\u0431", "encoding": "koi8-r", "length": "1"}
    response = pair.get("/", params=query | {"type": "text/html; charset=koi8-r"})
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert response.text == "\u0430\u0431"


def test_x_accel_charset(pair):
    pair.start(
        "APP; charset utf-8;",
        http="charset_map koi8-r utf-8 { C1 D0B0; C2 D0B1; }",
    )
    query = {"text": "\u0430\u0431", "encoding": "koi8-r"}
    response = pair.get("/", params=query | {"charset": "koi8-r"})
    assert "x-accel-charset" not in response.headers
    assert response.headers["content-type"] == "text/html; charset=koi8-r"
    assert response.content == "\u0430\u0431".encode("koi8-r")
    off = pair.get("/", params=query | {"charset": "off"})
    assert off.headers["content-type"] == "text/html"


@pytest.mark.parametrize("size", ["1", "5", "65536"])
def test_sub(pair, size):
    pair.start(
        "APP; sub_filter world nginx; sub_filter hello $arg_by; sub_filter_once off;"
        " sub_filter_types text/plain;"
    )
    # Single bytes take the thread of a wrapped application long.
    times = 300 if size == "1" else 3000
    query = {"times": str(times), "size": size, "length": "1"}
    query |= {"by": "bye", "etag": '"a"', "modified": DATE}
    response = pair.get("/", params=query)
    assert response.text == "bye nginx " * times
    for name in ("content-length", "etag", "last-modified"):
        assert name not in response.headers
    css = pair.get("/", params=query | {"type": "text/css"})
    assert css.text == "hello world " * times
    plain = pair.get("/", params={"type": "text/plain", "size": size, "by": "x"})
    assert plain.text == "x nginx "


def test_sub_once_and_last_modified(pair):
    pair.start("APP; sub_filter hello bye; sub_filter_last_modified on;")
    response = pair.get("/", params={"times": "2", "modified": DATE, "etag": '"a"'})
    assert response.text == "bye world hello world "
    assert response.headers["last-modified"] == DATE
    assert response.headers["etag"] == 'W/"a"'


def test_sub_lets_what_cannot_match_go_at_once(nginx, protocol):
    app = protocol.wrap(
        "streamed",
        """
        from testkit import gate

        def application(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/html")])
            yield b"first hello wor"
            gate("second")
            yield b"ld hel"
            gate("third")
            yield b"p"
        """,
    )
    nginx.start(f"{protocol}_app {app}; sub_filter 'hello world' bye; sub_filter_once off;")
    connection = nginx.connect()
    connection.get("/", close=True)
    received = connection.until(b"first ")
    assert received is not None
    nginx.open_gate("second")
    received = connection.until(b"bye ")
    assert received is not None
    nginx.open_gate("third")
    assert b"help" in connection.rest().replace(b"\r\n3\r\n", b"").replace(b"\r\n1\r\n", b"")


@pytest.mark.parametrize("length", [{}, {"length": "1"}])
def test_addition_around_an_application(pair, length):
    pair.start(
        server="location / { APP; add_before_body /add/<; add_after_body /add/>;"
        " addition_types text/plain; }\n"
        "location /add { APP; }"
    )
    response = pair.get("/", params=LONG | length | {"etag": '"a"'})
    assert response.text == f"<{WHOLE}>"
    assert response.headers["etag"] == 'W/"a"'
    assert "content-length" not in response.headers
    assert pair.get("/", params={"type": "text/css"}).text == "hello world "
    assert pair.get("/", params={"status": "404 Not Found"}).text == "hello world "
    assert pair.request("HEAD", "/").text == ""


def test_additions_to_a_file(nginx, pair):
    nginx.page("page.html", "the page")
    pair.start(
        server=f"location / {{ root {nginx.html}; add_before_body /add/{'<' * 300};"
        " add_after_body /add/end; }\nlocation /add { APP; }"
    )
    assert pair.get("/page.html").text == "<" * 300 + "the pageend"


def test_all_of_them_at_once(pair):
    pair.start(
        server="location / { APP; ssi on; gunzip on; gzip on; sub_filter world moon;"
        " sub_filter_once off; add_after_body /part; charset utf-8; gzip_min_length 1; }\n"
        "location /part { APP; }"
    )
    text = 'world <!--# include virtual="/part?text=earth" --> '
    for headers in (PLAIN, {}):
        response = pair.get("/", params={"text": text, "size": "3"}, headers=headers)
        assert response.text == "moon earth hello world "
        assert response.headers["content-type"] == "text/html; charset=utf-8"
