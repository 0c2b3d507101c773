"""asgi_lifespan: whether there is a lifespan, and how long its startup and shutdown may take."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize("word", ["maybe", "ON", "''"])
def test_another_mode(refused, word):
    refused("asgi_lifespan", "must be auto, on or off", location=f"asgi_lifespan {word};")


@pytest.mark.parametrize(
    ("parameter", "said"),
    [
        ("timeout=1s", "unknown parameter .*startup_timeout=TIME and shutdown_timeout=TIME"),
        ("5s", "unknown parameter"),
        ("startup_timeout=soon", 'invalid time "soon"'),
        ("shutdown_timeout=", 'invalid time ""'),
        ("shutdown_timeout=-1s", "invalid time"),
        ("startup_timeout=0", "a timeout of 0"),
    ],
)
def test_wrong_parameters(refused, parameter, said):
    refused("asgi_lifespan", said, location=f"asgi_lifespan on {parameter};")
