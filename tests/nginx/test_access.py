"""nginx's access phase before an application: auth_request, auth_basic, allow, satisfy."""

from __future__ import annotations

import pytest
from harness import NGINX_VERSION
from nginx.wire import said

# Answers with one line for each of these keys of environ.
SOURCE = """
    from wsgiref.validate import validator

    KEYS = ("REQUEST_METHOD", "PATH_INFO", "REMOTE_USER", "X_WHO")

    @validator
    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain"), ("X-Own", "mine")])
        body = environ["wsgi.input"].read(65536).decode("latin-1")
        lines = [f"{key}={environ[key]}" for key in KEYS if key in environ]
        return ["\\n".join([*lines, f"body={body}"]).encode("latin-1")]
"""
# Answers auth_request with ?code of the main request (200 by default), and with headers that say
# what it has found out.
JUDGE = """
    from testkit import record

    def application(environ, start_response):
        code = environ["REQUEST_URI"].partition("code=")[2] or "200"
        body = environ["wsgi.input"].read()
        record("asked", f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']} {len(body)} "
                        f"{environ.get('HTTP_COOKIE')}")
        headers = [("Content-Type", "text/plain"), ("X-User", "ann"), ("Set-Cookie", "s=1"),
                   ("Cache-Control", "no-store")]
        if code == "401":
            headers.append(("WWW-Authenticate", 'Basic realm="judge"'))
            if environ["REQUEST_URI"].startswith("/many"):
                headers.insert(0, ("WWW-Authenticate", "Negotiate"))
                headers.append(("WWW-Authenticate", "Bearer"))
        start_response(f"{code} Judged", headers)
        return [b"a body that nobody reads"]
"""


@pytest.fixture
def app(protocol):
    return f"{protocol}_app {protocol.wrap('twin', SOURCE)};"


@pytest.fixture
def judged(nginx, protocol, app):
    """An application behind `auth_request`, which another application answers."""
    judge = protocol.wrap("judge", JUDGE)

    def start(more: str = "", *, http2: bool = False):
        nginx.start(
            server=f"""
            location /judge {{ internal; {protocol}_app {judge}; {protocol.like_wsgi} }}
            location / {{
                auth_request /judge;
                auth_request_set $who $sent_http_x_user;
                {protocol}_param X_WHO $who if_not_empty;
                {app} {more}
            }}
            """,
            http2=http2,
        )
        return nginx.client(http2=http2)

    return start


@pytest.mark.parametrize("http2", [False, True])
def test_auth_request_lets_through(nginx, judged, http2):
    client = judged(http2=http2)
    for _ in range(2):
        response = client.post("/x", content=b"form", headers={"Cookie": "a=b"})
        answer = said(response)
        assert answer["REQUEST_METHOD"] == "POST"
        assert answer["X_WHO"] == "ann"
        assert answer["body"] == "form"
        # The headers of the auth_request's response are not passed on by themselves.
        assert "set-cookie" not in response.headers
        assert "x-user" not in response.headers
    # nginx asks by GET and keeps the body for the main request.
    assert nginx.recorded("asked") == ["GET /judge 0 a=b"] * 2


@pytest.mark.parametrize("http2", [False, True])
def test_auth_request_refuses(nginx, judged, http2):
    client = judged(http2=http2)
    for _ in range(2):
        response = client.post("/x?code=401", content=b"form")
        assert response.status_code == 401
        assert response.headers["www-authenticate"] == 'Basic realm="judge"'
        assert "401 Authorization Required" in response.text
        forbidden = client.post("/x?code=403", content=b"form")
        assert forbidden.status_code == 403
        assert "www-authenticate" not in forbidden.headers
        assert "403 Forbidden" in forbidden.text
    assert said(client.get("/x"))["REQUEST_METHOD"] == "GET"


@pytest.mark.parametrize("http2", [False, True])
def test_auth_request_passes_on_every_challenge(nginx, judged, http2):
    """Before 1.23 nginx passes on the first only, as for an upstream."""
    client = judged(http2=http2)
    response = client.get("/many?code=401")
    every = ["Negotiate", 'Basic realm="judge"', "Bearer"]
    expected = every if NGINX_VERSION >= (1, 23, 0) else every[:1]
    assert response.headers.get_list("www-authenticate") == expected


@pytest.mark.parametrize("code", ["302", "404", "500", "503"])
def test_auth_request_has_no_other_answers(nginx, judged, code):
    client = judged()
    assert client.get(f"/x?code={code}").status_code == 500
    nginx.wait_log(f"auth request unexpected status: {code}")
    assert client.get("/x?code=204").status_code == 200


