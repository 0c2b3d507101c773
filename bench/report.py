"""Writes a run as Markdown: the targets, then a table for each section."""

from __future__ import annotations

from figures import BUSY, QUANTITIES, Cell, Section
from targets import Outcome


def markdown(sections: list[Section], outcomes: list[Outcome], of: str, about: list[str]) -> str:
    """The ratios in the sections are relative to the server `of`."""
    lines = ["# Benchmark", "", *about, ""]
    lines += [*targets(outcomes), ""]
    for section in sections:
        lines += [*table(section, of), ""]
    return "\n".join(lines)


def targets(outcomes: list[Outcome]) -> list[str]:
    lines = ["## Targets", ""]
    lines += ["| figure | ours | against | ratio | in the rounds | at most | |"]
    lines += ["|---|---:|---:|---:|---:|---:|---|"]
    for outcome in outcomes:
        target = outcome.target
        if outcome.ratio is None:
            why = _in_a_cell(outcome.why)
            cells = ["", "", "", "", f"{target.at_most}", f"{outcome.verdict}: {why}"]
        else:
            text = QUANTITIES[target.quantity].text
            named = f" ({outcome.other})" if outcome.other != target.other else ""
            cells = [
                text(outcome.ours_figure),
                text(outcome.other_figure) + named,
                f"{outcome.ratio:.2f}",
                f"{outcome.least:.2f} to {outcome.greatest:.2f}",
                f"{target.at_most}",
                f"**{outcome.verdict}**" if outcome.verdict == "short" else outcome.verdict,
            ]
        lines.append(f"| {' | '.join([target.name, *cells])} |")
    return lines


def table(section: Section, of: str) -> list[str]:
    first = section.quantities[0]
    headings = [section.heading(quantity) for quantity in section.quantities]
    lines = [f"## {section.title}", ""]
    if section.note:
        lines += [section.note, ""]
    lines.append(f"| {' | '.join(['server', headings[0], 'to ours', 'spread', *headings[1:]])} |")
    lines.append(f"|---|{'---:|' * (len(headings) + 2)}")
    reference = section.rows[of].median(first) if of in section.rows else None
    for server, cell in sorted(section.rows.items(), key=lambda row: _order(row[1], first)):
        figure = cell.median(first)
        if figure is None:
            empty = " |" * (len(headings) + 1)
            lines.append(f"| {server} | failed: {_in_a_cell(cell.failed)} |{empty}")
            continue
        cells = [
            server,
            QUANTITIES[first].text(figure),
            f"{figure / reference:.2f}" if reference else "",
            f"{cell.spread(first):.0%}",
        ]
        cells += [_text(cell, quantity) for quantity in section.quantities[1:]]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _text(cell: Cell, quantity: str) -> str:
    figure = cell.median(quantity)
    if figure is None:
        return ""
    mark = " †" if quantity == "generator" and figure > BUSY else ""
    return QUANTITIES[quantity].text(figure) + mark


def _in_a_cell(text: str) -> str:
    """Escapes a message, which could otherwise end its cell."""
    return text.replace("|", "\\|").replace("\n", " ")[:160]


def _order(cell: Cell, quantity: str) -> float:
    figure = cell.median(quantity)
    return figure if figure is not None else float("inf")
