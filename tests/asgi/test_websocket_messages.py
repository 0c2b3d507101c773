"""The messages of an application: what is sent of them, and what is refused in which words."""

from __future__ import annotations

import pytest
import websockets.sync.client
from rawwebsocket import BINARY, FIN, TEXT, close, connect, frame, handshake, serve

# Sends the messages that the query string lists, in order, and records what each one raises.
SENDS = """
    from testkit import record
    from urllib.parse import unquote

    ACCEPT = {"type": "websocket.accept"}
    CLOSE = {"type": "websocket.close"}
    START = {"type": "websocket.http.response.start", "status": 200}
    BODY = {"type": "websocket.http.response.body", "body": b"x"}
    TEXT = {"type": "websocket.send", "text": "x"}

    async def application(scope, receive, send):
        await receive()
        for message in eval(unquote(scope["query_string"].decode())):
            try:
                await send(message)
                record("errors", "none")
            except Exception as error:
                record("errors", f"{type(error).__name__}: {error}")
"""


def errors(nginx, messages: str) -> list[str]:
    """What each of these messages raises."""
    query = messages.replace(" ", "%20").replace("#", "%23")
    handshake(nginx, f"/?[{query}]").head()
    return nginx.wait_recorded("errors", messages.count("|") + 1)


@pytest.mark.parametrize(
    ("payload", "binary"),
    [("", False), ("grün", False), (b"", True), (b"\xff\0", True), ("x" * 125, False)]
    + [(b"x" * size, True) for size in (126, 65535, 65536, 1 << 20)],
)
def test_what_goes_out(nginx, payload, binary):
    serve(
        nginx,
        f"""
        async def application(scope, receive, send):
            await receive()
            await send({{"type": "websocket.accept"}})
            message = await receive()
            assert list(message) == ["type", {'"bytes"' if binary else '"text"'}], list(message)
            content = message.get("bytes", message.get("text"))
            assert type(content) is {"bytes" if binary else "str"}
            await send({{**message, "type": "websocket.send"}})
        """,
    )
    socket = connect(nginx)
    opcode = BINARY if binary else TEXT
    socket.send(frame(opcode, payload))
    answer = socket.message()
    assert answer.first == FIN | opcode
    assert answer.payload == (payload if binary else payload.encode())


def test_other_types_of_bytes_and_of_text(nginx):
    serve(
        nginx,
        """
        class Text(str):
            pass

        async def application(scope, receive, send):
            await receive()
            await send({"type": "websocket.accept"})
            for content in (bytearray(b"a"), memoryview(b"b"), b"c"):
                await send({"type": "websocket.send", "bytes": content, "text": None})
            await send({"type": "websocket.send", "bytes": None, "text": Text("d")})
        """,
    )
    socket = connect(nginx)
    assert [socket.message().payload for _ in range(4)] == [b"a", b"b", b"c", b"d"]


def test_no_future_is_made_if_nothing_has_to_be_waited_for(nginx):
    serve(
        nginx,
        """
        from testkit import record

        async def application(scope, receive, send):
            await receive()
            await send({"type": "websocket.accept"})
            steps = 0
            for _ in range(10):
                steps += sum(1 for _ in send({"type": "websocket.send", "text": "x"}).__await__())
            record("steps", steps)
        """,
    )
    connect(nginx)
    assert nginx.wait_recorded("steps") == ["0"]


BEFORE = 'sent before "websocket.accept": '
AFTER = 'sent after "websocket.accept": '
CODES = "it must be 1000 to 1003, 1007 to 1014, or 3000 to 4999 (RFC 6455, section 7.4)"


@pytest.mark.parametrize(
    ("messages", "error"),
    [
        ("1", "TypeError: an ASGI message must be a dict, not int"),
        ("{}", 'TypeError: an ASGI message must have a "type", which is a str; it is missing'),
        (
            "{'type':'http.response.start','status':200}",
            'RuntimeError: ASGI message "http.response.start" is none that can be sent before '
            '"websocket.accept": websocket.accept, websocket.send, websocket.close and the '
            "messages of websocket.http.response are",
        ),
        (
            "TEXT",
            'RuntimeError: ASGI message "websocket.send" cannot be sent before "websocket.accept"',
        ),
        (
            "BODY",
            'RuntimeError: ASGI message "websocket.http.response.body" cannot be sent before '
            '"websocket.accept"',
        ),
        (
            "{**ACCEPT,'subprotocol':b'x'}",
            f'TypeError: ASGI message "websocket.accept", {BEFORE}"subprotocol" must be a str, '
            "not bytes",
        ),
        (
            "{**ACCEPT,'subprotocol':'a b'}",
            f'ValueError: ASGI message "websocket.accept", {BEFORE}"subprotocol": it must be a '
            "token (RFC 9110, section 5.6.2)",
        ),
        (
            "{**ACCEPT,'headers':[(b'Sec-WebSocket-Protocol',b'x')]}",
            f'ValueError: ASGI message "websocket.accept", {BEFORE}"headers": '
            '"Sec-WebSocket-Protocol" is the server\'s (the subprotocol has a key of its own, '
            '"subprotocol")',
        ),
        (
            "{**ACCEPT,'headers':[(b'a',b'b\\r\\nc')]}",
            f'ValueError: ASGI message "websocket.accept", {BEFORE}"headers": ',
        ),
        (
            "{**ACCEPT,'headers':5}",
            f'TypeError: ASGI message "websocket.accept", {BEFORE}"headers" must be an iterable '
            "of pairs of bytes, not int",
        ),
        (
            "{**CLOSE,'code':1005}",
            f'ValueError: ASGI message "websocket.close", {BEFORE}"code": {CODES}',
        ),
        (
            "{**START,'status':101}",
            f'ValueError: ASGI message "websocket.http.response.start", {BEFORE}"status": it must '
            "be a final status, from 200 to 999 (RFC 9110, section 15)",
        ),
    ],
)
def test_messages_before_the_answer(nginx, messages, error):
    serve(nginx, SENDS)
    (raised,) = errors(nginx, messages)
    assert raised.startswith(error), raised


