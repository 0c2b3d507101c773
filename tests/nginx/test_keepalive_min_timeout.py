"""keepalive_min_timeout (nginx 1.27.4): a worker that exits still serves idle connections."""

from __future__ import annotations

import pytest
from harness import NGINX_VERSION
from rawhttp import wait_for

SOURCE = """
    import os

    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "7")])
        return [b"%-7d" % os.getpid()]
"""

pytestmark = pytest.mark.skipif(NGINX_VERSION < (1, 27, 4), reason="nginx has it since 1.27.4")


def ask(connection) -> tuple[int, bytes]:
    connection.get("/")
    answer = connection.response()
    return answer.status, answer.body.strip()


def test_a_kept_connection_is_served_by_the_worker_that_is_to_exit(nginx):
    nginx.start(
        f"wsgi_app {nginx.app('pid', SOURCE)};",
        http="keepalive_min_timeout 60s;\npython_drain_timeout 100ms;",
    )
    with nginx.connect() as connection:
        status, pid = ask(connection)
        assert status == 200
        nginx.reload()
        assert ask(connection) == (200, pid)
    with nginx.connect() as connection:
        status, other = ask(connection)
        assert status == 200
        assert other != pid
    # The old worker exits when its last connection is closed.
    wait_for(lambda: int(pid) not in nginx.workers(leaving=True), 60, "the old worker's end")
