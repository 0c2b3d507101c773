"""Compares the module with other servers, in one run.

    python bench.py --module MODULE.so --nginx /usr/sbin/nginx [--quick] [--works "hello;…"]

Machines are noisy, so the result is the ratio of processor time per request within one run: the
servers take turns, for several rounds, and each figure is the median of its rounds.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import idle
import isolation
import memory
import starts
import turns
import unread
from accounting import used_by_all, used_by_bench
from chart import chart
from figures import Section
from place import APPS, Run
from report import markdown, targets
from servers import FLOOR, OURS, SERVERS, Server
from targets import outcomes
from works import TEN_MB, WORKS

RESULTS = Path(__file__).resolve().parent / "results"
# Measured in addition to the works, in this order: memory while no other server runs.
APART = ["memory", "start", "isolation", "unread", "idle"]
ALL_SERVERS = {server.name: server for server in SERVERS}

FULL: dict[str, Any] = {
    "name": "latest",
    "works": list(WORKS),
    "servers": list(ALL_SERVERS),
    "apart": APART,
    "rounds": 5,
    "seconds": 2,
}
# The targets that need only hello, and their servers.
QUICK: dict[str, Any] = {
    "name": "quick",
    "works": ["hello", "hello, 1 connection", "20 headers each way"],
    "servers": [
        name
        for name in ALL_SERVERS
        if name not in ("mod_wsgi daemon", "gunicorn gthread", "waitress", "cheroot")
    ],
    "apart": [],
    "rounds": 4,
    "seconds": 1,
}


def main() -> None:
    arguments = parse()
    if not shutil.which("wrk"):
        sys.exit("wrk is not installed (apt-get install wrk)")
    servers = [ALL_SERVERS[name] for name in arguments.servers if ALL_SERVERS[name].installed()]
    for name in arguments.servers:
        if ALL_SERVERS[name] not in servers:
            print(f"{name}: not installed, left out")
    begin = time.monotonic(), used_by_all(), used_by_bench()
    with tempfile.TemporaryDirectory(prefix="pywsgi-bench-") as name:
        run = prepare(Path(name), arguments)
        apart = measure_apart(run, servers, arguments)
        works = {name: WORKS[name] for name in arguments.works}
        rounds, seconds = arguments.rounds, arguments.seconds
        sections = turns.measure(works, servers, run, rounds, seconds) + apart
    wall = (time.monotonic() - begin[0]) * len(os.sched_getaffinity(0))
    others = used_by_all() - begin[1] - (used_by_bench() - begin[2])
    report(sections, arguments, max(0.0, others / wall))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--module", type=Path, required=True)
    parser.add_argument("--nginx", default="/usr/sbin/nginx")
    parser.add_argument("--quick", action="store_true", help="hello alone, for a first look")
    for option, there in (("--works", WORKS), ("--servers", ALL_SERVERS), ("--apart", APART)):
        parser.add_argument(
            option,
            type=partial(_some, there=list(there)),
            help=f"by name, with ; between, of: {'; '.join(there)}",
        )
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=int, help="of each server in each round")
    parser.add_argument("--name", help="of the files in results/")
    parser.set_defaults(**(QUICK if "--quick" in sys.argv else FULL))
    return parser.parse_args()


def _some(text: str, there: list[str]) -> list[str]:
    names = [name for name in text.split(";") if name]
    for name in names:
        if name not in there:
            raise argparse.ArgumentTypeError(f"there is no {name!r}")
    return names


def prepare(folder: Path, arguments: argparse.Namespace) -> Run:
    """The run's folder, with all files that are served."""
    # Apache's worker runs as another user.
    folder.chmod(0o755)
    run = Run(folder, arguments.module.resolve(), arguments.nginx)
    run.static.mkdir()
    run.file.write_bytes(b"x" * TEN_MB)
    environment = {**os.environ, **run.environment()}
    subprocess.run([sys.executable, APPS / "shop.py"], env=environment, check=True)
    run.database.chmod(0o644)
    return run


def measure_apart(run: Run, servers: list[Server], arguments: argparse.Namespace) -> list[Section]:
    sections = []
    rounds, seconds = arguments.rounds, arguments.seconds
    for what in [name for name in APART if name in arguments.apart]:
        print(f"{what} …", flush=True)
        if what == "memory":
            sections.append(memory.measure(run, min(rounds, 3)))
        elif what == "start":
            sections.append(starts.measure(run, servers, min(rounds, 3)))
        elif what == "isolation":
            # A percentile needs more requests than a median.
            sections.append(isolation.measure(run, rounds, 4 * seconds))
        elif what == "unread":
            sections.append(unread.measure(run, rounds, 4 * seconds))
        else:
            sections.append(idle.measure(run, rounds, seconds))
    return sections


def report(sections: list[Section], arguments: argparse.Namespace, others: float) -> None:
    found = outcomes(sections)
    about = [
        f"{time.strftime('%Y-%m-%d')}, {machine()}; Python {platform.python_version()}, "
        f"nginx {nginx_version(arguments.nginx)}, one worker. {arguments.rounds} rounds of "
        f"{arguments.seconds} s, the servers in turn; medians. CPU is the time that all processes "
        "and threads of a server have had of the processors, per request; `to ours` is the ratio "
        f"to {OURS.name}; spread is how far the rounds lie apart. wrk asks, on one thread. "
        f"Meanwhile, {others:.0%} of the processors went to processes that are none of the bench.",
    ]
    text = markdown(sections, found, OURS.name, about)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{arguments.name}.md").write_text(text)
    hello = next((section for section in sections if section.title == "hello"), None)
    if hello:
        title = "Processor time per request of a hello world, in µs"
        below = (
            f"Keep-alive, 16 connections, {machine()}, {time.strftime('%Y-%m-%d')}. "
            f"In brackets: to nginx's own return 200."
        )
        picture = chart(hello, title, below, "pywsgi", FLOOR.name)
        (RESULTS / f"{arguments.name}.svg").write_text(picture)
    print(text)
    print("\n".join(targets(found)))
    print(f"\nWritten to bench/results/{arguments.name}.md")


def machine() -> str:
    """Describes the machine."""
    models = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    release = ".".join(platform.release().split(".")[:2])
    kind = models[0] if models else platform.machine()
    return f"{len(os.sched_getaffinity(0))} cores of {kind}, Linux {release}"


def nginx_version(nginx: str) -> str:
    said = subprocess.run([nginx, "-v"], capture_output=True, text=True).stderr
    return said.partition("nginx/")[2].strip()


if __name__ == "__main__":
    main()
