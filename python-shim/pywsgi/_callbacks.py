"""Runs an application's callbacks and logs their exceptions, which no caller could handle."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pywsgi import _log, _stacks


def run(callback: Callable[[], Any], what: str) -> None:
    """Calls `callback`. Any exception is logged after `what`."""
    try:
        callback()
    except BaseException as error:
        _log.report("CallbackRaised", f"{what} raised", _stacks.format_exception(error))
