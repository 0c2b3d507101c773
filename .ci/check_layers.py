"""Checks that the files of src/ name only what they may.

http and metrics know std and small crates; bridge knows both and what threads need; nginx and
python know these and never each other. Only lib.rs names all five. In http, metrics and bridge
nothing is unsafe. Inside each folder there is an order, and a protocol is named in its own places
alone: layer_order.py checks these by layers.toml. Prints what breaks that, as file:line, and ends
with 1.
"""

import re
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from layer_order import Tree, folders_of, order_faults, protocol_faults
from rust_names import code_of, paths


@dataclass(frozen=True)
class Layer:
    layers: frozenset[str]
    crates: frozenset[str]
    unsafe: bool


LAYERS = {
    "http": Layer(
        frozenset({"http"}),
        frozenset({"flate2", "sha1_smol", "smallvec", "thiserror"}),
        unsafe=False,
    ),
    "metrics": Layer(
        frozenset({"metrics"}),
        frozenset({"loom", "serde_json"}),
        unsafe=False,
    ),
    "bridge": Layer(
        frozenset({"http", "metrics", "bridge"}),
        frozenset({"bytes", "loom", "rustix", "smallvec", "thiserror"}),
        unsafe=False,
    ),
    "nginx": Layer(
        frozenset({"http", "metrics", "bridge", "nginx"}),
        frozenset(
            {"adotenv", "bytes", "httpdate", "landlock", "libc"}
            | {"nginx_sys", "ngx", "rustix", "thiserror"}
        ),
        unsafe=True,
    ),
    "python": Layer(
        frozenset({"http", "metrics", "bridge", "python"}),
        frozenset({"bytes", "libc", "pyo3", "rustix", "thiserror"}),
        unsafe=True,
    ),
}


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
    lists = tomllib.loads((root / ".ci" / "layers.toml").read_text(encoding="utf-8"))
    tree = Tree.read(root / "src")
    for fault in (
        *order_faults(tree, folders_of(lists["folders"])),
        *protocol_faults(tree, lists["protocols"]),
    ):
        print(fault)
        found += 1
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
    code = code_of(source)
    seen: set[tuple[int, str]] = set()
    for position, _, path in paths(code):
        fault = judge(path, name, layer, crates)
        if fault is not None:
            seen.add((code.count("\n", 0, position) + 1, fault))
    if not layer.unsafe:
        for match in re.finditer(r"\bunsafe\b", code):
            line = code.count("\n", 0, match.start()) + 1
            seen.add((line, f"src/{name} is safe code: nothing is `unsafe` here"))
    yield from sorted(seen)


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
