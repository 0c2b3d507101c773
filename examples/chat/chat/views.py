"""The page, and the WebSocket that it opens."""

import asyncio
import json
import os
from pathlib import Path
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.websockets import WebSocket, WebSocketDisconnect

from .room import Room

STATIC = Path(__file__).parent / "static"
MAX_NAME = 40
MAX_TEXT = 500

# Close codes of RFC 6455, 7.4.1.
POLICY_VIOLATION = 1008


async def page(_request: Request) -> Response:
    """nginx sends the file itself: `FileResponse` uses `http.response.pathsend`."""
    return FileResponse(STATIC / "index.html", media_type="text/html")


async def talk(socket: WebSocket) -> None:
    """Passes what this page says to the room, and what the room hears to this page."""
    if not of_this_site(socket):
        # Before it is accepted, this is a response with the status 403.
        await socket.close()
        return
    room: Room = socket.state.room
    await socket.accept()
    await socket.send_json({"worker": os.getpid()})
    with room.seat() as heard:
        listener = asyncio.create_task(pass_on(heard, socket))
        try:
            async for text in socket.iter_text():
                message = parse(text)
                if message is None:
                    await socket.close(POLICY_VIOLATION, "not a message")
                    return
                room.say(json.dumps(message))
        finally:
            listener.cancel()


async def pass_on(heard: "asyncio.Queue[str]", socket: WebSocket) -> None:
    try:
        while True:
            # Waits while the page takes nothing; meanwhile its queue fills.
            await socket.send_text(await heard.get())
    except WebSocketDisconnect:
        pass


def parse(text: str) -> dict[str, str] | None:
    """A page's message, or None if it is none."""
    try:
        message = json.loads(text)
    except ValueError:
        return None
    match message:
        case {"name": str(name), "text": str(said)} if 0 < len(said) <= MAX_TEXT:
            return {"name": name[:MAX_NAME] or "somebody", "text": said}
    return None


def of_this_site(socket: WebSocket) -> bool:
    """Whether a page of this site opens it: a browser lets pages of any other do so."""
    origin = socket.headers.get("origin")
    return origin is None or urlsplit(origin).netloc == socket.headers.get("host")
