"""One server twice in a table: without something beside it, and with it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from figures import Cell, Section
from place import StartError
from servers import Server


@contextmanager
def two_rows(
    section: Section, server: Server, first: str, second: str
) -> Iterator[tuple[Cell, Cell]]:
    """Two rows of one server. If it does not start, or closes a connection, both say so."""
    cells = Cell(), Cell()
    for name, cell in zip((first, second), cells, strict=True):
        section.rows[name.format(server.name)] = cell
    try:
        yield cells
    except (StartError, OSError) as error:
        for cell in cells:
            cell.failed = str(error)
