"""A room of python-socketio, with the acknowledgements and the transports that it has."""

import asyncio
import os
from pathlib import Path

import socketio

DATA = Path(os.environ["ROOM_DATA"])


def log(text: str) -> None:
    with (DATA / "log").open("a") as file:
        file.write(f"{text}\n")


# A client that polls ends when its poll does, at the next ping.
server = socketio.AsyncServer(async_mode="asgi", cors_allowed_origins="*", ping_interval=2)


async def plain(scope, receive, send):  # type: ignore[no-untyped-def]
    """What is not Socket.IO's."""
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"plain"})


app = socketio.ASGIApp(server, plain)


@server.event
async def connect(sid: str, environ: dict, auth: dict | None) -> None:
    if auth and auth.get("token") == "wrong":
        raise ConnectionRefusedError("wrong token")
    await server.save_session(sid, {"name": (auth or {}).get("name", "nobody")})
    log("connected")


@server.event
async def join(sid: str, room: str) -> str:
    await server.enter_room(sid, room)
    return f"joined {room}"


@server.event
async def say(sid: str, data: dict) -> int:
    name = (await server.get_session(sid))["name"]
    await server.emit("said", {"name": name, "text": data["text"]}, room=data["room"])
    return len(data["text"])


@server.event
async def binary(sid: str, data: bytes) -> bytes:
    return data[::-1]


@server.event
async def ticks(sid: str, count: int) -> None:
    async def tick() -> None:
        for number in range(count):
            await server.emit("tick", number, to=sid)
            await asyncio.sleep(0.01)

    server.start_background_task(tick)


@server.event
async def disconnect(sid: str, reason: str) -> None:
    log(f"disconnected {reason}")
