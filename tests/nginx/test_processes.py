"""Which processes run Python: workers, the single process, and no other."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
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
    """The path of an application that says which processes import it, and which one answers."""
    return nginx.app("app", SOURCE.format(folder=str(nginx.data)))


def imported(nginx) -> set[int]:
    return {int(path.name.removeprefix("imported-")) for path in nginx.data.glob("imported-*")}


def threads(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


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


def test_a_single_process_finishes_what_runs(nginx, gate, background):
    held = gate()
    nginx.start(f"wsgi_app {held.app};", main="master_process off;")
    answer = background("/?hold")
    held.wait_entered(1)
    os.kill(nginx.master, signal.SIGQUIT)
    with pytest.raises(AssertionError):
        wait_for(lambda: not nginx.is_running(), 1)
    held.open()
    assert answer.result().status_code == 200
    wait_for(lambda: not nginx.is_running(), what="nginx's end")


def test_a_single_process_and_a_stuck_request(nginx, gate):
    held = gate()
    nginx.start(
        f"wsgi_app {held.app};", main="master_process off;", http="python_drain_timeout 1s;"
    )
    connection = nginx.connect()
    connection.get("/?hold")
    held.wait_entered(1)
    nginx.quit(timeout=25)


def test_the_master_is_as_it_was_after_a_reload(nginx, app):
    nginx.start(f"wsgi_app {app};")
    for _ in range(3):
        nginx.reload()
        assert nginx.client().get("/").status_code == 200
        assert threads(nginx.master) == 1
    assert nginx.master not in imported(nginx)


def test_the_binary_is_upgraded_while_requests_run(nginx, gate, background):
    """USR2: a second master from the same configuration; QUIT to the first one."""
    held = gate()
    nginx.start(f"wsgi_app {held.app};")
    old_master, old_worker = nginx.master, nginx.workers()[0]
    pid_file = nginx.root / "logs" / "nginx.pid"
    answer = background("/?hold")
    held.wait_entered(1)
    os.kill(old_master, signal.SIGUSR2)

    def second() -> int:
        old = nginx.root / "logs" / "nginx.pid.oldbin"
        if not old.exists() or not pid_file.exists():
            return 0
        text = pid_file.read_text().strip()
        return int(text) if text and int(text) != old_master else 0

    new_master = wait_for(second, what="the second master")
    try:
        wait_for(lambda: children(new_master), what="its worker")
        os.kill(old_master, signal.SIGQUIT)
        wait_for(lambda: nginx.workers() == [], what="the old worker that shuts down")
        seen = int(nginx.client().get("/").text.split()[0])
        assert seen in children(new_master)
        assert not answer.done()
        held.open()
        assert int(answer.result().text.split()[0]) == old_worker
        wait_for(lambda: not nginx.is_running(), what="the end of the old master")
        assert nginx.client().get("/").status_code == 200
    finally:
        held.open()
        os.kill(new_master, signal.SIGQUIT)

        def gone() -> bool:
            try:
                state = Path(f"/proc/{new_master}/stat").read_text().rpartition(")")[2].split()[0]
            except FileNotFoundError:
                return True
            return state == "Z"

        wait_for(gone, 60, "the end of the second master")
