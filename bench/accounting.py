"""What a server costs, from the kernel's own accounting."""

from __future__ import annotations

import contextlib
from pathlib import Path


def processes(session: int) -> list[int]:
    """All processes of a session: a server and whatever it has started."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if int(fields[3]) == session:
                    found.append(int(entry.name))
    return found


def cpu_time(sessions: list[int]) -> int:
    """Nanoseconds on a processor, of all processes and threads of the sessions."""
    total = 0
    for session in sessions:
        for pid in processes(session):
            for schedstat in Path(f"/proc/{pid}/task").glob("*/schedstat"):
                # A thread may end meanwhile.
                with contextlib.suppress(OSError):
                    total += int(schedstat.read_text().split()[0])
    return total


def memory(sessions: list[int]) -> int:
    """Bytes of memory, each shared page divided among those who share it (PSS)."""
    total = 0
    for session in sessions:
        for pid in processes(session):
            with contextlib.suppress(OSError):
                for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                    if line.startswith("Pss:"):
                        total += int(line.split()[1]) * 1024
    return total
