"""`pywsgi top`: what all workers of an nginx are doing, in the terminal."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import socket
import stat
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pywsgi.command.option_values import seconds
from pywsgi.command.serve import PREFIX, temporary_folder
from pywsgi.command.site import STATUS_SOCKET
from pywsgi.command.status import FAULTS, read_socket, read_url

Status = dict[str, Any]


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "url",
        nargs="?",
        metavar="URL",
        help="of a location with python_status, as http://localhost:8080/-/status; without it, the"
        " pywsgi serve that runs here",
    )
    parser.add_argument(
        "-n",
        "--interval",
        type=seconds,
        default=2.0,
        metavar="SECONDS",
        help="between two looks (2)",
    )
    parser.add_argument("--once", action="store_true", help="look once; so does a pipe")


def top(options: argparse.Namespace) -> int:
    reader = _reader(options.url)
    if reader is None:
        return 1
    try:
        return _watch(options, *reader)
    except KeyboardInterrupt:
        print()
        return 0


def _watch(options: argparse.Namespace, name: str, read: Callable[[], Status]) -> int:
    terminal = sys.stdout.isatty()
    before: Status | None = None
    while True:
        try:
            now = read()
            shown = [_printable(line) for line in lines(now, before)]
        except FAULTS as error:
            reason = getattr(error, "strerror", None) or error
            print(f"pywsgi top: {_printable(name)}: {reason}", file=sys.stderr)
            return 1
        except (KeyError, TypeError, AttributeError):
            print(f"pywsgi top: {_printable(name)}: its status has another form", file=sys.stderr)
            return 1
        if terminal and not options.once:
            shown = _on_screen(shown)
            # The cursor to the beginning, and the rest cleared.
            print("\x1b[H\x1b[J", end="")
        print("\n".join(shown), end="\n" if options.once or not terminal else "", flush=True)
        if options.once or not terminal:
            return 0
        before = now
        time.sleep(max(options.interval, 0.1))


def _reader(url: str | None) -> tuple[str, Callable[[], Status]] | None:
    if url is not None:
        return url, lambda: read_url(url)
    found = list(instances())
    if not found:
        print(
            "pywsgi top: no pywsgi serve runs here: name a URL with python_status, as"
            " http://localhost:8080/-/status",
            file=sys.stderr,
        )
        return None
    if len(found) > 1:
        print("pywsgi top: several run here; name one by its URL:", file=sys.stderr)
        for each in found:
            line = f"  {each.application}: {', '.join(each.addresses)}"
            print(_printable(line), file=sys.stderr)
        print("(with pywsgi serve --status it is ADDRESS/-/status)", file=sys.stderr)
        return None
    only = found[0]
    return only.application, lambda: read_socket(only.socket)


class Instance(NamedTuple):
    """A `pywsgi serve` that runs."""

    socket: Path
    application: str
    addresses: Sequence[str]


def instances() -> Iterable[Instance]:
    """Those of this user; of all users for root. Anybody can put files where they are."""
    for base in dict.fromkeys((temporary_folder(), "/tmp")):
        for folder in sorted(Path(base).glob(f"{PREFIX}*")):
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                if os.geteuid() in (0, folder.lstat().st_uid):
                    yield _instance(folder)


def _instance(folder: Path) -> Instance:
    # Not through a link, and without waiting for the other end of a pipe.
    file = os.open(folder / "instance.json", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with open(file, "rb") as opened:
        known = json.loads(opened.read(1 << 16))
    path = folder / STATUS_SOCKET
    if not stat.S_ISSOCK(path.lstat().st_mode):
        raise ValueError
    with socket.socket(socket.AF_UNIX) as sock:
        # One that was killed has left its folder.
        sock.settimeout(1.0)
        sock.connect(str(path))
    return Instance(path, str(known["application"]), [str(each) for each in known["addresses"]])


def _printable(line: str) -> str:
    """Without what would be commands for the terminal."""
    return re.sub(r"[^ -~\xa0-\U0010ffff]", "?", line)


def _on_screen(shown: list[str]) -> list[str]:
    """What the terminal has room for: nothing is wrapped, and nothing scrolls."""
    try:
        width, height = os.get_terminal_size(sys.stdout.fileno())
    except OSError:
        return shown
    return [line[: width or None] for line in shown[: height or None]]


def lines(now: Status, before: Status | None) -> list[str]:
    """The whole screen. Rates are since `before`, or since nginx's start."""
    versions = now["versions"]
    states = [worker["state"] for worker in now["workers"]]
    shown = [
        f"nginx {versions['nginx']}, pywsgi {versions['pywsgi']}, Python {versions['python']}"
        f" - up {_span(now['uptime'])}, {now['reloads']} reloads, {now['crashes']} crashes,"
        f" {sum(now['replaced'].values())} replaced; workers: {_counted(states)}",
        "",
        *_applications(now, before),
    ]
    groups = now["processes"]
    if groups:
        shown += ["", *_groups(groups)]
    pools = _executors(now, "pools")
    if pools:
        rows = [
            [
                each["name"],
                f"{each['busy']}/{each['limit']}",
                f"{each['queue']}/{each['max_queue']}",
                _time(each["queue_age"]),
                str(each["written_off"]),
            ]
            for each in pools
        ]
        shown += ["", *_table(["POOL", "BUSY", "QUEUE", "WAITS", "WRITTEN OFF"], rows)]
    loops = _executors(now, "loops")
    if loops:
        rows = [
            [each["name"], str(each["tasks"]), str(each["queue"]), _time(each["lag"])]
            for each in loops
        ]
        shown += ["", *_table(["LOOP", "TASKS", "QUEUE", "LAG"], rows)]
    rows = [
        [
            str(each["pid"]),
            each["state"],
            str(each["requests"]),
            str(each["in_flight"]),
            f"{each['memory'] / 2**20:.0f}M",
            _span(each["uptime"]),
            *([_process(each)] if groups else []),
        ]
        for each in now["workers"]
    ]
    head = ["WORKER", "STATE", "REQUESTS", "NOW", "MEMORY", "UP", *(["PROCESS"] if groups else [])]
    shown += ["", *_table(head, rows)]
    for each in now["history"][:3]:
        when = time.strftime("%H:%M:%S", time.localtime(each["time"]))
        who = f"{each['pid']} ({_process(each)})" if each["process"] else each["pid"]
        shown.append(f"{when} {each['what']} of {who}: {each.get('reason') or '-'}")
    return shown


