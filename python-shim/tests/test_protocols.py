"""Which application is of which protocol: the wrong one is refused, and never a right one."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from pywsgi import LoadError
from pywsgi._callable import protocol_of
from pywsgi._loader import Application

pytestmark = pytest.mark.usefixtures("interpreter")

CALLABLES = ("application", "app")


def load(tmp_path: Path, source: str, protocol: str, suffix: str = "") -> Any:
    file = tmp_path / "shop.py"
    file.write_text(source)
    return Application(f"{file}{suffix}", CALLABLES, protocol=protocol).load()


def refusal(tmp_path: Path, source: str, protocol: str, suffix: str = "") -> str:
    with pytest.raises(LoadError) as caught:
        load(tmp_path, source, protocol, suffix)
    return str(caught.value)


def sent_by(app: Any) -> list[Any]:
    """The messages that it sends."""
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request"}

    async def send(message: Any) -> None:
        sent.append(message)

    async def call() -> None:
        await app({"type": "http"}, receive, send)

    asyncio.run(call())
    return sent


# Three arguments (ASGI 3), for certain.
ASGI = {
    "a function": "async def app(scope, receive, send): await send(1)",
    "any names": "async def app(a, b, c): await c(1)",
    "any arguments": "async def app(*args): await args[2](1)",
    "named, too": "async def app(scope, receive, send, **more): await send(1)",
    "an optional argument": "async def app(scope, receive, send, debug=False): await send(1)",
    "an object": """
class App:
    async def __call__(self, scope, receive, send): await send(1)
app = App()""",
    "an object that passes a coroutine on": """
async def inner(scope, receive, send): await send(1)
class App:
    def __call__(self, scope, receive, send): return inner(scope, receive, send)
app = App()""",
    "a function that passes a coroutine on": """
async def inner(scope, receive, send): await send(1)
def app(scope, receive, send): return inner(scope, receive, send)""",
    "a method": """
class App:
    async def serve(self, scope, receive, send): await send(1)
app = App().serve""",
    "a static method": """
class App:
    @staticmethod
    async def __call__(scope, receive, send): await send(1)
app = App()""",
    "a slot, as in sentry_sdk": """
class App:
    __slots__ = ("__call__",)
    def __init__(self): self.__call__ = self.run
    async def run(self, scope, receive, send): await send(1)
app = App()""",
    "partial": """
from functools import partial
async def f(x, scope, receive, send): await send(x)
app = partial(f, 1)""",
    "partial, by name": """
from functools import partial
async def f(scope, receive, send, x): await send(x)
app = partial(f, x=1)""",
    "partial of an object": """
from functools import partial
class App:
    async def __call__(self, x, scope, receive, send): await send(x)
app = partial(partial(App()), 1)""",
    "decorated": """
import functools
def view(request): pass
@functools.wraps(view)
async def app(scope, receive, send): await send(1)""",
    "a class of one request, as Starlette's endpoints": """
class app:
    def __init__(self, scope, receive, send): self.send = send
    def __await__(self): return self.send(1).__await__()""",
    "a class method": """
class App:
    @classmethod
    async def __call__(cls, scope, receive, send): await send(1)
app = App()""",
    "marked": """
class App:
    _asgi_single_callable = True
    def __call__(self, *args): return args[2](1)
app = App()""",
}

# `app(scope)` (ASGI 2).
DOUBLE = {
    "a function": """
def app(scope):
    async def instance(receive, send): await send(1)
    return instance""",
    "a class, as in Channels 2": """
class app:
    def __init__(self, scope): pass
    async def __call__(self, receive, send): await send(1)""",
    "a class with an argument of its own": """
class app:
    def __init__(self, scope, **named): pass
    async def __call__(self, receive, send): await send(1)""",
    "an object": """
class Router:
    def __call__(self, scope): return self.serve
    async def serve(self, receive, send): await send(1)
app = Router()""",
    "partial": """
