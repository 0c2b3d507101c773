"""One application for all the probes, and one nginx for each test."""

from __future__ import annotations

from pathlib import Path

import pytest
from gate import background
from protocols import protocol

__all__ = ["background", "probe", "protocol", "serve"]

PROBES = Path(__file__).resolve().parent.parent / "apps" / "probes.py"


@pytest.fixture
def serve(nginx):
    """Starts nginx with the probes in `location /`; `location` is further text there."""

    def start(location: str = "", **options):
        path = nginx.app("probes", PROBES.read_text())
        return nginx.start(f"wsgi_app {path}; {location}", **options)

    return start


@pytest.fixture
def probe(nginx, serve):
    """One GET to a started server, as it was on the wire; starts one where none runs."""

    def ask(name: str, *, method: str = "GET"):
        if not nginx.is_running():
            serve()
        with nginx.connect() as connection:
            connection.send(f"{method} /{name} HTTP/1.1\r\nHost: localhost\r\n\r\n")
            return connection.response(head_only=method == "HEAD")

    return ask
