"""wsgi_script_name: what moves from PATH_INFO to SCRIPT_NAME."""

from __future__ import annotations

import pytest


@pytest.fixture
def names(nginx):
    """`names("/a/b")` is (SCRIPT_NAME, PATH_INFO) of a request for that path."""

    def get(path: str, **headers: str):
        strings = nginx.client().get(path, headers=headers).json()
        assert strings["SCRIPT_NAME"] + strings["PATH_INFO"] != ""
        return strings["SCRIPT_NAME"], strings["PATH_INFO"]

    return get


def test_default_is_the_empty_string(nginx, environ, names):
    nginx.start(f"wsgi_app {environ};")
    assert names("/") == ("", "/")
    assert names("/a/b") == ("", "/a/b")


def test_a_prefix_moves_on_a_boundary(nginx, environ, names):
    nginx.start(f"wsgi_app {environ}; wsgi_script_name /shop;")
    assert names("/shop") == ("/shop", "")
    assert names("/shop/") == ("/shop", "/")
    assert names("/shop/a/b") == ("/shop", "/a/b")
    assert names("/%73hop/a%20b") == ("/shop", "/a b")
    assert nginx.log_lines("wsgi_script_name") == []


def test_a_path_without_it_is_left_alone_and_said_once(nginx, environ, names):
    nginx.start(f"wsgi_app {environ}; wsgi_script_name /shop;")
    assert names("/shopping") == ("", "/shopping")
    assert names("/") == ("", "/")
    assert names("/a/shop") == ("", "/a/shop")
    assert names("/shop/x") == ("/shop", "/x")
    line = nginx.wait_log("wsgi_script_name")
    assert "/shopping" in line
    assert "/shop" in line
    assert len(nginx.log_lines("wsgi_script_name")) == 1


def test_two_levels_and_other_alphabets(nginx, environ, names):
    nginx.start(
        server=f"""
        location /a/b {{ wsgi_app {environ}; wsgi_script_name /a/b; }}
        location /ü {{ wsgi_app {environ}; wsgi_script_name /ü; }}
        """
    )
    assert names("/a/b/c") == ("/a/b", "/c")
    native = "/ü".encode().decode("latin-1")
    assert names("/ü/ö") == (native, "/ö".encode().decode("latin-1"))


def test_never_from_a_client_s_header(nginx, environ, names):
    nginx.start(f"wsgi_app {environ};")
    headers = {"Script-Name": "/evil", "X-Script-Name": "/evil", "X-Forwarded-Prefix": "/evil"}
    assert names("/a", **headers) == ("", "/a")


def test_inheritance(nginx, environ, names):
    nginx.start(
        f"wsgi_app {environ};",
        http="wsgi_script_name /a;",
        server=f"""
        location /b/ {{
            wsgi_app {environ};
            wsgi_script_name /b;
            if ($arg_if) {{ set $x 1; }}
            location /b/off/ {{ wsgi_app {environ}; wsgi_script_name off; }}
            location /b/below/ {{ wsgi_app {environ}; }}
        }}
        """,
    )
    assert names("/a/x") == ("/a", "/x")
    assert names("/b/x") == ("/b", "/x")
    assert names("/b/x?if=1") == ("/b", "/x")
    assert names("/b/off/x") == ("", "/b/off/x")
    assert names("/b/below/x") == ("/b", "/below/x")


def test_server_level_wins_over_http(nginx, environ, names):
    nginx.start(f"wsgi_app {environ};", http="wsgi_script_name /a;", server="wsgi_script_name /b;")
    assert names("/b/x") == ("/b", "/x")
    assert names("/a/x") == ("", "/a/x")


@pytest.mark.parametrize("value", ["shop", "shop/", "http://host/shop", "''"])
def test_a_name_without_a_leading_slash(refused, environ, value):
    refused(
        "wsgi_script_name",
        "wsgi_script_name",
        "/",
        location=f"wsgi_script_name {value};\nwsgi_app {environ};",
    )


@pytest.mark.parametrize("value", ["/", "/shop/", "/a//b", "//", r'"/a\nb"'])
def test_a_name_that_no_path_has(refused, environ, value):
    refused(
        "wsgi_script_name",
        "wsgi_script_name",
        location=f"wsgi_script_name {value};\nwsgi_app {environ};",
    )
