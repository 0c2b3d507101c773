"""The fixture `upgradable`: an nginx whose binary can be upgraded."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest
from harness import NGINX, Nginx
from process_memory import is_alive
from rawhttp import wait_for


class Upgradable:
    """Starts nginx as a daemon, which USR2 requires."""

    def __init__(self, nginx: Nginx) -> None:
        self.nginx = nginx
        self.masters: list[int] = []

    def __call__(self, location: str = "", **contexts: str) -> int:
        """Returns the pid of the master."""
        config = self.nginx.write_config(location, **contexts)
        config.write_text(config.read_text().replace("daemon off;", "daemon on;"))
        command = [NGINX, "-p", f"{self.nginx.root}/", "-c", config, "-e", self.nginx.log_path]
        subprocess.run(command, check=True, timeout=60)
        self.nginx.master = wait_for(self._in_pid_file, what="a pid file")
        self.masters.append(self.nginx.master)
        wait_for(self.nginx.workers, what="a worker")
        return self.nginx.master

    def upgrade(self) -> int:
        """Sends USR2 to the master; returns the pid of the second one."""
        first = self.masters[-1]
        os.kill(first, signal.SIGUSR2)
        other = lambda: self._in_pid_file() not in (0, first) and self._in_pid_file()  # noqa: E731
        second = wait_for(other, what="the pid of a second master")
        self.masters.append(second)
        return second

    def _in_pid_file(self) -> int:
        path = self.nginx.root / "logs" / "nginx.pid"
        text = path.read_text().strip() if path.exists() else ""
        return int(text) if text else 0


@pytest.fixture
def upgradable(nginx):
    """At the end all masters are told to quit, and must exit."""
    found = Upgradable(nginx)
    yield found
    for pid in found.masters:
        if is_alive(pid):
            os.kill(pid, signal.SIGQUIT)
    for pid in found.masters:
        wait_for(lambda pid=pid: not is_alive(pid), 60, "the end of a master")
