"""`wsgi_debug validate`: raises for violations of PEP 3333, with the clause and the line.

`validator` wraps an application. It checks what the application passes to the server, and how it
uses what it was given. It does not check the server.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NoReturn, cast

from pywsgi._violation import SINGLE, definition, refuse, shown

Application = Callable[[dict[str, Any], Any], Iterable[bytes]]


def validator(application: Application) -> Application:
    """Returns `application`, checked at each call."""

    def checked(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        call = _Call(application, environ["REQUEST_METHOD"])
        environ["wsgi.input"] = _Input(environ["wsgi.input"])
        environ["wsgi.errors"] = _Errors(environ["wsgi.errors"])
        wrapper = environ.get("wsgi.file_wrapper")
        result = application(environ, _StartResponse(call, start_response))
        call.returned = True
        if wrapper is not None and type(result) is wrapper:
            call.need_start(None)
            return result
        body = _Body(call, result)
        if type(result) in (list, tuple):
            # All blocks are known: check them before any is sent, and return the list itself, so
            # that the server can compute the Content-Length.
            for _block in body:
                pass
            return result
        return body

    return checked


class _Call:
    """One call of the application."""

    def __init__(self, application: Application, method: str) -> None:
        self.application = application
        self.method = method
        self.code = 0
        self.length: int | None = None
        self.sent = 0
        self.returned = False

    def need_start(self, generator: Any) -> None:
        if not self.code:
            self.refuse(
                "the body begins before start_response was called",
                'PEP 3333, "The start_response() Callable": it must be called "before the iterable '
                'yields its first body bytestring"',
                generator,
            )

    def count(self, block: bytes, generator: Any = None) -> None:
        """Counts a block of the body."""
        if not block:
            return
        if self.code in (204, 304):
            self.refuse(
                f"a response of {self.code} has a body of at least {len(block)} bytes",
                "RFC 9110, 6.4.1: such a response has no content",
                generator,
            )
        self.sent += len(block)
        if self.length is not None and self.sent > self.length and self.method != "HEAD":
            self.refuse(
                f"the body is longer than its Content-Length of {self.length}",
                'PEP 3333, "Handling the Content-Length Header": "the server should not transmit '
                'more bytes to the client than the header allows"',
                generator,
            )

    def end(self, generator: Any) -> None:
        """The application has yielded the whole body."""
        self.need_start(generator)
        has_body = self.method != "HEAD" and self.code not in (204, 304)
        if self.length is not None and self.sent < self.length and has_body:
            self.refuse(
                f"the body ends after {self.sent} bytes; its Content-Length is {self.length}",
                'PEP 3333, "Handling the Content-Length Header": the server "should close the '
                'client connection"',
                generator,
            )

    def refuse(self, what: str, clause: str, generator: Any = None) -> NoReturn:
        """Raises for what the application has returned or yielded."""
        frame = getattr(generator, "gi_frame", None)
        # A generator that has ended has no frame.
        code = getattr(generator, "gi_code", None)
        if frame is not None:
            place = f"{frame.f_code.co_filename}:{frame.f_lineno}"
        elif code is not None:
            place = f"{code.co_filename}:{code.co_firstlineno}"
        else:
            place = definition(self.application)
        refuse(what, clause, place)


class _StartResponse:
    def __init__(self, call: _Call, start_response: Any) -> None:
        self.call = call
        self.start_response = start_response

    def __call__(self, *args: Any, **named: Any) -> _Write:
        if named or len(args) not in (2, 3):
            refuse(
                "start_response was called with "
                + (f"the names {', '.join(named)}" if named else f"{len(args)} arguments"),
                f'{_SPEC}: it is "a callable accepting two required positional arguments, and one '
                'optional argument"',
            )
        status, headers = args[:2]
        exc_info = args[2] if len(args) == 3 else None
        if exc_info is not None and not (
            type(exc_info) is tuple
            and len(exc_info) == 3
            and isinstance(exc_info[1], BaseException)
        ):
            refuse(
                f"exc_info is {shown(exc_info)}",
                f'{_START}: "must be a Python sys.exc_info() tuple"',
            )
        if self.call.code and exc_info is None:
            refuse(
                "start_response was called a second time without exc_info",
                f'{_START}: "it is a fatal error to call start_response without the exc_info '
                'argument if start_response has already been called"',
            )
        code = _check_status(status)
        self.call.length = _check_headers(headers, code)
        write = self.start_response(status, headers, exc_info)
        self.call.code = code
        return _Write(self.call, write)


class _Write:
    def __init__(self, call: _Call, write: Callable[[bytes], None]) -> None:
        self.call = call
        self.write = write

    def __call__(self, *args: Any) -> None:
        if len(args) != 1:
            refuse(f"write() was called with {len(args)} arguments", f"{_WRITE}: it takes one")
        _check_bytes(args[0], "write() was given", refuse)
        if self.call.returned:
            refuse(
                "write() was called after the application has returned",
                f'{_WRITE}: applications "must not invoke write() from within their return '
                'iterable"',
            )
        self.call.count(args[0])
        self.write(args[0])


class _Body:
    """What the application has returned."""

    def __init__(self, call: _Call, result: Any) -> None:
        if isinstance(result, (str, bytes, bytearray, memoryview)):
            call.refuse(
                f"the application returned {shown(result)}",
                f'{_SPEC}: it "must return an iterable yielding zero or more bytestrings"',
            )
        try:
            self.blocks = iter(result)
        except TypeError:
            call.refuse(
                f"the application returned {shown(result)}",
                f'{_SPEC}: it "must return an iterable yielding zero or more bytestrings"',
            )
        self.call = call
        self.result = result

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            block: Any = next(self.blocks)
        except StopIteration:
            self.call.end(self.blocks)
            raise

        def refuse(what: str, clause: str) -> NoReturn:
            self.call.refuse(what, clause, self.blocks)

        _check_bytes(block, "the application yielded", refuse)
        if block:
            self.call.need_start(self.blocks)
        self.call.count(block, self.blocks)
        return cast(bytes, block)

    def close(self) -> None:
        close = getattr(self.result, "close", None)
        if close is not None:
            close()


class _Input:
    """`wsgi.input`"""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def read(self, *args: Any) -> Any:
        return self.stream.read(*_one_size(args, "read"))

    def readline(self, *args: Any) -> Any:
        return self.stream.readline(*_one_size(args, "readline"))

    def readlines(self, *args: Any) -> Any:
        return self.stream.readlines(*_one_size(args, "readlines"))

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.stream)

    def close(self) -> NoReturn:
        refuse("the application closes wsgi.input", f"{_STREAMS}: it has no close()")

    def __getattr__(self, name: str) -> NoReturn:
        # AttributeError, not ValidationError: code may check whether the attribute exists.
        text = f"not every server has wsgi.input.{name} ({_STREAMS}; wsgi_debug validate)"
        raise AttributeError(text)


class _Errors:
    """`wsgi.errors`"""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def write(self, text: Any) -> Any:
        _check_text(text)
        return self.stream.write(text)

    def writelines(self, lines: Iterable[Any]) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        self.stream.flush()

    def close(self) -> NoReturn:
        refuse("the application closes wsgi.errors", f"{_STREAMS}: it has no close()")

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def _check_status(status: Any) -> int:
    _check_native(status, "status")
    # The message may be empty (RFC 9112, 4).
    if not _STATUS.fullmatch(status):
        refuse(
            f"status is {shown(status)}",
            f'{_START}: "a string of the form "999 Message here"", without white space around it '
            "or control characters",
        )
    code = int(status[:3])
    if code < 200:
        refuse(f"status is {shown(status)}", "RFC 9110, 15.2: a 1xx is not a final response")
    return code


def _check_headers(headers: Any, code: int) -> int | None:
    """The response's Content-Length, if it has one."""
    if type(headers) is not list:
        refuse(
            f"the headers are {shown(headers)}",
            f'{_START}: "it must be a Python list; i.e. type(response_headers) is ListType"',
        )
    length = None
    has_type = False
    names = set()
    for field in headers:
        if type(field) is not tuple or len(field) != 2:
            refuse(
                f"a header is {shown(field)}",
                f'{_START}: "a list of (header_name, header_value) tuples"',
            )
        name, value = field
        _check_native(name, "a header's name")
        _check_native(value, f"the value of header {name!r}")
        _check_field(name, value)
        lower = name.lower()
        if lower in SINGLE and lower in names:
            refuse(
                f"header {name!r} is set twice",
                'RFC 9110, 5.3: a sender "MUST NOT generate multiple field lines with the same '
                'name" unless the field is a list',
            )
        names.add(lower)
        has_type |= lower == "content-type"
        if lower == "content-length":
            length = int(value) if value.isascii() and value.isdigit() else None
        # The length in a 304 is that of the corresponding 200.
        if (lower, code) in _NO_BODY and (lower, length) != ("content-length", 0):
            refuse(
                f"header {name!r} is set in a response of {code}, which has no body",
                _NO_BODY[lower, code],
            )
    if not has_type and code not in (204, 304):
        refuse(
            "the headers have no Content-Type",
            'RFC 9110, 8.3: a sender of content "SHOULD generate a Content-Type"; browsers guess '
            "otherwise",
        )
    return length


