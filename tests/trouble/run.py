"""Random trouble: everything at once that can happen to nginx in production (`make stress`).

    STRESS_SECONDS=600  how long it runs
    STRESS_SEED=1234    the same clients and the same troubles again; printed by each run

Clients of all kinds (clients.py) ask both protocols without a pause, while workers are killed,
crash, are recycled and stand still, nginx is reloaded, code is deployed broken and mended, the
disk is full, memory and descriptors run short (troubles.py). What is checked: each request is
answered rightly, byte by byte, or a trouble explains why not; nothing hangs; no worker is lost for
good; the master has no further descriptors and children at the end; and whatever is fatal in the
error log has its explanation.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import sys
import threading
import time
from pathlib import Path

from fuzz import planned
from harness import FATAL, Nginx, free_port, release_ports, temporary_root
from process_memory import descriptors
from rawhttp import wait_for
from trouble.applications import ASGI, BROKEN, WSGI
from trouble.clients import PATIENCE, PROTOCOLS, Client, Counts, Site
from trouble.excuses import Excuses
from trouble.troubles import WORKERS, Disk, Troubles

CLIENTS = 14

HTTP = """
    python_check on timeout=120s;
    python_max_requests 1500 jitter=1500;
    python_max_lifetime 30s jitter=30s;
    python_memory_limit soft=400m check=1s;
    python_drain_timeout 120s;
    wsgi_timeout 90s;
    asgi_timeout 90s;
    wsgi_interrupt_timeout 1s;
    client_body_buffer_size 8k;
    client_max_body_size 16m;
    map $status $failed {{ ~^5 1; default 0; }}
    log_format failed '$time_local $pid $status $request_time "$request"';
    access_log logs/failed.log failed if=$failed;

    server {{
        listen 127.0.0.1:{port} ssl http2;
        {tls}
        include locations.conf;
    }}
"""

LOCATIONS = """
    location /wsgi/ {{ wsgi_app {wsgi}; wsgi_buffer_size 64k; }}
    location /asgi/ {{ asgi_app {asgi}; asgi_buffer_size 64k; }}
    location /stream/wsgi/ {{
        wsgi_app {wsgi};
        wsgi_request_buffering off;
        wsgi_buffering off;
    }}
    location /stream/asgi/ {{ asgi_app {asgi}; asgi_buffering off; }}
    location /late/wsgi/ {{ wsgi_app {wsgi}; wsgi_timeout 1s; }}
    location /late/asgi/ {{ asgi_app {asgi}; asgi_timeout 1s; }}
    location = /status {{ python_status json; }}
    location / {{ }}
