"""Writes messages to nginx's error log, and what applications say where `python_log` says."""

from __future__ import annotations

import re
import sys
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


def log(code: str, text: str) -> None:
    """Writes a message of the module to nginx's error log, with the request that this thread runs.

    `code` is a name of src/bridge/code.rs, which has the message's number and its level.
    """
    _sink(code, printable_text(text))


def report(code: str, what: str, traceback: str) -> None:
    """Writes a message about an exception. Its traceback goes where the output of its application
    goes."""
    _report(code, printable_text(what), printable_text(traceback))


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


def _message_to_standard_error(code: str, text: str) -> None:
    sys.stderr.write(f"[pywsgi {code}] {text}\n")


def _report_to_standard_error(code: str, what: str, traceback: str) -> None:
    _message_to_standard_error(code, f"{what}\n{traceback}")


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


def _say_to_standard_error(level: int, _logger: str, lines: str, *_other_forms: object) -> None:
    for line in lines.split("\n"):
        sys.stderr.write(f"[{_NAMES.get(level, level)}] {line}\n")


def _lines_alone(_level: int) -> int:
    return LINES


_sink: Callable[[str, str], None]
_report: Callable[[str, str, str], None]
# What an application says: level, logger, lines, text, message, traceback. Without a message each
# line is a record.
say: Callable[..., None]
# In which forms what an application says at a level is wanted; 0 if it is not.
forms: Callable[[int], int]
# The calling thread has an unfinished line: call LogStream.release() at the end of its request.
unfinished: Callable[[], None]
# Writes the last message of an exiting worker to standard error, with what the thread runs.
log_last: Callable[[str, str], None]
# Wakes Python's main thread to run pending signal handlers.
wake_main: Callable[[], None]
# Tells the pools' threads that the hooks of `threading` have changed.
hooks_changed: Callable[[], None]
try:
    from _pywsgi import forms, hooks_changed, log_last, say, unfinished, wake_main
    from _pywsgi import log as _sink
    from _pywsgi import report as _report
except ImportError:  # Outside nginx: in development or in tests.
    _sink = log_last = _message_to_standard_error
    _report = _report_to_standard_error
    say, forms = _say_to_standard_error, _lines_alone
    unfinished = wake_main = hooks_changed = _nobody
