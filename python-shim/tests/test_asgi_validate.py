"""`asgi_debug validate`: what each violation's error says, and that nothing else is refused."""

from __future__ import annotations

import asyncio
import gc
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from validated import line_of

from pywsgi import ValidationError
from pywsgi._asgi_validate import validator

Lines = list[tuple[int, str]]

START = {"type": "http.response.start", "status": 200, "headers": [(b"a", b"1")]}
BODY = {"type": "http.response.body", "body": b"x"}
MORE = {**BODY, "more_body": True}
CONNECT = {"type": "websocket.connect"}
ACCEPT = {"type": "websocket.accept"}
CLOSE = {"type": "websocket.close"}
DENY = {"type": "websocket.http.response.start", "status": 401}
FILE = Path(__file__).open("rb")  # noqa: SIM115 (it stays open)
EVERYTHING: dict[str, Any] = {
    "http.response.trailers": {},
    "http.response.pathsend": {},
    "http.response.zerocopysend": {},
    "http.response.early_hint": {},
    "websocket.http.response": {},
}


def run(application: Any, *given: Any, **scope: Any) -> list[Any]:
    """What reaches the server."""
    sent: list[Any] = []
    messages = list(given)

    async def receive() -> Any:
        return messages.pop(0) if messages else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    full = {"type": "http", "method": "GET", "extensions": EVERYTHING, **scope}
    asyncio.run(validator(application)(full, receive, send))  # type: ignore[arg-type]
    return sent


def sends(*messages: Any, receives: int = 0) -> Any:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        for _ in range(receives):
            await receive()
        for message in messages:
            await send(message)

    return application


def websocket(*messages: Any, **scope: Any) -> list[Any]:
    application = sends(*messages, receives=1)
    return run(application, CONNECT, type="websocket", subprotocols=["chat"], **scope)


def refused(call: Callable[[], Any], what: str) -> str:
    """That it is refused, with `what` and a clause. Gives the line."""
    with pytest.raises(ValidationError) as caught:
        call()
    message = str(caught.value)
    assert what in message
    assert re.search(r"\((ASGI|RFC \d+)[^()]*\), in \S+:\d+$", message), message
    return message.rpartition(", in ")[2]


# HTTP.


@pytest.mark.parametrize(
    "messages",
    [
        [START, BODY],
        [{**START, "headers": [[b"a", b""]]}, {"type": "http.response.body"}],
        [START, MORE, {**BODY, "more_body": False}],
        [{"type": "http.response.start", "status": 404}, BODY],
        [{"type": "http.response.early_hint", "links": [b"</a>"]}, START, BODY],
        [START, {"type": "http.response.pathsend", "path": "/srv/a"}],
        [
            START,
            MORE,
            {"type": "http.response.zerocopysend", "file": FILE, "more_body": True},
            BODY,
        ],
        [
            {**START, "trailers": True},
            BODY,
            {"type": "http.response.trailers", "headers": [], "more_trailers": True},
            {"type": "http.response.trailers", "headers": [(b"a", b"1")]},
        ],
        [{**START, "headers": [(b"content-length", b"2")]}, MORE, BODY],
        [{**START, "status": 204, "headers": []}, {"type": "http.response.body"}],
        [
            {**START, "headers": [(b"set-cookie", b"a"), (b"set-cookie", b"b")]},
            {"type": "http.response.body"},
        ],
        [
            {**START, "status": 304, "headers": [(b"content-length", b"9")]},
            {"type": "http.response.body"},
        ],
    ],
)
def test_what_is_right_passes(messages: Any) -> None:
    assert run(sends(*messages)) == messages


def test_headers_may_be_iterated_only_once() -> None:
    def headers() -> Any:
        yield b"a", b"1"

    sent = run(sends({**START, "headers": headers()}, BODY))
    assert sent == [{**START, "headers": [(b"a", b"1")]}, BODY]


def test_a_head_has_the_length_of_the_get() -> None:
    start = {**START, "headers": [(b"content-length", b"9")]}
    run(sends(start, {"type": "http.response.body"}), method="HEAD")


