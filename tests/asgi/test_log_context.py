"""The lines that an application logs carry the request of the task that has said them."""

from __future__ import annotations

import re

import pytest

# Two requests whose lines alternate, on one loop.
INTERLEAVED = """
    import asyncio
    import logging
    import sys
    import warnings
    from testkit import respond

    turn = {{0: asyncio.Event(), 1: asyncio.Event()}}

    def says(text):
        {says}

    async def application(scope, receive, send):
        own = int(scope["path"][-1])
        for number in range(5):
            {statement}
            turn[1 - own].set()
            await asyncio.wait_for(turn[own].wait(), 30)
            turn[own].clear()
        turn[1 - own].set()
        await respond(send, b"said")
"""
WAYS = {
    "print": "print(text)",
    "stderr": "print(text, file=sys.stderr)",
    "logging": "logging.getLogger('app').error(text)",
    "warnings": "warnings.warn(text, stacklevel=2)",
}


def assert_their_own(nginx, count: int = 5) -> None:
    """Each line that says of which request it is carries that one."""
    for own in (0, 1):
        for number in range(count):
            lines = nginx.log_lines(f"line {number} of {own}.")
            assert lines, f"line {number} of {own} is not in the log"
            for line in lines:
                assert re.search(rf" \*\d+ .*request: \"GET /{own} ", line), line


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "statement",
    [
        'says(f"line {number} of {own}.")',
        'await asyncio.to_thread(says, f"line {number} of {own}.")',
        'await asyncio.create_task(asyncio.to_thread(says, f"line {number} of {own}."))',
        'asyncio.get_running_loop().call_soon(says, f"line {number} of {own}.")'
        "; await asyncio.sleep(0.01)",
    ],
    ids=["task", "to_thread", "task-and-thread", "call_soon"],
)
def test_interleaved_tasks(nginx, serve, background, way, statement):
    serve(INTERLEAVED.format(says=WAYS[way], statement=statement))
    answers = [background("/0"), background("/1")]
    assert [answer.result().text for answer in answers] == ["said"] * 2
    nginx.wait_log("line 4 of 0.")
    nginx.wait_log("line 4 of 1.")
    assert_their_own(nginx)


def test_tracebacks_of_interleaved_tasks(nginx, serve, background):
    serve(
        """
        import asyncio

        count = 0

        async def application(scope, receive, send):
            global count
            count += 1
            while count < 2:
                await asyncio.sleep(0.01)
            raise ValueError(f"line 0 of {scope['path'][-1]}.")
        """
    )
    answers = [background("/0"), background("/1")]
    assert [answer.result().status_code for answer in answers] == [500] * 2
    nginx.wait_log("line 0 of 0.")
    nginx.wait_log("line 0 of 1.")
    assert_their_own(nginx, 1)
    for line in nginx.log_lines("Traceback"):
        assert 'request: "GET /' in line


def test_what_runs_outside_of_requests_has_none(nginx, serve):
    """A task of the lifespan's, while requests run."""
    serve(
        """
        import asyncio
        from testkit import DATA, respond

        async def says():
            while not (DATA / "stop").exists():
                print("of no request")
                await asyncio.sleep(0.01)

        async def application(scope, receive, send):
            if scope["type"] == "lifespan":
                await receive()
                task = asyncio.create_task(says())
                await send({"type": "lifespan.startup.complete"})
                await receive()
                await task
                return await send({"type": "lifespan.shutdown.complete"})
            await asyncio.sleep(0.05)
            await respond(send, b"served")
        """,
        "asgi_lifespan on;",
    )
    client = nginx.client()
    for _ in range(5):
        assert client.get("/").text == "served"
    nginx.open_gate("stop")
    lines = nginx.log_lines("of no request")
    assert len(lines) > 5
    assert not [line for line in lines if "request:" in line]


def test_background_work_carries_its_request(nginx, serve):
    serve(
        """
        import asyncio
        from testkit import opened, record, respond

        async def application(scope, receive, send):
            await respond(send, b"served")
            await opened("later")
            print(f"later of {scope['path']}.")
            record("said")
        """
    )
    client = nginx.client()
    for path in ("/0", "/1"):
        assert client.get(path, headers={"Host": "of.example"}).text == "served"
    nginx.open_gate("later")
    nginx.wait_recorded("said", 2)
    for path in ("/0", "/1"):
        line = nginx.wait_log(f"later of {path}.")
        assert f'request: "GET {path} ' in line
        assert 'host: "of.example"' in line


def test_a_line_at_the_end_of_a_response_is_there_when_its_client_has_it(nginx, serve):
    serve(
        """
        async def application(scope, receive, send):
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
            raise RuntimeError("in the middle")
        """
    )
    for number in range(30):
        before = len(nginx.error_log())
        with nginx.connect() as connection:
            connection.get(f"/{number}")
            connection.rest()
        lines = [line for line in nginx.error_log()[before:].splitlines() if "[error]" in line]
        assert any("RuntimeError: in the middle" in line for line in lines)
        assert all(f'request: "GET /{number} ' in line for line in lines), lines


def test_two_sites_with_logs_of_their_own(nginx, serve):
    app = nginx.app(
        "app",
        """
        import asyncio
        from testkit import respond

        async def application(scope, receive, send):
            await asyncio.sleep(0.01)
            print("of " + scope["path"])
            await respond(send, b"served")
        """,
    )
    with_app = f"asgi_app {app}; asgi_lifespan off;"
    nginx.start(
        server=f"""
        error_log logs/one.log info;
        location / {{ {with_app} }}
        location /two {{ {with_app} error_log logs/two.log info; }}
        """
    )
    client = nginx.client()
    assert client.get("/one").text == client.get("/two").text == "served"
    nginx.quit()
    one, two = ((nginx.root / "logs" / name).read_text() for name in ("one.log", "two.log"))
    assert "of /one" in one
    assert "of /two" in two
    assert "of /two" not in one
    assert "of /" not in nginx.error_log()


def test_the_access_log_has_the_response(nginx, serve):
    serve(
        """
        from testkit import respond

        async def application(scope, receive, send):
            await respond(send, b"12345", status=404)
        """
    )
    nginx.client().get("/seen")
    nginx.quit()
    log = (nginx.root / "logs" / "access.log").read_text()
    assert '"GET /seen HTTP/1.1" 404 5 ' in log
