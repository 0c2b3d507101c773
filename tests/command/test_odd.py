"""Odd surroundings and odd values: the command works, or says in one line what is wrong."""

from __future__ import annotations

import grp
import os
import pwd
import subprocess
import sys

import httpx
import pytest
from rawhttp import wait_for

WSGI = """
import os, sys

def app(environ, start_response):
    if environ["PATH_INFO"] == "/forge":
        for line in (
            "nginx: [bogus] hello",
            "2026/01/01 00:00:00 [bogus] 1#1: hello",
            f"2026/01/01 00:00:00 [error] {os.getpid()}#1: pywsgi[203]: hello",
            f"2026/01/01 00:00:00 [error] {os.getpid()}#1: pywsgi[205]: hello",
            f"2026/01/01 00:00:00 [error] {os.getpid()}#1: pywsgi[621]: hello",
            "2026/01/01 00:00:00 [alert] 1#1: it exited and cannot be respawned",
            "last one",
        ):
            print(line, file=sys.stderr)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"served"]
"""


def test_lines_that_look_like_nginxs(pywsgi):
    """An application that logs what its clients send logs any line."""
    pywsgi.file("app.py", WSGI)
    pywsgi.allowed = ["it exited and cannot be respawned"]
    server = pywsgi.serve("app:app")
    assert server.get("/forge").text == "served"
    server.wait("last one")
    assert server.get().text == "served"
    assert server.stop() == 0
    assert "Shutting down" in server.err()


# Runs what follows without these descriptors.
CLOSE = """
import os, sys
for number in sys.argv[1].split(","):
    os.close(int(number))
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""


@pytest.mark.parametrize("closed", ["0", "1", "2", "0,1,2"])
def test_standard_streams_that_are_closed(pywsgi, closed):
    """No socket and no pipe takes their place."""
    pywsgi.file("app.py", WSGI)
    path = pywsgi.folder / "a.sock"
    server = pywsgi.serve(
        *("app:app", "--uds", path, "--pid", "pid"),
        program=("-c", CLOSE, closed, "-m", "pywsgi", "serve"),
    )
    # It listens from then on.
    wait_for((pywsgi.folder / "pid").exists, 60, "the file of its process id")
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(path)), timeout=60) as client:
        assert client.get("http://localhost/").text == "served"
    assert server.stop() == 0
    assert "2" in closed or "INFO:     Stopped" in server.err()
    assert "1" in closed or "GET / HTTP/1.1" in server.out()
    done = pywsgi.run("config", "app:app", program=("-c", CLOSE, closed, "-m", "pywsgi"))
    assert (done.returncode, done.stderr) == (0, "")
    assert "1" in closed or "wsgi_app app:app;" in done.stdout


@pytest.mark.parametrize("command", ["serve", "config", "check", "doctor", "convert gunicorn"])
def test_a_current_directory_that_is_gone(pywsgi, command):
    gone = pywsgi.folder / "gone"
    gone.mkdir()
    shell = f'rmdir {gone}; exec "$0" -m pywsgi {command}'
    done = subprocess.run(
        ["sh", "-c", shell, sys.executable],
        **{"cwd": gone, "env": pywsgi.environ, "capture_output": True, "text": True},
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == ("pywsgi: the current directory has been removed: go to another one\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a" * 300], "ERROR:    {folder}/%s: File name too long\n" % ("a" * 300)),
        (["--fd", str(2**31)], "argument --fd: '2147483648' is too large a number"),
        (["--bind", "fd://2147483648"], "ERROR:    --fd 2147483648: Bad file descriptor\n"),
        (["--bind", "[::1"], "--bind [::1: it is HOST:PORT, [IPv6]:PORT, unix:PATH or fd://N"),
        (["--bind", ":" + "1" * 5000], ": it is HOST:PORT, [IPv6]:PORT, unix:PATH or fd://N"),
        (["--backlog", "9" * 20], "argument --backlog: '%s' is too large a number" % ("9" * 20)),
        (["--max-requests", "9" * 5000], " is too large a number"),
        (["--workers", "1001"], "argument -w/--workers: '1001' is more than nginx can have: 1000"),
        (["--umask", "-5"], "argument -m/--umask: '-5' is no mode, as 027"),
        (["--umask", "77777"], "argument -m/--umask: '77777' is no mode, as 027"),
        (["--ws-max-size", "1023"], "argument --ws-max-size: '1023' must be at least 1024"),
        (["--client-max-body-size", "99999999999g"], "'99999999999g' is no size: 1024, 512k"),
        (["--worker-connections", "2000000000", "--uds", "s"], "cannot be respawned\n"),
    ],
)
def test_values_that_are_none(pywsgi, arguments, message):
    pywsgi.file("app.py", WSGI)
    pywsgi.allowed = ["cannot be respawned", "malloc", "epoll"]
    target = [] if arguments[0].startswith("a") else ["app:app"]
    server = pywsgi.serve(*target, *arguments)
    assert server.process.wait(60) in (1, 2, 3)
    assert message.replace("{folder}", str(pywsgi.folder)) in server.err()
    assert "Traceback" not in server.err()
    assert server.err().count("\n") <= 4
    assert pywsgi.left_over() == []


@pytest.mark.parametrize("arguments", [["closed"], ["closed/app.py"], ["--chdir", "closed"]])
def test_a_folder_that_is_closed(pywsgi, arguments):
    pywsgi.file("closed/app.py", WSGI)
    for each in (pywsgi.folder, pywsgi.temporary):
        each.chmod(0o755)
    (pywsgi.folder / "closed").chmod(0o600)
    if os.geteuid() == 0:
        options = {"user": "nobody", "group": grp.getgrgid(pwd.getpwnam("nobody").pw_gid).gr_name}
    else:
        options = {}
    done = pywsgi.run("check", *arguments, **options)
    assert done.returncode == 1
    assert done.stderr.endswith(": Permission denied\n")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("command", ["config", "check", "completion"])
def test_output_that_cannot_be_written(pywsgi, command):
    pywsgi.file("app.py", WSGI)
    arguments = [command, "bash" if command == "completion" else "app:app"]
    shell = 'exec "$@" >/dev/full'
    line = ["sh", "-c", shell, "sh", sys.executable, "-m", "pywsgi", *arguments]
    options = {"cwd": pywsgi.folder, "env": pywsgi.environ, "text": True, "timeout": 60}
    done = subprocess.run(line, stderr=subprocess.PIPE, **options)
    message = "pywsgi: the output cannot be written: No space left on device\n"
    assert (done.returncode, done.stderr) == (1, message)
    # Whoever reads goes before the first line.
    reading, writing = os.pipe()
    os.close(reading)
    line[2] = 'exec "$@"'
    done = subprocess.run(line, stdout=writing, stderr=subprocess.PIPE, **options)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_port_that_is_no_number(pywsgi):
    """As gunicorn takes it: as if there were none."""
    pywsgi.file("app.py", WSGI)
    pywsgi.environ["PORT"] = "²"
    done = pywsgi.run("config", "app:app", "--host", "127.0.0.1")
    assert done.returncode == 0
    assert "listen 127.0.0.1:8000;" in done.stdout
    done = pywsgi.run("serve", "no.py")
    assert "there is no file no.py" in done.stderr
