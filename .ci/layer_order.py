"""The order inside the folders of src/, and where a protocol may be named.

layers.toml beside this file lists the files and sub-folders of each folder from the bottom up; a
file names only those before it. `use` and written-out paths count; what a `mod.rs` re-exports
counts as the file that it comes from. Tests and loom models (`#[cfg(test)]`) do not count, nor
does a `mod.rs` that only declares. Within its folder a sub-folder is one entry (`wsgi/`), and its
own files have an order among themselves.
"""

import os.path
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import rust_names

# A room is a file, by the names on its way from src/: ("nginx", "conf", "main"), ("nginx", "mod").
Room = tuple[str, ...]
Module = tuple[str, ...]

LISTS = ".ci/layers.toml"


@dataclass(frozen=True)
class Arrow:
    source: Room
    target: Room
    line: int


@dataclass
class Tree:
    """The files of src/ that are not tests."""

    code: dict[Room, str] = field(default_factory=dict)
    rooms: dict[Module, Room] = field(default_factory=dict)
    uses: dict[Module, dict[str, tuple[Module, list[str]]]] = field(default_factory=dict)
    tests: set[Room] = field(default_factory=set)

    @staticmethod
    def read(src: Path) -> "Tree":
        files = sorted(src.rglob("*.rs"))
        return Tree.of(
            {
                file.relative_to(src).with_suffix("").parts: file.read_text(encoding="utf-8")
                for file in files
            }
        )

    @staticmethod
    def of(sources: dict[Room, str]) -> "Tree":
        tree = Tree()
        for room, source in sources.items():
            code = rust_names.code_of(source)
            kept = rust_names.without_tests(code)
            module = module_of(room)
            tested = set(rust_names.declared(code)) - set(rust_names.declared(kept))
            tree.tests.update((*module, name) for name in tested)
            tree.code[room] = kept
        for room in list(tree.code):
            if any(room[: len(test)] == test for test in tree.tests):
                del tree.code[room]
        for room, code in tree.code.items():
            module = module_of(room)
            tree.rooms[module] = room
            for use in rust_names.uses(code):
                names = tree.uses.setdefault(module + use.inside, {})
                names[use.name] = (module + use.inside, use.segments)
        return tree

    def arrows(self) -> Iterator[Arrow]:
        for room, code in self.code.items():
            seen = set()
            for path in rust_names.paths(code):
                module = module_of(room) + path.inside
                whole = self.absolute(path.segments, module)
                target = self.room_of(whole) if whole is not None else None
                if target is None or target == room or target in seen:
                    continue
                seen.add(target)
                yield Arrow(room, target, code.count("\n", 0, path.position) + 1)

    def absolute(
        self, path: list[str], module: Module, known: frozenset[str] = frozenset()
    ) -> list[str] | None:
        """The path from the crate's root; None if it leads to another crate."""
        first, *rest = path
        if first == "crate":
            return rest
        if first == "self":
            return [*module, *rest]
        while first == "super" and module:
            module = module[:-1]
            if not rest or rest[0] != "super":
                return [*module, *rest]
            first, *rest = rest
        if (*module, first) in self.rooms:
            return [*module, first, *rest]
        if first in self.uses.get(module, {}) and first not in known:
            scope, brought = self.uses[module][first]
            return self.absolute([*brought, *rest], scope, known | {first})
        return None

    def room_of(self, path: list[str], known: frozenset[Module] = frozenset()) -> Room | None:
        """The file that a path from the root leads to, through what is re-exported on its way."""
        module: Module = ()
        for position, name in enumerate(path):
            if (*module, name) in self.rooms:
                module = (*module, name)
                continue
            item = (*module, name)
            if name in self.uses.get(module, {}) and item not in known:
                scope, brought = self.uses[module][name]
                whole = self.absolute([*brought, *path[position + 1 :]], scope, frozenset({name}))
                return self.room_of(whole, known | {item}) if whole is not None else None
            break
        return self.rooms.get(module)

    def is_room(self, *rooms: Room) -> bool:
        """Whether there is anything in the files: a `mod.rs` that only declares has nothing."""
        return not any(
            room[-1] == "mod" and rust_names.only_declares(self.code[room]) for room in rooms
        )


def module_of(room: Room) -> Module:
    if room in (("lib",), ("main",)):
        return ()
    return room[:-1] if room[-1] == "mod" else room


def written(room: Room) -> str:
    return f"src/{'/'.join(room)}.rs"


@dataclass(frozen=True)
class Folder:
    """What layers.toml says of a folder."""

    at: Module
    order: list[str]
    exceptions: list[str]

    @property
    def name(self) -> str:
        return f"src/{'/'.join(self.at)}"


def folders_of(tables: dict[str, dict[str, list[str]]]) -> list[Folder]:
    return [
        Folder(tuple(name.split("/")), table["order"], table.get("exceptions", []))
        for name, table in tables.items()
    ]


