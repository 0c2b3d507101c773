"""wsgi_debug, asgi_debug: the traceback as the page of a 500; strict checks of PEP 3333.

ASGI's own checks are in test_asgi_debug.py.
"""

from __future__ import annotations

import json
import re
import subprocess

import pytest

SOURCE = """
    import json

    from testkit import Blocks

    def fails(environ):
        secret = environ["HTTP_COOKIE"]
        try:
            {}["<missing>"]
        except KeyError as error:
            raise ValueError("a & b") from error

    def application(environ, start_response):
        query = environ["QUERY_STRING"].partition("&")[0]
        if query == "raise":
            fails(environ)
        if query == "exit":
            raise SystemExit(3)
        if query == "none":
            return None
        if query == "noted":
            error = ValueError("two\\nlines")
            error.add_note("a note")
            raise error
        if query == "long":
            raise ValueError("x" * 3_000_000)
        if query == "status":
            start_response("2xx OK", [("Content-Type", "text/plain")])
        if query == "bare":
            start_response("200", [("Content-Type", "text/plain")])
        if query == "started":
            start_response("200 OK", [("Content-Type", "text/plain"), ("Set-Cookie", "a=b")])
            raise RuntimeError("before the first block")
        if query != "short":
            start_response("200 OK", [("Content-Type", "text/plain")])
        if query == "late":
            return late()
        if query == "text":
            return Blocks(["text"])
        if query == "file":
            return environ["wsgi.file_wrapper"](open(__file__, "rb"))
        if query == "list":
            return [b"one", b"two"]
        if query == "mixed":
            return [b"one", "two"]
        if query == "short":
            start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "9")])
            return [b"short"]
        if query == "form":
            return [json.dumps(len(environ["wsgi.input"].read())).encode()]
        return Blocks([b"good"])

    def late():
        yield b"begun "
        raise RuntimeError("too late")
"""


# The same in both protocols.
FAULTS = """
    def fails(request):
        secret = request.headers["cookie"]
        try:
            {}["<missing>"]
        except KeyError as error:
            raise ValueError("a & b") from error

    async def answer(request):
        query = request.query.partition("&")[0]
        if query == "raise":
            fails(request)
        if query == "exit":
            raise SystemExit(3)
        if query == "noted":
            error = ValueError("two\\nlines")
            error.add_note("a note")
            raise error
        if query == "long":
            raise ValueError("x" * 3_000_000)
        if query == "started":
            await request.start(200, [*bothkit.TEXT, ("Set-Cookie", "a=b")])
            raise RuntimeError("before the first block")
        if query == "late":
            await request.start(200)
            await request.send(b"begun ")
            raise RuntimeError("too late")
        await request.respond(b"good")
"""


@pytest.fixture
def start(nginx):
    def begin(more: str = "", **options):
        app = nginx.app("debug", SOURCE)
        nginx.start(f"wsgi_app {app}; {more}", **options)
        return nginx.client()

    return begin


@pytest.fixture
def begin(nginx, protocol):
    """`begin("traceback")` starts nginx with the application of that protocol."""

    def start(mode: str | None, more: str = "", **options):
        app = protocol.app("debug", FAULTS)
        debug = f"{protocol}_debug {mode};" if mode else ""
        nginx.start(f"{protocol}_app {app}; {debug} {more}", **options)
        return nginx.client()

    return start


def traceback_in(text: str) -> bool:
    return "Traceback" in text or ".py" in text


@pytest.mark.parametrize("query", ["none", "status", "text"])
def test_no_broken_rule_is_shown_without_it(start, query):
    response = start().get(f"/?{query}", headers={"Accept": "text/html"})
    assert response.status_code == 500
    assert not traceback_in(response.text)
    assert "nginx" in response.text


@pytest.mark.parametrize("mode", [None, "off"])
@pytest.mark.parametrize("query", ["raise", "started", "exit"])
def test_nothing_is_shown_without_it(begin, mode, query):
    client = begin(mode)
    response = client.get(f"/?{query}", headers={"Accept": "text/html", "Cookie": "s"})
    assert response.status_code == 500
    assert not traceback_in(response.text)
    assert "nginx" in response.text


