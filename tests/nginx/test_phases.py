"""nginx's phases and kinds of locations before and around an application."""

from __future__ import annotations

import pytest

SOURCE = """
    from wsgiref.validate import validator

    @validator
    def application(environ, start_response):
        query = environ["QUERY_STRING"]
        status = query if query.isdigit() else "200"
        start_response(f"{status} Said", [("Content-Type", "text/plain"), ("X-User", "me")])
        keys = ("REQUEST_METHOD", "PATH_INFO", "QUERY_STRING", "REMOTE_ADDR", "MAPPED")
        body = environ["wsgi.input"].read(65536)
        return [" ".join(environ.get(key) or "-" for key in keys).encode(), b" ", body]
"""


@pytest.fixture
def start(nginx, protocol):
    app = protocol.wrap("phases", SOURCE)

    def begin(server: str, more: str = "", **options):
        server = server.replace("APP;", f"{protocol}_app {app};")
        return nginx.start(more.replace("APP;", f"{protocol}_app {app};"), server=server, **options)

    return begin


def said(response) -> list[str]:
    assert response.status_code == 200, response.text
    return response.text.split(" ")


def test_try_files_then_the_application(nginx, start):
    nginx.page("there.txt", "a file")
    start(f"root {nginx.html}; location / {{ try_files $uri @app; }} location @app {{ APP; }}")
    client = nginx.client()
    assert client.get("/there.txt").text == "a file"
    response = client.post("/gone?a=b", content=b"body")
    assert said(response)[:3] == ["POST", "/gone", "a=b"]
    assert response.text.endswith(" body")


def test_error_page_from_and_to_an_application(nginx, start):
    start(
        "location / { return 404; error_page 404 @app; } location @app { APP; }\n"
        "location /uri { error_page 403 /said; deny all; } location /said { APP; }"
    )
    client = nginx.client()
    named = client.get("/x?a=b")
    assert (named.status_code, named.text.split(" ")[1]) == (404, "/x")
    by_uri = client.post("/uri", content=b"body")
    assert by_uri.status_code == 403
    assert by_uri.text.split(" ")[:2] == ["GET", "/said"]


def test_auth_request(nginx, start):
    start(
        "location /ask { internal; APP; }\n"
        "location / { auth_request /ask?$args; auth_request_set $who $upstream_http_x_user;"
        " APP; }"
    )
    client = nginx.client()
    for _ in range(2):
        assert said(client.post("/x", content=b"body"))[1] == "/x"
    assert client.get("/ask").status_code == 404


@pytest.mark.parametrize(("code", "status"), [(204, 200), (401, 401), (403, 403), (500, 500)])
def test_auth_request_s_answers(nginx, protocol, start, code, status):
    nginx.allow_log("auth request unexpected status")
    answer = protocol.wrap(
        "answer",
        f"""
        def application(environ, start_response):
            start_response("{code} Said", [("Content-Type", "text/plain")])
            return []
        """,
    )
    start(
        f"location /ask {{ internal; {protocol}_app {answer}; }}\n"
        "location / { auth_request /ask; APP; }"
    )
    client = nginx.client()
    for _ in range(2):
        assert client.post("/x", content=b"body").status_code == status


def test_mirror(nginx, protocol, start):
    copy = protocol.wrap(
        "copy",
        """
        from testkit import record

        def application(environ, start_response):
            record("mirrored", environ["wsgi.input"].read().decode())
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [b"nobody sees this"]
        """,
    )
    start(
        f"location /copy {{ internal; {protocol}_app {copy}; }}\n"
        "location / { mirror /copy; APP; }"
    )
    assert nginx.client().post("/x", content=b"body").text.endswith(" body")
    assert nginx.wait_recorded("mirrored") == ["body"]


def test_kinds_of_locations(nginx, start):
    start(
        "location /if { if ($arg_x) { set $y 1; } APP; }\n"
        "location /deep { location /deep/er { APP; } return 204; }\n"
        r"location ~ \.py$ { APP; }" + "\n"
        "location = /exact { APP; }\n"
        "location /old { rewrite ^/old(.*)$ /if$1?x=1 last; }\n"
        "location /shut { internal; APP; }\n"
        "location /get { limit_except GET { deny all; } APP; }\n"
    )
    client = nginx.client()
    assert said(client.get("/if?x=1"))[1:3] == ["/if", "x=1"]
    assert said(client.get("/deep/er"))[1] == "/deep/er"
    assert client.get("/deep").status_code == 204
    assert said(client.get("/a.py"))[1] == "/a.py"
    assert said(client.get("/exact"))[1] == "/exact"
    assert said(client.post("/old/a", content=b"body"))[:3] == ["POST", "/if/a", "x=1"]
    assert client.get("/shut").status_code == 404
    assert said(client.get("/get"))[1] == "/get"
    assert client.post("/get", content=b"body").status_code == 403


def test_satisfy_realip_and_a_map(nginx, protocol, start):
    start(
        "location / { satisfy any; deny all; auth_request /ask; APP;"
        f" {protocol}_param MAPPED $mapped; }}\n"
        "location /ask { return 204; }\n"
        "set_real_ip_from 127.0.0.1; real_ip_header X-Real-IP;",
        http="map $arg_m $mapped { default none; a b; }",
    )
    client = nginx.client()
    parts = said(client.get("/?m=a", headers={"X-Real-IP": "192.0.2.7"}))
    assert parts[3:5] == ["192.0.2.7", "b"]
    assert said(client.get("/"))[3:5] == ["127.0.0.1", "none"]
