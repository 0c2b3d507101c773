"""wsgi_path_info, asgi_path_info: the path as locations match it, or as the client sent it."""

from __future__ import annotations

import json

import pytest


@pytest.fixture
def path_info(nginx):
    """`path_info("/a%2Fb")` is the path that the application sees of exactly that target."""

    def get(target: str) -> str:
        request = f"GET {target} HTTP/1.0\r\nHost: h\r\n\r\n".encode()
        return json.loads(nginx.raw(request).partition(b"\r\n\r\n")[2])["path"]

    return get


@pytest.mark.parametrize("setting", ["", "{}_path_info normalized;"])
def test_normalized(nginx, protocol, echo, path_info, setting):
    nginx.start(f"{protocol}_app {echo}; {setting.format(protocol)}")
    assert path_info("/a%2Fb//c/../d") == "/a/b/d"
    assert path_info("/a%20b?c=/..") == "/a b"


def test_raw(nginx, protocol, echo, path_info):
    nginx.start(f"{protocol}_app {echo}; {protocol}_path_info raw;")
    assert path_info("/a%2Fb//c/../d?x=%2F") == "/a/b//c/../d"
    assert path_info("/%C3%BC") == "/ü"


def test_raw_with_a_script_name(nginx, protocol, echo):
    nginx.start(f"{protocol}_app {echo}; {protocol}_path_info raw; {protocol}_script_name /app;")
    seen = nginx.client().get("/app//x").json()
    assert (seen["mount"], seen["path"]) == ("/app", "/app//x")


def test_raw_is_what_the_client_sent_after_a_rewrite(nginx, protocol, echo, path_info):
    nginx.start(f"{protocol}_app {echo}; {protocol}_path_info raw;", server="rewrite ^/old /new;")
    assert path_info("/old//x") == "/old//x"


def test_inheritance(nginx, protocol, echo, path_info):
    nginx.start(
        f"{protocol}_app {echo};",
        http=f"{protocol}_path_info raw;",
        server=f"location /n/ {{ {protocol}_app {echo}; {protocol}_path_info normalized; }}",
    )
    assert path_info("/a//b") == "/a//b"
    assert path_info("/n//b") == "/n/b"


@pytest.mark.parametrize("value", ["off", "RAW", "''"])
def test_another_word(refused, protocol, echo, value):
    refused(
        f"{protocol}_path_info",
        "normalized or raw",
        location=f"{protocol}_path_info {value};\n{protocol}_app {echo};",
    )
