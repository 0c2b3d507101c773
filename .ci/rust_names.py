"""What a Rust file names: read with regular expressions, as far as the layer checks need it."""

import re
from collections.abc import Iterator
from typing import NamedTuple

# What is not code, in the order in which the alternatives must be tried. Block comments are
# told apart from strings here; that they nest is not: nobody writes that.
NOT_CODE = re.compile(
    r"""
      //[^\n]*
    | /\*.*?\*/
    | \b[bc]?r(?P<hashes>\#*)".*?"(?P=hashes)
    | [bc]?"(?:\\.|[^"\\])*"
    | b?'(?:\\(?:x..|u\{[^}]*\}|.)|[^'\\\n])'
    """,
    re.VERBOSE | re.DOTALL,
)
USE = re.compile(r"\b(?P<public>pub\b(?:\s*\([^)]*\))?\s+)?use\s+(?P<tree>[^;]+);")
PATH = re.compile(r"(?<![\w:])(?:::\s*)?((?:r\#)?[a-zA-Z_]\w*(?:\s*::\s*(?:r\#)?\w+)+)")
EXTERN_CRATE = re.compile(r"\bextern\s+crate\s+(\w+)")
CFG = re.compile(r"#!?\s*\[\s*cfg\s*\(")
IN = re.compile(r"\(\s*in\s+[^)]*\)")
INLINE_MODULE = re.compile(r"\bmod\s+(\w+)\s*\{")
ITEM = re.compile(
    r"(?:pub|fn|mod|use|impl|struct|enum|union|const|static|type|trait|unsafe|extern|async"
    r"|macro_rules|thread_local)\b"
)


class Path(NamedTuple):
    """A path as it is written: where, in which inline modules, and its segments."""

    position: int
    inside: tuple[str, ...]
    segments: list[str]


class Use(NamedTuple):
    """A name that `use` brings: the path it stands for. The name of a glob is `*`."""

    inside: tuple[str, ...]
    name: str
    segments: list[str]


def code_of(source: str) -> str:
    """The source with spaces in the place of comments, strings and characters."""
    return NOT_CODE.sub(blank, source)


def blank(match: re.Match[str]) -> str:
    """Spaces in the place of a match, so that positions stay true."""
    return re.sub(r"[^\n]", " ", match[0])


def without_tests(code: str) -> str:
    """The code without what only a test binary has: the items under `#[cfg(test)]`."""
    start = 0
    while match := CFG.search(code, start):
        condition_end = closing(code, match.end() - 1)
        start = condition_end
        if not only_for_tests(code[match.end() : condition_end]):
            continue
        attribute_end = code.find("]", condition_end) + 1
        end = len(code) if match[0][1] == "!" else item_end(code, attribute_end)
        code = code[: match.start()] + re.sub(r"[^\n]", " ", code[match.start() : end]) + code[end:]
    return code


def only_for_tests(condition: str) -> bool:
    condition = condition.strip()
    if condition.startswith("all"):
        return bool(re.search(r"\btest\b", re.sub(r"\bnot\s*\([^)]*\)", "", condition)))
    return condition == "test"


def item_end(code: str, start: int) -> int:
    """The end of what an attribute stands before: an item, or a field, statement or match arm."""
    position = start
    while attribute := re.compile(r"\s*#\s*\[").match(code, position):
        position = closing(code, attribute.end() - 1) + 1
    position += len(code[position:]) - len(code[position:].lstrip())
    stops = ";" if ITEM.match(code, position) else ";,"
    while position < len(code):
        character = code[position]
        if character in stops:
            return position + 1
        if character in "([":
            position = closing(code, position)
        elif character == "{":
            return closing(code, position) + 1
        elif character in ")]}":
            return position
        position += 1
    return position


def closing(code: str, start: int) -> int:
    """The position of the bracket that closes the one at `start`."""
    depth = 0
    for position in range(start, len(code)):
        if code[position] in "([{":
            depth += 1
        elif code[position] in ")]}":
            depth -= 1
            if depth == 0:
                return position
    return len(code)


def declared(code: str) -> Iterator[str]:
    """The modules that have files of their own."""
    for match in re.finditer(r"\bmod\s+(\w+)\s*;", code):
        yield match[1]


def only_declares(code: str) -> bool:
    """Whether it has nothing but `mod NAME;`, `use` and attributes."""
    code = re.sub(r"#!?\s*\[[^\]]*\]", "", code)
    code = USE.sub("", code)
    return not re.sub(r"\b(?:pub\b(?:\s*\([^)]*\))?\s+)?mod\s+\w+\s*;", "", code).strip()


def paths(code: str) -> Iterator[Path]:
    """Every path that is used or written out. What `pub(in PATH)` names is none."""
    code = IN.sub(blank, code)
    scopes = list(inline_modules(code))
    for match in USE.finditer(code):
        for _, path in expand(match["tree"]):
            yield Path(match.start(), around(scopes, match.start()), path)
    for match in PATH.finditer(USE.sub(blank, code)):
        yield Path(match.start(), around(scopes, match.start()), segments(match[1]))
    for match in EXTERN_CRATE.finditer(code):
        yield Path(match.start(), around(scopes, match.start()), [match[1]])


def uses(code: str) -> Iterator[Use]:
    """Every name that `use` brings into the file."""
    scopes = list(inline_modules(code))
    for match in USE.finditer(code):
        for name, path in expand(match["tree"]):
            yield Use(around(scopes, match.start()), name, path)


def inline_modules(code: str) -> Iterator[tuple[int, int, str]]:
    for match in INLINE_MODULE.finditer(code):
        yield match.start(), closing(code, match.end() - 1), match[1]


def around(scopes: list[tuple[int, int, str]], position: int) -> tuple[str, ...]:
    return tuple(name for start, end, name in scopes if start < position < end)


def expand(tree: str) -> Iterator[tuple[str, list[str]]]:
    """The names of a use tree and their paths: `a::{b as x, c::d}` is x: a::b, and d: a::c::d."""
    brace = tree.find("{")
    if brace < 0:
        path, _, alias = tree.partition(" as ")
        found = segments(path)
        yield alias.strip() or (found[-1] if found else ""), found
        return
    prefix = segments(tree[:brace])
    for branch in split(tree[brace + 1 : tree.rfind("}")]):
        for name, path in expand(branch):
            if path == ["self"]:
                yield prefix[-1] if name == "self" else name, prefix
            else:
                yield name, prefix + path


def split(branches: str) -> Iterator[str]:
    """The branches between the commas that stand in no inner braces."""
    depth, start = 0, 0
    for position, character in enumerate(branches):
        depth += (character == "{") - (character == "}")
        if character == "," and depth == 0:
            yield branches[start:position]
            start = position + 1
    if branches[start:].strip():
        yield branches[start:]


def segments(path: str) -> list[str]:
    return [part for part in re.sub(r"\s|r#", "", path).split("::") if part]
