"""The opening handshake: the scope, acceptance, refusals, and requests that are no WebSockets."""

from __future__ import annotations

import ast
import ssl

import pytest
import websockets.sync.client
from rawwebsocket import ACCEPT, HANDSHAKE, TEXT, connect, frame, handshake, serve
from websockets.exceptions import InvalidStatus

# Accepts with what the query string says, and sends its scope.
SCOPE = """
    from urllib.parse import parse_qs

    async def application(scope, receive, send):
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200})
            await send({"type": "http.response.body", "body": repr(scope).encode()})
            return
        assert await receive() == {"type": "websocket.connect"}
        query = {key: values[0] for key, values in parse_qs(scope["query_string"]).items()}
        await send(
            {
                "type": "websocket.accept",
                "subprotocol": query.get(b"subprotocol", b"").decode() or None,
                "headers": [(b"x-one", b"1"), (b"set-cookie", b"a=1"), (b"set-cookie", b"b=2")],
            }
        )
        await send({"type": "websocket.send", "text": repr(scope)})
        await receive()
"""

# Sends the messages that the query string names.
DENIES = """
    from testkit import record

    RESPONSE = {
        "type": "websocket.http.response.start",
        "status": 401,
        "headers": [(b"content-type", b"text/plain"), (b"www-authenticate", b"Basic")],
    }

    async def application(scope, receive, send):
        assert await receive() == {"type": "websocket.connect"}
        match scope["query_string"]:
            case b"close":
                await send({"type": "websocket.close", "code": 4000, "reason": "not sent"})
            case b"denial":
                await send(RESPONSE)
                body = {"type": "websocket.http.response.body"}
                await send({**body, "body": b"who ", "more_body": True})
                await send({**body, "body": b"are you?"})
            case b"raise":
                raise ValueError("before the answer")
            case b"return":
                return
        message = await receive()
        record("after", message)
"""


def scope_of(socket) -> dict:
    return ast.literal_eval(socket.message().payload.decode())


def test_the_response(nginx):
    serve(nginx, SCOPE)
    response = connect(nginx).response
    assert (response.status, response.reason) == (101, "Switching Protocols")
    assert response.get("Upgrade") == "websocket"
    assert response.get("Connection") == "upgrade"
    assert response.get("Sec-WebSocket-Accept") == ACCEPT
    assert response.get("Sec-WebSocket-Protocol") is None
    assert response.get("Sec-WebSocket-Extensions") is None
    assert response.get("X-One") == "1"
    assert response.all("Set-Cookie") == ["a=1", "b=2"]
    assert response.get("Content-Length") is None
    assert response.get("Transfer-Encoding") is None


def test_the_scope(nginx):
    serve(nginx, SCOPE, "asgi_param a b;")
    fields = (
        "Cookie: a=b\r\nOrigin: http://a.example\r\nSec-WebSocket-Protocol: chat, graphql-ws\r\n"
        "Sec-WebSocket-Protocol: chat.v2\r\n"
    )
    scope = scope_of(connect(nginx, "/a%20b?c=d", fields))
    assert scope["type"] == "websocket"
    assert scope["asgi"] == {"version": "3.0", "spec_version": "2.5"}
    assert scope["http_version"] == "1.1"
    assert scope["scheme"] == "ws"
    assert (scope["path"], scope["raw_path"]) == ("/a b", b"/a%20b")
    assert (scope["query_string"], scope["root_path"]) == (b"c=d", "")
    assert (b"cookie", b"a=b") in scope["headers"]
    assert (b"origin", b"http://a.example") in scope["headers"]
    assert scope["client"][0] == "127.0.0.1"
    assert scope["server"] == ("127.0.0.1", nginx.port)
    assert scope["subprotocols"] == ["chat", "graphql-ws", "chat.v2"]
    assert scope["extensions"] == {"websocket.http.response": {}, "pywsgi.params": {"a": "b"}}
    assert "method" not in scope


def test_over_tls(nginx):
    serve(nginx, SCOPE, listen="ssl", server=nginx.tls())
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with websockets.sync.client.connect(
        nginx.url("/", scheme="wss"), ssl=context, proxy=None
    ) as socket:
        assert ast.literal_eval(socket.recv(timeout=60))["scheme"] == "wss"


def test_a_subprotocol(nginx):
    serve(nginx, SCOPE)
    fields = "Sec-WebSocket-Protocol: chat, graphql-ws\r\n"
    socket = connect(nginx, "/?subprotocol=graphql-ws", fields)
    assert socket.response.get("Sec-WebSocket-Protocol") == "graphql-ws"


@pytest.mark.parametrize(
    ("offers", "why"),
    [
        ("", "the client offers none"),
        ("Sec-WebSocket-Protocol: chat, a b\r\n", 'the client offers \\"chat\\", and not'),
    ],
)
def test_a_subprotocol_that_is_not_offered(nginx, offers, why):
    serve(nginx, SCOPE)
    assert handshake(nginx, "/?subprotocol=other", offers).head().status == 500
    line = nginx.wait_log('ValueError: ASGI message "websocket.accept"')
    assert 'sent before "websocket.accept": "subprotocol"' in line
    assert why.replace("\\", "") in line


