"""The access log's variables, compared with those of the same requests by `uwsgi_pass`."""

from __future__ import annotations

import re

import pytest
from nginx.wire import NEXT
from rawhttp import wait_for

# ?s=STATUS, whose phrase is the usual one, because ASGI has no other; a header for each
# ?h=NAME:VALUE; /waits answers when the test opens its gate.
SOURCE = (
    """
    import time
    from pathlib import Path
    from urllib.parse import parse_qsl

    DATA = Path(__file__).resolve().parent.parent / "data"

    def answer(environ, start_response):
        query = parse_qsl(environ["QUERY_STRING"])
        if environ["PATH_INFO"] == "/waits":
            (DATA / f"waits {environ['SERVER_PORT']}").touch()
            end = time.monotonic() + 60
            while not (DATA / "gate").exists() and time.monotonic() < end:
                time.sleep(0.01)
        headers = [tuple(value.split(":", 1)) for name, value in query if name == "h"]
        start_response(dict(query).get("s", "200 OK"), headers)
        blocks = [b"0123456789"] * int(dict(query).get("n", "1"))
        return iter(blocks)
"""
    + NEXT
)
# Everything but the time, which has a log of its own.
VARIABLES = """status body_bytes_sent bytes_sent request_length request_method request_uri uri args
arg_s request_completion connection_requests pipe server_protocol content_type content_length
http_x_mine cookie_a remote_user is_args query_string request_body sent_http_content_type
sent_http_content_length sent_http_x_app sent_http_location sent_http_last_modified sent_http_etag
sent_http_cache_control sent_http_transfer_encoding sent_http_connection sent_http_set_cookie
sent_http_link"""
ALL = ",".join(f'"{name}":"${name}"' for name in VARIABLES.split())
FORMAT = f"log_format all escape=json '{{{ALL}}}'; log_format time '$request_time';"
LOG = "access_log data/$server_port.log all; access_log data/$server_port.time time;"


@pytest.fixture
def pair(twins):
    return twins(SOURCE)


def logged(nginx, line) -> list[str]:
    """What the access log has of a request, which must be the same for both."""
    ours, theirs = (nginx.wait_recorded(f"{port}.log") for port in line.ports)
    assert ours == theirs
    return ours


def time_logged(nginx, port: int) -> str:
    return nginx.wait_recorded(f"{port}.time")[0]


def send_and_wait(nginx, line, request: str) -> None:
    """Sends a request to both, and waits until both applications wait."""
    line.send(request)
    wait_for(
        lambda: all((nginx.data / f"waits {port}").exists() for port in line.ports),
        what="both applications waiting",
    )


REQUESTS = {
    "plain": "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "arguments": "GET /a%20b?s=201+Created&x HTTP/1.1\r\nHost: x\r\nX-Mine: m\r\n\r\n",
    "cookies": "GET / HTTP/1.1\r\nHost: x\r\nCookie: a=1; b=2\r\n\r\n",
    "a known length": "GET /?h=Content-Length:30&n=3 HTTP/1.1\r\nHost: x\r\n\r\n",
    "headers": "GET /?h=X-App:1&h=Content-Type:text/html&h=Location:/x&s=302+Found"
    "&h=Last-Modified:Thu,%2001%20Jan%202015%2000:00:00%20GMT&h=ETag:%22a%22"
    " HTTP/1.1\r\nHost: x\r\n\r\n",
    "repeated headers": "GET /?h=Set-Cookie:a=1&h=Set-Cookie:b=2&h=Cache-Control:private"
    "&h=Cache-Control:max-age=5&h=X-App:1&h=X-App:2&h=Link:a&h=Link:b HTTP/1.1\r\nHost: x\r\n\r\n",
    "no content": "GET /?s=204+No+Content&n=0 HTTP/1.1\r\nHost: x\r\n\r\n",
    "not modified": "GET /?s=304+Not+Modified&n=0&h=ETag:%22a%22 HTTP/1.1\r\nHost: x\r\n\r\n",
    "an error": "GET /?s=500+Internal+Server+Error HTTP/1.1\r\nHost: x\r\n\r\n",
    "a form": "POST /?s=201+Created HTTP/1.1\r\nHost: x\r\nContent-Type: a/b\r\n"
    "Content-Length: 4\r\n\r\nform",
    "a chunked form": "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    "4\r\nform\r\n0\r\n\r\n",
    "user": "GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Basic YTpi\r\n\r\n",
    "an old client": "GET /?h=Content-Length:10 HTTP/1.0\r\n\r\n",
    "the end": "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "malformed": "GET / HTTP/1.1\r\n\r\n",
    "a header alone": "HEAD /?h=Content-Length:10 HTTP/1.1\r\nHost: x\r\n\r\n",
}


@pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS.keys())
def test_variables(nginx, pair, wire, request_):
    pair.start(f"APP; {LOG}", http=FORMAT, server=LOG)
    line = wire(pair)
    line.send(request_)
    for connection in line.connections:
        assert connection.response(head_only=request_.startswith("HEAD")).complete
    logged(nginx, line)
    for port in line.ports:
        assert re.fullmatch(r"\d+\.\d{3}", time_logged(nginx, port))


@pytest.mark.parametrize("size", [10, 5000, 100_000])
def test_request_body_and_length(nginx, pair, wire, size):
    pair.start(f"APP; {LOG} client_body_buffer_size 16k;", http=FORMAT)
    line = wire(pair)
    body = "b" * size
    head = f"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n"
    line.ask(head + body, then_next=False)
    ours = logged(nginx, line)
    assert f'"request_length":"{len(head) + size}"' in ours[0]
    # A body in a file is in no variable.
    assert f'"request_body":"{body if size < 16384 else ""}"' in ours[0]


@pytest.mark.threads("the application waits, in a call, for another request to be sent")
def test_request_time_is_the_application_s(nginx, pair, wire):
    pair.start(f"APP; {LOG}", http=FORMAT)
    line = wire(pair)
    send_and_wait(nginx, line, "GET /waits?h=Content-Length:10 HTTP/1.1\r\nHost: x\r\n\r\n")
    for connection in line.connections:
        assert connection.quiet(0.5)
    nginx.open_gate("gate")
    for connection, port in zip(line.connections, line.ports, strict=True):
        assert connection.response().body == b"0123456789"
        assert float(time_logged(nginx, port)) >= 0.5


@pytest.mark.threads("inline the event loop sees no client leave while it is in a call")
def test_a_client_that_leaves_is_499(nginx, pair, wire):
    pair.start(f"APP; {LOG}", http=FORMAT)
    line = wire(pair)
    send_and_wait(nginx, line, "GET /waits HTTP/1.1\r\nHost: x\r\n\r\n")
    for connection in line.connections:
        connection.close()
    assert '"status":"499"' in logged(nginx, line)[0]
    nginx.open_gate("gate")


def test_a_body_that_is_too_large(nginx, pair, wire):
    pair.start(f"APP; {LOG} client_max_body_size 5; lingering_timeout 500ms;", http=FORMAT)
    line = wire(pair)
    line.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\n123456")
    for connection in line.connections:
        assert connection.response().status == 413
    logged(nginx, line)


def test_there_is_no_upstream(nginx, protocol):
    """The variables of an upstream exist, and are empty."""
    app = protocol.wrap("app", SOURCE)
    nginx.start(
        f"{protocol}_app {app}; access_log data/up.log up;",
        http="log_format up '$upstream_addr $upstream_status $upstream_response_time "
        "$upstream_http_x_app $upstream_bytes_received $upstream_cache_status';",
    )
    assert nginx.client().get("/?h=X-App:1").status_code == 200
    assert nginx.wait_recorded("up.log") == ["- - - - - -"]
