"""asgi_lifespan: startup before the first request, state, shutdown once at a worker's end."""

from __future__ import annotations

import contextlib
import time

import pytest
from rawhttp import wait_for

LIFESPAN = """
    import os
    from testkit import opened, record, respond

    async def application(scope, receive, send):
        if scope["type"] == "lifespan":
            record("scopes", repr({{key: scope[key] for key in ("asgi", "state")}}))
            while True:
                message = await receive()
                if message["type"] == "lifespan.startup":
                    record("startup", os.getpid())
                    {startup}
                    scope["state"]["list"] = []
                    scope["state"]["number"] = 1
                    await send({{"type": "lifespan.startup.complete"}})
                    record("started", os.getpid())
                else:
                    record("messages", repr(message))
                    {shutdown}
                    await send({{"type": "lifespan.shutdown.complete"}})
                    record("shutdown", os.getpid())
                    return
        record("requests", scope["path"])
        state = scope["state"]
        text = repr((len(state["list"]), state["number"], sorted(state)))
        state["list"].append(1)
        state["number"] = 2
        state["own"] = 3
        await respond(send, text.encode())
"""


@pytest.fixture
def start(nginx, serve):
    """`start()` starts nginx with an application that has a lifespan.

    startup, shutdown: statements before it says that it has done that.
    """

    def begin(
        location: str = "",
        *,
        mode: str = "auto",
        startup: str = "pass",
        shutdown: str = "pass",
        **o,
    ):
        source = LIFESPAN.format(startup=startup, shutdown=shutdown)
        serve(source, f"asgi_lifespan {mode};\n{location}", **o)
        return nginx.client()

    return begin


@pytest.mark.parametrize("mode", ["auto", "on"])
def test_startup_before_the_first_request_and_shutdown_at_the_end(nginx, start, mode):
    client = start(mode=mode)
    (worker,) = nginx.runners()
    assert client.get("/").status_code == 200
    assert nginx.recorded("startup") == nginx.recorded("started") == [str(worker)]
    assert nginx.recorded("messages") == []
    nginx.quit()
    assert nginx.recorded("messages") == ["{'type': 'lifespan.shutdown'}"]
    assert nginx.recorded("shutdown") == [str(worker)]
    assert not nginx.log_lines("[error]")


def test_startup_without_a_request(nginx, start):
    """It does not wait for the first one."""
    start()
    assert len(nginx.wait_recorded("started")) == 1


def test_the_scope_of_a_lifespan(nginx, start):
    start()
    (scope,) = nginx.wait_recorded("scopes")
    assert eval(scope) == {"asgi": {"version": "3.0", "spec_version": "2.0"}, "state": {}}


def test_state_is_a_shallow_copy_for_each_request(start):
    client = start()
    names = ["list", "number"]
    assert [eval(client.get("/").text) for _ in range(3)] == [
        (0, 1, names),
        (1, 1, names),
        (2, 1, names),
    ]


def test_each_worker_has_its_lifespan(nginx, start):
    start(workers=2)
    pids = {str(pid) for pid in nginx.runners()}
    nginx.wait_recorded("started", 2)
    nginx.quit()
    for name in ("startup", "shutdown"):
        assert sorted(nginx.recorded(name)) == sorted(pids)


def test_one_for_all_locations_of_an_application(nginx, serve):
    source = LIFESPAN.format(startup="pass", shutdown="pass")
    app = nginx.app("app", source)
    nginx.start(
        f"asgi_app {app};",
        server=f"location /more {{ asgi_app {app}; }} location /api {{ asgi_app {app};"
        " asgi_script_name /api; }",
        http=f"server {{ listen unix:{nginx.root}/a.sock; location / {{ asgi_app {app}; }} }}",
    )
    client = nginx.client()
    assert [eval(client.get(path).text)[0] for path in ("/", "/more", "/api")] == [0, 1, 2]
    nginx.quit()
    assert len(nginx.recorded("startup")) == len(nginx.recorded("shutdown")) == 1


