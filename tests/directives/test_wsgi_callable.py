"""wsgi_callable: the names that are tried if wsgi_app names no callable."""

from __future__ import annotations

import pytest

SOURCE = """
    def answer(word):
        def call(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [word]
        return call

    {names}
"""


@pytest.fixture
def module(nginx):
    """`module("m", "app", "web")` is the path of a file with callables of these names."""

    def make(name: str, *names: str):
        text = "\n    ".join(f'{each} = answer(b"{each}")' for each in names)
        return nginx.app(name, SOURCE.format(names=text))

    return make


def test_default_is_application_then_app(nginx, module):
    nginx.start(
        server=f"""
        location /both {{ wsgi_app {module("both", "app", "application")}; }}
        location /app {{ wsgi_app {module("single", "app")}; }}
        """
    )
    client = nginx.client()
    assert client.get("/both").text == "application"
    assert client.get("/app").text == "app"


def test_names_are_tried_in_order_and_only_these(nginx, module):
    nginx.start(
        f"wsgi_app {module('m', 'application', 'web', 'site')};",
        http="wsgi_callable missing site web;",
    )
    assert nginx.client().get("/").text == "site"


def test_a_target_that_names_its_callable_wins(nginx, module):
    nginx.start(f"wsgi_app {module('m', 'application', 'web')}:application; wsgi_callable web;")
    assert nginx.client().get("/").text == "application"


def test_a_module_without_a_callable_in_its_target(nginx, module):
    module("web_site", "application", "web")
    nginx.start("wsgi_app web_site; wsgi_callable web;", http=f"python_path {nginx.apps};")
    assert nginx.client().get("/").text == "web"


def test_inheritance(nginx, module):
    path = module("m", "one", "two", "three", "four")
    nginx.start(
        f"wsgi_app {path};",
        http=f"""
        wsgi_callable one;
        server {{
            listen 127.0.0.1:{nginx.port};
            server_name plain;
            location / {{ wsgi_app {path}; }}
        }}
        """,
        server=f"""
        server_name own;
        wsgi_callable two;
        location /three {{
            wsgi_callable three;
            wsgi_app {path};
            if ($arg_if) {{ set $x 1; }}
            location /three/four {{ wsgi_callable four; wsgi_app {path}; }}
            location /three/below {{ wsgi_app {path}; }}
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


def test_no_such_name_is_a_500_that_says_which(nginx, module, say):
    nginx.start(
        f"wsgi_app {module('m', 'web')}; wsgi_callable first second;",
        server=f"location /other {{ wsgi_app {say('other')}; }}",
    )
    client = nginx.client()
    assert client.get("/").status_code == 500
    line = nginx.wait_log("second")
    assert "first" in line
    assert str(nginx.apps / "m.py") in line
    assert client.get("/other").text == "other"


def test_what_cannot_be_called_is_a_500_that_says_so(nginx):
    path = nginx.app("m", "application = 42\n")
    nginx.start(f"wsgi_app {path};")
    assert nginx.client().get("/").status_code == 500
    nginx.wait_log("called")


@pytest.mark.parametrize("name", ["a-b", "1st", "a.b.", "''", "create()"])
def test_a_name_that_python_does_not_know(refused, module, name):
    refused(
        "wsgi_callable",
        "wsgi_callable",
        location=f"wsgi_callable application {name};\nwsgi_app {module('m', 'application')};",
    )