def test_frames_right_behind_the_head(nginx):
    serve(nginx)
    connection = nginx.connect()
    head = HANDSHAKE.format(path="/", fields="").encode()
    connection.send(head + frame(TEXT, "early") + frame(TEXT, "second"))
    assert connection.head().status == 101
    assert connection.take(15) == b"\x81\x05early\x81\x06second"


def test_a_version_that_is_not_spoken(nginx):
    serve(nginx)
    connection = nginx.connect()
    head = HANDSHAKE.format(path="/", fields="")
    for wrong in (head.replace("Version: 13", "Version: 8"), head.replace("Version: 13", "V: 13")):
        connection.send(wrong)
        response = connection.response()
        assert (response.status, response.reason) == (426, "Upgrade Required")
        assert response.get("Sec-WebSocket-Version") == "13"
        assert response.get("Upgrade") == "websocket"
        assert response.body == b""
    assert "[info]" in nginx.wait_log("client asks for a WebSocket of another version than 13")
    connection.send(head)
    assert connection.head().status == 101


@pytest.mark.parametrize("key", ["", "short", "dGhlIHNhbXBsZSBub25jZQ=-", "x" * 24])
def test_a_key_that_is_not_one(nginx, key):
    serve(nginx)
    connection = nginx.connect()
    connection.send(HANDSHAKE.format(path="/", fields="").replace("dGhlIHNhbXBsZSBub25jZQ==", key))
    assert connection.response().status == 400
    nginx.wait_log("client asks for a WebSocket without a valid Sec-WebSocket-Key")


def test_a_body_is_not_taken_for_frames(nginx):
    serve(nginx)
    body = frame(TEXT, "smuggled").decode("latin-1")
    connection = handshake(nginx, fields=f"Content-Length: {len(body)}\r\n")
    connection.send(body)
    assert connection.response().status == 400
    nginx.wait_log("client asks for a WebSocket with a request body")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("GET / ", "POST / "),
        ("HTTP/1.1", "HTTP/1.0"),
        ("Upgrade: websocket", "Upgrade: h2c"),
        ("Connection: Upgrade", "Connection: close"),
    ],
)
def test_other_requests_are_ordinary_ones(nginx, old, new):
    serve(nginx, SCOPE)
    connection = nginx.connect()
    connection.send(HANDSHAKE.format(path="/", fields="").replace(old, new))
    response = connection.response()
    assert response.status == 200
    assert ast.literal_eval(response.body.decode())["type"] == "http"


def test_without_websockets_a_handshake_is_an_ordinary_request(nginx):
    serve(nginx, SCOPE, "asgi_websocket off;")
    connection = handshake(nginx)
    response = connection.response()
    assert response.status == 200
    assert ast.literal_eval(response.body.decode())["type"] == "http"


def test_close_before_accept_is_a_403(nginx):
    serve(nginx, DENIES)
    response = handshake(nginx, "/?close").response()
    assert (response.status, response.reason, response.body) == (403, "Forbidden", b"")
    assert nginx.wait_recorded("after") == [
        "{'type': 'websocket.disconnect', 'code': 1006, 'reason': ''}"
    ]


def test_a_denial_is_an_ordinary_response(nginx):
    serve(nginx, DENIES)
    connection = handshake(nginx, "/?denial")
    response = connection.response()
    assert (response.status, response.body) == (401, b"who are you?")
    assert response.get("WWW-Authenticate") == "Basic"
    assert response.get("Content-Type") == "text/plain"
    assert len(nginx.wait_recorded("after")) == 1
    # The connection goes on.
    connection.send(HANDSHAKE.format(path="/?close", fields=""))
    assert connection.response().status == 403


@pytest.mark.parametrize(
    ("what", "line"),
    [
        ("raise", "ValueError: before the answer"),
        ("return", "returned without an answer to the client's handshake"),
    ],
)
def test_no_answer_is_a_500(nginx, what, line):
    serve(nginx, DENIES)
    assert handshake(nginx, f"/?{what}").response().status == 500
    nginx.wait_log(line)


def test_a_client_that_leaves_before_the_answer(nginx):
    serve(
        nginx,
        """
        from testkit import record

        async def application(scope, receive, send):
            await receive()
            record("called")
            record("after", await receive())
            try:
                await send({"type": "websocket.accept"})
            except OSError as error:
                record("raised", type(error).__mro__[1].__name__)
        """,
    )
    connection = handshake(nginx)
    nginx.wait_recorded("called")
    connection.close()
    assert nginx.wait_recorded("after") == [
        "{'type': 'websocket.disconnect', 'code': 1006, 'reason': ''}"
    ]
    assert nginx.wait_recorded("raised") == ["OSError"]


def test_the_clients_of_people(nginx):
    serve(nginx, DENIES)
    with pytest.raises(InvalidStatus) as refused:
        websockets.sync.client.connect(nginx.url("/?denial", scheme="ws"), proxy=None)
    assert refused.value.response.status_code == 401
