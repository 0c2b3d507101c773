"""wsgi_kill_timeout, asgi_kill_timeout: mistakes. What they do is in tests/process."""

from __future__ import annotations

import pytest


@pytest.fixture
def application(protocol):
    return f"{protocol}_app {protocol.app('app', 'async def answer(request): pass')};"


def test_it_needs_a_process(refused, protocol, application):
    name = f"{protocol}_kill_timeout"
    what = (
        f"{name} kills the process of a python_process, and this application runs in the workers; "
        f"write {protocol}_process NAME, or {name} off"
    )
    refused(name, what, location=f"{application} {name} 10s;")
    refused(name, what, location=application, http=f"{name} 10s;")


@pytest.mark.parametrize("value", ["off", "0"])
def test_off(nginx, protocol, application, value):
    result = nginx.check(
        f"{application} {protocol}_kill_timeout {value};", http=f"{protocol}_kill_timeout 10s;"
    )
    assert result.returncode == 0, result.stderr


def test_with_a_process(nginx, protocol, application):
    result = nginx.check(
        f"{application} {protocol}_process shop; {protocol}_kill_timeout 10s;",
        http="python_process shop;",
    )
    assert result.returncode == 0, result.stderr
