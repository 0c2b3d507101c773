"""The load of requests: wrk and its output; and a single request that checks the response."""

from __future__ import annotations

import re
import resource
import socket
import subprocess
import time
import urllib.request
from dataclasses import dataclass

from accounting import cpu_time
from place import Place
from works import Load


class LoadError(Exception):
    """wrk failed, or the server gave a wrong response."""


@dataclass(frozen=True)
class Result:
    """What a load has counted: requests, messages or events."""

    number: int
    seconds: float
    # Processor time of the server, in nanoseconds.
    cpu: int
    # Milliseconds.
    p50: float
    p99: float
    # The part of one processor that the generator used. If it is near 1, that was measured.
    generator: float


def check(place: Place, load: Load) -> None:
    """Sends one request; LoadError if the response is wrong."""
    request = urllib.request.Request(place.url + load.path, data=b"x" * load.body or None)
    for name, value in _headers(load):
        request.add_header(name, value)
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            size = len(response.read())
    except Exception as error:
        raise LoadError(f"{load.path}: {type(error).__name__}: {error}") from error
    if size != load.size if load.size is not None else not size:
        raise LoadError(f"{load.path}: an answer of {size} bytes, not of {load.size}")


def sends_at_once(port: int) -> bool:
    """Whether the first block of /trickle arrives before the application makes the second."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
        client.sendall(b"GET /trickle HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")
        answer, first = b"", 0.0
        while block := client.recv(65536):
            answer += block
            if not first and b"first" in answer:
                first = time.monotonic()
            if b"second" in answer:
                # The application sleeps 0.3 s between the two.
                return time.monotonic() - first > 0.15
    raise LoadError(f"/trickle: {answer[:100]!r}")


def run(place: Place, load: Load, seconds: int) -> Result:
    """Runs for `seconds` seconds; LoadError if a response is not 200 or a connection fails."""
    command = ["wrk", "-t1", f"-c{load.connections}", f"-d{seconds}s", "--timeout", "30s"]
    command += ["--latency"]
    for name, value in _headers(load):
        command += ["-H", f"{name}: {value}"]
    if load.body:
        script = place.run.folder / f"post-{load.body}.lua"
        script.write_text(
            f'wrk.method = "POST"\nwrk.body = string.rep("x", {load.body})\n'
            'wrk.headers["Content-Type"] = "application/octet-stream"\n'
        )
        command += ["-s", str(script)]
    before = _children_time(), cpu_time(place.sessions)
    done = subprocess.run([*command, place.url + load.path], capture_output=True, text=True)
    busy, cpu = _children_time() - before[0], cpu_time(place.sessions) - before[1]
    text = done.stdout
    wrong = re.search(r"(Non-2xx or 3xx responses|Socket errors): .*", text)
    found = re.search(r"(\d+) requests in ([\d.]+)(ms|s|m),", text)
    if done.returncode or wrong or not found:
        raise LoadError(f"{load.path}: {wrong[0] if wrong else text + done.stderr}")
    if not int(found[1]):
        raise LoadError(f"{load.path}: no answer in {seconds} s")
    wall = float(found[2]) * {"ms": 0.001, "s": 1.0, "m": 60.0}[found[3]]
    return Result(
        number=int(found[1]),
        seconds=wall,
        cpu=cpu,
        p50=_latency(text, "50%"),
        p99=_latency(text, "99%"),
        generator=busy / wall,
    )


def _headers(load: Load) -> list[tuple[str, str]]:
    return [
        (f"X-Request-Field-{number}", "a value of some length") for number in range(load.headers)
    ]


def _children_time() -> float:
    """Processor time of the commands that this process has waited for, in seconds."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _latency(text: str, percentile: str) -> float:
    found = re.search(rf"^\s+{percentile}\s+([\d.]+)(us|ms|s|m)\s*$", text, re.M)
    if not found:
        raise LoadError(f"wrk says no {percentile}: {text}")
    return float(found[1]) * {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}[found[2]]
