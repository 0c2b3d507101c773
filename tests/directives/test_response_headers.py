"""wsgi_hide_header, wsgi_pass_header, wsgi_ignore_headers, and asgi_*: headers of responses."""

from __future__ import annotations

import pytest

SOURCE = """
    async def answer(request):
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
        if request.query == "away":
            headers.append(("X-Accel-Redirect", "/elsewhere"))
        await request.respond(b"application", 200, headers)
"""


@pytest.fixture
def app(protocol):
    return protocol.app("app", SOURCE)


def test_the_default(nginx, protocol, app):
    nginx.start(f"{protocol}_app {app};")
    headers = nginx.client().get("/").headers
    assert headers.get_list("x-one") == ["1", "11"]
    assert headers["set-cookie"] == "a=b"
    assert [name for name in headers if name.startswith("x-accel")] == []


@pytest.mark.parametrize("http2", [False, True])
def test_hidden_ones(nginx, protocol, app, http2):
    nginx.start(
        f"{protocol}_app {app}; {protocol}_hide_header x-ONE; {protocol}_hide_header Set-Cookie;",
        http2=http2,
    )
    headers = nginx.client(http2=http2).get("/").headers
    assert "x-one" not in headers
    assert "set-cookie" not in headers
    assert headers["x-two"] == "2"
    assert headers["content-type"] == "text/plain"


def test_a_header_of_nginx_s_own_returns_where_the_application_s_is_hidden(nginx, protocol, app):
    nginx.start(f"{protocol}_app {app}; {protocol}_hide_header Server;")
    assert nginx.client().get("/").headers["server"].startswith("nginx")


def test_passed_ones(nginx, protocol, app):
    nginx.start(f"{protocol}_app {app}; {protocol}_pass_header X-Accel-Expires;")
    headers = nginx.client().get("/").headers
    assert headers["x-accel-expires"] == "60"
    assert "x-accel-buffering" not in headers


def test_a_hidden_one_that_is_passed_as_well(nginx, protocol, app):
    nginx.start(
        f"{protocol}_app {app}; {protocol}_hide_header X-One; {protocol}_pass_header X-One;"
    )
    assert nginx.client().get("/").headers.get_list("x-one") == ["1", "11"]


def test_a_hidden_one_is_hidden_in_a_redirected_response_too(nginx, protocol, app):
    nginx.start(
        f"{protocol}_app {app}; {protocol}_hide_header Set-Cookie;",
        server="location /elsewhere { return 200 elsewhere; }\n"
        f"location /shown {{ {protocol}_app {app}; }}",
    )
    hidden = nginx.client().get("/?away")
    assert hidden.text == "elsewhere"
    assert "set-cookie" not in hidden.headers
    assert nginx.client().get("/shown?away").headers["set-cookie"] == "a=b"


def test_an_ignored_one_is_not_obeyed_and_stays_hidden(nginx, protocol, app):
    nginx.start(
        f"{protocol}_app {app}; {protocol}_ignore_headers X-Accel-Expires X-Accel-Redirect;",
        server="location /elsewhere { return 200 elsewhere; }\n"
        f"location /obeys {{ {protocol}_app {app}; {protocol}_ignore_headers X-Accel-Expires; }}",
    )
    response = nginx.client().get("/?away")
    assert response.text == "application"
    assert "x-accel-redirect" not in response.headers
    assert nginx.client().get("/obeys?away").text == "elsewhere"


def test_inheritance_is_of_the_whole_list(nginx, protocol, app):
    nginx.start(
        f"{protocol}_app {app};",
        http=f"{protocol}_hide_header X-One; {protocol}_ignore_headers X-Accel-Redirect;",
        server=f"location /two {{ {protocol}_app {app}; {protocol}_hide_header X-Two; }}",
    )
    inherited = nginx.client().get("/?away")
    assert inherited.text == "application"
    assert "x-one" not in inherited.headers
    assert inherited.headers["x-two"] == "2"
    own = nginx.client().get("/two?away")
    assert own.text == "application"
    assert own.headers["x-one"]
    assert "x-two" not in own.headers


@pytest.mark.parametrize("name", ["hide_header", "pass_header"])
@pytest.mark.parametrize("value", ["''", '"X One"', "X-One:"])
def test_what_is_no_header_s_name(refused, protocol, app, name, value):
    name = f"{protocol}_{name}"
    refused(name, name, location=f"{name} {value};\n{protocol}_app {app};")


@pytest.mark.parametrize("value", ["Set-Cookie", "Expires", "X-Accel-Other"])
def test_what_cannot_be_ignored(refused, protocol, app, value):
    refused(
        f"{protocol}_ignore_headers",
        value,
        "X-Accel-Redirect",
        location=f"{protocol}_ignore_headers {value};\n{protocol}_app {app};",
    )
