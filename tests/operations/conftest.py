"""The recipes of docs/operations.md and the files of deploy/, with a test's folders in place of
the system's."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from gate import background, gate
from harness import NGINX, PROJECT, VENV
from protocols import protocol

__all__ = ["background", "gate", "protocol", "recipes"]

DEPLOY = PROJECT / "deploy"
PAGE = (PROJECT / "docs" / "operations.md").read_text()


class Recipes:
    """Blocks of the page, by the word behind their language, and files of deploy/."""

    def __init__(self, nginx) -> None:
        self.nginx = nginx
        self.srv: Path = nginx.root / "srv"
        # What stands for a path of the system.
        self.places = {"/srv/": f"{self.srv}/"}

    def block(self, language: str, name: str) -> str:
        (text,) = re.findall(rf"^```{language} {name}\n(.*?)^```$", PAGE, re.M | re.S)
        return self.moved(text)

    def file(self, name: str) -> str:
        return self.moved((DEPLOY / name).read_text())

    def moved(self, text: str) -> str:
        pattern = "|".join(map(re.escape, self.places))
        text = re.sub(pattern, lambda found: self.places[found[0]], text)
        return text.replace("listen 80;", f"listen 127.0.0.1:{self.nginx.port};")

    def shell(self, text: str) -> subprocess.CompletedProcess[str]:
        """Runs a block of sh, in which `nginx` is the test's."""
        options = f"-p {self.nginx.root}/ -c {self.nginx.config} -e {self.nginx.log_path}"
        text = re.sub(r"^nginx ", f"{NGINX} {options} ", text, flags=re.M)
        return subprocess.run(["sh", "-c", text], capture_output=True, text=True, timeout=120)

    def venv(self, path: str) -> None:
        """The tests' virtual environment, where a recipe has one."""
        (self.srv / path).parent.mkdir(parents=True, exist_ok=True)
        (self.srv / path).symlink_to(VENV)


@pytest.fixture
def recipes(nginx) -> Recipes:
    return Recipes(nginx)
