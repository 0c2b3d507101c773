"""Request lines and headers, compared with `uwsgi_pass`: methods, arguments, limits on headers."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from nginx.wire import NEXT
from protocols import WSGI_ONLY

# Environ as lines, without what differs between the servers.
SOURCE = (
    """
    KEYS = ("REQUEST_METHOD", "QUERY_STRING", "CONTENT_TYPE", "PATH_INFO",
            "REQUEST_URI", "SERVER_PROTOCOL", "REMOTE_ADDR")

    def answer(environ, start_response):
        names = sorted(name for name in environ if name in KEYS or name.startswith("HTTP_"))
        # WSGI omits what is an empty parameter of the uwsgi protocol.
        lines = [f"{n}={environ[n]}" for n in names if n != "CONTENT_TYPE" or environ[n]]
        start_response("200 OK", [("Content-Type", "text/plain")])
        return ["\\n".join(lines).encode("latin-1")]
"""
    + NEXT
)


# How a request is parsed is nginx's; what ASGI makes of it is in asgi/test_scope.py.
pytestmark = WSGI_ONLY


@pytest.fixture
def pair(twins):
    return twins(SOURCE)


def get(headers: str = "", target: str = "/", method: str = "GET", host: str = "x") -> bytes:
    return f"{method} {target} HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n".encode("latin-1")


METHODS = "GET HEAD POST PUT DELETE PATCH OPTIONS MKCOL PROPFIND PROPPATCH COPY MOVE LOCK UNLOCK"


@pytest.mark.parametrize("method", [*METHODS.split(), "FROB", "X_Y", "M-SEARCH"])
def test_methods(pair, wire, method):
    pair.start("APP;")
    answer = wire(pair).ask(get(method=method), head_only=method == "HEAD")
    assert answer.status in (200, 400)
    if answer.status == 200 and method != "HEAD":
        assert f"REQUEST_METHOD={method}".encode() in answer.body


@pytest.mark.parametrize("method", ["TRACE", "CONNECT", "get", "G@T"])
def test_methods_that_nginx_refuses(pair, wire, method):
    pair.start("APP;")
    answer = wire(pair).ask(get(method=method), kept=False)
    assert answer.status in (400, 405)


TARGETS = {
    "none": "/",
    "no value": "/?",
    "some": "/a/b?x=1&y=%20&&z",
    "a second mark": "/a?b?c=/d?",
    "no encoding": "/a?%zz=%",
    "a slash and dots": "/a?b=/../c//d",
    "plus and equals": "/a+b?a+b==c",
    "encoded mark": "/a%3Fb?c",
    "encoded": "/%61%2f%C3%A9%20b/",
    "slashes": "//a///b//",
    "dots": "/a/./b/../c/..",
    "absolute": "http://y.example:81/a?b",
    "absolute without a path": "http://y.example",
    "absolute with arguments alone": "http://y.example?a",
    "long": "/" + "l" * 3000 + "?" + "a=b&" * 1000,
    "not ASCII": "/\xe9?\xe9",
    "a space at the end": "/a%20",
    "a semicolon": "/a;b=c/d;e",
}


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS.keys())
def test_arguments_and_paths(pair, wire, target):
    pair.start("APP;")
    # If the target has a host, wsgi_app uses it (RFC 9112, 3.2.2), and uwsgi_pass the Host field.
    host = urlsplit(target).netloc if target.startswith("http") else "x"
    answer = wire(pair).ask(get(target=target, host=host))
    assert answer.status == 200
    assert b"REQUEST_URI=" in answer.body


@pytest.mark.parametrize(
    "target", ["/%00", "/%zz", "/%", "*", "a", "/a#b", "/../a", "/a/../../b", "/\x01", "/a b"]
)
def test_targets_that_need_care(nginx, pair, wire, target):
    pair.start("APP;")
    line = wire(pair)
    line.ask(get())
    for connection in line.connections:
        connection.send(get("Connection: close\r\n", target))
    ours, theirs = (connection.response() for connection in line.connections)
    assert (ours.status, ours.body) == (theirs.status, theirs.body)


@pytest.mark.parametrize("version", ["HTTP/1.0", "HTTP/1.1", "HTTP/1.2", "HTTP/2.0", ""])
@pytest.mark.parametrize("connection", ["", "Connection: keep-alive\r\n", "Connection: close\r\n"])
def test_versions(nginx, pair, version, connection):
    pair.start("APP;")
    request = f"GET /next {version}\r\nHost: x\r\n{connection}\r\n".encode()
    if not version:
        request = b"GET /next\r\n"
    answers = []
    for port in (nginx.port, pair.port):
        nginx.port = port
        # If the connection is kept, this request closes it; otherwise it has no answer.
        raw = nginx.raw(request + b"GET /next HTTP/1.0\r\n\r\n").split(b"\r\n")
        answers.append(sorted(line for line in raw if not line.startswith(b"Date:")))
    ours, theirs = answers
    assert ours == theirs
    assert any(b"next" in line for line in ours) == (version != "HTTP/2.0")


def test_headers_and_cookies(pair, wire):
    pair.start("APP;")
    line = wire(pair)
    for headers in (
        "Cookie: a=b; c=d\r\n",
        "Cookie: " + "; ".join(f"c{number}={number}" for number in range(200)) + "\r\n",
        "X-Empty:\r\nX-Blank:   \r\nX-Spaces:  a  b  \r\n",
        "x-lower: 1\r\nX-UPPER: 2\r\nX-1: 3\r\n",
        'X-Odd: \x22"\\,;=\t\xe9\x7f\r\n',
        "Accept: text/html, */*;q=0.1\r\nUser-Agent: a (b; c) d/1\r\nReferer: /x\r\n",
        "Authorization: Basic YTpi\r\nX-Forwarded-For: 10.0.0.1, 10.0.0.2\r\nVia: 1.1 v\r\n",
        "If-None-Match: *\r\nIf-Modified-Since: never\r\nRange: bytes=0-1\r\n",
        "Content-Type: text/plain\r\n",
        "Upgrade: websocket\r\nTE: trailers\r\nKeep-Alive: 5\r\n",
        "Host: second\r\n".replace("Host", "X-Host"),
    ):
        assert line.ask(get(headers)).status == 200, headers


# Host, and malformed lines, which nginx answers itself.
@pytest.mark.parametrize(
    "lines",
    [
        "",
        "Host:\r\n",
        "Host: a\r\nHost: b\r\n",
        "Host: a/b\r\n",
        "Host: a:81\r\n",
        "Host: A.Example\r\n",
        "Host: [::1]:80\r\n",
        "Host: x\r\nno colon\r\n",
        "Host: x\r\n: no name\r\n",
        "Host: x\r\n folded\r\n",
        "Host: x\r\nX-A : space\r\n",
        "Host: x\r\nX-A: a\0b\r\n",
        "Host: x\r\nConnection: close, x\r\n",
    ],
)
def test_hosts_and_malformed_lines(nginx, pair, wire, lines):
    pair.start("APP;")
    line = wire(pair)
    line.ask(get())
    answers = []
    for connection in line.connections:
        connection.send(f"GET / HTTP/1.1\r\n{lines}\r\n")
        connection.get("/next", close=True)
        answers.append(connection.response())
    ours, theirs = answers
    # From 1.29.5 on uwsgi_pass passes the host in lower case.
    assert (ours.status, ours.body.lower()) == (theirs.status, theirs.body.lower())
    assert ours.get("Connection") == theirs.get("Connection")


@pytest.mark.parametrize("ignored", ["on", "off"])
@pytest.mark.parametrize("underscores", ["on", "off"])
def test_ignore_invalid_headers_and_underscores_in_headers(nginx, pair, wire, ignored, underscores):
    nginx.allow_log("client sent invalid header line")
    pair.start(
        "APP;",
        server="",
        http=f"ignore_invalid_headers {ignored}; underscores_in_headers {underscores};",
    )
    line = wire(pair)
    for headers in ("X_Under: 1\r\n", "X-A: 1\r\nX_B: 2\r\n", "X.Dot: 1\r\nX-A: 2\r\n"):
        answer = line.ask(get(headers))
        passed = underscores == "on" or ignored == "off"
        assert (b"X_UNDER=1" in answer.body) == ("Under" in headers and passed)
        assert (b"HTTP_X_A=" in answer.body) == ("X-A" in headers)


def long(size: int, count: int = 1) -> str:
    return "".join(f"X-Long-{number}: {'v' * size}\r\n" for number in range(count))


@pytest.mark.parametrize(
    ("buffers", "headers"),
    [
        ("4 8k", long(8000)),
        ("4 8k", long(1000, 25)),
        ("4 8k", long(100, 200)),
        ("4 1k", long(900, 3)),
        ("2 32k", long(31_000)),
        ("128 1k", long(500, 100)),
    ],
)
def test_large_client_header_buffers(pair, wire, buffers, headers):
    pair.start("APP;", http=f"large_client_header_buffers {buffers};")
    line = wire(pair)
    for _ in range(2):
        answer = line.ask(get(headers))
        assert answer.body.count(b"HTTP_X_LONG_") == headers.count("X-Long-")


@pytest.mark.parametrize(
    ("headers", "target", "status"),
    [
        (long(8200), "/", 400),
        (long(4000, 9), "/", 400),
        ("", "/" + "l" * 8200, 414),
        ("", "/?" + "l" * 8200, 414),
    ],
)
def test_headers_beyond_the_buffers(pair, wire, headers, target, status):
    pair.start("APP;")
    line = wire(pair)
    line.ask(get())
    answer = line.ask(get(headers, target), kept=False)
    assert answer.status == status


def test_more_than_the_uwsgi_protocol_can_carry(nginx, pair):
    """Its packet holds 64k of parameters; wsgi_app has no such limit."""
    pair.start("APP;", http="large_client_header_buffers 8 64k;")
    with nginx.connect() as connection:
        connection.send(get(long(60_000, 4)))
        answer = connection.response()
        assert answer.status == 200
        assert len(answer.body) > 240_000
        connection.get("/next")
        assert connection.response().body == b"next"


def test_keepalive_requests(pair, wire):
    pair.start("APP; keepalive_requests 4;")
    line = wire(pair)
    line.ask(get())
    line.ask(get(), then_next=False)
    line.ask(get(), kept=False)


def test_keepalive_disabled(pair, wire):
    pair.start(
        server="location / { APP; keepalive_timeout 0; }"
        "location /ie { APP; keepalive_disable msie6; }"
    )
    line = wire(pair)
    line.ask(get(), kept=False)
    line.ask(get(target="/ie"), then_next=False)
    old = "User-Agent: Mozilla/4.0 (compatible; MSIE 6.0; Windows NT 5.1)\r\n"
    line.ask(get(old, "/ie"), then_next=False)
    line.ask(get(old + "Content-Length: 0\r\n", "/ie", "POST"), kept=False)


def test_pipelined_requests(pair, wire):
    pair.start("APP;")
    line = wire(pair)
    line.ask(get())
    targets = [f"/{number}?{number}" for number in range(30)]
    for connection in line.connections:
        connection.send(b"".join(get(target=target) for target in targets))
    for target in targets:
        ours, theirs = (connection.response() for connection in line.connections)
        assert ours.body == theirs.body
        assert f"REQUEST_URI={target}\n".encode() in ours.body
    line.next()
