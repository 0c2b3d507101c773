"""The scope of http: the ASGI specification's "HTTP Connection Scope", key by key."""

from __future__ import annotations

import httpx
import pytest
from harness import HAS_HTTP3, free_port
from rawhttp2 import Http2

KEYS = {
    "type",
    "asgi",
    "http_version",
    "method",
    "scheme",
    "path",
    "raw_path",
    "query_string",
    "root_path",
    "headers",
    "client",
    "server",
    "extensions",
}


@pytest.fixture
def ask(show, fetch):
    """`ask("/path")` starts nginx if it does not run, and returns the scope of that target."""

    def scope(target: str | bytes = "/", headers: bytes = b"", version: str = "1.1") -> dict:
        target = target.encode() if isinstance(target, str) else target
        line = b"GET " + target + b" HTTP/" + version.encode() + b"\r\n"
        response = fetch(line + b"Host: x\r\nConnection: close\r\n" + headers + b"\r\n")
        assert response.status == 200, response
        return show.of(response)

    return scope


def test_every_key_has_its_type(show, ask):
    show()
    scope = ask("/a/b?x=1&y=2")
    assert set(scope) - {"state"} == KEYS
    assert scope["type"] == "http"
    assert scope["asgi"] == {"version": "3.0", "spec_version": "2.5"}
    assert scope["http_version"] == "1.1"
    assert scope["method"] == "GET"
    assert scope["scheme"] == "http"
    assert (scope["path"], scope["raw_path"]) == ("/a/b", b"/a/b")
    assert scope["query_string"] == b"x=1&y=2"
    assert scope["root_path"] == ""
    assert [tuple(field) for field in scope["headers"]] == [
        (b"host", b"x"),
        (b"connection", b"close"),
    ]


def test_objects_are_exactly_the_built_in_ones(serve, fetch):
    """Frameworks check with `type(…) is`, and copy with `dict(scope)`."""
    serve(
        """
        from testkit import respond

        async def application(scope, receive, send):
            kinds = {key: type(value).__name__ for key, value in scope.items()}
            kinds["scope"] = type(scope).__name__
            kinds["port"] = type(scope["client"][1]).__name__
            kinds["field"] = {type(part).__name__ for field in scope["headers"] for part in field}
            await respond(send, repr(kinds).encode())
        """
    )
    kinds = eval(fetch().body)
    for key in ("type", "http_version", "method", "scheme", "path", "root_path"):
        assert kinds[key] == "str"
    assert kinds["raw_path"] == kinds["query_string"] == "bytes"
    assert kinds["asgi"] == kinds["extensions"] == kinds["scope"] == "dict"
    assert kinds["headers"] == "list"
    assert kinds["client"] in ("tuple", "list")
    assert kinds["server"] in ("tuple", "list")
    assert kinds["port"] == "int"
    assert kinds["field"] == {"bytes"}


@pytest.mark.parametrize(
    ("target", "path", "raw_path", "query"),
    [
        ("/", "/", b"/", b""),
        ("/?", "/", b"/", b""),
        ("/a?b?c", "/a", b"/a", b"b?c"),
        ("/a?x=%20%C3%A9+", "/a", b"/a", b"x=%20%C3%A9+"),
        ("/a%20b", "/a b", b"/a%20b", b""),
        ("/a%2Fb", "/a/b", b"/a%2Fb", b""),
        ("/a%3Fb", "/a?b", b"/a%3Fb", b""),
        ("/a//b/./c/../d", "/a/b/d", b"/a//b/./c/../d", b""),
        ("/caf%C3%A9/%E2%82%AC", "/café/€", b"/caf%C3%A9/%E2%82%AC", b""),
        ("/café", "/café", "/café".encode(), b""),
        ("/%F0%9F%90%8D", "/🐍", b"/%F0%9F%90%8D", b""),
        ("/a%252Fb", "/a%2Fb", b"/a%252Fb", b""),
        ("/a;b=c,d", "/a;b=c,d", b"/a;b=c,d", b""),
        ("http://x/abs?q", "/abs", b"/abs", b"q"),
        ("http://x", "/", b"/", b""),
    ],
)
def test_path_is_what_nginx_matched_and_raw_path_what_was_sent(
    show, ask, target, path, raw_path, query
):
    show()
    scope = ask(target)
    assert (scope["path"], scope["raw_path"], scope["query_string"]) == (path, raw_path, query)


@pytest.mark.parametrize("sent", [b"/a%FFb", b"/a\xffb", b"/%C3", b"/%ED%A0%80"])
def test_a_path_that_is_no_utf_8_can_be_shown(show, ask, sent):
    """It can be encoded again, so that logs and templates do not fail; raw_path has the bytes."""
    show()
    scope = ask(sent)
    assert scope["raw_path"] == sent
    assert scope["path"].encode("utf-8")
    assert "\N{REPLACEMENT CHARACTER}" in scope["path"]


