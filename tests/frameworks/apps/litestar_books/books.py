"""Books of Litestar: data transfer objects, dependencies, events, a WebSocket listener."""

import asyncio
import hashlib
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from litestar import Controller, Litestar, Request, get, post, websocket_listener
from litestar.background_tasks import BackgroundTask
from litestar.datastructures import UploadFile
from litestar.di import Provide
from litestar.enums import RequestEncodingType
from litestar.exceptions import NotFoundException
from litestar.params import Body
from litestar.response import File, Response, ServerSentEvent, Stream

DATA = Path(os.environ["BOOKS_DATA"])


def log(text: str) -> None:
    with (DATA / "log").open("a") as file:
        file.write(f"{text}\n")


@dataclass
class Book:
    title: str
    pages: int
    tags: list[str] = field(default_factory=list)


@asynccontextmanager
async def lifespan(app: Litestar) -> AsyncGenerator[None, None]:
    app.state.shelf = Shelf()
    try:
        yield
    finally:
        log("closed")


class Shelf:
    def __init__(self) -> None:
        self.books = [Book("First", 100)]


async def shelf_of(request: Request) -> Shelf:
    return request.app.state.shelf


class Books(Controller):
    path = "/books"
    dependencies = {"shelf": Provide(shelf_of)}

    @get()
    async def all(self, shelf: Shelf, longer_than: int = 0) -> list[Book]:
        return [book for book in shelf.books if book.pages > longer_than]

    @get("/{number:int}")
    async def one(self, shelf: Shelf, number: int) -> Book:
        if number >= len(shelf.books):
            raise NotFoundException(f"no book {number}")
        return shelf.books[number]

    @post()
    async def add(self, shelf: Shelf, data: Book) -> Response[Book]:
        shelf.books.append(data)
        return Response(data, background=BackgroundTask(index, data.title))


async def index(title: str) -> None:
    await asyncio.sleep(0.05)
    log(f"indexed {title}")


@post("/upload")
async def upload(
    data: Annotated[UploadFile, Body(media_type=RequestEncodingType.MULTI_PART)],
) -> dict[str, str]:
    content = await data.read()
    return {"name": data.filename, "sha256": hashlib.sha256(content).hexdigest()}


@post("/raw")
async def raw(request: Request) -> str:
    digest = hashlib.sha256()
    async for part in request.stream():
        digest.update(part)
    return digest.hexdigest()


@get("/stream")
async def stream() -> Stream:
    async def parts() -> AsyncGenerator[bytes, None]:
        for number in range(5):
            yield f"{number}\n".encode()
            await asyncio.sleep(0.001)

    return Stream(parts(), media_type="text/plain")


@get("/events")
async def events() -> ServerSentEvent:
    async def produce() -> AsyncGenerator[str, None]:
        for number in range(5):
            yield str(number)
            await asyncio.sleep(0.01)

    return ServerSentEvent(produce())


@get("/file")
async def file() -> File:
    return File(path=__file__, filename="books.py")


@get("/sync", sync_to_thread=True)
def sync() -> str:
    import threading

    return threading.current_thread().name


@websocket_listener("/upper")
async def upper(data: str) -> str:
    return data.upper()


app = Litestar(
    [Books, upload, raw, stream, events, file, sync, upper],
    lifespan=[lifespan],
    request_max_body_size=64 << 20,
)
