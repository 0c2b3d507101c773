"""The messages of ASGI, as its specification has them: their fields, the types of these, and the
sections. Checks one message by itself, for `asgi_debug validate`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, NamedTuple, NoReturn

from pywsgi._log import log
from pywsgi._violation import caller, calling_module, refuse, shown

Message = dict[str, Any]


class Kind(NamedTuple):
    """A type of message, and its fields except `type`."""

    section: str
    fields: dict[str, Field]
    # The extension that has it.
    extension: str = ""


class Field(NamedTuple):
    types: tuple[type, ...]
    is_required: bool = False


def check_message(message: Any, known: dict[str, Kind], giver: str) -> Message:
    """The message, with lists instead of what can be iterated only once.

    `giver`: who gives it, "send() was given" or "the server gave".
    """
    if not isinstance(message, dict):
        refuse(f"{giver} {shown(message)}", f"{EVENTS}: an event is a dict")
    kind = message.get("type")
    if not isinstance(kind, str):
        what = f"is {shown(kind)}" if "type" in message else "is missing"
        refuse(f"{giver} a message: 'type' {what}", f"{EVENTS}: it is a Unicode string")
    if kind not in known:
        what = f"{giver} {kind!r}, which is no message of this scope"
        refuse(what, f"{EVENTS}: its messages are {', '.join(known)}")
    for name, field in known[kind].fields.items():
        if name in message:
            if not _has_type(message[name], field.types):
                types = " or ".join(_NAMES[each] for each in field.types)
                what = f"is {shown(message[name])}, not {types}"
                refuse_field(message, name, what, known[kind].section)
        elif field.is_required:
            refuse_field(message, name, "is missing", known[kind].section)
    for name in message:
        if name != "type" and name not in known[kind].fields:
            _say_unknown(message, name, known[kind])
    once = [n for n in ("headers", "links") if not isinstance(message.get(n, ()), (list, tuple))]
    return {**message, **{name: list(message[name]) for name in once}} if once else message


def headers_of(message: Message) -> list[tuple[bytes, bytes]]:
    """The header fields, which are checked."""
    fields = []
    for field in message.get("headers", ()):
        pair = () if isinstance(field, (str, bytes)) or not _is_iterable(field) else tuple(field)
        if len(pair) != 2 or not all(type(part) is bytes for part in pair):
            _refuse_header(message, shown(field), f"{HTTP}: pairs of byte strings")
        name, value = pair
        if name.startswith(b":"):
            clause = f'{HTTP}: pseudo headers "must not be present"'
            _refuse_header(message, f"the pseudo header {name!r}", clause)
        # Django keeps the case that a view has written, and its users cannot change that.
        if name != name.lower() and calling_module() != "django.core.handlers.asgi":
            clause = f'{HTTP}: "Header names must be lowercased"'
            _refuse_header(message, f"the name {name!r}", clause)
        if not _NAME.fullmatch(name):
            _refuse_header(message, f"the name {name!r}", "RFC 9110, 5.1: it is a token")
        if _CONTROL.search(value):
            what = f"{name!r} with a control character in its value {value!r}"
            _refuse_header(message, what, "RFC 9110, 5.5")
        fields.append((name, value))
    return fields


def check_links(message: Message) -> None:
    for link in message["links"]:
        if type(link) is not bytes:
            section = SENT_IN_HTTP["http.response.early_hint"].section
            refuse_field(message, "links", f"contains {shown(link)}, not bytes", section)


def check_path(message: Message) -> None:
    if not message["path"].startswith("/"):
        section = SENT_IN_HTTP["http.response.pathsend"].section
        what = f"is {message['path']!r}"
        refuse_field(message, "path", what, f'{section}: it is an "absolute file path"')


def check_file(message: Message) -> None:
    section = SENT_IN_HTTP["http.response.zerocopysend"].section
    if not hasattr(message["file"], "fileno"):
        what = f"is {shown(message['file'])}, which has no fileno()"
        refuse_field(message, "file", what, section)
    for name in ("offset", "count"):
        if (message.get(name) or 0) < 0:
            refuse_field(message, name, f"is {message[name]}", section)


def check_data(message: Message, section: str) -> None:
    """That of a WebSocket's message."""
    given = [name for name in ("bytes", "text") if message.get(name) is not None]
    if len(given) != 1:
        what = "both 'bytes' and 'text'" if given else "neither 'bytes' nor 'text'"
        clause = f'{section}: "Exactly one of bytes or text must be non-None"'
        refuse(f"{message['type']} has {what}", clause)


def check_close(message: Message) -> None:
    code, reason = message.get("code"), message.get("reason")
    registered = code is not None and 1000 <= code <= 1014 and code not in (1004, 1005, 1006)
    if code is not None and not registered and not 3000 <= code <= 4999:
        clause = "RFC 6455, 7.4: it is 3000 to 4999, or 1000 to 1014 without 1004, 1005 and 1006"
        refuse_field(message, "code", f"is {code}", clause)
    if reason is not None and len(reason.encode("utf-8", "replace")) > 123:
        clause = "RFC 6455, 5.5: a control frame has at most 125 bytes, with the code"
        refuse_field(message, "reason", "has more than 123 bytes", clause)


def refuse_field(message: Message, name: str, what: str, clause: str) -> NoReturn:
    refuse(f"{message['type']}: {name!r} {what}", clause)


