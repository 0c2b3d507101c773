"""Files that an application creates have the expected mode, whatever nginx's umask is."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest

SOURCE = """
    import os
    import threading

    from testkit import DATA

    def application(environ, start_response):
        query = environ["QUERY_STRING"]
        if query:
            os.umask(int(query, 8))
            os.chdir("/")
        seen = []
        def make():
            open(DATA / "made", "w").close()
            seen.append(oct(os.stat(DATA / "made").st_mode & 0o777))
            os.unlink(DATA / "made")
        make()
        thread = threading.Thread(target=make)
        thread.start()
        thread.join()
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [" ".join(seen).encode()]
"""


@pytest.mark.parametrize(
    ("umask", "mode"), [(0o022, "0o644"), (0o077, "0o600"), (0o002, "0o664"), (0, "0o644")]
)
def test_it_is_that_of_who_has_started_nginx(daemon, umask, mode):
    assert daemon(SOURCE, umask).get("/").text == f"{mode} {mode}"


def test_a_reload_keeps_it(daemon, nginx):
    client = daemon(SOURCE, 0o027)
    assert client.get("/").text == "0o640 0o640"
    pid = int((nginx.root / "logs" / "nginx.pid").read_text())
    os.kill(pid, signal.SIGHUP)
    nginx.wait_log("exited with code 0")
    assert nginx.client().get("/").text == "0o640 0o640"


@pytest.mark.threads("the event loop's thread has one umask, and one current directory")
def test_an_application_changes_its_own_alone(nginx):
    nginx.start(f"wsgi_app {nginx.app('umask', SOURCE)};")
    client = nginx.client()
    assert client.get("/?0117").text == "0o660 0o660"
    assert client.get("/").text == "0o660 0o660"
    (worker,) = nginx.workers()
    assert os.readlink(f"/proc/{worker}/cwd") == os.readlink(f"/proc/{os.getpid()}/cwd")


@pytest.mark.unsanitized("it must come first")
def test_a_container_may_refuse_a_umask_of_its_own(nginx, daemon, monkeypatch):
    library = nginx.root / "refuse.so"
    source = "#include <errno.h>\nint unshare(int flags) { errno = EPERM; return -1; }\n"
    command = ["cc", "-shared", "-fPIC", "-x", "c", "-", "-o", str(library)]
    subprocess.run(command, input=source, text=True, check=True)
    monkeypatch.setenv("LD_PRELOAD", str(library))
    assert daemon(SOURCE).get("/").text == "0o644 0o644"
    nginx.wait_log("unshare(CLONE_FS) failed")
    assert len(nginx.log_lines("unshare(CLONE_FS) failed")) == 1
