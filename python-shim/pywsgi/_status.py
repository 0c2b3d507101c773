"""The numbers of all workers, as `python_status json` shows them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def _none() -> str | None:
    return None


_text: Callable[[], str | None]
try:
    from _pywsgi import status as _text
except ImportError:  # Outside nginx.
    _text = _none


def status() -> dict[str, Any] | None:
    """What all workers of this nginx have done and are doing, as `python_status json` shows it.

    None outside of nginx, and if the workers share no memory.
    """
    text = _text()
    if text is None:
        return None
    import json  # Late: most applications do not ask.

    found: dict[str, Any] = json.loads(text)
    return found
