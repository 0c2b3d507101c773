"""The targets of ASGI."""

from __future__ import annotations

from isolation import COMPUTING, IDLE
from isolation import TITLE as ISOLATION
from servers import FLOOR
from servers_asgi import FIRST, FREASTAL, GRANIAN, NGINX_UVICORN, OURS, UVICORN
from targets import BEST, Target
from websockets_idle import DEFLATE as IDLE_DEFLATE
from websockets_idle import PLAIN as IDLE_PLAIN

TARGETS_ASGI = [
    Target("hello against nginx's `return 200`", OURS.name, FLOOR.name, "hello", 2.5),
    *(
        Target(f"hello against {peer.name}", OURS.name, peer.name, "hello", at_most)
        for peer, at_most in (
            (UVICORN, 0.5),
            (NGINX_UVICORN, 0.3),
            (GRANIAN, 0.35),
            (FREASTAL, 2.0),
        )
    ),
    Target("FastAPI, JSON against uvicorn", OURS.name, UVICORN.name, "FastAPI, JSON", 0.9),
    Target(
        "Django against uvicorn", OURS.name, UVICORN.name, "Django, a template and a query", 0.9
    ),
    Target("10 MB response", OURS.name, BEST, "a response of 10 MB", 1.0),
    Target("10 MB upload", OURS.name, BEST, "a POST of 10 MB", 1.0),
    Target("100 parts against uvicorn", OURS.name, UVICORN.name, "100 parts", 0.5),
    Target(
        "events to 1,000 clients against uvicorn",
        OURS.name,
        UVICORN.name,
        "events to 1,000 clients",
        0.5,
    ),
    *(
        Target(f"{work} against {peer.name}", OURS.name, peer.name, work, at_most)
        for work in ("WebSocket echo", "WebSocket echo, 1,000 connections")
        for peer, at_most in ((UVICORN, 0.5), (GRANIAN, 0.8))
    ),
    *(
        Target(f"{title}, against uvicorn", OURS.name, UVICORN.name, title, 0.5, "each")
        for title in (IDLE_PLAIN, IDLE_DEFLATE)
    ),
    *(
        Target(
            f"static p99 beside a loop that computes, against idle ({server.name})",
            COMPUTING.format(server.name),
            IDLE.format(server.name),
            ISOLATION,
            1.5,
            "p99",
        )
        for server in (OURS, FIRST)
    ),
]
