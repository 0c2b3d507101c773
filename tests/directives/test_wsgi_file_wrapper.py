"""wsgi_file_wrapper: files that nginx sends for the application, and ranges of them."""

from __future__ import annotations

import email
import gzip
import hashlib
import os
from pathlib import Path

import pytest
from rawhttp import Connection, wait_for

SIZE = 300_000
CONTENT = bytes(range(256)) * (SIZE // 256) + bytes(SIZE % 256)

# ?kind=NAME chooses the object, ?offset, ?length and ?size what is done with it.
SOURCE = """
    import gzip
    import io
    import os
    import socket
    import tempfile
    from urllib.parse import parse_qsl

    from testkit import record

    FILE = {file!r}


    class Upper(io.BufferedReader):
        def read(self, size=-1):
            return super().read(size).swapcase()


    class Lender:
        # Like Django's File: the methods are those of the file inside.
        def __init__(self, file):
            self.file = file

        read = property(lambda self: self.file.read)
        fileno = property(lambda self: self.file.fileno)

        def close(self):
            record("closed", "lender")
            self.file.close()


    class Reader:
        def __init__(self, data):
            self.data = io.BytesIO(data)

        def read(self, size):
            record("read", size)
            return self.data.read(size)


    def temporary(make):
        file = make()
        with open(FILE, "rb") as content:
            file.write(content.read())
        file.seek(0)
        return file


    def through_socket():
        ours, theirs = socket.socketpair()
        theirs.sendall(b"through a socket")
        theirs.close()
        return ours.makefile("rb")


    def through_pipe():
        ours, theirs = os.pipe()
        os.write(theirs, b"through a pipe")
        os.close(theirs)
        return open(ours, "rb")


    # Its size is said to be a page, as for everything in sysfs.
    ATTRIBUTE = "/sys/kernel/fscaps"

    KINDS = {{
        "buffered": lambda: open(FILE, "rb"),
        "raw": lambda: open(FILE, "rb", buffering=0),
        "random": lambda: open(FILE, "r+b"),
        "temporary": lambda: temporary(tempfile.TemporaryFile),
        "named": lambda: temporary(tempfile.NamedTemporaryFile),
        "spooled": lambda: temporary(tempfile.SpooledTemporaryFile),
        "bytes": lambda: io.BytesIO(open(FILE, "rb").read()),
        "gzip": lambda: gzip.open(FILE + ".gz"),
        "gzip-buffered": lambda: io.BufferedReader(gzip.open(FILE + ".gz")),
        "subclass": lambda: Upper(io.FileIO(FILE)),
        "lender": lambda: Lender(open(FILE, "rb")),
        "reader": lambda: Reader(b"abcdefghij"),
        "socket": through_socket,
        "pipe": through_pipe,
        "sys": lambda: open(ATTRIBUTE, "rb"),
        "proc": lambda: open("/proc/self/comm", "rb"),
        "empty": lambda: open("/dev/null", "rb"),
        "text": lambda: open(__file__),
    }}


    def application(environ, start_response):
        query = dict(parse_qsl(environ["QUERY_STRING"]))
        file = KINDS[query.get("kind", "buffered")]()
        if query.get("kind") in ("buffered", None):
            file = Closing(file)
        if "offset" in query:
            if "read" in query:
                file.read(int(query["offset"]))
            else:
                file.seek(int(query["offset"]))
        headers = [("Content-Type", "application/octet-stream")]
        for name in ("Content-Length", "Last-Modified", "ETag", "Accept-Ranges"):
            if name in query:
                headers.append((name, query[name]))
        write = start_response(query.get("status", "200 OK"), headers)
        if "write" in query:
            write(query["write"].encode())
        wrapper = environ["wsgi.file_wrapper"](file, int(query.get("size", 8192)))
        if "wrapped" in query:
            return (block for block in wrapper)
        return wrapper


    class Closing(io.BufferedReader):
        def __init__(self, file):
            super().__init__(file.detach())

        def close(self):
            if not self.closed:
                record("closed", environ_free_descriptors())
            super().close()


    def environ_free_descriptors():
        return len(os.listdir("/proc/self/fd"))
"""


@pytest.fixture
def start(nginx):
    """`start("more directives")` starts nginx with the application and returns a client."""
    file = nginx.data / "content"
    file.write_bytes(CONTENT)
    file.chmod(0o666)
    with gzip.open(f"{file}.gz", "wb") as packed:
        packed.write(CONTENT)
    app = nginx.app("files", SOURCE.format(file=str(file)))

    def begin(more: str = "", **options):
        nginx.start(f"wsgi_app {app}; {more}", **options)
        return nginx.client()

    return begin


@pytest.mark.parametrize("sendfile", ["on", "off"])
@pytest.mark.parametrize(
    "kind",
    [
        "buffered",
        "raw",
        "random",
        "temporary",
        "named",
        "spooled",
        "bytes",
        "gzip",
        "gzip-buffered",
        "lender",
    ],
)
def test_whatever_reads_the_content_sends_it(start, kind, sendfile):
    client = start(f"sendfile {sendfile};")
    response = client.get(f"/?kind={kind}")
    assert (response.status_code, response.content) == (200, CONTENT)
    assert client.get(f"/?kind={kind}&wrapped").content == CONTENT


REAL = ["buffered", "raw", "random", "temporary", "named", "lender"]


@pytest.mark.parametrize("kind", REAL)
def test_a_real_file_goes_out_as_a_file(start, kind):
    """Its length is known and it serves ranges, unlike what is read block by block."""
    client = start()
    response = client.get(f"/?kind={kind}", headers={"Range": "bytes=10-19"})
    assert (response.status_code, response.content) == (206, CONTENT[10:20])
    assert response.headers["Content-Range"] == f"bytes 10-19/{SIZE}"


@pytest.mark.parametrize("kind", ["spooled", "bytes", "gzip", "gzip-buffered"])
def test_what_is_no_file_is_read(start, kind):
    client = start()
    response = client.get(f"/?kind={kind}", headers={"Range": "bytes=10-19"})
    assert (response.status_code, response.content) == (200, CONTENT)
    assert "Accept-Ranges" not in response.headers


def test_a_subclass_that_reads_otherwise_is_asked(start):
    client = start()
    assert client.get("/?kind=subclass").content == CONTENT.swapcase()


@pytest.mark.parametrize("kind", ["proc", "empty", "socket", "pipe"])
def test_what_has_no_length_on_the_disk_is_read(start, kind):
    client = start()
    content = client.get(f"/?kind={kind}").content
    expected = {
        "proc": b"\n",
        "empty": b"",
        "socket": b"through a socket",
        "pipe": b"through a pipe",
    }[kind]
    assert content.endswith(expected) and (kind == "proc" or content == expected)


def test_what_has_a_wrong_length_is_read(start):
    client = start()
    content = Path("/sys/kernel/fscaps").read_bytes()
    response = client.get("/?kind=sys", headers={"Range": "bytes=0-1"})
    assert (response.status_code, response.content) == (200, content)


def test_the_block_size_is_what_is_read_at_once(start, nginx):
    client = start()
    assert client.get("/?kind=reader&size=4").content == b"abcdefghij"
    assert nginx.recorded("read") == ["4"] * 4


def test_text_is_refused_as_in_any_iterable(start, nginx):
    client = start()
    assert client.get("/?kind=text").status_code == 500
    assert nginx.wait_log("yielded str where bytes are wanted")


@pytest.mark.parametrize("how", ["", "&read"])
@pytest.mark.parametrize("kind", ["buffered", "raw", "random", "named", "lender", "bytes"])
def test_it_starts_at_the_current_offset(start, kind, how):
    client = start()
    if kind == "lender" and not how:
        how = "&read"  # It has no seek.
    if kind == "lender":
        kind = "random"
    response = client.get(f"/?kind={kind}&offset=1000{how}")
    assert response.content == CONTENT[1000:]
    ranged = client.get(f"/?kind={kind}&offset=1000{how}", headers={"Range": "bytes=0-9"})
    assert ranged.content[:10] == CONTENT[1000:1010]


def test_an_offset_at_the_end_or_behind_it_is_an_empty_body(start):
    client = start()
    for offset in (SIZE, SIZE + 1000):
        response = client.get(f"/?offset={offset}")
        assert (response.status_code, response.content) == (200, b"")


def test_content_length_cuts_the_file(start, nginx):
    client = start()
    response = client.get("/?Content-Length=100&offset=5")
    assert response.content == CONTENT[5:105]
    assert nginx.wait_log("sends more bytes than its Content-Length")
    assert client.get("/").content == CONTENT


def test_a_file_shorter_than_its_content_length_is_seen_as_such(start, nginx):
    start()
    answer = nginx.raw(
        f"GET /?Content-Length={SIZE + 1} HTTP/1.1\r\nHost: a\r\n\r\n".encode(), timeout=60
    )
    assert len(answer.partition(b"\r\n\r\n")[2]) <= SIZE
    assert nginx.wait_log(
        f"ended its body after {SIZE} bytes, but its Content-Length is {SIZE + 1}"
    )


@pytest.mark.parametrize("directive", ["", "wsgi_force_ranges on;"])
@pytest.mark.parametrize("wanted", ["0-9,{beyond}-", "{beyond}-,0-9", "0-9,20-29", "{beyond}-"])
def test_ranges_of_a_file_shorter_than_its_content_length(start, nginx, directive, wanted):
    """nginx logs an alert if several ranges do not lie in one buffer."""
    start(directive)
    fields = f"Host: a\r\nRange: bytes={wanted.format(beyond=SIZE + 100)}\r\n"
    request = f"GET /?Content-Length={SIZE + 1000} HTTP/1.1\r\n{fields}\r\n"
    answer = nginx.raw(request.encode(), timeout=60)
    head, _, body = answer.partition(b"\r\n\r\n")
    if directive and "," not in wanted:
        # A single range can be cut from a stream, and this one contains nothing.
        assert (b"200 OK" in head, body) == (False, b"")
    else:
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        assert CONTENT.startswith(body)
    assert nginx.wait_log(f"ended its body after {SIZE} bytes")


def test_what_was_written_before_comes_before(start):
    client = start()
    assert client.get("/?write=before").content == b"before" + CONTENT
    ranged = client.get("/?write=before", headers={"Range": "bytes=0-9"})
    assert (ranged.status_code, ranged.content) == (200, b"before" + CONTENT)


def test_head_gives_the_length_alone(start, nginx):
    client = start()
    response = client.head("/")
    assert (response.status_code, response.content) == (200, b"")
    assert response.headers["Content-Length"] == str(SIZE)
    assert response.headers["Accept-Ranges"] == "bytes"
    nginx.wait_recorded("closed")


def test_204_and_304_have_no_body(start, nginx):
    client = start()
    for status in ("204 No Content", "304 Not Modified"):
        assert client.get("/", params={"status": status}).content == b""
    nginx.wait_recorded("closed", 2)


# Ranges


def test_several_ranges_are_multipart(start):
    client = start()
    response = client.get("/", headers={"Range": "bytes=0-9,100-109,-5"})
    assert response.status_code == 206
    kind = response.headers["Content-Type"]
    assert kind.startswith("multipart/byteranges; boundary=")
    message = email.message_from_bytes(
        f"Content-Type: {kind}\r\n\r\n".encode() + response.content,
    )
    parts = [part.get_payload(decode=True) for part in message.get_payload()]
    assert parts == [CONTENT[0:10], CONTENT[100:110], CONTENT[-5:]]
    ranges = [part["Content-Range"] for part in message.get_payload()]
    assert ranges[0] == f"bytes 0-9/{SIZE}"


@pytest.mark.parametrize("sendfile", ["on", "off"])
def test_several_ranges_beyond_one_buffer(start, sendfile):
    client = start(f"sendfile {sendfile};")
    response = client.get("/", headers={"Range": "bytes=0-99999,150000-249999"})
    assert response.status_code == 206
    assert CONTENT[:100_000] in response.content
    assert CONTENT[150_000:250_000] in response.content


def test_a_range_beyond_the_end_is_416(start):
    client = start()
    response = client.get("/", headers={"Range": f"bytes={SIZE}-"})
    assert response.status_code == 416
    assert response.headers["Content-Range"] == f"bytes */{SIZE}"
    assert client.get("/").content == CONTENT


def test_if_range_asks_for_the_same_file(start):
    client = start()
    fields = {"ETag": '"one"', "Last-Modified": "Thu, 01 Jan 2015 00:00:00 GMT"}
    for validator, status in [
        ('"one"', 206),
        ('"two"', 200),
        ("Thu, 01 Jan 2015 00:00:00 GMT", 206),
        ("Fri, 02 Jan 2015 00:00:00 GMT", 200),
    ]:
        response = client.get(
            "/", params=fields, headers={"Range": "bytes=0-9", "If-Range": validator}
        )
        assert response.status_code == status, validator


def test_an_application_that_wants_none_gets_none(start):
    client = start()
    response = client.get("/?Accept-Ranges=none", headers={"Range": "bytes=0-9"})
    assert (response.status_code, len(response.content)) == (200, SIZE)
    assert response.headers["Accept-Ranges"] == "none"
    response = client.get("/?Accept-Ranges=bytes")
    assert response.headers.get_list("Accept-Ranges") == ["bytes"]


def test_a_status_other_than_200_is_left_alone(start):
    client = start()
    response = client.get(
        "/", params={"status": "206 Partial Content"}, headers={"Range": "bytes=0-9"}
    )
    assert (response.status_code, len(response.content)) == (206, SIZE)


def test_wsgi_force_ranges_off_is_off_for_files(start):
    client = start("wsgi_force_ranges off;")
    response = client.get("/", headers={"Range": "bytes=0-9"})
    assert (response.status_code, response.content) == (200, CONTENT)
    assert "Accept-Ranges" not in response.headers


# nginx's own ways of sending


@pytest.mark.parametrize(
    "directives",
    [
        "sendfile on; sendfile_max_chunk 16k;",
        "sendfile on; aio threads;",
        "sendfile off; aio threads;",
        "sendfile off; output_buffers 2 8k;",
        "sendfile on; directio 4k; directio_alignment 4k; aio threads;",
        "gzip on; gzip_types application/octet-stream; gzip_min_length 1;",
        "sub_filter_types *; sub_filter nothing-like-it x;",
    ],
)
def test_as_nginx_is_configured(start, directives):
    client = start(directives)
    for _ in range(3):
        response = client.get("/?offset=4097")
        assert response.content == CONTENT[4097:]


def test_limit_rate_and_hundred_files_at_once(start, nginx):
    client = start("limit_rate 2m;")
    connections = [nginx.connect() for _ in range(20)]
    for connection in connections:
        connection.get("/")
    for connection in connections:
        assert connection.response().body == CONTENT
        connection.close()
    assert client.get("/").content == CONTENT


# Closing


def slow(nginx, path: str = "/") -> Connection:
    connection = nginx.connect(receive=4096)
    connection.get(path)
    return connection


def test_the_file_is_closed_at_once_and_sent_whole(start, nginx):
    client = start(listen="sndbuf=8k", http="python_thread_pool default threads=1;")
    with slow(nginx) as connection:
        assert connection.head().status == 200
        # The only thread is free, and has closed the file.
        nginx.wait_recorded("closed")
        assert client.get("/?kind=bytes").content == CONTENT
        assert connection.take(SIZE) == CONTENT


def test_a_client_that_leaves_keeps_no_file(start, nginx):
    start(listen="sndbuf=8k")
    connection = slow(nginx)
    connection.head()
    wait_for(lambda: open_files(nginx) == 1, what="the descriptor that is nginx's")
    connection.reset()
    wait_for(lambda: open_files(nginx) == 0, what="the end of the descriptor")


def open_files(nginx) -> int:
    return sum(
        1
        for pid in nginx.workers()
        for entry in Path(f"/proc/{pid}/fd").iterdir()
        if os.path.basename(os.path.realpath(entry)) == "content"
    )


def test_no_descriptor_is_left(start, nginx):
    client = start("directio 4k;")
    for number in range(300):
        fields = {"Range": "bytes=5-9"} if number % 3 == 0 else {}
        client.get("/?kind=buffered", headers=fields)
    nginx.wait_recorded("closed", 300)
    wait_for(lambda: open_files(nginx) == 0, what="the end of all descriptors")


def test_off_takes_the_key_away(nginx):
    app = nginx.app(
        "keys",
        """
        def application(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [repr("wsgi.file_wrapper" in environ).encode()]
        """,
    )
    nginx.start(
        f"wsgi_app {app};",
        server=f"location /off {{ wsgi_app {app}; wsgi_file_wrapper off; }}",
    )
    client = nginx.client()
    assert client.get("/").text == "True"
    assert client.get("/off").text == "False"


def test_a_large_file_costs_no_memory(nginx):
    digest = hashlib.sha256()
    path = nginx.data / "large"
    with open(path, "wb") as file:
        for number in range(256):
            block = hashlib.sha256(bytes([number])).digest() * 32768
            file.write(block)
            digest.update(block)
    app = nginx.app(
        "large",
        f"""
        def application(environ, start_response):
            start_response("200 OK", [("Content-Type", "application/octet-stream")])
            return environ["wsgi.file_wrapper"](open({str(path)!r}, "rb"))
        """,
    )
    nginx.start(f"wsgi_app {app};")
    received = hashlib.sha256()
    with nginx.client().stream("GET", "/") as response:
        assert response.headers["Content-Length"] == str(256 << 20)
        for block in response.iter_raw():
            received.update(block)
    assert received.digest() == digest.digest()
    (pid,) = nginx.workers()
    status = Path(f"/proc/{pid}/status").read_text()
    peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    assert peak < 100_000, f"{peak} KB at the peak"
