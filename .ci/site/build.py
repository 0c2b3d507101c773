"""build.py FOLDER: makes the site of the documentation in FOLDER/html, by Zensical.

The pages are the project's own Markdown, as GitHub shows it. They are copied to FOLDER/source with
what differs on a site: links go to the pages of the site, code has the language that it is in, the
directives have an index by name, and files that pages link (configurations, examples) have pages.
navigation.toml says where each page is. Nothing here needs the network.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from blocks import blocks

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parent.parent

# Files of these folders have pages, if another page links them. Links to other files (sources,
# tests) become text.
SHOWN = ("nginx-conf", "deploy", "docker", "examples")
PAGES = (
    "*.md",
    "docs/**/*.md",
    "nginx-conf/**/*.md",
    "deploy/**/*.md",
    "docker/**/*.md",
    "examples/**/*.md",
    "bench/README.md",
    "bench/results/*.md",
)
LANGUAGES = {
    ".conf": "nginx",
    ".css": "css",
    ".html": "html",
    ".ini": "ini",
    ".json": "json",
    ".py": "python",
    ".service": "ini",
    ".sh": "sh",
    ".toml": "toml",
    ".yaml": "yaml",
    ".yml": "yaml",
}
# A longer file is copied, and the browser shows it.
LONGEST = 500

LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")
CODE_SPAN = re.compile(r"(`+)(?!`).*?(?<!`)\1(?!`)", re.DOTALL)


def main() -> int:
    folder = Path(sys.argv[1]).resolve()
    staged = folder / "source"
    shutil.rmtree(staged, ignore_errors=True)
    project = Project()
    for path in project.pages:
        write(staged / project.pages[path], project.page(path))
    write(staged / ALPHABETICAL, alphabetical())
    # Showing a file links no other.
    for path in sorted(project.shown):
        write(staged / f"{path}.md", shown(path))
    for path in sorted(project.copied):
        copy = staged / path.removeprefix("docs/")
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PROJECT / path, copy)
    for name in ("site.css", "iframe-worker.js"):
        shutil.copy(HERE / name, staged / name)
    settings = (HERE / "zensical.toml").read_text()
    navigation = toml(project.navigation())
    (folder / "zensical.toml").write_text(settings.replace("nav = []", f"nav = {navigation}"))

    shutil.rmtree(folder / "html", ignore_errors=True)
    zensical = Path(sys.executable).parent / "zensical"
    # A cache would keep the warnings of pages that have not changed to itself.
    command = [zensical, "build", "--clean", "--strict", "--config-file", folder / "zensical.toml"]
    code = subprocess.run(command, cwd=folder, check=False).returncode
    # Its links are those of a site at the root of a host, which this need not be.
    (folder / "html" / "404.html").unlink(missing_ok=True)
    return code


class Project:
    """The project's pages, and what they link."""

    def __init__(self) -> None:
        paths = {path for pattern in PAGES for path in PROJECT.glob(pattern)}
        # The page of each file, as a path of the site.
        self.pages = {name: place(name) for name in sorted(map(name_of, paths))}
        self.shown: set[str] = set()
        self.copied: set[str] = set()
        for folder in ("nginx-conf", "deploy"):
            for path in (PROJECT / folder).rglob("*"):
                if path.is_file() and name_of(path) not in self.pages:
                    self.target(name_of(path))

    def page(self, name: str) -> str:
        """The text of a page, as the site has it."""
        text = (PROJECT / name).read_text()
        lines = text.splitlines()
        made: list[str] = []
        end = 0
        for block in blocks(text):
            made += self.prose(name, "\n".join(lines[end : block.start])).split("\n")
            end = block.end
            indentation = re.match(" *", lines[block.start])[0] if block.language else ""
            if not lines[block.start].lstrip().startswith("```"):
                indentation = ""
            fence = f"```{block.language or 'text'}"
            made += [f"{indentation}{line}" for line in (fence, *block.text.splitlines(), "```")]
        made += self.prose(name, "\n".join(lines[end:])).split("\n")
        text = "\n".join(made) + "\n"
        folder = PurePosixPath(name).parent.as_posix()
        if name.endswith("README.md") and folder in ("nginx-conf", "deploy"):
            text += self.list_of(folder)
        return text

    def prose(self, name: str, text: str) -> str:
        """What is between two blocks of code, with the site's links."""

        def link(found: re.Match[str]) -> str:
            image, label, target = found.groups()
            if re.match(r"[a-z]+:|#", target):
                return found[0]
            path, sharp, anchor = target.partition("#")
            target = self.target(os.path.normpath(PurePosixPath(name).parent / path))
            if target is None:
                return label
            here = PurePosixPath(self.pages[name]).parent
            return f"{image}[{label}]({os.path.relpath(target, here)}{sharp}{anchor})"

        # Code spans may be in a label, and may have what looks like a link.
        spans: list[str] = []

        def keep(found: re.Match[str]) -> str:
            spans.append(found[0])
            return f"\0{len(spans) - 1}\0"

        text = LINK.sub(link, CODE_SPAN.sub(keep, text))
        # In a table GitHub wants \\| in code; Python-Markdown takes the backslash as a part of it.
        text = re.sub(r"\0(\d+)\0", lambda found: spans[int(found[1])].replace(r"\|", "|"), text)
        # Python-Markdown wants an empty line before a list; GitHub does not.
        item = re.compile(r"(?:[-*]|\d+\.) ")
        lines: list[str] = []
        in_list = False
        for line in text.split("\n"):
            if item.match(line):
                if lines and lines[-1] and not in_list:
                    lines.append("")
                in_list = True
            elif line and not line.startswith(" ") and not (lines and lines[-1]):
                in_list = False
            lines.append(line)
        return "\n".join(lines)

    def target(self, path: str) -> str | None:
        """Where the site has a file or a folder of the project; None if it has none."""
        if (PROJECT / path).is_dir():
            path = f"{path}/README.md".removeprefix("./")
        if path in self.pages:
            return self.pages[path]
        if path.endswith((".svg", ".png")):
            self.copied.add(path)
            return path.removeprefix("docs/")
        if not (PROJECT / path).exists():
            raise SystemExit(f"there is no {path}, which a page links")
        if path.split("/")[0] not in SHOWN or not (PROJECT / path).is_file():
            return None
        if (PROJECT / path).read_text().count("\n") > LONGEST:
            self.copied.add(path)
            return path
        self.shown.add(path)
        return f"{path}.md"

    def list_of(self, folder: str) -> str:
        """Links to the files of a folder."""
        paths = sorted(path for path in self.shown | self.copied if path.startswith(f"{folder}/"))
        links = [(path, self.target(path)) for path in paths]
        items = [
            f"- [{path.removeprefix(f'{folder}/')}]({target})\n" for path, target in links if target
        ]
        return "\n## The files\n\n" + "".join(items)

    def navigation(self) -> list:
        """`nav` of Zensical: titles, and pages of the site."""
        sections = tomllib.loads((HERE / "navigation.toml").read_text())["section"]
        left = dict.fromkeys(self.pages)
        left.pop("README.md")
        named = {page for section in sections for page in section["pages"]}
        made: list = [{"Home": "index.md"}]
        for section in sections:
            rest = section.get("rest")
            names = list(section["pages"])
            if rest:
                below = [page for page in left if page.startswith(f"{rest}/")]
                names += [page for page in below if page not in named]
            for page in names:
                if page not in left:
                    raise SystemExit(f"navigation.toml: there is no {page}, or it is there twice")
                del left[page]
            entries: list = [self.pages[page] for page in names]
            if section.get("directives"):
                entries += [{"By name": ALPHABETICAL}, *directive_entries(left)]
                left = {page: None for page in left if not page.startswith("docs/directives/")}
            made.append({section["title"]: entries})
        more = [self.pages[page] for page in left if page.startswith("docs/")]
        if more:
            made.append({"More": more})
        project = [self.pages[page] for page in left if not page.startswith("docs/")]
        next(iter(made[-1].values())).extend(project)
        return made


