"""A pool's thread is one that `threading` knows; and what puts something else in its place."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

import pytest


def test_hooks_of_threading_apply(nginx, serve):
    """coverage.py and debuggers use them; here a thread of the pool has started before."""
    serve(
        """
        import sys, threading

        seen = set()
        threading.settrace(lambda frame, event, arg: seen.add(frame.f_code.co_name))
        threading.setprofile(lambda frame, event, arg: seen.add("profile:" + frame.f_code.co_name))

        def view():
            return 1

        def application(environ, start_response):
            view()
            if environ["QUERY_STRING"] == "off":
                threading.settrace(None)
                threading.setprofile(None)
            names = list(seen)
            own = ("view", "application")
            text = " ".join(sorted(name for name in names if name.endswith(own)))
            seen.clear()
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [text.encode()]
        """
    )
    client = nginx.client()
    for query in ("", "", "?off"):
        assert client.get(f"/{query}").text == "application profile:application profile:view view"
    client.get("/")
    assert client.get("/").text == ""


@pytest.mark.threads("inline there is no pool")
def test_its_name(nginx, serve):
    serve(
        """
        import threading

        def application(environ, start_response):
            thread = threading.current_thread()
            known = thread in threading.enumerate() and thread.ident == threading.get_ident()
            text = f"{thread.name} {thread.daemon} {known}"
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [text.encode()]
        """
    )
    assert nginx.client().get("/").text == "py-default-1 True True"


def test_an_application_that_patches_threads_and_time(nginx, serve):
    """What gevent.monkey does, by hand: the module uses none of the names that are changed."""
    serve(
        """
        import threading, time

        real = threading.get_ident
        threading.get_ident = lambda: real() + 1
        threading.current_thread = threading.main_thread = lambda: None
        threading.local = threading.Thread = None
        time.time = time.time_ns = time.sleep = None

        def application(environ, start_response):
            print("printed")
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [b"works"]
        """
    )
    assert nginx.client().get("/").text == "works"
    nginx.wait_log("printed")


GEVENT = """
    from gevent import monkey
    monkey.patch_all()

    import socket, threading, time
    import gevent

    local = threading.local()

    def application(environ, start_response):
        time.sleep(0.01)
        local.value = 7
        thread = threading.Thread(target=time.sleep, args=(0.01,))
        thread.start()
        thread.join()
        one, other = socket.socketpair()
        greenlet = gevent.spawn(other.recv, 9)
        one.sendall(b"sent")
        text = greenlet.get().decode()
        one.close()
        other.close()
        text += f" {local.value}"
        print(text)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [text.encode()]
"""


@pytest.mark.skipif(sys.version_info >= (3, 15), reason="no wheel of gevent")
def test_gevent(nginx, serve):
    """It replaces threads, sockets and time by its own; each thread has a hub of its own."""
    serve(GEVENT)
    client = nginx.client()
    for _ in range(3):
        assert client.get("/").text == "sent 7"
    with ThreadPoolExecutor(4) as clients:
        answers = clients.map(lambda _: nginx.client().get("/").text, range(12))
        assert set(answers) == {"sent 7"}
    nginx.quit(timeout=30)
    assert nginx.log_lines("Python did not end") == []
    assert nginx.log_lines("Traceback") == []