def test_the_traceback_is_a_page(begin, nginx):
    client = begin("traceback")
    fields = {"Accept": "text/html,*/*", "Cookie": "session=secret"}
    response = client.get("/?raise&token", headers=fields)
    assert response.status_code == 500
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    assert response.headers["Cache-Control"] == "no-store"
    assert "KeyError: &#x27;&lt;missing&gt;&#x27;" in response.text
    assert "The above exception was the direct cause" in response.text
    assert "<h1>ValueError: a &amp; b</h1>" in response.text
    assert "GET /?raise&amp;token" in response.text
    assert "session=secret" not in response.text
    # The log has it as well, and the connection is kept.
    assert nginx.wait_log("ValueError: a & b")
    assert client.get("/").text == "good"


def test_notes_are_shown_and_the_heading_is_the_exception(begin):
    client = begin("traceback")
    text = client.get("/?noted", headers={"Accept": "text/html"}).text
    assert "<h1>ValueError: two</h1>" in text
    assert "ValueError: two\nlines\na note</pre>" in text


def test_a_message_of_megabytes_is_cut(begin):
    client = begin("traceback")
    response = client.get("/?long", headers={"Accept": "text/html"})
    assert response.status_code == 500
    assert "ValueError: xxx" in response.text
    assert "characters are left out]" in response.text
    assert len(response.content) < 100_000


def test_who_wants_no_html_gets_text(begin):
    client = begin("traceback")
    response = client.get("/?raise", headers={"Cookie": "a", "Accept": "application/json"})
    assert (response.status_code, response.headers["Content-Type"]) == (
        500,
        "text/plain; charset=utf-8",
    )
    assert "ValueError: a & b" in response.text


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("none", "returned None; it must return an iterable of bytes"),
        ("status", "status &quot;2xx OK&quot;"),
        ("text", "yielded str where bytes are wanted"),
    ],
)
def test_a_broken_rule_is_shown(start, query, shown):
    client = start("wsgi_debug traceback;")
    response = client.get(f"/?{query}", headers={"Accept": "text/html"})
    assert (response.status_code, "Set-Cookie" in response.headers) == (500, False)
    assert shown in response.text


@pytest.mark.parametrize(
    ("query", "shown"),
    [("exit", "SystemExit: 3"), ("started", "RuntimeError: before the first block")],
)
def test_whatever_becomes_a_500_is_shown(begin, query, shown):
    client = begin("traceback")
    for _ in range(2):
        response = client.get(f"/?{query}", headers={"Accept": "text/html"})
        assert (response.status_code, "Set-Cookie" in response.headers) == (500, False)
        assert shown in response.text
    assert client.get("/").text == "good"


def test_head_has_no_page(begin):
    client = begin("traceback")
    response = client.head("/?exit")
    assert (response.status_code, response.content) == (500, b"")
    assert int(response.headers["Content-Length"]) > 0


def test_nothing_is_appended_once_the_head_has_gone(begin, nginx):
    begin("traceback")
    head = b"GET /?late HTTP/1.1\r\nHost: a\r\n\r\n"
    answer = nginx.raw(head)
    assert b"begun " in answer
    assert not traceback_in(answer.decode()) and not answer.endswith(b"0\r\n\r\n")
    assert nginx.wait_log("RuntimeError: too late")


def test_an_application_that_does_not_import_is_shown(nginx, protocol):
    app = nginx.app("broken", "import a_module_that_is_not_there\n")
    nginx.start(
        f"{protocol}_app {app}; {protocol}_debug traceback;",
        server=f"location /off {{ {protocol}_app {app}; }}",
    )
    client = nginx.client()
    page = client.get("/").text
    assert "No module named 'a_module_that_is_not_there'" in page
    assert client.get("/").text == page
    off = client.get("/off")
    assert off.status_code == 500 and not traceback_in(off.text)


def test_an_error_page_does_not_answer_for_the_application(begin):
    page = 'location = /500.html { return 200 "own"; }'
    client = begin("traceback", "error_page 500 /500.html;", server=page)
    assert "SystemExit" in client.get("/?exit").text


def test_an_error_page_answers_where_errors_are_intercepted(protocol, begin):
    more = f"error_page 500 /500.html; {protocol}_intercept_errors on;"
    client = begin("traceback", more, server='location = /500.html { return 200 "own"; }')
    assert client.get("/?exit").text == "own"


