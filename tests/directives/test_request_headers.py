"""wsgi_pass_authorization and wsgi_pass_request_headers: which request headers are passed."""

from __future__ import annotations

import pytest

HEADERS = {"Authorization": "Basic eDp5", "X-One": "1", "Cookie": "a=b", "Content-Type": "a/b"}


def ask(nginx, path: str = "/", **options) -> dict[str, str]:
    return nginx.client(**options).post(path, headers=HEADERS, content=b"body").json()


def test_everything_is_passed_by_default(nginx, environ):
    nginx.start(f"wsgi_app {environ};")
    strings = ask(nginx)
    assert strings["HTTP_AUTHORIZATION"] == "Basic eDp5"
    assert strings["HTTP_X_ONE"] == "1"
    assert strings["HTTP_COOKIE"] == "a=b"


@pytest.mark.parametrize("http2", [False, True])
def test_authorization_alone_is_kept_back(nginx, environ, http2):
    nginx.start(f"wsgi_app {environ}; wsgi_pass_authorization off;", http2=http2)
    strings = ask(nginx, http2=http2)
    assert "HTTP_AUTHORIZATION" not in strings
    assert strings["HTTP_X_ONE"] == "1"


def test_no_header_is_passed_but_what_describes_the_body(nginx, environ):
    nginx.start(f"wsgi_app {environ}; wsgi_pass_request_headers off; wsgi_param HTTP_X_TWO 2;")
    strings = ask(nginx)
    assert [key for key in strings if key.startswith("HTTP_")] == ["HTTP_X_TWO"]
    assert strings["CONTENT_TYPE"] == "a/b"
    assert strings["CONTENT_LENGTH"] == "4"


def test_nginx_itself_still_has_them(nginx, environ):
    nginx.start(f"wsgi_app {environ}; wsgi_pass_request_headers off; wsgi_param ONE $http_x_one;")
    assert ask(nginx)["ONE"] == "1"


def test_inheritance(nginx, environ):
    nginx.start(
        f"wsgi_app {environ};",
        http="wsgi_pass_authorization off; wsgi_pass_request_headers off;",
        server=f"""
        location /some {{ wsgi_app {environ}; wsgi_pass_request_headers on; }}
        location /all {{
            wsgi_app {environ};
            wsgi_pass_request_headers on;
            wsgi_pass_authorization on;
        }}
        """,
    )
    assert "HTTP_X_ONE" not in ask(nginx)
    assert "HTTP_AUTHORIZATION" not in ask(nginx, "/some")
    assert ask(nginx, "/some")["HTTP_X_ONE"] == "1"
    assert ask(nginx, "/all")["HTTP_AUTHORIZATION"] == "Basic eDp5"
