"""python_event_loop and asgi_event_loop: the loops, and which application runs on which."""

from __future__ import annotations

import pytest


@pytest.fixture
def app(nginx):
    return nginx.app("app", "application = None")


def test_a_loop_may_be_defined_after_its_use(nginx, app):
    result = nginx.check(
        server=f"location /x {{ asgi_app {app}; asgi_event_loop other; }}",
        http=f"""
        server {{
            listen 127.0.0.1:{nginx.port};
            server_name two;
            location / {{ asgi_app {app}; asgi_event_loop other; }}
        }}
        python_event_loop other;
        """,
    )
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("defined", ["", "python_event_loop other;"])
def test_an_unknown_loop(refused, app, defined):
    refused(
        "asgi_event_loop nowhere",
        'asgi_event_loop "nowhere" is not defined',
        "write python_event_loop nowhere; in http",
        "use one of: main, other in" if defined else "use one of: main in",
        http=defined,
        location=f"asgi_app {app};\nasgi_event_loop nowhere;",
    )


def test_an_unknown_loop_where_nothing_uses_it(nginx):
    result = nginx.check("asgi_event_loop nowhere; return 204;")
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("kind", ["", "asyncio", "uvloop", "auto"])
def test_kinds(nginx, app, kind):
    http = f"python_event_loop main {kind}; python_event_loop other {kind};"
    result = nginx.check(f"asgi_app {app};", http=http)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("kind", ["trio", "Asyncio", "''"])
def test_another_kind(refused, kind):
    refused(
        "python_event_loop", "must be asyncio, uvloop or auto", http=f"python_event_loop x {kind};"
    )


@pytest.mark.parametrize("name", ["main", "other"])
def test_a_loop_that_is_defined_twice(refused, name):
    refused(
        "python_event_loop",
        f'"{name}" is defined twice',
        http=f"python_event_loop {name};\npython_event_loop {name} asyncio;",
    )


def test_a_loop_without_a_name(refused):
    refused("python_event_loop", "empty name", http="python_event_loop '';")
