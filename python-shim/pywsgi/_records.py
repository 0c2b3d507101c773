"""Python's `logging` keeps its levels: `LogHandler`, and what other handlers write to the streams.

A handler that writes to sys.stderr (`logging.basicConfig()`, those of Django and Flask) writes
text. So that an INFO line is not logged as an error, the streams look up the record that this
thread is handling. For that, `watch_logging` wraps `logging.Handler.handle`.
"""

from __future__ import annotations

import functools
import logging

# gevent.monkey may replace it in `threading`.
from _thread import _local
from typing import Any

from pywsgi._log import (
    CRIT,
    DEBUG,
    ERROR,
    INFO,
    JSON,
    LINES,
    TEXT,
    WARN,
    encodable,
    forms,
    printable_text,
    say,
)


class _Current(_local):
    """What a thread is logging."""

    # The record that a handler is handling.
    record: logging.LogRecord | None = None
    # A handler has written it, or found that it is not wanted.
    said = False


current = _Current()


class LogHandler(logging.Handler):
    """Writes records where nginx's `python_log` says, at their own level: to the error log if it
    says nothing.

    CRITICAL becomes `crit`, ERROR `error`, WARNING `warn`, INFO `info`, DEBUG `debug`. In the error
    log each line of a record becomes a log line, to which nginx adds the time, and the request if
    the thread runs one; so the default format is only `%(name)s: %(message)s`. Another log gets the
    time and the level as well. With `json` the message, the logger's name and the traceback are
    fields of their own; a formatter then makes the message.
    """

    def __init__(self, level: int | str = logging.NOTSET) -> None:
        super().__init__(level)
        self.setFormatter(_LINES)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            level = nginx_level(record.levelno)
            wanted = forms(level)
            current.said = True
            lines = text = message = traceback = None
            if wanted & LINES or (wanted & TEXT and self.formatter is not _LINES):
                lines = printable_text(self.format(record))
            if wanted & TEXT and self.formatter is _LINES:
                text = printable_text(_TEXT.format(record))
            if wanted & JSON:
                message, traceback = self._fields(record)
            if wanted:
                say(level, record.name, lines or "", text, message, traceback)
        except RecursionError:  # As logging.StreamHandler does: bpo-36272.
            raise
        except Exception:
            self.handleError(record)

    def _fields(self, record: logging.LogRecord) -> tuple[str, str | None]:
        """The message and the traceback."""
        formatter = self.formatter or _LINES
        parts = []
        if record.exc_info:
            parts.append(record.exc_text or formatter.formatException(record.exc_info))
        if record.stack_info:
            parts.append(formatter.formatStack(record.stack_info))
        if formatter is _LINES:
            message = record.getMessage()
        else:
            plain = logging.makeLogRecord(vars(record))
            plain.exc_info = plain.exc_text = plain.stack_info = None
            message = formatter.format(plain)
        return encodable(message), encodable("\n".join(parts)) if parts else None


def nginx_level(levelno: int) -> int:
    """nginx's level for a level number of `logging`."""
    for least, level in _LEVELS:
        if levelno >= least:
            return level
    return DEBUG


def fields_of_written(
    record: logging.LogRecord, written: str, lines: str
) -> tuple[int, str, str, None, str, str | None]:
    """The arguments of `say` for what a handler has written of a record to a stream."""
    message, traceback = written, record.exc_text
    if traceback and message.endswith(traceback):
        message = message[: -len(traceback)].rstrip("\n")
    else:
        traceback = None
    message, traceback = encodable(message), encodable(traceback) if traceback else None
    return nginx_level(record.levelno), record.name, lines, None, message, traceback


def source_of(text: object) -> tuple[int, str] | None:
    """The level and the name of what loguru writes to a stream: a str with its record."""
    record: Any = getattr(text, "record", None)
    try:
        return nginx_level(record["level"].no), str(record["name"])
    except (TypeError, KeyError, AttributeError):
        return None


def watch_logging() -> None:
    """Called once, before an application may configure `logging`.

    Warnings and errors that no handler has written to nginx's logs are not lost if the root logger,
    which they reach, has no handler. Django writes no error anywhere with DEBUG=False.
    """
    handle = logging.Handler.handle

    @functools.wraps(handle)
    def handled(self: logging.Handler, record: logging.LogRecord) -> Any:
        outer = current.record
        current.record = record
        try:
            return handle(self, record)
        finally:
            current.record = outer

    logging.Handler.handle = handled  # type: ignore[method-assign]
    call_handlers = logging.Logger.callHandlers
    fallback = LogHandler(logging.WARNING)

    @functools.wraps(call_handlers)
    def called(self: logging.Logger, record: logging.LogRecord) -> None:
        outer = current.said
        current.said = False
        try:
            call_handlers(self, record)
            if (
                record.levelno >= logging.WARNING
                and not current.said
                and not logging.root.handlers
                and _reaches_root(self)
            ):
                fallback.handle(record)
        finally:
            current.said = outer

    logging.Logger.callHandlers = called  # type: ignore[method-assign]
    # What has no handler at all: with the logger's name, which Python's own leaves out.
    logging.lastResort = fallback


def _reaches_root(logger: logging.Logger) -> bool:
    each: logging.Logger | None = logger
    while each is not None and each is not logging.root:
        if not each.propagate:
            return False
        each = each.parent
    return True


_LINES = logging.Formatter("%(name)s: %(message)s")
_TEXT = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")

_LEVELS = (
    (logging.CRITICAL, CRIT),
    (logging.ERROR, ERROR),
    (logging.WARNING, WARN),
    (logging.INFO, INFO),
)
