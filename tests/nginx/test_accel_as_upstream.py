"""X-Accel-Redirect, compared with nginx's treatment of the same response of an upstream."""

from __future__ import annotations

import pytest

# ?to=TARGET goes into X-Accel-Redirect; the other arguments are headers.
SOURCE = """
    from urllib.parse import parse_qsl

    def application(environ, start_response):
        query = parse_qsl(environ["QUERY_STRING"])
        headers = []
        status = "200 OK"
        for name, value in query:
            if name == "to":
                headers.append(("X-Accel-Redirect", value))
            elif name == "status":
                status = value
            else:
                headers.append((name, value))
        if "Content-Type" not in dict(query):
            headers.append(("Content-Type", "text/x-mine"))
        start_response(status, headers)
        return [b"from the application"]
"""
EPOCH = "Thu, 01 Jan 1970 00:00:00 GMT"
TARGETS = [
    "/files/a%20b.txt",
    "/files/a b.txt",
    "/files/none",
    "/files/",
    "/typed/page.html",
    "/ssi/page.html?x=1",
    "/expiring/page.html",
    "/method",
    "/method?x=1&y=%20",
    "/method/%41/../b//c?x",
    "/method?",
    "/method#fragment",
    "/status",
    "/moved",
    "/closed",
    "/app?to=/method",
    "/app?X-Second=1",
    "/../../etc/passwd",
    "/files/../method",
    "/%2e%2e/method",
    "@named",
    "@app",
    "@none",
    "relative",
    "http://example.test/x",
    "",
]
HEADERS = [
    {"Content-Type": "text/plain; charset=koi8-r"},
    {"Content-Type": "text/html"},
    {"Content-Type": ""},
    {"Set-Cookie": "a=b", "Content-Disposition": "attachment", "Location": "/x"},
    {"Cache-Control": "private", "Expires": EPOCH, "Pragma": "no-cache"},
    {"ETag": '"a"', "Last-Modified": EPOCH, "Content-Encoding": "gzip", "Vary": "Cookie"},
    {"Content-Language": "de", "Link": "</x>", "Refresh": "1", "WWW-Authenticate": "Basic"},
    {"X-Accel-Expires": "1", "X-Accel-Buffering": "no", "X-Accel-Charset": "koi8-r"},
    {"Content-Length": "20"},
    {"status": "404 Not Found"},
    {"status": "302 Found", "Location": "/x"},
    {"status": "201 Made", "Location": "/x"},
]


@pytest.fixture
def pair(nginx, twins):
    nginx.page("a b.txt", "0123456789")
    nginx.page("page.html", '<!--# echo var="uri" --><!--# echo var="arg_x" default="none" -->')
    server = f"""
    location / {{ APP; }}
    location /files/ {{ internal; alias {nginx.html}/; }}
    location /typed/ {{ internal; alias {nginx.html}/; types {{ }} default_type text/x-typed; }}
    location /ssi/ {{ internal; alias {nginx.html}/; ssi on; ssi_types *; }}
    location /expiring/ {{ internal; alias {nginx.html}/; expires max; add_header X-There 1; }}
    location /method {{ return 203 "$request_method $uri $args $request_uri"; }}
    location /status {{ return 404 "not there"; }}
    location /moved {{ return 302 /elsewhere; }}
    location /app {{ APP; }}
    location /closed {{ deny all; }}
    location @named {{ return 202 "named $request_method $uri $args"; }}
    location @app {{ APP; }}
    """
    return twins(SOURCE).start(server=server)


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_targets(nginx, pair, method):
    nginx.allow_log("unsafe URI")
    for target in TARGETS:
        pair.request(method, "/x", params={"to": target, "X-Lost": "1"}, content=b"form")


@pytest.mark.parametrize("target", ["/files/page.html", "/expiring/page.html", "/method", "@named"])
def test_headers(pair, target):
    for headers in HEADERS:
        pair.get("/x", params={"to": target} | headers)


@pytest.mark.parametrize("condition", ["Range", "If-None-Match", "If-Modified-Since", "If-Match"])
def test_conditions_are_for_the_file(pair, condition):
    file = pair.get("/x", params={"to": "/files/page.html"}).headers
    value = {
        "Range": "bytes=2-5",
        "If-None-Match": file["etag"],
        "If-Modified-Since": file["last-modified"],
        "If-Match": '"other"',
    }
    answer = pair.get(
        "/x",
        params={"to": "/files/page.html", "ETag": '"other"', "Last-Modified": EPOCH},
        headers={condition: value[condition]},
    )
    assert answer.status_code in (206, 304, 412)
