"""The folder of `pywsgi serve`: who may read it, and who may write there."""

from __future__ import annotations

import contextlib
import os
import pwd
import signal
import stat
from pathlib import Path

import pytest
from rawhttp import wait_for

WSGI = """
import os

def app(environ, start_response):
    length = len(environ["wsgi.input"].read())
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{os.getuid()} {length} version".encode()]
"""


def status_of_all(folder: Path) -> dict[str, os.stat_result]:
    """The status of each file, without those that disappear: instance.json.new is renamed."""
    found = {}
    for each in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):
            found[each.name] = each.stat()
    return found


def test_others_have_no_access(pywsgi):
    pywsgi.file("app.py", WSGI)
    server = pywsgi.serve("app:app", "--tls-self-signed", umask=0)
    assert server.url
    folder = Path(pywsgi.temporary, *pywsgi.left_over())
    if os.geteuid() != 0:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    found = status_of_all(folder)
    private = ("nginx.conf", "instance.json", "key.pem")
    assert {stat.S_IMODE(found[name].st_mode) for name in private} == {0o600}


@pytest.mark.skipif(os.geteuid() != 0, reason="another user is needed")
def test_a_worker_cannot_change_what_root_reads(pywsgi):
    """nginx's master would load any module that an nginx.conf of the application names."""
    app = pywsgi.file("app.py", WSGI)
    for each in (pywsgi.folder, pywsgi.temporary):
        each.chmod(0o755)
    server = pywsgi.serve("app:app", "--user", "daemon", "--client-max-body-size", "0")
    user = pwd.getpwnam("daemon")
    body = b"x" * (1 << 20)
    assert server.get().text == f"{user.pw_uid} 0 version"
    folder = Path(pywsgi.temporary, *pywsgi.left_over())
    status = folder.stat()
    assert (status.st_uid, status.st_gid) == (0, user.pw_gid)
    assert stat.S_IMODE(status.st_mode) == 0o710
    assert {each.st_uid for each in status_of_all(folder).values()} == {0}
    assert stat.S_IMODE((folder / "tmp").stat().st_mode) == 0o711
    # Its temporary files are its own, before and after a reload.

    def posted() -> str:
        return server.get(method="POST", content=body).text

    assert posted() == f"{user.pw_uid} {len(body)} version"
    app.write_text(WSGI.replace("version", "other"))
    server.send(signal.SIGHUP)
    # The old workers answer as well until they know that the new ones are ready.
    wait_for(lambda: posted() == f"{user.pw_uid} {len(body)} other", 60, "the new code")


@pytest.mark.skipif(os.geteuid() != 0, reason="another user is needed")
def test_nothing_of_the_application_runs_as_root(pywsgi):
    """Its owner is who imports it, before nginx starts and after it could not be imported."""
    user = pwd.getpwnam("daemon")
    lines = (
        "import os",
        "with open(f'seen.{os.getpid()}', 'w') as file:",
        "    print(os.getuid(), os.getgid(), os.environ['HOME'], os.getgroups(), file=file)",
    )
    pywsgi.temporary.chmod(0o755)
    os.chown(pywsgi.folder, user.pw_uid, user.pw_gid)
    groups = os.getgrouplist("daemon", user.pw_gid)
    expected = f"{user.pw_uid} {user.pw_gid} {user.pw_dir} {groups}\n"

    def seen() -> set[str]:
        files = list(pywsgi.folder.glob("seen.*"))
        assert files
        found = {each.read_text() for each in files}
        for each in files:
            each.unlink()
        return found

    # Not guessed, and so imported first.
    pywsgi.file("app.py", "\n".join([*lines, WSGI, "app = (lambda one: one)(app)"]))
    server = pywsgi.serve("app:app")
    assert server.get().status_code == 200
    assert server.stop() == 0
    assert seen() == {expected}
    for command in ("check", "config"):
        assert pywsgi.run(command, "app:app").returncode == 0
        assert seen() == {expected}
    # Guessed, and imported again to say why.
    pywsgi.file("app.py", "\n".join([WSGI, *lines, "1 / 0"]))
    done = pywsgi.run("serve", "app:app", "--port", "0")
    assert done.returncode == 3
    assert "ZeroDivisionError" in done.stderr
    assert seen() == {expected}
