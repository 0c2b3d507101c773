"""asgi_websocket, and the limits of a WebSocket: asgi_websocket_*."""

from __future__ import annotations

import pytest

FLAGS = ["asgi_websocket", "asgi_websocket_deflate"]
TIMES = ["asgi_websocket_ping_interval", "asgi_websocket_ping_timeout"]


@pytest.mark.parametrize("name", FLAGS)
@pytest.mark.parametrize("value", ["on", "off"])
def test_flags(nginx, name, value):
    app = nginx.app("app", "application = None")
    result = nginx.check(f"asgi_app {app}; {name} {value};")
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("name", TIMES)
@pytest.mark.parametrize("value", ["0", "off", "500ms", "1h"])
def test_times(nginx, name, value):
    app = nginx.app("app", "application = None")
    result = nginx.check(f"asgi_app {app}; {name} {value};")
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    ("name", "least"),
    [("asgi_websocket_max_message_size", "1k"), ("asgi_websocket_queue", "4k")],
)
def test_sizes_that_are_too_small(nginx, refused, name, least):
    for value in ("0", "1000"):
        refused(name, f"{name} must be at least {least}", location=f"{name} {value};")
    result = nginx.check(f"{name} {least}; return 204;")
    assert result.returncode == 0, result.stderr
