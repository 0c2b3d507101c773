"""The text of a file that is converted."""

from __future__ import annotations

import ast
import warnings
from pathlib import Path

from .plan import ConversionError


def read(file: Path) -> str:
    """A file in UTF-8, with or without the mark that Windows begins it with."""
    try:
        data = file.read_bytes()
    except OSError as error:
        raise ConversionError(f"{file.name} cannot be read: {error.strerror}") from None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConversionError(
            f"{file.name}:{line} is not UTF-8: write it so, as by iconv -f latin1 -t utf-8"
        ) from None
    return text.replace("\r\n", "\n")


def tree(text: str, file: Path) -> ast.Module:
    """The syntax tree of a file in Python; what Python warns of is its author's affair."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.parse(text, str(file))


def lines(text: str) -> list[str]:
    """The lines of a text, as the servers count them: a form feed ends none."""
    return text.removesuffix("\n").split("\n") if text else []
