"""Applications in processes of their own: the `python_process` of each, and one nginx.conf of all.

A part is the plan of one application, filled in as if it were alone and in nginx's workers. `wall`
gives it a `python_process`; `merge` adds it to the whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from . import rules
from .plan import Block, ConversionError, Left, Line, Plan, Server, Setting

WORKERS = "nginx's workers serve the clients; the applications are in processes of their own"


@dataclass
class Part:
    """One application of several, with the name of its `python_process`."""

    name: str
    plan: Plan
    # Who says that it has processes of its own.
    source: str


def name_of(text: str, taken: Iterable[str]) -> str:
    """A name that `python_process` takes, and that no other group has."""
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", text).strip("-") or "app"
    name = "app-off" if name == "off" else name
    number, found = 1, name
    while found in taken:
        number += 1
        found = f"{name}-{number}"
    return found


def join(whole: Plan, parts: Sequence[Part]) -> None:
    """Adds programs that have been started one by one, each with its addresses."""
    logs = {
        tuple(line.arguments for line in part.plan.main.lines if _is_log(line)) for part in parts
    }
    of_server: list[tuple[Server, str]] = []
    for part in parts:
        if part.plan.http.find("python_process") is not None:
            raise ConversionError(f"{part.source}: is an emperor: convert it alone")
        wall(part)
        for server in part.plan.servers:
            of_server.append((server, part.name))
            lines = [line for line in part.plan.http.lines if not line.name.startswith("python_")]
            if len(logs) > 1:
                lines += [line for line in part.plan.main.lines if _is_log(line)]
            server.lines += [line for line in lines if server.find(line.name) is None]
        part.plan.http.lines = [
            line for line in part.plan.http.lines if line.name.startswith("python_")
        ]
        if len(logs) > 1:
            part.plan.main.lines = [line for line in part.plan.main.lines if not _is_log(line)]
        merge(whole, part.plan)
        whole.servers += part.plan.servers
    whole.main.default("worker_processes", "auto", source=WORKERS)
    _tell_apart(whole, of_server)


def wall(part: Part) -> None:
    """Makes a `python_process` of what the workers would have, and has its applications use it."""
    plan = part.plan
    made = Line("python_process", (part.name,), [part.source])
    for block, directive, parameter in _PARAMETERS:
        for line in _taken(getattr(plan, block), directive):
            _give(plan, made, parameter, line)
    if any(each.startswith("home=") for each in made.arguments):
        for line in _taken(plan.http, "python_executable"):
            for setting in _settings(line, plan.seen):
                plan.spare(setting, "is that of the virtual environment")
    for directive in _OF_EACH:
        for line in _taken(plan.http, directive):
            _give(plan, made, directive.removeprefix("python_"), line)
    for line in plan.process.lines:
        _give(plan, made, line.name, line)
    plan.process = Block()
    plan.http.lines.append(made)
    for server in plan.servers:
        for location in server.locations:
            if location.protocol:
                location.set(f"{location.protocol}_process", part.name, source=part.source)


def leave_limits(plan: Plan) -> None:
    """The application stays in nginx's workers: the limits of a process of its own are left."""
    for line in plan.process.lines:
        given = f"{line.name}={line.arguments[0]}"
        why = f"write `python_process NAME {given};` and `wsgi_process NAME;`"
        _leave(plan, line, why, plan.seen)
    plan.process = Block()


def merge(whole: Plan, part: Plan) -> None:
    """Adds what a part has once for all of nginx, and what is told of it; not its servers."""
    for mine, theirs in (
        (whole.main, part.main),
        (whole.events, part.events),
        (whole.http, part.http),
        (whole.process, part.process),
    ):
        for line in theirs.lines:
            _add(whole, mine, line, part)
    whole.seen += part.seen
    whole.needless += part.needless
    whole.left += part.left
    whole.unknown += part.unknown
    whole.notes += [note for note in part.notes if note not in whole.notes]
    whole.upstreams += part.upstreams
    whole.supervised = whole.supervised or part.supervised
    if part.proxies and whole.proxies not in ([], part.proxies):
        whole.notes.append(
            f"{part.proxies_source}: these proxies and the others are believed alike"
        )
    whole.proxies += [each for each in part.proxies if each not in whole.proxies]
    whole.proxies_source = whole.proxies_source or part.proxies_source


def _add(whole: Plan, block: Block, line: Line, part: Plan) -> None:
    known = next((each for each in block.lines if _is_same(each, line)), None)
    if line.name == "python_thread_pool":
        _add_pool(whole, line, part)
    elif known is None:
        block.lines.append(line)
    elif line.name == "python_path":
        block.extend(line.name, *line.arguments, source="; ".join(line.sources))
    elif known.arguments == line.arguments:
        known.sources += [each for each in line.sources if each not in known.sources]
    else:
        why = f"one is for all, and it is {' '.join(known.arguments)}"
        _leave(whole, line, why, part.seen)


