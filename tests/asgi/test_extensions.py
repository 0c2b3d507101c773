"""The extensions of ASGI: each is in `scope["extensions"]` only if it works there."""

from __future__ import annotations

import hashlib
from pathlib import Path

import httpx
import pytest
from harness import HAS_HTTP3, NGINX_VERSION
from rawhttp import wait_for
from rawhttp2 import Http2

HAS_EARLY_HINTS = NGINX_VERSION >= (1, 29, 0)
FILES = {"http.response.pathsend", "http.response.zerocopysend"}


def test_what_is_offered(show, nginx):
    """Trailers only to those who take them, as the extension asks."""
    show()
    client = nginx.client()
    extensions = set(show.of(client.get("/", headers={"TE": "trailers"}))["extensions"])
    expected = FILES | {"http.response.trailers"}
    if HAS_EARLY_HINTS:
        expected.add("http.response.early_hint")
    assert extensions == expected
    assert set(show.of(client.get("/"))["extensions"]) == expected - {"http.response.trailers"}


def test_what_does_not_work_is_not_offered(show, nginx):
    show("asgi_file_wrapper off; asgi_early_hints off;")
    assert show.of(nginx.client().get("/"))["extensions"] == {}
    # HTTP/1.0 has no chunks, which trailers follow.
    with nginx.connect() as connection:
        connection.send("GET / HTTP/1.0\r\nTE: trailers\r\n\r\n")
        assert show.of(connection.response())["extensions"] == {}


# pathsend and zerocopysend

SENDS_FILES = """
    import os
    from pathlib import Path
    from testkit import record, respond

    FOLDER = Path(__file__).parent.parent / "html"

    def start(size=None, *headers, status=200):
        fields = [(b"content-type", b"text/plain"), *headers]
        if size is not None:
            fields.append((b"content-length", str(size).encode()))
        return {"type": "http.response.start", "status": status, "headers": fields}

    def body(data, more=False):
        return {"type": "http.response.body", "body": data, "more_body": more}

    async def path(send, name):
        await send({"type": "http.response.pathsend", "path": str(FOLDER / name)})

    async def zero(send, file, more=False, **place):
        message = {"type": "http.response.zerocopysend", "file": file, "more_body": more, **place}
        await send(message)

    async def application(scope, receive, send):
        await globals()[scope["path"].strip("/")](scope["query_string"].decode(), send)
"""


@pytest.fixture
def files(nginx, serve):
    """`files(functions)` serves them by their names, beside the files that they send."""

    def begin(functions: str, location: str = "", **options) -> httpx.Client:
        import textwrap

        nginx.page("letters.txt", "abcdefghijklmnopqrstuvwxyz")
        nginx.page("empty.txt", "")
        (nginx.html / "large.bin").write_bytes(LARGE)
        source = textwrap.dedent(SENDS_FILES) + textwrap.dedent(functions)
        serve(source, location, **options)
        return nginx.client()

    return begin


LARGE = bytes(range(251)) * 10_000
LETTERS = b"abcdefghijklmnopqrstuvwxyz"

PATH = """
    async def whole(name, send):
        await send(start((FOLDER / name).stat().st_size))
        await path(send, name)

    async def unknown_length(name, send):
        await send(start())
        await path(send, name)
"""


@pytest.mark.parametrize("target", ["whole", "unknown_length"])
@pytest.mark.parametrize("sendfile", ["on", "off"])
def test_pathsend(nginx, files, target, sendfile):
    client = files(PATH, server=f"sendfile {sendfile};")
    for name, expected in [("letters.txt", LETTERS), ("empty.txt", b""), ("large.bin", LARGE)]:
        with nginx.connect() as connection:
            for _ in range(2):
                connection.get(f"/{target}?{name}")
                response = connection.response()
                assert response.complete
                assert response.body == expected
                assert response.get("Content-Length") == str(len(expected))
        assert client.head(f"/{target}?{name}").content == b""
    assert not nginx.log_lines("[error]")


@pytest.mark.parametrize("target", ["whole", "unknown_length"])
def test_a_file_has_ranges(files, target):
    client = files(PATH)
    for asked, expected in [("2-4", b"cde"), ("-3", b"xyz"), ("20-", b"uvwxyz")]:
        answer = client.get(f"/{target}?letters.txt", headers={"Range": f"bytes={asked}"})
        assert (answer.status_code, answer.content) == (206, expected)
    assert client.get(f"/{target}?letters.txt", headers={"Range": "bytes=99-"}).status_code == 416


def test_pathsend_over_http_2(nginx, files):
    files(PATH, http2=True)
    with Http2(nginx.port) as connection:
        streams = [connection.request("/whole?letters.txt") for _ in range(5)]
        streams.append(connection.request("/whole?large.bin"))
        for stream in streams[:-1]:
            assert connection.response(stream).body == LETTERS
        assert connection.response(streams[-1]).body == LARGE


