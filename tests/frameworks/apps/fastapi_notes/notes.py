"""Notes of several people: FastAPI with dependencies, background tasks, uploads and a WebSocket."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated

from fastapi import (
    BackgroundTasks,
    Depends,
    FastAPI,
    Header,
    HTTPException,
    Request,
    UploadFile,
    WebSocket,
    WebSocketDisconnect,
)
from fastapi.responses import FileResponse, PlainTextResponse, StreamingResponse
from pydantic import BaseModel, Field

DATA = Path(os.environ["NOTES_DATA"])


def log(text: str) -> None:
    with (DATA / "log").open("a") as file:
        file.write(f"{text}\n")


class Store:
    """What the lifespan opens, and each request gets as `request.state.store`."""

    def __init__(self) -> None:
        self.notes: dict[int, dict] = {}
        self.sockets: set[WebSocket] = set()
        self.closed = False


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Store]]:
    store = Store()
    log(f"startup {os.getpid()}")
    yield {"store": store}
    store.closed = True
    log(f"shutdown {os.getpid()}")


app = FastAPI(title="Notes", lifespan=lifespan)


class Note(BaseModel):
    text: str = Field(min_length=1, max_length=200)
    stars: int = Field(default=0, ge=0, le=5)


async def store_of(request: Request) -> Store:
    return request.state.store


def user_of(authorization: Annotated[str | None, Header()] = None) -> str:
    """A dependency that is not async: it runs on a thread."""
    if not authorization or not authorization.startswith("Bearer "):
        raise HTTPException(401, "who are you?", {"WWW-Authenticate": "Bearer"})
    return authorization.removeprefix("Bearer ")


async def session() -> AsyncIterator[str]:
    """A dependency with an end, which comes after the response."""
    log("session begins")
    try:
        yield "session"
    finally:
        log("session ends")


AStore = Annotated[Store, Depends(store_of)]
User = Annotated[str, Depends(user_of)]


@app.post("/notes", status_code=201)
async def add(note: Note, store: AStore, user: User, tasks: BackgroundTasks) -> dict:
    number = len(store.notes) + 1
    store.notes[number] = {"id": number, "author": user, **note.model_dump()}
    tasks.add_task(announce, store, f"{user}: {note.text}")
    tasks.add_task(log, f"counted {number}")
    return store.notes[number]


async def announce(store: Store, text: str) -> None:
    await asyncio.sleep(0.05)
    for socket in list(store.sockets):
        await socket.send_text(text)
    log(f"announced {text}")


@app.get("/notes/{number}")
async def read(number: int, store: AStore) -> Note:
    if number not in store.notes:
        raise HTTPException(404, "no such note")
    return Note(**store.notes[number])


@app.get("/sync")
def sync(session: Annotated[str, Depends(session)], request: Request) -> dict:
    """A path operation that is not async."""
    import threading

    main = threading.current_thread() is threading.main_thread()
    return {"main": main, "session": session, "client": request.client.host}


@app.get("/stream")
async def stream(count: int = 3) -> StreamingResponse:
    async def parts() -> AsyncIterator[str]:
        for number in range(count):
            yield f"{number}\n"
            await asyncio.sleep(0.001)

    return StreamingResponse(parts(), media_type="text/plain")


@app.get("/threads")
def threads(count: int = 3) -> StreamingResponse:
    """An iterator that is not async: each part comes from a thread."""
    return StreamingResponse((f"{n}\n" for n in range(count)), media_type="text/plain")


@app.post("/upload")
async def upload(file: UploadFile, name: str = "") -> dict:
    digest, size = hashlib.sha256(), 0
    while part := await file.read(65536):
        digest.update(part)
        size += len(part)
    return {"name": file.filename, "size": size, "sha256": digest.hexdigest()}


@app.post("/raw")
async def raw(request: Request) -> PlainTextResponse:
    digest = hashlib.sha256()
    async for part in request.stream():
        digest.update(part)
    return PlainTextResponse(digest.hexdigest())


@app.get("/file")
async def file() -> FileResponse:
    return FileResponse(__file__, filename="notes.py")


@app.get("/boom")
async def boom() -> None:
    raise RuntimeError("of the handler")


@app.middleware("http")
async def timing(request: Request, call_next):  # type: ignore[no-untyped-def]
    response = await call_next(request)
    response.headers["X-Path"] = request.url.path
    return response


@app.websocket("/live")
async def live(socket: WebSocket) -> None:
    await socket.accept()
    store: Store = socket.state.store
    store.sockets.add(socket)
    try:
        while True:
            text = await socket.receive_text()
            await socket.send_json({"echo": text, "notes": len(store.notes)})
    except WebSocketDisconnect as error:
        log(f"left {error.code}")
    finally:
        store.sockets.discard(socket)


@app.websocket("/members")
async def members(socket: WebSocket, token: str = "") -> None:
    """A handshake that is refused without a token."""
    if token != "secret":
        await socket.close(code=1008)
        return
    await socket.accept(subprotocol="notes.v1")
    await socket.send_text("welcome")
    await socket.close(code=4000, reason="that was all")