def test_headers_are_lower_case_in_the_order_sent_and_apart(show, ask):
    show()
    scope = ask(
        headers=b"X-One: 1\r\nAccept: */*\r\nx-two: 2\r\nX-ONE: 3\r\nCookie: a=1\r\n"
        b"accept: text/html\r\nCookie: b=2\r\nX-Empty:\r\nX-Spaces:  in  side  \r\n"
    )
    assert [tuple(field) for field in scope["headers"]] == [
        (b"host", b"x"),
        (b"connection", b"close"),
        (b"x-one", b"1"),
        (b"accept", b"*/*"),
        (b"x-two", b"2"),
        (b"x-one", b"3"),
        (b"cookie", b"a=1"),
        (b"accept", b"text/html"),
        (b"cookie", b"b=2"),
        (b"x-empty", b""),
        (b"x-spaces", b"in  side"),
    ]


def test_values_are_the_bytes_that_were_sent(show, ask):
    show()
    headers = dict(ask(headers=b"X-Latin: caf\xe9\r\nX-Utf: caf\xc3\xa9\r\n")["headers"])
    assert headers[b"x-latin"] == b"caf\xe9"
    assert headers[b"x-utf"] == b"caf\xc3\xa9"


def test_many_and_long_headers(show, ask):
    show()
    fields = [(f"x-{number}".encode(), b"v" * number * 7) for number in range(90)]
    sent = b"".join(name + b": " + value + b"\r\n" for name, value in fields)
    assert [tuple(field) for field in ask(headers=sent)["headers"]][2:] == fields


def test_underscores_are_nginx_s_to_allow(show, ask):
    show(server="underscores_in_headers on;")
    assert (b"x_under", b"1") in map(tuple, ask(headers=b"X_Under: 1\r\n")["headers"])


@pytest.mark.parametrize(
    ("version", "expected"), [("1.0", "1.0"), ("1.1", "1.1"), ("1.2", "1.1"), ("1.9", "1.1")]
)
def test_http_version(show, ask, version, expected):
    show()
    assert ask(version=version)["http_version"] == expected


