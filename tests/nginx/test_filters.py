"""nginx's filters over an application's responses."""

from __future__ import annotations

import pytest

SOURCE = """
    from urllib.parse import parse_qs
    from wsgiref.validate import validator

    @validator
    def application(environ, start_response):
        query = {k: v[0] for k, v in parse_qs(environ["QUERY_STRING"]).items()}
        text = query.get("text", "hello world")
        body = text.encode(query.get("encoding", "utf-8")) * int(query.get("times", "1"))
        headers = [("Content-Type", query.get("type", "text/html"))]
        if "length" in query:
            headers.append(("Content-Length", str(len(body))))
        if "etag" in query:
            headers.append(("ETag", query["etag"]))
        if "modified" in query:
            headers.append(("Last-Modified", query["modified"]))
        if "coded" in query:
            headers.append(("Content-Encoding", query["coded"]))
        start_response("200 OK", headers)
        return [body]
"""
DATE = "Thu, 01 Jan 2015 00:00:00 GMT"


@pytest.fixture
def start(nginx, protocol):
    app = protocol.wrap("filtered", SOURCE)

    def begin(more: str = "", *, server: str = "", **options):
        server = server.replace("APP;", f"{protocol}_app {app};")
        return nginx.start(f"{protocol}_app {app}; {more}", server=server, **options).client()

    return begin


@pytest.mark.parametrize("length", ["", "&length=1"])
def test_gzip(start, length):
    client = start("gzip on; gzip_min_length 1000;")
    response = client.get(f"/?times=1000{length}")
    assert response.headers["content-encoding"] == "gzip"
    assert "content-length" not in response.headers
    assert response.text == "hello world" * 1000
    assert client.get("/?length=1").headers.get("content-encoding") is None
    coded = client.get("/?times=1000&coded=identity")
    assert coded.headers["content-encoding"] == "identity"


def test_gzip_weakens_the_application_s_etag(start):
    client = start("gzip on; gzip_min_length 1;")
    assert client.get('/?length=1&etag="a"').headers["etag"] == 'W/"a"'


def test_charset(start):
    client = start("charset utf-8; source_charset koi8-r;", http="charset_map koi8-r utf-8 {}")
    assert client.get("/").headers["content-type"] == "text/html; charset=utf-8"
    own = client.get("/?type=text/html;charset%3Dlatin-1")
    assert own.headers["content-type"] == "text/html;charset=latin-1"


def test_sub_and_addition(start):
    client = start(
        "sub_filter hello bye; add_before_body /before; add_after_body /after;",
        server="location /before { return 200 <; } location /after { APP; }",
    )
    response = client.get("/?length=1")
    assert response.text == "<bye worldhello world"
    assert client.get("/").text == response.text


@pytest.mark.parametrize("length", ["", "&length=1"])
def test_not_modified_by_etag(start, length):
    client = start()
    target = f'/?etag="a"{length}'
    response = client.get(target, headers={"If-None-Match": '"b", "a"'})
    assert (response.status_code, response.content) == (304, b"")
    assert response.headers["etag"] == '"a"'
    assert client.get(target, headers={"If-None-Match": '"b"'}).status_code == 200
    assert client.get(target).text == "hello world"
    # nginx closes the connection after its own 412, as it does for a file.
    assert client.get(target, headers={"If-Match": '"b"'}).status_code == 412


def test_not_modified_by_date(start):
    client = start()
    target = f"/?modified={DATE}"
    response = client.get(target, headers={"If-Modified-Since": DATE})
    assert (response.status_code, response.content) == (304, b"")
    assert client.get(target).text == "hello world"
    later = {"If-Unmodified-Since": "Thu, 01 Jan 2009 00:00:00 GMT"}
    assert client.get(target, headers=later).status_code == 412


def test_add_header_and_expires(start):
    client = start("add_header X-One $sent_http_content_type; expires 1h;")
    headers = client.get("/").headers
    assert headers["x-one"] == "text/html"
    assert headers["cache-control"] == "max-age=3600"
    assert "expires" in headers


def test_limit_rate_loses_nothing(start):
    client = start("limit_rate 400k; limit_rate_after 64k;")
    assert len(client.get("/?times=40000").content) == 440_000


def test_ssi_page_and_fragment(nginx, start):
    nginx.page("page.shtml", '<!--#include virtual="/?text=one" -->-<!--#echo var="arg_x" -->')
    client = start(
        server=f"location /page.shtml {{ root {nginx.html}; ssi on; ssi_types *; }}\n"
        "location /made { APP; ssi on; }"
    )
    assert client.get("/page.shtml?x=2").text == "one-2"
    page = client.get("/made", params={"text": 'a<!--#include virtual="/?text=b" -->c'})
    assert page.text == "abc"
    assert client.head("/page.shtml").status_code == 200
