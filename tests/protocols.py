"""Tests that run for both protocols: the directives' prefix, and applications of the same words.

def test_off(nginx, protocol):
    app = protocol.app("app", "async def answer(request): await request.respond(b'text')")
    nginx.start(f"{protocol}_app {app}; {protocol}_accel off;")
"""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest
from harness import EXECUTOR

# A run for another executor of WSGI's has nothing new for ASGI.
NAMES = ["wsgi"] if EXECUTOR == "inline" else ["wsgi", "asgi"]
# Marks tests whose fixtures have a protocol, and which have nothing new for ASGI.
WSGI_ONLY = pytest.mark.parametrize("protocol", ["wsgi"], indirect=True)

ECHO = """
    import json

    async def answer(request):
        seen = {
            "method": request.method,
            "mount": request.mount,
            "path": request.path,
            "query": request.query,
            "scheme": request.scheme,
            "headers": request.headers,
            "params": {k: v for k, v in request.params.items() if isinstance(v, str)},
            "body": (await request.body()).decode("latin-1"),
        }
        await request.respond(json.dumps(seen).encode())
"""


class Protocol:
    """A protocol; as text it is the prefix of its directives."""

    def __init__(self, nginx, name: str) -> None:
        self.nginx = nginx
        self.name = name

    def __str__(self) -> str:
        return self.name

    @property
    def is_wsgi(self) -> bool:
        return self.name == "wsgi"

    def app(self, name: str, source: str, *callables: str) -> Path:
        """The path of an application; `source` defines `answer(request)` (apps/bothkit.py).

        callables: the names of its callables, `application` unless given.
        """
        head = ["import bothkit"]
        if "/" in name:
            head = ["import sys", f"sys.path.append({str(self.nginx.apps)!r})", *head]
        ends = [f"{each} = bothkit.{self}(answer)" for each in callables or ("application",)]
        return self.nginx.app(name, "\n".join([*head, textwrap.dedent(source), *ends, ""]))

    def wrap(self, name: str, source: str) -> Path:
        """The path of an application; `source` defines one of WSGI, which ASGI gets wrapped.

        It is for tests that compare the response with that of `uwsgi_pass`, and for what nginx
        does with a response, whoever has made it.
        """
        if self.is_wsgi:
            return self.nginx.app(name, source)
        end = "\nimport bothkit\napplication = bothkit.wrapped(application)\n"
        return self.nginx.app(f"{name}_wrapped", textwrap.dedent(source) + end)

    @property
    def like_wsgi(self) -> str:
        """Directives that give a wrapped application the REQUEST_URI and the body of WSGI's."""
        if self.is_wsgi:
            return ""
        return "asgi_param REQUEST_URI $request_uri; asgi_request_buffering on;"

    def say(self, word: str) -> Path:
        """The path of an application that answers with a word."""
        return self.app(
            word, f"async def answer(request): await request.respond({word!r}.encode())"
        )

    def echo(self) -> Path:
        """The path of an application that answers with what it is asked, as JSON."""
        return self.app("echo", ECHO)


@pytest.fixture(params=NAMES)
def protocol(request, nginx) -> Protocol:
    return Protocol(nginx, request.param)


@pytest.fixture
def asgi(nginx) -> Protocol:
    """ASGI, for what it alone has."""
    return Protocol(nginx, "asgi")


__all__ = ["WSGI_ONLY", "Protocol", "asgi", "protocol"]
