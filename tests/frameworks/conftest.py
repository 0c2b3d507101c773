"""Fixtures that deploy the frameworks' applications."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

APPS = Path(__file__).resolve().parent / "apps"


class Deployment:
    """A copy of an application in the prefix of one nginx, which its workers can read."""

    def __init__(self, nginx, name: str) -> None:
        self.nginx = nginx
        self.folder = nginx.apps / name
        self.data = nginx.data
        shutil.copytree(APPS / name, self.folder, ignore=shutil.ignore_patterns("__pycache__"))
        self.share(self.folder, writable=False)

    def share(self, folder: Path, *, writable: bool) -> None:
        """Opens `folder`, with all that it holds, to the workers' user."""
        for path in [folder, *folder.rglob("*")]:
            mode = 0o777 if writable else 0o755
            path.chmod(mode if path.is_dir() else mode & ~0o111)


@pytest.fixture
def deploy(nginx):
    """`deploy("flask_board")` copies that application and returns its Deployment."""
    return lambda name: Deployment(nginx, name)


@pytest.fixture
def served(nginx, deploy):
    """`served("flask_board", "board.py", "BOARD")` starts nginx with that application at the root.

    BOARD_DATA and BOARD_SECRET are in its environment.
    """

    def start(name: str, target: str, variable: str):
        place = deploy(name)
        nginx.start(
            f"wsgi_app {place.folder}/{target}; client_max_body_size 16m;",
            http=f"python_env {variable}_DATA={place.data} {variable}_SECRET=not-a-real-secret;",
        )
        return nginx

    return start


@pytest.fixture
def field():
    """`field(page, "token")` is the value of that hidden field in a page."""

    def value(page: str, name: str) -> str:
        for tag in re.findall(r"<input[^>]*>", page):
            if f'name="{name}"' in tag:
                return re.search(r'value="([^"]*)"', tag).group(1)
        raise AssertionError(f"no field {name} in {page}")

    return value


@pytest.fixture
def picture():
    """Bytes that any treatment as text would change: all values, many times, no final newline."""
    return bytes(range(256)) * 1200 + b"\r\n--\r\n\0end"