from functools import partial
def f(x, scope):
    async def instance(receive, send): await send(x)
    return instance
app = partial(f, 1)""",
    "marked": """
def app(*args):
    async def instance(receive, send): await send(1)
    return instance
app._asgi_double_callable = True""",
}

# Two arguments, for certain.
WSGI = {
    "a function": "def app(environ, start_response): pass",
    "any names": "def app(env, respond): pass",
    "an optional argument": "def app(environ, start_response, more=None): pass",
    "lambda": "app = lambda environ, start_response: []",
    "an object": """
class App:
    def __call__(self, environ, start_response): pass
app = App()""",
    "a method": """
class App:
    def wsgi(self, environ, start_response): pass
app = App().wsgi""",
    "a class": """
class app:
    def __init__(self, environ, start_response): pass
    def __iter__(self): return iter(())""",
    "partial": """
from functools import partial
def f(x, environ, respond): pass
app = partial(f, 1)""",
}

# What may be either: accepted for both, and called with three arguments.
EITHER = {
    "any arguments": "def app(*args): return args[2](1)",
    "an object": """
class App:
    def __call__(self, *args): return args[2](1)
app = App()""",
    "a decorated view, as in werkzeug": """
import functools
def view(request): pass
@functools.wraps(view)
def app(*args): return args[2](1)""",
    "partial, by name": """
from functools import partial
def f(*args, x): return args[2](x)
app = partial(f, x=1)""",
    "a static method": """
class App:
    __call__ = staticmethod(lambda *args: args[2](1))
app = App()""",
}


@pytest.mark.parametrize("source", ASGI.values(), ids=ASGI)
def test_asgi(tmp_path: Path, source: str) -> None:
    assert sent_by(load(tmp_path, source, "asgi")) == [1]


@pytest.mark.parametrize("source", ASGI.values(), ids=ASGI)
def test_asgi_is_refused_as_wsgi(tmp_path: Path, source: str) -> None:
    message = "'app' is an ASGI application: use asgi_app instead of wsgi_app"
    assert refusal(tmp_path, source, "wsgi") == message


@pytest.mark.parametrize("source", DOUBLE.values(), ids=DOUBLE)
def test_double_callables_are_wrapped(tmp_path: Path, source: str) -> None:
    assert sent_by(load(tmp_path, source, "asgi")) == [1]


@pytest.mark.parametrize("source", DOUBLE.values(), ids=DOUBLE)
def test_double_callables_are_refused_as_wsgi(tmp_path: Path, source: str) -> None:
    message = "'app' is an ASGI application: use asgi_app instead of wsgi_app"
    assert refusal(tmp_path, source, "wsgi") == message


@pytest.mark.parametrize("source", WSGI.values(), ids=WSGI)
def test_wsgi(tmp_path: Path, source: str) -> None:
    assert callable(load(tmp_path, source, "wsgi"))


@pytest.mark.parametrize("source", WSGI.values(), ids=WSGI)
def test_wsgi_is_refused_as_asgi(tmp_path: Path, source: str) -> None:
    message = "'app' is a WSGI application: use wsgi_app instead of asgi_app"
    assert refusal(tmp_path, source, "asgi") == message


@pytest.mark.parametrize("source", EITHER.values(), ids=EITHER)
def test_what_may_be_either_is_accepted(tmp_path: Path, source: str) -> None:
    assert callable(load(tmp_path, source, "wsgi"))
    assert sent_by(load(tmp_path, source, "asgi")) == [1]


def test_functions_of_c_are_accepted(tmp_path: Path) -> None:
    source = "import operator\napp = operator.methodcaller('items')"
    for protocol in ("wsgi", "asgi"):
        assert callable(load(tmp_path, source, protocol))


@pytest.mark.parametrize(
    ("source", "hint"),
    [
        ("app = 1", "'app' is an int, which cannot be called"),
        ("def app(): pass", "scope, receive and send; if it makes the application, write app()"),
        ("def app(config=None): pass", "if it makes the application, write app()"),
        ("def app(a=1, b=2, c=3): pass", "if it makes the application, write app()"),
        ("async def app(): pass", "if it makes the application, write app()"),
        ("class app:\n    async def __call__(self, scope, receive, send): pass", "write app()"),
        (
            "class app:\n    def __init__(self, app): pass\n"
            "    async def __call__(self, scope, receive, send): pass",
            "three arguments scope, receive and send",
        ),
        ("async def app(scope): pass", "three arguments scope, receive and send"),
        ("def app(a, b, c, d): pass", "three arguments scope, receive and send"),
    ],
)
def test_what_is_no_asgi_application(tmp_path: Path, source: str, hint: str) -> None:
    assert refusal(tmp_path, source, "asgi").endswith(hint)


def test_factories(tmp_path: Path) -> None:
    source = """
