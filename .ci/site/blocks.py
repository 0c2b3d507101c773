"""The code in a page of Markdown: fenced blocks, and indented ones with their language."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Block:
    """Lines `start` to `end` (exclusive) of a page."""

    start: int
    end: int
    # As the fence says, or as the text looks; "" if neither tells.
    language: str
    # What follows the language in the fence's info string: `nginx complete`, `python /srv/app.py`.
    words: str
    text: str


def blocks(page: str) -> list[Block]:
    """The code blocks of a page, in their order."""
    lines = page.splitlines()
    found = []
    in_list = False
    number = 0
    while number < len(lines):
        line = lines[number]
        begins = number == 0 or not lines[number - 1].strip()
        fence = re.match(r"( *)(```+)([\w+.-]*)[ ]*(.*)$", line)
        if fence:
            indentation, ticks, language, words = fence.groups()
            end = number + 1
            while end < len(lines) and lines[end].strip() != ticks:
                end += 1
            inside = lines[number + 1 : end]
            text = "".join(f"{line.removeprefix(indentation)}\n" for line in inside)
            found.append(Block(number, end + 1, language, words, text))
            number = end + 1
            continue
        if re.match(r" {0,3}(?:[-*+]|\d+\.) ", line):
            in_list = True
        elif line and not line.startswith(" ") and begins:
            in_list = False
        if line.startswith("    ") and begins and not in_list:
            end = number
            while end < len(lines) and (lines[end].startswith("    ") or not lines[end].strip()):
                end += 1
            while not lines[end - 1].strip():
                end -= 1
            text = "".join(f"{line[4:]}\n" for line in lines[number:end])
            found.append(Block(number, end, language_of(text), "", text))
            number = end
            continue
        number += 1
    return found


def language_of(text: str) -> str:
    """nginx, python or sh, or "" for anything else."""
    if _is_nginx(text):
        return "nginx"
    if _is_python(text):
        return "python"
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    if lines and all(_COMMAND.match(line) for line in lines):
        return "sh"
    return ""


def statements(text: str) -> list[tuple[str, str]]:
    """The statements of an nginx configuration at its outermost level, each with its name."""
    found = []
    depth = start = 0
    for token in _TOKEN.finditer(text):
        if token[0] == "{":
            depth += 1
        elif token[0] == "}":
            depth -= 1
        if depth == 0 and token[0] in ("}", ";"):
            statement = text[start : token.end()]
            start = token.end()
            if bare := _without_comments(statement).split():
                found.append((bare[0].rstrip(";"), statement.strip("\n")))
    return found


_QUOTED = r"\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'"
_COMMENT = r"(?:^|(?<=\s))#[^\n]*"
# A regular expression of a location may have braces; nginx wants it quoted then.
_TOKEN = re.compile(rf"{_QUOTED}|{_COMMENT}|[{{}};]", re.MULTILINE)

_STATEMENT = r"[a-z_$~*.][^;{}]*[;{]"
_NGINX = re.compile(rf"(?:\s*(?:{_STATEMENT}|\}}|…|\.\.\.))+\s*")

_COMMAND = re.compile(
    r"(?:sudo |[A-Z_]+=\S+ )*"
    r"(?:apt|cargo|chmod|chown|curl|docker|git|helm|kill|kubectl|ln|make|nginx|pip|podman|pywsgi"
    r"|python3?|systemctl|\S*/bin/\w+) "
)


def _without_comments(text: str) -> str:
    pattern = rf"({_QUOTED})|{_COMMENT}"
    return re.sub(pattern, lambda token: token[1] or "", text, flags=re.MULTILINE)


def _is_nginx(text: str) -> bool:
    bare = re.sub(_QUOTED, "string", _without_comments(text))
    return bool(_NGINX.fullmatch(bare)) and bool(re.search(_STATEMENT, bare))


def _is_python(text: str) -> bool:
    if not re.search(r"^(?:import|from|def|async def|class|@|with) ?\w", text, re.MULTILINE):
        return False
    try:
        ast.parse(text)
    except SyntaxError:
        return False
    return True
