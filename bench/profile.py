"""Shows where the instructions of a request go, with callgrind (repeatable) and perf.

    python profile.py --module MODULE.so --nginx /usr/sbin/nginx [--server "pywsgi, asyncio"]

callgrind counts the instructions of all threads of one nginx process; those of a request are those
of many requests minus those of few, divided. perf, if installed, samples a worker under load.
"""

from __future__ import annotations

import argparse
import operator
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from place import Place, Run, StartError, free_port, take_answer
from servers import FLOOR, INLINE, ONE_THREAD, OURS, Server
from servers_asgi import ASYNCIO
from servers_asgi import OURS as UVLOOP

PATH = "/hello"
FEW, MANY = 100, 1100
WARM_UP = 300


@dataclass(frozen=True)
class Costs:
    """Instructions by function: its own, and including the functions it calls."""

    own: Counter[str]
    inclusive: Counter[str]

    def per_request(self, less: Costs) -> Costs:
        return Costs(
            _difference(self.own, less.own, MANY - FEW),
            _difference(self.inclusive, less.inclusive, MANY - FEW),
        )

    def total(self) -> int:
        return sum(self.own.values())


def main() -> None:
    arguments = parse()
    with tempfile.TemporaryDirectory(prefix="pywsgi-profile-") as name:
        run = Run(Path(name), arguments.module.resolve(), arguments.nginx)
        run.static.mkdir()
        try:
            for server in (FLOOR, arguments.server):
                show(server.name, callgrind(server, run), arguments.top)
            perf(arguments.server, run, arguments.top)
        except StartError as error:
            sys.exit(str(error))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--module", type=Path, required=True)
    parser.add_argument("--nginx", default="/usr/sbin/nginx")
    ours = {server.name: server for server in (OURS, ONE_THREAD, INLINE, ASYNCIO, UVLOOP)}
    parser.add_argument(
        "--server", type=ours.__getitem__, default=OURS, help=f"one of {'; '.join(ours)}"
    )
    parser.add_argument("--top", type=int, default=30, help="functions to print")
    return parser.parse_args()


def callgrind(server: Server, run: Run) -> Costs:
    """The cost of one request, without start-up and warm-up."""
    if not shutil.which("valgrind"):
        sys.exit("valgrind is not installed (apt-get install valgrind)")
    folder = run.folder / f"callgrind-{server.name}".replace(" ", "-").replace(",", "")
    folder.mkdir()
    out = folder / "callgrind.out"
    valgrind = ("valgrind", "--tool=callgrind", "--instr-atstart=no", "--separate-threads=no")
    under = (*valgrind, f"--callgrind-out-file={out}")
    place = Place(run, folder, free_port(), server.app, connections=64, under=under)
    try:
        server.launch(place)
        place.wait(PATH)
        with socket.create_connection(("127.0.0.1", place.port), timeout=60) as client:
            ask(client, WARM_UP)
            control(place, "--instr=on")
            # Neither count includes the cost of switching it on and of the first translations.
            ask(client, WARM_UP)
            control(place, "--dump=warm")
            ask(client, FEW)
            control(place, "--dump=few")
            ask(client, MANY)
            control(place, "--dump=many")
    finally:
        place.stop()
    few, many = (costs(Path(f"{out}.{number}")) for number in (2, 3))
    return many.per_request(few)


def control(place: Place, command: str) -> None:
    subprocess.run(
        ["callgrind_control", command, str(place.processes[0].pid)],
        check=True,
        capture_output=True,
        timeout=60,
    )


def ask(client: socket.socket, number: int) -> None:
    """One request after the other on a kept-alive connection."""
    request = f"GET {PATH} HTTP/1.1\r\nHost: bench\r\nUser-Agent: profile\r\n\r\n".encode()
    for _ in range(number):
        client.sendall(request)
        take_answer(client, b"Hello, World!\n")


def costs(dump: Path) -> Costs:
    own, inclusive = (
        subprocess.run(
            [
                "callgrind_annotate",
                "--threshold=100",
                "--auto=no",
                f"--inclusive={inclusive}",
                str(dump),
            ],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for inclusive in ("no", "yes")
    )
    # The greatest of a function's lines already includes the functions it calls.
    return Costs(_by_function(own, operator.add), _by_function(inclusive, max))


def _by_function(annotated: str, together: Callable[[int, int], int]) -> Counter[str]:
    """The costs in lines such as «1,234 (5.6%)  file:function'2 [object]».

    A function may have several lines: one for each file of inlined code, often without the object,
    and a numbered one if it recurses.
    """
    found: Counter[str] = Counter()
    objects: dict[str, str] = {}
    for line in annotated.splitlines():
        matched = re.match(r"\s*([\d,]+) \(\s*[\d.]+%\)\s+\S+?:(.+?)(?:'\d+)?(?: \[(.*)\])?$", line)
        if matched:
            cost = int(matched[1].replace(",", ""))
            found[matched[2]] = together(found[matched[2]], cost)
            if matched[3]:
                objects[matched[2]] = f" [{Path(matched[3]).name}]"
    return Counter({name + objects.get(name, ""): cost for name, cost in found.items()})


def _difference(many: Counter[str], few: Counter[str], requests: int) -> Counter[str]:
    return Counter({name: round((many[name] - few[name]) / requests) for name in many})


def show(name: str, of_request: Costs, top: int) -> None:
    print(f"\n# {name}: {of_request.total():,} instructions per request (callgrind)")
    for heading, counted in (
        ("its own", of_request.own),
        ("with all that it calls", of_request.inclusive),
    ):
        print(f"\n{'instructions':>12}  function, by {heading}")
        for function, cost in counted.most_common(top):
            if cost > 0:
                print(f"{cost:>12,}  {function}")


def perf(server: Server, run: Run, top: int) -> None:
    """Where a worker's time goes under 16 connections, including the kernel."""
    print(f"\n# {server.name}, under 16 connections (perf)", flush=True)
    if not shutil.which("perf"):
        print("perf is not installed")
        return
    place = server.start(run)
    try:
        load = subprocess.Popen(
            ["wrk", "-t1", "-c16", "-d600s", place.url + PATH],
            stdout=subprocess.DEVNULL,
        )
        try:
            time.sleep(1)
            data = place.folder / "perf.data"
            worker = place.workers()[0]
            command = ["perf", "record", "-F", "2000", "-p", str(worker), "-o", str(data)]
            recorded = subprocess.run([*command, "sleep", "4"], capture_output=True, text=True)
        finally:
            load.send_signal(signal.SIGINT)
            load.wait()
    finally:
        place.stop()
    if recorded.returncode:
        print(f"perf record failed: {recorded.stderr.strip()}")
        return
    report = ["perf", "report", "--stdio", "--no-children", "-i", str(data)]
    said = subprocess.run([*report, "--sort", "dso,symbol"], capture_output=True, text=True)
    lines = [line for line in said.stdout.splitlines() if line.strip() and line[0] != "#"]
    for line in lines[:top]:
        # The symbol is followed by empty columns.
        print(re.sub(r"[-\s]+$", "", line))


if __name__ == "__main__":
    main()