def _check_field(name: str, value: str) -> None:
    if not _NAME.fullmatch(name):
        refuse(
            f"a header's name is {name!r}",
            f'{_START}: "a valid HTTP header field-name … without a trailing colon or other '
            'punctuation"',
        )
    if _CONTROL.search(value):
        refuse(
            f"the value of header {name!r} contains a control character",
            f'{_START}: it "must not include any control characters, including carriage returns or '
            'linefeeds"',
        )
    lower = name.lower()
    if lower == "status":
        refuse("there is a header 'Status'", f"{_START}: the status is a separate argument")
    if lower in _HOP_BY_HOP:
        refuse(
            f"header {name!r} is a hop-by-hop header",
            'PEP 3333, "Other HTTP Features": applications "must not generate any hop-by-hop '
            'headers"',
        )


def _check_native(text: Any, what: str) -> None:
    if type(text) is not str:
        refuse(f"{what} is {shown(text)}", f"{_STRINGS}: native strings are exactly str")
    if not all(character <= "\xff" for character in text):
        refuse(
            f"{what} contains a character outside latin-1: {text!a}",
            f'{_STRINGS}: "code points representable in ISO-8859-1 encoding"',
        )


def _check_text(text: Any) -> None:
    if type(text) is not str:
        refuse(f"wsgi.errors.write() was given {shown(text)}", f"{_STREAMS}: it takes str")


