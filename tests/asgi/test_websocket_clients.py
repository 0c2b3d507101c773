"""Clients that people use: wsproto over a plain socket, and aiohttp's.

Other tests use `websockets`.
"""

from __future__ import annotations

import asyncio

import aiohttp
import pytest
from rawwebsocket import serve
from wsproto import ConnectionType, WSConnection
from wsproto.connection import ConnectionState
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Message,
    Ping,
    Pong,
    RejectConnection,
    RejectData,
    Request,
    TextMessage,
)
from wsproto.extensions import PerMessageDeflate

# Accepts the subprotocol `chat` only, echoes, and closes as it is told.
APPLICATION = """
    from testkit import record

    async def application(scope, receive, send):
        await receive()
        if "chat" not in scope["subprotocols"]:
            await send({"type": "websocket.close"})
            return
        headers = [(b"x-path", scope["path"].encode())]
        await send({"type": "websocket.accept", "subprotocol": "chat", "headers": headers})
        while (message := await receive())["type"] == "websocket.receive":
            text = message.get("text")
            if text and text.startswith("close "):
                _, code, reason = text.split(" ", 2)
                await send({"type": "websocket.close", "code": int(code), "reason": reason})
            else:
                await send({**message, "type": "websocket.send"})
        record("disconnect", f"{message['code']} {message['reason']}")
"""

LINE = "snow ❄ and more of the same, and more of the same. "
# Of each kind and of each form of a frame's length; the long ones come in several reads.
MESSAGES = ["", "a", LINE, LINE * 10_000, b"", b"\xff\0", bytes(range(256)) * 1000]


class Client:
    """wsproto does no input and output of its own: this passes its bytes to a socket and back."""

    def __init__(self, nginx, path: str = "/", subprotocols=("other", "chat"), extensions=()):
        self.connection = nginx.connect()
        self.protocol = WSConnection(ConnectionType.CLIENT)
        self.events = self._all_events()
        self.sent = self.received = 0
        host = f"127.0.0.1:{nginx.port}"
        options = {"subprotocols": list(subprotocols), "extensions": list(extensions)}
        self.send(Request(host=host, target=path, **options))

    def send(self, event: Event) -> None:
        data = self.protocol.send(event)
        self.sent += len(data)
        self.connection.send(data)

    def next(self) -> Event:
        """The server's next event."""
        return next(self.events)

    def message(self) -> str | bytes:
        """The server's next message, whole."""
        parts = []
        while True:
            event = self.next()
            assert isinstance(event, Message), event
            parts.append(event.data)
            if event.message_finished:
                empty = "" if isinstance(event, TextMessage) else b""
                return empty.join(parts)

    def ends(self) -> bool:
        """Whether the server closes the connection, and sends nothing before."""
        return self.connection.rest() == b""

    def _all_events(self):
        while True:
            yield from self.protocol.events()
            if not self.connection.fill():
                return
            self.received += len(self.connection.pending)
            self.protocol.receive_data(self.connection.pending)
            self.connection.pending = b""


@pytest.fixture
def wsproto(nginx):
    """`wsproto()` is a client whose handshake is sent; the arguments are those of `Client`."""
    serve(nginx, APPLICATION)
    return lambda *arguments, **options: Client(nginx, *arguments, **options)


def event_of(content: str | bytes, *, last: bool = True) -> Event:
    kind = TextMessage if isinstance(content, str) else BytesMessage
    return kind(data=content, message_finished=last)


# wsproto


def test_a_handshake_of_wsproto(wsproto):
    client = wsproto("/room")
    accepted = client.next()
    assert isinstance(accepted, AcceptConnection)
    assert accepted.subprotocol == "chat"
    assert accepted.extensions == []
    assert (b"x-path", b"/room") in accepted.extra_headers
    assert client.protocol.state is ConnectionState.OPEN


def test_a_handshake_that_is_refused(wsproto):
    client = wsproto(subprotocols=["other"])
    rejected = client.next()
    assert isinstance(rejected, RejectConnection)
    assert rejected.status_code == 403
    assert client.next() == RejectData(data=b"", body_finished=True)


@pytest.mark.parametrize("compressed", [False, True])
def test_messages_of_wsproto(wsproto, compressed):
    client = wsproto(extensions=[PerMessageDeflate()] if compressed else [])
    accepted = client.next()
    assert [each.name for each in accepted.extensions] == ["permessage-deflate"] * compressed
    for message in MESSAGES * 2:
        client.send(event_of(message))
        assert client.message() == message
    size = 2 * sum(len(m.encode() if isinstance(m, str) else m) for m in MESSAGES)
    for transferred in (client.sent, client.received):
        assert (transferred < size / 50) == compressed, (transferred, size)


@pytest.mark.parametrize(
    "options",
    [
        {"server_no_context_takeover": True},
        {"client_no_context_takeover": True},
        {"server_max_window_bits": 9, "client_max_window_bits": 9},
    ],
    ids=lambda options: "-".join(options),
)
def test_parameters_of_deflate_that_wsproto_offers(wsproto, options):
    client = wsproto(extensions=[PerMessageDeflate(**options)])
    (agreed,) = client.next().extensions
    for name, value in options.items():
        assert getattr(agreed, name) == value
    for message in MESSAGES * 2:
        client.send(event_of(message))
        assert client.message() == message