def _process(worker: Status) -> str:
    """Which process of a `python_process` it is."""
    name = worker["process"]
    return "-" if name is None else f"{name}/{worker['process_number']}"


def _groups(groups: list[Status]) -> list[str]:
    """Those of `python_process`. What waits has no process yet."""
    rows = [
        [
            each["name"],
            f"{each['serving']}/{each['processes']}",
            str(each["dormant"]),
            str(each["in_flight"]),
            f"{each['queue']}/{each['max_queue']}",
            _time(each["queue_age"]),
            str(each["crashes"]),
            str(sum(each["replaced"].values())),
            f"{each['memory'] / 2**20:.0f}M",
        ]
        for each in groups
    ]
    head = ["PROCESS", "SERVE", "DORMANT", "NOW", "QUEUE", "WAITS", "DIED", "REPLACED", "MEMORY"]
    return _table(head, rows)


def _executors(now: Status, kind: str) -> list[Status]:
    """The pools or loops of the workers, and those of each group."""
    groups = now["processes"]
    # Workers that run no Python have no threads.
    own = [each for each in now[kind] if not groups or each.get("limit") or each.get("tasks")]
    of_groups = [
        {**each, "name": f"{group['name']}: {each['name']}"}
        for group in groups
        for each in group[kind]
    ]
    return own + of_groups


def _applications(now: Status, before: Status | None) -> list[str]:
    earlier = {_key(each): each for each in before["applications"]} if before else {}
    seconds = now["time"] - before["time"] if before else now["uptime"]
    rows = []
    for each in now["applications"]:
        times, old = each["times"], earlier.get(_key(each))
        rate = (each["requests"] - (old["requests"] if old else 0)) / max(seconds, 0.001)
        rows.append(
            [
                each["name"],
                f"{each['protocol']} in {each['process']}" if each["process"] else each["protocol"],
                f"{rate:.1f}",
                str(each["requests"]),
                str(each["responses"]["5xx"]),
                str(each["timed_out"] + each["queue_timed_out"] + each["refused"]),
                str(each["in_flight"]),
                str(each["websockets"]["open"]),
                _time(times["queue"]["p99"]),
                *(_time(times["application"][name]) for name in ("p50", "p90", "p99")),
            ]
        )
    head = ["APPLICATION", "", "REQ/S", "TOTAL", "5XX", "LATE", "NOW", "WS", "QUEUE P99"]
    return _table([*head, "P50", "P90", "P99"], rows)


def _key(application: Status) -> tuple[str, str, str | None]:
    return application["protocol"], application["name"], application["process"]


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(head, *rows)]
    shown = []
    for row in [head, *rows]:
        first = row[0].ljust(widths[0])
        rest = (text.rjust(width) for text, width in zip(row[1:], widths[1:]))
        shown.append("  ".join([first, *rest]).rstrip())
    return shown


def _counted(states: list[str]) -> str:
    names = dict.fromkeys(states)
    return ", ".join(f"{states.count(name)} {name}" for name in names) or "none"


def _time(seconds: float | None) -> str:
    if not seconds:
        return "0"
    if seconds < 0.001:
        return f"{seconds * 1e6:.0f}us"
    if seconds < 1:
        return f"{seconds * 1e3:.1f}ms" if seconds < 0.1 else f"{seconds * 1e3:.0f}ms"
    return f"{seconds:.1f}s"


def _span(seconds: float) -> str:
    whole = int(seconds)
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if whole >= size:
            return f"{whole // size}{unit}"
    return f"{whole}s"
