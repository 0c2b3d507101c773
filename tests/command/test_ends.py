"""How `pywsgi serve` ends before and after its application has started: it leaves nothing."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import socket
import termios
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from rawhttp import wait_for

# Not guessed: it is imported before nginx starts.
WSGI = """
import os, time

{}

def make():
    def app(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"served"]
    return app

app = make()
"""

# Says what it is, and is no more than a process.
NO_NGINX = """#!/bin/sh
[ "$1" != -V ] || { echo nginx version: nginx/1.22.1 >&2; exit; }
echo started
exec sleep 600
"""

SHUTTING_DOWN = "INFO:     Shutting down before the application has started\nINFO:     Stopped\n"


def is_gone(pid: int) -> bool:
    try:
        return b") Z " in Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return True


def number_in(file: Path) -> int:
    """The process id that is written to it at once."""
    wait_for(lambda: file.exists() and file.read_text().endswith("\n"), 60, file.name)
    return int(file.read_text())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_during_the_first_import(pywsgi, number):
    """The process that imports ends as well."""
    write = "open('pid', 'w').write(f'{os.getpid()}\\n')\ntime.sleep(600)"
    pywsgi.file("app.py", WSGI.format(write))
    server = pywsgi.serve("app:app", "--uds", "a.sock")
    imports = number_in(pywsgi.folder / "pid")
    # Without a terminal, this is no reason.
    server.send(signal.SIGHUP)
    server.send(number)
    assert server.process.wait(60) == 0
    assert server.err() == SHUTTING_DOWN
    assert is_gone(imports)
    assert not (pywsgi.folder / "a.sock").exists()
    assert pywsgi.left_over() == []


def test_while_a_change_is_waited_for(pywsgi):
    pywsgi.file("app.py", "1 / 0")
    server = pywsgi.serve("app:app", "--reload", "--uds", "a.sock")
    server.wait("waiting for a change")
    assert server.stop(signal.SIGTERM) == 0
    assert server.err().endswith(SHUTTING_DOWN)
    assert not (pywsgi.folder / "a.sock").exists()


def test_before_nginx_handles_signals(pywsgi):
    """They end it: a TERM may, the others must not come yet."""
    pywsgi.file("app.py", WSGI.format(""))
    program = pywsgi.file("nginx", NO_NGINX)
    program.chmod(0o755)
    server = pywsgi.serve("app:app", "--uds", "a.sock", "--nginx", program)
    server.wait_out("started")
    for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGTERM):
        server.send(number)
    assert server.process.wait(60) == 0
    assert server.err().endswith(SHUTTING_DOWN)
    assert pywsgi.left_over() == []


def test_a_process_of_the_application_that_stays(pywsgi):
    """Such as a daemon that its import starts; it has all descriptors that it was born with."""
    start = """
if not os.fork():
    open(f"child.{os.getpid()}", "w").close()
    time.sleep(600)
    os._exit(0)
"""
    pywsgi.file("app.py", WSGI.format(start))
    try:
        assert pywsgi.run("config", "app:app").returncode == 0
    finally:
        for file in pywsgi.folder.glob("child.*"):
            os.kill(int(file.suffix[1:]), signal.SIGKILL)


ASGI = """
import asyncio, os

async def app(scope, receive, send):
    if scope["path"] == "/wait":
        open("waits", "w").close()
        while not os.path.exists("gate"):
            await asyncio.sleep(0.01)
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": b"served"})
"""


def test_a_server_that_takes_over(pywsgi):
    """While the first one drains, another takes its socket and its file: they stay."""
    pywsgi.file("app.py", ASGI)
    path = pywsgi.folder / "a.sock"
    arguments = ("app:app", "--lifespan", "off", "--uds", path, "--pid", "pid")

    def get(url: str) -> str:
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(path)), timeout=60) as client:
            return client.get(f"http://localhost{url}").text

    first = pywsgi.serve(*arguments)
    first.wait("running on")
    with ThreadPoolExecutor() as threads:
        waits = threads.submit(get, "/wait")
        wait_for((pywsgi.folder / "waits").exists, 60, "a request")
        first.send(signal.SIGTERM)
        first.wait("Shutting down")

        def is_free() -> bool:
            with socket.socket(socket.AF_UNIX) as sock:
                return sock.connect_ex(str(path)) != 0

        wait_for(is_free, 60, "nginx's end of listening")
        second = pywsgi.serve(*arguments)
        second.wait("running on")
        pywsgi.file("gate")
        assert waits.result() == "served"
    assert first.process.wait(60) == 0
    assert get("/") == "served"
    assert number_in(pywsgi.folder / "pid") == second.process.pid
    assert second.stop() == 0
    assert not path.exists()
    assert not (pywsgi.folder / "pid").exists()


def test_a_pid_file_that_is_none(pywsgi):
    """Such as /dev/null, which root could remove."""
    pywsgi.file("app.py", WSGI.format(""))
    pywsgi.folder.joinpath("null").symlink_to("/dev/null")
    server = pywsgi.serve("app:app", "--pid", "null")
    assert server.get().text == "served"
    assert server.stop() == 0
    assert pywsgi.folder.joinpath("null").is_symlink()


@pytest.mark.parametrize("nohup", [False, True])
def test_a_terminal_that_is_closed(pywsgi, nohup):
    """It ends then, unless HUP was ignored when it started."""
    pywsgi.file("app.py", WSGI.format(""))
    ours, theirs = pty.openpty()

    def prepare() -> None:
        fcntl.ioctl(theirs, termios.TIOCSCTTY, 0)
        signal.signal(signal.SIGHUP, signal.SIG_IGN if nohup else signal.SIG_DFL)

    server = pywsgi.serve("app:app", preexec_fn=prepare, pass_fds=[theirs])
    os.close(theirs)
    assert server.get().text == "served"
    os.close(ours)
    if nohup:
        server.wait("INFO:     Reloading\n")
        server.wait("INFO:     Reloaded\n")
        assert server.get().text == "served"
        assert server.stop(signal.SIGTERM) == 0
    else:
        assert server.process.wait(60) == 0
    assert server.err().endswith("INFO:     Stopped\n")
    assert pywsgi.left_over() == []
