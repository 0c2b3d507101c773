"""HTTP/3, if this nginx has it: a real client over QUIC."""

from __future__ import annotations

import json

import pytest
from harness import HAS_HTTP3
from rawhttp import wait_for

SOURCE = """
    import json

    from testkit import Blocks, gate, record

    def application(environ, start_response):
        path = environ["PATH_INFO"]
        if path == "/hold":
            environ["pywsgi.request"].on_disconnect(lambda: record("told"))
            record("entered")
            gate("go")
        if path == "/stream":
            start_response("200 OK", [("Content-Type", "text/plain")])
            return Blocks(b"%07d," % number * 100 for number in range(2000))
        if path == "/trailers":
            environ["pywsgi.request"].send_trailers([("X-Checksum", "abc")])
        if path == "/file":
            start_response("200 OK", [("Content-Type", "text/plain")])
            return environ["wsgi.file_wrapper"](open(__file__, "rb"))
        if path == "/large":
            fields = [(f"X-{number}", "v" * 200) for number in range(50)]
            start_response("200 OK", [("Content-Type", "text/plain"), *fields])
            return [environ["HTTP_X_LONG"].encode()]
        body = environ["wsgi.input"].read()
        seen = {
            "protocol": environ["SERVER_PROTOCOL"],
            "scheme": environ["wsgi.url_scheme"],
            "host": environ.get("HTTP_HOST"),
            "cookie": environ.get("HTTP_COOKIE"),
            "length": environ.get("CONTENT_LENGTH"),
            "body": len(body),
            "sum": sum(body),
            "method": environ["REQUEST_METHOD"],
            "query": environ["QUERY_STRING"],
        }
        start_response("200 OK", [
            ("Content-Type", "application/json"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"),
        ])
        return [json.dumps(seen).encode()]
"""
STREAMED = b"".join(b"%07d," % number * 100 for number in range(2000))


@pytest.fixture
def talk(nginx):
    """`talk(conversation, "directives")` starts nginx and runs the conversation on a connection."""
    from rawhttp3 import run

    def begin(conversation, more: str = "") -> None:
        app = nginx.app("http3", SOURCE)
        # The TCP port stays plain: the harness connects to it to see that nginx listens.
        server = f"listen 127.0.0.1:{nginx.port} quic;\n{nginx.tls()}"
        nginx.start(f"wsgi_app {app}; {more}", server=server, http="client_max_body_size 20m;")
        run(nginx.port, conversation)

    return begin


if HAS_HTTP3:

    def test_what_the_application_sees(talk):
        async def conversation(client):
            fields = [("cookie", "a=1"), ("cookie", "b=2")]
            answer = await client.get("/path?x=y", headers=fields)
            seen = json.loads(answer.body)
            assert seen["protocol"] == "HTTP/3.0"
            assert seen["scheme"] == "https"
            assert seen["host"] == "localhost"
            assert seen["cookie"] == "a=1; b=2"
            assert (seen["method"], seen["query"]) == ("GET", "x=y")
            assert answer.all("set-cookie") == ["a=1", "b=2"]

        talk(conversation)

    @pytest.mark.parametrize("buffering", ["on", "off"])
    def test_uploads(talk, buffering):
        async def conversation(client):
            body = bytes(range(256)) * 12_000
            for length in (True, False):
                fields = [("content-length", str(len(body)))] if length else []
                stream = client.request("/", method="POST", headers=fields, end=False)
                for start in range(0, len(body), 100_000):
                    client.send(stream, body[start : start + 100_000])
                client.send(stream, b"", end=True)
                seen = json.loads((await client.response(stream)).body)
                assert (seen["body"], seen["sum"]) == (len(body), sum(body))
                # With buffering, nginx knows the length anyway.
                known = length or buffering == "on"
                assert seen["length"] == (str(len(body)) if known else None)

        talk(conversation, f"wsgi_request_buffering {buffering};")

    @pytest.mark.parametrize("buffering", ["on", "off"])
    def test_streams_beside_one_another(talk, buffering):
        async def conversation(client):
            streams = [client.request("/stream") for _ in range(20)]
            streams += [client.request("/") for _ in range(20)]
            answers = [await client.response(stream) for stream in streams]
            assert all(answer.body == STREAMED for answer in answers[:20])
            assert all(json.loads(answer.body)["method"] == "GET" for answer in answers[20:])

        talk(conversation, f"wsgi_buffering {buffering};")

    def test_many_requests_on_one_connection(talk):
        async def conversation(client):
            for _ in range(300):
                assert (await client.get("/")).status == 200

        talk(conversation)

    def test_large_headers_both_ways(talk):
        async def conversation(client):
            answer = await client.get("/large", headers=[("x-long", "x" * 6000)])
            assert answer.body == b"x" * 6000
            assert [len(answer.all(f"x-{number}")[0]) for number in range(50)] == [200] * 50

        talk(conversation)

    def test_a_file_a_range_and_head(talk, nginx):
        async def conversation(client):
            content = (nginx.apps / "http3.py").read_bytes()
            assert (await client.get("/file")).body == content
            part = await client.get("/file", headers=[("range", "bytes=3-9")])
            assert (part.status, part.body) == (206, content[3:10])
            # This client expects a body of that length, and never sees the end.
            head = client.request("/file", method="HEAD")
            answer = await client.until(head, lambda arrived: bool(arrived.headers))
            assert answer.all("content-length") == [str(len(content))]

        talk(conversation)

    def test_trailers(talk):
        async def conversation(client):
            assert (await client.get("/trailers")).trailers == [("x-checksum", "abc")]

        talk(conversation)

    def test_a_stream_that_is_reset_leaves_the_others(talk, nginx):
        async def conversation(client):
            held = client.request("/hold")
            while not nginx.recorded("entered"):
                assert (await client.get("/")).status == 200
            client.reset(held)
            while not nginx.recorded("told"):
                assert (await client.get("/")).status == 200
            nginx.open_gate("go")
            assert (await client.get("/stream")).body == STREAMED

        talk(conversation)

    def test_streams_that_are_reset_while_they_are_sent(talk, nginx):
        async def conversation(client):
            for _ in range(30):
                stream = client.request("/stream")
                await client.until(stream, lambda arrived: len(arrived.body) > 10_000)
                client.reset(stream)
            assert (await client.get("/stream")).body == STREAMED

        talk(conversation)
        wait_for(lambda: len(nginx.recorded("closed")) == 31, what="the end of all iterations")
