"""The JSON of NGINX Unit, with the line of each setting."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from . import text_file
from .plan import ConversionError, Setting


class Reader:
    """The JSON, with the line of each key."""

    def __init__(self, file: Path) -> None:
        self.shown = file.name
        self.text = text_file.read(file)
        try:
            self.values: Any = json.loads(self.text)
        except (ValueError, RecursionError) as error:
            raise ConversionError(f"{file.name} is no valid JSON: {error}") from None
        # The control API shows all of it below "config".
        self.lines = _lines(self.text)
        if "config" in self.values and "listeners" not in self.values:
            self.values = self.values["config"]
            self.lines = {
                path[1:]: at for path, at in self.lines.items() if path[:1] == ("config",)
            }
        if not isinstance(self.values, dict):
            raise ConversionError(f"{file.name} is no configuration of Unit")

    def setting(self, path: list[str], value: object) -> Setting:
        """A setting by its path from the top."""
        at = len(path)
        # The path of what is not there is that of what it would be in.
        while at and tuple(path[:at]) not in self.lines:
            at -= 1
        line = self.lines[tuple(path[:at])]
        shown = value if isinstance(value, str) else json.dumps(value)
        text = "/".join(path) + (f": {shown}" if shown else "")
        if len(text) > 100:
            text = f"{text[:97]}…"
        return Setting("/".join(path), value, f"{self.shown}:{line}", text)


def _lines(text: str) -> dict[tuple[str, ...], int]:
    """The line of each key and element of a valid JSON text."""
    found: dict[tuple[str, ...], int] = {(): 1}
    # For each open object or array: the key, or the number of the element.
    path: list[str] = []
    kinds: list[str] = []
    expects_key = False
    for match in re.finditer(r'"(?:[^"\\]|\\.)*"|[][{},:]', text):
        token = match[0]
        line = text.count("\n", 0, match.start()) + 1
        if kinds and kinds[-1] == "[" and token not in ",]":
            found.setdefault(tuple(path), line)
        if token in "{[":
            kinds.append(token)
            path.append("" if token == "{" else "0")
            expects_key = token == "{"
        elif token in "}]":
            kinds.pop()
            path.pop()
        elif token == ",":
            if kinds[-1] == "[":
                path[-1] = str(int(path[-1]) + 1)
            expects_key = kinds[-1] == "{"
        elif token == ":":
            expects_key = False
        elif expects_key:
            path[-1] = json.loads(token)
            found[tuple(path)] = line
    return found
