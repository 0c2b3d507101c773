"""Server-side includes: an application as the page that includes, and as what is included."""

from __future__ import annotations

import pytest

# /page/… answers with ?text, in blocks of ?size bytes; /part/… with what it was asked.
SOURCE = """
    from urllib.parse import parse_qs
    from wsgiref.validate import validator

    @validator
    def application(environ, start_response):
        query = {k: v[0] for k, v in parse_qs(environ["QUERY_STRING"]).items()}
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        headers = [("Content-Type", query.get("type", "text/html")), ("X-Part", path)]
        if "modified" in query:
            headers.append(("Last-Modified", query["modified"]))
            headers.append(("ETag", '"a"'))
        if path.startswith("/page"):
            text = query["text"]
        else:
            body = environ["wsgi.input"].read(65536).decode()
            text = query.get("say", f"{method} {path} {environ['QUERY_STRING']} {body}")
            text *= int(query.get("times", "1"))
        if "length" in query:
            headers.append(("Content-Length", str(len(text))))
        start_response(query.get("status", "200 OK"), headers)
        size = int(query.get("size", len(text) or 1))
        return [text[i : i + size].encode() for i in range(0, len(text), size)]
"""
DATE = "Thu, 01 Jan 2015 00:00:00 GMT"
SERVER = """
    location /page { APP; ssi on; }
    location /part { APP; }
    location /deep { APP; ssi on; rewrite ^/deep(.*)$ /page$1 break; }
    location /static { return 200 static; }
    location /image { internal; APP; }
"""


@pytest.fixture
def page(twins):
    """`page(text)` is the answer to a page of that text, and by uwsgi_pass as well."""
    pair = twins(SOURCE).start(server=SERVER)

    def get(text: str, **query) -> str:
        response = pair.get("/page", params={"text": text, **query})
        assert response.status_code == 200
        return response.text

    get.pair = pair
    return get


def include(target: str, more: str = "") -> str:
    return f'<!--# include virtual="{target}" {more} -->'


@pytest.mark.parametrize("size", [1, 7, 4096])
@pytest.mark.parametrize("length", [{}, {"length": "1"}])
def test_the_page(page, size, length):
    text = f"<i>{include('/part/a?x=1')}|{include('/static')}|{include('/part/b')}</i>"
    answer = page(text, size=size, **length)
    assert answer == "<i>GET /part/a x=1 |static|GET /part/b  </i>"


def test_nested(page):
    inner = f"({include('/part/c')})".replace(" ", "%20").replace("#", "%23").replace('"', "%22")
    assert page(f"[{include('/deep?text=' + inner)}]") == "[(GET /part/c  )]"


@pytest.mark.parametrize("wait", ["", 'wait="yes"', 'wait="no"'])
def test_order(page, wait):
    text = "".join(f"{i}{include(f'/part?say={i}', wait)}" for i in range(8))
    assert page(text) == "0011223344556677"


def test_a_large_fragment_before_a_small_one(page):
    text = include("/part?say=abcdefgh&times=100000&size=20000") + include("/part?say=end")
    assert page(text) == "abcdefgh" * 100_000 + "end"


def test_large_fragments_that_wait_for_the_one_before(nginx, protocol):
    # nginx keeps their output until it is their turn, buffer by buffer.
    app = protocol.wrap(
        "part",
        """
        from testkit import gate, record

        def application(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/plain")])
            name = environ["PATH_INFO"][6:]
            record("called", name)
            if name == "first":
                gate("first")
                return [b"first"]
            return [name.encode() * 40_000, b"."]
        """,
    )
    names = [f"{number:08}" for number in range(24)]
    text = include("/part/first") + "".join(include(f"/part/{name}") for name in names)
    nginx.page("page.html", text)
    nginx.start(
        server=f"location /part/ {{ {protocol}_app {app}; }}\n"
        f"location / {{ root {nginx.html}; ssi on; }}",
        http="python_thread_pool default threads=32;",
    )
    with nginx.connect() as connection:
        connection.get("/page.html", close=True)
        nginx.wait_recorded("called", 25)
        nginx.open_gate("first")
        body = connection.response().body.decode()
    assert body.startswith("first")
    # By name, for a message that can be read.
    got = [(part[:8], len(part)) for part in body.removeprefix("first").split(".")]
    assert got == [(name, 320_000) for name in names] + [("", 0)]


def test_a_fragment_kept_in_a_variable(page):
    text = include("/part?say=kept", 'set="one"') + '<<!--# echo var="one" -->>'
    assert page(text) == "<kept>"
    long = include("/part?say=kept&times=10&size=3&length=1", 'set="one"')
    assert page(long + '<<!--# echo var="one" -->>') == f"<{'kept' * 10}>"


def test_commands_in_the_page(page):
    text = (
        '<!--# set var="a" value="<b>" -->'
        '<!--# if expr="$a = <b>" -->yes<!--# else -->no<!--# endif -->'
        '<!--# echo var="a" --><!--# echo var="arg_x" default="none" -->'
    )
    assert page(text, x="1") == "yes&lt;b&gt;1"
    assert page(text) == "yes&lt;b&gt;none"


