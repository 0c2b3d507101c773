"""Response headers, statuses and bodies, compared with `uwsgi_pass`, and keep-alive after each."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from nginx.wire import NEXT
from protocols import WSGI_ONLY

# ?s=STATUS, a header for each ?h=NAME:VALUE, and a body of ?n blocks of ?b (default: empty).
# ?many=100 adds so many headers of a kilobyte. Content-Length is set except for ?as=iterator,
# because WSGI servers differ in what they deduce.
SOURCE = (
    """
    from urllib.parse import parse_qsl

    def answer(environ, start_response):
        query = parse_qsl(environ["QUERY_STRING"], encoding="latin-1")
        known = dict(query)
        headers = [tuple(value.split(":", 1)) for name, value in query if name == "h"]
        headers += [(f"X-Many-{n}", "v" * 1024) for n in range(int(known.get("many", "0")))]
        blocks = [known.get("b", "").encode("latin-1")] * int(known.get("n", "1"))
        if known.get("as") != "iterator" and "Content-Length" not in dict(headers):
            headers.append(("Content-Length", str(sum(map(len, blocks)))))
        start_response(known.get("s", "200 OK"), headers)
        return iter(blocks)
"""
    + NEXT
)


# The responses of ASGI are in asgi/test_send.py.
pytestmark = WSGI_ONLY


@pytest.fixture
def pair(twins):
    return twins(SOURCE)


def get(*headers: str, method: str = "GET", path: str = "/", **query: str):
    """A request whose response has these headers, each as `Name:value`."""
    items = [f"h={quote(header, encoding='latin-1')}" for header in headers]
    items += [f"{name}={quote(value, encoding='latin-1')}" for name, value in query.items()]
    return f"{method} {path}?{'&'.join(items)} HTTP/1.1\r\nHost: x\r\n\r\n"


TYPES = [
    "text/html",
    "text/plain; charset=utf-8",
    "text/plain;charset=UTF-8",
    'text/plain; charset="utf-8"',
    "text/plain; format=flowed; charset=koi8-r",
    "application/json",
    "TEXT/HTML",
    "multipart/mixed; boundary=x",
    "text/plain; charset=",
    "nonsense",
]
ABOUT_TYPES = [
    "",
    "charset utf-8;",
    "charset koi8-r; override_charset on;",
    "charset off; default_type text/x-default;",
    "default_type ''; types { }",
]


@pytest.mark.parametrize("directives", ABOUT_TYPES)
def test_content_types(pair, wire, directives):
    pair.start(f"APP; {directives}")
    line = wire(pair)
    for kind in TYPES:
        for status in ("200 OK", "404 Not Found"):
            answer = line.ask(get(f"Content-Type:{kind}", s=status, b="text"))
            assert answer.get("Content-Type").lower().startswith(kind.split(";")[0].lower())


@pytest.mark.parametrize("directives", ABOUT_TYPES)
@pytest.mark.parametrize("path", ["/", "/page.html", "/picture.png"])
def test_no_content_type(pair, wire, directives, path):
    """Neither `default_type` nor the URI's extension replaces the application's."""
    pair.start(f"APP; {directives}")
    line = wire(pair)
    for body in ("", "text"):
        assert line.ask(get(path=path, b=body)).get("Content-Type") is None


REPEATED = [
    ["Set-Cookie:a=1"],
    ["Set-Cookie:a=1; Path=/; HttpOnly", "Set-Cookie:b=2; Expires=Thu, 01 Jan 2032 00:00:00 GMT"],
    [f"Set-Cookie:c{number}={'v' * 100}" for number in range(30)],
    ["Link:</a>; rel=preload", "Link:</b>; rel=preload"],
    ["Cache-Control:private", "Cache-Control:max-age=5"],
    ["Vary:Accept", "Vary:Cookie"],
    ['WWW-Authenticate:Basic realm="a"', "WWW-Authenticate:Negotiate"],
    ["X-Many:1", "x-many:2", "X-MANY:3"],
    ["Allow:GET", "Allow:HEAD"],
]


@pytest.mark.parametrize("headers", REPEATED, ids=lambda headers: headers[0].split(":")[0])
def test_repeated_headers(pair, wire, headers):
    pair.start("APP;")
    line = wire(pair)
    for status in ("200 OK", "302 Found", "401 Unauthorized", "500 Error"):
        answer = line.ask(get(*headers, s=status, b="text"))
        name = headers[0].split(":")[0]
        assert answer.all(name) == [header.split(":", 1)[1] for header in headers]


@pytest.mark.parametrize(
    "header",
    [
        "X-Empty:",
        "X-Spaces:a  b",
        "X-Latin:caf\xe9",
        'X-Quotes:"a\\"b", c;d="e"',
        "x-lower:1",
        "X-Tab:a\tb",
        "Server:mine/1.0",
        "Date:Thu, 01 Jan 2015 00:00:00 GMT",
        "Refresh:5; url=/x",
        "P3P:CP=x",
        "Content-Language:de",
        "Content-Disposition:attachment; filename=a.txt",
        "Content-Location:/b",
        "Content-Range:bytes 0-3/10",
        "Accept-Ranges:bytes",
        "Age:5",
        "Expires:0",
        "Pragma:no-cache",
        "Last-Modified:Thu, 01 Jan 2015 00:00:00 GMT",
        "Last-Modified:never",
        'ETag:"a"',
        'ETag:W/"a"',
        "ETag:a",
        "Content-Encoding:gzip",
        "Access-Control-Allow-Origin:*",
        "Strict-Transport-Security:max-age=1",
        "X-Powered-By:us",
        "Status:404 Not Found",
        "X-Accel-Buffering:no",
        "X-Accel-Expires:5",
        "X-Accel-Limit-Rate:100000",
        "X-Accel-Charset:koi8-r",
    ],
)
def test_single_headers(pair, wire, header):
    pair.start("APP;")
    line = wire(pair)
    line.ask(get(header, b="text"))
    line.ask(get(header, b="text", **{"as": "iterator"}))
    line.ask(get(header, "Content-Type:text/html", method="HEAD"), head_only=True)


def test_100_headers_of_a_kilobyte(pair, wire):
    pair.start(
        "APP; uwsgi_buffer_size 256k; uwsgi_buffers 4 256k; uwsgi_busy_buffers_size 256k;",
    )
    line = wire(pair)
    for method in ("GET", "HEAD"):
        request = get(b="text", many="100", method=method)
        answer = line.ask(request, head_only=method == "HEAD")
        many = [value for name, value in answer.headers if name.startswith("X-Many-")]
        assert many == ["v" * 1024] * 100


@pytest.mark.parametrize("count", ["0", "1", "3"])
@pytest.mark.parametrize("status", ["200 OK", "302 Found", "404 Not Found", "500 Error"])
def test_empty_bodies(pair, wire, count, status):
    pair.start("APP;")
    line = wire(pair)
    for method in ("GET", "HEAD", "POST"):
        request = get("Content-Type:text/plain", s=status, n=count, method=method)
        answer = line.ask(request, head_only=method == "HEAD")
        assert answer.get("Content-Length") == "0"
        # wsgi_app knows the length of an iterator that ends at once; uwsgi_pass does not.
        assert compared(line, get(s=status, n=count, **{"as": "iterator"})) == b""


STATUSES = """200 OK,201 Created,202 Accepted,203 Other,205 Reset,206 Partial,207 Multi-Status,
226 IM Used,299 Own Words,300 Choices,301 Moved,302 Found,303 See Other,305 Proxy,307 Temporary,
308 Permanent,400 Bad,401 Who,402 Pay,403 No,404 Not Here,405 Not So,406 No,408 Late,409 Conflict,
410 Gone,411 Length,412 No,413 Large,414 Long,415 What,416 Range,417 No,418 Teapot,421 Misdirected,
422 No,423 Locked,425 Early,426 Upgrade,428 If,429 Many,431 Large,444 None,451 Law,494 Large,
495 Certificate,496 None,497 Plain,499 Gone,500 Error,501 No,502 Bad,503 Busy,504 Late,505 No,
507 Full,511 Login,599 Own,600 Beyond,999 Last"""


def test_statuses(pair, wire):
    """The application's reason phrase and body are sent, whichever the status."""
    pair.start("APP;")
    line = wire(pair)
    for status in STATUSES.replace("\n", "").split(","):
        for body in ("", "the application's own"):
            answer = line.ask(get("Content-Type:text/plain", s=status, b=body))
            assert (f"{answer.status} {answer.reason}", answer.body) == (status, body.encode())


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
def test_statuses_without_a_body(pair, wire, status):
    pair.start("APP;")
    line = wire(pair)
    for method in ("GET", "HEAD", "DELETE"):
        for headers in ([], ['ETag:"a"', "Last-Modified:Thu, 01 Jan 2015 00:00:00 GMT"]):
            answer = line.ask(get(*headers, s=status, method=method, n="0", **{"as": "iterator"}))
            assert answer.get("Content-Length") is None
            assert answer.get("Transfer-Encoding") is None


