"""python_reload with the applications of a `python_process`: the processes of a group are replaced
alone, or nginx is reloaded; nothing is lost."""

from __future__ import annotations

from pathlib import Path

import pytest
from harness import Nginx
from process.load import Load
from rawhttp import wait_for

SOURCE = """
    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"{word}"]
"""


def save(nginx: Nginx, name: str, word: str, more: str = "") -> Path:
    """In a folder of its own, all of which is watched."""
    return nginx.app(f"{name}/app", SOURCE.format(word=word) + more)


@pytest.fixture
def groups(nginx):
    """Starts nginx with two groups, and waits until both answer `old`."""

    def start(reload: str, *, http: str = "python_check on;", server: str = "") -> Nginx:
        shop, reports = (save(nginx, name, "old") for name in ("shop", "reports"))
        nginx.start(
            http=f"""
                {http}
                python_reload {reload};
                python_process shop processes=2;
                python_process reports;
            """,
            server=f"""
                location /shop {{ wsgi_app {shop}; wsgi_process shop; }}
                location /reports {{ wsgi_app {reports}; wsgi_process reports; }}
                {server}
            """,
            workers=2,
        )
        nginx.wait_imports(3 + 2 * ("wsgi_app" in server))
        return nginx

    return start


def told(nginx: Nginx) -> list[str]:
    return nginx.log_lines("nginx is told to reload")


def answers(nginx: Nginx, path: str, word: str) -> bool:
    headers = {"Connection": "close"}
    return all(nginx.client().get(path, headers=headers).text == word for _ in range(4))


def gone(nginx: Nginx, before: list[int], name: str = "shop") -> None:
    """Waits until all processes that were there have been replaced."""
    left = lambda: {*nginx.processes(name, leaving=True)} & {*before}  # noqa: E731
    wait_for(lambda: not left(), 60, "the end of the old processes")


def test_a_save_of_one_groups_application(nginx, groups):
    """Its processes are replaced, and nothing else: one of them has seen the change."""
    groups("watch")
    before, others = nginx.processes("shop"), (nginx.workers(), nginx.processes("reports"))
    with Load(nginx, ("/shop", "/reports")) as load:
        # A save before the processes watch is seen as well: the time of the file says so.
        path = save(nginx, "shop", "new")
        wait_for(lambda: answers(nginx, "/shop", "new"), 60, "the new code")
        gone(nginx, before)
    assert load.answers() == [{(200, "old"), (200, "new")}, {(200, "old")}]
    assert (nginx.workers(), nginx.processes("reports")) == others
    line, *_ = nginx.log_lines("pywsgi[344]")
    assert f'"{path}" has changed (python_reload)' in line
    assert ', process: "shop/' in line
    assert not told(nginx)
    assert len(nginx.log_lines("this worker is replaced: its code has changed")) == 2


def test_a_group_of_one_process(nginx, groups):
    """Requests wait until the next one has imported its application."""
    groups("watch")
    others = nginx.workers(), nginx.processes("shop")
    with Load(nginx, ("/shop", "/reports")) as load:
        for word in ("new", "newer"):
            before = nginx.processes("reports")
            save(nginx, "reports", word)
            wait_for(lambda word=word: answers(nginx, "/reports", word), 60, "the new code")
            gone(nginx, before, "reports")
    assert load.answers() == [{(200, "old")}, {(200, "old"), (200, "new"), (200, "newer")}]
    assert (nginx.workers(), nginx.processes("shop")) == others


def test_a_broken_save_keeps_all_of_the_old_code(nginx, groups):
    nginx.allow_log(r"\[emerg\].*(pywsgi\[(12[12]|346)\]|Traceback|File|RuntimeError|raise )")
    groups("watch")
    pids = nginx.workers(), nginx.processes("shop"), nginx.processes("reports")
    with Load(nginx, ("/shop", "/reports")) as load:
        save(nginx, "shop", "broken", more="\n    raise RuntimeError('no database')\n")
        nginx.wait_log("RuntimeError: no database")
        nginx.wait_log('python_process "shop" cannot be started with what has changed')
        assert (nginx.workers(), nginx.processes("shop"), nginx.processes("reports")) == pids
        save(nginx, "shop", "mended")
        wait_for(lambda: answers(nginx, "/shop", "mended"), 60, "the mended code")
        gone(nginx, pids[1])
    assert load.answers() == [{(200, "old"), (200, "mended")}, {(200, "old")}]
    assert (nginx.workers(), nginx.processes("reports")) == (pids[0], pids[2])


