"""A chat: what one page says, all pages show, whichever worker of nginx each is connected to."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from starlette.applications import Starlette
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles

from . import views
from .room import Room


def create_app(folder: Path | None = None) -> Starlette:
    """Creates the application; its workers find each other in `folder`.

    Without one, the environment variable CHAT_DATA names it, or it is `data` beside this package.
    """
    if folder is None:
        beside = Path(__file__).resolve().parent.parent / "data"
        folder = Path(os.environ.get("CHAT_DATA", beside))

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[dict[str, Room]]:
        """nginx answers no request before this has opened the room."""
        async with Room(folder) as room:
            yield {"room": room}

    routes = [
        Route("/", views.page),
        WebSocketRoute("/talk", views.talk),
        # nginx-conf/chat.conf has nginx serve these.
        Mount("/static", StaticFiles(directory=views.STATIC)),
    ]
    return Starlette(routes=routes, lifespan=lifespan)
