"""The fixture `pywsgi`: the command, as a user types it, in a folder of its own."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import httpx
import pytest
from harness import MODULE, NGINX, PROJECT, release_ports
from rawhttp import wait_for

# An `[alert]` or a `[crit]` of nginx is a line of this level.
FATAL = re.compile(r"CRITICAL:|\[(?:alert|crit|emerg)\]|open socket|Sanitizer|panicked")


class Server:
    """`pywsgi serve …` that runs."""

    def __init__(self, process: subprocess.Popen[bytes], out: Path, err: Path) -> None:
        self.process = process
        self._out, self._err = out, err

    def out(self) -> str:
        return self._out.read_text()

    def err(self) -> str:
        return self._err.read_text("utf-8", "backslashreplace")

    def wait(self, text: str, count: int = 1, timeout: float = 120) -> str:
        """Until that has been printed; returns what has been, on the standard error."""

        def said() -> bool:
            if self.process.poll() is not None and self.err().count(text) < count:
                raise AssertionError(f"the command has ended without {text!r}:\n{self.err()}")
            return self.err().count(text) >= count

        wait_for(said, timeout, f"{text!r} on the standard error")
        return self.err()

    def wait_out(self, text: str, timeout: float = 60) -> None:
        wait_for(lambda: text in self.out(), timeout, f"{text!r} on the standard output")

    @property
    def url(self) -> str:
        found = re.search(r"running on (\S+)", self.wait("running on "))
        assert found
        return found[1]

    def get(self, path: str = "/", method: str = "GET", **options) -> httpx.Response:
        with httpx.Client(trust_env=False, verify=False, timeout=60, http2=True) as client:
            return client.request(method, self.url + path, **options)

    def send(self, number: int) -> None:
        self.process.send_signal(number)

    def stop(self, number: int = signal.SIGINT, timeout: float = 60) -> int:
        if self.process.poll() is None:
            self.send(number)
        return self.process.wait(timeout)


class Command:
    """Runs `pywsgi`; `folder` is the current directory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.temporary = folder.with_name(f"{folder.name}-tmp")
        self.temporary.mkdir()
        self.environ = {
            **os.environ,
            "PYTHONPATH": str(PROJECT / "python-shim"),
            "PYWSGI_NGINX": NGINX,
            "PYWSGI_MODULE": str(MODULE),
            "TMPDIR": str(self.temporary),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        for name in ("PORT", "WEB_CONCURRENCY", "FORWARDED_ALLOW_IPS", "FLASK_APP"):
            self.environ.pop(name, None)
        self.servers: list[Server] = []
        self.allowed: list[str] = []

    def file(self, name: str, text: str = "") -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def run(
        self, *arguments: str | Path, program: Sequence[str] = ("-m", "pywsgi"), **options
    ) -> subprocess.CompletedProcess[str]:
        """Until it ends."""
        options = {"env": self.environ, "cwd": self.folder, **options}
        command = [sys.executable, *program, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, **options)

    def serve(
        self, *arguments: str | Path, program: Sequence[str] = ("-m", "pywsgi", "serve"), **options
    ) -> Server:
        """`pywsgi serve`, or another program that does it, at a free port unless the arguments have
        an address."""
        number = len(self.servers)
        out, err = (self.folder / f"{name}{number}" for name in ("out", "err"))
        typed = [str(each) for each in arguments]
        has_address = any(each.startswith(("-b", "--bind", "--port", "--uds")) for each in typed)
        if not has_address and "pywsgi" in program:
            typed += ["--port", "0"]
        options = {"env": self.environ, "cwd": self.folder, **options}
        with out.open("wb") as stdout, err.open("wb") as stderr:
            process = subprocess.Popen(
                [sys.executable, *program, *typed],
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
                **options,
            )
        self.servers.append(Server(process, out, err))
        return self.servers[-1]

    def left_over(self) -> list[str]:
        return sorted(os.listdir(self.temporary))

    def close(self) -> list[str]:
        faults = []
        for server in self.servers:
            try:
                server.stop()
            except subprocess.TimeoutExpired:
                faults.append("the command did not end")
                server.process.kill()
            faults += [line for line in server.err().splitlines() if FATAL.search(line)]
        return [each for each in faults if not any(text in each for text in self.allowed)]


@pytest.fixture
def pywsgi(request):
    """The test fails on what nginx's log must not have."""
    folder = Path(tempfile.mkdtemp(prefix="pywsgi-command-"))
    command = Command(folder)
    yield command
    faults = command.close()
    release_ports()
    printed = "\n".join(server.err() for server in command.servers)
    for each in (folder, command.temporary):
        with contextlib.suppress(OSError):
            shutil.rmtree(each)
    if faults:
        pytest.fail("\n".join([*faults, "all of it:", printed]), pytrace=False)
