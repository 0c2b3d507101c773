"""os.fork in an application: a child that does not exit by itself is ended."""

from __future__ import annotations

import pytest

FORK = """\
import os
import sys
import time

def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    child = os.fork()
    if child == 0:
        {end}
    for _ in range(300):
        if os.waitpid(child, os.WNOHANG)[0]:
            return [b"the child has ended"]
        time.sleep(0.01)
    os.kill(child, 9)
    os.waitpid(child, 0)
    return [b"the child lives on"]
"""


@pytest.mark.parametrize(
    "end", ["return [b'x']", "sys.exit(0)", "raise ValueError('in the child')"]
)
def test_a_forked_child_that_leaves_the_application_ends(serve, fetch, end):
    # It has one thread and no event loop. It would keep the listening socket and the client's
    # connection open, and its parent waiting, for ever.
    serve(FORK.format(end=end))
    assert fetch().body == b"the child has ended"


def test_an_exception_in_a_forked_child_is_in_the_log(nginx, serve, fetch):
    serve(FORK.format(end="raise ValueError('in the child')"))
    fetch()
    nginx.wait_log("ValueError: in the child", timeout=5)
