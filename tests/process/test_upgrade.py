"""What replaces processes while clients ask: recycling, and an upgrade of nginx's binary."""

from __future__ import annotations

import os
import signal

import pytest
from process.load import Load
from process_memory import children, is_alive
from rawhttp import wait_for

APP = """
    import os

    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [str(os.getppid()).encode()]
"""
LIVE = """
    import os
    from testkit import respond

    async def application(scope, receive, send):
        await respond(send, str(os.getppid()).encode())
"""


@pytest.fixture
def contexts(nginx):
    shop, live = nginx.app("shop", APP), nginx.app("live", LIVE)
    return {
        "server": f"""
            location /shop {{ wsgi_app {shop}; wsgi_process shop; }}
            location /live {{ asgi_app {live}; asgi_process live; asgi_lifespan off; }}
        """,
        "workers": 2,
    }


GROUPS = "python_process shop processes=2; python_process live;"


def test_recycling_under_load(nginx, contexts):
    nginx.start(http=f"{GROUPS} python_max_requests 200;", **contexts)
    first = {name: nginx.wait_processes(name, count) for name, count in (("shop", 2), ("live", 1))}
    with Load(nginx, ["/shop", "/live"] * 2) as load:
        for name, pids in first.items():
            gone = lambda name=name, pids=pids: not {*nginx.processes(name)} & {*pids}  # noqa: E731
            wait_for(gone, 60, f"other processes of {name}")
    assert load.answers() == [{(200, str(nginx.master))}] * 4


@pytest.mark.unsanitized("a new binary has lost its options")
@pytest.mark.parametrize("end", ["old", "new"])
def test_an_upgrade_of_the_binary_under_load(nginx, upgradable, contexts, end):
    """Each request has its own connection: WINCH has nginx close those that are kept alive."""
    first = upgradable(http=GROUPS, **contexts)
    with Load(nginx, ["/shop", "/live"] * 2, Connection="close") as load:
        second = upgradable.upgrade()
        wait_for(lambda: len(children(second)) == 5, what="the workers of the second master")
        fresh = nginx.client(headers={"Connection": "close"})
        wait_for(lambda: fresh.get("/shop").text == str(second), what="the new workers")
        left, stays = (second, first) if end == "new" else (first, second)
        os.kill(left, signal.SIGWINCH)
        workers_of = lambda pid: {*children(pid)} - {*upgradable.masters}  # noqa: E731
        wait_for(lambda: not workers_of(left), 60, "the end of its workers")
        os.kill(left, signal.SIGQUIT)
        wait_for(lambda: not is_alive(left), what="its end")
        assert {fresh.get(path).text for path in ("/shop", "/live")} == {str(stays)}
    statuses = {status for client in load.answers() for status, _ in client}
    assert statuses == {200}
    bodies = {body for client in load.answers() for _, body in client}
    assert bodies <= {str(first), str(second)}
