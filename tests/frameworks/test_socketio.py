"""python-socketio: long polling, the upgrade to a WebSocket, rooms, acknowledgements."""

from __future__ import annotations

import asyncio

import pytest
import socketio
from rawhttp import wait_for


@pytest.fixture
def room(served_asgi):
    return lambda **options: served_asgi("socketio_room", "room.py:app", "ROOM", **options)


@pytest.fixture
def talk(nginx):
    """`talk(conversation, transports)` runs `conversation(ann, ben)` with two clients."""

    def run(conversation, transports: list[str]) -> None:
        async def main() -> None:
            clients = [socketio.AsyncClient(request_timeout=60) for _ in range(2)]
            try:
                for client, name in zip(clients, ("ann", "ben"), strict=True):
                    await client.connect(
                        nginx.url(""), auth={"name": name}, transports=transports, wait_timeout=60
                    )
                await conversation(*clients)
            finally:
                for client in clients:
                    await client.disconnect()

        asyncio.run(asyncio.wait_for(main(), 120))

    return run


TRANSPORTS = [["polling"], ["websocket"], ["polling", "websocket"]]


@pytest.mark.parametrize("transports", TRANSPORTS, ids="-".join)
def test_a_room(room, talk, log_of, transports):
    room()

    async def conversation(ann, ben) -> None:
        heard: dict[str, asyncio.Queue] = {"ann": asyncio.Queue(), "ben": asyncio.Queue()}
        ann.on("said", heard["ann"].put)
        ben.on("said", heard["ben"].put)
        assert await ann.call("join", "kitchen") == "joined kitchen"
        assert await ben.call("join", "kitchen") == "joined kitchen"
        for client, name in ((ann, "ann"), (ben, "ben")):
            data = {"room": "kitchen", "text": f"❄ of {name}"}
            assert await client.call("say", data) == len(data["text"])
            expected = {"name": name, "text": data["text"]}
            for queue in heard.values():
                assert await queue.get() == expected
        assert ann.transport() == transports[-1]
        data = bytes(range(256)) * 200
        assert await ann.call("binary", data) == data[::-1]

    talk(conversation, transports)
    # If a client's last packet is lost, the server notices its end by the ping timeout of 20 s, at
    # the next of its looks.
    wait_for(lambda: sum("disconnected" in line for line in log_of()) == 2, 120, "both ends")


@pytest.mark.parametrize("transports", TRANSPORTS, ids="-".join)
def test_what_the_server_says_by_itself(room, talk, transports):
    room()

    async def conversation(ann, ben) -> None:
        ticks: asyncio.Queue = asyncio.Queue()
        ann.on("tick", ticks.put)
        await ann.emit("ticks", 20)
        assert [await ticks.get() for _ in range(20)] == list(range(20))

    talk(conversation, transports)


def test_a_connection_that_is_refused(nginx, room):
    room()

    async def main() -> None:
        client = socketio.AsyncClient(request_timeout=60)
        try:
            with pytest.raises(socketio.exceptions.ConnectionError):
                await client.connect(nginx.url(""), auth={"token": "wrong"}, wait_timeout=60)
        finally:
            await client.disconnect()

    asyncio.run(asyncio.wait_for(main(), 120))


def test_what_is_not_socket_io_s(room):
    assert room().client().get("/elsewhere").text == "plain"
