"""A notice board of Quart: forms, sessions, uploads, events, background tasks, a WebSocket."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

from quart import Quart, Response, abort, redirect, render_template_string, request, session
from quart import websocket as socket

DATA = Path(os.environ["BOARD_DATA"])

app = Quart(__name__)
app.secret_key = os.environ["BOARD_SECRET"]
app.config["MAX_CONTENT_LENGTH"] = 32 << 20

notices: list[str] = []
listeners: set[asyncio.Queue] = set()


def log(text: str) -> None:
    with (DATA / "log").open("a") as file:
        file.write(f"{text}\n")


@app.before_serving
async def open_board() -> None:
    notices.append("opened")


@app.after_serving
async def close_board() -> None:
    log("closed")


@app.get("/")
async def index() -> str:
    page = "<ul>{% for notice in notices %}<li>{{ notice }}</li>{% endfor %}</ul>{{ name }}"
    return await render_template_string(page, notices=notices, name=session.get("name", "nobody"))


@app.post("/login")
async def log_in() -> Response:
    session["name"] = (await request.form)["name"]
    return redirect("/")


@app.post("/notices")
async def add() -> tuple[dict, int]:
    if "name" not in session:
        abort(403)
    notice = f"{session['name']}: {(await request.get_json())['text']}"
    notices.append(notice)
    for queue in listeners:
        await queue.put(notice)
    app.add_background_task(count)
    return {"count": len(notices)}, 201


async def count() -> None:
    await asyncio.sleep(0.05)
    log(f"counted {len(notices)}")


@app.post("/upload")
async def upload() -> dict:
    file = (await request.files)["file"]
    data = file.read()
    return {"name": file.filename, "sha256": hashlib.sha256(data).hexdigest()}


@app.post("/raw")
async def raw() -> str:
    digest = hashlib.sha256()
    async for part in request.body:
        digest.update(part)
    return digest.hexdigest()


@app.get("/events")
async def events() -> tuple[AsyncIterator[bytes], dict]:
    async def produce() -> AsyncIterator[bytes]:
        for number in range(5):
            yield f"data: {number}\n\n".encode()
            await asyncio.sleep(0.01)

    return produce(), {"Content-Type": "text/event-stream"}


@app.get("/boom")
async def boom() -> str:
    raise RuntimeError("of the view")


@app.websocket("/live")
async def live() -> None:
    queue: asyncio.Queue = asyncio.Queue()
    listeners.add(queue)
    try:
        await socket.accept()
        while True:
            await socket.send(await queue.get())
    finally:
        listeners.discard(queue)
        log("left")