def test_stub(page):
    text = '<!--# block name="none" -->nothing<!--# endblock -->'
    text += include("/nowhere", 'stub="none"') + include("/part?say=some", 'stub="none"')
    assert page(text).endswith("some")


def test_a_broken_command(nginx, page):
    assert page('a<!--# nonsense -->b<!--# config errmsg="oops" --><!--# include -->') == (
        "a[an error occurred while processing the directive]boops"
    )
    nginx.wait_log('invalid SSI command: "nonsense"')


def test_a_fragment_whose_status_is_an_error(page):
    assert page(f"a{include('/part?say=lost&status=404+Gone')}b") == "alostb"


@pytest.mark.parametrize("wait", ["", 'wait="yes"'])
def test_a_fragment_that_raises(nginx, protocol, wait):
    pages = protocol.wrap("pages", SOURCE)
    broken = protocol.wrap(
        "broken",
        """
        def application(environ, start_response):
            raise ValueError("no fragment today")
        """,
    )
    nginx.start(
        server=f"location /page {{ {protocol}_app {pages}; ssi on; }}\n"
        f"location /broken {{ {protocol}_app {broken}; error_page 500 = /sorry; }}\n"
        f"location /plain {{ {protocol}_app {broken}; }}\n"
        "location /sorry { return 200 sorry; }"
    )
    client = nginx.client()
    for _ in range(2):
        text = f"a{include('/broken', wait)}b"
        assert client.get("/page", params={"text": text}).text == "asorryb"
        text = f"a{include('/plain', wait)}b"
        answer = client.get("/page", params={"text": text})
        assert answer.status_code == 200
        assert answer.text.startswith("a<html>")
        assert "500 Internal Server Error" in answer.text
        assert answer.text.endswith("</html>\r\nb")
    nginx.wait_log("no fragment today")


def test_a_fragment_that_breaks_off(nginx, protocol):
    pages = protocol.wrap("pages", SOURCE)
    broken = protocol.wrap(
        "broken",
        """
        def application(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/html")])
            yield b"x" * 1000
            raise ValueError("half a fragment")
        """,
    )
    nginx.start(
        server=f"location /page {{ {protocol}_app {pages}; ssi on; }}\n"
        f"location /broken {{ {protocol}_app {broken}; }}"
    )
    connection = nginx.connect()
    connection.get(
        "/page?text=a" + include("/broken").replace(" ", "%20").replace("#", "%23") + "b"
    )
    # No client may take that for a whole page.
    assert not connection.response().complete
    assert nginx.client().get("/page?text=whole").text == "whole"


def test_what_ssi_does_to_the_page_s_validators(page):
    response = page.pair.get("/page", params={"text": "a", "modified": DATE, "length": "1"})
    assert "last-modified" not in response.headers
    assert "etag" not in response.headers
    assert "content-length" not in response.headers


def test_ssi_last_modified(nginx, twins):
    pair = twins(SOURCE).start(server="location /page { APP; ssi on; ssi_last_modified on; }")
    response = pair.get("/page", params={"text": "a", "modified": DATE})
    assert response.headers["last-modified"] == DATE
    assert response.headers["etag"] == 'W/"a"'
    target = {"params": {"text": "a", "modified": DATE}}
    known = nginx.client().get("/page", **target, headers={"If-Modified-Since": DATE})
    assert (known.status_code, known.text) == (304, "")


def test_ssi_types(twins):
    pair = twins(SOURCE).start(server="location /page { APP; ssi on; ssi_types text/css; }")
    text = '<!--# echo var="none" -->'
    for media_type in ("text/html", "text/css"):
        assert pair.get("/page", params={"text": text, "type": media_type}).text == "(none)"
    assert pair.get("/page", params={"text": text, "type": "text/plain"}).text == text


def test_head(page):
    response = page.pair.request("HEAD", "/page", params={"text": f"a{include('/part/x')}b"})
    assert (response.status_code, response.text) == (200, "")


def test_post(nginx, page):
    # nginx's subrequests are GET, and may read the request's body (as with proxy_pass).
    text = f"a{include('/part/x')}b"
    response = nginx.client().post("/page", params={"text": text}, content=b"form")
    assert response.text == "aGET /part/x  formb"


def test_the_fragment_s_headers_are_nobody_s(page):
    response = page.pair.get("/page", params={"text": include("/part/x")})
    assert response.headers["x-part"] == "/page"


def test_a_static_page_over_http2(nginx, protocol):
    part = protocol.wrap("part", SOURCE)
    nginx.page("page.html", f"a{include('/part/1')}{include('/part/2?times=50000')}b")
    nginx.start(
        server=f"{nginx.tls()} location /part {{ {protocol}_app {part}; }}\n"
        f"location / {{ root {nginx.html}; ssi on; }}",
        listen="ssl http2",
    )
    response = nginx.client(http2=True).get("/page.html")
    assert response.text == "aGET /part/1  " + "GET /part/2 times=50000 " * 50_000 + "b"
