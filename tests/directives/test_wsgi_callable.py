"""wsgi_callable, asgi_callable: the names that are tried if the target names no callable."""

from __future__ import annotations

import pytest


@pytest.fixture
def module(nginx, protocol):
    """`module("m", "app", "web")` is the path of a file with callables of these names, which
    answer with their name."""

    def make(name: str, *names: str):
        lines = [
            f"{each} = bothkit.{protocol}(lambda request: request.respond({each!r}.encode()))"
            for each in names
        ]
        return nginx.app(name, "\n".join(["import bothkit", *lines]) + "\n")

    return make


def test_default_is_application_then_app(nginx, protocol, module):
    nginx.start(
        server=f"""
        location /both {{ {protocol}_app {module("both", "app", "application")}; }}
        location /app {{ {protocol}_app {module("single", "app")}; }}
        """
    )
    client = nginx.client()
    assert client.get("/both").text == "application"
    assert client.get("/app").text == "app"


def test_names_are_tried_in_order_and_only_these(nginx, protocol, module):
    nginx.start(
        f"{protocol}_app {module('m', 'application', 'web', 'site')};",
        http=f"{protocol}_callable missing site web;",
    )
    assert nginx.client().get("/").text == "site"


def test_a_target_that_names_its_callable_wins(nginx, protocol, module):
    nginx.start(
        f"{protocol}_app {module('m', 'application', 'web')}:application; {protocol}_callable web;"
    )
    assert nginx.client().get("/").text == "application"


def test_a_module_without_a_callable_in_its_target(nginx, protocol, module):
    module("web_site", "application", "web")
    nginx.start(
        f"{protocol}_app web_site; {protocol}_callable web;", http=f"python_path {nginx.apps};"
    )
    assert nginx.client().get("/").text == "web"


def test_inheritance(nginx, protocol, module):
    path = module("m", "one", "two", "three", "four")
    nginx.start(
        f"{protocol}_app {path};",
        http=f"""
        {protocol}_callable one;
        server {{
            listen 127.0.0.1:{nginx.port};
            server_name plain;
            location / {{ {protocol}_app {path}; }}
        }}
        """,
        server=f"""
        server_name own;
        {protocol}_callable two;
        location /three {{
            {protocol}_callable three;
            {protocol}_app {path};
            if ($arg_if) {{ set $x 1; }}
            location /three/four {{ {protocol}_callable four; {protocol}_app {path}; }}
            location /three/below {{ {protocol}_app {path}; }}
        }}
        """,
    )
    client = nginx.client()
    assert client.get("/", headers={"Host": "plain"}).text == "one"
    assert client.get("/", headers={"Host": "own"}).text == "two"
    own = {"Host": "own"}
    assert client.get("/three", headers=own).text == "three"
    assert client.get("/three?if=1", headers=own).text == "three"
    assert client.get("/three/four", headers=own).text == "four"
    assert client.get("/three/below", headers=own).text == "three"


def test_no_such_name_is_a_500_that_says_which(nginx, protocol, module):
    nginx.start(
        f"{protocol}_app {module('m', 'web')}; {protocol}_callable first second;",
        server=f"location /other {{ {protocol}_app {protocol.say('other')}; }}",
    )
    client = nginx.client()
    assert client.get("/").status_code == 500
    line = nginx.wait_log("second")
    assert "first" in line
    assert str(nginx.apps / "m.py") in line
    assert client.get("/other").text == "other"


def test_what_cannot_be_called_is_a_500_that_says_so(nginx, protocol):
    path = nginx.app("m", "application = 42\n")
    nginx.start(f"{protocol}_app {path};")
    assert nginx.client().get("/").status_code == 500
    nginx.wait_log("called")


@pytest.mark.parametrize("name", ["a-b", "1st", "a.b.", "''", "create()"])
def test_a_name_that_python_does_not_know(refused, protocol, module, name):
    refused(
        f"{protocol}_callable",
        f"{protocol}_callable",
        location=f"{protocol}_callable application {name};\n"
        f"{protocol}_app {module('m', 'application')};",
    )
