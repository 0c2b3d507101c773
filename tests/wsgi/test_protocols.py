"""The same application over every protocol, and in every kind of request that nginx makes."""

from __future__ import annotations

import json

import httpx
import pytest
from rawhttp import wait_for

MIRROR = """
    import json
    from wsgiref.validate import validator

    def mirror(environ, start_response):
        path = environ["PATH_INFO"]
        if path == "/missing":
            start_response("404 Not Here", [("Content-Type", "text/plain")])
            return [b"nothing"]
        if path == "/nobody":
            start_response("204 No Content", [])
            return []
        if path == "/stream":
            start_response("200 OK", [("Content-Type", "text/plain")])
            return (b"%d " % number * 100 for number in range(200))
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        seen = {
            "method": environ["REQUEST_METHOD"],
            "path": path,
            "query": environ["QUERY_STRING"],
            "body": body.decode("latin-1"),
            "protocol": environ["SERVER_PROTOCOL"],
            "header": environ.get("HTTP_X_TEST"),
        }
        start_response("200 OK", [
            ("Content-Type", "application/json"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"),
        ])
        return [json.dumps(seen).encode()]

    application = validator(mirror)
"""

STREAMED = b"".join(b"%d " % number * 100 for number in range(200))


class OldClient:
    """HTTP/1.0 with the interface of an httpx client."""

    def __init__(self, nginx) -> None:
        self.nginx = nginx

    def request(self, method, path, *, content=b"", headers=None):
        lines = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
        length = f"Content-Length: {len(content)}\r\n" if content else ""
        with self.nginx.connect() as connection:
            connection.send(f"{method} {path} HTTP/1.0\r\n{lines}{length}\r\n".encode() + content)
            answer = connection.response(head_only=method == "HEAD")
        assert answer.get("Transfer-Encoding") is None
        return httpx.Response(answer.status, headers=answer.headers, content=answer.body)


@pytest.fixture(params=["HTTP/1.0", "HTTP/1.1", "HTTP/1.1 over TLS", "HTTP/2.0", "Unix socket"])
def transport(request, nginx):
    """A client of each kind, and the SERVER_PROTOCOL that the application must see."""
    path = nginx.app("mirror", MIRROR)
    name = request.param
    tls = name in ("HTTP/2.0", "HTTP/1.1 over TLS")
    unix = nginx.root / "socket"
    server = nginx.tls() if tls else ""
    if name == "Unix socket":
        server = f"listen unix:{unix};"
    nginx.start(
        f"wsgi_app {path};",
        listen={"HTTP/2.0": "ssl http2", "HTTP/1.1 over TLS": "ssl"}.get(name, ""),
        server=server,
    )
    if name == "HTTP/1.0":
        return OldClient(nginx), "HTTP/1.0"
    if name == "Unix socket":
        http = httpx.HTTPTransport(uds=str(unix))
        return nginx.client(transport=http), "HTTP/1.1"
    return nginx.client(tls=tls, http2=name == "HTTP/2.0"), name.removesuffix(" over TLS")


def test_the_same_answers(transport):
    client, protocol = transport
    for _ in range(3):
        seen = client.request("GET", "/a%20b?x=%20", headers={"X-Test": "yes"}).json()
        assert seen == {
            "method": "GET",
            "path": "/a b",
            "query": "x=%20",
            "body": "",
            "protocol": protocol,
            "header": "yes",
        }
        for size in (1, 1000, 100_000):
            seen = client.request("POST", "/post", content=b"z" * size).json()
            assert (seen["method"], seen["body"]) == ("POST", "z" * size)
        missing = client.request("GET", "/missing")
        assert (missing.status_code, missing.content) == (404, b"nothing")
        nobody = client.request("GET", "/nobody")
        assert (nobody.status_code, nobody.content) == (204, b"")
        head = client.request("HEAD", "/head")
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers.get_list("Set-Cookie") == ["a=1", "b=2"]
        assert client.request("GET", "/stream").content == STREAMED