@pytest.mark.parametrize("method", ["GET", "POST", "PROPFIND", "X-OWN_METHOD"])
def test_method(show, fetch, method):
    show()
    response = fetch(f"{method} / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert show.of(response)["method"] == method


def test_a_request_without_host(show, fetch):
    show(server="server_name fixed.example;")
    scope = show.of(fetch("GET / HTTP/1.0\r\n\r\n"))
    assert (scope["headers"], scope["http_version"]) == ([], "1.0")


def test_client_and_server_over_tcp(show, nginx):
    show()
    with nginx.connect() as connection:
        connection.get()
        scope = show.of(connection.response())
        assert tuple(scope["client"]) == connection.sock.getsockname()
        assert tuple(scope["server"]) == ("127.0.0.1", nginx.port)


def test_client_and_server_over_ipv6(show, nginx):
    port = free_port()
    show(server=f"listen [::1]:{port};")
    with httpx.Client(trust_env=False, timeout=60) as client:
        scope = show.of(client.get(f"http://[::1]:{port}/"))
    host, number = scope["client"]
    assert host == "::1"
    assert number > 0
    assert tuple(scope["server"]) == ("::1", port)
    assert dict(scope["headers"])[b"host"] == f"[::1]:{port}".encode()


def test_client_and_server_over_a_unix_socket(show, nginx):
    """It has no client's address; its server is its path."""
    path = nginx.root / "a.sock"
    show(server=f"listen unix:{path};")
    with nginx.connect(unix=path) as connection:
        connection.get()
        scope = show.of(connection.response())
    assert scope["client"] is None
    assert tuple(scope["server"]) == (str(path), None)


def test_server_is_where_it_listens_though_it_listens_everywhere(show, nginx):
    port = free_port()
    show(server=f"listen {port};")
    with httpx.Client(trust_env=False, timeout=60) as client:
        scope = show.of(client.get(f"http://127.0.0.1:{port}/"))
    assert tuple(scope["server"]) == ("127.0.0.1", port)


def test_client_is_whom_realip_has_found(show, ask):
    show(server="set_real_ip_from 127.0.0.1; real_ip_header X-Forwarded-For;")
    host, port = ask(headers=b"X-Forwarded-For: 192.0.2.7\r\n")["client"]
    assert (host, port) == ("192.0.2.7", 0)
    host, _ = ask(headers=b"X-Forwarded-For: 2001:db8::7\r\n")["client"]
    assert host == "2001:db8::7"


@pytest.mark.parametrize("http2", [False, True])
def test_scheme_and_version_over_tls(show, nginx, http2):
    show(listen="ssl http2" if http2 else "ssl", server=nginx.tls())
    scope = show.of(nginx.client(http2=http2, tls=True).get("/"))
    assert (scope["scheme"], scope["http_version"]) == ("https", "2" if http2 else "1.1")
    assert tuple(scope["server"]) == ("127.0.0.1", nginx.port)


def test_http_2_has_host_first_no_pseudo_headers_and_cookies(show, nginx):
    """nginx joins the cookies of HTTP/2, which a client may split, as RFC 9113 8.2.3 asks."""
    show(http2=True)
    fields = {"x-first": "1", "cookie": "a=1", "x-last": "2"}
    with Http2(nginx.port) as client:
        scope = show.of(client.response(client.request("/%61?q", fields=fields)))
    assert (scope["path"], scope["raw_path"], scope["query_string"]) == ("/a", b"/%61", b"q")
    assert tuple(scope["headers"][0]) == (b"host", b"localhost")
    headers = [tuple(field) for field in scope["headers"]]
    assert sorted(headers) == [
        (b"cookie", b"a=1"),
        (b"host", b"localhost"),
        (b"x-first", b"1"),
        (b"x-last", b"2"),
    ]
    assert headers.index((b"x-first", b"1")) < headers.index((b"x-last", b"2"))
    with nginx.client(http2=True) as client:
        split = [("cookie", "a=1"), ("cookie", "b=2")]
        headers = show.of(client.get("/", headers=split))["headers"]
    assert [value for name, value in headers if name == b"cookie"] in (
        [b"a=1; b=2"],
        [b"a=1", b"b=2"],
    )


if HAS_HTTP3:

    def test_http_3(show, nginx):
        from rawhttp3 import run

        async def conversation(client):
            answer = await client.get("/%61?q", headers=[("x-first", "1"), ("cookie", "a=1")])
            scope = show.of(answer)
            assert (scope["http_version"], scope["scheme"]) == ("3", "https")
            assert (scope["path"], scope["raw_path"]) == ("/a", b"/%61")
            assert tuple(scope["headers"][0]) == (b"host", b"localhost")
            assert (b"x-first", b"1") in map(tuple, scope["headers"])
            assert tuple(scope["server"]) == ("127.0.0.1", nginx.port)

        show(server=f"listen 127.0.0.1:{nginx.port} quic;\n{nginx.tls()}")
        run(nginx.port, conversation)


@pytest.mark.parametrize(
    ("target", "root_path"),
    [("/api/x", "/api"), ("/api", "/api"), ("/api/", "/api"), ("/apis", ""), ("/x", "")],
)
def test_root_path(show, ask, target, root_path):
    """`path` stays whole: applications strip `root_path` from it (asgiref, Starlette)."""
    show("asgi_script_name /api;")
    scope = ask(target)
    assert (scope["path"], scope["root_path"]) == (target, root_path)


def test_root_path_is_never_a_header_s(show, ask):
    show()
    assert ask(headers=b"X-Script-Name: /evil\r\nScript-Name: /evil\r\n")["root_path"] == ""


def test_each_request_has_a_scope_of_its_own(serve, nginx):
    serve(
        """
        from testkit import respond

        async def application(scope, receive, send):
            text = repr([scope["asgi"], scope["headers"][0], sorted(scope["extensions"]),
                         scope["server"], "left" in scope])
            scope["left"] = "behind"
            scope["asgi"]["version"] = "changed"
            scope["headers"].insert(0, (b"left", b"behind"))
            scope["extensions"].clear()
            scope["extensions"]["left"] = {}
            scope["server"] = None
            scope["path"] = "changed"
            await respond(send, text.encode())
        """
    )
    client = nginx.client()
    first = client.get("/").text
    assert "3.0" in first
    assert [client.get("/").text for _ in range(20)] == [first] * 20


def test_one_extension_s_dict_is_not_another_request_s(serve, nginx):
    serve(
        """
        from testkit import respond

        async def application(scope, receive, send):
            text = repr(scope["extensions"])
            for extension in scope["extensions"].values():
                extension["left"] = "behind"
            await respond(send, text.encode())
        """
    )
    client = nginx.client()
    assert all("left" not in client.get("/").text for _ in range(10))


def test_params_are_an_extension(show, ask):
    show("asgi_param WHO $remote_addr; asgi_param NAME of-the-site;")
    params = ask()["extensions"]["pywsgi.params"]
    assert params == {"WHO": "127.0.0.1", "NAME": "of-the-site"}
