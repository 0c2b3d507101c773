"""python_reload: nginx reloads when an application has changed."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import time
from pathlib import Path

import pytest
from protocols import WSGI_ONLY
from rawhttp import wait_for

ON = "python_check on;"
WATCH = f"{ON} python_reload watch;"
SOURCE = """
    import testkit
    {more}

    async def answer(request):
        await request.respond(b"{word} " + request.path.encode())
"""


@pytest.fixture
def write(nginx, protocol):
    """`write("new")` saves the application, which answers `new` and the path. Says where."""

    def save(word: str, more: str = "", name: str = "site/app"):
        return protocol.app(name, SOURCE.format(word=word, more=more))

    return save


@pytest.fixture
def answers(nginx):
    """`answers("new")` waits until each worker answers that."""

    def wait(word: str) -> None:
        """Each on a connection of its own, so that all workers are asked."""
        headers = {"Connection": "close"}

        def is_answered() -> bool:
            return all(client.get("/", headers=headers).text == f"{word} /" for _ in range(3))

        client = nginx.client()
        wait_for(is_answered, timeout=60, what=f"an answer {word}")

    return wait


@pytest.fixture
def start(nginx, protocol, write, answers, watched):
    """Starts nginx with the application, which answers `old`; waits until the workers watch it."""

    def begin(http: str = WATCH, workers: int = 1, **options) -> None:
        path = write("old")
        nginx.start(f"{protocol}_app {path};", http=http, workers=workers, **options)
        answers("old")
        nginx.wait_imports(workers)
        if "watch" in http:
            watched(path.parent)

    return begin


@pytest.fixture
def watched(nginx):
    """`watched(folder)` waits until each worker watches it (proc_pid_fdinfo(5))."""

    def is_watched(pid: int, inode: str) -> bool:
        with contextlib.suppress(FileNotFoundError):
            for file in Path(f"/proc/{pid}/fdinfo").iterdir():
                if f" ino:{inode} " in file.read_text():
                    return True
        return False

    def wait(folder: Path) -> None:
        inode = f"{folder.stat().st_ino:x}"
        wait_for(
            lambda: all(is_watched(pid, inode) for pid in nginx.workers()),
            what=f"a watch of {folder}",
        )

    return wait


def told(nginx) -> list[str]:
    """What has made nginx reload."""
    return nginx.log_lines("nginx is told to reload")


@pytest.mark.parametrize("workers", [1, 3])
def test_a_save_and_each_after_it(nginx, protocol, start, write, answers, workers):
    start(workers=workers)
    for word in ("new", "newer"):
        path = write(word)
        answers(word)
        assert f'"{path}" has changed (python_reload)' in told(nginx)[-1]
        assert "[notice]" in told(nginx)[-1]
    # One of the workers tells.
    assert len(told(nginx)) == 2
    assert len(nginx.log_lines("reconfiguring")) == 4


@WSGI_ONLY
def test_as_the_user_of_the_master(nginx, protocol, start, write, answers):
    nginx.user = "root" if nginx.user else ""
    start()
    write("new")
    answers("new")
    assert len(told(nginx)) == 1


def test_a_broken_save_keeps_the_old_code_and_says_why_once(nginx, protocol, start, write, answers):
    start(http=f"{WATCH} {protocol}_debug traceback;")
    workers = nginx.workers()
    path = write("broken", more="raise RuntimeError('no database')")
    nginx.wait_log("the configuration is refused")
    assert nginx.workers() == workers
    answers("old")
    said = [line for line in nginx.error_log().splitlines() if "[emerg]" in line]
    assert any(f'File "{path}", line' in line for line in said)
    assert len([line for line in said if "RuntimeError: no database" in line]) == 1
    assert len(told(nginx)) == 1
    nginx.allow_log(r"\[emerg\]")
    write("mended")
    answers("mended")
    assert len(told(nginx)) == 2


@WSGI_ONLY
def test_a_new_module_that_is_broken_is_watched_as_well(nginx, protocol, start, write, answers):
    """No worker has imported it."""
    nginx.allow_log(r"\[emerg\]")
    start()
    nginx.app("site/shop/__init__.py", "def broken(:\n")
    nginx.wait_log("nginx is told to reload")
    wait_for(lambda: len(nginx.log_lines("reconfiguring")) == 2, what="a reload")
    write("new", more="import shop")
    nginx.wait_log("SyntaxError")
    answers("old")
    nginx.app("site/shop/__init__.py", "")
    answers("new")


@WSGI_ONLY
def test_what_is_imported_later(nginx, protocol, watched):
    """By a request, from a folder of its own."""
    folder = nginx.apps / "elsewhere"
    late = nginx.app("elsewhere/late.py", "WORD = b'one'\n")
    source = """
        async def answer(request):
            import late
            await request.respond(late.WORD)
    """
    path = protocol.app("site/app", source)
    nginx.start(f"{protocol}_app {path};", http=f"{WATCH} python_path {folder};")
    assert nginx.client().get("/").text == "one"
    watched(folder)
    late.write_text("WORD = b'two'\n")
    wait_for(lambda: nginx.client().get("/").text == "two", what="the new module")
    assert f'"{late}" has changed' in told(nginx)[-1]


@WSGI_ONLY
def test_what_changes_together_is_one_reload(nginx, protocol, start, write, answers):
    """As after `git checkout`."""
    for number in range(300):
        nginx.app(f"site/module{number}.py", "")
    start()
    for number in range(300):
        nginx.app(f"site/module{number}.py", "import os\n")
    write("new")
    answers("new")
    (line,) = told(nginx)
    assert "and 300 others have changed" in line


@WSGI_ONLY
def test_what_changes_nothing(nginx, protocol, start, write, answers):
    start()
    for name in ("app.pyc", "notes.txt", ".app.py.swp", "4913", "app.py~"):
        (nginx.apps / "site" / name).touch()
    shutil.rmtree(nginx.apps / "site/__pycache__", ignore_errors=True)
    nginx.app("site/__pycache__/app.cpython-300.pyc", "")
    (nginx.apps / "site/app.py").chmod(0o755)
    # What is told names what came first.
    path = write("new")
    answers("new")
    (line,) = told(nginx)
    assert f'"{path}" has changed' in line


@WSGI_ONLY
def test_a_deleted_file(nginx, protocol, write, answers, watched):
    nginx.allow_log(r"\[emerg\]")
    helper = nginx.app("site/helper.py", "")
    path = write("old", more="import helper")
    nginx.start(f"{protocol}_app {path};", http=WATCH)
    answers("old")
    watched(helper.parent)
    helper.unlink()
    nginx.wait_log("No module named 'helper'")
    answers("old")
    nginx.app("site/helper.py", "")
    wait_for(lambda: len(told(nginx)) == 2, what="another reload")
    write("new", more="import helper")
    answers("new")


@WSGI_ONLY
def test_the_files_of_a_folder(nginx, protocol, start, write, answers):
    template = nginx.app("pages/de/page.html", "one")
    read = f"WORD = open({str(template)!r}).read()"
    write("old", more=read)
    folder = nginx.apps / "pages"
    source = SOURCE.replace('b"{word} "', "WORD.encode() + b' '").format(more=read)
    path = protocol.app("site/app", source)
    nginx.start(f"{protocol}_app {path};", http=f"{ON} python_reload watch {folder};")
    answers("one")
    template.write_text("two")
    answers("two")
    assert f'"{template}" has changed' in told(nginx)[-1]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_touched_file(nginx, protocol, start, write, answers, workers):
    file = nginx.data / "reload"
    start(http=f"{ON} python_reload touch {file};", workers=workers)
    write("new")
    file.touch()
    answers("new")
    write("newer")
    # Older than before: any other time is a change.
    os.utime(file, (1, 1))
    answers("newer")
    assert [f'"{file}" has changed' in line for line in told(nginx)] == [True, True]


@WSGI_ONLY
def test_a_link_to_a_release(nginx, protocol, write, answers):
    for release in ("1", "2"):
        write(f"release{release}", name=f"releases/{release}/app")
    current = nginx.apps / "current"
    current.symlink_to("releases/1")
    nginx.start(f"{protocol}_app {current}/app.py;", http=f"{ON} python_reload touch {current};")
    answers("release1")
    following = nginx.apps / "next"
    following.symlink_to("releases/2")
    following.rename(current)
    answers("release2")
    assert len(told(nginx)) == 1


def test_what_runs_is_finished_by_the_old_code(nginx, protocol, gate, background):
    """With one worker, too: others are answered by the new code meanwhile."""
    held = gate(protocol=protocol)
    file = nginx.data / "reload"
    nginx.start(f"{protocol}_app {held.app};", http=f"{ON} python_reload touch {file};", workers=1)
    (old,) = nginx.workers()
    answer = background("/?hold")
    held.wait_entered(1)
    file.touch()

    def others() -> str:
        return nginx.client().get("/").text.split()[0]

    wait_for(lambda: others() != str(old), what="an answer of the new worker")
    assert not answer.done()
    held.open()
    assert answer.result().text.split()[0] == str(old)


def test_a_start_that_fails_though_the_check_has_passed(nginx, protocol, start, write, answers):
    start()
    # The first import is the check's.
    count = "len((testkit.DATA / 'imports').read_text().split())"
    write("new", more=f"testkit.record('imports'); assert {count} < 2")
    wait_for(lambda: nginx.client().get("/").status_code == 500, what="a worker without it")
    assert "AssertionError" in nginx.error_log()
    write("newer")
    answers("newer")
    # Each of the workers that could not import the file may have told of its change.
    nginx.allow_log("python_check was cut short, because nginx is told to end")


@WSGI_ONLY
def test_a_change_while_the_check_runs(nginx, protocol, start, write, answers):
    start()
    write("new", more="testkit.record('check'); testkit.gate('go')")
    nginx.wait_recorded("check")
    write("newer", more="testkit.record('newer')")
    wait_for(lambda: len(told(nginx)) == 2, what="another reload")
    nginx.open_gate("go")
    answers("newer")
    # The worker of the first reload; the check and the worker of the second.
    nginx.wait_recorded("newer", 3)


@WSGI_ONLY
def test_off(nginx, protocol, start, write, answers):
    file = nginx.data / "reload"
    start(http=f"{ON} python_reload off;")
    write("new")
    file.touch()
    os.kill(nginx.master, signal.SIGHUP)
    answers("new")
    assert not told(nginx)


@WSGI_ONLY
def test_without_a_master(nginx, protocol, write, answers):
    path = write("old")
    nginx.start(f"{protocol}_app {path};", main="master_process off;", http=WATCH)
    answers("old")
    assert "[warn]" in nginx.wait_log("python_reload does nothing")
    write("new")
    time.sleep(1)
    answers("old")
    assert not told(nginx)


@pytest.mark.parametrize(
    ("value", "error"),
    [
        ("on", 'has "on"; write off, touch FILE, or watch [DIRECTORY…]'),
        ("off now", 'has "off now"; write off'),
        ("touch", "touch takes one file; write touch FILE"),
        ("touch /tmp/a /tmp/b", "touch takes one file; write touch FILE"),
        ("touch /nowhere/reload", 'touch "/nowhere/reload" is in no directory that is there'),
        ("watch /nowhere", 'watch "/nowhere" is not a directory'),
        ("watch /etc/passwd", 'watch "/etc/passwd" is not a directory'),
        ("off; python_reload watch", "is duplicate"),
    ],
)
@WSGI_ONLY
def test_wrong_values(nginx, protocol, write, value, error):
    result = nginx.check(f"{protocol}_app {write('old')};", http=f"python_reload {value};")
    assert result.returncode != 0
    assert error in result.stderr


@WSGI_ONLY
def test_a_folder_that_the_workers_cannot_read(nginx, protocol, write):
    if not nginx.user:
        pytest.skip("the workers are who reads the configuration")
    folder = nginx.apps / "secret"
    folder.mkdir(mode=0o700)
    for value in (f"watch {folder}", f"touch {folder}/reload"):
        result = nginx.check(f"{protocol}_app {write('old')};", http=f"python_reload {value};")
        assert result.returncode != 0
        assert str(folder) in result.stderr and "python_reload" in result.stderr
