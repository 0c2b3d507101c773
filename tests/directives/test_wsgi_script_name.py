"""wsgi_script_name, asgi_script_name: the prefix that an application is mounted under."""

from __future__ import annotations

import pytest


@pytest.fixture
def names(nginx):
    """`names("/a/b")` is (mount, rest) of a request for that path: SCRIPT_NAME and PATH_INFO, or
    root_path and what follows it in the path."""

    def get(path: str, **headers: str):
        seen = nginx.client().get(path, headers=headers).json()
        assert seen["path"].startswith(seen["mount"])
        return seen["mount"], seen["path"].removeprefix(seen["mount"])

    return get


def test_default_is_the_empty_string(nginx, protocol, echo, names):
    nginx.start(f"{protocol}_app {echo};")
    assert names("/") == ("", "/")
    assert names("/a/b") == ("", "/a/b")


def test_a_prefix_moves_on_a_boundary(nginx, protocol, echo, names):
    nginx.start(f"{protocol}_app {echo}; {protocol}_script_name /shop;")
    assert names("/shop") == ("/shop", "")
    assert names("/shop/") == ("/shop", "/")
    assert names("/shop/a/b") == ("/shop", "/a/b")
    assert names("/%73hop/a%20b") == ("/shop", "/a b")
    assert nginx.log_lines(f"{protocol}_script_name") == []


def test_a_path_without_it_is_left_alone_and_said_once(nginx, protocol, echo, names):
    nginx.start(f"{protocol}_app {echo}; {protocol}_script_name /shop;")
    assert names("/shopping") == ("", "/shopping")
    assert names("/") == ("", "/")
    assert names("/a/shop") == ("", "/a/shop")
    assert names("/shop/x") == ("/shop", "/x")
    line = nginx.wait_log(f"{protocol}_script_name")
    assert "/shopping" in line
    assert "/shop" in line
    assert len(nginx.log_lines(f"{protocol}_script_name")) == 1


def test_two_levels_and_other_alphabets(nginx, protocol, echo, names):
    nginx.start(
        server=f"""
        location /a/b {{ {protocol}_app {echo}; {protocol}_script_name /a/b; }}
        location /ü {{ {protocol}_app {echo}; {protocol}_script_name /ü; }}
        """
    )
    assert names("/a/b/c") == ("/a/b", "/c")
    assert names("/ü/ö") == ("/ü", "/ö")


def test_never_from_a_client_s_header(nginx, protocol, echo, names):
    nginx.start(f"{protocol}_app {echo};")
    headers = {"Script-Name": "/evil", "X-Script-Name": "/evil", "X-Forwarded-Prefix": "/evil"}
    assert names("/a", **headers) == ("", "/a")


def test_inheritance(nginx, protocol, echo, names):
    nginx.start(
        f"{protocol}_app {echo};",
        http=f"{protocol}_script_name /a;",
        server=f"""
        location /b/ {{
            {protocol}_app {echo};
            {protocol}_script_name /b;
            if ($arg_if) {{ set $x 1; }}
            location /b/off/ {{ {protocol}_app {echo}; {protocol}_script_name off; }}
            location /b/below/ {{ {protocol}_app {echo}; }}
        }}
        """,
    )
    assert names("/a/x") == ("/a", "/x")
    assert names("/b/x") == ("/b", "/x")
    assert names("/b/x?if=1") == ("/b", "/x")
    assert names("/b/off/x") == ("", "/b/off/x")
    assert names("/b/below/x") == ("/b", "/below/x")


def test_server_level_wins_over_http(nginx, protocol, echo, names):
    nginx.start(
        f"{protocol}_app {echo};",
        http=f"{protocol}_script_name /a;",
        server=f"{protocol}_script_name /b;",
    )
    assert names("/b/x") == ("/b", "/x")
    assert names("/a/x") == ("", "/a/x")


@pytest.mark.parametrize("value", ["shop", "shop/", "http://host/shop", "''"])
def test_a_name_without_a_leading_slash(refused, protocol, echo, value):
    refused(
        f"{protocol}_script_name",
        f"{protocol}_script_name",
        "/",
        location=f"{protocol}_script_name {value};\n{protocol}_app {echo};",
    )


@pytest.mark.parametrize("value", ["/", "/shop/", "/a//b", "//", r'"/a\nb"'])
def test_a_name_that_no_path_has(refused, protocol, echo, value):
    refused(
        f"{protocol}_script_name",
        f"{protocol}_script_name",
        location=f"{protocol}_script_name {value};\n{protocol}_app {echo};",
    )
