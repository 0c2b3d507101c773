"""The bench's table and chart, as Markdown and SVG."""

from __future__ import annotations

import html
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Cell:
    """One server at one work: a figure of each round."""

    # Microseconds of processor time per request.
    cpu: list[float]
    rate: list[float]
    p50: list[float]
    p99: list[float]
    # Why there is none.
    failed: str = ""

    def spread(self) -> float:
        """How far the rounds lie apart, as a part of their median."""
        return (max(self.cpu) - min(self.cpu)) / median(self.cpu) if self.cpu else 0.0


Table = dict[str, dict[str, Cell]]


def markdown(table: Table, of: str, about: list[str]) -> str:
    """Every work with its servers; the ratios are those to the server `of`."""
    lines = ["# Benchmark", "", *about, ""]
    for work, row in table.items():
        reference = row.get(of)
        lines += [f"## {work}", ""]
        lines += ["| server | CPU µs/request | to ours | spread | requests/s | p50 ms | p99 ms |"]
        lines += ["|---|---:|---:|---:|---:|---:|---:|"]
        for server, cell in sorted(row.items(), key=lambda item: _cost(item[1])):
            if cell.failed:
                lines.append(f"| {server} | {cell.failed} | | | | | |")
                continue
            ratio = ""
            if reference and reference.cpu:
                ratio = f"{median(cell.cpu) / median(reference.cpu):.2f}"
            lines.append(
                f"| {server} | {median(cell.cpu):.1f} | {ratio} | {cell.spread():.0%} "
                f"| {median(cell.rate):.0f} | {median(cell.p50):.2f} | {median(cell.p99):.2f} |"
            )
        lines.append("")
    return "\n".join(lines)


def chart(row: dict[str, Cell], title: str, ours: str) -> str:
    """Bars of processor time per request, the least first."""
    bars = sorted((item for item in row.items() if item[1].cpu), key=lambda item: _cost(item[1]))
    longest = max((median(cell.cpu) for _, cell in bars), default=1.0)
    height = 44 + 26 * len(bars)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 760 {height}" role="img" '
        f'font-family="system-ui, sans-serif" font-size="14">',
        f"<title>{html.escape(title)}</title>",
        f'<rect width="760" height="{height}" fill="#fff"/>',
        f'<text x="10" y="24" font-weight="600">{html.escape(title)}</text>',
    ]
    for number, (server, cell) in enumerate(bars):
        y = 40 + 26 * number
        width = max(2.0, 440 * median(cell.cpu) / longest)
        colour = "#1b7f4b" if server.startswith(ours) else "#8a94a6"
        parts += [
            f'<text x="150" y="{y + 14}" text-anchor="end">{html.escape(server)}</text>',
            f'<rect x="160" y="{y}" width="{width:.0f}" height="18" rx="2" fill="{colour}"/>',
            f'<text x="{166 + width:.0f}" y="{y + 14}">{median(cell.cpu):.1f}</text>',
        ]
    return "\n".join([*parts, "</svg>", ""])


def _cost(cell: Cell) -> float:
    return median(cell.cpu) if cell.cpu else float("inf")
