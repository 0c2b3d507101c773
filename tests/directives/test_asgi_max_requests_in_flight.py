"""asgi_max_requests_in_flight: how many requests are in the application at once."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize("value", ["0", "-1", "many", "1.5", "''", "on"])
def test_what_is_no_limit(refused, value):
    refused(
        "asgi_max_requests_in_flight",
        "must be a number of at least 1, or off",
        location=f"asgi_max_requests_in_flight {value};",
    )


@pytest.mark.parametrize("value", ["1", "100000", "off"])
def test_what_is_one(nginx, value):
    app = nginx.app("app", "application = None")
    result = nginx.check(f"asgi_app {app}; asgi_max_requests_in_flight {value};")
    assert result.returncode == 0, result.stderr