@dataclass(frozen=True)
class Directive:
    name: str
    page: str
    syntax: str
    default: str
    context: str


ALPHABETICAL = "directives/by-name.md"
DIRECTIVES = "docs/directives/"


def directives() -> list[Directive]:
    """All directives, by their names, with the facts of their pages."""
    found = []
    for path in (PROJECT / DIRECTIVES).glob("*_*.md"):
        text = path.read_text()
        names = text.partition("\n")[0].removeprefix("# ").split(", ")
        facts = dict(re.findall(r"^\| (Syntax|Default|Context) \| (.*) \|$", text, re.MULTILINE))
        for name in names:
            of_name = {
                fact: "<br>".join(
                    part.replace(r"\|", "|")
                    for part in value.split("<br>")
                    if len(names) == 1 or f"`{name} " in part or not re.match(r"`\w+_\w+ ", part)
                )
                for fact, value in facts.items()
            }
            found.append(Directive(name, path.name, *of_name.values()))
    return sorted(found, key=lambda directive: directive.name)


def alphabetical() -> str:
    """The page with all directives by their names."""
    rows = [
        f"| [{each.name}]({each.page}) | {each.syntax} | {each.default} | {each.context} |\n"
        for each in directives()
    ]
    return (
        f"# All {len(rows)} directives by name\n\n"
        "The [index by subject](index.md) says what each is for.\n\n"
        "| directive | syntax | default | context |\n|---|---|---|---|\n" + "".join(rows)
    )


def directive_entries(left: dict[str, None]) -> list:
    """The directives' pages, in three groups."""
    groups: dict[str, list] = {"wsgi_ and asgi_": [], "asgi_": [], "python_": []}
    for page in left:
        if page.startswith(DIRECTIVES):
            name = PurePosixPath(page).stem
            prefix = f"{name.partition('_')[0]}_"
            group = "wsgi_ and asgi_" if prefix == "wsgi_" else prefix
            groups[group].append({name: place(page)})
    return [{title: entries} for title, entries in groups.items()]


def name_of(path: Path) -> str:
    return path.relative_to(PROJECT).as_posix()


def place(name: str) -> str:
    """Where the site has the page of a Markdown file."""
    if name.isupper() or "/" not in name:
        return "index.md" if name == "README.md" else name.lower()
    if name.endswith("/README.md") and not name.startswith("docs/"):
        # Not an index: Zensical would make it the first page of its section.
        return name.replace("/README.md", ".md")
    return re.sub(r"(?:^|(?<=/))README\.md$", "index.md", name.removeprefix("docs/"))


def shown(path: str) -> str:
    """A page that shows a file."""
    name = PurePosixPath(path)
    language = LANGUAGES.get(name.suffix, "text")
    if name.name.startswith("Dockerfile"):
        language = "docker"
    text = (PROJECT / path).read_text()
    fence = "````" if "```" in text else "```"
    return (
        "---\nsearch:\n  exclude: true\n---\n\n"
        f"# {name.name}\n\n`{path}`\n\n{fence}{language}\n{text.rstrip()}\n{fence}\n"
    )


def toml(value: object) -> str:
    """`value` as TOML writes it in one line."""
    if isinstance(value, dict):
        pairs = [f"{json.dumps(key)} = {toml(each)}" for key, each in value.items()]
        return f"{{ {', '.join(pairs)} }}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value)


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


if __name__ == "__main__":
    sys.exit(main())