def order_faults(tree: Tree, folders: list[Folder]) -> Iterator[str]:
    """What runs against the order of the folders, and what the lists have wrong."""
    found = {entry for room in tree.code if tree.is_room(room) for entry in entries(room)}
    listed = {(folder.at, entry) for folder in folders for entry in folder.order}
    for at, entry in sorted(found - listed):
        yield (
            f'{LISTS}: "{entry}" is missing from the order of src/{"/".join(at)}: '
            "put it above all that it names"
        )
    for at, entry in sorted(listed - found):
        yield f'{LISTS}: src/{"/".join(at)} has no "{entry}": take it out of the order'
    for folder in folders:
        for entry in sorted({entry for entry in folder.order if folder.order.count(entry) > 1}):
            yield f'{LISTS}: the order of {folder.name} has "{entry}" twice'
    arrows = [arrow for arrow in tree.arrows() if tree.is_room(arrow.source, arrow.target)]
    for folder in folders:
        yield from arrow_faults(folder, [each for each in arrows if shared(each)[0] == folder.at])


def arrow_faults(folder: Folder, arrows: list[Arrow]) -> Iterator[str]:
    rank = {entry: at for at, entry in enumerate(folder.order)}
    excepted = set(folder.exceptions)
    for arrow in arrows:
        _, source, target = shared(arrow)
        if rank.get(target, 0) <= rank.get(source, len(rank)):
            continue
        if exception(arrow, folder) in excepted:
            excepted.discard(exception(arrow, folder))
            continue
        if way_back := way(arrows, target, source):
            why = f"a circle: {written_way([arrow, *way_back])}"
        else:
            why = f"{target} is above {source} in the order of {folder.name} ({LISTS})"
        yield f"{written(arrow.source)}:{arrow.line}: names {written(arrow.target)}; {why}"
    for text in folder.exceptions:
        if text in excepted:
            yield f'{LISTS}: {folder.name} no longer needs the exception "{text}"'


def entries(room: Room) -> Iterator[tuple[Module, str]]:
    """The entries that the lists must have for a file: its own, and one for each sub-folder."""
    for depth in range(1, len(room) - 1):
        yield room[:depth], f"{room[depth]}/"
    if len(room) > 1:
        yield room[:-1], room[-1]


def shared(arrow: Arrow) -> tuple[Module, str, str]:
    """The folder that has both ends of an arrow, and its two entries that have them."""
    depth = len(os.path.commonprefix([arrow.source[:-1], arrow.target[:-1]]))
    source, target = (
        room[depth] if len(room) == depth + 1 else f"{room[depth]}/"
        for room in (arrow.source, arrow.target)
    )
    return arrow.source[:depth], source, target


def exception(arrow: Arrow, folder: Folder) -> str:
    """An arrow as `exceptions` has it: `body -> request/context`."""
    depth = len(folder.at)
    return f"{'/'.join(arrow.source[depth:])} -> {'/'.join(arrow.target[depth:])}"


def way(arrows: list[Arrow], start: str, end: str) -> list[Arrow]:
    """The shortest way from entry to entry; empty if there is none."""
    ways: dict[str, list[Arrow]] = {start: []}
    queue = [start]
    for entry in queue:
        for arrow in arrows:
            _, source, target = shared(arrow)
            if source == entry and target not in ways:
                ways[target] = [*ways[entry], arrow]
                queue.append(target)
    return ways.get(end, [])


def written_way(arrows: list[Arrow]) -> str:
    """`a -> b -> c`; `a -> sub/b, sub/c -> d` if it goes on from another file of a folder."""
    text, end = "", None
    for arrow in arrows:
        if arrow.source != end:
            text += f"{', ' if text else ''}{written(arrow.source)}"
        text += f" -> {written(arrow.target)}"
        end = arrow.target
    return text


PROTOCOL_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z0-9]+")


def protocol_faults(tree: Tree, table: dict[str, list[str]]) -> Iterator[str]:
    """Where code names a protocol, but for the places that may."""
    protocols = set(table["names"])
    unused = {*table["places"], *table["exceptions"]}
    for room, code in sorted(tree.code.items()):
        if not (found := first_named(code, protocols)):
            continue
        name, line = found
        allowed = {
            place
            for place in (*table["places"], *table["exceptions"])
            if room[: place.count("/") + 1] == tuple(place.split("/"))
        }
        unused -= allowed
        if not allowed:
            yield (
                f"{written(room)}:{line}: `{name}` names a protocol; only the places that "
                f"{LISTS} lists may"
            )
    for place in sorted(unused):
        yield f'{LISTS}: "{place}" names no protocol: take it out of the list'


def first_named(code: str, protocols: set[str]) -> tuple[str, int] | None:
    """The first identifier with a protocol's name in it, and its line. `mod wsgi;` is none."""
    code = re.sub(r"\bmod\s+\w+\s*;", rust_names.blank, code)
    for match in re.finditer(r"\b[a-zA-Z_]\w*", code):
        if protocols & {word.lower() for word in PROTOCOL_WORD.findall(match[0])}:
            return match[0], code.count("\n", 0, match.start()) + 1
    return None