def _check_bytes(block: Any, what: str, refuse: Callable[[str, str], NoReturn]) -> None:
    if type(block) is not bytes:
        refuse(f"{what} {shown(block)}", f"{_STRINGS}: bytestrings are exactly bytes")


def _one_size(args: tuple[Any, ...], name: str) -> tuple[Any, ...]:
    if len(args) > 1:
        refuse(
            f"wsgi.input.{name}() was called with {len(args)} arguments",
            f"{_STREAMS}: it takes at most a size",
        )
    return args


_SPEC = 'PEP 3333, "Specification Details"'
_START = 'PEP 3333, "The start_response() Callable"'
_WRITE = 'PEP 3333, "The write() Callable"'
_STREAMS = 'PEP 3333, "Input and Error Streams"'
_STRINGS = 'PEP 3333, "A Note On String Types"'
# An HTTP token that does not end in punctuation.
_NAME = re.compile(r"[0-9A-Za-z!#$%&'*+.^_`|~-]*[0-9A-Za-z]")
_STATUS = re.compile(r"[1-9][0-9]{2} ([^\x00-\x20\x7f]([^\x00-\x1f\x7f]*[^\x00-\x20\x7f])?)?")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
# Frameworks set a 204's Content-Type, and Django a Content-Length of 0: both are allowed.
_NO_BODY = {
    ("content-type", 304): 'RFC 9110, 15.4.5: the sender "SHOULD NOT generate representation '
    'metadata" such as this',
    ("content-length", 204): 'RFC 9110, 8.6: the server "MUST NOT" send it in such a response',
}
_HOP_BY_HOP = frozenset(
    (
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailers",
        "transfer-encoding",
        "upgrade",
    )
)
