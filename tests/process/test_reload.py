"""python_reload with the applications of a `python_process`: nginx is reloaded, nothing is lost."""

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

    def start(reload: str) -> Nginx:
        shop, reports = (save(nginx, name, "old") for name in ("shop", "reports"))
        nginx.start(
            http=f"""
                python_check on;
                python_reload {reload};
                python_process shop processes=2;
                python_process reports;
            """,
            server=f"""
                location /shop {{ wsgi_app {shop}; wsgi_process shop; }}
                location /reports {{ wsgi_app {reports}; wsgi_process reports; }}
            """,
            workers=2,
        )
        nginx.wait_imports(3)
        return nginx

    return start


def told(nginx: Nginx) -> list[str]:
    return nginx.log_lines("nginx is told to reload")


def answers(nginx: Nginx, path: str, word: str) -> bool:
    headers = {"Connection": "close"}
    return all(nginx.client().get(path, headers=headers).text == word for _ in range(4))


def test_a_save_of_one_groups_application(nginx, groups):
    """Its process tells the master: it is the one that has imported the file."""
    groups("watch")
    before = nginx.processes("shop")
    with Load(nginx, ("/shop", "/reports")) as load:
        # A save before the processes watch is seen as well: the time of the file says so.
        path = save(nginx, "shop", "new")
        wait_for(lambda: answers(nginx, "/shop", "new"), 60, "the new code")
        gone = lambda: not {*nginx.processes("shop", leaving=True)} & {*before}  # noqa: E731
        wait_for(gone, 60, "the end of the old processes")
    assert load.answers() == [{(200, "old"), (200, "new")}, {(200, "old")}]
    [line] = told(nginx)
    assert f'"{path}" has changed (python_reload)' in line
    assert ', process: "shop/' in line


def test_a_broken_save_keeps_all_of_the_old_code(nginx, groups):
    nginx.allow_log(r"\[emerg\].*(pywsgi\[12[12]\]|Traceback|File|RuntimeError|raise )")
    groups("watch")
    pids = nginx.workers(), nginx.processes("shop"), nginx.processes("reports")
    with Load(nginx, ("/shop", "/reports")) as load:
        save(nginx, "shop", "broken", more="\n    raise RuntimeError('no database')\n")
        nginx.wait_log("RuntimeError: no database")
        assert (nginx.workers(), nginx.processes("shop"), nginx.processes("reports")) == pids
        save(nginx, "shop", "mended")
        wait_for(lambda: answers(nginx, "/shop", "mended"), 60, "the mended code")
    assert load.answers() == [{(200, "old"), (200, "mended")}, {(200, "old")}]


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
