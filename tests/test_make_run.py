"""`make run`: it finds out of which protocol the application is, and serves it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from harness import MODULE, NGINX, PROJECT, free_port
from rawhttp import wait_for

WSGI = """
print("imported")

def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"wsgi"]
"""

ASGI = """
print("imported")

async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"asgi"})
"""

FACTORY = f"{ASGI}\ndef create(name):\n    return app\n"


def protocol_of(target: Path | str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-B", PROJECT / ".ci" / "protocol_of.py", str(target)],
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize(
    ("source", "suffix", "protocol"),
    [(WSGI, "", "wsgi"), (ASGI, "", "asgi"), (FACTORY, ":create('shop')", "asgi")],
)
def test_the_protocol_is_found(tmp_path, source, suffix, protocol):
    file = tmp_path / "main.py"
    file.write_text(source)
    found = protocol_of(f"{file}{suffix}")
    assert (found.returncode, found.stdout, found.stderr) == (0, f"{protocol}\n", "imported\n")
    assert os.listdir(tmp_path) == ["main.py"]


def test_an_application_that_does_not_import(tmp_path):
    file = tmp_path / "main.py"
    file.write_text("import no_such_module")
    found = protocol_of(file)
    assert (found.returncode, found.stdout) == (1, "")
    assert f'File "{file}", line 1' in found.stderr
    assert "No module named 'no_such_module'" in found.stderr


def test_threads_of_an_application_do_not_hold_it_up(tmp_path):
    file = tmp_path / "main.py"
    file.write_text(
        f"import threading\nthreading.Thread(target=threading.Event().wait).start()\n{ASGI}"
    )
    assert protocol_of(file).stdout == "asgi\n"


@pytest.fixture
def serve(tmp_path):
    """`serve(app)` runs the last step of `make run`; gives its URL and what it has printed."""
    processes = []

    def run(app: Path) -> tuple[str, Path]:
        port, printed = free_port(), tmp_path / "printed"
        arguments = [NGINX, MODULE, tmp_path / "run", app, str(port), "", sys.executable]
        with printed.open("wb") as output:
            process = subprocess.Popen(
                [PROJECT / ".ci" / "serve", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        processes.append(process)
        return f"http://127.0.0.1:{port}/", printed

    yield run
    for process in processes:
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    text = (tmp_path / "printed").read_text()
    assert not re.search(r"\[(alert|crit|emerg)\]", text), text
    assert text.endswith("make run: stopped\n")


def get(url: str, printed: Path) -> httpx.Response:
    """The first answer of a server that starts.

    nginx -t listens for a moment as well, and its exit resets whoever has connected meanwhile. It
    has ended when the address is printed.
    """
    wait_for(lambda: url in printed.read_text(), 60, "the address")
    deadline = time.monotonic() + 60
    while True:
        try:
            return httpx.get(url, timeout=30)
        except httpx.ConnectError:
            assert time.monotonic() < deadline
            time.sleep(0.1)


@pytest.mark.parametrize(("source", "protocol"), [(WSGI, "wsgi"), (ASGI, "asgi")])
def test_both_protocols_are_served(tmp_path, serve, source, protocol):
    file = tmp_path / "main.py"
    file.write_text(source)
    url, printed = serve(file)
    assert get(url, printed).text == protocol
    assert f"{file} ({protocol.upper()})\n" in printed.read_text()
    assert f"{protocol}_app {file};" in (tmp_path / "run" / "site.conf").read_text()


def test_an_application_that_does_not_import_is_not_served(tmp_path):
    file = tmp_path / "main.py"
    file.write_text("1 / 0")
    arguments = [NGINX, MODULE, tmp_path / "run", file, str(free_port()), "", sys.executable]
    done = subprocess.run(
        [PROJECT / ".ci" / "serve", *arguments], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr
    assert done.stderr.endswith(f"make run: {file} cannot be imported\n")