@pytest.mark.parametrize(
    ("messages", "what"),
    [
        # A message by itself.
        ([None], "send() was given NoneType None"),
        ([{}], "send() was given a message: 'type' is missing"),
        ([{"type": b"x"}], "send() was given a message: 'type' is bytes b'x'"),
        ([ACCEPT], "send() was given 'websocket.accept', which is no message of this scope"),
        ([{"type": "http.response.start"}], "http.response.start: 'status' is missing"),
        ([{**START, "status": "200"}], "'status' is str '200', not int"),
        ([{**START, "status": True}], "'status' is bool True, not int"),
        ([{**START, "status": 103}], "'status' is 103"),
        ([{**START, "headers": {}}], "'headers' is dict {}, not an iterable"),
        ([{**START, "headers": [("a", "b")]}], "'headers' contains tuple ('a', 'b')"),
        ([{**START, "headers": [(b"a", bytearray())]}], "'headers' contains tuple (b'a', "),
        ([{**START, "headers": [b"ab"]}], "'headers' contains bytes b'ab'"),
        ([{**START, "headers": [(b"A", b"")]}], "'headers' contains the name b'A'"),
        ([{**START, "headers": [(b"a b", b"")]}], "'headers' contains the name b'a b'"),
        ([{**START, "headers": [(b":status", b"")]}], "the pseudo header b':status'"),
        ([{**START, "headers": [(b"a", b"x\r\ny: z")]}], "b'a' with a control character"),
        ([{**START, "headers": [(b"etag", b"1"), (b"etag", b"1")]}], "contains b'etag' twice"),
        ([{**START, "headers": [(b"content-length", b"x")]}], "the content-length b'x'"),
        (
            [{**START, "headers": [(b"content-length", b"1")] * 2}],
            "contains b'content-length' twice",
        ),
        (
            [{**START, "status": 204, "headers": [(b"content-length", b"0")]}],
            "a content-length with status 204",
        ),
        ([{**START, "trailers": 1}], "'trailers' is int 1, not bool"),
        ([START, {**BODY, "body": "x"}], "http.response.body: 'body' is str 'x', not bytes"),
        ([START, {**BODY, "body": None}], "'body' is NoneType None, not bytes"),
        ([START, {**BODY, "more_body": 1}], "'more_body' is int 1, not bool"),
        ([START, {"type": "http.response.pathsend", "path": "a"}], "'path' is 'a'"),
        ([START, {"type": "http.response.pathsend"}], "'path' is missing"),
        (
            [START, {"type": "http.response.zerocopysend", "file": 3}],
            "'file' is int 3, which has no fileno()",
        ),
        (
            [
                START,
                {"type": "http.response.zerocopysend", "file": FILE, "offset": -1},
            ],
            "'offset' is -1",
        ),
        (
            [{"type": "http.response.early_hint", "links": ["</a>"]}],
            "'links' contains str '</a>', not bytes",
        ),
        # Their order.
        ([BODY], "http.response.body was sent, but the response has not started"),
        ([START, START], "http.response.start was sent, but the response has started"),
        ([START, BODY, BODY], "http.response.body was sent, but the response is complete"),
        ([START, BODY, START], "http.response.start was sent, but the response is complete"),
        (
            [START, MORE, {"type": "http.response.pathsend", "path": "/a"}],
            "http.response.pathsend was sent, but http.response.body was sent",
        ),
        (
            [START, {"type": "http.response.trailers", "headers": []}],
            "http.response.trailers was sent, but the response has started",
        ),
        ([{**START, "trailers": True}, BODY, BODY], "was sent, but the body is complete"),
        # Lengths.
        (
            [{**START, "headers": [(b"content-length", b"1")]}, MORE, BODY],
            "'body' is longer than the content-length of 1",
        ),
        (
            [{**START, "headers": [(b"content-length", b"3")]}, MORE, BODY],
            "'body' ends after 2 bytes of a content-length of 3",
        ),
        ([{**START, "status": 204}, BODY], "'body' has 1 bytes with status 204"),
        # What is missing.
        ([], "the application has returned, but the response has not started"),
        ([START], "the application has returned, but the response has started"),
        ([{**START, "trailers": True}, BODY], "has returned, but the body is complete"),
    ],
)
def test_what_is_wrong_is_refused(messages: Any, what: str) -> None:
    refused(lambda: run(sends(*messages)), what)


def test_the_line_is_the_callers() -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await asyncio.ensure_future(send({**BODY, "body": 1}))  # this

    assert refused(lambda: run(application), "'body' is int 1") == line_of(application, "# this")


def test_the_line_of_a_missing_message_is_the_applications() -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        pass

    line = refused(lambda: run(application), "has not started")
    assert line == line_of(application, "async def application")


