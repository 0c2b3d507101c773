"""Processor time and memory of a server, from the kernel's accounting."""

from __future__ import annotations

import contextlib
import os
import resource
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Memory:
    """Megabytes of one process."""

    # Each page divided by the number of processes that have it.
    pss: float
    # Pages that no other process has.
    private: float
    rss: float


def processes(session: int) -> list[int]:
    """All processes of a session: a server and its child processes."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if int(fields[3]) == session:
                    found.append(int(entry.name))
    return found


def cpu_time(sessions: list[int]) -> int:
    """Processor time of all processes and threads of the sessions, in nanoseconds."""
    total = 0
    for session in sessions:
        for pid in processes(session):
            for schedstat in Path(f"/proc/{pid}/task").glob("*/schedstat"):
                # The thread may have ended.
                with contextlib.suppress(OSError):
                    total += int(schedstat.read_text().split()[0])
    return total


def used_by_all() -> float:
    """Processor time of all processes since the machine started, in seconds."""
    user, nice, system = Path("/proc/stat").read_text().split()[1:4]
    return (int(user) + int(nice) + int(system)) / os.sysconf("SC_CLK_TCK")


def used_by_bench() -> float:
    """Processor time of this process and all waited-for descendants, in seconds."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def memory(pid: int) -> Memory:
    kilobytes: dict[str, int] = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, _, value = line.partition(":")
        kilobytes[name] = int(value.split()[0])
    private = kilobytes["Private_Clean"] + kilobytes["Private_Dirty"]
    return Memory(kilobytes["Pss"] / 1024, private / 1024, kilobytes["Rss"] / 1024)
