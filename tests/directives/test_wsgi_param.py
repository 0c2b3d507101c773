"""wsgi_param: keys of environ, with variables, merged as uwsgi_param is."""

from __future__ import annotations

import pytest


@pytest.fixture
def get(nginx):
    """`get("/path")` is the environ of that request."""

    def request(path: str = "/", **headers: str):
        return nginx.client().get(path, headers=headers).json()

    return request


def test_text_and_variables(nginx, environ, get):
    nginx.start(
        f"""
        wsgi_app {environ};
        wsgi_param FIXED "two words";
        wsgi_param myapp.setting $arg_x;
        wsgi_param MIXED "<$request_method $uri>";
        wsgi_param EMPTY "";
        wsgi_param UTF8 "ü";
        """
    )
    strings = get("/p?x=%C3%BC")
    assert strings["FIXED"] == "two words"
    assert strings["myapp.setting"] == "%C3%BC"
    assert strings["MIXED"] == "<GET /p>"
    assert strings["EMPTY"] == ""
    assert strings["UTF8"] == "ü".encode().decode("latin-1")
    assert get("/q")["myapp.setting"] == ""


def test_if_not_empty(nginx, environ, get):
    nginx.start(
        f"""
        wsgi_app {environ};
        wsgi_param ARG $arg_x if_not_empty;
        wsgi_param NOTHING "" if_not_empty;
        wsgi_param SOMETHING text if_not_empty;
        """
    )
    strings = get("/?x=1")
    assert strings["ARG"] == "1"
    assert strings["SOMETHING"] == "text"
    assert "NOTHING" not in strings
    assert "ARG" not in get("/")
    assert "ARG" not in get("/?x=")


def test_it_overrides_what_the_module_sets(nginx, environ, get):
    nginx.start(
        f"""
        wsgi_app {environ};
        wsgi_param REMOTE_ADDR 192.0.2.1;
        wsgi_param REMOTE_USER $http_x_user if_not_empty;
        wsgi_param HTTP_X_SECRET hidden;
        """
    )
    strings = get("/", **{"X-User": "ann", "X-Secret": "forged"})
    assert strings["REMOTE_ADDR"] == "192.0.2.1"
    assert strings["REMOTE_USER"] == "ann"
    assert strings["HTTP_X_SECRET"] == "hidden"


def test_https_says_the_scheme_too(nginx):
    app = nginx.app(
        "scheme",
        """
        from wsgiref.util import request_uri
        from wsgiref.validate import validator

        @validator
        def application(environ, start_response):
            text = f"{environ['wsgi.url_scheme']} {environ.get('HTTPS')} {request_uri(environ)}"
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [text.encode()]
        """,
    )
    nginx.start(
        f"wsgi_app {app}; wsgi_param HTTPS $arg_https if_not_empty;",
    )
    client = nginx.client()
    assert client.get("/").text == f"http None {nginx.url('/')}"
    uri = nginx.url("/?https=on", scheme="https")
    assert client.get("/?https=on").text == f"https on {uri}"
    assert client.get("/?https=off").text.startswith("http ")


def test_an_empty_if_not_empty_leaves_what_the_module_sets(nginx, environ, get):
    nginx.start(f"wsgi_app {environ}; wsgi_param REMOTE_ADDR $arg_a if_not_empty;")
    assert get("/")["REMOTE_ADDR"] == "127.0.0.1"
    assert get("/?a=x")["REMOTE_ADDR"] == "x"


def test_inherited_only_where_there_is_none(nginx, environ, get):
    nginx.start(
        f"wsgi_app {environ};",
        http="wsgi_param FROM http; wsgi_param HTTP_LEVEL yes;",
        server=f"""
        location /own {{
            wsgi_app {environ};
            wsgi_param FROM location;
            if ($arg_if) {{ set $x 1; }}
            location /own/below {{ wsgi_app {environ}; }}
            location /own/more {{ wsgi_app {environ}; wsgi_param MORE yes; }}
        }}
        """,
    )

    def seen(path):
        strings = get(path)
        return [strings.get(name) for name in ["FROM", "HTTP_LEVEL", "MORE"]]

    assert seen("/") == ["http", "yes", None]
    assert seen("/own") == ["location", None, None]
    assert seen("/own?if=1") == ["location", None, None]
    assert seen("/own/below") == ["location", None, None]
    assert seen("/own/more") == [None, None, "yes"]


def test_the_last_of_two_wins(nginx, environ, get):
    nginx.start(f"wsgi_app {environ}; wsgi_param A first; wsgi_param A second;")
    assert get("/")["A"] == "second"


def test_a_request_does_not_see_another_s(nginx, environ, get):
    nginx.start(f"wsgi_app {environ}; wsgi_param A $arg_a if_not_empty;")
    assert get("/?a=1")["A"] == "1"
    assert "A" not in get("/")
    assert get("/?a=2")["A"] == "2"


def test_mistakes(refused, environ):
    def wrong(text, *words):
        refused("wsgi_param", *words, location=f"wsgi_app {environ};\nwsgi_param {text};")

    wrong("A b sometimes", "sometimes|if_not_empty")
    wrong("A $", "variable")
    wrong("'' b", "wsgi_param")
    for name in ["wsgi.input", "pywsgi.request"]:
        wrong(f"{name} b", name, "request's own")