def test_pipelined(nginx, serve):
    serve(
        """
        def application(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/plain")])
            body = environ["PATH_INFO"].encode()
            return [body] if environ["QUERY_STRING"] == "list" else iter([body, b"!"])
        """
    )
    with nginx.connect() as connection:
        requests = [f"/{number}?{'list' if number % 2 else 'iter'}" for number in range(50)]
        connection.send("".join(f"GET {r} HTTP/1.1\r\nHost: x\r\n\r\n" for r in requests))
        for number in range(50):
            expected = f"/{number}" if number % 2 else f"/{number}!"
            assert connection.response().body.decode() == expected


def test_keep_alive(nginx, serve):
    serve(
        """
        def application(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [environ["REMOTE_PORT"].encode()]
        """
    )
    with nginx.connect() as connection:
        port = str(connection.sock.getsockname()[1]).encode()
        for _ in range(100):
            connection.get()
            assert connection.response().body == port
        connection.get(close=True)
        assert connection.response().get("Connection") == "close"
        assert connection.rest() == b""


# Subrequests and internal redirects

GATEKEEPER = """
    import json

    def application(environ, start_response):
        status = {"good": "200 OK", "made": "201 Created", "none": "204 No Content"}.get(
            environ.get("HTTP_X_PASS"), "401 Unauthorized" if "HTTP_X_PASS" not in environ
            else "403 Forbidden")
        length = environ.get("CONTENT_LENGTH") or "0"
        body = environ["wsgi.input"].read()
        start_response(status, [
            ("Content-Type", "text/plain"),
            ("X-User", "alice"),
            ("X-Seen", f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']} "
                       f"{int(length) == len(body)}"),
            ("WWW-Authenticate", "Basic realm=x"),
        ])
        return [b"the gatekeeper's own words"]
"""


@pytest.mark.parametrize("behind", ["wsgi", "static"])
@pytest.mark.parametrize(
    "buffering",
    [
        "on",
        pytest.param(
            "off",
            marks=pytest.mark.threads(
                "wsgi_request_buffering off needs a thread that waits for the body"
            ),
        ),
    ],
)
def test_auth_request(nginx, behind, buffering):
    gatekeeper, mirror = nginx.app("gatekeeper", GATEKEEPER), nginx.app("mirror", MIRROR)
    nginx.page("index.html", "the page\n")
    inner = f"wsgi_app {mirror};" if behind == "wsgi" else f"root {nginx.html};"
    nginx.start(
        f"""
        auth_request /auth;
        auth_request_set $user $sent_http_x_user;
        auth_request_set $seen $sent_http_x_seen;
        add_header X-Auth-User $user;
        add_header X-Auth-Seen $seen;
        {inner}
        """,
        server=f"""
        wsgi_request_buffering {buffering};
        location = /auth {{ internal; wsgi_app {gatekeeper}; }}
        """,
    )
    client = nginx.client()
    for _ in range(3):
        refused = client.get("/")
        assert refused.status_code == 401
        assert refused.headers["WWW-Authenticate"] == "Basic realm=x"
        assert "gatekeeper" not in refused.text
        assert client.get("/", headers={"X-Pass": "bad"}).status_code == 403
        for word in ("good", "made", "none"):
            allowed = client.get("/", headers={"X-Pass": word})
            assert allowed.status_code == 200
            assert allowed.headers["X-Auth-User"] == "alice"
            assert allowed.headers["X-Auth-Seen"] == "GET /auth True"
            if behind == "wsgi":
                assert allowed.json()["path"] == "/"
            else:
                assert allowed.text == "the page\n"
    if behind == "wsgi":
        body = "b" * 50_000
        posted = client.post("/form", content=body, headers={"X-Pass": "good"})
        assert posted.json()["body"] == body
        assert posted.headers["X-Auth-Seen"].endswith(" True")
        assert client.post("/form", content=body).status_code == 401
        assert client.post("/form", content=body, headers={"X-Pass": "good"}).status_code == 200


def test_an_exception_in_an_auth_request(nginx):
    broken = nginx.app(
        "broken", "def application(environ, start_response):\n    raise ValueError\n"
    )
    nginx.page("index.html", "the page\n")
    nginx.start(
        f"auth_request /auth; root {nginx.html};",
        server=f"location = /auth {{ internal; wsgi_app {broken}; }}",
    )
    client = nginx.client()
    for _ in range(3):
        assert client.get("/").status_code == 500


