"""A WSGI application behind the uwsgi protocol, for what nginx answers by `uwsgi_pass`."""

from __future__ import annotations

import io
import runpy
import sys
import threading
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingTCPServer

# The parts of environ that the tests look at; `uwsgi_pass` sends nothing by default.
PARAMS = {
    "REQUEST_METHOD": "$request_method",
    "QUERY_STRING": "$query_string",
    "CONTENT_TYPE": "$content_type",
    "CONTENT_LENGTH": "$content_length",
    "PATH_INFO": "$document_uri",
    "REQUEST_URI": "$request_uri",
    "REMOTE_ADDR": "$remote_addr",
    "REMOTE_PORT": "$remote_port",
    "SERVER_NAME": "$server_name",
    "SERVER_PORT": "$server_port",
    "SERVER_PROTOCOL": "$server_protocol",
}


class Uwsgi:
    """Serves the application of a file on a port of its own, until `close()`."""

    def __init__(self, path: Path) -> None:
        self._server = Server(("127.0.0.1", 0), Handler)
        self._server.application = runpy.run_path(str(path))["application"]
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    @property
    def params(self) -> str:
        """Directives for the server."""
        return " ".join(f"uwsgi_param {name} {value};" for name, value in PARAMS.items())

    @property
    def directive(self) -> str:
        """The directive for a location, in place of `wsgi_app`."""
        return f"uwsgi_pass 127.0.0.1:{self.port};"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        for error in self._server.errors:
            raise error


class Server(ThreadingTCPServer):
    application = None

    def __init__(self, *arguments) -> None:
        super().__init__(*arguments)
        self.errors: list[BaseException] = []

    def handle_error(self, request, client_address) -> None:
        self.errors.append(sys.exc_info()[1])


class Handler(StreamRequestHandler):
    """One request: the parameters in one packet, then the body; the response as HTTP has it."""

    def handle(self) -> None:
        head = self.rfile.read(4)
        if len(head) < 4:
            # nginx may open a connection that it does not use.
            return
        params = self.rfile.read(int.from_bytes(head[1:3], "little"))
        environ = {"SCRIPT_NAME": ""} | parse(params)
        if not environ.get("CONTENT_LENGTH"):
            environ.pop("CONTENT_LENGTH", None)
        # nginx sends these as headers too; PEP 3333 has one name for each.
        for name in ("HTTP_CONTENT_TYPE", "HTTP_CONTENT_LENGTH"):
            environ.pop(name, None)
        body = self.rfile.read(int(environ.get("CONTENT_LENGTH", "0")))
        environ |= {
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(body),
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
        }
        # nginx closes the connection if it wants no more of a response.
        try:
            self.answer(environ)
        except (BrokenPipeError, ConnectionResetError):
            return

    def answer(self, environ: dict) -> None:
        head: list = []

        def start_response(status, headers, exc_info=None):
            head[:] = [status, *headers]
            return self.wfile.write

        result = self.server.application(environ, start_response)
        try:
            blocks = iter(result)
            first = next(blocks, b"")
            status, *headers = head
            names = [name.lower() for name, _ in headers]
            if isinstance(result, list) and len(result) < 2 and "content-length" not in names:
                headers.append(("Content-Length", str(len(first))))
            lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in headers)]
            self.wfile.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
            self.wfile.write(first)
            for block in blocks:
                self.wfile.write(block)
        finally:
            if hasattr(result, "close"):
                result.close()


def parse(data: bytes) -> dict[str, str]:
    """Names and values, each with its length of two bytes in front."""
    texts = []
    while data:
        length = int.from_bytes(data[:2], "little")
        texts.append(data[2 : 2 + length].decode("latin-1"))
        data = data[2 + length :]
    return dict(zip(texts[::2], texts[1::2], strict=True))