def test_two_applications_have_two(nginx):
    paths = [
        nginx.app(name, LIFESPAN.format(startup="pass", shutdown="pass")) for name in ("a", "b")
    ]
    nginx.start(f"asgi_app {paths[0]};", server=f"location /b {{ asgi_app {paths[1]}; }}")
    client = nginx.client()
    assert eval(client.get("/").text)[0] == eval(client.get("/b").text)[0] == 0
    nginx.quit()
    assert len(nginx.recorded("startup")) == len(nginx.recorded("shutdown")) == 2


def test_requests_wait_for_a_slow_startup(nginx, start, background):
    nginx.page("static.txt", "static")
    start(
        startup="await opened('go-on')",
        server=f"location /static.txt {{ root {nginx.html}; }}",
    )
    waiting = [background(f"/{number}") for number in range(5)]
    nginx.wait_recorded("startup")
    assert nginx.client().get("/static.txt").text == "static"
    assert not any(answer.done() for answer in waiting)
    assert nginx.recorded("requests") == []
    nginx.open_gate("go-on")
    assert [answer.result().status_code for answer in waiting] == [200] * 5


def test_a_slow_startup_holds_up_its_own_application_alone(nginx, start, background):
    other = nginx.app(
        "other",
        """
        from testkit import respond

        async def application(scope, receive, send):
            await respond(send, b"other")
        """,
    )
    start(
        startup="await opened('go-on')",
        server=f"location /other {{ asgi_app {other}; asgi_lifespan off; }}",
    )
    waiting = background("/")
    assert nginx.client().get("/other").text == "other"
    assert not waiting.done()
    nginx.open_gate("go-on")
    assert waiting.result().status_code == 200


NO_DATABASE = "await send({'type': 'lifespan.startup.failed', 'message': 'no database'})"
FAILURES = {
    "failed": f"{NO_DATABASE}; return",
    "failed-without-a-message": "await send({'type': 'lifespan.startup.failed'}); return",
    "raises-after-failed": f"{NO_DATABASE}; raise ValueError('of the app')",
}


@pytest.mark.parametrize("mode", ["auto", "on"])
@pytest.mark.parametrize("startup", FAILURES.values(), ids=FAILURES)
def test_a_startup_that_fails_is_a_500_and_a_line(nginx, start, mode, startup):
    nginx.page("static.txt", "static")
    other = nginx.app(
        "other",
        """
        from testkit import respond

        async def application(scope, receive, send):
            await respond(send, b"other")
        """,
    )
    client = start(
        mode=mode,
        startup=startup,
        server=f"location /static.txt {{ root {nginx.html}; }}"
        f" location /other {{ asgi_app {other}; asgi_lifespan off; }}",
    )
    (worker,) = nginx.runners()
    assert client.get("/").status_code == 500
    assert client.get("/other").text == "other"
    assert client.get("/static.txt").text == "static"
    assert nginx.runners() == [worker]
    line = nginx.wait_log("lifespan.startup.failed")
    assert "[error]" in line
    assert "app.py" in "".join(nginx.log_lines("[error]"))
    if "no database" in startup:
        assert nginx.log_lines("no database")
    assert nginx.recorded("requests") == []


RAISES = {
    "raises": "raise ValueError('cannot start')",
    "returns": "return",
    "system-exit": "raise SystemExit('cannot start')",
}


@pytest.mark.parametrize("startup", RAISES.values(), ids=RAISES)
def test_on_wants_a_lifespan(nginx, start, startup):
    client = start(mode="on", startup=startup)
    assert client.get("/").status_code == 500
    line = nginx.wait_log("lifespan")
    assert "[error]" in line
    if "raise" in startup:
        assert nginx.log_lines("cannot start")
    assert nginx.recorded("requests") == []


WITHOUT = """
    from testkit import record, respond

    async def application(scope, receive, send):
        {statement}
        record("state", scope.get("state"))
        await respond(send, b"served")
"""