BROKEN = """
    def application(environ, start_response):
        raise ValueError("broken")
"""

PARTS = """
    import time

    def application(environ, start_response):
        kind = environ["PATH_INFO"].removeprefix("/part/")
        headers = [("Content-Type", "text/html"), ("X-Part", "inner")]
        start_response("200 OK", headers)
        if kind == "list":
            return [b"<list>"]
        if kind == "stream":
            return iter([b"<stre", b"", b"am>"])
        if kind == "slow":
            time.sleep(0.2)
            return [b"<slow>"]
        if kind == "big":
            return (b"b" * 10_000 for _ in range(50))
        if kind == "empty":
            return []
        return PAGE
"""

PAGE = (
    'A<!--# include virtual="/part/slow" -->B<!--# include virtual="/part/list" -->C'
    '<!--# include virtual="/part/big" -->D<!--# include virtual="/part/stream" -->E'
    '<!--# include virtual="/part/empty" -->F<!--# include virtual="/static.html" -->G'
)
PARTS += f"\n    PAGE = [{PAGE[:100].encode()!r}, {PAGE[100:].encode()!r}]\n"

ASSEMBLED = "A<slow>B<list>C" + "b" * 500_000 + "D<stream>EF<static>G"


def start_with_includes(nginx):
    """Starts nginx with PAGE by the application and as a file, and returns a client."""
    path = nginx.app("parts", PARTS)
    nginx.page("static.html", "<static>")
    nginx.page("page.html", PAGE)
    nginx.start(
        server=f"""
        ssi on;
        root {nginx.html};
        location / {{ wsgi_app {path}; }}
        location /part/ {{ ssi off; wsgi_app {path}; }}
        location /static.html {{ ssi off; }}
        location /page.html {{ }}
        """
    )
    return nginx.client()


