"""Apache's configuration as a tree: directives, and sections in angle brackets."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from . import text_file
from .plan import ConversionError


@dataclass
class Node:
    """A directive, or a section with what is in it."""

    name: str
    arguments: list[str]
    origin: str
    text: str
    children: list[Node] = field(default_factory=list)
    is_section: bool = False


def parse(file: Path) -> list[Node]:
    root = Node("", [], "", "", is_section=True)
    stack = [root]
    variables: dict[str, str] = {}
    pending, first = "", 0
    for at, raw in enumerate(text_file.lines(text_file.read(file)), 1):
        first = first or at
        line = pending + raw.strip()
        if line.endswith("\\"):
            pending = line[:-1]
            continue
        here, pending, first = first, "", 0
        if not line or line.startswith("#"):
            continue
        origin = f"{file.name}:{here}"
        line = re.sub(r"\$\{(\w+)\}", lambda found: _variable(found, variables), line)
        closing = re.fullmatch(r"</\s*(\w+)\s*>", line)
        if closing:
            if len(stack) == 1 or stack[-1].name.lower() != closing[1].lower():
                raise ConversionError(f"{origin}: {line} closes no section")
            stack.pop()
            continue
        opening = re.fullmatch(r"<\s*(\w+)\s*(.*?)\s*>", line)
        words = _words(opening[2] if opening else line)
        if not opening and not words:
            continue
        if opening:
            node = Node(opening[1], words, origin, line, is_section=True)
            stack[-1].children.append(node)
            stack.append(node)
            continue
        node = Node(words[0], words[1:], origin, re.sub(r"\s+", " ", line))
        if node.name.lower() == "define" and len(node.arguments) > 1:
            variables[node.arguments[0]] = node.arguments[1]
        stack[-1].children.append(node)
    if len(stack) > 1:
        raise ConversionError(f"{stack[-1].origin}: {stack[-1].text} is not closed")
    return root.children


def _variable(found: re.Match[str], variables: dict[str, str]) -> str:
    return variables.get(found[1], os.environ.get(found[1], found[0]))


def _words(line: str) -> list[str]:
    """Words; spaces in quotes do not end one (ap_getword_conf)."""
    found: list[str] = []
    word, quote = "", ""
    started = escaped = False
    for character in line:
        if escaped:
            # Only a quote and a backslash are escaped: the rest is a regular expression's.
            word += character if character in "\"'\\" and quote else f"\\{character}"
            escaped = False
        elif character == "\\":
            escaped = started = True
        elif quote:
            if character == quote:
                quote = ""
            else:
                word += character
        elif character in "\"'" and (not word or word.endswith("=")):
            quote, started = character, True
        elif character.isspace():
            if started:
                found.append(word)
            word, started = "", False
        else:
            word += character
            started = True
    if escaped:
        word += "\\"
    if started:
        found.append(word)
    return found
