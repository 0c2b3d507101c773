"""`threading` knows a pool's threads; what gevent and others may replace of it, and what not."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

import pytest


def test_hooks_of_threading_apply(nginx, serve):
    """coverage.py and debuggers use them; here a thread of the pool is already running."""
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
    """Replaces what gevent.monkey replaces: the module uses none of these names."""
    serve(
        """
        import _thread, os, select, signal, socket, threading, time

        real, lock = threading.get_ident, threading.Lock
        threading.get_ident = lambda: real() + 1
        threading.Lock = lambda: lock()
        threading.current_thread = threading.main_thread = lambda: None
        threading.local = threading.Thread = threading.RLock = _thread.start_new_thread = None
        socket.socket = select.select = os.fork = signal.signal = None
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
    monkey.patch_all(PARTS)

    import logging, socket, threading, time
    import gevent, pywsgi

    logging.basicConfig(handlers=[pywsgi.LogHandler()], level="INFO")
    local = threading.local()
    lock = threading.Lock()
    count = 0

    def application(environ, start_response):
        global count
        local.value = environ["QUERY_STRING"]
        thread = threading.Thread(target=time.sleep, args=(0.01,))
        thread.start()
        with lock:
            seen = count
            time.sleep(0.001)
            count = seen + 1
        thread.join()
        one, other = socket.socketpair()
        greenlet = gevent.spawn(other.recv, 9)
        one.sendall(b"sent")
        text = greenlet.get().decode()
        one.close()
        other.close()
        logging.info("logged %s", local.value)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [f"{text} {local.value}".encode()]
"""


needs_gevent = pytest.mark.skipif(sys.version_info >= (3, 15), reason="no wheel of gevent")


@needs_gevent
def test_gevents_locks_are_refused(nginx):
    """Shared by threads they hang, without nginx as well. Nothing of threading is replaced, so that
    another application is served."""
    patched = nginx.app("patched", GEVENT.replace("PARTS", ""))
    other = nginx.app("other", GEVENT.replace("monkey.patch_all(PARTS)", ""))
    nginx.start(f"wsgi_app {patched};", server=f"location /other {{ wsgi_app {other}; }}")
    assert nginx.client().get("/").status_code == 500
    line = nginx.wait_log("LoadError")
    assert "gevent must not replace _thread." in line and "Remove the monkey-patching" in line
    assert any("monkey.patch_all()" in line for line in nginx.log_lines("patch_all"))
    assert answers(nginx, "/other") == expected()


@needs_gevent
def test_gevent_without_threads(nginx, serve):
    """It may replace what does not concern threads; each thread has a hub of its own."""
    serve(GEVENT.replace("PARTS", "thread=False"))
    assert answers(nginx, "/") == expected()
    nginx.quit(timeout=30)
    assert nginx.log_lines("Python did not end") == []
    assert nginx.log_lines("Traceback") == []


def answers(nginx, path: str) -> list[str]:
    """The answers of 40 requests, 20 at a time."""
    with ThreadPoolExecutor(20) as clients:
        return list(clients.map(lambda n: nginx.client().get(f"{path}?{n}").text, range(40)))


def expected() -> list[str]:
    return [f"sent {n}" for n in range(40)]
