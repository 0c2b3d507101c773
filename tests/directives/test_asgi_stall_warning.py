"""asgi_stall_warning: a loop that does not turn is logged."""

from __future__ import annotations

import pytest

SOURCE = """
    import time

    def blocks_in_here(seconds):
        time.sleep(seconds)

    async def answer(request):
        if request.query:
            blocks_in_here(float(request.query))
        await request.respond(b"done")
"""


@pytest.fixture
def app(asgi):
    return asgi.app("stalls", SOURCE)


def test_a_stall_is_logged_once_with_its_stack(nginx, app):
    nginx.start(f"asgi_app {app};", http="asgi_stall_warning 300ms;")
    client = nginx.client()
    assert client.get("/?2").text == "done"
    line = nginx.wait_log("has not turned for")
    assert "[warn]" in line and '"main"' in line
    nginx.wait_log("blocks_in_here")
    assert len(nginx.log_lines("has not turned for")) == 1
    # The next one is logged again.
    assert client.get("/?2").text == "done"
    assert len(nginx.log_lines("has not turned for")) == 2


def test_the_default_is_a_second(nginx, app):
    nginx.start(f"asgi_app {app};")
    client = nginx.client()
    assert client.get("/?0.4").text == "done"
    assert not nginx.log_lines("has not turned for")
    assert client.get("/?3").text == "done"
    assert nginx.wait_log("has not turned for")


@pytest.mark.parametrize("value", ["off", "0"])
def test_off(nginx, app, value):
    nginx.start(f"asgi_app {app};", http=f"asgi_stall_warning {value};")
    assert nginx.client().get("/?2").text == "done"
    assert not nginx.log_lines("has not turned for")


def test_a_loop_that_waits_is_none(nginx, asgi):
    app = asgi.app(
        "waits",
        """
        async def answer(request):
            await request.sleep(1.5)
            await request.respond(b"done")
        """,
    )
    nginx.start(f"asgi_app {app};", http="asgi_stall_warning 200ms;")
    assert nginx.client().get("/").text == "done"
    assert not nginx.log_lines("has not turned for")


def test_the_loop_is_named(nginx, app):
    nginx.start(
        f"asgi_app {app}; asgi_event_loop other;",
        http="asgi_stall_warning 300ms; python_event_loop other;",
    )
    assert nginx.client().get("/?2").text == "done"
    assert '"other"' in nginx.wait_log("has not turned for")


# Mistakes


@pytest.mark.parametrize("value", ["0", "off", "1ms", "2m"])
def test_times(nginx, value):
    result = nginx.check("return 204;", http=f"asgi_stall_warning {value};")
    assert result.returncode == 0, result.stderr
