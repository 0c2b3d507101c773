"""One application in both protocols, for the tests that run for both.

An application is `async def answer(request)`: it reads the request, and sends the response by
`request.start` and `request.send`. `wsgi(answer)` and `asgi(answer)` make the callable of a
protocol; `wrapped(application)` makes an application of ASGI from one of WSGI. The harness copies
this file beside every application.
"""

import http
import io
import sys
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


def wrapped(application):
    """An application of WSGI as one of ASGI: it gets the whole body, and runs in a thread."""
    from concurrent.futures import ThreadPoolExecutor

    # As many as a test lets wait at once.
    threads = ThreadPoolExecutor(64)

    async def asgi_application(scope, receive, send):
        import asyncio

        if scope["type"] != "http":
            raise NotImplementedError(scope["type"])
        request = AsgiRequest(scope, receive, send)
        environ = _environ(request, await request.body())
        loop = asyncio.get_running_loop()

        def say(message):
            asyncio.run_coroutine_threadsafe(send(message), loop).result()

        await loop.run_in_executor(threads, _run, application, environ, say)

    return asgi_application


def _environ(request, body):
    """Environ, with the parameters of asgi_param in place of what the scope says."""
    scope = request.scope
    path = scope["path"].removeprefix(scope["root_path"])
    query = request.query
    environ = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": scope["root_path"].encode().decode("latin-1"),
        "PATH_INFO": path.encode().decode("latin-1"),
        "QUERY_STRING": query,
        "REQUEST_URI": scope["raw_path"].decode("latin-1") + (f"?{query}" if query else ""),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "SERVER_NAME": scope["server"][0],
        "SERVER_PORT": str(scope["server"][1]),
        "REMOTE_ADDR": scope["client"][0],
        "REMOTE_PORT": str(scope["client"][1]),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope["scheme"],
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    for name, value in request.headers.items():
        key = name.upper().replace("-", "_")
        environ[key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"] = value
    return environ | request.params


def _run(application, environ, say):
    """Calls an application of WSGI, and says its response in ASGI's messages."""
    heads = []

    def start_response(status, headers, exc_info=None):
        encoded = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers]
        start = {"type": "http.response.start", "status": int(status[:3]), "headers": encoded}
        heads[:] = [start]

    def body(block, more):
        while heads:
            say(heads.pop())
        say({"type": "http.response.body", "body": block, "more_body": more})

    result = application(environ, start_response)
    try:
        if isinstance(result, list) and len(result) < 2:
            # Servers of WSGI know the length of these (PEP 3333).
            whole = b"".join(result)
            fields = heads[0]["headers"]
            if b"content-length" not in dict(fields):
                fields.append((b"content-length", str(len(whole)).encode()))
            body(whole, False)
            return
        for block in result:
            body(block, True)
        body(b"", False)
    finally:
        if hasattr(result, "close"):
            result.close()


def _native(text):
    return text.encode("latin-1").decode("utf-8", "replace")


def _reason(status):
    try:
        return http.HTTPStatus(status).phrase
    except ValueError:
        return "Said"
