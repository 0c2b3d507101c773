"""How a WebSocket ends: codes and reasons both ways, lost clients, and what send() then raises."""

from __future__ import annotations

import time

import pytest
from rawwebsocket import CLOSE, ECHO, PING, TEXT, close, connect, frame, serve

# Does what the first message says; records what it receives and what send() raises.
DIRECTED = """
    import asyncio
    from testkit import record

    async def application(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        message = eval((await receive())["text"])
        if message is None:
            return
        if isinstance(message, Exception):
            raise message
        await send({"type": "websocket.close", **message})
        try:
            await send({"type": "websocket.send", "text": "late"})
        except Exception as error:
            record("raised", f"{type(error).__name__}: {error}")
        for _ in range(2):
            record("disconnect", await receive())
"""


# More than the kernel takes.
LARGE = """
    async def application(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "bytes": bytes(12 << 20)})
"""


def disconnect(code: int, reason: str = "") -> str:
    return str({"type": "websocket.disconnect", "code": code, "reason": reason})


@pytest.mark.parametrize(
    ("message", "code", "reason"),
    [
        ({}, 1000, ""),
        ({"code": 1001}, 1001, ""),
        ({"code": 4999, "reason": "grün"}, 4999, "grün"),
        ({"code": 3000, "reason": None}, 3000, ""),
        # As much as there is room for.
        ({"code": 1011, "reason": "ü" * 99}, 1011, "ü" * 61),
    ],
)
def test_the_application_closes(nginx, message, code, reason):
    serve(nginx, DIRECTED)
    socket = connect(nginx)
    socket.send(frame(TEXT, repr(message)))
    answer = socket.frame()
    assert (answer.close_code, answer.payload[2:].decode()) == (code, reason)
    # The client's frames are dropped, until its own close frame.
    socket.send(frame(TEXT, "late") + frame(PING, "late") + close(code, "bye"))
    assert socket.ends()
    assert nginx.wait_recorded("disconnect", 2) == [disconnect(code, "bye")] * 2
    (raised,) = nginx.recorded("raised")
    assert raised.startswith('RuntimeError: ASGI message "websocket.send" cannot be sent after')


def test_a_client_that_leaves_instead_of_answering_a_close_frame(nginx):
    serve(nginx, DIRECTED)
    socket = connect(nginx)
    socket.send(frame(TEXT, "{}"))
    assert socket.frame().close_code == 1000
    socket.connection.close()
    assert nginx.wait_recorded("disconnect") == [disconnect(1006)] * 2


def test_a_client_that_does_not_answer_a_close_frame(nginx):
    serve(nginx, DIRECTED)
    socket = connect(nginx)
    socket.send(frame(TEXT, "{}"))
    assert socket.frame().close_code == 1000
    assert socket.ends()
    assert nginx.wait_recorded("disconnect", 2) == [disconnect(1006)] * 2
    assert "[info]" in nginx.wait_log("client has not answered the close frame of its WebSocket")


def test_a_close_frame_behind_a_message_that_the_client_takes_slowly(nginx):
    """It has 10 s for its answer, but not for the message."""
    serve(nginx, LARGE)
    socket = connect(nginx, receive=4096)
    time.sleep(11)
    assert len(socket.message().payload) == 12 << 20
    assert socket.frame().close_code == 1000
    socket.send(close())
    assert socket.ends()
    assert not nginx.log_lines("has not answered the close frame")


def test_an_application_that_returns(nginx):
    serve(nginx, DIRECTED)
    socket = connect(nginx)
    socket.send(frame(TEXT, "None"))
    answer = socket.frame()
    assert (answer.close_code, answer.payload[2:]) == (1000, b"")
    socket.send(close())
    assert socket.ends()
    assert not nginx.log_lines("[error]")


def test_an_application_that_raises(nginx):
    serve(nginx, DIRECTED)
    socket = connect(nginx)
    socket.send(frame(TEXT, "ValueError('after the answer')"))
    answer = socket.frame()
    assert (answer.close_code, answer.payload[2:]) == (1011, b"the application failed")
    socket.send(close(1011))
    assert socket.ends()
    assert "[error]" in nginx.wait_log("ValueError: after the answer")


