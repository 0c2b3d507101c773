"""Draws a section as bars (SVG) that are readable on a light page and on a dark one."""

from __future__ import annotations

import html

from figures import QUANTITIES, Section

WIDTH = 800
LEFT = 170
LONGEST = 470
ROW = 26

# The card has its own background, because the page's scheme may differ from the viewer's.
STYLE = """\
.card { fill: #ffffff; stroke: #d0d7de }
text { fill: #1f2328 }
.small { fill: #59636e; font-size: 12px }
.peer { fill: #8c959f }
.floor { fill: #54aeff }
.ours { fill: #1a7f37 }
@media (prefers-color-scheme: dark) {
  .card { fill: #151b23; stroke: #3d444d }
  text { fill: #f0f6fc }
  .small { fill: #9198a1 }
  .peer { fill: #656c76 }
  .floor { fill: #1f6feb }
  .ours { fill: #2ea043 }
}"""


def chart(section: Section, title: str, below: str, ours: str, floor: str) -> str:
    """Bars of the section's first quantity, in ascending order, with the ratio to the floor."""
    quantity = section.quantities[0]
    figures = {server: cell.median(quantity) for server, cell in section.rows.items()}
    bars = sorted(
        ((server, figure) for server, figure in figures.items() if figure is not None),
        key=lambda bar: bar[1],
    )
    longest = max((figure for _, figure in bars), default=1.0)
    of_floor = figures.get(floor)
    height = 76 + ROW * len(bars)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'width="{WIDTH}" height="{height}" role="img" '
        'font-family="system-ui, -apple-system, sans-serif" font-size="14">',
        f"<title>{html.escape(title)}</title>",
        f"<style>\n{STYLE}\n</style>",
        f'<rect class="card" x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1}" rx="6"/>',
        f'<text x="16" y="27" font-weight="600">{html.escape(title)}</text>',
    ]
    for number, (server, figure) in enumerate(bars):
        y = 42 + ROW * number
        width = max(2.0, LONGEST * figure / longest)
        kind = "ours" if server.startswith(ours) else "floor" if server == floor else "peer"
        label = QUANTITIES[quantity].text(figure)
        if of_floor:
            label += f"  ({figure / of_floor:.1f}×)"
        parts += [
            f'<text x="{LEFT - 10}" y="{y + 14}" text-anchor="end">{html.escape(server)}</text>',
            f'<rect class="{kind}" x="{LEFT}" y="{y}" width="{width:.0f}" height="18" rx="2"/>',
            f'<text x="{LEFT + 8 + width:.0f}" y="{y + 14}">{label}</text>',
        ]
    parts.append(f'<text class="small" x="16" y="{height - 14}">{html.escape(below)}</text>')
    return "\n".join([*parts, "</svg>", ""])