@pytest.mark.parametrize(
    "statement",
    [
        "assert scope['type'] == 'http'",
        "if scope['type'] == 'lifespan': return",
        "if scope['type'] == 'lifespan': raise SystemExit(1)",
        "if scope['type'] == 'lifespan': await receive(); raise ValueError('begun')",
    ],
)
def test_auto_serves_an_application_that_has_none(nginx, serve, statement):
    serve(WITHOUT.format(statement=statement), "asgi_lifespan auto;")
    assert nginx.client().get("/").text == "served"
    assert not nginx.log_lines("[error]")
    nginx.quit()
    assert not nginx.log_lines("[error]")


def test_off_calls_no_lifespan(nginx, start):
    app = nginx.app("none", WITHOUT.format(statement="record('types', scope['type'])"))
    nginx.start(f"asgi_app {app}; asgi_lifespan off;")
    assert nginx.client().get("/").text == "served"
    nginx.quit()
    assert nginx.recorded("types") == ["http"]


def test_a_startup_that_takes_too_long_is_a_500_and_a_line(nginx, start):
    client = start(mode="auto startup_timeout=1s", startup="await opened('never')")
    begun = time.monotonic()
    assert client.get("/").status_code == 500
    assert time.monotonic() - begun < 20
    line = nginx.wait_log("startup_timeout")
    assert "[error]" in line
    assert nginx.recorded("requests") == []


def test_a_shutdown_that_takes_too_long_is_cut(nginx, start):
    client = start(mode="auto shutdown_timeout=1s", shutdown="await opened('never')")
    assert client.get("/").status_code == 200
    begun = time.monotonic()
    nginx.quit(timeout=30)
    assert time.monotonic() - begun < 20
    assert len(nginx.recorded("messages")) == 1
    assert nginx.log_lines("shutdown_timeout")


@pytest.mark.parametrize(
    ("shutdown", "text"),
    [
        ("await send({'type': 'lifespan.shutdown.failed', 'message': 'of the app'}); return",) * 2,
        ("raise ValueError('of the app')",) * 2,
    ],
)
def test_a_shutdown_that_fails_is_logged(nginx, start, shutdown, text):
    client = start(shutdown=shutdown)
    assert client.get("/").status_code == 200
    nginx.quit()
    line = nginx.wait_log("of the app")
    assert "[error]" in line


def test_shutdown_comes_after_the_last_request(nginx, serve):
    """A graceful exit: requests end, and what they do afterwards, then the lifespan."""
    serve(
        """
        from testkit import opened, record, respond

        async def application(scope, receive, send):
            if scope["type"] == "lifespan":
                await receive()
                await send({"type": "lifespan.startup.complete"})
                await receive()
                record("order", "shutdown")
                return await send({"type": "lifespan.shutdown.complete"})
            record("entered")
            await opened("request")
            await respond(send, b"served")
            record("order", "responded")
            await opened("background")
            record("order", "background")
        """,
        "asgi_lifespan on;",
    )
    import os
    import signal

    with nginx.connect() as connection:
        connection.get(close=True)
        nginx.wait_recorded("entered")
        os.kill(nginx.master, signal.SIGQUIT)
        wait_for(lambda: not nginx.workers(), what="a worker that shuts down")
        nginx.open_gate("request")
        assert connection.response().body == b"served"
        nginx.wait_recorded("order")
        nginx.open_gate("background")
    wait_for(lambda: not nginx.is_running(), 60, "nginx's exit")
    assert nginx.recorded("order") == ["responded", "background", "shutdown"]


def test_a_reload_ends_each_lifespan_once(nginx, start):
    client = start()
    assert client.get("/").status_code == 200
    seen = set()
    for number in range(1, 4):
        seen |= set(nginx.runners())
        nginx.reload()
        nginx.wait_recorded("started", number + 1)
        nginx.wait_recorded("shutdown", number)
    seen |= set(nginx.runners())
    nginx.quit()
    expected = sorted(map(str, seen))
    for name in ("startup", "started", "shutdown"):
        assert sorted(nginx.recorded(name)) == expected
    assert len(expected) == 4