def test_pathsend_of_a_file_that_is_removed_at_once(nginx, files):
    """It is open by the time that send() returns."""
    client = files(
        """
        async def once(name, send):
            other = FOLDER.parent / "data" / "once.txt"
            other.write_bytes(b"only once")
            await send(start())
            await send({"type": "http.response.pathsend", "path": str(other)})
            other.unlink()
        """
    )
    assert [client.get("/once").text for _ in range(3)] == ["only once"] * 3


def test_pathsend_of_a_path_object(nginx, files):
    """Starlette passes `str(path)`; others pass the path."""
    client = files(
        """
        async def object(name, send):
            await send(start())
            await send({"type": "http.response.pathsend", "path": FOLDER / "letters.txt"})
        """
    )
    assert client.get("/object").content == LETTERS


def test_pathsend_of_a_folder_and_of_nothing(nginx, files):
    client = files(
        PATH + "\n    async def good(name, send):\n        await respond(send, b'good')\n"
    )
    for name in ("", "missing.txt"):
        assert client.get(f"/unknown_length?{name}").status_code == 500
    assert nginx.wait_log("No such file or directory")
    assert client.get("/good").text == "good"


def test_gzip_and_pathsend(files):
    client = files(PATH, server="gzip on; gzip_types text/plain; gzip_min_length 1;")
    answer = client.get("/whole?large.bin")
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.content == LARGE


ZERO = """
    FILE = None

    async def position(name, send):
        with open(FOLDER / "letters.txt", "rb") as file:
            file.seek(int(name))
            await send(start())
            await zero(send, file)
            record("position", file.tell())

    async def parts(name, send):
        with open(FOLDER / "letters.txt", "rb") as file:
            await send(start())
            await zero(send, file, True, offset=20, count=3)
            await send(body(b"-", True))
            await zero(send, file, True, offset=0, count=2)
            await zero(send, file, True, count=4)
            await zero(send, file, True, count=1)
            await send(body(b"|"))

    async def numbers(name, send):
        fd = os.open(FOLDER / "large.bin", os.O_RDONLY)
        await send(start(2_510_000))
        await zero(send, fd)
        os.close(fd)

    async def beyond(name, send):
        with open(FOLDER / "letters.txt", "rb") as file:
            await send(start())
            await zero(send, file, True, offset=24, count=1000)
            await zero(send, file, True, offset=1000)
            await zero(send, file, True, offset=3, count=0)
            await send(body(b"."))

    async def one_part(name, send):
        with open(FOLDER / "letters.txt", "rb") as file:
            await send(start(10))
            await zero(send, file, offset=5, count=10)

    async def too_much(name, send):
        with open(FOLDER / "letters.txt", "rb") as file:
            await send(start(5))
            await zero(send, file)

    async def too_little(name, send):
        with open(FOLDER / "letters.txt", "rb") as file:
            await send(start(100))
            await zero(send, file)
"""


@pytest.mark.parametrize("sendfile", ["on", "off"])
def test_zerocopysend(nginx, files, sendfile):
    client = files(ZERO, server=f"sendfile {sendfile};")
    assert client.get("/position?0").content == LETTERS
    assert client.get("/position?23").content == b"xyz"
    assert client.get("/position?26").content == b""
    assert client.get("/parts").content == b"uvw-ababcde|"
    assert client.get("/beyond").content == b"yz."
    assert client.get("/one_part").content == b"fghijklmno"
    assert client.get("/numbers").content == LARGE
    assert not nginx.log_lines("[error]")


def test_zerocopysend_moves_the_position_as_reading_does(nginx, files):
    client = files(ZERO)
    assert client.get("/position?23").content == b"xyz"
    assert nginx.wait_recorded("position") == ["26"]


UNSENDABLE = """
    import fcntl

    async def path_of_proc(name, send):
        await send(start())
        await path(send, "/proc/version")

    async def proc(name, send):
        with open("/proc/version", "rb") as file:
            await send(start())
            await zero(send, file, True, offset=0, count=5)
            await zero(send, file, offset=5)

    async def device(size, send):
        with open("/dev/zero", "rb") as file:
            await send(start())
            await zero(send, file, offset=0, **({"count": int(size)} if size else {}))

    async def closed(name, send):
        with open(FOLDER / "letters.txt", "rb") as file:
            # A number that nobody else is given.
            fd = fcntl.fcntl(file, fcntl.F_DUPFD_CLOEXEC, 900)
        os.close(fd)
        await send(start())
        try:
            await zero(send, fd, offset=0)
        except ValueError as error:
            record("closed", error)
        await send(body(b"closed"))
"""


