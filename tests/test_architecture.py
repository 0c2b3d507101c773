"""docs/architecture.md against the code: the files, types and functions that it names are there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from harness import PROJECT

PAGE = PROJECT / "docs" / "architecture.md"
SOURCES = ["src", "python-shim/pywsgi", "nginx-bindings"]

CRATES = {"pyo3", "std", "crate"}

KINDS = "fn|struct|enum|trait|type|const|static|mod|class|def"
FILE = re.compile(r"[\w/-]+\.(?:rs|py)")
MEMBER = re.compile(r"(\w+)::(\w+)")
TYPE = re.compile(r"[A-Z][a-z]\w+")


@cache
def files() -> dict[Path, str]:
    found = {}
    for folder in SOURCES:
        for pattern in ("*.rs", "*.py"):
            for path in (PROJECT / folder).rglob(pattern):
                found[path] = path.read_text("utf-8")
    return found


def named(name: str) -> list[Path]:
    """The files of the code whose path ends with `name`."""
    return [path for path in files() if f"/{path.relative_to(PROJECT)}".endswith(f"/{name}")]


def defines(text: str, name: str) -> bool:
    """Is it a function, a type, a constant or a module there?"""
    return bool(re.search(rf"\b(?:{KINDS}) {name}\b", text))


def has_member(text: str, owner: str, name: str) -> bool:
    """Has the type of that name a variant, a field, a constant or a function of that name there?"""
    blocks = re.findall(
        rf"^[^\n]*\b(?:struct|enum|trait|impl)\b[^\n{{]*\b{owner}\b[^\n]*{{\n(.*?)^}}",
        text,
        re.MULTILINE | re.DOTALL,
    )
    before = rf"(?:pub(?:\([^)]*\))? )?(?:(?:(?:unsafe|const|async) )*(?:{KINDS}) )?"
    member = rf"^    {before}{name}\b(?: *[(,:{{<=]|$)"
    return any(re.search(member, block, re.MULTILINE) for block in blocks)


def faults(page: str) -> Iterator[str]:
    """What a page names that the code does not have."""
    page = re.sub(r"^```.*?^```$", "", page, flags=re.MULTILINE | re.DOTALL)
    for span in re.findall(r"(?<!`)`([^`\n]+)`", page):
        if FILE.fullmatch(span):
            if not named(span) and not (PROJECT / span).is_file():
                yield f"no file {span}"
        elif member := MEMBER.fullmatch(span):
            owner, name = member.groups()
            if owner not in CRATES and not any(
                has_member(text, owner, name)
                or (owner in (path.stem, path.parent.name) and defines(text, name))
                for path, text in files().items()
            ):
                yield f"no {span}"
        elif TYPE.fullmatch(span) and not any(defines(text, span) for text in files().values()):
            yield f"no type {span}"
    # `file.rs` (`function`, `function`)
    for name, functions in re.findall(r"`([\w/-]+\.rs)` \(((?:`\w+`(?:, )?)+)\)", page):
        for function in re.findall(r"`(\w+)`", functions):
            if not any(defines(files()[path], function) for path in named(name)):
                yield f"no {function} in {name}"


def test_what_it_names_is_there():
    assert list(faults(PAGE.read_text("utf-8"))) == []


@pytest.mark.parametrize(
    ("page", "fault"),
    [
        ("`nginx/handlers.rs`", "no file nginx/handlers.rs"),
        ("`Exchange::nothing`", "no Exchange::nothing"),
        ("`Exchanges`", "no type Exchanges"),
        ("`src/lib.rs` (`nothing`)", "no nothing in src/lib.rs"),
    ],
)
def test_what_is_not_there_is_found(page, fault):
    assert list(faults(page)) == [fault]
