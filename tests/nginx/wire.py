"""The same bytes to an application by ours and by `uwsgi_pass`, on kept connections."""

from __future__ import annotations

import socket

from rawhttp import Connection, Response

# What every application here answers under /next.
NEXT = """
    def application(environ, start_response):
        if environ["PATH_INFO"] == "/next":
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [b"next"]
        return answer(environ, start_response)
"""


class Wire:
    """A connection to each of the two, over which one request follows the other."""

    def __init__(self, pair) -> None:
        self.is_wsgi = pair.protocol.is_wsgi
        self.ports = [pair.nginx.port, pair.port]
        self.connections: list[Connection] = []

    def ask(
        self,
        request: str | bytes,
        *,
        head_only: bool = False,
        kept: bool | None = True,
        then_next: bool = True,
    ) -> Response:
        """Our response, which must be the other's as well.

        kept: whether both connections must be kept; None: either, but both alike.
        If they are kept, another request checks that nothing of this one is left on them.
        """
        self.send(request)
        ours, theirs = (connection.response(head_only=head_only) for connection in self.connections)
        assert self._visible(ours) == self._visible(theirs), f"{ours} is not {theirs}"
        if kept is None:
            kept = ours.get("Connection") == "keep-alive"
        assert (ours.get("Connection") == "keep-alive") == kept, ours
        if kept and then_next:
            self.next()
        if not kept:
            for connection in self.connections:
                assert connection.rest() == b""
            self.close()
        return ours

    def send(self, request: str | bytes) -> None:
        """Sends a request to both, and reads nothing."""
        self.connect()
        for connection in self.connections:
            connection.send(request)

    def next(self) -> None:
        """Checks with a request that both connections are in order."""
        for connection in self.connections:
            connection.get("/next")
            response = connection.response()
            assert (response.status, response.body) == (200, b"next"), response

    def closed(self, request: str | bytes) -> None:
        """Sends a request for which both connections must be closed without a response."""
        self.send(request)
        for connection in self.connections:
            assert connection.rest() == b""
        self.close()

    def close(self) -> None:
        for connection in self.connections:
            connection.close()
        self.connections = []

    def connect(self) -> None:
        if not self.connections:
            self.connections = [
                Connection(socket.create_connection(("127.0.0.1", port), 60)) for port in self.ports
            ]

    def _visible(self, response: Response) -> tuple:
        """What must be the same: all but the time and the order of the headers.

        An application of ASGI has no reason phrases, and names in lower case only.
        """
        ours, theirs = (str(port) for port in self.ports)
        headers = sorted(
            (
                name if self.is_wsgi else name.lower(),
                value.replace(ours, "PORT").replace(theirs, "PORT"),
            )
            for name, value in response.headers
            if name.lower() != "date"
        )
        return (
            response.version,
            response.status,
            response.reason if self.is_wsgi else "",
            headers,
            response.framing,
            response.complete,
            response.body,
        )


def said(response) -> dict[str, str]:
    """The lines `KEY=value` of a response."""
    assert response.status_code == 200, response.text
    return dict(line.split("=", 1) for line in response.text.split("\n"))