@pytest.mark.parametrize(
    ("message", "error"),
    [
        (
            "ACCEPT",
            'RuntimeError: ASGI message "websocket.accept" cannot be sent after "websocket.accept"',
        ),
        (
            "START",
            'RuntimeError: ASGI message "websocket.http.response.start" cannot be sent after '
            '"websocket.accept"',
        ),
        (
            "{'type':'websocket.send'}",
            f'ValueError: ASGI message "websocket.send", {AFTER}"text": it is missing, and so is '
            '"bytes"',
        ),
        (
            "{**TEXT,'bytes':b'y'}",
            f'ValueError: ASGI message "websocket.send", {AFTER}"text": there is "bytes" as well, '
            "of which one must be None",
        ),
        (
            "{**TEXT,'text':b'y'}",
            f'TypeError: ASGI message "websocket.send", {AFTER}"text" must be a str, not bytes',
        ),
        (
            "{**TEXT,'text':None,'bytes':'y'}",
            f'TypeError: ASGI message "websocket.send", {AFTER}"bytes" must be bytes, not str',
        ),
        (
            "{**TEXT,'text':chr(0xd800)}",
            f'ValueError: ASGI message "websocket.send", {AFTER}"text": it has lone surrogates, '
            "which are not UTF-8",
        ),
        (
            "{**CLOSE,'code':'1000'}",
            f'TypeError: ASGI message "websocket.close", {AFTER}"code" must be an int, not str',
        ),
        (
            "{**CLOSE,'code':70000}",
            f'ValueError: ASGI message "websocket.close", {AFTER}"code": {CODES}',
        ),
        (
            "{**CLOSE,'code':-1}",
            f'ValueError: ASGI message "websocket.close", {AFTER}"code": it must not be negative',
        ),
        (
            "{**CLOSE,'reason':5}",
            f'TypeError: ASGI message "websocket.close", {AFTER}"reason" must be a str, not int',
        ),
    ],
)
def test_messages_after_the_answer(nginx, message, error):
    serve(nginx, SENDS)
    socket = connect(nginx, f"/?[ACCEPT,{message},TEXT]")
    # The connection is not the worse for it.
    assert socket.message().payload == b"x"
    none, raised, last = nginx.wait_recorded("errors", 3)
    assert (none, raised, last) == ("none", error, "none")


@pytest.mark.parametrize("message", ["ACCEPT", "TEXT", "CLOSE", "START", "BODY"])
@pytest.mark.parametrize(
    ("before", "state"),
    [
        ("ACCEPT,CLOSE", 'after "websocket.close"'),
        ("CLOSE", "after the WebSocket was denied"),
        ("START,BODY", "after the WebSocket was denied"),
    ],
)
def test_messages_after_the_end(nginx, message, before, state):
    serve(nginx, SENDS)
    handshake(nginx, f"/?[{before},{message}]").head()
    *_, raised = nginx.wait_recorded("errors", before.count(",") + 2)
    assert raised.startswith("RuntimeError: ASGI message")
    assert raised.endswith(f"cannot be sent {state}")


def test_a_denial_without_its_body(nginx):
    serve(nginx, SENDS)
    assert handshake(nginx, "/?[START,TEXT]").head().status == 500
    raised = nginx.wait_recorded("errors", 2)[1]
    state = 'cannot be sent after "websocket.http.response.start"'
    assert raised == f'RuntimeError: ASGI message "websocket.send" {state}'
    nginx.wait_log("returned in the middle of its response")


def test_two_tasks_of_one_websocket(nginx):
    serve(
        nginx,
        """
        import asyncio

        async def application(scope, receive, send):
            await receive()
            await send({"type": "websocket.accept"})

            async def ticks():
                for number in range(5):
                    await send({"type": "websocket.send", "text": f"tick {number}"})
                    await asyncio.sleep(0.01)

            task = asyncio.ensure_future(ticks())
            while (message := await receive())["type"] == "websocket.receive":
                await send({**message, "type": "websocket.send"})
            await task
        """,
    )
    with websockets.sync.client.connect(nginx.url("/", scheme="ws"), proxy=None) as socket:
        socket.send("mine")
        received = {socket.recv(timeout=60) for _ in range(6)}
    assert received == {"mine", *(f"tick {number}" for number in range(5))}


def test_the_log_has_the_request_of_each_websocket(nginx):
    serve(
        nginx,
        """
        import asyncio

        async def application(scope, receive, send):
            await receive()
            await send({"type": "websocket.accept"})
            while (message := await receive())["type"] == "websocket.receive":
                await asyncio.sleep(0)
                print(f"says {message['text']}")
                await send({**message, "type": "websocket.send"})
        """,
    )
    sockets = [connect(nginx, f"/{number}") for number in range(3)]
    for number, socket in enumerate(sockets):
        socket.send(frame(TEXT, str(number)))
    for number, socket in enumerate(sockets):
        assert socket.message().payload == str(number).encode()
        assert f'request: "GET /{number} HTTP/1.1"' in nginx.wait_log(f"says {number}")
        socket.send(close())
