"""error_page to and from an application, compared with `uwsgi_pass`, and keep-alive after each.

For ASGI the largest tables are left out: directives/test_wsgi_intercept_errors.py and
test_locations.py have their main rows.
"""

from __future__ import annotations

import pytest
from nginx.wire import NEXT
from protocols import WSGI_ONLY

# ?s=STATUS; the body names the request. /wait answers when the test has opened the gate.
SOURCE = (
    """
    import time
    from pathlib import Path
    from urllib.parse import parse_qs

    DATA = Path(__file__).resolve().parent.parent / "data"

    def answer(environ, start_response):
        query = {k: v[0] for k, v in parse_qs(environ["QUERY_STRING"]).items()}
        if environ["PATH_INFO"] == "/wait":
            end = time.monotonic() + 60
            while not (DATA / "gate").exists() and time.monotonic() < end:
                time.sleep(0.01)
        body = environ["wsgi.input"].read()
        seen = [environ["REQUEST_METHOD"], environ["PATH_INFO"], environ["REQUEST_URI"]]
        text = " ".join([*seen, str(len(body))]).encode()
        headers = [("Content-Type", "text/x-app"), ("X-App", "1"), ("Set-Cookie", "a=b")]
        if not query.get("s", "").startswith("304"):
            headers.append(("Content-Length", str(len(text))))
        if "location" in query:
            headers.append(("Location", query["location"]))
        start_response(query.get("s", "200 OK"), headers)
        return iter([text])
"""
    + NEXT
)
INTERCEPT = "wsgi_intercept_errors on; uwsgi_intercept_errors on;"


@pytest.fixture
def pair(twins):
    return twins(SOURCE)


def get(target: str = "/", method: str = "GET", body: str = "") -> str:
    length = f"Content-Length: {len(body)}\r\n" if body else ""
    return f"{method} {target} HTTP/1.1\r\nHost: x\r\n{length}\r\n{body}"


PAGES = """
    location = /next {{ APP; }}
    location /static/ {{ internal; root {html}; }}
    location /app/ {{ APP; }}
    location @named {{ APP; }}
    location @again {{ APP; }}
"""
ERROR_PAGES = {
    "a file": "error_page 404 500 /static/page.html;",
    "a file that is missing": "error_page 404 500 /static/none.html;",
    "another status": "error_page 404 500 =503 /static/page.html;",
    "the status of the page": "error_page 404 500 = /app/page;",
    "an application": "error_page 404 500 /app/page;",
    "an application's arguments": "error_page 404 500 = /app/page?s=201+Made;",
    "an application's error": "error_page 404 500 = /app/page?s=410+Gone;",
    "a named location": "error_page 404 500 @named;",
    "a named location's own status": "error_page 404 500 = @named;",
    "a redirect": "error_page 404 500 /moved/$uri; error_page 500 http://y.example/;",
    "a redirect of 301": "error_page 404 500 =301 http://y.example/x;",
    "a variable": "error_page 404 500 /app/$status;",
    "nobody": "error_page 503 /app/page;",
    "no location": "error_page 404 500 @nowhere;",
}


@WSGI_ONLY
@pytest.mark.parametrize("page", ERROR_PAGES.values(), ids=ERROR_PAGES.keys())
@pytest.mark.parametrize("intercept", ["", INTERCEPT], ids=["own", "intercepted"])
def test_error_page_from_an_application(nginx, pair, wire, page, intercept):
    nginx.allow_log("could not find named location")
    nginx.page("static/page.html", "the page")
    pages = PAGES.format(html=nginx.html)
    pair.start(server=f"{pages}\nlocation / {{ APP; {intercept} {page} }}")
    line = wire(pair)
    for status in ("404+Not+Here", "500+Broken", "403+No", "200+OK"):
        for method, body in (("GET", ""), ("POST", "form"), ("HEAD", "")):
            request = get(f"/a%20b?s={status}", method, body)
            # nginx closes the connection after some of the statuses for which it makes a page.
            answer = line.ask(request, head_only=method == "HEAD", kept=None)
            if not intercept or status[0] == "2":
                assert answer.get("X-App") == "1"
                assert answer.status == int(status[:3])


@pytest.mark.parametrize("recursive", ["on", "off"])
def test_recursive_error_pages(pair, wire, recursive):
    pair.start(
        server=f"""
        recursive_error_pages {recursive};
        location / {{ APP; {INTERCEPT} error_page 404 = @second; }}
        location @second {{ APP; {INTERCEPT} error_page 404 = @third; }}
        location @third {{ APP; {INTERCEPT} error_page 404 =202 /end; }}
        location = /end {{ return 200 "the end"; }}
        location = /next {{ APP; }}
        """
    )
    line = wire(pair)
    answer = line.ask(get("/x?s=404+Not+Here"))
    assert answer.status == (202 if recursive == "on" else 404)
    line.ask(get("/x?s=404+Not+Here", "POST", "form"))
    assert line.ask(get("/x")).status == 200


def test_error_pages_without_an_end(nginx, pair, wire):
    nginx.allow_log("rewrite or internal redirection cycle")
    pair.start(
        server=f"""
        recursive_error_pages on;
        location / {{ APP; {INTERCEPT} error_page 404 /again?s=404+Not+Here; }}
        location = /next {{ APP; }}
        """
    )
    line = wire(pair)
    assert line.ask(get("/x?s=404+Not+Here"), kept=False).status == 500


PAGE_TARGETS = ["/app/page", "= /app/page", "=299 /app/page", "@named", "= @named"]
# Statuses of nginx's own, for which an application makes the page.
OWN = {
    "404": "location /own { root /nonexistent; }",
    "403": "location /own { deny all; }",
    "405": "location /own { return 405; }",
    "418": "location /own { return 418; }",
    "429": "location /own { return 429; }",
    "500": "location /own { return 500; }",
    "502": "location /own { proxy_pass http://127.0.0.1:1; }",
}