"""

# What the error log may say during a trouble of this name.
EXPLAINED = [
    ("disk", re.compile(r"No space left on device|File too large|has written only")),
    ("descriptors", re.compile(r"Too many open files")),
    (
        "memory",
        re.compile(r"Cannot allocate memory|Resource temporarily unavailable|malloc failure"),
    ),
    # What the check says of the application, by the master.
    ("broken", re.compile(r"\[emerg\]")),
    ("reopen", re.compile(r"open\(\) \"[^\"]*\.log\" failed \(13: Permission denied\)")),
    # The master writes to a worker that it does not know to be dead yet.
    ("death", re.compile(r"sendmsg\(\) failed \((?:9|32|104|111)|kill\(\d+, \d+\) failed \(3:")),
]
# How a request ends for its client.
ENDS = ("200", "500", "504", "failed", "closed", "left", "crossed", "own")
EXITED = re.compile(r"worker process (\d+) exited on signal (\d+)")


class Stress:
    def __init__(self, nginx: Nginx, seed: int) -> None:
        self.nginx, self.seed = nginx, seed
        self.excuses, self.counts = Excuses(), Counts()
        self.findings: list[str] = []
        self.disk = Disk(nginx)
        if not self.disk.mounted:
            print("stress: no tmpfs can be mounted: a limit of the files' size takes its place")
        self.troubles = Troubles(nginx, seed, self.excuses, self.counts, self.deploy, self.disk)
        self.clients: list[Client] = []

    def deploy(self, version: int | None) -> None:
        """Writes both applications; `None`: one of them is broken."""
        broken = self.troubles.source.choice(PROTOCOLS) if version is None else ""
        for name, source in zip(PROTOCOLS, (WSGI, ASGI), strict=True):
            path = self.nginx.apps / f"stress_{name}.py"
            text = source.format(version=version, file=self.nginx.html / "file.bin")
            if name == broken:
                text = BROKEN
            # As a deploy should: never half a file.
            new = path.with_suffix(".new")
            new.write_text(text)
            new.chmod(0o644)
            new.rename(path)

    def start(self) -> None:
        nginx = self.nginx
        self.nginx.app("planned", Path(planned.__file__).read_text())
        file = planned.pattern("file", 300_000)
        (nginx.html / "file.bin").write_bytes(file)
        self.deploy(0)
        paths = {name: nginx.apps / f"stress_{name}.py" for name in PROTOCOLS}
        (nginx.root / "conf" / "locations.conf").write_text(LOCATIONS.format(**paths))
        tls_port = free_port()
        nginx.start(
            server="include locations.conf;",
            http=HTTP.format(port=tls_port, tls=nginx.tls()),
            workers=WORKERS,
            log_level="notice",
        )
        self.site = Site(nginx.port, tls_port, file)
        self.wait_answers()
        self.before = self.state()

    def wait_answers(self) -> None:
        """Each worker answers for each protocol."""
        for name in PROTOCOLS:
            seen: set[int] = set()

            def all_seen(name: str = name, seen: set[int] = seen) -> bool:
                with self.nginx.connect(timeout=PATIENCE) as connection:
                    self.counts.add(name, "own")
                    connection.get(f"/{name}/text?size=1", close=True)
                    answer = connection.response()
                assert answer.status == 200, f"{name}: {answer.status}"
                seen.add(int(answer.get("X-Worker")))
                return set(self.nginx.workers()) <= seen

            wait_for(all_seen, PATIENCE, f"an answer of each worker for {name}")

    def state(self) -> dict[str, int]:
        """What of the master must be the same at the end."""
        master = self.nginx.master

        def children() -> list[str]:
            return Path(f"/proc/{master}/task/{master}/children").read_text().split()

        wait_for(lambda: len(children()) == WORKERS, PATIENCE, "the end of all leaving workers")
        return {"descriptors": descriptors(master), "children": len(children())}

    def run(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        self.clients = [
            Client(number, self.seed, self.site, self.excuses, self.counts, self.findings)
            for number in range(CLIENTS)
        ]
        trouble = threading.Thread(target=self.make_trouble, args=(until,))
        for thread in [*self.clients, trouble]:
            thread.start()
        while time.monotonic() < until and not self.findings:
            time.sleep(0.2)
        self.troubles.over.set()
        trouble.join()
        for client in self.clients:
            client.over.set()
        for client in self.clients:
            client.join(2 * PATIENCE)
            if client.is_alive():
                self.findings.append(f"{client.name} hangs: {client.now}")

    def make_trouble(self, until: float) -> None:
        try:
            self.troubles.run(until)
        except Exception as error:
            made = self.troubles.made[-1]
            self.findings.append(f"trouble {made}: {type(error).__name__}: {error}")

    def finish(self) -> None:
        """What must be true once there is no trouble any more."""
        self.deploy(1)
        self.nginx.reload(timeout=PATIENCE)
        self.wait_answers()
        after = self.state()
        if after != self.before:
            self.findings.append(f"the master had {self.before}, and has {after}")
        self.compare_status()

    def compare_status(self) -> None:
        """The numbers of python_status against those of the clients.

        A client that has left, or whose connection was closed, does not know what became of its
        request; a worker that is killed may have sent an answer that it has not counted yet.
        """

        def numbers() -> dict[str, dict]:
            with self.nginx.connect(timeout=PATIENCE) as connection:
                connection.get("/status", close=True)
                status = json.loads(connection.response().body)
            return {known["protocol"]: known for known in status["applications"]}

        wait_for(
            lambda: all(known["in_flight"] == 0 for known in numbers().values()),
            PATIENCE,
            "the end of all requests in python_status",
        )
        for name, known in numbers().items():
            ends = {end: self.counts[name, end] for end in ENDS}
            unknown = sum(ends[end] for end in ("left", "closed", "crossed", "own"))
            two, five = ends["200"], ends["500"] + ends["504"]
            sockets = 0
            if name == "asgi":
                sockets = self.counts["websocket", "whole"]
                unknown += self.counts["websocket", "closed"]
            seen, lost = known["responses"], known["lost"]
            for what, count, least, most in (
                ("2xx", seen["2xx"], two - lost, two + unknown),
                ("5xx", seen["5xx"], five - lost, five + ends["failed"] + unknown),
                ("1xx", seen["1xx"], sockets, sockets + unknown + self.going_away()),
                ("3xx and 4xx", seen["3xx"] + seen["4xx"], 0, ends["left"]),
                ("open WebSockets", known["websockets"]["open"], 0, 0),
            ):
                if not least <= count <= most:
                    said = f"python_status has {count} {what} for {name}"
                    self.findings.append(f"{said}, the clients {least} to {most}")

    def going_away(self) -> int:
        return self.counts["websocket", "going away"]

    def check_log(self) -> None:
        """Each fatal line has its explanation."""
        for line in self.nginx.error_log().splitlines():
            if FATAL.search(line) and not self.is_explained(line):
                self.findings.append(f"in the error log: {line}")

    def is_explained(self, line: str) -> bool:
        exited = EXITED.search(line)
        if exited:
            return self.troubles.killed.get(int(exited[1])) == int(exited[2])
        try:
            moment = time.mktime(time.strptime(line[:19], "%Y/%m/%d %H:%M:%S"))
        except ValueError:
            return False
        return any(
            pattern.search(line) and self.excuses.explain(trouble, moment)
            for trouble, pattern in EXPLAINED
        )


def main() -> int:
    seconds = float(os.environ.get("STRESS_SECONDS") or 600)
    seed = int(os.environ.get("STRESS_SEED") or random.SystemRandom().randrange(10**9))
    print(f"stress: {seconds:g} s; STRESS_SEED={seed} makes the same trouble again", flush=True)
    nginx = Nginx(temporary_root())
    stress = Stress(nginx, seed)
    try:
        stress.start()
        stress.run(seconds)
        if not stress.findings:
            stress.finish()
    except AssertionError as error:
        stress.findings.append(str(error))
    finally:
        # Its lines are looked at below.
        nginx.allow_log("")
        stress.findings += nginx.close()
        stress.disk.close()
        release_ports()
    stress.check_log()
    for finding in stress.findings[:30]:
        print(f"stress: {finding}", file=sys.stderr)
    troubles = ", ".join(stress.troubles.made)
    print(f"stress: {sum(client.done for client in stress.clients)} cases; {stress.counts}")
    print(f"stress: {len(stress.troubles.made)} troubles: {troubles}", flush=True)
    if stress.findings:
        print(f"stress: failed with seed {seed}; nginx's files are in {nginx.root}")
        return 1
    shutil.rmtree(nginx.root, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
