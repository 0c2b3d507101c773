"""Fixtures of the WSGI tests."""

from __future__ import annotations

import pytest


@pytest.fixture
def serve(nginx):
    """Starts nginx with one application, made of this source, in `location /`.

    `location` is further text there; all else is what `Nginx.start` takes. The file is `app.py`:
    that is what log lines about the application name.
    """

    def start(source: str, location: str = "", **options):
        return nginx.start(f"wsgi_app {nginx.app('app', source)};\n{location}", **options)

    return start


@pytest.fixture
def fetch(nginx):
    """One raw request on a connection of its own; returns the response as it was on the wire."""

    def ask(request: bytes | str = "GET / HTTP/1.1\r\nHost: x\r\n\r\n", *, head_only: bool = False):
        with nginx.connect() as connection:
            connection.send(request)
            return connection.response(head_only=head_only)

    return ask
