"""Writes messages to nginx's error log, and what applications say where `python_log` says."""

from __future__ import annotations

import functools
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


# In which forms what an application says is wanted (_pywsgi.forms).
LINES = 1
TEXT = 2
JSON = 4


def log(level: int, line: str) -> None:
    """Writes one line to nginx's error log, with the request that this thread runs: a message of
    the module."""
    _sink(level, bounded(line))


def log_text(level: int, text: str) -> None:
    """Writes each line of a message as a log line. Text beyond LONGEST is cut."""
    for line in printable_text(text).split("\n"):
        _sink(level, line)


def printable_text(text: str) -> str:
    """Each line made printable. Text beyond LONGEST is cut."""
    *lines, last = text[:LONGEST].split("\n")
    printables = [bounded(printable(line)) for line in lines]
    printables.append(bounded(printable(last), len(text[LONGEST:])))
    return "\n".join(printables)


def encodable(text: str) -> str:
    """`text` with lone surrogates, which UTF-8 cannot encode, as Python escapes."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def bounded(line: str, more: int = 0) -> str:
    """The line, cut if it is too long. `more` is the number of characters that the caller has
    already cut from it."""
    if not more:
        if len(line) <= LONGEST // 4:
            return line
        if len(line.encode("utf-8", "replace")) <= LONGEST:
            return line
    kept = line.encode("utf-8", "replace")[:LONGEST].decode("utf-8", "ignore")
    return f"{kept} [{more + len(line) - len(kept)} more characters are cut]"


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

_UNPRINTABLE = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def _nobody() -> None:
    """Outside nginx there are no requests and no pool threads."""


def _say_by_lines(level: int, _logger: str, lines: str, *_other_forms: str | None) -> None:
    for line in lines.split("\n"):
        _sink(level, line)


def _lines_alone(_level: int) -> int:
    return LINES


_sink: Callable[[int, str], None]
# What an application says: level, logger, lines, text, message, traceback. Without a message each
# line is a record.
say: Callable[..., None]
# In which forms what an application says at a level is wanted; 0 if it is not.
forms: Callable[[int], int]
# The calling thread has an unfinished line: call LogStream.release() at the end of its request.
unfinished: Callable[[], None]
# Writes the last line of an exiting worker to standard error, with what the thread runs.
log_last: Callable[[str], None]
# Wakes Python's main thread to run pending signal handlers.
wake_main: Callable[[], None]
# Tells the pools' threads that the hooks of `threading` have changed.
hooks_changed: Callable[[], None]
try:
    from _pywsgi import forms, hooks_changed, log_last, say, unfinished, wake_main
    from _pywsgi import log as _sink
except ImportError:  # Outside nginx: in development or in tests.
    _sink = _to_standard_error
    say, forms = _say_by_lines, _lines_alone
    log_last = functools.partial(_to_standard_error, ERROR)
    unfinished = wake_main = hooks_changed = _nobody
