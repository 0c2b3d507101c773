"""The targets, as ratios within one run, and whether they are met; WSGI's are here."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from figures import Cell, Section
from idle import IDLE, NONE_IDLE
from idle import TITLE as IDLE_CONNECTIONS
from isolation import COMPUTING
from isolation import IDLE as NOT_COMPUTING
from isolation import TITLE as ISOLATION
from memory import TITLE as MEMORY
from memory import WHOLE as WHOLE_MEMORY
from servers import (
    DAEMON,
    FIRST,
    FLOOR,
    GUNICORN,
    INLINE,
    NGINX_GUNICORN,
    NGINX_UWSGI,
    ONE_THREAD,
    OURS,
    STREAMED,
    TWO_WALLED,
    UNREAD,
    WALLED,
)
from unread import CLIENTS, NONE_UNREAD, SENT
from unread import TITLE as UNREAD_ROWS
from watched import TITLE as WATCHED_STATUS
from watched import UNWATCHED, WATCHED

# Instead of a server's name: the best of all other servers; and the best of those that send each
# block before the application makes the next.
BEST = "the best peer"
BEST_AT_ONCE = "the best peer that sends each at once"
# How the names of our servers begin.
OUR_NAMES = "pywsgi"


@dataclass(frozen=True)
class Target:
    name: str
    ours: str
    other: str
    work: str
    at_most: float
    quantity: str = "cpu"


@dataclass(frozen=True)
class Outcome:
    target: Target
    # Which server the other is, if the target does not name it.
    other: str = ""
    ours_figure: float = 0.0
    other_figure: float = 0.0
    # The ratio of the medians, and the least and greatest ratio within a round.
    ratio: float | None = None
    least: float = 0.0
    greatest: float = 0.0
    # Why there is no ratio.
    why: str = ""

    @property
    def verdict(self) -> str:
        if self.ratio is None:
            return "not measured"
        return "pass" if self.ratio <= self.target.at_most else "short"


TARGETS = [
    Target("threads against nginx's `return 200`", OURS.name, FLOOR.name, "hello", 1.6),
    Target("inline against nginx's `return 200`", INLINE.name, FLOOR.name, "hello", 1.25),
    Target("a pool of 8 against a pool of 1", OURS.name, ONE_THREAD.name, "hello", 1.1),
    Target("threads against granian", OURS.name, "granian", "hello", 0.5),
    Target("threads against nginx + uWSGI", OURS.name, NGINX_UWSGI.name, "hello", 0.35),
    Target("threads against nginx + gunicorn", OURS.name, NGINX_GUNICORN.name, "hello", 0.1),
    Target("threads against mod_wsgi embedded", OURS.name, "mod_wsgi embedded", "hello", 0.2),
    Target("inline against fastwsgi", INLINE.name, "fastwsgi", "hello", 1.0),
    Target("inline against bjoern", INLINE.name, "bjoern", "hello", 1.0),
    Target(
        "20 headers each way, threads against granian",
        OURS.name,
        "granian",
        "20 headers each way",
        0.5,
    ),
    Target("10 MB response", OURS.name, BEST, "a response of 10 MB", 1.0),
    Target("10 MB upload, by way of nginx's file", OURS.name, BEST, "a POST of 10 MB", 1.0),
    Target("10 MB upload, read as it comes", STREAMED.name, BEST, "a POST of 10 MB", 1.0),
    Target(
        "`wsgi.file_wrapper` of 10 MB against nginx serving the file",
        OURS.name,
        FLOOR.name,
        "a file of 10 MB by wsgi.file_wrapper",
        1.1,
    ),
    Target("100 yields", OURS.name, BEST_AT_ONCE, "100 yields", 1.0),
    *(
        Target(
            title,
            COMPUTING.format(server.name),
            NOT_COMPUTING.format(server.name),
            ISOLATION,
            1.5,
            "p99",
        )
        for title, server in (
            ("static p99, all Python threads busy against idle", OURS),
            ("static p99 with worker_priority -10, busy against idle", FIRST),
        )
    ),
    *(
        Target(
            f"static p99 beside {CLIENTS} clients that read nothing ({server.name})",
            SENT.format(server.name),
            NONE_UNREAD.format(server.name),
            UNREAD_ROWS,
            3.0,
            "p99",
        )
        for server in UNREAD
    ),
    Target(
        "5,000 idle connections beside, against none",
        IDLE.format(OURS.name),
        NONE_IDLE.format(OURS.name),
        IDLE_CONNECTIONS,
        1.15,
    ),
    Target(
        "hello while somebody watches python_status, against nobody",
        WATCHED.format(OURS.name),
        UNWATCHED.format(OURS.name),
        WATCHED_STATUS,
        1.01,
    ),
    *(
        Target(f"a process against {peer.name}", WALLED.name, peer.name, "hello", at_most)
        for peer, at_most in ((OURS, 1.6), (NGINX_UWSGI, 0.5), (DAEMON, 0.15))
    ),
    *(
        Target(f"{work}, a process against threads", WALLED.name, OURS.name, work, 1.2)
        for work in ("a response of 10 MB", "a POST of 10 MB")
    ),
    Target(
        "p50 at 1 connection, a process against nginx + gunicorn",
        WALLED.name,
        NGINX_GUNICORN.name,
        "hello, 1 connection",
        0.5,
        "p50",
    ),
    Target(
        "PSS of four workers and two processes, against four workers with Django",
        TWO_WALLED.name,
        OURS.name,
        WHOLE_MEMORY,
        0.6,
        "pss",
    ),
    Target("Django worker's PSS", OURS.name, GUNICORN.name, MEMORY, 1.0, "pss"),
    Target(
        "p50 at 1 connection, threads against granian",
        OURS.name,
        "granian",
        "hello, 1 connection",
        1.0,
        "p50",
    ),
]


def outcomes(sections: Iterable[Section], targets: Iterable[Target]) -> list[Outcome]:
    by_title = {section.title: section for section in sections}
    return [_outcome(target, by_title.get(target.work)) for target in targets]


def _outcome(target: Target, section: Section | None) -> Outcome:
    if section is None:
        return Outcome(target, why="this run has not asked for it")
    other = target.other
    if other in (BEST, BEST_AT_ONCE):
        other = _best(section, target) or other
    for name in (target.ours, other):
        cell = section.rows.get(name)
        if cell is None or cell.median(target.quantity) is None:
            return Outcome(target, other, why=f"{name}: {cell.failed if cell else 'not there'}")
    ours, theirs = section.rows[target.ours], section.rows[other]
    ours_figure, other_figure = ours.median(target.quantity), theirs.median(target.quantity)
    assert ours_figure is not None and other_figure is not None
    by_round = _by_round(ours, theirs, target.quantity)
    return Outcome(
        target,
        other,
        ours_figure,
        other_figure,
        ours_figure / other_figure,
        min(by_round),
        max(by_round),
    )


def _by_round(ours: Cell, theirs: Cell, quantity: str) -> list[float]:
    pairs = zip(ours.rounds[quantity], theirs.rounds[quantity], strict=True)
    return [ours_figure / other_figure for ours_figure, other_figure in pairs]


def _best(section: Section, target: Target) -> str | None:
    found = {
        name: figure
        for name, cell in section.rows.items()
        if name != FLOOR.name
        and not name.startswith(OUR_NAMES)
        and (figure := cell.median(target.quantity)) is not None
        and (target.other != BEST_AT_ONCE or cell.median("at_once"))
    }
    return min(found, key=lambda name: found[name]) if found else None
