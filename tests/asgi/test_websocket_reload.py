"""WebSockets at a reload and at a worker's exit: 1012, and in time."""

from __future__ import annotations

import os
import time

from rawhttp import wait_for
from rawwebsocket import CLOSE, TEXT, close, connect, frame, serve

# Answers each message after its gate is open, if the message names one.
WORKS = """
    import asyncio
    from testkit import gate, record

    async def application(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            record("received", message["text"])
            if message["text"] == "forever":
                await asyncio.sleep(3600)
            if message["text"] != "now":
                await asyncio.to_thread(gate, message["text"])
            await send({**message, "type": "websocket.send"})
        record("disconnect", f"{message['code']} {message['reason']}")
"""

RESTART = (1012, b"the server restarts")


def closed(socket) -> tuple[int | None, bytes]:
    answer = socket.message()
    assert answer.opcode == CLOSE, answer
    return answer.close_code, answer.payload[2:]


def wait_gone(*pids: int) -> None:
    def gone() -> bool:
        return not any(os.path.exists(f"/proc/{pid}") for pid in pids)

    wait_for(gone, 30, "the old worker's end")


def test_one_that_only_waits_is_closed_at_once(nginx):
    serve(nginx, WORKS)
    (old,) = nginx.runners()
    sockets = [connect(nginx) for _ in range(20)]
    sockets[0].send(frame(TEXT, "now"))
    assert sockets[0].message().payload == b"now"
    begun = time.monotonic()
    nginx.reload()
    for socket in sockets:
        assert closed(socket) == RESTART
        socket.send(close(1012))
        assert socket.ends()
    wait_gone(old)
    # python_drain_timeout is 30 s.
    assert time.monotonic() - begun < 20
    assert nginx.wait_recorded("disconnect", 20) == ["1012 the server restarts"] * 20
    # The new one serves.
    socket = connect(nginx)
    socket.send(frame(TEXT, "now"))
    assert socket.message().payload == b"now"


def test_one_that_works_goes_on_and_is_closed_when_it_waits(nginx):
    serve(nginx, WORKS)
    (old,) = nginx.runners()
    socket = connect(nginx)
    socket.send(frame(TEXT, "work"))
    nginx.wait_recorded("received")
    nginx.reload()
    # What comes meanwhile is answered as well.
    socket.send(frame(TEXT, "now"))
    nginx.open_gate("work")
    assert socket.message().payload == b"work"
    assert socket.message().payload == b"now"
    assert closed(socket) == RESTART
    socket.send(close(1012))
    assert socket.ends()
    wait_gone(old)


def test_one_that_works_is_closed_after_the_drain_timeout(nginx):
    serve(nginx, WORKS, http="python_drain_timeout 1s;")
    (old,) = nginx.runners()
    socket = connect(nginx)
    socket.send(frame(TEXT, "forever"))
    nginx.wait_recorded("received")
    nginx.reload()
    assert closed(socket) == RESTART
    assert socket.ends()
    wait_gone(old)


def test_a_client_that_does_not_answer_does_not_hold_the_worker(nginx):
    serve(nginx, WORKS, http="python_drain_timeout 1s;")
    (old,) = nginx.runners()
    socket = connect(nginx)
    nginx.reload()
    assert closed(socket) == RESTART
    wait_gone(old)
    socket.connection.close()


def test_a_fast_exit_cuts_connections(nginx):
    serve(nginx, WORKS)
    socket = connect(nginx)
    socket.send(frame(TEXT, "now"))
    assert socket.message().payload == b"now"
    nginx.stop()
    assert socket.frame() is None


def test_ten_reloads_with_sockets_open(nginx):
    serve(nginx, WORKS)
    for _ in range(10):
        workers = nginx.runners(leaving=True)
        sockets = [connect(nginx) for _ in range(10)]
        nginx.reload()
        for socket in sockets:
            assert closed(socket) == RESTART
            socket.send(close(1012))
            assert socket.ends()
        wait_gone(*workers)
    assert len(nginx.wait_recorded("disconnect", 100)) == 100