def test_what_nginx_cannot_send_is_read(nginx, files):
    """Files of /proc have no length; a device is read up to 16 MiB."""
    client = files(UNSENDABLE)
    version = Path("/proc/version").read_bytes()
    assert client.get("/path_of_proc").content == version
    assert client.get("/proc").content == version
    for size in (1, 65536, 200_000):
        assert client.get(f"/device?{size}").content == bytes(size)
    assert client.get("/closed").content == b"closed"
    assert nginx.wait_recorded("closed")[0].endswith(
        "cannot be read: Bad file descriptor (os error 9)"
    )
    assert not nginx.log_lines("[error]")
    assert client.get("/device").status_code == 500
    assert nginx.wait_log("too long to be read")


@pytest.mark.parametrize("target", ["too_much", "too_little"])
def test_zerocopysend_and_content_length(nginx, files, target):
    files(ZERO)
    raw = nginx.raw(f"GET /{target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    head, _, content = raw.partition(b"\r\n\r\n")
    if b" 500 " not in head.split(b"\r\n")[0]:
        assert LETTERS.startswith(content)
        assert len(content) <= 26 if target == "too_little" else content == LETTERS[:5]
    assert nginx.wait_log("[error]")


def test_a_large_file_to_a_slow_client_holds_nothing_up(nginx, files):
    """sendfile is nginx's: the application has left long before the client has the file."""
    files(
        ZERO
        + """
    async def done(name, send):
        with open(FOLDER / "large.bin", "rb") as file:
            await send(start(name))
            await zero(send, file)
        record("done")
        """
    )
    with nginx.connect(receive=65536) as connection:
        connection.get(f"/done?{len(LARGE)}")
        nginx.wait_recorded("done")
        assert hashlib.sha256(connection.response().body).digest() == hashlib.sha256(LARGE).digest()


# Trailers

TRAILERS = """
    async def application(scope, receive, send):
        query = scope["query_string"].decode()
        headers = [(b"content-type", b"text/plain")]
        if "declare" in query:
            headers.append((b"trailer", b"x-checksum"))
        if "length" in query:
            headers.append((b"content-length", b"6"))
        start = {"type": "http.response.start", "status": 200, "headers": headers}
        await send({**start, "trailers": True})
        await send({"type": "http.response.body", "body": b"abc", "more_body": True})
        await send({"type": "http.response.body", "body": b"def"})
        checksum = [(b"x-checksum", b"abc")]
        if "return" in query:
            return
        if "none" in query:
            return await send({"type": "http.response.trailers"})
        more = {"type": "http.response.trailers", "headers": checksum, "more_trailers": True}
        await send(more)
        timing = [(b"server-timing", b" a;dur=5 ")]
        await send({"type": "http.response.trailers", "headers": timing})
"""


def ask(nginx, query: str = "", *, te: str = "TE: trailers\r\n", version: str = "1.1") -> bytes:
    head = f"GET /?{query} HTTP/{version}\r\nHost: a\r\nConnection: close\r\n{te}\r\n"
    return nginx.raw(head.encode())


@pytest.mark.parametrize("query", ["", "declare", "declare&length"])
def test_trailers(nginx, serve, query):
    serve(TRAILERS)
    head, _, body = ask(nginx, query).partition(b"\r\n\r\n")
    assert b"Transfer-Encoding: chunked" in head
    data, _, trailers = body.partition(b"\r\n0\r\n")
    assert b"".join(data.split(b"\r\n")[1::2]) == b"abcdef"
    assert trailers == b"x-checksum: abc\r\nserver-timing: a;dur=5\r\n\r\n"


@pytest.mark.parametrize("te", ["", "TE: gzip\r\n", "TE: trailers;q=0\r\n"])
def test_a_client_that_does_not_ask_gets_no_trailers(nginx, serve, te):
    """The extension: "only … in case the client has sent the TE: trailers header"."""
    serve(TRAILERS)
    body = ask(nginx, "declare", te=te).partition(b"\r\n\r\n")[2]
    assert body.endswith(b"\r\n0\r\n\r\n")
    assert b"checksum" not in body


@pytest.mark.parametrize("te", ["te: trailers\r\n", "TE: gzip, trailers\r\n", "TE: Trailers\r\n"])
def test_ways_to_ask(nginx, serve, te):
    serve(TRAILERS)
    assert b"x-checksum: abc\r\n" in ask(nginx, te=te)


def test_no_trailers_at_all_end_the_response(nginx, serve):
    serve(TRAILERS)
    assert ask(nginx, "none").endswith(b"\r\n0\r\n\r\n")


def test_http_1_0_has_no_trailers(nginx, serve):
    serve(TRAILERS)
    assert ask(nginx, version="1.0").partition(b"\r\n\r\n")[2] == b"abcdef"


@pytest.mark.parametrize("asks", [True, False])
def test_trailers_over_http_2(nginx, serve, asks):
    serve(TRAILERS, http2=True)
    fields = {"te": "trailers"} if asks else {}
    with Http2(nginx.port) as client:
        stream = client.response(client.request("/", fields=fields))
    assert stream.body == b"abcdef"
    expected = [("x-checksum", "abc"), ("server-timing", "a;dur=5")]
    assert stream.trailers == (expected if asks else [])


if HAS_HTTP3:

    def test_trailers_over_http_3(nginx, serve):
        from rawhttp3 import run

        async def conversation(client):
            answer = await client.get("/", headers=[("te", "trailers")])
            assert answer.body == b"abcdef"
            assert answer.trailers == [("x-checksum", "abc"), ("server-timing", "a;dur=5")]

        serve(TRAILERS, server=f"listen 127.0.0.1:{nginx.port} quic;\n{nginx.tls()}")
        run(nginx.port, conversation)


def test_the_response_is_not_over_before_its_trailers(nginx, serve):
    serve(
        """
        from testkit import opened, record, respond

        async def application(scope, receive, send):
            start = {"type": "http.response.start", "status": 200, "headers": []}
            await send({**start, "trailers": True})
            await send({"type": "http.response.body", "body": b"body"})
            await opened("trailers")
            await send({"type": "http.response.trailers", "headers": [(b"x-late", b"1")]})
        """
    )
    with nginx.connect() as connection:
        connection.get(headers="TE: trailers\r\n")
        assert connection.head().status == 200
        assert connection.chunk() == b"body"
        assert connection.quiet(0.2)
        nginx.open_gate("trailers")
        assert connection.until(b"0\r\n") == b""
        assert connection.until(b"\r\n\r\n") == b"x-late: 1"


def test_trailers_that_were_announced_and_never_come(nginx, serve):
    serve(TRAILERS)
    with nginx.connect() as connection:
        connection.get("/?return", headers="TE: trailers\r\n")
        response = connection.response()
        assert (response.body, response.complete) == (b"abcdef", False)
    line = nginx.wait_log("[error]")
    assert "trailers" in line


# Early hints

HINTS = """
    from testkit import record, respond

    async def application(scope, receive, send):
        record("has", "http.response.early_hint" in scope["extensions"])
        links = [b"</style.css>; rel=preload; as=style", b"</app.js>; rel=preload; as=script"]
        hint = {"type": "http.response.early_hint", "links": links}
        if scope["path"] == "/start":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send(hint)
            return await send({"type": "http.response.body", "body": b"the response"})
        await send(hint)
        await send({"type": "http.response.early_hint", "links": [b"</second.css>; rel=preload"]})
        await send({"type": "http.response.early_hint", "links": []})
        await respond(send, b"the response")
"""
HINTED = (
    b"HTTP/1.1 103 Early Hints\r\n"
    b"Link: </style.css>; rel=preload; as=style\r\n"
    b"Link: </app.js>; rel=preload; as=script\r\n\r\n"
)


@pytest.mark.parametrize("path", ["/", "/start"])
def test_early_hints_where_this_nginx_can_send_them(nginx, serve, path):
    """The specification has them after `http.response.start`, frameworks want them before. Where
    they cannot be sent, the message is ignored."""
    serve(HINTS)
    answer = nginx.raw(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    assert answer.startswith(HINTED) is HAS_EARLY_HINTS
    assert answer.count(b" 103 ") == ((2 if path == "/" else 1) if HAS_EARLY_HINTS else 0)
    assert answer.endswith(b"the response")
    assert nginx.recorded("has") == [str(HAS_EARLY_HINTS)]


def test_early_hints_that_are_off_are_ignored(nginx, serve):
    serve(HINTS, "asgi_early_hints off;")
    answer = nginx.raw(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.endswith(b"the response")
    assert nginx.recorded("has") == ["False"]


if HAS_EARLY_HINTS:

    def test_early_hints_over_http_2(nginx, serve):
        serve(HINTS, listen="ssl", server=nginx.tls() + "http2 on;")
        with Http2(nginx.port) as client:
            stream = client.response(client.request("/"))
        assert (stream.status, stream.body) == (200, b"the response")
        links = [value for name, value in stream.hints if name == "link"]
        assert links[0] == "</style.css>; rel=preload; as=style"
        assert len(links) == 3


def test_descriptors_come_back(nginx, files):
    from process_memory import descriptors

    client = files(ZERO + PATH)
    (worker,) = nginx.workers()
    client.get("/whole?large.bin")
    before = descriptors(worker)
    for _ in range(30):
        for target in ("whole?large.bin", "parts", "numbers", "position?3"):
            assert client.get(f"/{target}").status_code == 200
    wait_for(lambda: descriptors(worker) <= before, what="descriptors as before")
