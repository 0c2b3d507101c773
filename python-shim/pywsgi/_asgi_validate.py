"""`asgi_debug validate`: raises for violations of the specification of ASGI, with the section and
the line.

`validator` wraps an application. Each message is checked, in both directions: its type, its fields,
and whether it may come now. Fields that the specification does not have are only logged.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, NoReturn

from pywsgi._asgi_messages import (
    EVENTS,
    GIVEN_IN_HTTP,
    GIVEN_IN_LIFESPAN,
    GIVEN_IN_WEBSOCKET,
    HTTP,
    SENT_IN_HTTP,
    SENT_IN_LIFESPAN,
    SENT_IN_WEBSOCKET,
    Kind,
    Message,
    check_close,
    check_data,
    check_file,
    check_links,
    check_message,
    check_path,
    headers_of,
    refuse_field,
)
from pywsgi._violation import SINGLE, definition, refuse, shown

Application = Callable[..., Awaitable[object]]


def validator(application: Application) -> Application:
    """Returns `application`, checked at each call."""

    async def checked(scope: Any, receive: Any, send: Any) -> None:
        kind = {"http": _Http, "websocket": _WebSocket, "lifespan": _Lifespan}[scope["type"]]
        channel = kind(application, scope, receive, send)
        await application(scope, channel.receive, channel.send)
        channel.end()

    return checked


class _Channel:
    """One call of the application: its messages in both directions."""

    # What the application may send, and what it may be given.
    sent: dict[str, Kind]
    given: dict[str, Kind]

    def __init__(self, application: Application, scope: Any, receive: Any, send: Any) -> None:
        self.scope = scope
        # The client has left: nothing needs an end.
        self.is_gone = False
        self._application = application
        self._receive = receive
        self._send = send
        self._not_awaited = 0

    async def receive(self) -> Message:
        message = check_message(await self._receive(), self.given, "the server gave")
        self.check_given(message)
        return message

    def send(self, *args: Any) -> Awaitable[None]:
        """Checks when it is called, not when the result is awaited: the error names the caller's
        line, even if a task of its own awaits it."""
        if len(args) != 1:
            refuse(f"send() was called with {len(args)} arguments", f"{EVENTS}: it takes one")
        message = check_message(args[0], self.sent, "send() was given")
        kind = self.sent[message["type"]]
        if kind.extension and not self.has_extension(kind.extension):
            why = f"scope['extensions'] has no {kind.extension!r}"
            self.refuse(message, why, f"{kind.section}: servers that have it say so in the scope")
        self.check_sent(message)
        try:
            sending = self._send(message)
        except OSError:
            self.is_gone = True
            raise
        self._not_awaited += 1
        return self._pass_on(sending)

    async def _pass_on(self, sending: Awaitable[None]) -> None:
        self._not_awaited -= 1
        try:
            await sending
        except OSError:
            self.is_gone = True
            raise

    def end(self) -> None:
        """The application has returned."""
        if self._not_awaited:
            calls = "1 call" if self._not_awaited == 1 else f"{self._not_awaited} calls"
            what = f"{calls} of send() not awaited"
            self.refuse_end(what, f"{EVENTS}: send is an awaitable callable")
        if not self.is_gone:
            self.check_end()

    def has_extension(self, name: str) -> bool:
        return name in (self.scope.get("extensions") or ())

    def check_given(self, message: Message) -> None:
        raise NotImplementedError

    def check_sent(self, message: Message) -> None:
        raise NotImplementedError

    def check_end(self) -> None:
        """Whether the application may return."""

    def refuse(self, message: Message, why: str, clause: str) -> NoReturn:
        refuse(f"{message['type']} was sent, but {why}", clause)

    def refuse_end(self, what: str, clause: str) -> NoReturn:
        refuse(what, clause, definition(self._application))


class _Http(_Channel):
    sent = SENT_IN_HTTP
    given = GIVEN_IN_HTTP

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.state = "the response has not started"
        self.response = _Response(self.scope.get("method", ""))
        # The messages with parts of the body.
        self.parts: set[str] = set()

    def check_given(self, message: Message) -> None:
        if message["type"] == "http.disconnect":
            self.is_gone = True

    def check_sent(self, message: Message) -> None:
        kind, section = message["type"], self.sent[message["type"]].section
        if self.state == _COMPLETE:
            clause = f'{HTTP}, "Response Body": "any further messages … will be ignored"'
            self.refuse(message, self.state, clause)
        if kind == "http.response.early_hint":
            check_links(message)
        elif kind == "http.response.start":
            if self.state != "the response has not started":
                self.refuse(message, self.state, f"{section}: a response has one")
            self.start(message)
        elif self.state == "the response has not started":
            self.refuse(message, self.state, f'{HTTP}, "Response Start" comes first')
        elif kind == "http.response.trailers":
            if self.state != _TRAILERS:
                clause = f'{section}: they follow the "last http.response.body message"'
                self.refuse(message, self.state, clause)
            headers_of(message)
            if not message.get("more_trailers", False):
                self.state = _COMPLETE
        elif self.state == _TRAILERS:
            self.refuse(message, self.state, f"{section}: its last message had no 'more_body'")
        else:
            self.part(message)

    def start(self, message: Message) -> None:
        if message.get("trailers", False) and not self.has_extension("http.response.trailers"):
            what = "is true, but scope['extensions'] has no 'http.response.trailers'"
            refuse_field(message, "trailers", what, self.sent["http.response.trailers"].section)
        self.response.start(message)
        self.state = "the response has started"

    def part(self, message: Message) -> None:
        """A part of the body."""
        kind, section = message["type"], self.sent[message["type"]].section
        if self.parts and "http.response.pathsend" in (kind, *self.parts):
            clause = f'{section}: it "cannot be mixed with http.response.body", and comes once'
            self.refuse(message, f"{' and '.join(sorted(self.parts))} was sent", clause)
        self.parts.add(kind)
        if kind == "http.response.body":
            self.response.count(message)
        elif kind == "http.response.pathsend":
            check_path(message)
            self.response.length = None
        else:
            check_file(message)
            self.response.length = None
        if not message.get("more_body", False):
            self.response.end(message)
            self.state = _TRAILERS if self.response.has_trailers else _COMPLETE

    def check_end(self) -> None:
        if self.state != _COMPLETE:
            clause = f'{HTTP}, "Response Body": the last message has no "more_body"'
            self.refuse_end(f"the application has returned, but {self.state}", clause)


class _WebSocket(_Channel):
    sent = SENT_IN_WEBSOCKET
    given = GIVEN_IN_WEBSOCKET

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.state = _UNASKED
        self.response = _Response("")

    def check_given(self, message: Message) -> None:
        kind = message["type"]
        if kind == "websocket.connect":
            self.state = _ASKED
        elif kind == "websocket.disconnect":
            self.is_gone = True
        else:
            check_data(message, self.given[kind].section)

    def check_sent(self, message: Message) -> None:
        kind, section = message["type"], self.sent[message["type"]].section
        if kind == "websocket.accept":
            self.need(message, _ASKED)
            self.check_accept(message)
            self.state = _ACCEPTED
        elif kind == "websocket.send":
            self.need(message, _ACCEPTED)
            check_data(message, section)
        elif kind == "websocket.close":
            self.need(message, _ASKED, _ACCEPTED)
            check_close(message)
            self.state = _CLOSED
        elif kind == "websocket.http.response.start":
            self.need(message, _ASKED)
            self.response.start(message)
            self.state = _DENIED
        else:
            self.need(message, _DENIED)
            self.response.count(message)
            if not message.get("more_body", False):
                self.response.end(message)
                self.state = _COMPLETE

    def need(self, message: Message, *states: str) -> None:
        if self.state not in states:
            section = self.sent[message["type"]].section
            self.refuse(message, self.state, f"{section}: it is for when {' or '.join(states)}")

    def check_accept(self, message: Message) -> None:
        protocol = message.get("subprotocol")
        if protocol is not None and protocol not in self.scope.get("subprotocols", ()):
            what = f"is {shown(protocol)}, which scope['subprotocols'] does not have"
            refuse_field(message, "subprotocol", what, "RFC 6455, 4.2.2: it is one of the client's")
        if any(name.lower() == b"sec-websocket-protocol" for name, _ in headers_of(message)):
            clause = f'{self.sent["websocket.accept"].section}: "use the subprotocol key instead"'
            refuse_field(message, "headers", "contains b'sec-websocket-protocol'", clause)

    def check_end(self) -> None:
        if self.state in (_UNASKED, _ASKED, _DENIED):
            clause = f'{HTTP}, "Connect": it "must be responded to with … Accept … or … Close"'
            self.refuse_end(f"the application has returned, but {self.state}", clause)


class _Lifespan(_Channel):
    sent = SENT_IN_LIFESPAN
    given = GIVEN_IN_LIFESPAN

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        # What waits for an answer.
        self.asked: set[str] = set()

    def check_given(self, message: Message) -> None:
        self.asked.add(message["type"])

    def check_sent(self, message: Message) -> None:
        question = message["type"].rpartition(".")[0]
        if question not in self.asked:
            clause = f"{self.sent[message['type']].section}: one message answers {question}"
            self.refuse(message, f"{question} was not received, or is answered", clause)
        self.asked.remove(question)


class _Response:
    """A response of HTTP, also one that denies a WebSocket."""

    def __init__(self, method: str) -> None:
        self.method = method
        self.status = 0
        # The content-length, as long as it is known what the body has.
        self.length: int | None = None
        self.size = 0
        self.has_trailers = False

    def start(self, message: Message) -> None:
        self.status = message["status"]
        if not 200 <= self.status <= 999:
            clause = "RFC 9110, 15: that of a final response is 200 to 999"
            refuse_field(message, "status", f"is {self.status}", clause)
        self.has_trailers = message.get("trailers", False)
        seen: set[str] = set()
        for field, value in headers_of(message):
            name = field.decode("ascii").lower()
            if name in seen and name in {*SINGLE, "content-length"}:
                clause = 'RFC 9110, 5.3: a sender "MUST NOT" repeat it'
                refuse_field(message, "headers", f"contains {field!r} twice", clause)
            seen.add(name)
            if name == "content-length":
                self.set_length(message, value)

    def set_length(self, message: Message, value: bytes) -> None:
        if not value.isdigit():
            what = f"contains the content-length {value!r}"
            refuse_field(message, "headers", what, "RFC 9110, 8.6: it is a number")
        if self.status == 204:
            clause = 'RFC 9110, 8.6: the server "MUST NOT" send it in such a response'
            refuse_field(message, "headers", "contains a content-length with status 204", clause)
        # The length in a 304 is that of the corresponding 200.
        if self.method != "HEAD" and self.status != 304:
            self.length = int(value)

    def count(self, message: Message) -> None:
        size = len(message.get("body", b""))
        if size and self.status in (204, 304):
            what = f"has {size} bytes with status {self.status}"
            clause = "RFC 9110, 6.4.1: such a response has no content"
            refuse_field(message, "body", what, clause)
        self.size += size
        if self.length is not None and self.size > self.length:
            what = f"is longer than the content-length of {self.length}"
            refuse_field(message, "body", what, "RFC 9110, 8.6")

    def end(self, message: Message) -> None:
        if self.length is not None and self.size < self.length:
            what = f"ends after {self.size} bytes of a content-length of {self.length}"
            refuse_field(message, "body", what, "RFC 9110, 8.6")


# What a message comes too late or too early for.
_COMPLETE = "the response is complete"
_TRAILERS = "the body is complete"
_UNASKED = "websocket.connect was not received"
_ASKED = "websocket.connect is not answered"
_ACCEPTED = "the WebSocket is accepted"
_CLOSED = "the WebSocket is closed"
_DENIED = "the WebSocket is denied, and that response is not complete"