def test_a_save_while_the_one_before_is_checked(nginx, groups):
    groups("watch")
    before = nginx.processes("shop")
    with Load(nginx, ("/shop", "/reports")) as load:
        save(nginx, "shop", "slow", more="\n    import time\n    time.sleep(3)\n")
        nginx.wait_log("pywsgi[344]")
        save(nginx, "shop", "new")
        wait_for(lambda: answers(nginx, "/shop", "new"), 60, "the new code")
        gone(nginx, before)
    assert {status for client in load.answers() for status, _ in client} == {200}
    assert answers(nginx, "/shop", "new")


def test_without_a_check(nginx, groups):
    groups("watch", http="python_check off;")
    before, others = nginx.processes("shop"), (nginx.workers(), nginx.processes("reports"))
    with Load(nginx, ("/shop", "/reports")) as load:
        save(nginx, "shop", "new")
        wait_for(lambda: answers(nginx, "/shop", "new"), 60, "the new code")
        gone(nginx, before)
    assert load.answers() == [{(200, "old"), (200, "new")}, {(200, "old")}]
    assert (nginx.workers(), nginx.processes("reports")) == others


def test_two_groups_at_once(nginx, groups):
    groups("watch")
    before = nginx.processes("shop"), nginx.processes("reports")
    with Load(nginx, ("/shop", "/reports")) as load:
        for name in ("shop", "reports"):
            save(nginx, name, "new")
        for path in ("/shop", "/reports"):
            wait_for(lambda path=path: answers(nginx, path, "new"), 60, "the new code")
        gone(nginx, before[0])
        gone(nginx, before[1], "reports")
    assert load.answers() == [{(200, "old"), (200, "new")}] * 2


def test_a_child_of_the_check_holds_no_connection(nginx, groups):
    """A worker forks it, which has clients."""
    groups("watch")
    source = "\n    import testkit\n    testkit.record('checks', '')\n    testkit.gate('checked')\n"
    kit = (nginx.apps / "testkit.py").read_text()
    nginx.app("shop/testkit", kit.replace("__file__", repr(str(nginx.apps / "testkit.py"))))
    with nginx.connect() as connection:
        connection.send(b"GET /shop HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        save(nginx, "shop", "new", more=source)
        nginx.wait_recorded("checks")
        # It would not end if another process had it.
        assert connection.rest().endswith(b"old")
    with nginx.connect() as connection:
        connection.send(b"GET /reports HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert connection.rest().endswith(b"old")
    nginx.open_gate("checked")
    wait_for(lambda: answers(nginx, "/shop", "new"), 60, "the new code")


def test_with_python_in_the_workers(nginx, groups):
    """None of them can fork a process for the check: nginx is reloaded."""
    health = save(nginx, "health", "old")
    groups("watch", server=f"location /health {{ wsgi_app {health}; }}")
    workers, reports = nginx.workers(), nginx.processes("reports")
    with Load(nginx, ("/shop", "/reports")) as load:
        save(nginx, "shop", "new")
        wait_for(lambda: answers(nginx, "/shop", "new"), 60, "the new code")
        wait_for(lambda: not {*nginx.workers(leaving=True)} & {*workers}, 60, "new workers")
        gone(nginx, reports, "reports")
    assert load.answers() == [{(200, "old"), (200, "new")}, {(200, "old")}]
    assert len(told(nginx)) == 1


def test_a_touch_reloads_all_groups_once(nginx, groups):
    """Each worker and each process looks at the file; one of them tells."""
    file = nginx.data / "reload.txt"
    groups(f"touch {file}")
    with Load(nginx, ("/shop", "/reports")) as load:
        for word in ("new", "newer"):
            for name in ("shop", "reports"):
                save(nginx, name, word)
            file.touch()
            for path in ("/shop", "/reports"):
                new = lambda path=path, word=word: answers(nginx, path, word)  # noqa: E731
                wait_for(new, 60, "the new code")
    assert load.answers() == [{(200, "old"), (200, "new"), (200, "newer")}] * 2
    assert len(told(nginx)) == 2
