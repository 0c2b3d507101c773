"""wsgi_early_hints, asgi_early_hints: 103 before the response, if this nginx can send it."""

from __future__ import annotations

import pytest
from harness import HAS_HTTP3, NGINX_VERSION
from rawhttp2 import Http2

CAN = NGINX_VERSION >= (1, 29, 0)

SOURCE = """
    from testkit import DATA, record

    LINKS = ["</style.css>; rel=preload; as=style", "</app.js>; rel=preload; as=script"]

    async def answer(request):
        record("has", request.can_hint)
        if not request.can_hint:
            await request.respond(b"no key")
            return
        if request.query == "wrong":
            await request.hint(["a\\r\\nSet-Cookie: b"])
        if request.query == "endless":
            try:
                for number in range(100_000):
                    await request.hint([str(number).rjust(964, "0")])
            except ValueError as error:
                record("refused", f"{number} {error}")
                raise
        if request.query == "late":
            await request.start(200)
            await request.send(b"begun ")
            await request.hint(LINKS)
            await request.send(b"late")
            return
        await request.hint(LINKS)
        if request.query == "twice":
            await request.hint(["</second.css>; rel=preload"])
        if request.query == "gate":
            await request.wait((DATA / "go").exists)
        await request.hint([])
        headers = [("Content-Type", "text/plain"), ("Link", "</own>")]
        await request.respond(b"the response", 200, headers)
"""
HINTS = (
    b"HTTP/1.1 103 Early Hints\r\n"
    b"Link: </style.css>; rel=preload; as=style\r\n"
    b"Link: </app.js>; rel=preload; as=script\r\n\r\n"
)


@pytest.fixture
def start(nginx, protocol):
    def begin(more: str = "", **options):
        app = protocol.app("hints", SOURCE)
        nginx.start(f"{protocol}_app {app}; {more}", **options)

    return begin


def ask(nginx, query: str = "", version: str = "1.1") -> bytes:
    head = f"GET /?{query} HTTP/{version}\r\nHost: a\r\nConnection: close\r\n\r\n"
    return nginx.raw(head.encode())


def test_there_is_a_key_where_this_nginx_can_send_it(start, nginx):
    start()
    answer = ask(nginx)
    assert nginx.recorded("has") == [str(CAN)]
    assert answer.startswith(HINTS) is CAN
    assert (b"103" in answer) is CAN


def test_off_takes_the_key_away(start, nginx, protocol):
    start(f"{protocol}_early_hints off;")
    assert ask(nginx).endswith(b"no key")


def test_http_1_0_has_none(start, nginx):
    start()
    assert ask(nginx, version="1.0").endswith(b"no key")


def test_a_subrequest_has_none(start, nginx):
    nginx.page("page.shtml", '<!--# include virtual="/" -->')
    start(server="location = /page.shtml { ssi on; types { text/html shtml; } }")
    head = b"GET /page.shtml HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    assert b"no key" in nginx.raw(head)


if CAN:

    def test_it_goes_out_at_once_and_the_response_follows(start, nginx):
        start()
        with nginx.connect() as connection:
            connection.get("/?gate")
            assert connection.until(b"\r\n\r\n") + b"\r\n\r\n" == HINTS
            nginx.open_gate("go")
            response = connection.response()
            assert (response.status, response.body) == (200, b"the response")
            assert response.all("Link") == ["</own>"]
            # The connection goes on.
            connection.get("/")
            assert connection.until(b"\r\n\r\n") + b"\r\n\r\n" == HINTS
            assert connection.response().body == b"the response"

    def test_each_call_is_a_response_of_its_own(start, nginx):
        start()
        answer = ask(nginx, "twice")
        second = b"HTTP/1.1 103 Early Hints\r\nLink: </second.css>; rel=preload\r\n\r\n"
        assert answer.startswith(HINTS + second + b"HTTP/1.1 200 OK\r\n")

    def test_after_the_head_it_is_nothing(start, nginx):
        start()
        answer = ask(nginx, "late")
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n") and b"103" not in answer

    def test_what_cannot_be_a_hint_is_refused(start, nginx):
        start()
        assert ask(nginx, "wrong").startswith(b"HTTP/1.1 500 ")
        assert nginx.wait_log("contains CR")

    def test_a_field_that_describes_a_single_message_is_refused(nginx):
        """ASGI's extension has links alone."""
        app = nginx.app(
            "length",
            """
            def application(environ, start_response):
                environ["wsgi.early_hints"]([("Content-Length", "5")])
            """,
        )
        nginx.start(f"wsgi_app {app};")
        assert ask(nginx).startswith(b"HTTP/1.1 500 ")
        assert nginx.wait_log("RFC 8297")

    def test_hints_without_end_are_refused(start, nginx):
        start()
        answer = ask(nginx, "endless")
        # Each counts as 8 + 960 + 32 bytes.
        (refused,) = nginx.recorded("refused")
        assert refused.startswith("1048 ")
        text = "the early hints of this request are longer than 1048576 bytes in all"
        assert refused.endswith(text)
        assert answer.count(b"HTTP/1.1 103 ") == 1048
        assert b"HTTP/1.1 500 " in answer

    @pytest.mark.parametrize(("condition", "sent"), [("1", True), ("0", False), ('""', False)])
    def test_the_conditions_of_early_hints_decide(start, nginx, condition, sent):
        start(f"set $to {condition}; early_hints $to;")
        answer = ask(nginx)
        assert answer.startswith(HINTS) is sent
        assert answer.endswith(b"the response")

    def test_over_http_2(start, nginx):
        start(listen="ssl", server=nginx.tls() + "http2 on;")
        with Http2(nginx.port) as client:
            stream = client.response(client.request("/"))
        assert (stream.status, stream.body) == (200, b"the response")
        assert [value for name, value in stream.hints if name == "link"] == [
            "</style.css>; rel=preload; as=style",
            "</app.js>; rel=preload; as=script",
        ]


if CAN and HAS_HTTP3:

    def test_over_http_3(start, nginx):
        """Each 103 arrives at once, before the response; the connection is kept."""
        from rawhttp3 import run

        first = [(":status", "103")] + [
            ("link", "</style.css>; rel=preload; as=style"),
            ("link", "</app.js>; rel=preload; as=script"),
        ]

        async def conversation(client):
            held = client.request("/?gate")
            answer = await client.until(held, lambda arrived: bool(arrived.interim))
            assert (answer.interim, answer.headers) == ([first], [])
            nginx.open_gate("go")
            await client.response(held)
            assert (answer.interim, answer.status) == ([first], 200)
            assert (answer.all("link"), answer.body) == (["</own>"], b"the response")

            answer = await client.get("/?twice")
            second = [(":status", "103"), ("link", "</second.css>; rel=preload")]
            assert (answer.interim, answer.status) == ([first, second], 200)
            assert (answer.trailers, answer.body) == ([], b"the response")

            answer = await client.get("/?late")
            assert (answer.interim, answer.body) == ([], b"begun late")

        # The TCP port stays plain: the harness connects to it to see that nginx listens.
        start(server=f"listen 127.0.0.1:{nginx.port} quic;\n{nginx.tls()}")
        run(nginx.port, conversation)