@pytest.mark.parametrize("outer", ["wsgi", "static"])
def test_server_side_includes(nginx, outer):
    client = start_with_includes(nginx)
    for _ in range(5):
        response = client.get("/" if outer == "wsgi" else "/page.html")
        assert response.status_code == 200
        assert response.text == ASSEMBLED
        assert "X-Part" not in response.headers or outer == "wsgi"
    with nginx.connect() as connection:
        connection.send("HEAD / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert connection.response(head_only=True).status == 200
        connection.get("/part/list")
        assert connection.response().body == b"<list>"


def test_a_client_that_leaves_in_the_midst_of_includes(nginx):
    client = start_with_includes(nginx)
    for _ in range(20):
        connection = nginx.connect()
        connection.get("/")
        connection.head()
        connection.reset()
    assert client.get("/").text == ASSEMBLED


def test_addition_before_and_after(nginx):
    path = nginx.app("parts", PARTS)
    nginx.start(
        f"wsgi_app {path}; add_before_body /part/list; add_after_body /part/stream;",
        server=f"location /part/ {{ wsgi_app {path}; }}",
    )
    assert nginx.client().get("/?x").text == f"<list>{PAGE}<stream>"


def test_sub_filter(nginx):
    path = nginx.app("parts", PARTS)
    nginx.start(f"wsgi_app {path}; sub_filter stream river;")
    assert nginx.client().get("/part/stream").text == "<river>"


@pytest.mark.parametrize("body", ["on", "off"])
def test_mirror(nginx, body):
    main = nginx.app("main", MIRROR)
    copy = nginx.app(
        "copy",
        """
        from testkit import record

        def application(environ, start_response):
            record("mirrored", f"{environ['REQUEST_METHOD']} {len(environ['wsgi.input'].read())}")
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [b"never seen" * 1000]
        """,
    )
    nginx.start(
        f"mirror /mirror; mirror_request_body {body}; wsgi_app {main};",
        server=f"location = /mirror {{ internal; wsgi_app {copy}; }}",
    )
    client = nginx.client()
    for count in range(1, 4):
        content = "m" * 20_000
        assert client.post("/x", content=content).json()["body"] == content
        lines = nginx.wait_recorded("mirrored", count)
    assert lines == (["POST 20000"] * 3 if body == "on" else ["POST 0"] * 3)


def test_try_files_to_a_named_location(nginx):
    path = nginx.app("mirror", MIRROR)
    nginx.page("there.txt", "static\n")
    nginx.start(
        f"root {nginx.html}; try_files $uri @app;",
        server=f"location @app {{ wsgi_app {path}; }}",
    )
    client = nginx.client()
    assert client.get("/there.txt").text == "static\n"
    seen = client.post("/elsewhere?q", content="body").json()
    assert (seen["path"], seen["query"], seen["body"]) == ("/elsewhere", "q", "body")


def test_error_page_to_an_application(nginx):
    path = nginx.app(
        "page",
        """
        def application(environ, start_response):
            body = f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']} {environ['REQUEST_URI']}"
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [body.encode()]
        """,
    )
    nginx.start(
        f"root {nginx.html}; error_page 404 /missing;",
        server=f"""
        location = /missing {{ internal; wsgi_app {path}; }}
        location /named {{ root {nginx.html}; error_page 404 = @named; }}
        location @named {{ wsgi_app {path}; }}
        """,
    )
    client = nginx.client()
    response = client.get("/nowhere?x")
    assert (response.status_code, response.text) == (404, "GET /missing /nowhere?x")
    response = client.get("/named/x")
    assert (response.status_code, response.text) == (200, "GET /named/x /named/x")


def test_error_page_from_one_application_to_another(nginx):
    broken = nginx.app(
        "broken", "def application(environ, start_response):\n    raise ValueError\n"
    )
    rescue = nginx.app("rescue", MIRROR)
    nginx.start(
        f"wsgi_app {broken}; error_page 500 = @rescue;",
        server=f"location @rescue {{ wsgi_app {rescue}; }}",
    )
    for _ in range(3):
        # nginx closes the connection of a 500.
        with nginx.connect() as connection:
            connection.send("POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody")
            seen = json.loads(connection.response().body)
            assert (seen["path"], seen["body"]) == ("/x", "body")


def test_rewrite_and_internal_redirect(nginx):
    path = nginx.app("mirror", MIRROR)
    nginx.start(
        "rewrite ^/old/(.*)$ /new/$1?from=old last;",
        server=f"location /new/ {{ wsgi_app {path}; }}",
    )
    seen = nginx.client().get("/old/page?x=1").json()
    assert (seen["path"], seen["query"]) == ("/new/page", "from=old&x=1")


def test_the_application_s_own_errors_are_its_own(nginx):
    path = nginx.app("mirror", MIRROR)
    nginx.start(f"wsgi_app {path}; error_page 404 /other;")
    response = nginx.client().get("/missing")
    assert (response.status_code, response.text) == (404, "nothing")


def test_access_control_before_the_application(nginx):
    path = nginx.app(
        "app",
        """
        from testkit import record

        def application(environ, start_response):
            record("called")
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [b"in"]
        """,
    )
    nginx.start(f"deny all; wsgi_app {path};")
    assert nginx.client().get("/").status_code == 403
    assert not nginx.recorded("called")


def test_limit_except_and_limit_req(nginx):
    path = nginx.app("mirror", MIRROR)
    nginx.start(
        f"wsgi_app {path}; limit_except GET {{ deny all; }}",
        server=f"location /limited {{ wsgi_app {path}; limit_req zone=one; }}",
        http="limit_req_zone $binary_remote_addr zone=one:1m rate=1r/m;",
    )
    client = nginx.client()
    assert client.get("/").status_code == 200
    assert client.post("/", content="x").status_code == 403
    assert client.get("/limited").status_code == 200
    assert client.get("/limited").status_code == 503


def test_the_access_log(nginx, serve):
    serve(
        """
        def application(environ, start_response):
            start_response("404 Not Here", [("Content-Type", "text/plain")])
            return [b"nothing"]
        """,
        "access_log logs/own.log own;",
        http="log_format own '$status $body_bytes_sent $request_time $sent_http_content_type';",
    )
    assert nginx.client().get("/missing").text == "nothing"
    log = nginx.root / "logs" / "own.log"
    wait_for(lambda: log.exists() and log.read_text(), what="the access log")
    status, sent, _, kind = log.read_text().split()
    assert (status, sent, kind) == ("404", "7", "text/plain")
