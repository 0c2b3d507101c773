"""asgi_lifespan: whether there is a lifespan, and how long its startup and shutdown may take."""

from __future__ import annotations

import pytest

# What the application does at startup and shutdown is in its name: MODE_STARTUP_SHUTDOWN.
SOURCE = """
    import asyncio
    import json

    from testkit import DATA, record

    async def lifespan(scope, receive, send):
        record("called")
        if "raises" in __name__:
            raise RuntimeError("no lifespan here")
        assert (await receive())["type"] == "lifespan.startup"
        record("startup")
        if "hangs" in __name__:
            while not (DATA / "go").exists():
                await asyncio.sleep(0.01)
        if "fails" in __name__:
            await send({"type": "lifespan.startup.failed", "message": "no database"})
            return
        scope["state"]["word"] = "kept"
        await send({"type": "lifespan.startup.complete"})
        assert (await receive())["type"] == "lifespan.shutdown"
        record("shutdown")
        if "lingers" in __name__:
            try:
                await asyncio.sleep(60)
            finally:
                record("cancelled")
        await send({"type": "lifespan.shutdown.complete"})

    async def application(scope, receive, send):
        if scope["type"] == "lifespan":
            return await lifespan(scope, receive, send)
        record("request")
        await send({"type": "http.response.start", "status": 200, "headers": []})
        body = json.dumps(scope.get("state")).encode()
        await send({"type": "http.response.body", "body": body})
"""


@pytest.fixture
def app(nginx):
    def make(name: str = "plain"):
        return nginx.app(name, SOURCE)

    return make


@pytest.mark.parametrize("mode", ["", "asgi_lifespan auto;", "asgi_lifespan on;"])
def test_startup_before_the_first_request_and_shutdown_at_the_exit(nginx, app, mode):
    use = f"asgi_app {app()}; {mode}"
    nginx.start(server=f"location /a {{ {use} }} location /b {{ {use} }}")
    client = nginx.client()
    assert [client.get(path).json() for path in ("/a", "/b", "/a")] == [{"word": "kept"}] * 3
    nginx.quit()
    for name in ("called", "startup", "shutdown"):
        assert nginx.recorded(name) == ["-"], name


def test_off(nginx, app):
    nginx.start(f"asgi_app {app()}; asgi_lifespan off;")
    assert nginx.client().get("/").status_code == 200
    nginx.quit()
    assert nginx.recorded("called") == []


def test_auto_does_without_for_an_application_that_raises(nginx, app):
    nginx.start(f"asgi_app {app('raises')};")
    assert nginx.client().get("/").status_code == 200
    assert nginx.recorded("called") == ["-"]
    assert "[error]" not in nginx.error_log()


def test_on_an_application_that_raises_has_failed(nginx, app, say):
    nginx.start(
        f"asgi_app {app('raises')}; asgi_lifespan on;",
        server=f"location /wsgi {{ wsgi_app {say('wsgi')}; }}",
    )
    client = nginx.client()
    assert client.get("/").status_code == 500
    assert nginx.wait_log("no lifespan here")
    assert nginx.recorded("request") == []
    assert client.get("/wsgi").text == "wsgi"


@pytest.mark.parametrize("mode", ["auto", "on"])
def test_a_startup_that_fails(nginx, app, mode):
    nginx.start(f"asgi_app {app('fails')}; asgi_lifespan {mode};")
    assert nginx.client().get("/").status_code == 500
    assert nginx.wait_log("no database")
    assert nginx.recorded("request") == []


def test_requests_wait_for_the_startup(nginx, app, background):
    nginx.start(f"asgi_app {app('hangs')};")
    answers = [background("/") for _ in range(3)]
    nginx.wait_recorded("startup")
    assert not any(answer.done() for answer in answers)
    nginx.open_gate("go")
    assert {answer.result().status_code for answer in answers} == {200}


def test_startup_timeout(nginx, app):
    nginx.start(f"asgi_app {app('hangs')}; asgi_lifespan auto startup_timeout=300ms;")
    assert nginx.client().get("/").status_code == 500
    assert nginx.wait_log("startup_timeout")
    assert nginx.recorded("request") == []


def test_shutdown_timeout(nginx, app):
    nginx.start(f"asgi_app {app('lingers')}; asgi_lifespan on shutdown_timeout=300ms;")
    assert nginx.client().get("/").status_code == 200
    nginx.quit(timeout=10)
    assert nginx.recorded("shutdown") == ["-"]
    assert nginx.recorded("cancelled") == ["-"]
    assert nginx.log_lines("shutdown_timeout")


def test_inheritance(nginx, app):
    nginx.start(
        f"asgi_app {app('first')};",
        http="asgi_lifespan off;",
        server=f"""
        location /on {{
            asgi_lifespan on;
            asgi_app {app("second")};
            if ($arg_if) {{ set $x 1; }}
            location /on/below {{ asgi_app {app("third")}; }}
        }}
        """,
    )
    client = nginx.client()
    states = [client.get(path).json() for path in ("/", "/on", "/on?if=1", "/on/below")]
    assert states == [None, *[{"word": "kept"}] * 3]


# Mistakes


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
