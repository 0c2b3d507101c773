"""asgi_stall_warning: a loop that does not turn is logged."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize("value", ["0", "off", "1ms", "2m"])
def test_times(nginx, value):
    result = nginx.check("return 204;", http=f"asgi_stall_warning {value};")
    assert result.returncode == 0, result.stderr
