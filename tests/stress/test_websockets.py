"""Many WebSockets: thousands at once, idle ones, and clients that go away at random moments."""

from __future__ import annotations

import contextlib
import random

import pytest
from process_memory import anonymous, descriptors
from rawhttp import wait_for
from rawwebsocket import HANDSHAKE, PING, TEXT, WebSocket, close, connect, frame

# Echoes; over HTTP it tells how many tasks there are.
ECHO = """
    import asyncio
    from testkit import record

    async def application(scope, receive, send):
        if scope["type"] == "http":
            body = str(len(asyncio.all_tasks())).encode()
            await send({"type": "http.response.start", "status": 200})
            await send({"type": "http.response.body", "body": body})
            return
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            await send({**message, "type": "websocket.send"})
"""


@pytest.fixture
def echo(nginx):
    """An echo in one worker that has room for many connections."""
    location = f"asgi_app {nginx.app('app', ECHO)};\nasgi_lifespan off;"
    config = nginx.write_config(location, log_level="error")
    text = config.read_text().replace("worker_connections 1024;", "worker_connections 16384;")
    config.write_text(text)
    return nginx.start()


def open_many(nginx, count: int) -> list[WebSocket]:
    """So many WebSockets; their handshakes overlap."""
    sockets = []
    head = HANDSHAKE.format(path="/", fields="")
    for start in range(0, count, 200):
        connections = [nginx.connect() for _ in range(min(200, count - start))]
        for connection in connections:
            connection.send(head)
        sockets.extend(WebSocket(connection) for connection in connections)
    return sockets


def tasks(nginx) -> int:
    return int(nginx.client().get("/").text)


def test_2000_at_once_each_echoing(echo):
    sockets = open_many(echo, 2000)
    assert tasks(echo) >= 2000
    for turn in range(3):
        for number, socket in enumerate(sockets):
            socket.send(frame(TEXT, f"{number} {turn}"))
        for number, socket in enumerate(sockets):
            assert socket.message().payload == f"{number} {turn}".encode()
    for socket in sockets:
        socket.send(close())
    for socket in sockets:
        assert socket.frame().close_code == 1000
        assert socket.ends()
    wait_for(lambda: tasks(echo) <= 2, 60, "the end of all tasks")


def test_10000_idle_ones(echo):
    (worker,) = echo.workers()
    connect(echo).send(close())
    before = anonymous(worker)
    sockets = open_many(echo, 10_000)
    each = (anonymous(worker) - before) / len(sockets)
    assert each < 24_000, f"{each} bytes for each"
    last = sockets[-1]
    last.send(frame(TEXT, "still quick"))
    assert last.message().payload == b"still quick"


def test_2000_clients_that_go_away_at_random_moments(echo):
    (worker,) = echo.workers()
    source = random.Random(1)
    connect(echo).send(close())
    wait_for(lambda: tasks(echo) <= 2, 60, "the end of the first task")
    before = descriptors(worker)
    session = HANDSHAKE.format(path="/", fields="").encode()
    session += b"".join(frame(TEXT, bytes(size)) for size in (0, 10, 1000, 100_000))
    session += frame(PING, "x") + frame(TEXT, "half", first=0) + close()
    for _ in range(2000):
        connection = echo.connect()
        connection.send(session[: source.randrange(len(session))])
        match source.randrange(3):
            case 0:
                connection.reset()
            case 1:
                connection.close()
            case 2:
                connection.sock.settimeout(0.001)
                with contextlib.suppress(TimeoutError):
                    connection.fill()
                connection.reset()
    wait_for(lambda: tasks(echo) <= 2, 60, "the end of all tasks")
    # That of the client that asks for the number of tasks.
    wait_for(lambda: descriptors(worker) <= before + 1, 60, "the descriptors of before")
    assert not echo.log_lines("[error]")


def test_memory_stays_flat(echo):
    (worker,) = echo.workers()

    def many(count: int) -> None:
        for number in range(count):
            socket = connect(echo)
            socket.send(frame(TEXT, b"x" * (number % 3000)))
            socket.message()
            if number % 2:
                socket.send(close())
                socket.frame()
            socket.connection.close()

    many(500)
    before = anonymous(worker)
    many(3000)
    assert anonymous(worker) < before + (4 << 20)