def create(text="1"):
    async def app(scope, receive, send): await send(text)
    return app
def legacy():
    return lambda scope: create()
def wsgi():
    return lambda environ, start_response: []
async def late(): pass
"""
    assert sent_by(load(tmp_path, source, "asgi", ":create('x')")) == ["x"]
    assert refusal(tmp_path, source, "asgi", ":create") == (
        "'create' cannot be called with the three arguments scope, receive and send; if it makes"
        " the application, write create()"
    )
    assert refusal(tmp_path, source, "asgi", ":wsgi()") == (
        "what wsgi() returned is a WSGI application: use wsgi_app instead of asgi_app"
    )
    assert refusal(tmp_path, source, "asgi", ":late()") == (
        "'late()' is an async function; asgi_app needs one that returns the application"
    )
    assert callable(load(tmp_path, source, "asgi", ":legacy()"))


def test_nothing_is_called(tmp_path: Path) -> None:
    source = """
class Proxy:
    def __getattribute__(self, name): raise RuntimeError("outside of a request")
    def __call__(self, *args): raise AssertionError
app = Proxy()
"""
    for protocol in ("wsgi", "asgi"):
        assert callable(load(tmp_path, source, protocol))


FRAMEWORKS = {
    "Bottle": ("wsgi", "from bottle import Bottle", "Bottle()"),
    "Django": ("wsgi", "from django.core.handlers.wsgi import WSGIHandler", "WSGIHandler()"),
    "Django, asgi": ("asgi", "from django.core.handlers.asgi import ASGIHandler", "ASGIHandler()"),
    "Falcon": ("wsgi", "from falcon import App", "App()"),
    "Falcon, asgi": ("asgi", "from falcon.asgi import App", "App()"),
    "Flask": ("wsgi", "from flask import Flask", "Flask('shop')"),
    "Flask, its method": ("wsgi", "from flask import Flask", "Flask('shop').wsgi_app"),
    "Pyramid": (
        "wsgi",
        "from pyramid.config import Configurator",
        "Configurator().make_wsgi_app()",
    ),
    "WhiteNoise": ("wsgi", "from whitenoise import WhiteNoise", "WhiteNoise(lambda *args: [])"),
    "werkzeug": (
        "wsgi",
        "from werkzeug.middleware.proxy_fix import ProxyFix",
        "ProxyFix(lambda *args: [])",
    ),
    "asgiref": ("asgi", "from asgiref.wsgi import WsgiToAsgi", "WsgiToAsgi(None)"),
}


@pytest.mark.parametrize(("protocol", "imports", "app"), FRAMEWORKS.values(), ids=FRAMEWORKS)
def test_frameworks(tmp_path: Path, protocol: str, imports: str, app: str) -> None:
    configure = "from django.conf import settings; settings.configure()\n"
    source = f"{configure if 'django' in imports else ''}{imports}\napp = {app}"
    found = load(tmp_path, source, protocol)
    assert protocol_of(found) == protocol
    other = "asgi" if protocol == "wsgi" else "wsgi"
    assert f"use {protocol}_app" in refusal(tmp_path, source, other)