def test_auth_request_and_a_page_for_those_refused(nginx, protocol, app):
    judge = protocol.wrap("judge", JUDGE)
    login = protocol.wrap(
        "login",
        """
        def application(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [f"log in to see {environ['REQUEST_URI']}".encode()]
        """,
    )
    nginx.start(
        server=f"location = /judge {{ internal; {protocol}_app {judge}; }}\n"
        f"location / {{ auth_request /judge; {app} error_page 401 @login; }}\n"
        f"location @login {{ {protocol}_app {login}; }} {protocol.like_wsgi}"
    )
    response = nginx.client().get("/secret?code=401")
    assert (response.status_code, response.text) == (401, "log in to see /secret?code=401")


def test_auth_request_whose_application_raises(nginx, protocol, app):
    broken = protocol.wrap(
        "broken", "def application(environ, start_response):\n    raise KeyError(1)"
    )
    nginx.start(
        server=f"location = /judge {{ {protocol}_app {broken}; }}\n"
        f"location / {{ auth_request /judge; {app} }}"
    )
    client = nginx.client()
    for _ in range(2):
        assert client.post("/x", content=b"form").status_code == 500
    nginx.wait_log("KeyError")


def passwords(nginx) -> str:
    """`auth_basic` with the user ann, whose password is secret."""
    path = nginx.page("passwords", "ann:{PLAIN}secret\n")
    return f'auth_basic "the office"; auth_basic_user_file {path};'


@pytest.mark.parametrize("kind", ["any", "all"])
def test_satisfy(nginx, app, kind):
    nginx.start(
        server=f"""
        satisfy {kind};
        {passwords(nginx)}
        location /inside {{ allow 127.0.0.1; deny all; {app} }}
        location /outside {{ deny all; {app} }}
        location /asked {{ allow 127.0.0.1; deny all; auth_request /yes; {app} }}
        location /refused {{ deny all; auth_request /no; {app} }}
        location /yes {{ satisfy any; allow all; return 204; }}
        location /no {{ satisfy any; allow all; return 403; }}
        """
    )
    client = nginx.client()
    known = {"auth": ("ann", "secret")}

    def statuses(path: str) -> list[int]:
        wrong = client.get(path, auth=("ann", "wrong"))
        return [r.status_code for r in (client.get(path), wrong, client.get(path, **known))]

    if kind == "any":
        assert statuses("/inside") == [200, 200, 200]
        assert statuses("/outside") == [401, 401, 200]
        assert statuses("/asked") == [200, 200, 200]
    else:
        assert statuses("/inside") == [401, 401, 200]
        assert statuses("/outside") == [403, 403, 403]
        assert statuses("/asked") == [401, 401, 200]
        assert statuses("/refused") == [403, 403, 403]
    challenge = client.get("/outside" if kind == "any" else "/inside").headers["www-authenticate"]
    assert challenge == 'Basic realm="the office"'


def test_basic_authentication_names_the_user(nginx, protocol, app):
    nginx.start(
        f"{app} {passwords(nginx)} {protocol}_param REMOTE_USER $remote_user if_not_empty;",
        server=f"location /open {{ {app} }}",
    )
    client = nginx.client()
    assert client.get("/").status_code == 401
    assert said(client.get("/", auth=("ann", "secret")))["REMOTE_USER"] == "ann"
    # nginx does not set a user from a header that it has not checked.
    assert "REMOTE_USER" not in said(client.get("/open", auth=("ann", "wrong")))


@pytest.mark.parametrize(
    ("method", "status"), [("GET", 200), ("HEAD", 200), ("POST", 403), ("DELETE", 403)]
)
def test_limit_except(nginx, app, method, status):
    nginx.start(f"limit_except GET {{ deny all; }} {app}")
    client = nginx.client()
    for _ in range(2):
        response = client.request(method, "/", content=b"x" * 100_000 if method == "POST" else b"")
        assert response.status_code == status


def test_limit_except_is_not_an_application_s_place(nginx, protocol, app):
    result = nginx.check(f"limit_except GET {{ {app} }}")
    assert result.returncode != 0
    assert f'"{protocol}_app" directive is not allowed here' in result.stderr


def test_internal(nginx, app):
    nginx.start(
        server=f"location /shut {{ internal; {app} }}\n"
        "location /rewritten { rewrite ^ /shut/in last; }\n"
        "error_page 418 /shut/page; location /teapot { return 418; }"
    )
    client = nginx.client()
    assert client.get("/shut").status_code == 404
    assert client.post("/shut", content=b"form").status_code == 404
    assert said(client.get("/rewritten"))["PATH_INFO"] == "/shut/in"
    assert "PATH_INFO=/shut/page" in client.get("/teapot").text
