"""Fixtures of the ASGI tests."""

from __future__ import annotations

import ast

import pytest
from gate import background

__all__ = ["background"]


@pytest.fixture
def serve(nginx):
    """Starts nginx with one application, made of this source, in `location /`.

    location: further text there. Other arguments are those of `Nginx.start`. The application has
    no lifespan unless one is configured.
    """

    def start(source: str, location: str = "", **options):
        text = f"asgi_app {nginx.app('app', source)};\n{location}"
        if "asgi_lifespan" not in location:
            text += "\nasgi_lifespan off;"
        return nginx.start(text, **options)

    return start


@pytest.fixture
def show(serve, nginx):
    """`show()` starts nginx with an application that answers with its scope; the arguments are
    those of `serve`. `show.of(response)` reads the scope in a response's body.
    """

    def start(location: str = "", **options):
        serve(
            """
            from testkit import respond

            async def application(scope, receive, send):
                await respond(send, repr(scope).encode())
            """,
            location,
            **options,
        )

    start.of = scope_of
    return start


def scope_of(response) -> dict:
    """The scope that is a response's body; of httpx or of rawhttp."""
    body = response.content if hasattr(response, "content") else response.body
    return ast.literal_eval(body.decode())
