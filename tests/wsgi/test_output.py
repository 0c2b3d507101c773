"""What an application may return, what it may not, and what becomes of an exception."""

from __future__ import annotations

import pytest

OK = '"200 OK", [("Content-Type", "text/plain")]'


BAD_RESULTS = {
    "None": "None",
    "int": "7",
    "str": '"text"',
    "bytes": 'b"bytes"',
    "dict": '{"a": 1}',
    "list of str": '["text"]',
    "list of None": "[None]",
    "list of int": "[1]",
    "str after nothing": '[b"", "text"]',
    "tuple of str": '("text",)',
    "iterator of str": 'iter(["text"])',
    "iterator of None": "iter([None])",
    "bytes in str in list": '[["nested"]]',
    "object": "object()",
    "start_response": "start_response",
}


@pytest.mark.parametrize("result", BAD_RESULTS.values(), ids=BAD_RESULTS.keys())
def test_bad_result_before_the_head(nginx, fails, result):
    fails(f"start_response({OK}); return {result}")
    assert any("app.py" in line for line in nginx.log_lines("[error]")), nginx.error_log()


@pytest.mark.parametrize("fault", ['"text"', "None", "7", "[b'x']"])
@pytest.mark.parametrize("length", ["", '("Content-Length", "100"),'])
def test_bad_block_after_the_head(nginx, returns, fetch, fault, length):
    returns(f'Blocks([b"begun", {fault}, b"never"])', f'{length} ("Content-Type", "text/plain")')
    response = fetch()
    assert (response.status, response.body) == (200, b"begun")
    assert not response.complete
    assert nginx.wait_recorded("closed") == ["-"]
    assert "app.py" in nginx.wait_log("[error]")


@pytest.mark.parametrize(
    "raised",
    [
        "ValueError('boom')",
        "SystemExit(3)",
        "KeyboardInterrupt()",
        "GeneratorExit()",
        "Own('x')",
    ],
)
def test_exception_before_the_head(nginx, fails, raised):
    fails(f"raise {raised}")
    assert "[error]" in nginx.wait_log(raised.split("(")[0])
    assert nginx.log_lines("Traceback")


@pytest.mark.parametrize("raised", ["ValueError('boom')", "SystemExit(3)", "KeyboardInterrupt()"])
def test_exception_in_mid_body_leaves_chunked_unterminated(nginx, serve, fetch, raised):
    serve(
        f"""
        def application(environ, start_response):
            start_response({OK})
            yield b"one"
            yield b"two"
            raise {raised}
        """
    )
    before = nginx.workers()
    response = fetch()
    assert response.status == 200
    assert response.framing == "chunked"
    assert response.body == b"onetwo"
    assert not response.complete
    assert "[error]" in nginx.wait_log(raised.split("(")[0])
    assert nginx.workers() == before


def test_exception_in_mid_body_with_content_length(serve, fetch):
    serve(
        """
        def application(environ, start_response):
            start_response("200 OK", [("Content-Type", "a/b"), ("Content-Length", "10")])
            yield b"12345"
            raise ValueError("boom")
        """
    )
    response = fetch()
    assert (response.framing, response.body, response.complete) == ("length", b"12345", False)


IN_MID_BODY = f"""
    def application(environ, start_response):
        start_response({OK})
        yield b"one"
        raise ValueError("boom")
"""


def test_exception_in_mid_body_of_http_1_0(nginx, serve):
    serve(IN_MID_BODY)
    with nginx.connect() as connection:
        connection.send("GET / HTTP/1.0\r\n\r\n")
        with pytest.raises(ConnectionResetError):
            # A body that ends with its connection looks complete unless the connection is reset.
            while connection.sock.recv(65536):
                pass


def test_exception_in_mid_body_of_http_2(nginx, serve):
    import httpx

    serve(
        IN_MID_BODY,
        http2=True,
    )
    with pytest.raises(httpx.RemoteProtocolError):
        nginx.client(http2=True).get("/")


def test_large_bodies_arrive_whole(nginx, serve):
    import hashlib
    import random

    serve(
        f"""
        import random

        def application(environ, start_response):
            start_response({OK})
            source = random.Random(environ["QUERY_STRING"])
            for _ in range(300):
                yield source.randbytes(source.choice([1, 10, 100, 5000, 70000, 300000]))
        """
    )
    client = nginx.client()
    for seed in ("1", "2", "3"):
        source = random.Random(seed)
        expected = hashlib.sha256()
        for _ in range(300):
            expected.update(source.randbytes(source.choice([1, 10, 100, 5000, 70000, 300000])))
        assert hashlib.sha256(client.get(f"/?{seed}").content).digest() == expected.digest()


def test_many_small_blocks(nginx, returns):
    returns('(b"%d\\n" % number for number in range(50000))')
    expected = "".join(f"{number}\n" for number in range(50000))
    assert nginx.client().get("/").text == expected


def test_nginx_s_filters_do_their_work(nginx, serve):
    serve(
        """
        HEADERS = [
            ("Content-Type", "text/plain"),
            ("ETag", '"abc"'),
            ("Last-Modified", "Tue, 15 Nov 1994 08:12:31 GMT"),
        ]

        def application(environ, start_response):
            start_response("200 OK", HEADERS)
            if environ["PATH_INFO"] == "/stream":
                return iter([b"hello " * 50, b"world " * 50])
            return [b"hello " * 100]
        """,
        "gzip on; gzip_types text/plain; gzip_min_length 1; charset utf-8;",
    )
    client = nginx.client(headers={"Accept-Encoding": "identity"})
    plain = client.get("/")
    assert plain.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert plain.headers["ETag"] == '"abc"'
    assert client.get("/", headers={"If-None-Match": '"abc"'}).status_code == 304
    date = "Tue, 15 Nov 1994 08:12:31 GMT"
    assert client.get("/", headers={"If-Modified-Since": date}).status_code == 304
    for path in ("/", "/stream"):
        zipped = client.get(path, headers={"Accept-Encoding": "gzip"})
        assert zipped.headers["Content-Encoding"] == "gzip"
        assert "Content-Length" not in zipped.headers
        assert zipped.text == client.get(path).text
        assert len(zipped.text) == 600
    # Last, because nginx closes the connection after it (ngx_http_filter_finalize_request).
    assert client.get("/", headers={"If-Match": '"other"'}).status_code == 412


def test_an_encoded_response_is_not_encoded_again(nginx, serve):
    serve(
        """
        import gzip

        def application(environ, start_response):
            headers = [("Content-Type", "text/plain"), ("Content-Encoding", "gzip")]
            start_response("200 OK", headers)
            return [gzip.compress(b"text " * 1000)]
        """,
        "gzip on; gzip_types text/plain; gzip_min_length 1;",
    )
    response = nginx.client().get("/")
    assert response.text == "text " * 1000
    assert response.headers.get_list("Content-Encoding") == ["gzip"]


def test_a_charset_of_the_application_is_kept(nginx, serve):
    serve(
        """
        def application(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/plain; charset=koi8-r")])
            return [b"x"]
        """,
        "charset utf-8; override_charset off;",
    )
    assert nginx.client().get("/").headers["Content-Type"] == "text/plain; charset=koi8-r"


def test_error_page_for_an_exception(nginx, serve):
    nginx.page("500.html", "our own page\n")
    serve(
        """
        def application(environ, start_response):
            raise ValueError("boom")
        """,
        "error_page 500 /500.html;",
        server=f"location = /500.html {{ root {nginx.html}; }}",
    )
    response = nginx.client().get("/")
    assert (response.status_code, response.text) == (500, "our own page\n")
