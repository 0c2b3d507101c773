"""environ: PEP 3333, "environ Variables", and what users of other servers rely on."""

from __future__ import annotations

import json

import pytest
from harness import EXECUTOR

SHOW = """
    import json
    from wsgiref.validate import validator

    def show(environ, start_response):
        seen = {
            key: [type(value).__name__, value if isinstance(value, (str, bool, tuple)) else None]
            for key, value in environ.items()
        }
        body = json.dumps(seen).encode()
        start_response("200 OK", [("Content-Type", "application/json")])
        return [body]

    application = validator(show)
"""


class Environ(dict):
    """The environ that the application saw; `types` holds the name of each value's type."""

    def __init__(self, body: bytes) -> None:
        seen = json.loads(body)
        super().__init__({key: value for key, (_, value) in seen.items()})
        self.types = {key: kind for key, (kind, _) in seen.items()}


@pytest.fixture
def show(nginx):
    """Starts nginx with an application that shows its environ; options are those of `start`."""

    def start(location: str = "", **options):
        path = nginx.app("show", SHOW)
        return nginx.start(f"wsgi_app {path};\n{location}", **options)

    return start


def ask(nginx, request: bytes | str) -> Environ:
    """The environ of one raw request."""
    with nginx.connect() as connection:
        connection.send(request)
        response = connection.response()
    assert response.status == 200, response
    return Environ(response.body)


def test_what_pep_3333_requires(nginx, show):
    show()
    with nginx.connect() as connection:
        connection.get("/a/b?x=1&y=2")
        environ = Environ(connection.response().body)
        client_port = connection.sock.getsockname()[1]
    assert environ["REQUEST_METHOD"] == "GET"
    assert environ["SCRIPT_NAME"] == ""
    assert environ["PATH_INFO"] == "/a/b"
    assert environ["QUERY_STRING"] == "x=1&y=2"
    assert environ["SERVER_PROTOCOL"] == "HTTP/1.1"
    assert environ["SERVER_PORT"] == str(nginx.port)
    assert environ["SERVER_NAME"]
    assert "/" in environ["SERVER_SOFTWARE"]
    assert environ["REMOTE_ADDR"] == "127.0.0.1"
    assert environ["REMOTE_PORT"] == str(client_port)
    assert environ["HTTP_HOST"] == "localhost"
    assert environ["REQUEST_URI"] == environ["RAW_URI"] == "/a/b?x=1&y=2"
    assert environ["wsgi.version"] == [1, 0]
    assert environ["wsgi.url_scheme"] == "http"
    assert environ["wsgi.multithread"] is (EXECUTOR != "inline")
    assert environ["wsgi.multiprocess"] is True
    assert environ["wsgi.run_once"] is False
    assert environ["wsgi.input_terminated"] is True


def test_keys_and_values_are_native_strings(nginx, show):
    show()
    environ = ask(nginx, "GET / HTTP/1.1\r\nHost: x\r\nX-One: 1\r\n\r\n")
    for key, kind in environ.types.items():
        if "." not in key:
            assert kind == "str", (key, kind)
    assert environ.types["wsgi.version"] == "tuple"
    assert environ.types["wsgi.url_scheme"] == "str"


