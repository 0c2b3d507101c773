"""Runs the programs that users have, with an empty home folder and a time limit."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest

# Where Debian and an administrator put programs.
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@pytest.fixture
def home(tmp_path):
    """An empty home folder, so that no configuration of the person who runs the tests is read."""
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


@pytest.fixture
def run(home):
    """`run("git", "status", cwd=…)` returns the finished process, which must have succeeded.

    check: False for a command that must fail. env: more environment. Everything is text, but
    `input` may be bytes or a file.
    """

    def run_command(*command, cwd=None, env=None, input=None, check=True, timeout=200):
        environment = {"PATH": PATH, "HOME": str(home), "LANG": "C.UTF-8", **(env or {})}
        source = {"stdin": subprocess.DEVNULL}
        if input is not None:
            source = {"stdin": input} if hasattr(input, "fileno") else {"input": input}
        done = subprocess.run(
            [str(word) for word in command],
            cwd=cwd or home,
            env=environment,
            capture_output=True,
            timeout=timeout,
            **source,
        )
        done.stdout = done.stdout.decode("utf-8", "backslashreplace")
        done.stderr = done.stderr.decode("utf-8", "backslashreplace")
        assert not check or done.returncode == 0, (
            f"{' '.join(map(str, command))} ended with {done.returncode}:\n"
            f"{done.stdout[-4000:]}\n{done.stderr[-8000:]}"
        )
        return done

    return run_command


@pytest.fixture(params=["on", "off"])
def buffering(request):
    """The value of wsgi_request_buffering."""
    return request.param


@pytest.fixture(params=["http/1.1", "h2"])
def protocol(request):
    """What the clients speak: h2 is over TLS."""
    return request.param


@pytest.fixture
def shared(nginx):
    """`shared("files")` makes a folder among the data that the workers may write to."""

    def make(name: str) -> Path:
        folder = nginx.data / name
        folder.mkdir()
        folder.chmod(0o777)
        return folder

    return make


@pytest.fixture
def digest():
    """`digest(path)` or `digest(b"…")`."""

    def sha256(content) -> str:
        if isinstance(content, bytes):
            return hashlib.sha256(content).hexdigest()
        with open(content, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    return sha256
