"""python_working_directory: the current directory of applications."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest
from rawhttp import wait_for

SOURCE = """
    import os
    import subprocess
    import threading

    AT_IMPORT = os.getcwd()

    def application(environ, start_response):
        seen = []
        thread = threading.Thread(target=lambda: seen.append(os.getcwd()))
        thread.start()
        thread.join()
        child = subprocess.run(["pwd", "-P"], capture_output=True, check=True, text=True).stdout
        start_response("200 OK", [("Content-Type", "text/plain")])
        return ["|".join([AT_IMPORT, os.getcwd(), *seen, child.strip()]).encode()]
"""


@pytest.fixture
def places(nginx):
    """`places(http, location)`: the current directory at the import, in a request, in a thread of
    the application's own, and in a child."""

    def start(http: str, location: str = "", **configuration):
        app = nginx.app("wsgi", SOURCE)
        nginx.start(f"wsgi_app {app}; {location}", http=http, **configuration)
        return nginx.client().get("/").text.split("|")

    return start


def current_directory(process: int) -> str:
    return os.readlink(f"/proc/{process}/cwd")


def test_it_is_that_of_all_that_an_application_starts(nginx, places):
    assert places(f"python_working_directory {nginx.data};") == [str(nginx.data)] * 4
    # nginx's own is another one.
    assert current_directory(nginx.workers()[0]) == current_directory(nginx.master)
    assert current_directory(nginx.master) != str(nginx.data)


def test_by_default_it_is_nginxs(nginx, places):
    assert places("") == [os.getcwd()] * 4


def test_inline(nginx, places):
    http = f"python_working_directory {nginx.data};"
    assert places(http, "wsgi_thread_pool inline;") == [str(nginx.data)] * 4


@pytest.mark.unsanitized("it must come first")
def test_a_container_may_refuse_a_directory_of_its_own(nginx, places, monkeypatch):
    """Then it is nginx's, too, which uses no relative path."""
    library = nginx.root / "refuse.so"
    source = "#include <errno.h>\nint unshare(int flags) { errno = EPERM; return -1; }\n"
    command = ["cc", "-shared", "-fPIC", "-x", "c", "-", "-o", str(library)]
    subprocess.run(command, input=source, text=True, check=True)
    monkeypatch.setenv("LD_PRELOAD", str(library))
    nginx.page("a.txt", "static")
    seen = places(
        f"python_working_directory {nginx.data};", server="location /a.txt { root html; }"
    )
    assert seen == [str(nginx.data)] * 4
    assert current_directory(nginx.workers()[0]) == str(nginx.data)
    assert nginx.client().get("/a.txt").text == "static"
    nginx.wait_log("unshare(CLONE_FS) failed")


def test_it_is_not_on_sys_path(nginx, ask):
    nginx.start(f"wsgi_app {ask};", http=f"python_working_directory {nginx.data};")
    path = nginx.client().get("/").json()["path"]
    assert str(nginx.data) not in path
    assert "" not in path


def test_a_link_that_moves_leaves_a_worker_where_it_is(nginx, places):
    for release in ("one", "two"):
        (nginx.data / release).mkdir()
    link = nginx.data / "current"
    link.symlink_to("one")
    assert places(f"python_working_directory {link};") == [f"{nginx.data}/one"] * 4
    link.unlink()
    link.symlink_to("two")
    assert nginx.client().get("/").text.split("|") == [f"{nginx.data}/one"] * 4
    nginx.reload()
    assert nginx.client().get("/").text.split("|") == [f"{nginx.data}/two"] * 4


def test_one_that_has_gone_is_logged(nginx, places):
    gone = nginx.data / "gone"
    gone.mkdir()
    assert places(f"python_working_directory {gone};") == [str(gone)] * 4
    shutil.rmtree(gone)
    (worker,) = nginx.workers()
    nginx.allow_log(r"\[alert\].* worker process \d+ exited on signal 9")
    os.kill(worker, 9)
    wait_for(lambda: nginx.workers() not in ([], [worker]), 60, "another worker")
    assert nginx.client().get("/").text.split("|") == [os.getcwd()] * 4
    line = nginx.wait_log("cannot be entered")
    assert "[error]" in line
    assert f'python_working_directory "{gone}"' in line
    assert "No such file" in line


def test_what_is_no_directory(nginx, refused, refuses_a_missing_path, ask):
    refuses_a_missing_path("python_working_directory")
    refused("python_working_directory", "not a dir", http=f"python_working_directory {ask};")
    refused("python_working_directory", "absolute", http="python_working_directory srv;")


@pytest.mark.skipif(os.geteuid() != 0, reason="another user is needed")
def test_one_that_the_workers_user_cannot_search(nginx, refused, ask):
    if nginx.user in ("", "root"):
        nginx.user = "daemon"
    closed = nginx.root / "closed"
    closed.mkdir()
    closed.chmod(0o744)
    http = f"python_working_directory {closed};"
    words = [f'python_working_directory "{closed}" cannot be searched by', "Permission denied"]
    refused("python_working_directory", *words, location=f"wsgi_app {ask};", http=http)
    # To list it is not needed.
    closed.chmod(0o711)
    assert nginx.check(f"wsgi_app {ask};", http=http).returncode == 0


def test_the_check_runs_there(nginx):
    source = f"""
        import os
        assert os.getcwd() == {str(nginx.data)!r}, os.getcwd()
        application = print
    """
    app = f"wsgi_app {nginx.app('app', source)};"
    http = f"python_check on; python_working_directory {nginx.data};"
    result = nginx.check(app, http=http)
    assert result.returncode == 0, result.stderr
