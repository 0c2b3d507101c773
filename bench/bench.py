"""Measures the module beside its peers, in one run.

    python bench/bench.py --module MODULE.so --nginx /usr/sbin/nginx [--quick] [--works hello,file]

Machines are noisy, so what counts is the ratio of processor time per request within one run: the
servers take turns, for several rounds, and each figure is the median of its rounds.
"""

from __future__ import annotations

import argparse
import platform
import subprocess
import tempfile
import time
from pathlib import Path

from accounting import cpu_time
from load import Load, LoadError, Result, run
from report import Cell, Table, chart, markdown
from servers import SERVERS, Place, Server, free_port

RESULTS = Path(__file__).resolve().parent / "results"
OURS = "pywsgi, 8 threads"
FLOOR = "return 200"

WORKS = {
    "hello": Load("/hello"),
    "hello, 1 connection": Load("/hello", connections=1),
    "hello, 128 connections": Load("/hello", connections=128),
    "20 headers each way": Load("/headers", headers=20),
    "Flask, JSON": Load("/json/10"),
    "a response of 100 KB": Load("/large"),
    "a response of 10 MB": Load("/huge"),
    "a file of 10 MB by wsgi.file_wrapper": Load("/file"),
    "a POST of 10 KB": Load("/upload", body=10_000),
    "a POST of 10 MB": Load("/upload", connections=4, body=10_000_000),
    "100 yields": Load("/yields"),
    "10 ms of sleep, 64 connections": Load("/sleeps", connections=64),
}
# Beyond this part of a processor it is the generator that is measured, not the server.
BUSY = 0.95


def main() -> None:
    arguments = parse()
    works = {name: WORKS[name] for name in arguments.works or WORKS}
    servers = [server for server in SERVERS if server.installed()]
    with tempfile.TemporaryDirectory(prefix="pywsgi-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        file = folder / "file"
        file.write_bytes(b"x" * 10_000_000)
        places = {server.name: start(server, folder, file, arguments) for server in servers}
        try:
            table = measure(places, works, arguments.rounds, arguments.seconds, folder)
        finally:
            for place in places.values():
                place.stop()
    report(table, arguments)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--module", type=Path, required=True)
    parser.add_argument("--nginx", default="/usr/sbin/nginx")
    parser.add_argument(
        "--works", type=lambda text: text.split(";"), help="by name, with ; between"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--name", default="latest")
    return parser.parse_args()


def start(server: Server, folder: Path, file: Path, arguments: argparse.Namespace) -> Place:
    own = folder / server.name.replace(" ", "-").replace(",", "")
    own.mkdir()
    place = Place(own, free_port(), file, arguments.module.resolve(), arguments.nginx)
    server.start(place)
    seconds = place.wait()
    print(f"{server.name}: the first answer after {seconds:.2f} s", flush=True)
    return place


def measure(
    places: dict[str, Place], works: dict[str, Load], rounds: int, seconds: int, folder: Path
) -> Table:
    table: Table = {}
    for work, load in works.items():
        table[work] = {name: Cell([], [], [], []) for name in places if _asked(name, load)}
        for number in range(rounds):
            # Each round begins with another server, so that none has the warmest machine.
            names = list(table[work])
            for name in names[number % len(names) :] + names[: number % len(names)]:
                cell = table[work][name]
                if not cell.failed:
                    table[work][name] = once(places[name], cell, load, seconds, folder)
        for name, cell in table[work].items():
            print(f"{work} | {name}: {cell.failed or cell.cpu}", flush=True)
    return table


def _asked(name: str, load: Load) -> bool:
    return name != FLOOR or load.path == "/hello"


def once(place: Place, cell: Cell, load: Load, seconds: int, folder: Path) -> Cell:
    """One round of one server, added to what it has."""
    sessions = [process.pid for process in place.processes]
    before = cpu_time(sessions)
    try:
        result = run(place.url, load, seconds, folder)
    except LoadError as error:
        return Cell([], [], [], [], failed=str(error).strip().splitlines()[-1])
    if result.generator > BUSY:
        print(f"note: wrk was busy for {result.generator:.0%} of its time at {load.path}")
    spent = cpu_time(sessions) - before
    return Cell(
        [*cell.cpu, spent / result.requests / 1000],
        [*cell.rate, _rate(result)],
        [*cell.p50, result.p50],
        [*cell.p99, result.p99],
    )


def _rate(result: Result) -> float:
    return result.requests / result.seconds


def report(table: Table, arguments: argparse.Namespace) -> None:
    version = subprocess.run([arguments.nginx, "-v"], capture_output=True, text=True).stderr
    about = [
        f"{time.strftime('%Y-%m-%d')}, Python {platform.python_version()}, "
        f"{version.partition('nginx version: ')[2].strip()}; {arguments.rounds} rounds of "
        f"{arguments.seconds} s, the servers in turn; medians. CPU is the time that all threads "
        "of a server have had of the processors, per request; "
        f'"to ours" is its ratio to {OURS}.',
    ]
    text = markdown(table, OURS, about)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{arguments.name}.md").write_text(text)
    work = next(iter(table))
    picture = chart(table[work], f"CPU time per request, µs: {work}", "pywsgi")
    (RESULTS / f"{arguments.name}.svg").write_text(picture)
    print(text)


if __name__ == "__main__":
    main()
