"""Runs every work with wrk on the servers in turn, for several rounds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from accounting import cpu_time
from figures import BUSY, Cell, Section
from load import LoadError, check, run, sends_at_once
from place import Place, Run, StartError
from servers import Server
from works import YIELDS, Load

QUANTITIES = ["cpu", "rate", "p50", "p99", "generator"]


def measure(
    works: dict[str, Load], servers: list[Server], run: Run, rounds: int, seconds: int
) -> list[Section]:
    """A section for each work. If a server failed, its row says why."""
    sections = []
    places: dict[Server, Place] = {}
    try:
        for work, load in works.items():
            section = Section(work, [*QUANTITIES, "at_once"] if work == YIELDS else QUANTITIES)
            asked = [server for server in servers if _is_asked(server, load)]
            section.rows = {server.name: Cell() for server in asked}
            for server in asked:
                _keep_up(server, places, section.rows[server.name], run)
            for server in asked:
                if not section.rows[server.name].failed:
                    first_look(section, server, places[server], load)
            for number in range(rounds):
                # Each round begins with another server, so none always has the warmest machine.
                for server in asked[number % len(asked) :] + asked[: number % len(asked)]:
                    cell = section.rows[server.name]
                    if not cell.failed:
                        asks = _load_of(server, load)
                        one_round(places[server], cell, asks, seconds, run.folder)
            section.note = _note_of(section)
            sections.append(section)
            _say(section)
    finally:
        for place in places.values():
            place.stop()
    return sections


def _keep_up(server: Server, places: dict[Server, Place], cell: Cell, run: Run) -> None:
    """Starts it if it is not running: the previous work may have crashed it."""
    place = places.get(server)
    if place and place.is_up():
        return
    if place:
        place.stop()
    try:
        places[server] = server.start(run)
    except StartError as error:
        cell.failed = f"does not start: {error}"


def first_look(section: Section, server: Server, place: Place, load: Load) -> None:
    """Sends one request and checks the response; this also triggers late imports."""
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


def _say(section: Section) -> None:
    for name, cell in section.rows.items():
        figures = ", ".join(f"{figure:.1f}" for figure in cell.rounds.get("cpu", []))
        print(f"{section.title} | {name}: {cell.failed or figures}", flush=True)


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
