"""Iterations that yield only empty blocks end when nobody waits for their response any more."""

from __future__ import annotations

import pytest

SILENT = """
    from testkit import record

    class Silence:
        def __init__(self, first):
            self.first = first

        def __iter__(self):
            return self

        def __next__(self):
            first, self.first = self.first, b""
            return first

        def close(self):
            record("closed")

    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        record("called")
        return Silence(environ["PATH_INFO"].encode()[1:])
"""


@pytest.mark.parametrize("path", ["/", "/first"])
def test_empty_blocks_end_when_the_client_has_left(nginx, serve, path):
    serve(SILENT)
    with nginx.connect() as client:
        client.get(path)
        nginx.wait_recorded("called")
        client.reset()
    nginx.wait_recorded("closed")
    assert not nginx.log_lines("[error]")


def test_empty_blocks_end_with_wsgi_timeout(nginx, serve, fetch):
    serve(SILENT, "wsgi_timeout 1s;")
    assert fetch().status == 504
    nginx.wait_recorded("closed")


def test_empty_blocks_end_where_another_location_answers(nginx):
    source = SILENT.replace('("Content-Type", "text/plain")', '("X-Accel-Redirect", "/other")')
    nginx.start(
        f"wsgi_app {nginx.app('app', source)};",
        server="location = /other { return 200 other; }",
    )
    assert nginx.client().get("/first").text == "other"
    nginx.wait_recorded("closed")


def test_empty_blocks_end_with_the_worker(nginx, serve):
    serve(SILENT, http="python_drain_timeout 1s; python_finalize on timeout=60s;")
    nginx.connect().get("/first")
    nginx.wait_recorded("called")
    nginx.quit()
    assert nginx.recorded("closed")
    assert not nginx.log_lines("Python did not end")


def test_empty_blocks_for_a_client_that_is_ignored(nginx, serve):
    source = """
        from testkit import gate, record

        def silence():
            for number in range(3):
                gate(f"gate-{number}")
                yield b""
                record("went on")

        def application(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/plain")])
            record("called")
            return silence()
    """
    serve(source, "wsgi_client_abort ignore;")
    with nginx.connect() as client:
        client.get()
        nginx.wait_recorded("called")
        client.reset()
    for number in range(3):
        nginx.open_gate(f"gate-{number}")
    nginx.wait_recorded("went on", 3)