@pytest.mark.parametrize("kind", ["length", "iterator"])
def test_head(pair, wire, kind):
    pair.start("APP;")
    line = wire(pair)
    for length in ([], ["Content-Length:8"]):
        request = get(
            "Content-Type:text/plain", *length, method="HEAD", b="body", n="2", **{"as": kind}
        )
        line.ask(request, head_only=True)


LOCATIONS = [
    "/x",
    "x",
    "./x?y=z",
    "?y",
    "#z",
    "//other.example/x",
    "http://other.example/x",
    "https://x/",
    "/caf\xe9",
    "/a b",
    "",
]


@pytest.mark.parametrize(
    "directives",
    [
        "",
        "absolute_redirect on; port_in_redirect on; server_name_in_redirect on;",
        "absolute_redirect off;",
        "absolute_redirect on; port_in_redirect off;",
    ],
)
def test_redirects_are_the_application_s_own(pair, wire, directives):
    pair.start(server=f"server_name name.example; location / {{ APP; {directives} }}")
    line = wire(pair)
    for location in LOCATIONS:
        for status in ("301 Moved", "302 Found", "303 See Other", "307 T", "308 P", "201 Created"):
            answer = line.ask(get(f"Location:{location}", s=status, b="moved"))
            assert answer.get("Location") == location


