"""Fixtures that deploy the frameworks' applications."""

from __future__ import annotations

import contextlib
import re
import shutil
import ssl
from pathlib import Path

import pytest
from browser import Browser
from websockets.sync.client import connect

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
def served_asgi(nginx, deploy):
    """As `served`, for an application of ASGI, `"notes.py:app"`.

    location: further text there; others as `Nginx.start`. `served_asgi.deploy` only copies it.
    """

    def start(name: str, target: str, variable: str, location: str = "", **options):
        place = deploy(name)
        environment = f"{variable}_DATA={place.data} {variable}_SECRET=not-a-real-secret"
        nginx.start(
            f"asgi_app {place.folder}/{target}; client_max_body_size 16m;\n{location}",
            http=f"python_env {environment}; {options.pop('http', '')}",
            **options,
        )
        return nginx

    start.deploy = deploy
    return start


@pytest.fixture
def log_of(nginx):
    """`log_of()`: the lines that the application has written into `log` in its data folder."""

    def lines() -> list[str]:
        path = nginx.data / "log"
        return path.read_text("utf-8").splitlines() if path.exists() else []

    return lines


@pytest.fixture
def websocket(nginx):
    """`websocket("/path")` opens a connection, by the `websockets` package; closed at the test's
    end. Other arguments are those of its `connect`.
    """
    opened = contextlib.ExitStack()

    def connect_to(path: str, *, tls: bool = False, **options):
        if tls:
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            options["ssl"] = context
        options = {"open_timeout": 60, "close_timeout": 60, "proxy": None, **options}
        url = nginx.url(path, scheme="wss" if tls else "ws")
        return opened.enter_context(connect(url, **options))

    with opened:
        yield connect_to


@pytest.fixture
def browser():
    """A headless browser (browser.py)."""
    started = Browser()
    yield started
    started.close()


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