@pytest.mark.parametrize("compressed", [False, True])
def test_fragments_of_wsproto_with_pings_between(wsproto, compressed):
    client = wsproto(extensions=[PerMessageDeflate()] if compressed else [])
    assert isinstance(client.next(), AcceptConnection)
    for parts in (["grü", "ne ", LINE, ""], [b"\0", b"", b"\xff" * 70_000, b"end"]):
        *first, last = parts
        for number, part in enumerate(first):
            client.send(event_of(part, last=False))
            client.send(Ping(payload=b"%d" % number))
            # A pong does not wait for the message's end.
            assert client.next() == Pong(payload=b"%d" % number)
        client.send(event_of(last))
        assert client.message() == last[:0].join(parts)


def test_a_ping_of_the_server(nginx):
    serve(nginx, APPLICATION, "asgi_websocket_ping_interval 200ms;")
    client = Client(nginx)
    assert isinstance(client.next(), AcceptConnection)
    for _ in range(3):
        ping = client.next()
        assert isinstance(ping, Ping)
        client.send(ping.response())
    client.send(event_of("still open"))
    events = iter(client.next, None)
    answer = next(event for event in events if not isinstance(event, Ping))
    assert answer == TextMessage(data="still open")


@pytest.mark.parametrize(("code", "reason"), [(1000, ""), (1001, "leaving"), (4321, "grün")])
def test_wsproto_closes(nginx, wsproto, code, reason):
    client = wsproto()
    assert isinstance(client.next(), AcceptConnection)
    client.send(CloseConnection(code=code, reason=reason))
    answer = client.next()
    assert isinstance(answer, CloseConnection)
    assert answer.code == code
    assert client.protocol.state is ConnectionState.CLOSED
    assert client.ends()
    assert nginx.wait_recorded("disconnect") == [f"{code} {reason}"]


@pytest.mark.parametrize(("code", "reason"), [(1000, ""), (1011, "broken"), (4000, "grün")])
def test_the_application_closes_wsproto(nginx, wsproto, code, reason):
    client = wsproto()
    assert isinstance(client.next(), AcceptConnection)
    client.send(event_of(f"close {code} {reason}"))
    closed = client.next()
    assert isinstance(closed, CloseConnection)
    assert (closed.code, closed.reason or "") == (code, reason)
    assert client.protocol.state is ConnectionState.REMOTE_CLOSING
    client.send(closed.response())
    assert client.ends()
    # wsproto's answer repeats the code and the reason.
    assert nginx.wait_recorded("disconnect") == [f"{code} {reason}"]


# aiohttp


@pytest.fixture
def aiohttp_client(nginx):
    """`aiohttp_client(conversation, …)` runs `conversation(socket)` with an open WebSocket.

    Other arguments are those of `ClientSession.ws_connect`.
    """
    serve(nginx, APPLICATION)

    def run(conversation, **options) -> None:
        async def main() -> None:
            url = nginx.url("/", scheme="ws")
            options.setdefault("protocols", ("chat",))
            async with (
                aiohttp.ClientSession() as session,
                session.ws_connect(url, max_msg_size=1 << 24, **options) as socket,
            ):
                await conversation(socket)

        asyncio.run(asyncio.wait_for(main(), 120))

    return run


@pytest.mark.parametrize("bits", [0, 10, 15])
def test_messages_of_aiohttp(aiohttp_client, bits):
    """`bits`: the window of permessage-deflate; 0 is without."""

    async def conversation(socket) -> None:
        assert socket.protocol == "chat"
        assert bool(socket.compress) == bool(bits)
        for message in MESSAGES * 2:
            if isinstance(message, str):
                await socket.send_str(message)
                assert await socket.receive_str() == message
            else:
                await socket.send_bytes(message)
                assert await socket.receive_bytes() == message

    aiohttp_client(conversation, compress=bits)


def test_pings_and_pongs_of_aiohttp(aiohttp_client):
    async def conversation(socket) -> None:
        await socket.ping(b"are you there?")
        answer = await socket.receive()
        assert (answer.type, answer.data) == (aiohttp.WSMsgType.PONG, b"are you there?")
        await socket.send_str("still open")
        assert await socket.receive_str() == "still open"

    aiohttp_client(conversation, autoping=False)


def test_aiohttp_closes(nginx, aiohttp_client):
    async def conversation(socket) -> None:
        await socket.close(code=4321, message="grün".encode())
        assert socket.close_code == 4321

    aiohttp_client(conversation)
    assert nginx.wait_recorded("disconnect") == ["4321 grün"]


def test_the_application_closes_aiohttp(nginx, aiohttp_client):
    async def conversation(socket) -> None:
        await socket.send_str("close 4000 grün")
        closed = await socket.receive()
        assert closed.type is aiohttp.WSMsgType.CLOSE
        assert (closed.data, closed.extra) == (4000, "grün")
        assert socket.close_code == 4000

    aiohttp_client(conversation)
    # aiohttp's answer.
    assert nginx.wait_recorded("disconnect") == ["1000 "]


def test_aiohttp_is_refused(aiohttp_client):
    async def conversation(socket) -> None:
        raise AssertionError("accepted")

    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        aiohttp_client(conversation, protocols=("other",))
    assert refused.value.status == 403
