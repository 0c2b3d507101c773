"""post_action: nginx passes the same request to another location after its end."""

from __future__ import annotations

import pytest
from rawhttp import wait_for
from rawhttp2 import Http2

SOURCE = """
    from testkit import gate, record

    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        path = environ["PATH_INFO"]
        if path == "/probe":
            return [b"here"]
        name = "after" if path == "/after" else "first"
        pywsgi = environ["pywsgi.request"]
        record(f"{name}-called")
        gate(f"{name}-gate")
        record(f"{name}-left", f"disconnected={pywsgi.disconnected}")
        return [name.encode()]
"""


@pytest.fixture(params=[False, True], ids=["http1", "http2"])
def http2(request):
    return request.param


@pytest.fixture
def logged(nginx, http2):
    """Starts nginx; returns a function that returns the access log's lines of the first request."""
    app = nginx.app("app", SOURCE)
    nginx.start(
        f"wsgi_app {app}; post_action /after;",
        server=f"""
        location /after {{ wsgi_app {app}; wsgi_thread_pool other; access_log logs/after.log; }}
        location /probe {{ wsgi_app {app}; wsgi_thread_pool probe; access_log off; }}
        """,
        http="python_thread_pool other threads=1; python_thread_pool probe threads=1;",
        http2=http2,
    )

    def lines() -> list[str]:
        # Earlier events of the threads are handled before this request is answered.
        assert nginx.client(http2=http2).get("/probe").text == "here"
        path = nginx.root / "logs" / "after.log"
        return path.read_text().splitlines() if path.exists() else []

    return lines


def leave(nginx, http2: bool) -> None:
    """A client that leaves once the application runs."""
    if http2:
        with Http2(nginx.port) as client:
            stream = client.request("/")
            nginx.wait_recorded("first-called")
            client.reset(stream)
            nginx.wait_recorded("after-called")
        return
    with nginx.connect() as client:
        client.get("/")
        nginx.wait_recorded("first-called")
        client.reset()


def test_after_a_client_that_leaves(nginx, logged, http2):
    leave(nginx, http2)
    nginx.wait_recorded("after-called")
    nginx.open_gate("first-gate")
    # The application was told at once; its late answer does not end the post_action.
    assert nginx.wait_recorded("first-left") == ["disconnected=True"]
    assert logged() == []
    nginx.open_gate("after-gate")
    # A post_action has no client that could leave.
    assert nginx.wait_recorded("after-left") == ["disconnected=False"]
    wait_for(logged, what="the request in the access log")
    assert len(logged()) == 1
    assert len(nginx.recorded("after-called")) == 1


def test_after_a_whole_response(nginx, logged, http2):
    nginx.open_gate("first-gate")
    assert nginx.client(http2=http2).get("/").text == "first"
    nginx.wait_recorded("after-called")
    assert logged() == []
    nginx.open_gate("after-gate")
    assert nginx.wait_recorded("after-left") == ["disconnected=False"]
    wait_for(logged, what="the request in the access log")
    assert len(nginx.recorded("after-called")) == 1


@pytest.mark.threads("inline the event loop sees no client leave while it is in a call")
def test_to_a_location_that_is_not_ours(nginx):
    app = nginx.app("app", SOURCE)
    nginx.start(
        f"wsgi_app {app}; post_action /after;",
        server="location /after { access_log logs/after.log; return 204; }",
    )
    with nginx.connect() as client:
        client.get("/")
        nginx.wait_recorded("first-called")
        client.reset()
    # nginx creates the file when it starts.
    log = nginx.root / "logs" / "after.log"
    wait_for(lambda: log.read_text(), what="the request in the access log")
    nginx.open_gate("first-gate")
    assert nginx.wait_recorded("first-left") == ["disconnected=True"]