@pytest.mark.parametrize("kind", ["length", "iterator"])
@pytest.mark.parametrize("count", ["1", "2", "3000"])
def test_bodies(pair, wire, kind, count):
    pair.start("APP;")
    line = wire(pair)
    block = "0123456789" * 50
    request = get("Content-Type:text/plain", b=block, n=count, **{"as": kind})
    assert compared(line, request) == block.encode() * int(count)
    if kind == "length":
        line.ask(request.replace("HTTP/1.1", "HTTP/1.0"), kept=False)


def compared(line, request: str) -> bytes:
    """The body, which is the same in both; its framing may differ."""
    line.connect()
    for connection in line.connections:
        connection.send(request)
    ours, theirs = (connection.response() for connection in line.connections)
    assert ours.complete
    assert theirs.complete
    assert ours.body == theirs.body
    line.next()
    return ours.body


@pytest.mark.parametrize("directives", ["", "chunked_transfer_encoding off;"])
def test_unknown_length(pair, wire, directives):
    pair.start(f"APP; {directives}")
    line = wire(pair)
    request = get(b="block", n="3", **{"as": "iterator"})
    answer = line.ask(request, kept=not directives)
    assert answer.framing == ("close" if directives else "chunked")


def test_a_shorter_body_than_its_length_ends_the_connection(pair, wire):
    pair.start("APP;")
    line = wire(pair)
    line.connect()
    for connection in line.connections:
        connection.send(get("Content-Length:10", b="short"))
    for connection in line.connections:
        response = connection.response()
        assert (response.body, response.complete) == (b"short", False)
