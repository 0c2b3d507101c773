"""While one application's import never ends, Python's main thread has no time for anything else."""

from __future__ import annotations

import pytest


@pytest.mark.threads("inline nobody can answer for the event loop while it is in a call")
def test_another_application_s_stack_is_logged(nginx):
    endless = nginx.app("endless", "import threading\n\nthreading.Event().wait()\n")
    slow = nginx.app(
        "slow",
        """
        from testkit import gate

        def wait_in_vain():
            gate("never")

        def application(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/plain")])
            wait_in_vain()
            return [b"x"]
        """,
    )
    # Imported in the order of the configuration.
    nginx.start(
        server=f"""
        location /endless {{ wsgi_app {endless}; }}
        location /slow {{ wsgi_app {slow}; wsgi_timeout 1s; }}
        """
    )
    assert nginx.client().get("/slow").status_code == 504
    nginx.wait_log("in wait_in_vain")
    nginx.open_gate("never")
