"""wsgi_pass_authorization, wsgi_pass_request_headers, and asgi_*: the headers that are passed."""

from __future__ import annotations

import pytest

HEADERS = {"Authorization": "Basic eDp5", "X-One": "1", "Cookie": "a=b", "Content-Type": "a/b"}


def ask(nginx, path: str = "/", **options) -> dict:
    return nginx.client(**options).post(path, headers=HEADERS, content=b"body").json()


def test_everything_is_passed_by_default(nginx, protocol, echo):
    nginx.start(f"{protocol}_app {echo};")
    headers = ask(nginx)["headers"]
    assert headers["authorization"] == "Basic eDp5"
    assert headers["x-one"] == "1"
    assert headers["cookie"] == "a=b"


@pytest.mark.parametrize("http2", [False, True])
def test_authorization_alone_is_kept_back(nginx, protocol, echo, http2):
    nginx.start(f"{protocol}_app {echo}; {protocol}_pass_authorization off;", http2=http2)
    headers = ask(nginx, http2=http2)["headers"]
    assert "authorization" not in headers
    assert headers["x-one"] == "1"


def test_no_header_is_passed_but_what_describes_the_body(nginx, protocol, echo):
    nginx.start(
        f"""
        {protocol}_app {echo};
        {protocol}_pass_request_headers off;
        {protocol}_param HTTP_X_TWO 2;
        """
    )
    seen = ask(nginx)
    assert seen["params"]["HTTP_X_TWO"] == "2"
    seen["headers"].pop("x-two", None)
    assert seen["headers"] == {"content-type": "a/b", "content-length": "4"}
    assert seen["body"] == "body"


def test_nginx_itself_still_has_them(nginx, protocol, echo):
    nginx.start(
        f"""
        {protocol}_app {echo};
        {protocol}_pass_request_headers off;
        {protocol}_param ONE $http_x_one;
        """
    )
    assert ask(nginx)["params"]["ONE"] == "1"


def test_inheritance(nginx, protocol, echo):
    nginx.start(
        f"{protocol}_app {echo};",
        http=f"{protocol}_pass_authorization off; {protocol}_pass_request_headers off;",
        server=f"""
        location /some {{ {protocol}_app {echo}; {protocol}_pass_request_headers on; }}
        location /all {{
            {protocol}_app {echo};
            {protocol}_pass_request_headers on;
            {protocol}_pass_authorization on;
        }}
        """,
    )
    assert "x-one" not in ask(nginx)["headers"]
    assert "authorization" not in ask(nginx, "/some")["headers"]
    assert ask(nginx, "/some")["headers"]["x-one"] == "1"
    assert ask(nginx, "/all")["headers"]["authorization"] == "Basic eDp5"