def test_extensions_that_the_scope_does_not_have() -> None:
    path = {"type": "http.response.pathsend", "path": "/a"}
    what = "http.response.pathsend was sent, but scope['extensions'] has no"
    refused(lambda: run(sends(START, path), extensions={}), what)
    refused(lambda: run(sends(START, path), extensions=None), what)
    what = "'trailers' is true, but scope['extensions'] has no 'http.response.trailers'"
    refused(lambda: run(sends({**START, "trailers": True}), extensions={}), what)


def test_after_a_refusal_the_application_may_still_answer() -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        with pytest.raises(ValidationError):
            await send({**START, "status": 1})
        await send(START)
        await send(BODY)

    assert run(application) == [START, BODY]


def test_unknown_fields_are_logged_once(lines: Lines) -> None:
    message = {**START, "more_headers": True}
    assert run(sends(message, BODY)) == [message, BODY]
    run(sends(message, BODY))
    assert len(lines) == 1
    level, line = lines[0]
    assert level == 5
    assert line.startswith("http.response.start: 'more_headers' is unknown (ASGI, ")
    assert line.endswith(f", in {line_of(sends, 'await send(message)')}")


def test_not_all_unknown_fields_are_logged(lines: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pywsgi._asgi_messages._said", set())
    message = {**START, **{f"field-{number}": 1 for number in range(150)}}
    assert run(sends(message, BODY)) == [message, BODY]
    assert len(lines) == 100


def test_a_client_that_has_left_gets_no_answer() -> None:
    async def gone(scope: Any, receive: Any, send: Any) -> None:
        await receive()

    assert run(gone) == []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        try:
            await send(START)
        except OSError:
            return

    async def broken(message: Any) -> None:
        raise BrokenPipeError

    def broken_at_once(message: Any) -> Any:
        raise BrokenPipeError

    for send in (broken, broken_at_once):
        asyncio.run(validator(application)({"type": "http"}, None, send))  # type: ignore[arg-type]


def test_django_may_write_the_names_of_headers_as_it_does() -> None:
    start = {**START, "headers": [(b"Content-Length", b"2")]}
    source = (
        "async def application(scope, receive, send):\n"
        "    await send(start)\n"
        "    await send(body)\n"
    )
    names: dict[str, Any] = {"start": start, "body": BODY, "__name__": "shop"}
    exec(source, names)
    with pytest.raises(ValidationError, match="contains the name b'Content-Length'"):
        run(names["application"])
    names["__name__"] = "django.core.handlers.asgi"
    with pytest.raises(ValidationError, match="'body' ends after 1 bytes"):
        run(names["application"])


def test_send_that_is_not_awaited() -> None:
    async def once(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        send(BODY)

    async def twice(scope: Any, receive: Any, send: Any) -> None:
        send(START)
        send(BODY)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        refused(lambda: run(once), "1 call of send() not awaited")
        refused(lambda: run(twice), "2 calls of send() not awaited")
        gc.collect()


def test_send_takes_one_message() -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        await send("http.response.start", 200)

    refused(lambda: run(application), "send() was called with 2 arguments")


@pytest.mark.parametrize(
    ("message", "what"),
    [
        ({"type": "http.request", "body": "x"}, "http.request: 'body' is str 'x', not bytes"),
        ({"type": "http.request", "more_body": None}, "'more_body' is NoneType None, not bool"),
        (CONNECT, "the server gave 'websocket.connect', which is no message of this scope"),
    ],
)
def test_what_the_server_gives_is_checked(message: Any, what: str) -> None:
    refused(lambda: run(sends(START, BODY, receives=1), message), what)


# WebSocket.


@pytest.mark.parametrize(
    "messages",
    [
        [ACCEPT],
        [ACCEPT, {"type": "websocket.send", "text": "a"}, CLOSE],
        [{**ACCEPT, "subprotocol": "chat", "headers": [(b"a", b"1")]}],
        [{**ACCEPT, "subprotocol": None}, {"type": "websocket.send", "text": None, "bytes": b""}],
        [{**CLOSE, "code": 4000, "reason": "no"}],
        [{**CLOSE, "code": 1001, "reason": None}],
        [DENY, {"type": "websocket.http.response.body", "body": b"no"}],
    ],
)
def test_what_is_right_of_a_websocket_passes(messages: Any) -> None:
    assert websocket(*messages) == messages


@pytest.mark.parametrize(
    ("messages", "what"),
    [
        ([{"type": "websocket.send", "text": "a"}], "but websocket.connect is not answered"),
        ([ACCEPT, ACCEPT], "websocket.accept was sent, but the WebSocket is accepted"),
        ([CLOSE, CLOSE], "websocket.close was sent, but the WebSocket is closed"),
        ([ACCEPT, CLOSE, {"type": "websocket.send", "text": ""}], "the WebSocket is closed"),
        ([ACCEPT, DENY], "websocket.http.response.start was sent, but the WebSocket is accepted"),
        ([DENY, ACCEPT], "but the WebSocket is denied, and that response is not complete"),
        ([ACCEPT, {"type": "websocket.send"}], "has neither 'bytes' nor 'text'"),
        (
            [ACCEPT, {"type": "websocket.send", "text": "a", "bytes": b"a"}],
            "has both 'bytes' and 'text'",
        ),
        ([ACCEPT, {"type": "websocket.send", "text": b"a"}], "'text' is bytes b'a', not str"),
        ([ACCEPT, {"type": "websocket.send", "bytes": "a"}], "'bytes' is str 'a', not bytes"),
        ([{**ACCEPT, "subprotocol": "other"}], "'subprotocol' is str 'other', which"),
        (
            [{**ACCEPT, "headers": [(b"sec-websocket-protocol", b"chat")]}],
            "'headers' contains b'sec-websocket-protocol'",
        ),
        ([{**CLOSE, "code": 1005}], "'code' is 1005"),
        ([{**CLOSE, "code": 999}], "'code' is 999"),
        ([{**CLOSE, "code": None}], "'code' is NoneType None, not int"),
        ([{**CLOSE, "reason": "é" * 62}], "'reason' has more than 123 bytes"),
        ([{**CLOSE, "reason": b"x"}], "'reason' is bytes b'x', not str or None"),
        ([{**DENY, "status": 101}], "'status' is 101"),
        ([], "the application has returned, but websocket.connect is not answered"),
        ([DENY], "has returned, but the WebSocket is denied"),
    ],
)
def test_what_is_wrong_of_a_websocket_is_refused(messages: Any, what: str) -> None:
    refused(lambda: websocket(*messages), what)


def test_a_websocket_is_accepted_after_connect() -> None:
    what = "websocket.accept was sent, but websocket.connect was not received"
    refused(lambda: run(sends(ACCEPT), type="websocket"), what)


@pytest.mark.parametrize(
    ("message", "what"),
    [
        ({"type": "websocket.receive"}, "has neither 'bytes' nor 'text'"),
        ({"type": "websocket.disconnect"}, "'code' is missing"),
        ({"type": "websocket.disconnect", "code": 1000, "reason": b""}, "'reason' is bytes b''"),
    ],
)
def test_what_the_server_gives_of_a_websocket_is_checked(message: Any, what: str) -> None:
    application = sends(receives=2)
    refused(lambda: run(application, CONNECT, message, type="websocket"), what)


def test_a_websocket_whose_client_has_left_needs_no_answer() -> None:
    left = {"type": "websocket.disconnect", "code": 1006}
    run(sends(receives=2), CONNECT, left, type="websocket")


# Lifespan.

STARTED = {"type": "lifespan.startup.complete"}


def lifespan(*messages: Any, receives: int = 1) -> list[Any]:
    given = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    return run(sends(*messages, receives=receives), *given, type="lifespan")


def test_what_is_right_of_a_lifespan_passes() -> None:
    lifespan(STARTED)
    lifespan({"type": "lifespan.startup.failed", "message": "no"})
    lifespan(STARTED, {"type": "lifespan.shutdown.failed"}, receives=2)
    lifespan(receives=0)


@pytest.mark.parametrize(
    ("messages", "receives", "what"),
    [
        ([STARTED], 0, "lifespan.startup.complete was sent, but lifespan.startup was not received"),
        ([STARTED, STARTED], 1, "lifespan.startup was not received, or is answered"),
        (
            [STARTED, {"type": "lifespan.shutdown.complete"}],
            1,
            "lifespan.shutdown.complete was sent, but lifespan.shutdown was not received",
        ),
        (
            [{"type": "lifespan.startup.failed", "message": ValueError("no")}],
            1,
            "'message' is ValueError ValueError('no'), not str",
        ),
    ],
)
def test_what_is_wrong_of_a_lifespan_is_refused(messages: Any, receives: int, what: str) -> None:
    refused(lambda: lifespan(*messages, receives=receives), what)
