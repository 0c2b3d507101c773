"""Compares the module with other servers, in one run.

    python bench.py --module MODULE.so --client CLIENT [--interface asgi] [--quick] [--works "…"]

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
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import idle
import isolation
import memory
import servers
import servers_asgi
import starts
import turns
import unread
import watched
import websockets_idle
from accounting import used_by_all, used_by_bench
from chart import chart
from figures import Section
from place import APPS, Run
from report import markdown
from report import targets as targets_table
from servers import FLOOR, Server
from targets import OUR_NAMES, TARGETS, Target, outcomes
from targets_asgi import TARGETS_ASGI
from works import ASGI, TEN_MB, WSGI, Work

RESULTS = Path(__file__).resolve().parent / "results"

# Measured in addition to the works: with the run, its servers, the rounds and their seconds.
Apart = Callable[[Run, list[Server], int, int], Section]


@dataclass(frozen=True)
class Half:
    """What is compared for one interface of applications."""

    works: dict[str, Work]
    servers: list[Server]
    # Other servers are compared to it.
    ours: Server
    targets: list[Target]
    # In this order: memory while no other server runs. A percentile needs more requests than a
    # median.
    apart: dict[str, Apart]
    quick_works: list[str]
    # Left out of a quick run.
    slow_servers: set[str]

    def defaults(self, interface: str, quick: bool) -> dict[str, Any]:
        names = [server.name for server in self.servers]
        if quick:
            return {
                "name": "quick" if interface == "wsgi" else f"{interface}-quick",
                "works": self.quick_works,
                "servers": [name for name in names if name not in self.slow_servers],
                "apart": [],
                "rounds": 4,
                "seconds": 1,
            }
        return {
            "name": "latest" if interface == "wsgi" else interface,
            "works": list(self.works),
            "servers": names,
            "apart": list(self.apart),
            "rounds": 5,
            "seconds": 2,
        }


HALVES = {
    "wsgi": Half(
        works=WSGI,
        servers=servers.SERVERS,
        ours=servers.OURS,
        targets=TARGETS,
        apart={
            "memory": lambda run, _, rounds, __: memory.measure(run, min(rounds, 3)),
            "memory of four workers": lambda run, _, rounds, __: memory.measure_whole(
                run, min(rounds, 3)
            ),
            "start": lambda run, asked, rounds, _: starts.measure(
                run, asked, min(rounds, 3), "Flask"
            ),
            "isolation": lambda run, _, rounds, seconds: isolation.measure(
                run, [servers.OURS, servers.FIRST, servers.NGINX_GUNICORN], rounds, 4 * seconds
            ),
            "unread": lambda run, _, rounds, seconds: unread.measure(run, rounds, 4 * seconds),
            "idle": lambda run, _, rounds, seconds: idle.measure(run, rounds, seconds),
            "watched": lambda run, _, rounds, seconds: watched.measure(run, rounds, seconds),
        },
        quick_works=["hello", "hello, 1 connection", "20 headers each way"],
        slow_servers={"mod_wsgi daemon", "gunicorn gthread", "waitress", "cheroot"},
    ),
    "asgi": Half(
        works=ASGI,
        servers=servers_asgi.SERVERS_ASGI,
        ours=servers_asgi.OURS,
        targets=TARGETS_ASGI,
        apart={
            "websockets": lambda run, asked, rounds, _: websockets_idle.measure(
                run, websockets_idle.of(asked), min(rounds, 3), deflate=False
            ),
            "websockets, deflate": lambda run, asked, rounds, _: websockets_idle.measure(
                run, websockets_idle.of(asked), min(rounds, 3), deflate=True
            ),
            "start": lambda run, asked, rounds, _: starts.measure(
                run, asked, min(rounds, 3), "FastAPI"
            ),
            "isolation": lambda run, _, rounds, seconds: isolation.measure(
                run,
                [servers_asgi.OURS, servers_asgi.FIRST, servers_asgi.NGINX_UVICORN],
                rounds,
                4 * seconds,
            ),
        },
        quick_works=["hello", "WebSocket echo"],
        slow_servers={"uvicorn, libpython", "hypercorn", "FastPySGI", "h2corn"},
    ),
}


def main() -> None:
    arguments = parse()
    if not shutil.which("wrk"):
        sys.exit("wrk is not installed (apt-get install wrk)")
    half = HALVES[arguments.interface]
    wanted = [server for server in half.servers if server.name in arguments.servers]
    asked = [server for server in wanted if server.installed()]
    for server in wanted:
        if server not in asked:
            print(f"{server.name}: not installed, left out")
    begin = time.monotonic(), used_by_all(), used_by_bench()
    with tempfile.TemporaryDirectory(prefix="pywsgi-bench-") as name:
        run = prepare(Path(name), arguments)
        rounds, seconds = arguments.rounds, arguments.seconds
        apart = []
        for what in [name for name in half.apart if name in arguments.apart]:
            print(f"{what} …", flush=True)
            apart.append(half.apart[what](run, asked, rounds, seconds))
        works = {name: half.works[name] for name in arguments.works}
        sections = turns.measure(works, asked, run, rounds, seconds) + apart
    wall = (time.monotonic() - begin[0]) * len(os.sched_getaffinity(0))
    others = used_by_all() - begin[1] - (used_by_bench() - begin[2])
    report(half, sections, arguments, max(0.0, others / wall))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--module", type=Path, required=True)
    parser.add_argument("--nginx", default="/usr/sbin/nginx")
    parser.add_argument("--client", type=Path, required=True, help="the program of client/")
    parser.add_argument("--interface", choices=HALVES, default="wsgi", help="of the applications")
    parser.add_argument("--quick", action="store_true", help="little, for a first look")
    # What may be named, and by default is, depends on these two.
    known = parser.parse_known_args()[0]
    half = HALVES[known.interface]
    names = {server.name: server for server in half.servers}
    for option, there in (("--works", half.works), ("--servers", names), ("--apart", half.apart)):
        parser.add_argument(
            option,
            type=partial(_some, there=list(there)),
            help=f"by name, with ; between, of: {'; '.join(there)}",
        )
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=int, help="of each server in each round")
    parser.add_argument("--name", help="of the files in results/")
    parser.set_defaults(**half.defaults(known.interface, known.quick))
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
    run = Run(folder, arguments.module.resolve(), arguments.nginx, arguments.client.resolve())
    run.static.mkdir()
    run.file.write_bytes(b"x" * TEN_MB)
    environment = {**os.environ, **run.environment()}
    subprocess.run([sys.executable, APPS / "shop.py"], env=environment, check=True)
    run.database.chmod(0o644)
    return run


def report(
    half: Half, sections: list[Section], arguments: argparse.Namespace, others: float
) -> None:
    found = outcomes(sections, half.targets)
    about = [
        f"{time.strftime('%Y-%m-%d')}, {machine()}; Python {platform.python_version()}, "
        f"nginx {nginx_version(arguments.nginx)}, one worker. {arguments.rounds} rounds of "
        f"{arguments.seconds} s, the servers in turn; medians. CPU is the time that all processes "
        "and threads of a server have had of the processors, per request; `to ours` is the ratio "
        f"to {half.ours.name}; spread is how far the rounds lie apart. What asks has one thread. "
        f"Meanwhile, {others:.0%} of the processors went to processes that are none of the bench.",
    ]
    text = markdown(sections, found, half.ours.name, about)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{arguments.name}.md").write_text(text)
    hello = next((section for section in sections if section.title == "hello"), None)
    if hello:
        title = (
            f"Processor time per request of a hello world ({arguments.interface.upper()}), in µs"
        )
        below = (
            f"Keep-alive, 16 connections, {machine()}, {time.strftime('%Y-%m-%d')}. "
            f"In brackets: to nginx's own return 200."
        )
        picture = chart(hello, title, below, OUR_NAMES, FLOOR.name)
        (RESULTS / f"{arguments.name}.svg").write_text(picture)
    print(text)
    print("\n".join(targets_table(found)))
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
