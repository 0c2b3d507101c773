"""wsgi_request_buffering, asgi_*: whether the application waits for the complete body."""

from __future__ import annotations

import hashlib
import itertools

import pytest
from rawhttp import wait_for

SOURCE = """
    import hashlib

    FOLDER = {folder!r}


    async def answer(request):
        open(f"{{FOLDER}}/started-{{request.headers.get('x-id')}}", "w").close()
        digest, size = hashlib.sha256(), 0
        while block := await request.read():
            digest.update(block)
            size += len(block)
        words = [str(size), digest.hexdigest()]
        for name in ("content-length", "transfer-encoding"):
            words.append(request.headers.get(name, "-"))
        await request.respond(" ".join(words).encode())
"""


@pytest.fixture
def app(nginx, protocol):
    """The path of an application that records when it starts, and answers with what it has read."""
    return protocol.app("reader", SOURCE.format(folder=str(nginx.data)))


class Half:
    """A client that has sent its head and half of its ten bytes."""

    numbers = itertools.count()

    def __init__(self, nginx, path: str = "/") -> None:
        number = next(self.numbers)
        self.mark = nginx.data / f"started-{number}"
        self.connection = nginx.connect()
        self.connection.send(
            f"POST {path} HTTP/1.1\r\nHost: localhost\r\nX-Id: {number}\r\n"
            "Content-Length: 10\r\n\r\n01234"
        )

    def check_waits(self) -> None:
        """Checks that the application does not start before the body is complete."""
        assert self.connection.quiet(1.5)
        assert not self.mark.exists()
        self.complete()

    def check_starts(self) -> None:
        """Checks that the application starts while half of the body is missing."""
        wait_for(self.mark.exists, what="the application's start")
        self.complete()

    def complete(self) -> None:
        self.connection.send(b"56789")
        assert self.connection.response().body.startswith(b"10 ")
        assert self.mark.exists()


def test_on_the_application_starts_when_the_body_is_complete(nginx, protocol, app):
    nginx.start(f"{protocol}_app {app}; {protocol}_request_buffering on;")
    Half(nginx).check_waits()


def test_off_the_application_starts_before(nginx, protocol, app):
    nginx.start(f"{protocol}_app {app}; {protocol}_request_buffering off;")
    Half(nginx).check_starts()


def test_the_default(nginx, protocol, app):
    nginx.start(f"{protocol}_app {app};")
    if protocol.is_wsgi:
        Half(nginx).check_waits()
    else:
        Half(nginx).check_starts()


def test_on_a_client_at_a_crawl_holds_no_thread(nginx, protocol, app):
    nginx.start(
        f"{protocol}_app {app}; {protocol}_request_buffering on;",
        http="python_thread_pool default threads=1;",
    )
    slow = [Half(nginx) for _ in range(3)]
    assert nginx.client().post("/", content=b"abc").text.startswith("3 ")
    for client in slow:
        client.complete()


@pytest.mark.parametrize("value", ["on", "off"])
@pytest.mark.parametrize("size", [0, 1, 10_000, 3_000_000])
def test_chunked(nginx, protocol, app, value, size):
    nginx.start(
        f"{protocol}_app {app}; {protocol}_request_buffering {value}; client_max_body_size 8m;"
    )
    body = bytes(range(250)) * (size // 250) + b"x" * (size % 250)

    def pieces():
        for start in range(0, len(body), 70_000):
            yield body[start : start + 70_000]

    answer = nginx.client().post("/", content=pieces())
    seen, digest, length, coding = answer.text.split()
    assert (int(seen), digest) == (size, hashlib.sha256(body).hexdigest())
    if value == "on":
        assert length == str(size)
        assert coding == "-", "the body is not chunked any more"
    else:
        assert length == "-"


@pytest.mark.parametrize("value", ["on", "off"])
def test_the_input_ends_with_the_body(nginx, value):
    """`wsgi.input_terminated`, by which frameworks know it."""
    app = nginx.app(
        "terminated",
        """
        from wsgiref.validate import validator

        @validator
        def application(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [str(environ["wsgi.input_terminated"]).encode()]
        """,
    )
    nginx.start(f"wsgi_app {app}; wsgi_request_buffering {value};")
    assert nginx.client().post("/", content=b"body").text == "True"


def test_inheritance(nginx, protocol, app):
    use = f"{protocol}_app {app};"
    nginx.start(
        use,
        http=f"{protocol}_request_buffering off;",
        server=f"""
        location /on/ {{
            {protocol}_request_buffering on;
            {use}
            if ($arg_if) {{ set $x 1; }}
            location /on/below/ {{ {use} }}
            location /on/off/ {{ {protocol}_request_buffering off; {use} }}
        }}
        """,
    )
    for path in ["/", "/on/off/"]:
        Half(nginx, path).check_starts()
    for path in ["/on/", "/on/?if=1", "/on/below/"]:
        Half(nginx, path).check_waits()


def test_server_level_wins_over_http(nginx, protocol, app):
    nginx.start(
        f"{protocol}_app {app};",
        http=f"{protocol}_request_buffering off;",
        server=f"{protocol}_request_buffering on;",
    )
    Half(nginx).check_waits()
