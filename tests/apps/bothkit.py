"""One application in both protocols, for the tests that run for both.

An application is `async def answer(request)`: it reads the request, and sends the response by
`request.start` and `request.send`. `wsgi(answer)` and `asgi(answer)` make the callable of a
protocol. The harness copies this file beside every application.
"""

import http
import time
from wsgiref.validate import validator

TEXT = (("Content-Type", "text/plain"),)


class Request:
    """What an application gets, in the same words for both protocols.

    `path` is whole and decoded; `mount` is SCRIPT_NAME, or root_path. `headers` have lower-case
    names. `params` are those of wsgi_param or asgi_param; for WSGI all of environ.
    """

    async def body(self):
        """The whole body, or what is left of it."""
        parts = []
        while part := await self.read():
            parts.append(part)
        return b"".join(parts)

    async def respond(self, body=b"", status=200, headers=TEXT):
        """A whole response, which says its length."""
        await self.start(status, [*headers, ("Content-Length", str(len(body)))])
        await self.send(body)

    async def wait(self, is_true):
        """Waits until `is_true()`."""
        while not is_true():
            await self.sleep(0.01)


class Yielded:
    """An awaitable that gives its value to who drives the coroutine."""

    def __init__(self, value):
        self.value = value

    def __await__(self):
        yield self.value


class WsgiRequest(Request):
    protocol = "wsgi"

    def __init__(self, environ, start_response):
        self.environ = self.params = environ
        self._start_response = start_response
        self.method = environ["REQUEST_METHOD"]
        self.mount = _native(environ["SCRIPT_NAME"])
        self.path = self.mount + _native(environ["PATH_INFO"])
        self.query = environ["QUERY_STRING"]
        self.scheme = environ["wsgi.url_scheme"]
        self.headers = {
            key.removeprefix("HTTP_").replace("_", "-").lower(): value
            for key, value in environ.items()
            if key.startswith("HTTP_") or (key in ("CONTENT_TYPE", "CONTENT_LENGTH") and value)
        }

    async def read(self):
        return self.environ["wsgi.input"].read(65536)

    async def sleep(self, seconds):
        time.sleep(seconds)

    async def start(self, status, headers=TEXT):
        self._start_response(f"{status} {_reason(status)}", list(headers))

    async def send(self, block):
        await Yielded(block)

    @property
    def can_hint(self):
        return "wsgi.early_hints" in self.environ

    async def hint(self, links):
        self.environ["wsgi.early_hints"]([("Link", link) for link in links])


class WsgiResponse:
    """The iterable: each `await request.send(block)` gives a block."""

    def __init__(self, coroutine):
        self._coroutine = coroutine

    def __iter__(self):
        return self

    def __next__(self):
        return self._coroutine.send(None)

    def close(self):
        self._coroutine.close()


def wsgi(answer):
    @validator
    def application(environ, start_response):
        return WsgiResponse(answer(WsgiRequest(environ, start_response)))

    return application


class AsgiRequest(Request):
    protocol = "asgi"

    def __init__(self, scope, receive, send):
        self.scope = scope
        self._receive, self._send = receive, send
        self._more = True
        self.method = scope["method"]
        self.mount = scope["root_path"]
        self.path = scope["path"]
        self.query = scope["query_string"].decode("latin-1")
        self.scheme = scope["scheme"]
        self.headers = {}
        for name, value in scope["headers"]:
            name, value = name.decode("latin-1"), value.decode("latin-1")
            self.headers[name] = f"{self.headers[name]}, {value}" if name in self.headers else value
        self.params = scope["extensions"].get("pywsgi.params", {})

    async def read(self):
        while self._more:
            message = await self._receive()
            if message["type"] != "http.request":
                raise OSError(f"{message['type']} in the body")
            self._more = message.get("more_body", False)
            if message.get("body"):
                return message["body"]
        return b""

    async def sleep(self, seconds):
        # It takes long to import: not for applications of WSGI.
        import asyncio

        await asyncio.sleep(seconds)

    async def start(self, status, headers=TEXT):
        encoded = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers]
        await self._send({"type": "http.response.start", "status": status, "headers": encoded})

    async def send(self, block):
        await self._send({"type": "http.response.body", "body": block, "more_body": True})

    @property
    def can_hint(self):
        return "http.response.early_hint" in self.scope["extensions"]

    async def hint(self, links):
        encoded = [link.encode("latin-1") for link in links]
        await self._send({"type": "http.response.early_hint", "links": encoded})


def asgi(answer):
    async def application(scope, receive, send):
        if scope["type"] != "http":
            raise NotImplementedError(scope["type"])
        await answer(AsgiRequest(scope, receive, send))
        await send({"type": "http.response.body"})

    return application


def _native(text):
    return text.encode("latin-1").decode("utf-8", "replace")


def _reason(status):
    try:
        return http.HTTPStatus(status).phrase
    except ValueError:
        return "Said"
