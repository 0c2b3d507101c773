"""Request bodies, compared with `uwsgi_pass`: sizes, limits, files, and keep-alive after each."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

import pytest
from nginx.wire import NEXT
from protocols import WSGI_ONLY
from rawhttp import wait_for

# Answers with one line about the body; each call is recorded under the server's port.
SOURCE = (
    """
    import hashlib
    from pathlib import Path

    DATA = Path(__file__).resolve().parent.parent / "data"

    def answer(environ, start_response):
        with (DATA / f"called {environ['SERVER_PORT']}").open("a") as calls:
            calls.write(environ["REQUEST_METHOD"] + "\\n")
        status = "200 OK"
        if environ["PATH_INFO"] == "/unread":
            body, status = b"", "403 Forbidden"
        else:
            body = environ["wsgi.input"].read()
        keys = ("REQUEST_METHOD", "CONTENT_TYPE", "CONTENT_LENGTH")
        seen = [environ.get(key) or "-" for key in keys]
        start_response(status, [("Content-Type", "text/plain")])
        return [" ".join([*seen, hashlib.sha256(body).hexdigest()]).encode()]
"""
    + NEXT
)
SIZES = [0, 1, 1023, 1024, 1025, 8192, 100_000, 3_000_000]


# How a body is read is nginx's; what ASGI makes of it is in asgi/test_receive.py.
pytestmark = WSGI_ONLY


@pytest.fixture
def pair(twins):
    return twins(SOURCE)


def post(body: bytes, *, path: str = "/", method: str = "POST", chunk: int = 0) -> bytes:
    """An upload of a length, or in chunks of `chunk` bytes."""
    head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Type: text/x-mine\r\n".encode()
    if not chunk:
        return head + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    pieces = [body[start : start + chunk] for start in range(0, len(body), chunk)]
    chunks = [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces]
    return b"".join([head, b"Transfer-Encoding: chunked\r\n\r\n", *chunks, b"0\r\n\r\n"])


def kept_files(nginx) -> list[bytes]:
    found = []
    for path in (nginx.root / "tmp" / "body").iterdir():
        # nginx may remove it meanwhile.
        with contextlib.suppress(FileNotFoundError):
            found.append(path.read_bytes())
    return found


# The statuses, in a file for each server.
LOG = "access_log data/$server_port.log status;"
FORMAT = "log_format status $status;"


def calls(nginx, port: int) -> int:
    return len(nginx.recorded(f"called {port}"))


@pytest.mark.parametrize("buffer", ["1k", "16k", "8m"])
@pytest.mark.parametrize("chunk", [0, 1000, 40_000])
def test_client_body_buffer_size(pair, wire, buffer, chunk):
    pair.start(f"APP; client_body_buffer_size {buffer}; client_max_body_size 10m;")
    line = wire(pair)
    for size in SIZES:
        answer = line.ask(post(b"x" * size, chunk=chunk))
        assert answer.body.startswith(b"POST text/x-mine %d " % size)


def test_a_body_in_pieces(pair, wire):
    pair.start("APP; client_body_buffer_size 1k;")
    line = wire(pair)
    line.ask(post(b""))
    for upload in (post(b"z" * 5000), post(b"z" * 5000, chunk=700)):
        for connection in line.connections:
            for start in range(0, len(upload), 333):
                connection.send(upload[start : start + 333])
        ours, theirs = (connection.response() for connection in line.connections)
        assert ours.body == theirs.body
        line.next()


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "FROB"])
def test_a_body_with_any_method(pair, wire, method):
    pair.start("APP;")
    line = wire(pair)
    for chunk in (0, 3):
        line.ask(post(b"of any method", method=method, chunk=chunk), head_only=method == "HEAD")


@pytest.mark.parametrize("size", [10, 10_000, 3_000_000])
@pytest.mark.parametrize("chunk", [0, 10_000])
def test_a_body_that_the_application_does_not_read(pair, wire, size, chunk):
    pair.start("APP; client_max_body_size 10m;")
    line = wire(pair)
    answer = line.ask(post(b"x" * size, path="/unread", chunk=chunk))
    assert answer.status == 403


@pytest.mark.parametrize("directive", ["", "client_body_in_single_buffer on;"])
@pytest.mark.parametrize("kind", ["on", "clean", "off"])
def test_client_body_in_file_only(nginx, pair, wire, kind, directive):
    pair.start(
        f"APP; client_body_in_file_only {kind}; {directive} client_body_buffer_size 1k;"
        " add_header X-In-File $in_file;",
        http='map $request_body_file $in_file { "" no; default yes; }',
    )
    line = wire(pair)
    bodies = [b"small", b"large" * 1000]
    for body in bodies:
        for chunk in (0, 100):
            answer = line.ask(post(body, chunk=chunk), then_next=False)
            in_file = kind != "off" or len(body) > 1024
            assert answer.get("X-In-File") == ("yes" if in_file else "no"), body[:5]
    # Two servers, and two ways to send each.
    expected = sorted(bodies * 4) if kind == "on" else []
    wait_for(lambda: sorted(kept_files(nginx)) == expected, what="the files that are kept")


@pytest.mark.parametrize("chunk", [0, 300])
def test_client_max_body_size(nginx, pair, wire, chunk):
    nginx.allow_log("client intended to send too large")
    pair.start(
        server="location / { APP; client_max_body_size 1000; }"
        "location /unlimited { APP; client_max_body_size 0; }"
    )
    line = wire(pair)
    assert line.ask(post(b"x" * 1000, chunk=chunk)).status == 200
    assert line.ask(post(b"x" * 3_000_000, path="/unlimited", chunk=chunk)).status == 200
    before = [calls(nginx, port) for port in line.ports]
    assert before == [2, 2]
    answer = line.ask(post(b"x" * 1001, chunk=chunk), kept=False)
    assert answer.status == 413
    assert [calls(nginx, port) for port in line.ports] == before


def test_a_413_before_the_body_is_sent(nginx, pair, wire):
    pair.start("APP; client_max_body_size 1000;")
    line = wire(pair)
    head = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1001\r\n"
    for expect in ("", "Expect: 100-continue\r\n"):
        line.ask("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        for connection in line.connections:
            connection.send(f"{head}{expect}\r\n")
        ours, theirs = (connection.response() for connection in line.connections)
        assert (ours.status, ours.body) == (theirs.status, theirs.body)
        assert ours.status == 413
        line.close()


@pytest.mark.parametrize("directive", ["lingering_close on;", "lingering_close always;"])
@pytest.mark.parametrize("chunk", [0, 50_000])
def test_a_client_that_goes_on_sending_reads_its_413(nginx, pair, wire, directive, chunk):
    """Without lingering_close the connection would be reset, and the response lost."""
    nginx.allow_log("client intended to send too large")
    pair.start(f"APP; client_max_body_size 1000; {directive}")
    upload = post(b"x" * 200_000, chunk=chunk)
    line = wire(pair)
    line.ask("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    answers = []
    for connection in line.connections:
        connection.send(upload[:100_000])
        assert connection.sock.recv(1, socket.MSG_PEEK)
        connection.send(upload[100_000:])
        answers.append(connection.response())
    ours, theirs = answers
    assert ours.status == theirs.status == 413
    assert ours.complete
    assert ours.body == theirs.body


def test_expect_100_continue(pair, wire):
    pair.start("APP;")
    line = wire(pair)
    line.ask("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    head = "POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n"
    for connection in line.connections:
        connection.send(head)
        assert connection.response().status == 100
        connection.send("body")
    ours, theirs = (connection.response() for connection in line.connections)
    assert ours.body == theirs.body
    line.next()
    # HTTP/1.0 has no Expect, and other expectations are ignored.
    line.ask(head.replace("100-continue", "200-ok") + "body")
    line.ask(head.replace("1.1", "1.0") + "body", kept=False)


@pytest.mark.parametrize(
    "head",
    [
        "Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        "Transfer-Encoding: chunked\r\n\r\n3\r\nabcdef\r\n",
        "Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
        "Transfer-Encoding: gzip\r\n\r\n",
        "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n0\r\n\r\n",
        "Content-Length: 1\r\nContent-Length: 1\r\n\r\nx",
        "Content-Length: +1\r\n\r\nx",
        "Content-Length: 1x\r\n\r\nx",
        "Content-Length:\r\n\r\n",
        "Content-Length: 99999999999999999999\r\n\r\n",
    ],
)
def test_malformed_bodies(nginx, pair, wire, head):
    pair.start("APP;")
    line = wire(pair)
    answer = line.ask(f"POST / HTTP/1.1\r\nHost: x\r\n{head}", kept=False)
    assert answer.status in (400, 413, 501)
    assert [calls(nginx, port) for port in line.ports] == [0, 0]


@pytest.mark.parametrize("framing", ["Content-Length: 20", "Transfer-Encoding: chunked"])
def test_client_body_timeout(nginx, pair, wire, framing):
    pair.start("APP; client_body_timeout 1s;", server=LOG, http=FORMAT)
    line = wire(pair)
    line.closed(f"POST / HTTP/1.1\r\nHost: x\r\n{framing}\r\n\r\n5\r\nhello")
    assert [nginx.wait_recorded(f"{port}.log") for port in line.ports] == [["408"], ["408"]]
    assert [calls(nginx, port) for port in line.ports] == [0, 0]


@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_client_that_leaves_in_its_upload(nginx, pair, wire, how):
    pair.start("APP;", server=LOG, http=FORMAT)
    line = wire(pair)
    line.ask("GET / HTTP/1.1\r\nHost: x\r\n\r\n", then_next=False)
    for connection in line.connections:
        connection.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 20\r\n\r\nhello")
        getattr(connection, how)()
    ours, theirs = (nginx.wait_recorded(f"{port}.log", 2) for port in line.ports)
    assert ours == theirs
    assert [calls(nginx, port) for port in line.ports] == [1, 1]


def test_pipelined_uploads(pair, wire):
    pair.start("APP; client_body_buffer_size 1k;")
    line = wire(pair)
    line.ask(post(b""))
    uploads = [post(b"p" * size, chunk=chunk) for size in (1, 0, 5000) for chunk in (0, 100)]
    for connection in line.connections:
        connection.send(b"".join(uploads))
    for _ in uploads:
        ours, theirs = (connection.response() for connection in line.connections)
        assert ours.body == theirs.body
    line.next()


def test_temporary_files_go_with_their_requests(nginx, pair, wire):
    pair.start("APP; client_body_buffer_size 1k;")
    line = wire(pair)
    for _ in range(20):
        line.ask(post(b"x" * 5000))
    (worker,) = nginx.workers()

    def open_files() -> list[str]:
        return [
            name
            for path in Path(f"/proc/{worker}/fd").iterdir()
            if "tmp/body" in (name := str(path.readlink()))
        ]

    wait_for(lambda: not open_files(), what="no temporary file left open")
