"""Tracebacks and stacks as text, for the error log."""

from __future__ import annotations

import re
import sys
import threading
import traceback
from _thread import get_ident
from collections.abc import Container
from faulthandler import register as _register
from types import FrameType


def format_exception(error: BaseException) -> str:
    """A traceback as Python prints it, with chained exceptions.

    It starts with the application's own code. Never raises: the line must be logged even if the
    exception's `__str__` raises, or if an asynchronous exception arrives meanwhile.
    """
    try:
        report = traceback.TracebackException.from_exception(error)
        _strip(report, error, set())
        text = "".join(report.format())
        return _BARE_HEADER.sub("", text).rstrip("\n")
    except BaseException as fault:
        return f"{type(error).__name__} (its traceback cannot be shown: {type(fault).__name__})"


def format_stack(ident: int) -> str:
    """The current Python stack of the thread with that identity, or "" if it has none."""
    try:
        frame: FrameType | None = sys._current_frames().get(ident)
        if frame is not None and ident == get_ident():
            frame = frame.f_back  # Not this function.
        if frame is None:
            return ""
        stack = traceback.StackSummary.extract(reversed(list(traceback.walk_stack(frame))))
        return "".join(stack.format()).rstrip("\n")
    except BaseException as fault:
        return f"(the stack cannot be shown: {type(fault).__name__})"


def format_others(known: Container[int]) -> str:
    """The stacks of the threads whose identities are not among these, except the calling one.

    At most `_SHOWN_OTHERS` of them; the others are counted.
    """
    names = {ident: str(thread.name) for ident, thread in list(threading._active.items())}  # type: ignore[attr-defined]
    own = get_ident()
    others = [each for each in sorted(sys._current_frames()) if each != own and each not in known]
    parts = [
        f'thread "{names.get(ident, "of C")}" ({ident}) is at:\n{format_stack(ident)}'
        for ident in others[:_SHOWN_OTHERS]
    ]
    if len(others) > _SHOWN_OTHERS:
        parts.append(f"and {len(others) - _SHOWN_OTHERS} more threads")
    return "\n".join(parts)


def dump_at(signum: int) -> None:
    """At that signal faulthandler writes the stacks of all threads to the standard error, which is
    nginx's error log. It needs no GIL for that."""
    _register(signum, file=2, all_threads=True, chain=False)


def _strip(report: traceback.TracebackException, error: BaseException, seen: set[int]) -> None:
    """Removes the frames before the application's code, here and in chained exceptions."""
    if id(report) in seen:
        return
    seen.add(id(report))
    ours = 0
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if not _LEADS_TO_THE_APPLICATION.match(str(frame.f_globals.get("__name__"))):
            break
        ours += 1
    del report.stack[:ours]
    inner = [(report.__cause__, error.__cause__), (report.__context__, error.__context__)]
    # Exception groups, new in Python 3.11.
    parts = getattr(report, "exceptions", None)
    if parts:
        inner += zip(parts, error.exceptions)  # type: ignore[attr-defined]
    for inner_report, inner_error in inner:
        if inner_report is not None and inner_error is not None:
            _strip(inner_report, inner_error, seen)


_SHOWN_OTHERS = 50

# The shim's own modules, and importlib with its frozen parts.
_LEADS_TO_THE_APPLICATION = re.compile(r"(pywsgi|importlib)(\._\w+)?$|_frozen_importlib")

# The header of a traceback without frames.
_BARE_HEADER = re.compile(r"^Traceback \(most recent call last\):\n(?=\S)", re.MULTILINE)
