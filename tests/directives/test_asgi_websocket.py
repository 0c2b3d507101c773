"""asgi_websocket, and the limits of a WebSocket: asgi_websocket_*."""

from __future__ import annotations

import contextlib
import time

import pytest
from rawhttp import wait_for, wait_still
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

# An echo; `flood` sends blocks of 16 KB until it is stopped, and counts them.
SOURCE = """
    from testkit import DATA, record

    async def plain(send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"plain"})

    async def application(scope, receive, send):
        record("scope", scope["type"])
        if scope["type"] == "http":
            return await plain(send)
        if scope["type"] != "websocket":
            raise NotImplementedError(scope["type"])
        await receive()
        await send({"type": "websocket.accept"})
        while True:
            message = await receive()
            if message["type"] == "websocket.disconnect":
                record("code", message["code"])
                return
            if message.get("text") == "flood":
                await flood(send)
            else:
                await send({"type": "websocket.send", "bytes": message.get("bytes"),
                            "text": message.get("text")})

    async def flood(send):
        with open(DATA / "flood", "ab", buffering=0) as file:
            for _ in range(4096):
                file.write(b"x")
                await send({"type": "websocket.send", "bytes": bytes(16384)})
"""
HANDSHAKE = (
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
)
PING = 0x89
FLAGS = ["asgi_websocket", "asgi_websocket_deflate"]
TIMES = ["asgi_websocket_ping_interval", "asgi_websocket_ping_timeout"]


@pytest.fixture
def app(nginx):
    nginx.data.joinpath("flood").touch()
    nginx.data.joinpath("flood").chmod(0o666)
    return nginx.app("echo", SOURCE)


@pytest.fixture
def open_socket(nginx):
    """`open_socket("/path")` is a connected client of the package websockets."""
    with contextlib.ExitStack() as opened:

        def begin(path: str = "/", **options):
            url = f"ws://127.0.0.1:{nginx.port}{path}"
            return opened.enter_context(connect(url, proxy=None, max_size=None, **options))

        yield begin


@pytest.fixture
def raw_socket(nginx):
    """A WebSocket as bytes, whose client answers nothing by itself."""

    def begin(path: str = "/", **options):
        connection = nginx.connect(**options)
        connection.get(path, headers=HANDSHAKE)
        assert connection.head().status == 101
        return connection

    return begin


def masked(opcode: int, payload: bytes) -> bytes:
    """A frame of a client whose mask is zero; `payload` is short."""
    return bytes([0x80 | opcode, 0x80 | len(payload)]) + bytes(4) + payload


@pytest.mark.parametrize("setting", ["", "asgi_websocket on;"])
def test_on(nginx, app, open_socket, setting):
    nginx.start(f"asgi_app {app}; {setting}")
    client = open_socket()
    for message in ("text", b"bytes"):
        client.send(message)
        assert client.recv() == message
    assert nginx.client().get("/").text == "plain"


def test_off_is_an_ordinary_request(nginx, app):
    nginx.start(f"asgi_app {app}; asgi_websocket off;")
    with nginx.connect() as connection:
        connection.get("/", headers=HANDSHAKE)
        response = connection.response()
    assert (response.status, response.body) == (200, b"plain")
    assert "websocket" not in nginx.recorded("scope")


def test_inheritance(nginx, app, open_socket):
    nginx.start(
        f"asgi_app {app};",
        http="asgi_websocket off;",
        server=f"location /on {{ asgi_app {app}; asgi_websocket on; }}",
    )
    with nginx.connect() as connection:
        connection.get("/", headers=HANDSHAKE)
        assert connection.response().body == b"plain"
    client = open_socket("/on")
    client.send("text")
    assert client.recv() == "text"


@pytest.mark.parametrize("compression", ["deflate", None])
def test_max_message_size(nginx, app, open_socket, compression):
    nginx.start(
        f"asgi_app {app}; asgi_websocket_max_message_size 1k;",
        server=f"location /large {{ asgi_app {app}; asgi_websocket_max_message_size 1m; }}",
    )
    client = open_socket(compression=compression)
    client.send("x" * 1024)
    assert client.recv() == "x" * 1024
    client.send("x" * 1025)
    with pytest.raises(ConnectionClosed) as closed:
        client.recv()
    assert closed.value.rcvd.code == 1009
    assert nginx.wait_recorded("code") == ["1009"]
    large = open_socket("/large", compression=compression)
    large.send(b"y" * 1024 * 1024)
    assert large.recv() == b"y" * 1024 * 1024


