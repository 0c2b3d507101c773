"""`LogStream`: a text stream whose lines go to nginx's error log, or where `python_log` says.

It replaces sys.stdout, sys.stderr and wsgi.errors. Several threads write to one stream, so an
unfinished line is kept per thread until its newline; on a loop, per call of an application.
"""

from __future__ import annotations

import codecs
import io
import re
from _thread import _local
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from pywsgi._log import LONGEST, WARN, bounded, printable, say, unfinished
from pywsgi._records import current, fields_of_written, source_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from contextvars import ContextVar

    from typing_extensions import Buffer

# nginx's error log is also the process's standard error (ngx_log_redirect_stderr), so output that
# bypasses this stream and goes to the descriptor (faulthandler, subprocess) is logged too.
_ERROR_LOG_FD = 2


class LogStream(io.TextIOBase):
    """A stream that logs each complete line at `level`, with the calling thread's request.

    What a handler of `logging`, or loguru, writes keeps its own level, and `warnings` are `warn`.
    A traceback that is printed line by line stays together.

    `flush()` logs an unfinished line: `print("a", end="", flush=True)` and then `print("b")` make
    two log lines. After a flush nothing is held back or lost.
    """

    encoding = "utf-8"
    errors = "backslashreplace"
    newlines = None
    line_buffering = True
    write_through = False
    mode = "w"

    def __init__(self, level: int, name: str = "<log>") -> None:
        super().__init__()
        self.level = level
        self.name = name
        self.logger = name.strip("<>")
        self.buffer = LogBuffer(self)

    def write(self, text: str, /) -> int:
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        if type(text) is str:
            self._line().write(text)
        else:
            # A subclass may override split() and join(), as markupsafe.Markup does.
            self._line().write(str.__str__(text), source_of(text))
        return len(text)

    def writelines(self, lines: Iterable[str], /) -> None:  # type: ignore[override]
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Logs this thread's unfinished line, if any."""
        self._line().finish()

    def release(self) -> None:
        """Logs the request's unfinished lines of all LogStreams, at its end."""
        for line in list(_lines().values()):
            line.finish()

    def close(self) -> None:
        """Does nothing: the error log stays open."""

    def detach(self) -> Any:
        """Returns the binary stream. Unlike other text streams, this one stays usable."""
        return self.buffer

    def reconfigure(self, **_options: object) -> None:
        """Does nothing; accepted for code that sets sys.stdout's encoding."""

    def fileno(self) -> int:
        return _ERROR_LOG_FD

    def isatty(self) -> bool:
        return False

    def writable(self) -> bool:
        return True

    def __repr__(self) -> str:
        return f"<pywsgi.LogStream name={self.name!r} level={self.level}>"

    def _line(self) -> _Line:
        lines = _lines()
        line = lines.get(self)
        if line is None:
            line = lines[self] = _Line(self)
        return line


class LogBuffer(io.BufferedIOBase):
    """The binary side of a LogStream: UTF-8; invalid bytes become backslash escapes."""

    mode = "wb"

    def __init__(self, stream: LogStream) -> None:
        super().__init__()
        self._stream = stream

    @property
    def name(self) -> str:
        return self._stream.name

    def write(self, data: Buffer, /) -> int:
        if isinstance(data, str):
            raise TypeError("a bytes-like object is required, not 'str'")
        octets = memoryview(data).tobytes()
        self._stream._line().write_bytes(octets)
        return len(octets)

    def flush(self) -> None:
        self._stream.flush()

    def close(self) -> None:
        """Does nothing: an io.TextIOWrapper around this closes it when it is collected."""

    def fileno(self) -> int:
        return _ERROR_LOG_FD

    def isatty(self) -> bool:
        return False

    def writable(self) -> bool:
        return True


