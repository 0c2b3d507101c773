"""The load: wrk, and what it says."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path


class LoadError(Exception):
    """wrk failed, or the server answered something else than it should."""


@dataclass(frozen=True)
class Load:
    """What wrk is to ask for."""

    path: str
    connections: int = 16
    headers: int = 0
    body: int = 0


@dataclass(frozen=True)
class Result:
    requests: int
    seconds: float
    # Milliseconds.
    p50: float
    p99: float
    # The part of one processor that wrk itself took: near 1, it was wrk that was measured.
    generator: float


def run(url: str, load: Load, seconds: int, folder: Path) -> Result:
    """Asks for `seconds` seconds; LoadError where an answer is no 200 or a connection fails."""
    command = ["wrk", "-t1", f"-c{load.connections}", f"-d{seconds}s", "--timeout", "30s"]
    command += ["--latency"]
    for number in range(load.headers):
        command += ["-H", f"X-Request-Field-{number}: a value of some length"]
    if load.body:
        script = folder / f"post-{load.body}.lua"
        script.write_text(
            f'wrk.method = "POST"\nwrk.body = string.rep("x", {load.body})\n'
            'wrk.headers["Content-Type"] = "application/octet-stream"\n'
        )
        command += ["-s", str(script)]
    timed = subprocess.run(
        ["/usr/bin/env", "bash", "-c", 'TIMEFORMAT="%U %S"; time "$@"', "wrk"]
        + [*command, url + load.path],
        capture_output=True,
        text=True,
    )
    text = timed.stdout
    wrong = re.search(r"(Non-2xx or 3xx responses|Socket errors): .*", text)
    found = re.search(r"(\d+) requests in ([\d.]+)(ms|s|m),", text)
    if timed.returncode or wrong or not found:
        raise LoadError(f"{load.path}: {wrong[0] if wrong else text + timed.stderr}")
    wall = float(found[2]) * {"ms": 0.001, "s": 1.0, "m": 60.0}[found[3]]
    user, system = map(float, timed.stderr.split()[-2:])
    return Result(
        requests=int(found[1]),
        seconds=wall,
        p50=_latency(text, "50%"),
        p99=_latency(text, "99%"),
        generator=(user + system) / wall,
    )


def _latency(text: str, percentile: str) -> float:
    found = re.search(rf"^\s+{percentile}\s+([\d.]+)(us|ms|s|m)$", text, re.M)
    if not found:
        raise LoadError(f"wrk says no {percentile}: {text}")
    return float(found[1]) * {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}[found[2]]
