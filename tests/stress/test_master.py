"""Many requests, workers that are recycled, and reloads leave nginx's master as it was.

`make test-long`: a million requests through ten recyclings and fifty reloads.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
from pathlib import Path

import pytest
from process_memory import anonymous, descriptors
from rawhttp import wait_for

LONG = "PYWSGI_LONG" in os.environ
REQUESTS = 1_000_000 if LONG else 10_000
RECYCLINGS = 10 if LONG else 2
RELOADS = 50 if LONG else 5
WORKERS = 2
# What nginx reads the configuration with comes and goes in whole pages; a leak grows with each.
SLACK = 128 << 10

WSGI = """
    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "2")])
        return [b"ok"]
"""

ASGI = """
    from testkit import respond

    async def application(scope, receive, send):
        await respond(send, b"ok")
"""

HTTP = """
    python_check on timeout=120s;
    access_log off;
    keepalive_requests 1000000;
    {recycle}
"""


class Master:
    def __init__(self, nginx) -> None:
        self.nginx = nginx
        self.server = f"""
            location /wsgi {{ wsgi_app {nginx.app("one", WSGI)}; }}
            location /asgi {{ asgi_app {nginx.app("two", ASGI)}; asgi_lifespan off; }}
        """
        self.requests = 0
        self.reloads = 0
        self.turn = False

    def configure(self, recycle: str = "") -> dict:
        return {
            "server": self.server,
            "http": HTTP.format(recycle=recycle),
            "workers": WORKERS,
            "log_level": "notice",
        }

    def load(self, seconds: int) -> None:
        """As many requests as wrk sends in that time, for one application and then the other."""
        path = "/wsgi" if self.turn else "/asgi"
        self.turn = not self.turn
        command = ["wrk", "--connections", "16", "--threads", "1", "--duration", f"{seconds}s"]
        said = subprocess.run(
            [*command, self.nginx.url(path)], capture_output=True, text=True, timeout=120
        ).stdout
        assert "Non-2xx" not in said, said
        assert "Socket errors" not in said, said
        self.requests += int(re.search(r"(\d+) requests in", said).group(1))

    def reload(self) -> None:
        """Until the old workers have gone."""
        old = set(self.nginx.workers(leaving=True))
        os.kill(self.nginx.master, signal.SIGHUP)
        self.reloads += 1
        wait_for(lambda: self.settled() and not old & set(self.workers()), 120, "new workers")

    def workers(self) -> list[int]:
        """All children, whatever they are."""
        path = Path(f"/proc/{self.nginx.master}/task/{self.nginx.master}/children")
        return [int(pid) for pid in path.read_text().split()]

    def settled(self) -> bool:
        return len(self.workers()) == WORKERS == len(self.nginx.workers())

    def recycled(self) -> int:
        return len(self.nginx.log_lines("this worker is replaced"))

    def state(self) -> dict[str, int]:
        wait_for(self.settled, 120, "the end of workers that leave")
        return {
            "memory": anonymous(self.nginx.master),
            "descriptors": descriptors(self.nginx.master),
            "children": len(self.workers()),
        }


@pytest.mark.timeout(3000)
def test_many_reloads_and_recyclings(nginx):
    master = Master(nginx)
    nginx.start(**master.configure())
    for _ in range(3):
        master.load(1)
        master.reload()
    before, first = master.state(), master.reloads
    while master.reloads < first + RELOADS:
        if LONG or master.reloads == first:
            master.load(1)
        master.reload()
    # Often enough, whatever the machine does in a second.
    nginx.write_config(**master.configure(f"python_max_requests {REQUESTS // 50};"))
    master.reload()
    while master.recycled() < RECYCLINGS or master.requests < REQUESTS:
        master.load(5 if LONG else 1)
    after = master.state()
    print(f"{master.requests} requests, {master.recycled()} recyclings, {master.reloads} reloads")
    print(f"the master: {before} before, {after} after")
    assert after["memory"] - before["memory"] < SLACK, (before, after)
    del before["memory"], after["memory"]
    assert after == before
