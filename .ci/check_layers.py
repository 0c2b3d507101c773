"""Checks that each of the four folders of src/ names only what it may.

http knows std and two small crates; bridge knows http and what threads need; nginx and python know
both of these and never each other. Only lib.rs names all four. In http and bridge nothing is
unsafe. Prints what breaks that, as file:line, and ends with 1.
"""

import re
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Layer:
    layers: frozenset[str]
    crates: frozenset[str]
    unsafe: bool


LAYERS = {
    "http": Layer(frozenset({"http"}), frozenset({"smallvec", "thiserror"}), unsafe=False),
    "bridge": Layer(
        frozenset({"http", "bridge"}),
        frozenset({"bytes", "loom", "rustix", "smallvec", "thiserror"}),
        unsafe=False,
    ),
    "nginx": Layer(
        frozenset({"http", "bridge", "nginx"}),
        frozenset({"bytes", "httpdate", "libc", "nginx_sys", "ngx", "rustix", "thiserror"}),
        unsafe=True,
    ),
    "python": Layer(
        frozenset({"http", "bridge", "python"}),
        frozenset({"bytes", "libc", "pyo3", "rustix", "thiserror"}),
        unsafe=True,
    ),
}

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
USE = re.compile(r"\buse\s+([^;]+);")
PATH = re.compile(r"(?<![\w:])(?:::\s*)?((?:r\#)?[a-zA-Z_]\w*(?:\s*::\s*(?:r\#)?\w+)+)")
EXTERN_CRATE = re.compile(r"\bextern\s+crate\s+(\w+)")


def main() -> int:
    root = Path(__file__).resolve().parent.parent
    crates = dependencies(root / "Cargo.toml")
    found = 0
    files = 0
    for name, layer in LAYERS.items():
        for file in sorted((root / "src" / name).rglob("*.rs")):
            files += 1
            for line, fault in faults(file.read_text(encoding="utf-8"), name, layer, crates):
                print(f"{file.relative_to(root)}:{line}: {fault}")
                found += 1
    if files == 0:
        print("src/ has none of the folders that this checks")
        return 1
    return 1 if found else 0


def dependencies(manifest: Path) -> frozenset[str]:
    """The names by which the crate's dependencies appear in its code."""
    content = tomllib.loads(manifest.read_text(encoding="utf-8"))
    tables = [content, *content.get("target", {}).values()]
    return frozenset(
        name.replace("-", "_")
        for table in tables
        for kind in ("dependencies", "dev-dependencies")
        for name in table.get(kind, {})
    )


def faults(
    source: str, name: str, layer: Layer, crates: frozenset[str]
) -> Iterator[tuple[int, str]]:
    """What the text of a file in the folder `name` names and may not, each with its line."""
    code = NOT_CODE.sub(blank, source)
    seen: set[tuple[int, str]] = set()
    for position, path in named(code):
        fault = judge(path, name, layer, crates)
        if fault is not None:
            seen.add((code.count("\n", 0, position) + 1, fault))
    if not layer.unsafe:
        for match in re.finditer(r"\bunsafe\b", code):
            line = code.count("\n", 0, match.start()) + 1
            seen.add((line, f"src/{name} is safe code: nothing is `unsafe` here"))
    yield from sorted(seen)


def blank(match: re.Match[str]) -> str:
    """Spaces in the place of what is not code, so that positions stay true."""
    return re.sub(r"[^\n]", " ", match[0])


def named(code: str) -> Iterator[tuple[int, list[str]]]:
    """Every path that is used or written out, as its segments."""
    for match in USE.finditer(code):
        for path in expand(match[1]):
            yield match.start(), path
    for match in PATH.finditer(code):
        yield match.start(), segments(match[1])
    for match in EXTERN_CRATE.finditer(code):
        yield match.start(), [match[1]]


def expand(tree: str) -> Iterator[list[str]]:
    """The paths of a use tree: `a::{b, c::{d}}` is a::b and a::c::d."""
    brace = tree.find("{")
    if brace < 0:
        yield segments(tree.split(" as ")[0])
        return
    prefix = segments(tree[:brace])
    for branch in split(tree[brace + 1 : tree.rfind("}")]):
        for path in expand(branch):
            yield prefix + path


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


def judge(path: list[str], name: str, layer: Layer, crates: frozenset[str]) -> str | None:
    first, *rest = path
    if first in ("crate", "super", "self"):
        while rest and rest[0] in ("super", "self"):
            rest = rest[1:]
        if first == "crate" and (not rest or rest[0] == "*"):
            return "names the whole crate: name what is meant"
        if rest and rest[0] in LAYERS and rest[0] not in layer.layers:
            return f"src/{name} may not name crate::{rest[0]}"
        return None
    if first in crates and first not in layer.crates:
        return f"src/{name} may not name the crate {first}"
    return None


if __name__ == "__main__":
    sys.exit(main())
