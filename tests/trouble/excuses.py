"""What of a request's outcome the troubles explain, and when they were there."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

# The two outcomes beside the right answer: the connection was closed before its end; a 5xx.
CLOSED, FAILED = "closed", "failed"
# How many seconds the time of a line may be wrong.
SLACK = 10


@dataclass
class Excuse:
    """A time in which a trouble explains outcomes; `large` ones: only those of large bodies."""

    trouble: str
    outcomes: frozenset[str]
    large: bool
    begun: float
    # The same in seconds since the epoch, for the lines of a log.
    begun_at: float
    ended: float = float("inf")
    ended_at: float = float("inf")
    # What it has explained.
    used: list[str] = field(default_factory=list)


class Excuses:
    """All of them, for the threads of the clients and for the error log."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._all: list[Excuse] = []

    @contextlib.contextmanager
    def during(self, trouble: str, *outcomes: str, large: bool = False) -> Iterator[Excuse]:
        """`trouble` explains `outcomes` of requests that are under way from now on, to the end."""
        excuse = Excuse(trouble, frozenset(outcomes), large, time.monotonic(), time.time())
        with self._lock:
            self._all.append(excuse)
        try:
            yield excuse
        finally:
            excuse.ended, excuse.ended_at = time.monotonic(), time.time()

    def allow(self, outcome: str, begun: float, what: str, *, large: bool) -> bool:
        """Whether a request that began at `begun`, and is over now, may have this outcome."""
        with self._lock:
            for excuse in self._all:
                under_way = excuse.ended >= begun and (large or not excuse.large)
                if under_way and outcome in excuse.outcomes:
                    excuse.used.append(what)
                    return True
            return False

    def explain(self, trouble: str, moment: float) -> bool:
        """Whether a line of the log with that time was written during such a trouble. nginx's clock
        goes on only when its event loop does."""
        with self._lock:
            return any(
                excuse.trouble == trouble
                and excuse.begun_at - SLACK <= moment <= excuse.ended_at + SLACK
                for excuse in self._all
            )
