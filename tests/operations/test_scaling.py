"""docs/scaling.md: its figures are those of the committed tables, and what it computes follows."""

from __future__ import annotations

import re

import pytest
from harness import PROJECT

PAGE = (PROJECT / "docs" / "scaling.md").read_text()
RESULTS = {
    "WSGI": (PROJECT / "bench" / "results" / "latest.md").read_text(),
    "ASGI": (PROJECT / "bench" / "results" / "asgi.md").read_text(),
}
MEASURED = re.findall(r"^\| (.+?) \| ([\d,.]+) µs \| ([\d,]+) \|$", PAGE, re.MULTILINE)


def number(text: str) -> float:
    return float(text.replace(",", ""))


@pytest.mark.parametrize(("request_", "time", "rate"), MEASURED, ids=[row[0] for row in MEASURED])
def test_a_request_is_measured(request_, time, rate):
    """A row of the table has both figures."""
    results = RESULTS["ASGI" if request_.startswith("ASGI") else "WSGI"]
    server = "nginx alone" if "by nginx" in request_ else "pywsgi"
    wanted = f"{number(time):g}", f"{number(rate):g}"
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in results.splitlines()
        if line.startswith(f"| {server}")
    ]
    found = [row for row in rows if row[1] == wanted[0] and wanted[1] in row]
    assert len(found) == 1, f"{wanted} is in none of {rows}"


def test_memory_is_measured():
    worker = re.search(r"a worker with Django.* \| ([\d.]+) MB \|", PAGE)[1]
    socket = re.search(r"a WebSocket that is idle \| ([\d.]+) KB \|", PAGE)[1]
    assert re.search(rf"^\| Django worker's PSS \| {worker} \|", RESULTS["WSGI"], re.MULTILINE)
    idle = rf"^\| memory of 10,000 idle WebSockets.* \| {socket} \|"
    assert re.search(idle, RESULTS["ASGI"], re.MULTILINE)


def test_what_follows_is_computed_from_that():
    times = {request: number(time) for request, time, _ in MEASURED}
    rates = {request: number(rate) for request, _, rate in MEASURED}
    of = {
        name: next(each for each in times if name in each) for name in ("Flask", "Django", "10 ms")
    }
    text = " ".join(PAGE.split())

    def said(pattern: str) -> float:
        return number(re.search(pattern, text)[1])

    assert said(r"([\d,]+) of that Flask's") == pytest.approx(1e6 / times[of["Flask"]], rel=0.03)
    assert said(r"([\d,]+) of that Django's") == pytest.approx(1e6 / times[of["Django"]], rel=0.03)
    waits = of["10 ms"]
    assert said(r"at most 800 requests/s; ([\d,]+) were") == rates[waits]
    share = rates[waits] * times[waits] / 1e4
    assert said(r"at ([\d.]+) % of a processor") == pytest.approx(share, abs=0.5)
    memory = number(re.search(r"\| ([\d.]+) MB \|", PAGE)[1])
    assert said(r"eight workers with that Django are ([\d,]+) MB") == pytest.approx(
        8 * memory, rel=0.03
    )
    kilobytes = number(re.search(r"\| ([\d.]+) KB \|", PAGE)[1])
    assert said(r"idle WebSockets are ([\d.]+) GB") == pytest.approx(kilobytes / 10, rel=0.03)
