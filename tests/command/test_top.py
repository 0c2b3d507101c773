"""`pywsgi top` beside what is no server of ours, and in a small terminal."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import signal
import socket
import struct
import subprocess
import sys
import termios
import threading

import pytest

WSGI = """
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"served"]
"""

ESCAPE = "\x1b[31mred"


def test_folders_that_others_have_made(pywsgi):
    """None of them is a server; of one, a folder with its socket is left."""
    for number, text in enumerate(
        (
            json.dumps({"pid": 1, "application": ESCAPE, "addresses": []}),
            "[]",
            '{"application": 3, "addresses": 3}',
            '{"application"',
            "\udcff",
        )
    ):
        file = pywsgi.temporary / f"pywsgi-serve-{number}" / "instance.json"
        file.parent.mkdir()
        file.write_bytes(text.encode("utf-8", "surrogateescape"))
    for name in ("pipe", "link", "killed"):
        (pywsgi.temporary / f"pywsgi-serve-{name}").mkdir()
    os.mkfifo(pywsgi.temporary / "pywsgi-serve-pipe" / "instance.json")
    (pywsgi.temporary / "pywsgi-serve-link" / "instance.json").symlink_to("/etc/passwd")
    killed = pywsgi.temporary / "pywsgi-serve-killed"
    (killed / "instance.json").write_text('{"application": "a:b", "addresses": []}')
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(killed / "status.sock"))
    done = pywsgi.run("top")
    assert done.returncode == 1
    assert done.stderr.startswith("pywsgi top: no pywsgi serve runs here")
    pywsgi.file("app.py", WSGI)
    server = pywsgi.serve("app:app")
    assert server.url
    done = pywsgi.run("top")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "body",
    [
        b'{"workers": []}',
        b'{"workers": 1, "versions": 1}',
        b'{"workers": [{"state": "\\u001b[31mred"}], "versions": []}',
    ],
)
def test_a_status_of_another_kind(pywsgi, body):
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer():
            connection, _ = listening.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"HTTP/1.0 200 OK\r\n\r\n" + body)

        thread = threading.Thread(target=answer)
        thread.start()
        url = f"127.0.0.1:{listening.getsockname()[1]}"
        done = pywsgi.run("top", url)
        thread.join()
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"pywsgi top: {url}: its status has another form\n"


@pytest.mark.parametrize("seconds", ["nan", "inf", "-1", "x"])
def test_an_interval_that_is_none(pywsgi, seconds):
    done = pywsgi.run("top", f"--interval={seconds}")
    assert done.returncode == 2
    assert f"{seconds!r} is no number of seconds" in done.stderr


def test_a_small_terminal(pywsgi):
    """Nothing is wrapped, and nothing scrolls."""
    pywsgi.file("app.py", WSGI)
    assert pywsgi.serve("app:app").url
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 4, 20, 0, 0))
    command = [sys.executable, "-m", "pywsgi", "top", "--interval", "0.1"]
    process = subprocess.Popen(
        command, stdout=theirs, stderr=theirs, env=pywsgi.environ, cwd=pywsgi.folder
    )
    os.close(theirs)
    seen = b""
    while seen.count(b"\x1b[J") < 3:
        seen += os.read(ours, 4096)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0
    os.close(ours)
    for screen in re.split(r"\x1b\[H\x1b\[J", seen.decode())[1:-1]:
        lines = screen.split("\r\n")
        assert len(lines) == 4
        assert max(map(len, lines)) == 20