@WSGI_ONLY
@pytest.mark.parametrize(("status", "location"), OWN.items(), ids=OWN.keys())
@pytest.mark.parametrize("page", PAGE_TARGETS)
def test_error_page_to_an_application(nginx, pair, wire, status, location, page):
    nginx.allow_log(r"rewrite or internal redirection cycle|client intended to send too large")
    pair.start(
        server=f"""
        error_page {status} {page};
        {location}
        location /app/ {{ APP; }}
        location @named {{ APP; }}
        location = /next {{ APP; }}
        """
    )
    line = wire(pair)
    for method, body in (("POST", "form"), ("GET", ""), ("HEAD", "")):
        request = get("/own/x?y", method, body)
        # nginx closes the connection after a 500 of its own.
        answer = line.ask(request, head_only=method == "HEAD", kept=status != "500")
        assert answer.get("X-App") == "1"


@pytest.mark.parametrize(
    "buffering",
    ["on", pytest.param("off", marks=pytest.mark.threads("a thread waits for the body"))],
)
@pytest.mark.parametrize("page", PAGE_TARGETS)
def test_error_page_for_a_413(nginx, protocol, page, buffering):
    """By uwsgi_pass the application would wait for the body that nginx has refused."""
    app = protocol.wrap("app", SOURCE)
    nginx.start(
        f"{protocol}_app {app}; client_max_body_size 1; error_page 413 {page};",
        server=f"{protocol}_request_buffering {buffering};"
        f" location /app/ {{ {protocol}_app {app}; }}"
        f" location @named {{ {protocol}_app {app}; }}",
    )
    uploads = {"Content-Length: 4": "form"}
    if buffering == "on":
        # Nobody else can read a chunked body that has been read in part.
        uploads["Transfer-Encoding: chunked"] = "4\r\nform"
    for framing, body in uploads.items():
        with nginx.connect() as connection:
            connection.send(f"POST / HTTP/1.1\r\nHost: x\r\n{framing}\r\n\r\n{body}")
            answer = connection.response()
            assert answer.status == (299 if "299" in page else 200 if "= " in page else 413)
            assert (answer.get("X-App"), answer.get("Connection")) == ("1", "close")
            assert answer.body.endswith(b" 0")
            assert connection.rest() == b""


@pytest.mark.threads("inline nobody can answer for the event loop while it is in a call")
def test_a_late_application_is_504_and_its_page_another_application(nginx, pair, wire):
    pair.start(
        server="""
        error_page 504 =202 /app/late;
        location / { APP; wsgi_timeout 500ms; uwsgi_read_timeout 500ms; }
        location /app/ { APP; }
        """
    )
    line = wire(pair)
    answer = line.ask(get("/wait"))
    assert (answer.status, answer.get("X-App")) == (202, "1")
    line.ask(get("/wait", "POST", "form"))
    nginx.open_gate("gate")


@pytest.mark.threads("inline nobody can answer for the event loop while it is in a call")
def test_a_late_application_is_504(nginx, pair, wire):
    pair.start("APP; wsgi_timeout 500ms; uwsgi_read_timeout 500ms;")
    line = wire(pair)
    assert line.ask(get("/wait")).status == 504
    assert line.ask(get("/wait", "POST", "form")).status == 504
    assert line.ask(get("/wait", "HEAD"), head_only=True).status == 504
    nginx.open_gate("gate")


@pytest.mark.parametrize("intercept", ["", INTERCEPT], ids=["own", "intercepted"])
def test_redirects_and_pages_for_them(pair, wire, intercept):
    pair.start(
        server=f"""
        location / {{ APP; {intercept} error_page 302 = /app/redirected; }}
        location /app/ {{ APP; }}
        """
    )
    line = wire(pair)
    for status in ("302+Found", "301+Moved"):
        for location in ("/y", "y", "http://y.example/"):
            answer = line.ask(get(f"/x?s={status}&location={location}"))
            if status[:3] == "301" or not intercept:
                assert answer.get("Location") == location


@pytest.mark.parametrize("intercept", ["", INTERCEPT], ids=["own", "intercepted"])
def test_upload_whose_page_is_another_application(pair, wire, intercept):
    """The second application gets the body that has already been read."""
    pair.start(
        server=f"""
        location / {{ APP; {intercept} error_page 409 = @named; client_body_buffer_size 1k; }}
        location @named {{ APP; }}
        """
    )
    line = wire(pair)
    for size in (1, 100, 100_000):
        answer = line.ask(get("/x?s=409+Conflict", "POST", "x" * size))
        assert answer.body.endswith(f" {size}".encode())


def test_an_application_that_lets_requests_through(pair, wire):
    pair.start(
        server="""
        location / { APP; satisfy any; deny all; auth_request /app/check; }
        location /app/ { APP; }
        """
    )
    line = wire(pair)
    for method in ("GET", "HEAD"):
        assert line.ask(get("/x", method), head_only=method == "HEAD").status == 200


@pytest.mark.parametrize("condition", ["If-None-Match: *", 'If-Match: "z"', "Range: bytes=0-1"])
def test_conditions_do_not_touch_errors(pair, wire, condition):
    pair.start("APP;")
    line = wire(pair)
    for status in ("404+Not+Here", "500+Broken", "304+Same"):
        request = get(f"/x?s={status}").replace("\r\n\r\n", f"\r\n{condition}\r\n\r\n")
        assert line.ask(request).status == int(status[:3])
