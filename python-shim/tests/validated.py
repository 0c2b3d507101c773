"""A request that `wsgi_debug validate` checks, and what a refusal must say."""

from __future__ import annotations

import inspect
import io
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pywsgi import ValidationError
from pywsgi._validate import validator

PLAIN = ("Content-Type", "text/plain")


class FileWrapper:
    def __init__(self, filelike: Any, blksize: int = 8192) -> None:
        self.filelike = filelike

    def __iter__(self) -> Iterator[bytes]:
        return iter([self.filelike.read()])


def environ(**more: Any) -> dict[str, Any]:
    return {
        "REQUEST_METHOD": "GET",
        "wsgi.input": io.BytesIO(b"one\ntwo\n"),
        "wsgi.errors": io.StringIO(),
        "wsgi.file_wrapper": FileWrapper,
        **more,
    }


def run(application: Callable[..., Any], **more: Any) -> list[bytes]:
    """The body, as the server would read it."""
    written: list[bytes] = []

    def start_response(status: str, headers: Any, exc_info: Any = None) -> Any:
        return written.append

    result = validator(application)(environ(**more), start_response)
    try:
        return written + list(result)
    finally:
        close = getattr(result, "close", None)
        if close is not None:
            close()


def line_of(function: Callable[..., Any], text: str) -> str:
    """The line of that text in the function's source."""
    lines, first = inspect.getsourcelines(function)
    at = next(number for number, line in enumerate(lines) if text in line)
    return f"{inspect.getsourcefile(function)}:{first + at}"


def refused(application: Callable[..., Any], what: str, text: str = "", **more: Any) -> None:
    """That the application is refused, with `what`, a clause, and the line that holds `text`."""
    with pytest.raises(ValidationError) as caught:
        run(application, **more)
    message = str(caught.value)
    assert what in message
    assert re.search(r"\((PEP 3333|RFC \d+)", message), message
    if text:
        assert message.endswith(f", in {line_of(application, text)}"), message
