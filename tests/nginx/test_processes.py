"""Which processes run Python: workers and the single process, no others."""

from __future__ import annotations

import os
import platform
import pwd
import re
import signal
import sys
from pathlib import Path

import pytest
from process_memory import children, descriptors, is_alive, threads
from rawhttp import wait_for

SOURCE = """
    import os

    open({folder!r} + f"/imported-{{os.getpid()}}", "w").close()

    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [str(os.getpid()).encode()]
"""


@pytest.fixture
def app(nginx):
    """The path of an application that records which processes import it, and says which answers."""
    return nginx.app("app", SOURCE.format(folder=str(nginx.data)))


def imported(nginx) -> set[int]:
    return {int(path.name.removeprefix("imported-")) for path in nginx.data.glob("imported-*")}


def title(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode("latin-1")


def test_workers_and_neither_the_master_nor_the_cache_s_processes(nginx, app):
    nginx.start(
        f"wsgi_app {app};",
        http=f"proxy_cache_path {nginx.root}/tmp/cache keys_zone=cache:1m;",
        workers=2,
    )
    wait_for(lambda: imported(nginx) == set(nginx.workers()), what="the import in every worker")
    helpers = [pid for pid in children(nginx.master) if "cache" in title(pid)]
    assert len(helpers) >= 1, "the cache manager is there"
    for pid in [nginx.master, *helpers]:
        assert threads(pid) == 1
    for pid in nginx.workers():
        assert threads(pid) > 1
    assert {int(nginx.client().get("/").text) for _ in range(20)} <= set(nginx.workers())
    nginx.quit()
    assert len(imported(nginx)) == 2


def test_the_configuration_test_imports_nothing_into_itself(nginx, app):
    for _ in range(2):
        assert nginx.check(f"wsgi_app {app};").returncode == 0
    assert imported(nginx) == set()


def test_no_application_no_python(nginx):
    nginx.page("index.html", "static")
    nginx.start("index index.html;")
    assert nginx.client().get("/").text == "static"
    assert [threads(pid) for pid in nginx.workers()] == [1]


@pytest.mark.parametrize("way", ["quit", "stop"])
def test_a_single_process(nginx, app, way):
    nginx.start(f"wsgi_app {app};", main="master_process off;", workers=1)
    assert int(nginx.client().get("/").text) == nginx.master
    assert nginx.workers() == []
    assert imported(nginx) == {nginx.master}
    getattr(nginx, way)(timeout=30)


@pytest.mark.threads("inline the event loop hears of a signal after the call that it is in")
@pytest.mark.parametrize("way", ["quit", "stop"])
def test_a_single_process_and_a_stuck_request(nginx, gate, way):
    # ngx_single_process_cycle() exits at once; nginx's own requests are cut as well.
    held = gate()
    nginx.start(
        f"wsgi_app {held.app};", main="master_process off;", http="python_drain_timeout 1s;"
    )
    connection = nginx.connect()
    connection.get("/?hold")
    held.wait_entered(1)
    getattr(nginx, way)(timeout=25)
    assert connection.rest() == b""


def test_the_master_is_as_it_was_after_a_reload(nginx, app):
    nginx.start(f"wsgi_app {app};")
    files = None
    for _ in range(4):
        nginx.reload()
        assert nginx.client().get("/").status_code == 200
        assert threads(nginx.master) == 1
        wait_for(lambda: nginx.workers(leaving=True) == nginx.workers(), what="one worker")
        # Measured after the first reload, when nginx has opened what it keeps. It may still have
        # the socket of the worker that has just ended; a leak at each reload would be more.
        files = files or descriptors(nginx.master)
        wait_for(lambda files=files: descriptors(nginx.master) <= files, what="the same files")
    assert nginx.master not in imported(nginx)


@pytest.mark.threads("inline the event loop hears of a signal after the call that it is in")
@pytest.mark.unsanitized("a new binary has lost its options")
def test_the_binary_is_upgraded_while_requests_run(nginx, upgradable, gate, background):
    """USR2 starts a second master with the same configuration; QUIT ends the first one."""
    held = gate()
    first = upgradable(f"wsgi_app {held.app};")
    old_worker = nginx.workers()[0]
    answer = background("/?hold")
    held.wait_entered(1)
    second = upgradable.upgrade()
    wait_for(lambda: children(second), what="a worker of the second master")
    os.kill(first, signal.SIGQUIT)
    wait_for(lambda: nginx.workers() == [], what="the old worker that shuts down")
    assert int(nginx.client().get("/").text.split()[0]) in children(second)
    assert not answer.done()
    held.open()
    assert int(answer.result().text.split()[0]) == old_worker
    wait_for(lambda: not is_alive(first), what="the end of the first master")
    assert nginx.client().get("/").status_code == 200


@pytest.mark.parametrize("end", ["old", "new"])
@pytest.mark.unsanitized("a new binary has lost its options")
def test_an_upgrade_while_the_new_applications_are_imported(nginx, upgradable, end):
    """The old workers answer until the new ones can; and on the way back, go on."""
    source = """
        import os
        import testkit

        testkit.record("imports", str(os.getppid()))
        testkit.gate("new" if os.path.exists({first!r}) else "old", 600)

        def application(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [str(os.getppid()).encode()]
        """
    nginx.open_gate("old")
    source = source.replace("{first!r}", repr(str(nginx.data / "first")))
    first = upgradable(f"wsgi_app {nginx.app('slow', source)};")
    assert nginx.client().get("/").text == str(first)
    (nginx.data / "first").touch()
    second = upgradable.upgrade()
    nginx.wait_recorded("imports", 2)
    assert {nginx.client().get("/").text for _ in range(20)} == {str(first)}
    if end == "new":
        os.kill(second, signal.SIGQUIT)
        nginx.open_gate("new")
        wait_for(lambda: not is_alive(second), what="the end of the second master")
        assert {nginx.client().get("/").text for _ in range(20)} == {str(first)}
        return
    nginx.open_gate("new")
    client = nginx.client(headers={"Connection": "close"})
    wait_for(lambda: client.get("/").text == str(second), what="the new worker")
    os.kill(first, signal.SIGQUIT)
    wait_for(lambda: not is_alive(first), what="the end of the first master")
    assert {nginx.client().get("/").text for _ in range(20)} == {str(second)}


def test_a_worker_says_what_it_runs(nginx):
    nginx.start(f"wsgi_app {nginx.app('app', SOURCE.format(folder=str(nginx.root / 'tmp')))};")
    assert nginx.client().get("/").status_code == 200
    (line,) = nginx.log_lines(" with Python ")
    version = re.escape(platform.python_version())
    home = re.escape(sys.prefix)
    said = rf'\[notice\].* pywsgi \d+\.\d+\.\d+ with Python {version}, python_home "{home}"'
    assert re.search(said, line)


@pytest.mark.unsanitized("a new binary has lost its options")
def test_the_environment_is_kept_by_an_upgrade(nginx, upgradable, monkeypatch):
    monkeypatch.setenv("PYWSGI_GIVEN", "given at the start")
    path = nginx.app(
        "environment",
        """
        import os

        def application(environ, start_response):
            names = ["PATH", "HOME", "PYWSGI_GIVEN"]
            text = "|".join(os.environ.get(name, "-") for name in names)
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [text.encode()]
        """,
    )
    first = upgradable(f"wsgi_app {path};", http="python_env PYWSGI_GIVEN;")
    before = nginx.client().get("/").text
    switched = nginx.user not in ("", "root")
    home = pwd.getpwnam(nginx.user).pw_dir if switched else os.environ["HOME"]
    assert before == f"{os.environ['PATH']}|{home}|given at the start"
    second = upgradable.upgrade()
    wait_for(lambda: children(second), what="a worker of the second master")
    os.kill(first, signal.SIGQUIT)
    wait_for(lambda: not is_alive(first), what="the end of the first master")
    assert nginx.client().get("/").text == before
