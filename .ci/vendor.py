"""vendor.py DIRECTORY COPYRIGHT: the crates that the module is built from, for a source package.

DIRECTORY gets them from cargo vendor. What only tests, Windows or other systems need is in
Cargo.lock as well, and cargo wants a crate for each entry: those are left empty. COPYRIGHT gets
their paragraphs for debian/copyright.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

CARGO = os.environ.get("CARGO", "cargo")
# Where a package of ours may be built; deny.toml has the same.
TARGETS = ("x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu")
PACKAGE = "ngx-http-pywsgi-module"
# debian/copyright has it, because the module itself is under it.
OURS = "Apache-2.0"
# The licences that are chosen where a crate leaves the choice, the first that it allows.
CHOICE = ("MIT", "Apache-2.0", "BSD-3-Clause", "ISC", "Zlib", "Unlicense", "Unicode-3.0")

# A line of a licence that says whose the crate is.
HOLDER = re.compile(r"(?i)(copyright )?(\(c\)|©)|copyright \d")


def main(directory: Path, copyright_file: Path) -> None:
    shutil.rmtree(directory, ignore_errors=True)
    # The output is the configuration to write, which debian/rules does.
    subprocess.run(
        [CARGO, "vendor", "--locked", "--quiet", "--versioned-dirs", str(directory)],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    needed = crates()
    paragraphs = []
    texts: dict[str, str] = {}
    for crate in sorted(directory.iterdir()):
        if crate.name in needed:
            paragraphs.append(paragraph(crate, needed[crate.name], texts))
            drop_binaries(crate)
        else:
            empty(crate)
    stanzas = [f"License: {name}\n{indented(text)}" for name, text in sorted(texts.items())]
    copyright_file.write_text("\n".join(["", *paragraphs, *stanzas]))


def crates() -> dict[str, str]:
    """The crates that the module is compiled from, as `NAME-VERSION`, with their licences."""
    found: dict[str, str] = {}
    for target in TARGETS:
        tree = subprocess.run(
            [CARGO, "tree", "--locked", "--offline", "--package", PACKAGE, "--target", target]
            + ["--edges", "normal,build", "--prefix", "none", "--format", "{p}\t{l}"],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        for line in tree.stdout.splitlines():
            package, licence = line.split("\t")
            name, version = package.split()[:2]
            found[f"{name}-{version.removeprefix('v')}"] = licence.removesuffix(" (*)")
    return found


def empty(crate: Path) -> None:
    """Leaves of a crate its manifest and a library without content."""
    checksums = json.loads((crate / ".cargo-checksum.json").read_text())
    manifest = (crate / "Cargo.toml").read_text()
    shutil.rmtree(crate)
    (crate / "src").mkdir(parents=True)
    (crate / "src" / "lib.rs").touch()
    # Its targets name files that are gone.
    manifest = re.sub(r"(?ms)^\[(lib|\[\w+\])\].*?(?=^\[|\Z)", "", manifest)
    manifest = re.sub(r"(?m)^(auto\w+|build|readme|license-file) = .*\n", "", manifest)
    (crate / "Cargo.toml").write_text(manifest)
    package = {"files": {}, "package": checksums["package"]}
    (crate / ".cargo-checksum.json").write_text(json.dumps(package))


def drop_binaries(crate: Path) -> None:
    """Removes compiled files for Windows, which crates have for their tests."""
    file = crate / ".cargo-checksum.json"
    checksums = json.loads(file.read_text())
    binaries = [path for path in crate.rglob("*") if path.suffix in (".dll", ".exe")]
    for path in binaries:
        path.unlink()
        del checksums["files"][str(path.relative_to(crate))]
    if binaries:
        file.write_text(json.dumps(checksums))


def paragraph(crate: Path, licence: str, texts: dict[str, str]) -> str:
    """A crate's paragraph of debian/copyright; `texts` gets the text of the licence."""
    files = sorted(
        path for path in crate.iterdir() if re.match("(?i)(licen[cs]e|copying|notice)", path.name)
    )
    lines = [line.strip() for path in files if path.is_file() for line in read(path)]
    holders = [line for line in lines if HOLDER.match(line)]
    if not holders:
        manifest = (crate / "Cargo.toml").read_text()
        authors = re.search(r"(?s)^authors = \[(.*?)\]", manifest, re.MULTILINE)
        names = re.findall(r'"(.*?)"', authors.group(1)) if authors else []
        holders = names or [f"the authors of {crate.name}"]
    chosen = choose(licence)
    for one in chosen.split(" and "):
        if one != OURS and one not in texts:
            texts[one] = text_of(one, files)
    holders = list(dict.fromkeys(holders))
    return (
        f"Files: vendor/{crate.name}/*\n"
        f"Copyright: {(chr(10) + '           ').join(holders)}\n"
        f"License: {chosen}\n"
    )


def choose(licence: str) -> str:
    """Of `A OR B` the first of CHOICE, of `A AND B` both."""
    parts = []
    for part in re.split(r"\s+AND\s+", licence.replace("(", "").replace(")", "")):
        options = re.split(r"\s+OR\s+|/", part)
        options = [option.removesuffix(" WITH LLVM-exception").strip() for option in options]
        parts.append(next(name for name in CHOICE if name in options))
    return " and ".join(dict.fromkeys(parts))


def text_of(licence: str, files: list[Path]) -> str:
    """The licence's text, without the copyright lines of the crate that it comes from."""
    word = {"Unicode-3.0": "unicode", "BSD-3-Clause": "(bsd|license)"}.get(licence, licence)
    named = [path for path in files if re.search(f"(?i){word}", path.name)]
    (path, *_) = named or files
    lines = [line.rstrip() for line in read(path)]
    return "\n".join(line for line in lines if not HOLDER.match(line.strip()))


def indented(text: str) -> str:
    """A text in a field of several lines: each with a space, an empty one as a dot."""
    lines = text.strip("\n").splitlines()
    return "\n".join(f" {line}" if line.strip() else " ." for line in lines) + "\n"


def read(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8", errors="replace").splitlines()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
