"""The servers in turn: every work, asked of each by wrk, for several rounds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from accounting import cpu_time
from figures import BUSY, Cell, Section
from load import LoadError, check, run, sends_at_once
from place import Place
from servers import Server
from works import YIELDS, Load

QUANTITIES = ["cpu", "rate", "p50", "p99", "generator"]


def measure(
    works: dict[str, Load],
    places: dict[Server, Place],
    dead: dict[Server, str],
    rounds: int,
    seconds: int,
    folder: Path,
) -> list[Section]:
    """A section of each work; the servers in `dead` have their reason in it."""
    sections = []
    for work, load in works.items():
        section = Section(work, list(QUANTITIES))
        asked = [server for server in (*places, *dead) if _is_asked(server, load)]
        section.rows = {server.name: Cell(failed=dead.get(server, "")) for server in asked}
        first_look(section, {server: places[server] for server in asked if server in places}, load)
        for number in range(rounds):
            # Each round begins with another server, so that none has the warmest machine.
            for server in asked[number % len(asked) :] + asked[: number % len(asked)]:
                cell = section.rows[server.name]
                if not cell.failed:
                    one_round(places[server], cell, _load_of(server, load), seconds, folder)
        for name, cell in section.rows.items():
            said = ", ".join(f"{figure:.1f}" for figure in cell.rounds.get("cpu", []))
            print(f"{work} | {name}: {cell.failed or said}", flush=True)
        section.note = _note_of(section)
        sections.append(section)
    return sections


def first_look(section: Section, places: dict[Server, Place], load: Load) -> None:
    """One request to each, which must have the right answer; it imports what is imported late."""
    if section.title == YIELDS:
        section.quantities.append("at_once")
    for server, place in places.items():
        cell = section.rows[server.name]
        try:
            check(place.url, _load_of(server, load))
            if section.title == YIELDS:
                cell.add(at_once=sends_at_once(place.port))
        except (LoadError, OSError) as error:
            cell.failed = _last_line(error)


def one_round(place: Place, cell: Cell, load: Load, seconds: int, folder: Path) -> None:
    before = cpu_time(place.sessions)
    try:
        result = run(place.url, load, seconds, folder)
    except LoadError as error:
        cell.failed = _last_line(error)
        return
    cell.add(
        cpu=(cpu_time(place.sessions) - before) / result.requests / 1000,
        rate=result.requests / result.seconds,
        p50=result.p50,
        p99=result.p99,
        generator=result.generator,
    )


def _is_asked(server: Server, load: Load) -> bool:
    return server.interface == load.interface and (not server.paths or load.path in server.paths)


def _load_of(server: Server, load: Load) -> Load:
    return replace(load, path=server.paths.get(load.path, load.path))


def _note_of(section: Section) -> str:
    busy = [name for name, cell in section.rows.items() if (cell.median("generator") or 0.0) > BUSY]
    if not busy:
        return ""
    return (
        f"wrk was the bound for {', '.join(busy)}: a whole processor was not enough for it. Their "
        "requests/s and latencies say what wrk can do; their CPU per request stands."
    )


def _last_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]
