"""The results of a run: sections of servers, with a figure for every round."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median


@dataclass
class Cell:
    """One server in one work: one figure per round for each quantity."""

    rounds: dict[str, list[float]] = field(default_factory=dict)
    # Why there are no figures.
    failed: str = ""

    def add(self, **figures: float) -> None:
        for quantity, figure in figures.items():
            self.rounds.setdefault(quantity, []).append(figure)

    def median(self, quantity: str) -> float | None:
        found = self.rounds.get(quantity)
        return median(found) if found and not self.failed else None

    def spread(self, quantity: str) -> float:
        """The spread of the rounds, as a fraction of their median."""
        found = self.rounds[quantity]
        middle = median(found)
        return (max(found) - min(found)) / middle if middle else 0.0


@dataclass
class Section:
    """One table: a row for each server. The first quantity orders the rows."""

    title: str
    quantities: list[str]
    rows: dict[str, Cell] = field(default_factory=dict)
    note: str = ""
    # What is counted, and what asks.
    unit: str = "request"
    generator: str = "wrk"

    def heading(self, quantity: str) -> str:
        return QUANTITIES[quantity].heading.format(unit=self.unit, generator=self.generator)


@dataclass(frozen=True)
class Quantity:
    heading: str
    text: Callable[[float], str]


QUANTITIES = {
    # Processor time of all processes and threads of the server.
    "cpu": Quantity("CPU µs/{unit}", "{:.1f}".format),
    "rate": Quantity("{unit}s/s", "{:.0f}".format),
    "p50": Quantity("p50 ms", "{:.3f}".format),
    "p99": Quantity("p99 ms", "{:.3f}".format),
    # The part of one processor that the load generator used.
    "generator": Quantity("{generator} busy", "{:.0%}".format),
    # Whether a client gets a block before the application makes the next.
    "at_once": Quantity("sends each block at once", lambda figure: "yes" if figure else "no"),
    # Of nginx's event loop, per request.
    "waited": Quantity("waited for a processor, ms", "{:.3f}".format),
    "start": Quantity("s to the first answer", "{:.2f}".format),
    # Of one connection, in KB.
    "each": Quantity("KB per connection", "{:.1f}".format),
    "idle": Quantity("PSS without them, MB", "{:.1f}".format),
    "with_them": Quantity("with them, MB", "{:.1f}".format),
    "pss": Quantity("worker's PSS, MB", "{:.1f}".format),
    "private": Quantity("private to it, MB", "{:.1f}".format),
    "rss": Quantity("its RSS, MB", "{:.1f}".format),
    "grown": Quantity("RSS above idle, MB", "{:.1f}".format),
    "others": Quantity("the master's PSS, MB", "{:.1f}".format),
}
# Above this part of a processor the generator is measured, not the server.
BUSY = 0.95
