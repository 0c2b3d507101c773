"""One clean line of nginx's error log, and the `logging` handler that keeps Python's levels."""

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


# The longest message in the log, in bytes; what is beyond is cut, and said.
LONGEST = 64 * 1024


def log(level: int, line: str, more: int = 0) -> None:
    """One line to nginx's error log, in the context of the request that this thread runs.

    `more` is how many further characters the line had, which the caller has cut already.
    """
    _sink(level, _bounded(line, more))


def log_text(level: int, text: str) -> None:
    """A message of several lines, as many lines of log; longer than the longest it is cut."""
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
    """Sends records to nginx's error log at the level that they have.

    CRITICAL becomes `crit`, ERROR `error`, WARNING `warn`, INFO `info`, DEBUG `debug`; a record of
    several lines is as many lines of log. nginx adds the time, and the request where the thread
    runs one, so that the format is only `%(name)s: %(message)s` unless another formatter is set.
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
    """The level of nginx that a level number of `logging` belongs to."""
    for least, level in _LEVELS:
        if levelno >= least:
            return level
    return DEBUG


def printable(line: str) -> str:
    """`line` without anything that could end it, hide it or drive a terminal.

    Control characters other than the tab, Unicode's line separators and lone surrogates (which
    UTF-8 cannot express) are written as Python escapes: what an application logs of a client's
    request cannot pass for a line of its own. A carriage return beside the line's end is dropped.
    """
    line = line.strip("\r")
    if line.isprintable():
        return line
    return _UNPRINTABLE.sub(_escape, line)


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code <= 0xFF else f"\\u{code:04x}"


def log_by_descriptor() -> None:
    """From now on lines go to the process's standard error, which is the error log, by a plain
    write(). Nobody else would write them in a child that an application has forked (the event loop
    is the parent's), nor in a worker that exits this instant."""
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
    """Outside nginx there are neither requests nor threads of a pool."""


_sink: Callable[[int, str], None]
# Says that the calling thread has begun a line: at its request's end LogStream.release() is called.
unfinished: Callable[[], None]
# The last line of a worker that ends now: to its standard error, with what the calling thread does.
log_last: Callable[[str], None]
# Has Python's main thread look whether a signal's handler is to run.
wake_main: Callable[[], None]
# Has the pools' threads look at the hooks of `threading`.
hooks_changed: Callable[[], None]
try:
    from _pywsgi import hooks_changed, log_last, unfinished, wake_main
    from _pywsgi import log as _sink
except ImportError:  # Outside nginx: an application that is being developed or tested.
    _sink = _to_standard_error
    log_last = functools.partial(_to_standard_error, ERROR)
    unfinished = wake_main = hooks_changed = _nobody