def test_always_present_even_when_empty(nginx, show):
    show()
    environ = ask(nginx, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert environ["QUERY_STRING"] == ""
    assert environ["SCRIPT_NAME"] == ""
    assert not environ.get("CONTENT_LENGTH")
    assert not environ.get("CONTENT_TYPE")


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        ("/caf%C3%A9", "/caf\xc3\xa9", ""),
        ("/a%20b%3Fc", "/a b?c", ""),
        ("/a%2Fb", "/a/b", ""),
        ("/%25", "/%", ""),
        ("/a//b/./c/../d", "/a/b/d", ""),
        ("/p?q=%C3%A9+%20&&=", "/p", "q=%C3%A9+%20&&="),
        ("/p?", "/p", ""),
        ("/p?a?b", "/p", "a?b"),
        ("/\xe9?\xe9", "/\xe9", "\xe9"),
        ("/x;y=1,2", "/x;y=1,2", ""),
        ("/" + "x" * 4000, "/" + "x" * 4000, ""),
    ],
)
def test_path_and_query(nginx, show, target, path, query):
    show()
    environ = ask(nginx, f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n")
    assert environ["PATH_INFO"] == path
    assert environ["QUERY_STRING"] == query
    assert environ["REQUEST_URI"] == environ["RAW_URI"] == target


@pytest.mark.parametrize("host", ["Host: example.org\r\n", "Host: other.example:82\r\n", ""])
def test_absolute_form(nginx, show, host):
    # RFC 9112, 3.2.2: the host of the target replaces that of the Host field.
    show(server="server_name example.org;")
    environ = ask(nginx, f"GET http://Example.org:81/x?y HTTP/1.0\r\n{host}\r\n")
    assert environ["PATH_INFO"] == "/x"
    assert environ["QUERY_STRING"] == "y"
    assert environ["REQUEST_URI"].endswith("/x?y")
    assert environ["HTTP_HOST"] == "Example.org:81"
    assert environ["SERVER_NAME"] == "example.org"


def test_absolute_form_without_request_headers(nginx, show):
    show("wsgi_pass_request_headers off;")
    environ = ask(nginx, "GET http://example.org/ HTTP/1.1\r\nHost: other.example\r\n\r\n")
    assert "HTTP_HOST" not in environ


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PURGE"])
def test_methods(nginx, show, method):
    path = nginx.app("plain", SHOW.replace("validator(show)", "show"))
    nginx.start(f"wsgi_app {path};")
    environ = ask(nginx, f"{method} / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
    assert environ["REQUEST_METHOD"] == method


def test_request_headers(nginx, show):
    show()
    environ = ask(
        nginx,
        "POST / HTTP/1.1\r\nHost: example.org:8080\r\n"
        "Content-Type: text/x-test; a=b\r\nContent-Length: 3\r\n"
        "X-Simple: a  b\r\nx-lower-case: 1\r\nX-Empty:\r\nX-Latin: caf\xe9\r\n"
        "Authorization: Basic dTpw\r\nUser-Agent: t\r\nAccept: */*\r\nX-Colon: a:b\r\n\r\nabc",
    )
    assert environ["CONTENT_TYPE"] == "text/x-test; a=b"
    assert environ["CONTENT_LENGTH"] == "3"
    assert "HTTP_CONTENT_TYPE" not in environ
    assert "HTTP_CONTENT_LENGTH" not in environ
    assert environ["HTTP_HOST"] == "example.org:8080"
    assert environ["HTTP_X_SIMPLE"] == "a  b"
    assert environ["HTTP_X_LOWER_CASE"] == "1"
    assert environ["HTTP_X_EMPTY"] == ""
    assert environ["HTTP_X_LATIN"] == "caf\xe9"
    assert environ["HTTP_AUTHORIZATION"] == "Basic dTpw"
    assert environ["HTTP_USER_AGENT"] == "t"
    assert environ["HTTP_ACCEPT"] == "*/*"
    assert environ["HTTP_X_COLON"] == "a:b"


def test_repeated_headers_are_joined(nginx, show):
    show()
    environ = ask(
        nginx,
        "GET / HTTP/1.1\r\nHost: x\r\nX-Many: a\r\nCookie: k=1\r\nX-Many: b\r\n"
        "Accept: text/html\r\nCookie: l=2; m=3\r\nAccept: text/plain\r\nX-Many: c\r\n"
        "X-Forwarded-For: 10.0.0.1\r\nX-Forwarded-For: 10.0.0.2\r\nCookie: n=4\r\n\r\n",
    )
    assert environ["HTTP_X_MANY"] == "a, b, c"
    assert environ["HTTP_COOKIE"] == "k=1; l=2; m=3; n=4"
    assert environ["HTTP_ACCEPT"] == "text/html, text/plain"
    assert environ["HTTP_X_FORWARDED_FOR"] == "10.0.0.1, 10.0.0.2"


def test_as_many_repeated_headers_as_fit_are_joined(nginx, show):
    show(server="large_client_header_buffers 4 32k; underscores_in_headers on;")
    names = {
        "one name": lambda number: "a",
        "a hundred names": lambda number: f"x{number % 100}",
        "two spellings": lambda number: ["a-b", "A-B"][number % 2],
        "an underscore": lambda number: ["a-b", "a_b"][number % 2],
    }
    for what, name in names.items():
        count = 900  # nginx accepts no more than 1000, from 1.29.8 on and where that is backported.
        fields = [(name(number), str(number)) for number in range(count)]
        lines = "".join(f"{name}:{value}\r\n" for name, value in fields)
        environ = ask(nginx, f"GET / HTTP/1.1\r\nHost: x\r\n{lines}\r\n")
        expected: dict[str, list[str]] = {}
        for key, value in fields:
            if "_" not in key:
                expected.setdefault(f"HTTP_{key.upper().replace('-', '_')}", []).append(value)
        found = {key: environ[key] for key in expected}
        assert found == {key: ", ".join(values) for key, values in expected.items()}, what


def test_cookies_of_http2_are_joined(nginx, show):
    show(http2=True)
    client = nginx.client(http2=True)
    headers = [("Cookie", "a=1"), ("Cookie", "b=2"), ("X-Two", "1"), ("X-Two", "2")]
    response = client.get("/", headers=headers)
    environ = Environ(response.content)
    assert response.http_version == "HTTP/2"
    assert environ["HTTP_COOKIE"] == "a=1; b=2"
    assert environ["HTTP_X_TWO"] == "1, 2"
    assert environ["SERVER_PROTOCOL"] == "HTTP/2.0"
    assert environ["HTTP_HOST"] == f"127.0.0.1:{nginx.port}"


def test_proxy_header_never_arrives(nginx, show):
    show()
    environ = ask(nginx, "GET / HTTP/1.1\r\nHost: x\r\nProxy: http://evil\r\npRoXy: x\r\n\r\n")
    assert "HTTP_PROXY" not in environ


def test_proxy_header_never_arrives_by_an_underscore(nginx, show):
    show(server="underscores_in_headers on;")
    environ = ask(nginx, "GET / HTTP/1.1\r\nHost: x\r\nX_Y: 1\r\n\r\n")
    assert environ["HTTP_X_Y"] == "1"
    assert "HTTP_PROXY" not in environ


def test_an_underscore_cannot_shadow_a_dash(nginx, show):
    show()
    environ = ask(nginx, "GET / HTTP/1.1\r\nHost: x\r\nX_User: evil\r\nX-User: good\r\n\r\n")
    assert environ["HTTP_X_USER"] == "good"


def test_many_and_long_headers(nginx, show):
    show(server="large_client_header_buffers 8 32k;")
    many = "".join(f"X-H{number}: {number}\r\n" for number in range(200))
    long = "v" * 20000
    environ = ask(nginx, f"GET / HTTP/1.1\r\nHost: x\r\n{many}X-Long: {long}\r\n\r\n")
    assert [environ[f"HTTP_X_H{number}"] for number in range(200)] == [str(n) for n in range(200)]
    assert environ["HTTP_X_LONG"] == long


def test_os_environ_is_not_copied(nginx, show):
    show(http="python_env PYWSGI_SECRET=hunter2;")
    environ = ask(nginx, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert "PYWSGI_SECRET" not in environ
    assert not {"PATH", "HOME", "LANG"} & environ.keys()


def test_http_1_0_without_a_host(nginx, show):
    show()
    with nginx.connect() as connection:
        connection.send("GET /old HTTP/1.0\r\n\r\n")
        environ = Environ(connection.response().body)
    assert environ["SERVER_PROTOCOL"] == "HTTP/1.0"
    assert "HTTP_HOST" not in environ
    assert environ["SERVER_NAME"]
    assert environ["PATH_INFO"] == "/old"


def test_http_0_9(nginx, show):
    show()
    # A response of HTTP/0.9 has no head.
    environ = Environ(nginx.raw(b"GET /older\r\n"))
    assert environ["SERVER_PROTOCOL"] == "HTTP/0.9"
    assert environ["PATH_INFO"] == "/older"


@pytest.mark.parametrize(
    ("server_name", "host", "expected"),
    [
        ("server_name first.example second.example;", "second.example", "first.example"),
        ("server_name _;", "asked.example:81", "asked.example"),
        ("", "asked.example", "asked.example"),
        ("server_name *.example;", "asked.example", "asked.example"),
        ("server_name ~^a.*$;", "asked.example", "asked.example"),
    ],
)
def test_server_name(nginx, show, server_name, host, expected):
    show(server=server_name)
    environ = ask(nginx, f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")
    assert environ["SERVER_NAME"] == expected
    assert environ["HTTP_HOST"] == host


def test_tls(nginx, show):
    show(listen="ssl", server=nginx.tls())
    environ = Environ(nginx.client(tls=True).get("/").content)
    assert environ["wsgi.url_scheme"] == "https"
    assert environ["HTTPS"] == "on"
    assert environ["SERVER_PORT"] == str(nginx.port)


def test_plain_http_is_not_https(nginx, show):
    show()
    environ = ask(nginx, "GET / HTTP/1.1\r\nHost: x\r\nHTTPS: on\r\n\r\n")
    assert environ.get("HTTPS", "off") in ("off", "")
    assert environ["wsgi.url_scheme"] == "http"


def test_https_by_wsgi_param(nginx, show):
    show("wsgi_param HTTPS on;")
    environ = ask(nginx, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert environ["HTTPS"] == "on"
    assert environ["wsgi.url_scheme"] == "https"


def test_each_request_has_an_environ_of_its_own(nginx):
    path = nginx.app(
        "mutate",
        """
        def application(environ, start_response):
            seen = environ.get("SERVER_NAME"), environ.get("wsgi.version"), "left" in environ
            exact = type(environ) is dict
            environ["left"] = "behind"
            environ["SERVER_NAME"] = "changed"
            environ["wsgi.version"] = (9, 9)
            environ.pop("SCRIPT_NAME")
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [repr((seen, exact)).encode()]
        """,
    )
    nginx.start(f"wsgi_app {path};", server="server_name fixed.example;")
    client = nginx.client()
    for _ in range(20):
        assert client.get("/").text == repr((("fixed.example", (1, 0), False), True))


def test_errors_and_input_have_their_methods(nginx):
    path = nginx.app(
        "methods",
        """
        def application(environ, start_response):
            wanted = {
                "wsgi.input": ["read", "readline", "readlines", "__iter__"],
                "wsgi.errors": ["write", "writelines", "flush"],
            }
            missing = [
                f"{key}.{name}"
                for key, names in wanted.items()
                for name in names
                if not callable(getattr(environ[key], name, None))
            ]
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [repr(missing).encode()]
        """,
    )
    nginx.start(f"wsgi_app {path};")
    assert nginx.client().get("/").text == "[]"
