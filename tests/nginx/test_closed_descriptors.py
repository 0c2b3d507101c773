"""An application that closes nginx's descriptors ends its worker, and harms no connection."""

from __future__ import annotations

import contextlib

import httpx
import pytest
from rawhttp import wait_for

CLOSES = """
    import os, time
    from testkit import gate

    def application(environ, start_response):
        query = environ["QUERY_STRING"]
        if query == "eventfds":
            for number in os.listdir("/proc/self/fd"):
                try:
                    if "eventfd" in os.readlink(f"/proc/self/fd/{number}"):
                        os.close(int(number))
                except OSError:
                    pass
        elif query == "all":
            os.closerange(3, os.sysconf("SC_OPEN_MAX"))
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"whole"]
"""


@pytest.mark.parametrize("what", ["eventfds", "all"])
def test_an_application_that_closes_nginx_s_descriptors_ends_its_worker(nginx, what):
    """Nothing is written to a new connection that has the number of a closed descriptor."""
    if what == "all":
        nginx.allow_log(r"\[alert\].* failed \(9: Bad file descriptor\)")
    nginx.start(f"wsgi_app {nginx.app('app', CLOSES)};")
    client = nginx.client()
    assert client.get("/").text == "whole"
    (worker,) = nginx.workers()
    idle = [nginx.connect() for _ in range(20)]
    with nginx.connect() as connection:
        connection.get(f"/?{what}", close=True)
        # The response, unless the event loop already slept.
        connection.rest()

    def is_replaced() -> bool:
        """The next requests need the eventfd, sooner or later."""
        with contextlib.suppress(httpx.TransportError):
            nginx.client().get("/")
        return bool(nginx.workers()) and nginx.workers() != [worker]

    wait_for(is_replaced, what="another worker")
    assert nginx.log_lines("descriptors of nginx's have been closed")
    wait_for(lambda: nginx.client().get("/").status_code == 200, what="an answer of it")
    for connection in idle:
        assert connection.rest() == b""
