"""asgi_app beside wsgi_app, and what an application of ASGI has once in a worker."""

from __future__ import annotations

import pytest

OTHER = {"wsgi": "asgi", "asgi": "wsgi"}


@pytest.fixture
def app(nginx):
    return nginx.app("app", "application = None")


@pytest.mark.parametrize("second", ["wsgi", "asgi"])
@pytest.mark.parametrize("block", ["{}", "if ($arg_x) {{ {} }}"])
def test_both_in_one_location(refused, app, second, block):
    refused(
        f"{second}_app {app}",
        f"^.*{second}_app stands beside {OTHER[second]}_app",
        "remove one of them",
        location=block.format(f"{OTHER[second]}_app {app};\n{second}_app {app};"),
    )


@pytest.mark.parametrize("protocol", ["wsgi", "asgi"])
@pytest.mark.parametrize("inner", ["off", "{app}"])
def test_the_other_one_in_an_if_or_in_a_nested_location(nginx, app, protocol, inner):
    inner = f"{OTHER[protocol]}_app {inner.format(app=app)};"
    for block in (f"if ($arg_x) {{ {inner} }}", f"location /nested {{ {inner} }}"):
        result = nginx.check(f"{protocol}_app {app}; {block}")
        assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("protocol", ["wsgi", "asgi"])
def test_off_of_the_other_one_changes_nothing(nginx, app, protocol):
    result = nginx.check(f"{protocol}_app {app}; {OTHER[protocol]}_app off;")
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("first", ["asgi_app {app}; proxy_pass http://127.0.0.1:9;"])
def test_another_content_handler_after_it(nginx, refused, app, first):
    refused("asgi_app", "another content handler|duplicate", location=first.format(app=app))


@pytest.mark.parametrize(
    ("directive", "first", "second"),
    [
        ("asgi_event_loop", "", "asgi_event_loop other;"),
        ("asgi_lifespan", "asgi_lifespan on;", "asgi_lifespan off;"),
        ("asgi_lifespan", "", "asgi_lifespan auto shutdown_timeout=1s;"),
        ("asgi_lifespan", "asgi_lifespan on startup_timeout=1s;", "asgi_lifespan on;"),
    ],
)
def test_an_application_has_one_of_each(nginx, refused, app, directive, first, second):
    message = refused(
        f"location /two {{ asgi_app {app}; ",
        f"asgi_app .* has another {directive} than in ",
        f"give both locations the same {directive}",
        http="python_event_loop other;",
        server=f"""
            location /one {{ asgi_app {app}; {first} }}
            location /two {{ asgi_app {app}; {second} }}
        """,
    )
    lines = nginx.config.read_text().splitlines()
    (line,) = [number for number, line in enumerate(lines, 1) if "location /one" in line]
    assert f" than in {nginx.config}:{line};" in message


def test_the_same_settings_in_other_words_are_the_same(nginx, app):
    result = nginx.check(
        server=f"""
            location /one {{ asgi_app {app}; }}
            location /two {{ asgi_app {app}; asgi_lifespan auto startup_timeout=1m; }}
            location /three {{ asgi_app {app}; asgi_event_loop main; }}
            location /four {{ asgi_app {app}; asgi_callable application app; }}
        """
    )
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("other", ["asgi_app {app}:other;", "asgi_app {app}; asgi_callable other;"])
def test_two_applications_of_one_file_may_differ(nginx, app, other):
    """So may an application of WSGI of the same name, which has no event loop."""
    result = nginx.check(
        http="python_event_loop other;",
        server=f"""
            location /one {{ asgi_app {app}; }}
            location /two {{ {other.format(app=app)} asgi_event_loop other; }}
            location /old {{ wsgi_app {app}; asgi_event_loop other; asgi_lifespan off; }}
        """,
    )
    assert result.returncode == 0, result.stderr
