"""Calls what an application has asked to be called; nobody is there to take what it raises."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pywsgi import _log, _stacks


def run(callback: Callable[[], Any], what: str) -> None:
    """Calls `callback`; an exception, whatever it is, goes to the error log after `what`."""
    try:
        callback()
    except BaseException as error:
        _log.log_text(_log.ERROR, f"{what} raised\n{_stacks.format_exception(error)}")