def test_in_a_browser(start, nginx, tmp_path):
    """Chromium shows the traceback line by line, and its text unescaped."""
    start("wsgi_debug traceback;")
    dump = subprocess.run(
        [
            "/usr/bin/chromium",
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            f"--user-data-dir={tmp_path}",
            "--dump-dom",
            nginx.url("/?none"),
        ],
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    ).stdout
    heading = re.search(r"<h1>(.*?)</h1>", dump, re.S)
    assert heading and "returned None" in heading[1]
    assert "<pre>" in dump and "<code>GET /?none</code>" in dump


# validate


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("text", "the application yielded str 'text' (PEP 3333"),
        ("bare", "status is str '200' (PEP 3333"),
        ("none", "the application returned NoneType None (PEP 3333"),
        ("mixed", "the application yielded str 'two' (PEP 3333"),
        ("short", "the body ends after 5 bytes; its Content-Length is 9 (PEP 3333"),
    ],
)
def test_validate_names_the_clause_and_the_line(start, nginx, query, shown):
    client = start("wsgi_debug validate;")
    response = client.get(f"/?{query}")
    assert response.status_code == 500
    assert f"ValidationError: {shown}" in response.text
    place = re.search(r"in (\S+/debug\.py):(\d+)$", response.text, re.M)
    assert place
    line = (nginx.apps / "debug.py").read_text().splitlines()[int(place[2]) - 1]
    assert ('start_response("200"' if query == "bare" else "def application") in line
    assert nginx.wait_log(f"ValidationError: {shown}")


def test_validate_leaves_a_good_application_alone(start, nginx):
    client = start("wsgi_debug validate;")
    for _ in range(3):
        assert client.get("/").text == "good"
    assert nginx.wait_recorded("closed", 3)
    assert json.loads(client.post("/?form", content=b"x" * 100_000).text) == 100_000
    # A response that is known as a whole keeps its Content-Length.
    listed = client.get("/?list")
    assert (listed.headers["Content-Length"], listed.text) == ("6", "onetwo")
    ranged = client.get("/?file", headers={"Range": "bytes=0-5"})
    assert (ranged.status_code, len(ranged.content)) == (206, 6)


FLASK = """
    from flask import Flask, Response, request

    application = Flask(__name__)

    @application.get("/")
    def none():
        return "", 204

    @application.get("/fresh")
    def fresh():
        answer = Response("text")
        answer.set_etag("one")
        return answer.make_conditional(request)
"""
DJANGO = """
    from django.conf import settings
    from django.core.wsgi import get_wsgi_application
    from django.http import HttpResponse
    from django.urls import path

    settings.configure(
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF=__name__,
        # The second one gives every response its length, this one too.
        MIDDLEWARE=[
            "django.middleware.http.ConditionalGetMiddleware",
            "django.middleware.common.CommonMiddleware",
        ],
    )
    urlpatterns = [
        path("", lambda request: HttpResponse(status=204)),
        path("fresh", lambda request: HttpResponse("text", headers={"ETag": '"one"'})),
    ]
    application = get_wsgi_application()
"""


@pytest.mark.parametrize("source", [FLASK, DJANGO], ids=["flask", "django"])
def test_validate_takes_what_frameworks_answer_without_content(nginx, source):
    app = nginx.app("framework", source)
    nginx.start(f"wsgi_app {app}; wsgi_debug validate;")
    client = nginx.client()
    none = client.get("/")
    assert (none.status_code, none.content) == (204, b""), none.text
    assert "Content-Length" not in none.headers
    assert client.get("/fresh").text == "text"
    unchanged = client.get("/fresh", headers={"If-None-Match": '"one"'})
    assert (unchanged.status_code, unchanged.content) == (304, b""), unchanged.text


def test_validate_also_shows_other_faults(start):
    client = start("wsgi_debug validate;")
    assert "ValueError: a & b" in client.get("/?raise", headers={"Cookie": "a"}).text


def test_inheritance(nginx, protocol):
    app = protocol.app("debug", FAULTS)
    nginx.start(
        f"{protocol}_app {app};",
        http=f"{protocol}_debug traceback;",
        server=f"location /off {{ {protocol}_app {app}; {protocol}_debug off; }}",
    )
    client = nginx.client()
    assert "SystemExit" in client.get("/?exit").text
    assert not traceback_in(client.get("/off?exit").text)


def test_wrong_words_are_refused(nginx, protocol):
    app = protocol.app("debug", FAULTS)
    result = nginx.check(f"{protocol}_app {app}; {protocol}_debug on;")
    assert result.returncode != 0
    assert f'{protocol}_debug has "on"; it must be off, traceback or validate' in result.stderr
