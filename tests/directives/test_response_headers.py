"""wsgi_hide_header, wsgi_pass_header and wsgi_ignore_headers: headers of responses."""

from __future__ import annotations

import pytest

SOURCE = """
    from wsgiref.validate import validator

    @validator
    def application(environ, start_response):
        headers = [
            ("Content-Type", "text/plain"),
            ("X-One", "1"),
            ("X-One", "11"),
            ("X-Two", "2"),
            ("Server", "mine"),
            ("Set-Cookie", "a=b"),
            ("X-Accel-Expires", "60"),
            ("X-Accel-Buffering", "no"),
        ]
        if environ["QUERY_STRING"] == "away":
            headers.append(("X-Accel-Redirect", "/elsewhere"))
        start_response("200 OK", headers)
        return [b"application"]
"""


@pytest.fixture
def app(nginx):
    return nginx.app("app", SOURCE)


def test_the_default(nginx, app):
    nginx.start(f"wsgi_app {app};")
    headers = nginx.client().get("/").headers
    assert headers.get_list("x-one") == ["1", "11"]
    assert headers["set-cookie"] == "a=b"
    assert [name for name in headers if name.startswith("x-accel")] == []


@pytest.mark.parametrize("http2", [False, True])
def test_hidden_ones(nginx, app, http2):
    nginx.start(
        f"wsgi_app {app}; wsgi_hide_header x-ONE; wsgi_hide_header Set-Cookie;",
        http2=http2,
    )
    headers = nginx.client(http2=http2).get("/").headers
    assert "x-one" not in headers
    assert "set-cookie" not in headers
    assert headers["x-two"] == "2"
    assert headers["content-type"] == "text/plain"


def test_a_header_of_nginx_s_own_returns_where_the_application_s_is_hidden(nginx, app):
    nginx.start(f"wsgi_app {app}; wsgi_hide_header Server;")
    assert nginx.client().get("/").headers["server"].startswith("nginx")


def test_passed_ones(nginx, app):
    nginx.start(f"wsgi_app {app}; wsgi_pass_header X-Accel-Expires;")
    headers = nginx.client().get("/").headers
    assert headers["x-accel-expires"] == "60"
    assert "x-accel-buffering" not in headers


def test_a_hidden_one_that_is_passed_as_well(nginx, app):
    nginx.start(f"wsgi_app {app}; wsgi_hide_header X-One; wsgi_pass_header X-One;")
    assert nginx.client().get("/").headers.get_list("x-one") == ["1", "11"]


def test_a_hidden_one_is_hidden_in_a_redirected_response_too(nginx, app):
    nginx.start(
        f"wsgi_app {app}; wsgi_hide_header Set-Cookie;",
        server="location /elsewhere { return 200 elsewhere; }\n"
        f"location /shown {{ wsgi_app {app}; }}",
    )
    hidden = nginx.client().get("/?away")
    assert hidden.text == "elsewhere"
    assert "set-cookie" not in hidden.headers
    assert nginx.client().get("/shown?away").headers["set-cookie"] == "a=b"


def test_an_ignored_one_is_not_obeyed_and_stays_hidden(nginx, app):
    nginx.start(
        f"wsgi_app {app}; wsgi_ignore_headers X-Accel-Expires X-Accel-Redirect;",
        server="location /elsewhere { return 200 elsewhere; }\n"
        f"location /obeys {{ wsgi_app {app}; wsgi_ignore_headers X-Accel-Expires; }}",
    )
    response = nginx.client().get("/?away")
    assert response.text == "application"
    assert "x-accel-redirect" not in response.headers
    assert nginx.client().get("/obeys?away").text == "elsewhere"


def test_inheritance_is_of_the_whole_list(nginx, app):
    nginx.start(
        f"wsgi_app {app};",
        http="wsgi_hide_header X-One; wsgi_ignore_headers X-Accel-Redirect;",
        server=f"location /two {{ wsgi_app {app}; wsgi_hide_header X-Two; }}",
    )
    inherited = nginx.client().get("/?away")
    assert inherited.text == "application"
    assert "x-one" not in inherited.headers
    assert inherited.headers["x-two"] == "2"
    own = nginx.client().get("/two?away")
    assert own.text == "application"
    assert own.headers["x-one"]
    assert "x-two" not in own.headers


@pytest.mark.parametrize("name", ["wsgi_hide_header", "wsgi_pass_header"])
@pytest.mark.parametrize("value", ["''", '"X One"', "X-One:"])
def test_what_is_no_header_s_name(refused, app, name, value):
    refused(name, name, location=f"{name} {value};\nwsgi_app {app};")


@pytest.mark.parametrize("value", ["Set-Cookie", "Expires", "X-Accel-Other"])
def test_what_cannot_be_ignored(refused, app, value):
    refused(
        "wsgi_ignore_headers",
        value,
        "X-Accel-Redirect",
        location=f"wsgi_ignore_headers {value};\nwsgi_app {app};",
    )
