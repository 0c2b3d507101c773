"""nginx -s reload: no request fails, the new code serves, the old workers exit."""

from __future__ import annotations

import os
import signal

import pytest
from load import Load, fresh, kept, stream, upload
from rawhttp import wait_for

SLOW_IMPORT = """
    import os
    import time
    from wsgiref.validate import validator

    from testkit import gate, record

    record("importing")
    {wait}


    def blocks(number):
        for index in range(number):
            time.sleep(0.02)
            yield b"%05d\\n" % index


    @validator
    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain"), ("X-Pid", str(os.getpid()))])
        if environ["PATH_INFO"].endswith("/blocks"):
            return blocks(50)
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        return [b"{version} ", body]
"""


def test_ten_reloads_under_load(nginx):
    app = nginx.app("app", SLOW_IMPORT.format(wait="time.sleep(0.2)", version="v"))
    nginx.start(f"wsgi_app {app};", workers=2)
    assert nginx.client().get("/").status_code == 200
    first = nginx.workers()
    load = Load(nginx)
    for once in [fresh, fresh, kept, kept, upload, stream, stream]:
        load.start(once)
    try:
        seen = set(first)
        for _ in range(10):
            nginx.reload()
            now = set(nginx.workers())
            assert not now & seen, "every reload has workers of its own"
            seen |= now
            answered = load.answered
            wait_for(lambda answered=answered: load.answered > answered + 10, 60, "answers")
    finally:
        load.stop()
    assert load.failures == []
    wait_for(
        lambda: set(nginx.workers(leaving=True)) == set(nginx.workers()),
        60,
        "the end of the old workers",
    )
    assert len(nginx.workers()) == 2
    assert nginx.client().get("/").status_code == 200


def test_the_new_code_serves(nginx, protocol):
    app = protocol.wrap("app", SLOW_IMPORT.format(wait="", version="one"))
    nginx.start(f"{protocol}_app {app};")
    assert nginx.client().get("/").text == "one "
    protocol.wrap("app", SLOW_IMPORT.format(wait="", version="two"))
    assert nginx.client().get("/").text == "one ", "the code in memory serves until a reload"
    nginx.reload()
    assert nginx.client().get("/").text == "two "


@pytest.mark.threads("inline the event loop hears of a signal after the call that it is in")
def test_a_response_that_runs_ends_in_the_old_worker(nginx, protocol, gate, background):
    held = gate(protocol=protocol)
    nginx.start(f"{protocol}_app {held.app};", workers=1)
    old = nginx.workers()[0]
    answer = background("/?hold")
    held.wait_entered(1)
    nginx.reload()
    new = nginx.client().get("/").text.split()[0]
    assert new != str(old)
    assert not answer.done()
    held.open()
    assert answer.result().text.split()[0] == str(old)
    wait_for(lambda: old not in nginx.workers(leaving=True), what="the end of the old worker")


def test_a_wrong_configuration_keeps_the_old_workers(nginx, protocol, gate):
    held = gate(protocol=protocol)
    nginx.allow_log(r"\[emerg\].*nowhere")
    nginx.start(f"{protocol}_app {held.app};")
    workers = nginx.workers()
    where = "wsgi_thread_pool" if protocol.is_wsgi else "asgi_event_loop"
    nginx.write_config(f"{protocol}_app {held.app}; {where} nowhere;")
    # The master reads the file and refuses it.
    os.kill(nginx.master, signal.SIGHUP)
    nginx.wait_log("nowhere")
    assert nginx.workers() == workers
    assert nginx.client().get("/").text.split()[0] == str(workers[0])


def test_applications_come_and_go(nginx, protocol, gate):
    held = gate(protocol=protocol)
    nginx.page("index.html", "static")
    nginx.start(f"{protocol}_app {held.app};")
    assert nginx.client().get("/").status_code == 200
    nginx.write_config("index index.html;")
    nginx.reload()
    assert nginx.client().get("/").text == "static"
    nginx.write_config(f"{protocol}_app {held.app};", workers=2)
    nginx.reload()
    pids = set()
    wait_for(
        lambda: pids.add(nginx.client().get("/").text.split()[0]) or len(pids) == 2,
        what="answers from two workers",
    )


def test_requests_wait_for_an_import_that_takes_long(nginx, protocol, background):
    app = protocol.wrap("app", SLOW_IMPORT.format(wait="gate('import')", version="v"))
    nginx.page("files/static.txt", "static")
    nginx.start(f"{protocol}_app {app};", server="location /files/ { }")
    waiting = [background("/") for _ in range(4)]
    assert nginx.client().get("/files/static.txt").text == "static"
    assert not any(answer.done() for answer in waiting), "served while Python imports"
    nginx.open_gate("import")
    assert [answer.result().text for answer in waiting] == ["v "] * 4


def test_two_reloads_at_once(nginx, protocol):
    """Each comes while the workers of the one before import."""
    app = protocol.wrap("app", SLOW_IMPORT.format(wait="time.sleep(1)", version="v"))
    nginx.start(f"{protocol}_app {app};")
    first = nginx.workers()
    for number in range(1, 4):
        nginx.wait_recorded("importing", number)
        nginx.reload()
    assert nginx.client().get("/").text == "v "
    wait_for(
        lambda: nginx.workers(leaving=True) == nginx.workers(), 60, "the end of all old workers"
    )
    assert len(nginx.workers()) == 1
    assert nginx.workers() != first