def test_a_client_that_closes_without_a_close_frame(nginx):
    serve(nginx)
    socket = connect(nginx)
    socket.send(frame(TEXT, "last"))
    assert socket.message().payload == b"last"
    socket.connection.close()
    assert nginx.wait_recorded("disconnect") == ["1006 "]
    assert "[info]" in nginx.wait_log("client closed its WebSocket without a close frame")


def test_a_client_that_resets_its_connection(nginx):
    serve(nginx)
    socket = connect(nginx)
    socket.connection.reset()
    assert nginx.wait_recorded("disconnect") == ["1006 "]


@pytest.mark.parametrize("ends", ["close frame", "connection"])
def test_send_raises_after_the_client_has_left(nginx, ends):
    serve(
        nginx,
        """
        from testkit import record

        async def application(scope, receive, send):
            await receive()
            await send({"type": "websocket.accept"})
            record("accepted")
            record("received", await receive())
            try:
                await send({"type": "websocket.send", "text": "late"})
            except OSError as error:
                record("raised", str(error))
                raise
        """,
    )
    socket = connect(nginx)
    if ends == "close frame":
        socket.send(close(1001))
        assert socket.frame().close_code == 1001
    socket.connection.close()
    assert nginx.wait_recorded("raised") == ["the client is gone"]
    assert nginx.recorded("received") == [disconnect(1001 if ends == "close frame" else 1006)]
    # That the application does not catch it is no fault of its.
    assert "[info]" in nginx.wait_log("the client is gone")
    assert not nginx.log_lines("[error]")


def test_messages_before_the_end_are_received_first(nginx):
    serve(
        nginx,
        """
        import asyncio
        from testkit import gate, record

        async def application(scope, receive, send):
            await receive()
            await send({"type": "websocket.accept"})
            await asyncio.to_thread(gate, "read")
            while (message := await receive())["type"] == "websocket.receive":
                record("received", message["text"])
            record("received", message["code"])
        """,
    )
    socket = connect(nginx)
    socket.send(frame(TEXT, "one") + frame(TEXT, "two") + close(4000))
    assert socket.frame().close_code == 4000
    assert socket.ends()
    nginx.open_gate("read")
    assert nginx.wait_recorded("received", 3) == ["one", "two", "4000"]


def test_the_access_log_has_a_line_at_the_end(nginx):
    serve(nginx, ECHO)
    access = nginx.root / "logs" / "access.log"
    socket = connect(nginx)
    socket.send(frame(TEXT, "x" * 1000))
    socket.message()
    assert "101" not in access.read_text()
    socket.send(close())
    assert socket.frame().opcode == CLOSE
    assert socket.ends()
    nginx.quit()
    (line,) = [line for line in access.read_text().splitlines() if " 101 " in line]
    assert int(line.split(" 101 ")[1].split()[0]) >= 1000


CANCELLED = """
    import asyncio
    from testkit import record

    async def application(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        record("accepted")
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            record("cancelled")
            raise
"""


@pytest.mark.parametrize("ends", ["close frame", "connection"])
def test_asgi_client_abort_cancel(nginx, ends):
    serve(nginx, CANCELLED, "asgi_client_abort cancel;")
    socket = connect(nginx)
    nginx.wait_recorded("accepted")
    if ends == "close frame":
        socket.send(close(1001))
        assert socket.frame().close_code == 1001
    socket.connection.close()
    nginx.wait_recorded("cancelled")
    assert not nginx.log_lines("[error]")


def test_an_accepted_websocket_has_no_deadline(nginx):
    serve(nginx, location="asgi_timeout 200ms; asgi_client_abort cancel;")
    socket = connect(nginx)
    # Longer than the timeout.
    socket.connection.sock.settimeout(0.6)
    with pytest.raises(TimeoutError):
        socket.connection.sock.recv(1)
    socket.connection.sock.settimeout(60)
    socket.send(frame(TEXT, "still here"))
    assert socket.message().payload == b"still here"