class _Line:
    """The text that one thread, or one call, has written to one stream since the last newline."""

    __slots__ = ("_decoder", "_held", "_more", "_parts", "_size", "_stream")

    def __init__(self, stream: LogStream) -> None:
        self._stream = stream
        self._parts: list[str] = []
        self._size = 0
        # The number of characters beyond LONGEST.
        self._more = 0
        self._decoder: codecs.IncrementalDecoder | None = None
        # The lines of a traceback that has not ended.
        self._held: list[str] = []

    def write(self, text: str, source: tuple[int, str] | None = None) -> None:
        if self._decoder is not None:
            text = self._decoder.decode(b"", final=True) + text
        self._add(text, source)

    def write_bytes(self, octets: bytes) -> None:
        # Incremental: a character may be split between two writes.
        if self._decoder is None:
            self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
        self._add(self._decoder.decode(octets))
        unfinished()  # The decoder may hold a part of a character.

    def finish(self) -> None:
        self.write("")
        line, more = self._take()
        if line.strip("\r"):  # A lone carriage return comes from a progress bar.
            self._say([_fit(line, more)], None)
        if self._held:
            held, self._held = self._held, []
            self._say_traceback(held)

    def __del__(self) -> None:
        # The thread has ended (its threading.local is freed): log the unfinished line. If the
        # interpreter is exiting, the globals needed for that may be None.
        if (self._parts or self._held) and callable(say):
            self.finish()

    def _add(self, text: str, source: tuple[int, str] | None = None) -> None:
        first, *others = text.split("\n")
        self._keep(first)
        if not others:
            return
        # Take it before logging: a finalizer may run at any allocation here, and may print in this
        # thread.
        line, more = self._take()
        rest = others.pop()
        self._say([_fit(line, more), *[_fit(each, 0) for each in others]], source)
        self._keep(rest)

    def _keep(self, text: str) -> None:
        if not text:
            return
        room = LONGEST - self._size
        if len(text) > room:
            self._more += len(text) - room
            text = text[:room]
        if text:
            self._parts.append(text)
            self._size += len(text)
        unfinished()

    def _take(self) -> tuple[str, int]:
        parts, self._parts, self._size = self._parts, [], 0
        more, self._more = self._more, 0
        return "".join(parts), more

    def _say(self, lines: list[str], source: tuple[int, str] | None) -> None:
        """Says lines that were written together."""
        stream = self._stream
        if current.record is not None:
            current.said = True
            text = "\n".join(lines)
            say(*fields_of_written(current.record, text, text))
        elif source is not None:
            text = "\n".join(lines)
            say(*source, text, None, text)
        elif self._held or _TRACEBACK in lines:
            self._hold(lines)
        elif stream.level < WARN and _WARNING.match(lines[0]):
            text = "\n".join(lines)
            say(WARN, stream.logger, text, None, text)
        else:
            say(stream.level, stream.logger, "\n".join(lines))

    def _hold(self, lines: list[str]) -> None:
        """Keeps the lines of a traceback until its last one, which is not indented."""
        for line in lines:
            if self._held:
                self._held.append(line)
                # A longer one goes on in another record.
                if not line.startswith(" ") or sum(map(len, self._held)) > LONGEST:
                    held, self._held = self._held, []
                    self._say_traceback(held)
            elif line == _TRACEBACK:
                self._held.append(line)
                unfinished()
            else:
                say(self._stream.level, self._stream.logger, line)

    def _say_traceback(self, lines: list[str]) -> None:
        text = "\n".join(lines)
        say(self._stream.level, self._stream.logger, text, None, lines[-1], text)


def _fit(line: str, more: int) -> str:
    return bounded(printable(line[:LONGEST]), more + len(line[LONGEST:]))


_TRACEBACK = "Traceback (most recent call last):"
# As warnings.showwarning() writes it.
_WARNING = re.compile(r".+:\d+: \w*Warning: ")


class _Unfinished(_local):
    """The unfinished lines of a thread, by stream."""

    def __init__(self) -> None:
        self.lines: dict[LogStream, _Line] = {}


_unfinished = _Unfinished()


def keep_lines_by(call: ContextVar[object]) -> None:
    """From now on the unfinished lines of a context in which `call` is set are its value's."""
    global _call
    _call = call


def _lines() -> dict[LogStream, _Line]:
    call = None if _call is None else _call.get(None)
    if call is None:
        return _unfinished.lines
    lines = _of_calls.get(call)
    if lines is None:
        lines = _of_calls[call] = {}
    return lines


_call: ContextVar[object] | None = None
_of_calls: WeakKeyDictionary[object, dict[LogStream, _Line]] = WeakKeyDictionary()