def test_an_application_that_failed_is_tried_again_when_its_file_has_changed(nginx, start):
    """As an import that failed is: the next version serves without a reload."""
    client = start(startup=FAILURES["failed"])
    assert client.get("/").status_code == 500
    nginx.app("app", LIFESPAN.format(startup="pass", shutdown="pass"))

    def served() -> bool:
        return client.get("/").status_code == 200

    wait_for(served, 60, "the next version")
    nginx.quit()
    assert len(nginx.recorded("shutdown")) == 1


def test_a_context_manager_as_starlette_has_it(nginx, serve):
    """Startup and shutdown run in one task: anyio's cancel scopes and contextvars need it."""
    serve(
        """
        import asyncio
        import contextvars
        from testkit import record, respond

        of_startup = contextvars.ContextVar("of_startup")

        async def application(scope, receive, send):
            if scope["type"] == "lifespan":
                await receive()
                task, loop = asyncio.current_task(), asyncio.get_running_loop()
                of_startup.set("set")
                scope["state"]["loop"] = loop
                await send({"type": "lifespan.startup.complete"})
                await receive()
                record("same", task is asyncio.current_task() and of_startup.get() == "set")
                return await send({"type": "lifespan.shutdown.complete"})
            same = scope["state"]["loop"] is asyncio.get_running_loop()
            await respond(send, repr((same, of_startup.get("unset"))).encode())
        """,
        "asgi_lifespan on;",
    )
    assert nginx.client().get("/").text == "(True, 'unset')"
    nginx.quit()
    assert nginx.recorded("same") == ["True"]


def test_tasks_that_a_startup_has_begun_run_on(nginx, serve):
    serve(
        """
        import asyncio
        from testkit import record, respond

        async def ticks(state):
            try:
                while True:
                    state["ticks"].append(1)
                    await asyncio.sleep(0.01)
            except asyncio.CancelledError:
                record("cancelled")
                raise

        async def application(scope, receive, send):
            if scope["type"] == "lifespan":
                await receive()
                scope["state"]["ticks"] = []
                task = asyncio.create_task(ticks(scope["state"]))
                await send({"type": "lifespan.startup.complete"})
                await receive()
                task.cancel()
                await asyncio.wait([task])
                return await send({"type": "lifespan.shutdown.complete"})
            await respond(send, str(len(scope["state"]["ticks"])).encode())
        """,
        "asgi_lifespan on;",
    )
    client = nginx.client()
    first = int(client.get("/").text)
    wait_for(lambda: int(client.get("/").text) > first + 10, what="more ticks")
    nginx.quit()
    assert nginx.recorded("cancelled") == ["-"]


def test_a_fast_exit_is_bounded(nginx, start):
    """TERM: whether or not the application is told, nginx leaves at once."""
    client = start(shutdown="await opened('never')")
    assert client.get("/").status_code == 200
    begun = time.monotonic()
    nginx.stop(timeout=30)
    assert time.monotonic() - begun < 10


def test_two_locations_must_agree(nginx):
    app = nginx.app("app", LIFESPAN.format(startup="pass", shutdown="pass"))
    result = nginx.check(
        f"asgi_app {app}; asgi_lifespan on;",
        server=f"location /more {{ asgi_app {app}; asgi_lifespan off; }}",
    )
    assert result.returncode != 0
    (line,) = [line for line in result.stderr.splitlines() if "[emerg]" in line]
    assert "asgi_lifespan" in line
    assert str(nginx.config) in line


def test_an_unclosed_lifespan_does_not_hang_a_worker_that_never_served(nginx, start):
    """The startup still runs when the worker has to leave."""
    start(mode="auto shutdown_timeout=1s", startup="await opened('never')")
    nginx.wait_recorded("startup")
    with contextlib.suppress(AssertionError):
        nginx.quit(timeout=40)
    assert not nginx.is_running()