def _add_pool(whole: Plan, line: Line, part: Plan) -> None:
    """The parameters of the pool, one by one."""
    for parameter in line.arguments[1:]:
        own = Line(line.name, ("default", parameter), _of_pool(part, [parameter]))
        known = whole.http.find(line.name, "default")
        key = parameter.partition("=")[0]
        same = [each for each in known.arguments if each.startswith(f"{key}=")] if known else []
        if same and same != [parameter]:
            _leave(whole, own, f"one is for all, and it is {same[0]}", part.seen)
        else:
            rules.pool(whole, parameter, "; ".join(own.sources))


def _is_same(known: Line, line: Line) -> bool:
    """Whether there can be only one of both."""
    if known.name != line.name or line.name not in _SEVERAL:
        return known.name == line.name
    of, its = known.arguments[0], line.arguments[0]
    if line.name == "python_env":
        return of.partition("=")[0] == its.partition("=")[0]
    return of == its


def _taken(block: Block, name: str) -> list[Line]:
    found = [line for line in block.lines if line.name == name]
    block.lines = [line for line in block.lines if line.name != name]
    return found


def _give(plan: Plan, made: Line, parameter: str, line: Line) -> None:
    """Adds a directive's arguments as a parameter of `python_process`."""
    sources = line.sources
    if line.name == "python_thread_pool":
        given = [each for each in line.arguments[1:] if each.startswith(("threads=", "max_queue="))]
        rest = [each for each in line.arguments[1:] if each not in given]
        sources = _of_pool(plan, given)
        if rest:
            left = Line(line.name, ("default", *rest), _of_pool(plan, rest))
            plan.http.lines.append(left)
        given = [each.replace("max_queue=", "queue=") for each in given]
    elif parameter in _NUMBERS and not line.arguments[0].isdigit():
        _leave(plan, line, _NUMBERS[parameter], plan.seen)
        return
    elif line.name in _SEVERAL_WORDS:
        given = [f"{parameter}={','.join(line.arguments).removeprefix('soft=')}"]
    else:
        given = [f"{parameter}={each}" for each in line.arguments]
    made.arguments += tuple(given)
    made.sources += [each for each in sources if each not in made.sources]


def _of_pool(plan: Plan, parameters: list[str]) -> list[str]:
    """Who says these parameters of the pool."""
    found = [plan.of_pool.get(each.partition("=")[0], "") for each in parameters]
    return list(dict.fromkeys(filter(None, found)))


def _leave(plan: Plan, line: Line, why: str, seen: list[Setting]) -> None:
    plan.left += [Left(setting, why) for setting in _settings(line, seen)]


def _settings(line: Line, seen: list[Setting]) -> list[Setting]:
    """The settings that a directive is from; `seen` are those of its source."""
    told = f"; {'; '.join(line.sources)}; "
    found = [setting for setting in seen if f"; {setting.source}; " in told]
    if not found:
        origin, _, shown = "; ".join(line.sources).partition(": ")
        found.append(Setting(line.name, line.arguments, origin, shown))
    return found


def _is_log(line: Line) -> bool:
    return line.name == "error_log"


def _tell_apart(whole: Plan, of_server: list[tuple[Server, str]]) -> None:
    """Gives a name to servers that have one address and no name: nginx would take the first."""
    at: dict[str, list[tuple[Server, str]]] = {}
    for server, name in of_server:
        for listen in server.listens:
            at.setdefault(listen.address, []).append((server, name))
    for address, sharing in at.items():
        if len(sharing) < 2:
            continue
        for server, name in sharing:
            if server.find("server_name") is None:
                source = f"{name}: listens at {address}, as others do"
                server.set("server_name", name, source=source)
                whole.notes.append(f"server_name {name}: write the site's name, as clients know it")
        for server, _ in sharing[1:]:
            for listen in server.listens:
                if listen.address == address:
                    # What belongs to the address is said once.
                    listen.parameters = [each for each in listen.parameters if each in _OF_SERVER]


# From the plan of an application in the workers to the parameters of its group.
_PARAMETERS = (
    ("main", "worker_processes", "processes"),
    ("http", "python_thread_pool", "threads"),
    ("http", "python_home", "home"),
    ("http", "python_path", "path"),
    ("http", "python_working_directory", "working_directory"),
    ("http", "python_env", "env"),
    ("main", "worker_priority", "nice"),
)
# Those that a parameter has the name of, without `python_`. A worker that exits ends the requests
# of all groups after `python_drain_timeout`, which so stays one for all.
_OF_EACH = (
    "python_executable",
    "python_env_file",
    "python_import",
    "python_optimize",
    "python_dont_write_bytecode",
    "python_hash_seed",
    "python_warnings",
    "python_xoption",
    "python_switch_interval",
    "python_gc_freeze",
    "python_max_requests",
    "python_max_lifetime",
    "python_memory_limit",
    "python_max_stuck_threads",
    "python_deadlock_timeout",
    "python_finalize",
)
# Commas are between them in the parameter.
_SEVERAL_WORDS = {
    "python_max_requests",
    "python_max_lifetime",
    "python_memory_limit",
    "python_finalize",
}
_NUMBERS = {
    "processes": "write a number: `python_process NAME processes=N`",
    "nice": "only root can raise a priority: systemd's Nice= is for all of nginx",
}
_SEVERAL = {
    "python_env",
    "python_env_file",
    "python_process",
    "python_import",
    "set_real_ip_from",
}
_OF_SERVER = {"http2", "proxy_protocol", "ssl"}
