"""wsgi_path_info: the path as nginx's locations match it, or as the client sent it."""

from __future__ import annotations

import json

import pytest


@pytest.fixture
def path_info(nginx):
    """`path_info("/a%2Fb")` is PATH_INFO of a request for exactly that target."""

    def get(target: str) -> str:
        request = f"GET {target} HTTP/1.0\r\nHost: h\r\n\r\n".encode()
        return json.loads(nginx.raw(request).partition(b"\r\n\r\n")[2])["PATH_INFO"]

    return get


@pytest.mark.parametrize("setting", ["", "wsgi_path_info normalized;"])
def test_normalized(nginx, environ, path_info, setting):
    nginx.start(f"wsgi_app {environ}; {setting}")
    assert path_info("/a%2Fb//c/../d") == "/a/b/d"
    assert path_info("/a%20b?c=/..") == "/a b"


def test_raw(nginx, environ, path_info):
    nginx.start(f"wsgi_app {environ}; wsgi_path_info raw;")
    assert path_info("/a%2Fb//c/../d?x=%2F") == "/a/b//c/../d"
    assert path_info("/%C3%BC") == "/ü".encode().decode("latin-1")


def test_raw_with_a_script_name(nginx, environ):
    nginx.start(f"wsgi_app {environ}; wsgi_path_info raw; wsgi_script_name /app;")
    strings = nginx.client().get("/app//x").json()
    assert (strings["SCRIPT_NAME"], strings["PATH_INFO"]) == ("/app", "//x")


def test_raw_is_what_the_client_sent_after_a_rewrite(nginx, environ, path_info):
    nginx.start(f"wsgi_app {environ}; wsgi_path_info raw;", server="rewrite ^/old /new;")
    assert path_info("/old//x") == "/old//x"


def test_inheritance(nginx, environ, path_info):
    nginx.start(
        f"wsgi_app {environ};",
        http="wsgi_path_info raw;",
        server=f"location /n/ {{ wsgi_app {environ}; wsgi_path_info normalized; }}",
    )
    assert path_info("/a//b") == "/a//b"
    assert path_info("/n//b") == "/n/b"


@pytest.mark.parametrize("value", ["off", "RAW", "''"])
def test_another_word(refused, environ, value):
    refused(
        "wsgi_path_info",
        "normalized or raw",
        location=f"wsgi_path_info {value};\nwsgi_app {environ};",
    )
