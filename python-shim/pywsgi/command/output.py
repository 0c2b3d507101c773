"""What `pywsgi serve` prints: its own lines, nginx's, and the application's, in uvicorn's form."""

from __future__ import annotations

import os
import re
import sys
from typing import NamedTuple


class Line(NamedTuple):
    """A line of nginx's error log."""

    level: str
    pid: int
    text: str

    @property
    def number(self) -> int:
        """Of a message of the module (docs/errors.md); 0 of nginx's own."""
        found = re.match(r"pywsgi\[(\d+)\]", self.text)
        return int(found[1]) if found else 0


def parse(line: str) -> Line | None:
    """None: it is the application's, or the next line of a message."""
    found = _LOGGED.match(line) or _BEFORE_THE_LOG.match(line)
    if found is None:
        return None
    if found["level"] not in _OURS:
        # The application has written what looks like one.
        return None
    text = _IN_OUR_FILE.sub("", found["text"])
    return Line(found["level"], int(found.groupdict().get("pid") or 0), text)


class Printer:
    """Writes to the standard error what is at least as important as `level` (of gunicorn's and
    uvicorn's names)."""

    def __init__(self, level: str, colors: bool) -> None:
        self._least = _RANKS.get(level, 4)
        self._colors = colors
        self._rest = b""
        # The traceback of an application that a reload has not taken (python_check) follows.
        self._has_traceback = False
        # The requests of a graceful exit are being cut. nginx before 1.25 then says of each socket
        # that it is left open (ngx_worker_process_exit).
        self.cuts = False
        self.is_starting = True

    def info(self, text: str) -> None:
        self.say("info", text)

    def say(self, level: str, text: str) -> None:
        if _RANKS[level] <= self._least:
            name = level.upper()
            if self._colors:
                name = f"\x1b[{_COLORS[level]}m{name}\x1b[0m"
            self._write(f"{name}:{' ' * (9 - len(level))}{text}\n")

    def feed(self, data: bytes) -> list[Line]:
        """What nginx has written. Returns the lines of its log that are complete, shown or not."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        found = []
        for raw in lines:
            text = raw.decode("utf-8", "backslashreplace")
            line = parse(text)
            if line is None:
                # The error log has the same line, without the traceback that follows here.
                if not _ABOVE_A_TRACEBACK.match(text):
                    self._write(f"{text}\n")
            else:
                found.append(line)
                self._show(line)
        return found

    def end(self) -> None:
        if self._rest:
            self.feed(b"\n")

    def _show(self, line: Line) -> None:
        if line.number:
            self._has_traceback = line.number == CHECK_FOUND and line.text.endswith(_FOLLOWS)
            if self._has_traceback:
                return
        elif self._has_traceback and line.level == "emerg":
            self._write(f"{line.text}\n")
            return
        level = _OURS[line.level]
        is_nginxs = level == "info" and not line.number
        # Such as "start worker processes".
        if line.number in _TOLD_OTHERWISE or (is_nginxs and self._least < _RANKS["debug"]):
            return
        if line.number == CHANGED and (found := _CHANGED.search(line.text)):
            self.info(f"{os.path.relpath(found[1])} has changed: reloading")
            return
        if self.cuts and line.level == "alert" and _LEFT_OPEN.match(line.text):
            return
        if self.is_starting and line.number == NOT_FINALIZED:
            # It is still in the import, which nobody waits for any more.
            return
        self.say(level, line.text)

    def _write(self, text: str) -> None:
        # Not sys.stderr's buffer: lines of several writers stay whole.
        data = text.encode("utf-8", "backslashreplace")
        while data:
            try:
                data = data[os.write(2, data) :]
            except BlockingIOError:
                continue
            except OSError:
                return


def has_colors(wanted: bool | None) -> bool:
    """On a terminal, unless NO_COLOR is set (https://no-color.org) or an option says otherwise."""
    if wanted is not None:
        return wanted
    return sys.stdout.isatty() and sys.stderr.isatty() and not os.environ.get("NO_COLOR")


_LOGGED = re.compile(
    r"\d{4}/\d\d/\d\d \d\d:\d\d:\d\d \[(?P<level>\w+)\] (?P<pid>\d+)#\d+: (?:\*\d+ )?(?P<text>.*)"
)
# The module's, in the log of the application (python_log).
_ABOVE_A_TRACEBACK = re.compile(r"\d{4}/\d\d/\d\d \d\d:\d\d:\d\d [A-Z]+ pywsgi\[\d+\]: ")
# Until nginx has read its configuration.
_BEFORE_THE_LOG = re.compile(r"nginx: \[(?P<level>\w+)\] (?P<text>.*)")

_RANKS = {"critical": 1, "error": 2, "warning": 3, "info": 4, "debug": 5, "trace": 6}
_COLORS = {"critical": 91, "error": 31, "warning": 33, "info": 32, "debug": 36, "trace": 34}
_OURS = {
    "emerg": "error",
    "alert": "critical",
    "crit": "critical",
    "error": "error",
    "warn": "warning",
    "notice": "info",
    "info": "info",
    "debug": "debug",
}
# Nobody has written that file, and it goes.
_IN_OUR_FILE = re.compile(r" in /\S*/pywsgi-serve-\w+/nginx\.conf:\d+$")
_LEFT_OPEN = re.compile(r"open socket #\d+ left in connection|aborting")
_CHANGED = re.compile(r'"(.+)" has changed')
_FOLLOWS = "its traceback follows"

# Of docs/errors.md.
STARTED, IMPORTED, IMPORT_FAILED, IMPORT_KILLED, NOT_STARTED = 201, 202, 203, 205, 621
NOT_FINALIZED = 317
CHECK_REFUSED, CHECK_FOUND, SUCCESSORS_READY, CHANGED = 121, 122, 303, 308
# The command says it in its own words.
_TOLD_OTHERWISE = frozenset((STARTED, IMPORTED, IMPORT_FAILED, CHECK_REFUSED, SUCCESSORS_READY))
