"""What a process has of memory, threads, descriptors and children, from /proc."""

from __future__ import annotations

import contextlib
from pathlib import Path


def forget_peak(pid: int) -> int:
    """Resets the peak and returns the memory in use now, in bytes."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    return _status(pid, "VmRSS")


def peak(pid: int) -> int:
    """The most memory since `forget_peak`, in bytes."""
    return _status(pid, "VmHWM")


def anonymous(pid: int) -> int:
    """Its anonymous memory, heaps and stacks, in bytes."""
    return _kibibytes(Path(f"/proc/{pid}/smaps_rollup"), "Anonymous")


def proportional(pid: int) -> int:
    """Its memory, of which what it shares counts in parts (PSS), in bytes."""
    return _kibibytes(Path(f"/proc/{pid}/smaps_rollup"), "Pss")


def descriptors(pid: int) -> int:
    """How many file descriptors a process has open."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def threads(pid: int) -> int:
    """How many threads a process has."""
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


def thread_names(pid: int) -> list[str]:
    """The names of its threads. One that ends meanwhile is left out."""
    names = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            names.append((task / "comm").read_text().strip())
    return names


def children(pid: int) -> list[int]:
    """The processes that it has started, and not yet waited for."""
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def _status(pid: int, name: str) -> int:
    return _kibibytes(Path(f"/proc/{pid}/status"), name)


def _kibibytes(path: Path, name: str) -> int:
    for line in path.read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"no {name} in {path}")
