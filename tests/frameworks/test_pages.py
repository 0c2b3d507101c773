"""docs/start.md and docs/frameworks/ as a reader does them: each command, file, configuration."""

from __future__ import annotations

import importlib.metadata
import os
import re
import subprocess
from pathlib import Path

import pytest
from blocks import Block, blocks
from harness import PROJECT, VENV, free_port

FOLDER = PROJECT / "docs" / "frameworks"
PAGES = sorted(path for path in FOLDER.glob("*.md") if path.name != "README.md")
START = PROJECT / "docs" / "start.md"


class Reader:
    """Does what a page says, with a test's folders in place of the system's."""

    def __init__(self, nginx) -> None:
        self.nginx = nginx
        self.folders = {name: nginx.root / name[1:] for name in ("/srv", "/etc", "/var/lib")}
        for folder in self.folders.values():
            folder.mkdir(parents=True)
        # Of the page's server; the test's own is on another.
        self.port = free_port()
        self.sites: list[str] = []
        # How many answers were compared.
        self.answers = 0

    def does(self, block: Block) -> None:
        text = self.moved(block.text)
        if block.language == "sh":
            for line in text.splitlines():
                self.prepares(line)
            self.runs("\n".join(line for line in text.splitlines() if not self.is_done(line)))
        elif block.language == "console":
            for command, answer in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", text, re.MULTILINE):
                self.asks(command, answer)
        elif block.words:
            path = Path(self.moved(block.words.removeprefix("+")))
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a" if block.words.startswith("+") else "w") as file:
                file.write(text)
            if block.language == "nginx":
                self.sites.append(f"include {path};")

    def prepares(self, line: str) -> None:
        """The tests' virtual environment stands for the page's, and must have what that gets."""
        if found := re.fullmatch(r"python3 -m venv (\S+)", line):
            Path(found[1]).parent.mkdir(parents=True, exist_ok=True)
            Path(found[1]).symlink_to(VENV)
        elif found := re.fullmatch(r"\S+/bin/pip install (.+)", line):
            for name in found[1].split():
                importlib.metadata.distribution(name)

    @staticmethod
    def is_done(line: str) -> bool:
        return line.startswith("python3 -m venv ") or "/bin/pip install " in line

    def asks(self, command: str, answer: str) -> None:
        if command == "nginx -t && nginx -s reload":
            assert not self.nginx.is_running(), "a page that loads its configuration twice"
            self.lets_nginx_read()
            options = {"http": "\n".join([*self.sites, "python_check on;"]), "python_home": None}
            assert self.nginx.check(**options).returncode == 0, self.nginx.check().stderr
            self.nginx.start(**options)
            return
        # JSON has no newline at its end.
        assert self.runs(command).rstrip("\n") == answer.rstrip("\n")
        self.answers += 1

    def lets_nginx_read(self) -> None:
        """As an administrator's umask does, which the tests' may not."""
        for path in self.folders["/srv"].rglob("*"):
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() else 0o644)

    def runs(self, text: str) -> str:
        environment = {**os.environ, "no_proxy": "localhost", "NO_PROXY": "localhost"}
        done = subprocess.run(
            ["sh", "-e", "-c", text], capture_output=True, text=True, timeout=120, env=environment
        )
        assert done.returncode == 0, f"{text}\n{done.stdout}{done.stderr}"
        return done.stdout

    def moved(self, text: str) -> str:
        pattern = "|".join(rf"{name}(?=/)" for name in self.folders)
        text = re.sub(rf"(?<![\w/.])(?:{pattern})", lambda found: str(self.folders[found[0]]), text)
        user = self.nginx.user
        text = text.replace("-o www-data -g www-data ", f"-o {user} " if user else "")
        text = re.sub(
            r"^chown -R www-data:www-data (\S+)",
            rf"chown -R {user} \1" if user else "true",
            text,
            flags=re.MULTILINE,
        )
        text = text.replace("listen 8000;", f"listen 127.0.0.1:{self.port};")
        return text.replace("localhost:8000", f"localhost:{self.port}")


@pytest.fixture
def reader(nginx):
    return Reader(nginx)


@pytest.mark.parametrize("page", [START, *PAGES], ids=lambda path: path.stem)
def test_a_page(reader, page):
    """Every block of the page that is a step does what it says, and every answer is the page's."""
    shown = blocks(page.read_text())
    steps = [block for block in shown if block.words or block.language in ("sh", "console")]
    # The module is here.
    steps = [block for block in steps if block.words != "install"]
    assert {"python", "nginx", "console"} <= {block.language for block in steps}
    for block in steps:
        reader.does(block)
    assert reader.answers


def test_every_page_is_in_the_index():
    index = (FOLDER / "README.md").read_text()
    assert [page.name for page in PAGES if f"]({page.name})" not in index] == []
