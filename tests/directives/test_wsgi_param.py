"""wsgi_param, asgi_param: values for the application, merged as uwsgi_param is."""

from __future__ import annotations

import pytest


@pytest.fixture
def get(nginx):
    """`get("/path")` are the parameters of that request; for WSGI all strings of its environ."""

    def request(path: str = "/", **headers: str):
        return nginx.client().get(path, headers=headers).json()["params"]

    return request


def test_text_and_variables(nginx, protocol, echo, get):
    nginx.start(
        f"""
        {protocol}_app {echo};
        {protocol}_param FIXED "two words";
        {protocol}_param myapp.setting $arg_x;
        {protocol}_param MIXED "<$request_method $uri>";
        {protocol}_param EMPTY "";
        {protocol}_param UTF8 "ü";
        """
    )
    strings = get("/p?x=%C3%BC")
    assert strings["FIXED"] == "two words"
    assert strings["myapp.setting"] == "%C3%BC"
    assert strings["MIXED"] == "<GET /p>"
    assert strings["EMPTY"] == ""
    assert strings["UTF8"] == ("ü".encode().decode("latin-1") if protocol.is_wsgi else "ü")
    assert get("/q")["myapp.setting"] == ""


def test_if_not_empty(nginx, protocol, echo, get):
    nginx.start(
        f"""
        {protocol}_app {echo};
        {protocol}_param ARG $arg_x if_not_empty;
        {protocol}_param NOTHING "" if_not_empty;
        {protocol}_param SOMETHING text if_not_empty;
        """
    )
    strings = get("/?x=1")
    assert strings["ARG"] == "1"
    assert strings["SOMETHING"] == "text"
    assert "NOTHING" not in strings
    assert "ARG" not in get("/")
    assert "ARG" not in get("/?x=")


def test_it_overrides_what_the_module_sets(nginx, environ):
    """The parameters of ASGI are a dict of their own."""
    nginx.start(
        f"""
        wsgi_app {environ};
        wsgi_param REMOTE_ADDR 192.0.2.1;
        wsgi_param REMOTE_USER $http_x_user if_not_empty;
        wsgi_param HTTP_X_SECRET hidden;
        """
    )
    strings = nginx.client().get("/", headers={"X-User": "ann", "X-Secret": "forged"}).json()
    assert strings["REMOTE_ADDR"] == "192.0.2.1"
    assert strings["REMOTE_USER"] == "ann"
    assert strings["HTTP_X_SECRET"] == "hidden"


def test_https_says_the_scheme_too(nginx, protocol, echo):
    nginx.start(f"{protocol}_app {echo}; {protocol}_param HTTPS $arg_https if_not_empty;")
    client = nginx.client()

    def seen(path):
        request = client.get(path).json()
        return request["scheme"], request["params"].get("HTTPS")

    assert seen("/") == ("http", None)
    assert seen("/?https=on") == ("https", "on")
    assert seen("/?https=off") == ("http", "off")


def test_https_of_the_request_comes_after_that_of_the_location(nginx, protocol, echo):
    nginx.start(
        f"""
        {protocol}_app {echo};
        {protocol}_param HTTPS $arg_https if_not_empty;
        {protocol}_param HTTPS on;
        """
    )
    client = nginx.client()
    schemes = [client.get(path).json()["scheme"] for path in ("/", "/?https=off", "/?https=1")]
    assert schemes == ["https", "http", "https"]


def test_an_empty_if_not_empty_leaves_what_the_module_sets(nginx, environ):
    nginx.start(f"wsgi_app {environ}; wsgi_param REMOTE_ADDR $arg_a if_not_empty;")
    client = nginx.client()
    assert client.get("/").json()["REMOTE_ADDR"] == "127.0.0.1"
    assert client.get("/?a=x").json()["REMOTE_ADDR"] == "x"


def test_inherited_only_where_there_is_none(nginx, protocol, echo, get):
    nginx.start(
        f"{protocol}_app {echo};",
        http=f"{protocol}_param FROM http; {protocol}_param HTTP_LEVEL yes;",
        server=f"""
        location /own {{
            {protocol}_app {echo};
            {protocol}_param FROM location;
            if ($arg_if) {{ set $x 1; }}
            location /own/below {{ {protocol}_app {echo}; }}
            location /own/more {{ {protocol}_app {echo}; {protocol}_param MORE yes; }}
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


def test_the_last_of_two_wins(nginx, protocol, echo, get):
    nginx.start(f"{protocol}_app {echo}; {protocol}_param A first; {protocol}_param A second;")
    assert get("/")["A"] == "second"


def test_a_request_does_not_see_another_s(nginx, protocol, echo, get):
    nginx.start(f"{protocol}_app {echo}; {protocol}_param A $arg_a if_not_empty;")
    assert get("/?a=1")["A"] == "1"
    assert "A" not in get("/")
    assert get("/?a=2")["A"] == "2"


def test_mistakes(refused, protocol, echo):
    def wrong(text, *words):
        refused(
            f"{protocol}_param",
            *words,
            location=f"{protocol}_app {echo};\n{protocol}_param {text};",
        )

    wrong("A b sometimes", "sometimes|if_not_empty")
    wrong("A $", "variable")
    wrong("'' b", f"{protocol}_param")


@pytest.mark.parametrize("name", ["wsgi.input", "pywsgi.request"])
def test_objects_of_the_request_cannot_be_set(nginx, refused, protocol, echo, name):
    if protocol.is_wsgi:
        location = f"{protocol}_app {echo};\n{protocol}_param {name} b;"
        refused(f"{protocol}_param", name, "request's own", location=location)
    else:
        # The parameters are a dict of their own.
        nginx.start(f"{protocol}_app {echo}; {protocol}_param {name} b;")
        assert nginx.client().get("/").json()["params"] == {name: "b"}
