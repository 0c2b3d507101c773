"""Writes lines to nginx's error log; the `logging` handler that keeps Python's levels."""

from __future__ import annotations

import functools
import logging
import os
import re
import sys
import time
from collections.abc import Callable

# nginx's numbers, ngx_log.h.
CRIT = 3
ERROR = 4
WARN = 5
INFO = 7
DEBUG = 8


# The longest log message in bytes. A longer one is cut, and says by how much.
LONGEST = 64 * 1024


def log(level: int, line: str, more: int = 0) -> None:
    """Writes one line to nginx's error log, with the request that this thread runs.

    `more` is the number of characters that the caller has already cut from the line.
    """
    _sink(level, _bounded(line, more))


def log_text(level: int, text: str) -> None:
    """Writes each line of a message as a log line. Text beyond LONGEST is cut."""
    *lines, last = text[:LONGEST].split("\n")
    for line in lines:
        log(level, printable(line))
    log(level, printable(last), len(text[LONGEST:]))


def _bounded(line: str, more: int) -> str:
    if not more:
        if len(line) <= LONGEST // 4:
            return line
        if len(line.encode("utf-8", "replace")) <= LONGEST:
            return line
    kept = line.encode("utf-8", "replace")[:LONGEST].decode("utf-8", "ignore")
    return f"{kept} [{more + len(line) - len(kept)} more characters are cut]"


class LogHandler(logging.Handler):
    """Writes records to nginx's error log at their own level.

    CRITICAL becomes `crit`, ERROR `error`, WARNING `warn`, INFO `info`, DEBUG `debug`. Each line of
    a record becomes a log line. nginx adds the time, and the request if the thread runs one, so the
    default format is only `%(name)s: %(message)s`.
    """

    def __init__(self, level: int | str = logging.NOTSET) -> None:
        super().__init__(level)
        self.setFormatter(logging.Formatter("%(name)s: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        try:
            level = nginx_level(record.levelno)
            log_text(level, self.format(record))
        except RecursionError:  # As logging.StreamHandler does: bpo-36272.
            raise
        except Exception:
            self.handleError(record)


def nginx_level(levelno: int) -> int:
    """nginx's level for a level number of `logging`."""
    for least, level in _LEVELS:
        if levelno >= least:
            return level
    return DEBUG


def printable(line: str) -> str:
    """`line` without characters that could end it, hide it or control a terminal.

    Control characters except the tab, Unicode's line separators and lone surrogates (which
    UTF-8 cannot encode) are written as Python escapes, so that logged data of a client's request
    cannot forge a log line. A carriage return at the line's end is dropped.
    """
    line = line.strip("\r")
    if line.isprintable():
        return line
    return _UNPRINTABLE.sub(_escape, line)


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code <= 0xFF else f"\\u{code:04x}"


def log_by_descriptor() -> None:
    """From now on lines are written directly to standard error, which is the error log. The event
    loop usually writes them; a forked child has none, and that of an exiting worker has stopped."""
    global _sink
    _sink = _to_descriptor


def _to_descriptor(level: int, line: str) -> None:
    now = time.strftime("%Y/%m/%d %H:%M:%S")
    text = f"{now} [{_NAMES.get(level, level)}] {os.getpid()}#0: {line}\n"
    os.write(2, text.encode("utf-8", "backslashreplace"))


def _to_standard_error(level: int, line: str) -> None:
    sys.stderr.write(f"[{_NAMES.get(level, level)}] {line}\n")


_NAMES = {
    1: "emerg",
    2: "alert",
    CRIT: "crit",
    ERROR: "error",
    WARN: "warn",
    6: "notice",
    INFO: "info",
    DEBUG: "debug",
}

_LEVELS = (
    (logging.CRITICAL, CRIT),
    (logging.ERROR, ERROR),
    (logging.WARNING, WARN),
    (logging.INFO, INFO),
)

_UNPRINTABLE = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def _nobody() -> None:
    """Outside nginx there are no requests and no pool threads."""


_sink: Callable[[int, str], None]
# The calling thread has an unfinished line: call LogStream.release() at the end of its request.
unfinished: Callable[[], None]
# Writes the last line of an exiting worker to standard error, with what the thread runs.
log_last: Callable[[str], None]
# Wakes Python's main thread to run pending signal handlers.
wake_main: Callable[[], None]
# Tells the pools' threads that the hooks of `threading` have changed.
hooks_changed: Callable[[], None]
try:
    from _pywsgi import hooks_changed, log_last, unfinished, wake_main
    from _pywsgi import log as _sink
except ImportError:  # Outside nginx: in development or in tests.
    _sink = _to_standard_error
    log_last = functools.partial(_to_standard_error, ERROR)
    unfinished = wake_main = hooks_changed = _nobody
