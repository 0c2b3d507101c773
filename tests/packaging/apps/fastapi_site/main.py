"""FastAPI: the same as flask_site, and a WebSocket at /echo."""

from __future__ import annotations

import asyncio

from fastapi import FastAPI, Request, Response, WebSocket
from fastapi.responses import StreamingResponse

app = FastAPI()


@app.api_route("/", methods=["GET", "POST"])
async def root(request: Request) -> Response:
    return Response(b"v " + await request.body())


@app.get("/blocks")
async def blocks() -> StreamingResponse:
    async def parts():
        for index in range(50):
            yield f"{index:05d}\n"
            await asyncio.sleep(0.02)

    return StreamingResponse(parts(), media_type="text/plain")


@app.websocket("/echo")
async def echo(websocket: WebSocket) -> None:
    await websocket.accept()
    async for text in websocket.iter_text():
        await websocket.send_text(f"v {text}")
