"""A gallery of pictures: Starlette with forms, files, events, sessions and a WebSocket."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.responses import (
    FileResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    StreamingResponse,
)
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket

DATA = Path(os.environ["GALLERY_DATA"])


def log(text: str) -> None:
    with (DATA / "log").open("a") as file:
        file.write(f"{text}\n")


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[dict[str, object]]:
    app.state.visits = 0
    yield {"opened": os.getpid()}
    log("closed")


async def home(request: Request) -> JSONResponse:
    request.app.state.visits += 1
    request.session["seen"] = request.session.get("seen", 0) + 1
    return JSONResponse(
        {
            "seen": request.session["seen"],
            "visits": request.app.state.visits,
            "same_worker": request.state.opened == os.getpid(),
            "url": str(request.url),
            "next": str(request.url_for("picture", name="a.bin")),
        }
    )


async def add(request: Request) -> RedirectResponse:
    async with request.form(max_part_size=20 << 20) as form:
        picture = form["picture"]
        name = Path(picture.filename).name
        data = await picture.read()
    await asyncio.to_thread((DATA / name).write_bytes, data)
    task = BackgroundTask(index, name, len(data))
    return RedirectResponse(request.url_for("picture", name=name), 303, background=task)


async def index(name: str, size: int) -> None:
    await asyncio.sleep(0.05)
    log(f"indexed {name} {size}")


async def picture(request: Request) -> FileResponse:
    return FileResponse(DATA / request.path_params["name"])


async def events(request: Request) -> StreamingResponse:
    """Server-sent events, until the client leaves."""

    async def produce() -> AsyncIterator[str]:
        number = 0
        try:
            while not await request.is_disconnected():
                yield f"id: {number}\ndata: event {number}\n\n"
                number += 1
                await asyncio.sleep(0.02)
        finally:
            log("events ended")

    return StreamingResponse(produce(), media_type="text/event-stream")


async def digest(request: Request) -> PlainTextResponse:
    whole = hashlib.sha256()
    async for part in request.stream():
        whole.update(part)
    return PlainTextResponse(whole.hexdigest())


async def slow(request: Request) -> PlainTextResponse:
    """Waits for a client that leaves."""
    log("slow began")
    while not await request.is_disconnected():
        await asyncio.sleep(0.01)
    log("slow noticed")
    return PlainTextResponse("to nobody")


async def long(request: Request) -> PlainTextResponse:
    return PlainTextResponse("long " * 1000)


async def echo(socket: WebSocket) -> None:
    await socket.accept(headers=[(b"x-room", b"echo")])
    async for message in socket.iter_bytes():
        await socket.send_bytes(message[::-1])
    log("echo ended")


async def refuse(socket: WebSocket) -> None:
    await socket.send_denial_response(JSONResponse({"reason": "full"}, status_code=429))


app = Starlette(
    routes=[
        Route("/", home),
        Route("/pictures", add, methods=["POST"]),
        Route("/pictures/{name}", picture, name="picture"),
        Route("/events", events),
        Route("/digest", digest, methods=["POST"]),
        Route("/slow", slow),
        Route("/long", long),
        WebSocketRoute("/echo", echo),
        WebSocketRoute("/refuse", refuse),
        Mount("/static", StaticFiles(directory=Path(__file__).parent)),
    ],
    middleware=[
        Middleware(SessionMiddleware, secret_key=os.environ["GALLERY_SECRET"]),
        Middleware(GZipMiddleware, minimum_size=2000),
    ],
    lifespan=lifespan,
)
