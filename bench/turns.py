"""Runs every work on the servers in turn, for several rounds."""

from __future__ import annotations

from dataclasses import replace

import client
import load
from figures import BUSY, Cell, Section
from load import LoadError
from place import Place, Run, StartError, allow_files
from servers import Server
from works import Load, Work

QUANTITIES = ["cpu", "rate", "p50", "p99", "generator"]


def measure(
    works: dict[str, Work], servers: list[Server], run: Run, rounds: int, seconds: int
) -> list[Section]:
    """A section for each work. If a server failed, its row says why."""
    sections = []
    places: dict[Server, Place] = {}
    # nginx has two for each client, if it passes requests on.
    connections = max([1024, *(2 * work.connections + 100 for work in works.values())])
    allow_files(connections + 100)
    try:
        for title, work in works.items():
            section = _section(title, work)
            asked = [server for server in servers if not server.paths or work.path in server.paths]
            section.rows = {server.name: Cell() for server in asked}
            for server in asked:
                _keep_up(server, places, section.rows[server.name], run, connections)
            for server in asked:
                if not section.rows[server.name].failed:
                    first_look(section.rows[server.name], places[server], _work_of(server, work))
            for number in range(rounds):
                # Each round begins with another server, so none always has the warmest machine.
                for server in asked[number % len(asked) :] + asked[: number % len(asked)]:
                    cell = section.rows[server.name]
                    if not cell.failed:
                        one_round(places[server], cell, _work_of(server, work), seconds)
            section.note = _note_of(section)
            sections.append(section)
            _say(section)
    finally:
        for place in places.values():
            place.stop()
    return sections


def _keep_up(
    server: Server, places: dict[Server, Place], cell: Cell, run: Run, connections: int
) -> None:
    """Starts it if it is not running: the previous work may have crashed it."""
    place = places.get(server)
    if place and not place.ended():
        return
    if place:
        place.stop()
    try:
        places[server] = server.start(run, connections=connections)
    except StartError as error:
        cell.failed = f"does not start: {error}"


def first_look(cell: Cell, place: Place, work: Work) -> None:
    """Asks once and checks the answer; this also triggers late imports."""
    try:
        if not isinstance(work, Load):
            client.check(place, work)
            return
        load.check(place, work)
        if work.blocks:
            cell.add(at_once=load.sends_at_once(place.port))
    except (LoadError, OSError) as error:
        cell.failed = _why(place, error)


def one_round(place: Place, cell: Cell, work: Work, seconds: int) -> None:
    try:
        if isinstance(work, Load):
            result = load.run(place, work, seconds)
        else:
            result = client.run(place, work, seconds)
    except LoadError as error:
        cell.failed = _why(place, error)
        return
    cell.add(
        cpu=result.cpu / result.number / 1000,
        rate=result.number / result.seconds,
        p50=result.p50,
        p99=result.p99,
        generator=result.generator,
    )


def _section(title: str, work: Work) -> Section:
    section = Section(title, list(QUANTITIES), unit=work.unit, generator=work.generator)
    if isinstance(work, Load) and work.blocks:
        section.quantities.append("at_once")
    return section


def _work_of(server: Server, work: Work) -> Work:
    return replace(work, path=server.paths.get(work.path, work.path))


def _say(section: Section) -> None:
    for name, cell in section.rows.items():
        figures = ", ".join(f"{figure:.1f}" for figure in cell.rounds.get("cpu", []))
        print(f"{section.title} | {name}: {cell.failed or figures}", flush=True)


def _note_of(section: Section) -> str:
    busy = [name for name, cell in section.rows.items() if (cell.median("generator") or 0.0) > BUSY]
    if not busy:
        return ""
    name = section.generator
    return (
        f"{name} was the bound for {', '.join(busy)}: a whole processor was not enough for it. "
        f"Their {section.unit}s/s and latencies say what {name} can do; their CPU per "
        f"{section.unit} stands."
    )


def _why(place: Place, error: Exception) -> str:
    last_line = (str(error).strip().splitlines() or [type(error).__name__])[-1]
    ended = place.ended()
    return f"the server {ended}: {last_line}" if ended else last_line