def test_ping_interval(nginx, app, raw_socket):
    nginx.start(f"asgi_app {app}; asgi_websocket_ping_interval 300ms;")
    with raw_socket() as connection:
        for _ in range(3):
            began = time.monotonic()
            head = connection.take(2)
            assert head[0] == PING
            payload = connection.take(head[1])
            # asgi_websocket_ping_timeout is 20 s; the client answers, so it does not count.
            assert 0.2 < time.monotonic() - began < 10
            connection.send(masked(0xA, payload))


@pytest.mark.parametrize("value", ["off", "0"])
def test_no_pings(nginx, app, raw_socket, value):
    nginx.start(
        f"asgi_app {app}; asgi_websocket_ping_interval {value};asgi_websocket_ping_timeout 100ms;"
    )
    with raw_socket() as connection:
        assert connection.quiet(1.5)


def test_ping_timeout(nginx, app, raw_socket):
    nginx.start(
        f"asgi_app {app}; asgi_websocket_ping_interval 200ms; asgi_websocket_ping_timeout 300ms;"
    )
    with raw_socket() as connection:
        began = time.monotonic()
        # A ping, and nothing after it that says the close was agreed on.
        assert connection.rest()[0] == PING
        assert time.monotonic() - began > 0.4
    assert nginx.wait_recorded("code") == ["1006"]


def test_ping_timeout_off_keeps_who_does_not_answer(nginx, app, raw_socket):
    nginx.start(
        f"asgi_app {app}; asgi_websocket_ping_interval 100ms; asgi_websocket_ping_timeout off;"
    )
    with raw_socket() as connection:
        time.sleep(2)
        connection.send(masked(1, b"here"))
        assert connection.until(bytes([0x81, 4]) + b"here") is not None
    nginx.wait_recorded("code")


@pytest.mark.parametrize(
    ("setting", "negotiated"),
    [("", True), ("asgi_websocket_deflate on;", True), ("asgi_websocket_deflate off;", False)],
)
def test_deflate(nginx, app, open_socket, setting, negotiated):
    nginx.start(f"asgi_app {app}; {setting}")
    client = open_socket(compression="deflate")
    extensions = client.response.headers.get("Sec-WebSocket-Extensions", "")
    assert ("permessage-deflate" in extensions) is negotiated
    text = "the same text again and again " * 100
    for _ in range(2):
        client.send(text)
        assert client.recv() == text


def test_queue(nginx, app, raw_socket):
    """How much an application gives to a client that does not read."""
    nginx.start(
        http="asgi_websocket_queue 64k; asgi_websocket_deflate off;",
        listen="sndbuf=32k",
        server=f"""
        location /default {{ asgi_app {app}; }}
        location /large {{ asgi_app {app}; asgi_websocket_queue 16m; }}
        """,
    )
    count = nginx.data / "flood"
    given = []
    for path in ("/default", "/large"):
        before = count.stat().st_size
        with raw_socket(path, receive=16 * 1024) as connection:
            connection.send(masked(1, b"flood"))
            wait_for(lambda start=before: count.stat().st_size > start, what="the first message")
            given.append(16384 * (wait_still(lambda: count.stat().st_size) - before))
    default, large = given
    assert default < 2 * 1024 * 1024
    assert 15 * 1024 * 1024 < large - default < 18 * 1024 * 1024


# Mistakes


@pytest.mark.parametrize("name", FLAGS)
@pytest.mark.parametrize("value", ["on", "off"])
def test_flags(nginx, name, value):
    app = nginx.app("app", "application = None")
    result = nginx.check(f"asgi_app {app}; {name} {value};")
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("name", TIMES)
@pytest.mark.parametrize("value", ["0", "off", "500ms", "1h"])
def test_times(nginx, name, value):
    app = nginx.app("app", "application = None")
    result = nginx.check(f"asgi_app {app}; {name} {value};")
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    ("name", "least"),
    [("asgi_websocket_max_message_size", "1k"), ("asgi_websocket_queue", "4k")],
)
def test_sizes_that_are_too_small(nginx, refused, name, least):
    for value in ("0", "1000"):
        refused(name, f"{name} must be at least {least}", location=f"{name} {value};")
    result = nginx.check(f"{name} {least}; return 204;")
    assert result.returncode == 0, result.stderr
