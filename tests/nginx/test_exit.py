"""A worker's exit: running requests end, and an application's own threads do not prevent it."""

from __future__ import annotations

import os
import signal

import pytest
from rawhttp import wait_for

LEAVING = """
    import atexit
    import os
    import threading
    import time

    FOLDER = {folder!r}

    def note(word):
        with open(f"{{FOLDER}}/notes", "a") as file:
            file.write(word + "\\n")

    atexit.register(note, "atexit")

    def endless():
        while True:
            time.sleep(0.01)

    def application(environ, start_response):
        what = environ["QUERY_STRING"]
        if what == "daemon":
            threading.Thread(target=endless, daemon=True).start()
        elif what == "thread":
            # Python's finalization waits for threads that are not daemons.
            threading.Thread(target=endless, daemon=False).start()
        elif what == "late":
            # By default a thread is a daemon if its creator is one.
            timer = threading.Timer(0.5, note, ["thread"])
            timer.daemon = False
            timer.start()
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [what.encode()]
"""


@pytest.fixture
def leaving(nginx):
    """The path of an application that records its atexit, and leaves threads behind."""
    return nginx.app("leaving", LEAVING.format(folder=str(nginx.data)))


def notes(nginx) -> list[str]:
    path = nginx.data / "notes"
    return path.read_text().split() if path.exists() else []


@pytest.mark.parametrize("way", ["quit", "stop"])
def test_a_daemon_thread_does_not_delay_it(nginx, leaving, way):
    nginx.start(f"wsgi_app {leaving};")
    assert nginx.client().get("/?daemon").text == "daemon"
    getattr(nginx, way)(timeout=20)
    assert notes(nginx) == ["atexit"]


def test_a_thread_that_never_ends_delays_it_by_the_time_limit(nginx, leaving):
    nginx.start(f"wsgi_app {leaving};", http="python_finalize on timeout=1s;")
    assert nginx.client().get("/?thread").text == "thread"
    nginx.quit(timeout=20)


def test_a_thread_that_ends_is_waited_for(nginx, leaving):
    nginx.start(f"wsgi_app {leaving};", http="python_finalize on timeout=30s;")
    assert nginx.client().get("/?late").text == "late"
    nginx.quit(timeout=40)
    assert notes(nginx) == ["thread", "atexit"]


@pytest.mark.threads("inline the event loop hears of a signal after the call that it is in")
def test_quit_finishes_what_runs(nginx, gate, background):
    held = gate()
    nginx.start(f"wsgi_app {held.app};", workers=2)
    answers = [background("/?hold") for _ in range(6)]
    held.wait_entered(6)
    os.kill(nginx.master, signal.SIGQUIT)
    wait_for(lambda: nginx.workers() == [], what="workers that shut down")
    assert len(nginx.workers(leaving=True)) >= 1
    assert not any(answer.done() for answer in answers)
    held.open()
    assert {answer.result().status_code for answer in answers} == {200}
    wait_for(lambda: not nginx.is_running(), what="nginx's end")


@pytest.mark.threads("inline the event loop hears of a signal after the call that it is in")
def test_quit_takes_no_new_connection(nginx, gate, background):
    held = gate()
    nginx.start(f"wsgi_app {held.app};")
    answer = background("/?hold")
    held.wait_entered(1)
    os.kill(nginx.master, signal.SIGQUIT)

    def is_refused() -> bool:
        try:
            nginx.connect().close()
        except ConnectionError:
            return True
        return False

    # A worker sets its title before it closes its listening sockets.
    wait_for(is_refused, what="listening sockets that are closed")
    held.open()
    assert answer.result().status_code == 200


@pytest.mark.threads("inline the event loop hears of a signal after the call that it is in")
def test_stop_while_a_request_runs(nginx, gate):
    held = gate()
    nginx.start(f"wsgi_app {held.app};")
    connection = nginx.connect()
    connection.get("/?hold")
    held.wait_entered(1)
    nginx.stop(timeout=30)
    assert connection.rest() == b""


def test_stop_before_python_has_imported(nginx):
    app = nginx.app("slow", "import time\ntime.sleep(3)\napplication = None\n")
    nginx.start(f"wsgi_app {app};", http="python_drain_timeout 1s;")
    nginx.stop(timeout=30)


def test_quit_before_python_has_imported(nginx):
    app = nginx.app(
        "slow",
        """
        from testkit import gate

        gate("import")

        def application(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [b"slow"]
        """,
    )
    # The log says when nginx has the request.
    nginx.start(f"wsgi_app {app}; rewrite_log on; rewrite ^/asked$ / break;")
    with nginx.connect() as connection:
        connection.get("/asked", close=True)
        nginx.wait_log('"^/asked$" matches "/asked"')
        os.kill(nginx.master, signal.SIGQUIT)
        wait_for(lambda: nginx.workers() == [], what="a worker that shuts down")
        nginx.open_gate("import")
        assert connection.response().body == b"slow"
    wait_for(lambda: not nginx.is_running(), 60, "nginx's end")


def test_a_keep_alive_connection_does_not_delay_quit(nginx, leaving):
    nginx.start(f"wsgi_app {leaving};")
    with nginx.connect() as connection:
        connection.get("/")
        assert connection.response().status == 200
        nginx.quit(timeout=20)
        assert connection.rest() == b""
    assert notes(nginx) == ["atexit"]


def test_twenty_starts_and_ends(nginx, leaving):
    """A faulty exit shows only now and then: a lost thread, an alert, a crash."""
    for number in range(20):
        nginx.start(f"wsgi_app {leaving};", workers=2)
        has_started = number % 2 == 1
        if has_started:
            for worker in nginx.workers():
                nginx.wait_log(f"{worker}#{worker}: pywsgi[202]")
        (nginx.stop if has_started and number % 3 else nginx.quit)(timeout=30)
    assert len(nginx.log_lines("exited with code 0")) >= 40


def test_fast_exits_while_python_starts(nginx, leaving):
    """nginx's master kills a worker that takes more than a second, as on a slow machine."""
    nginx.allow_log(r"exited on signal 9")
    for _ in range(6):
        nginx.start(f"wsgi_app {leaving};", workers=2)
        nginx.stop(timeout=30)
    ended = nginx.log_lines("exited with code 0") + nginx.log_lines("exited on signal 9")
    assert len(ended) == 12
