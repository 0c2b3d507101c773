"""What the fuzzers share: clients that run cases of a seed, and a worker that must survive them."""

from __future__ import annotations

import itertools
import os
import random
import sys
import threading
import time
from typing import Any

from harness import FATAL, Nginx, release_ports, temporary_root

CLIENTS = 6
PATIENCE = 60.0
# The size of glibc's heaps settles slowly: only unbounded growth is noticed.
SLACK = 64 << 20


class Finding(Exception):
    """An invariant that does not hold."""


class Fuzzer:
    """Runs cases against one worker until one has a finding. A fuzzer defines what only raises."""

    # How it calls itself, and how long it runs unless FUZZ_SECONDS says so.
    name: str
    seconds: float

    def __init__(self, nginx: Nginx, seed: int, only: int | None) -> None:
        self.nginx, self.seed, self.only = nginx, seed, only
        self.numbers = itertools.count()
        self.done = 0
        self.findings: list[str] = []
        self.log_read = 0
        self.worker = 0

    def configure(self) -> dict[str, str]:
        """Writes the applications; returns arguments of `Nginx.start`."""
        raise NotImplementedError

    def make_case(self, number: int) -> Any:
        raise NotImplementedError

    def run_case(self, case: Any) -> None:
        """Raises what is found."""
        raise NotImplementedError

    def describe(self, case: Any) -> str:
        """What the report says of a case with a finding."""
        raise NotImplementedError

    def settle(self, before: Any = None) -> Any:
        """Waits until nothing is under way; returns what must be the same at the end."""
        raise NotImplementedError

    def compare(self, before: Any, after: Any) -> None:
        """Adds a finding for what of it is not."""
        raise NotImplementedError

    def is_fault(self, line: str) -> bool:
        """Whether a line of the error log is a finding."""
        return bool(FATAL.search(line))

    def warm_up(self) -> None:
        """Comes before the first case."""

    def start(self) -> None:
        level = os.environ.get("FUZZ_LOG") or "error"
        self.nginx.start(**self.configure(), log_level=level)
        [self.worker] = self.nginx.workers()
        self.warm_up()

    def run(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        clients = [threading.Thread(target=self.client, args=(until,)) for _ in range(CLIENTS)]
        for client in clients:
            client.start()
        while any(client.is_alive() for client in clients):
            time.sleep(0.5)
            self.check_worker()
        for client in clients:
            client.join()

    def client(self, until: float) -> None:
        while time.monotonic() < until and not self.findings:
            case = self.make_case(next(self.numbers) if self.only is None else self.only)
            try:
                self.run_case(case)
            except Exception as error:
                what = f"{type(error).__name__}: {error}"
                self.findings.append(f"case {case.number} {self.describe(case)}: {what}")
            self.done += 1

    def check_worker(self) -> None:
        if self.findings:
            return
        if self.nginx.workers() != [self.worker]:
            self.findings.append(f"the worker {self.worker} has died: {self.nginx.workers()}")
        with self.nginx.log_path.open("rb") as log:
            log.seek(self.log_read)
            text = log.read()
            self.log_read = log.tell()
        faults = [
            line for line in text.decode("utf-8", "replace").splitlines() if self.is_fault(line)
        ]
        if faults:
            self.findings.append("in the error log:\n" + "\n".join(faults[:20]))


def main(kind: type[Fuzzer]) -> int:
    """Runs a fuzzer as the environment says; returns the exit status."""
    seconds = float(os.environ.get("FUZZ_SECONDS") or kind.seconds)
    seed = int(os.environ.get("FUZZ_SEED") or random.SystemRandom().randrange(10**9))
    only = os.environ.get("FUZZ_CASE")
    print(f"{kind.name}: {seconds:g} s; FUZZ_SEED={seed} has the same cases again", flush=True)
    nginx = Nginx(temporary_root())
    fuzzer = kind(nginx, seed, int(only) if only else None)
    try:
        fuzzer.start()
        fuzzer.run(seconds / 4)
        if not fuzzer.findings:
            before = fuzzer.settle()
            fuzzer.run(seconds * 3 / 4)
        if not fuzzer.findings:
            fuzzer.compare(before, fuzzer.settle(before))
    except AssertionError as error:
        fuzzer.findings.append(str(error))
    faults = nginx.close()
    release_ports()
    for finding in fuzzer.findings + faults:
        print(f"{kind.name}: {finding}", file=sys.stderr)
    failed = bool(fuzzer.findings or faults)
    kept = f"; nginx's files are in {nginx.root}" if failed else ""
    print(f"{kind.name}: {fuzzer.done} cases of seed {seed}{kept}", flush=True)
    return int(failed)