def _refuse_header(message: Message, what: str, clause: str) -> NoReturn:
    refuse_field(message, "headers", f"contains {what}", clause)


def _has_type(value: Any, types: tuple[type, ...]) -> bool:
    for each in types:
        if each is int and isinstance(value, int) and not isinstance(value, bool):
            return True
        if each is Iterable and _is_iterable(value):
            return True
        if each not in (int, Iterable) and (type(value) is each or each is object):
            return True
    return False


def _is_iterable(value: Any) -> bool:
    return isinstance(value, Iterable) and not isinstance(value, (str, bytes, dict))


def _say_unknown(message: Message, name: Any, kind: Kind) -> None:
    """Not an error: "the presence of additional keys … should not raise an exception"."""
    # Limited: names may come from a client.
    if (message["type"], name) not in _said and len(_said) < _MOST_SAID:
        _said.add((message["type"], name))
        fields = ", ".join(map(repr, kind.fields)) or "none"
        text = f"{message['type']}: {name!r} is unknown ({kind.section}; its fields are {fields})"
        log("FieldUnknown", f"{text}, in {caller()}")


EVENTS = 'ASGI, "Events" and "Error Handling"'
HTTP = "ASGI, HTTP and WebSocket"

_HEADERS = Field((Iterable,))
_RESPONSE = {"status": Field((int,), True), "headers": _HEADERS}
_BODY = {"body": Field((bytes,)), "more_body": Field((bool,))}
_NONE = type(None)
_DATA = {"bytes": Field((bytes, _NONE)), "text": Field((str, _NONE))}
_FAILURE = {"message": Field((str,))}

SENT_IN_HTTP = {
    "http.response.start": Kind(
        f'{HTTP}, "Response Start"', {**_RESPONSE, "trailers": Field((bool,))}
    ),
    "http.response.body": Kind(f'{HTTP}, "Response Body"', _BODY),
    "http.response.trailers": Kind(
        'ASGI, Extensions, "HTTP Trailers"',
        {"headers": Field((Iterable,), True), "more_trailers": Field((bool,))},
        "http.response.trailers",
    ),
    "http.response.pathsend": Kind(
        'ASGI, Extensions, "Path Send"', {"path": Field((str,), True)}, "http.response.pathsend"
    ),
    "http.response.zerocopysend": Kind(
        'ASGI, Extensions, "Zero Copy Send"',
        {
            "file": Field((object,), True),
            "offset": Field((int, _NONE)),
            "count": Field((int, _NONE)),
            "more_body": Field((bool,)),
        },
        "http.response.zerocopysend",
    ),
    "http.response.early_hint": Kind(
        'ASGI, Extensions, "Early Hints"',
        {"links": Field((Iterable,), True)},
        "http.response.early_hint",
    ),
}

GIVEN_IN_HTTP = {
    "http.request": Kind(f'{HTTP}, "Request"', _BODY),
    "http.disconnect": Kind(f'{HTTP}, "Disconnect"', {}),
}

SENT_IN_WEBSOCKET = {
    "websocket.accept": Kind(
        f'{HTTP}, "Accept"', {"subprotocol": Field((str, _NONE)), "headers": _HEADERS}
    ),
    "websocket.send": Kind(f'{HTTP}, "Send"', _DATA),
    "websocket.close": Kind(
        f'{HTTP}, "Close"', {"code": Field((int,)), "reason": Field((str, _NONE))}
    ),
    "websocket.http.response.start": Kind(
        'ASGI, Extensions, "WebSocket Denial Response"', _RESPONSE, "websocket.http.response"
    ),
    "websocket.http.response.body": Kind(
        'ASGI, Extensions, "WebSocket Denial Response"', _BODY, "websocket.http.response"
    ),
}

GIVEN_IN_WEBSOCKET = {
    "websocket.connect": Kind(f'{HTTP}, "Connect"', {}),
    "websocket.receive": Kind(f'{HTTP}, "Receive"', _DATA),
    "websocket.disconnect": Kind(
        f'{HTTP}, "Disconnect"', {"code": Field((int,), True), "reason": Field((str, _NONE))}
    ),
}

SENT_IN_LIFESPAN = {
    "lifespan.startup.complete": Kind('ASGI, Lifespan, "Startup Complete"', {}),
    "lifespan.startup.failed": Kind('ASGI, Lifespan, "Startup Failed"', _FAILURE),
    "lifespan.shutdown.complete": Kind('ASGI, Lifespan, "Shutdown Complete"', {}),
    "lifespan.shutdown.failed": Kind('ASGI, Lifespan, "Shutdown Failed"', _FAILURE),
}

GIVEN_IN_LIFESPAN = {
    "lifespan.startup": Kind('ASGI, Lifespan, "Startup"', {}),
    "lifespan.shutdown": Kind('ASGI, Lifespan, "Shutdown"', {}),
}

_NAMES = {
    bool: "bool",
    bytes: "bytes",
    int: "int",
    object: "an object",
    str: "str",
    Iterable: "an iterable",
    _NONE: "None",
}

_NAME = re.compile(rb"[0-9A-Za-z!#$%&'*+.^_`|~-]+")
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")

_MOST_SAID = 100

# The unknown fields that have been logged: of which message, and their names.
_said: set[tuple[str, Any]] = set()
