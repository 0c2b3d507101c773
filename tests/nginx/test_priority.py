"""worker_priority: a raised priority is for the event loop, not for the applications."""

from __future__ import annotations

import os

import pytest

SOURCE = """
    import os
    import subprocess
    import threading

    def nice():
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    def application(environ, start_response):
        seen = [nice()]
        thread = threading.Thread(target=lambda: seen.append(nice()))
        thread.start()
        thread.join()
        seen.append(int(subprocess.run(["nice"], capture_output=True, check=True).stdout))
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [" ".join(map(str, seen)).encode()]
"""


def expect(nginx, priority: int, pythons: int, location: str = "") -> None:
    app = nginx.app("app", SOURCE)
    nginx.start(f"wsgi_app {app}; {location}", main=f"worker_priority {priority};")
    assert nginx.client().get("/").text == " ".join([str(pythons)] * 3)
    # The process's id is that of its first thread, the event loop.
    assert os.getpriority(os.PRIO_PROCESS, nginx.workers()[0]) == priority


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may ask for a higher priority")
@pytest.mark.threads("inline the application has the event loop's priority")
@pytest.mark.parametrize("priority", [-1, -20])
def test_a_higher_priority_is_the_event_loops(nginx, priority):
    expect(nginx, priority, 0)


def test_a_lower_priority_is_everybodys(nginx):
    expect(nginx, 5, 5)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may ask for a higher priority")
def test_inline_the_application_is_the_event_loop(nginx):
    """Its children are started by the event loop's thread, and inherit its priority."""
    expect(nginx, -5, -5, "wsgi_thread_pool inline;")
