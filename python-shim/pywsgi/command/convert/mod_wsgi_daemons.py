"""WSGIDaemonProcess: which application runs in which group of processes.

mod_wsgi runs an application in Apache's own processes (embedded mode) unless WSGIProcessGroup, or
`process-group=` of its WSGIScriptAlias, names a WSGIDaemonProcess.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field

from . import groups, rules
from .apache import Node
from .groups import Part
from .mod_wsgi_options import DAEMON
from .plan import ConversionError, Location, Plan, Setting

THREADS = "WSGIDaemonProcess: unless told otherwise"


@dataclass
class _Daemon:
    """A WSGIDaemonProcess, and the applications in it."""

    setting: Setting
    plan: Plan
    options: list[Setting] = field(default_factory=list)
    members: list[tuple[Location, Setting]] = field(default_factory=list)


class Daemons:
    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.all: dict[str, _Daemon] = {}
        # Whether an application is in Apache's own processes.
        self.embedded = False
        # Each WSGIProcessGroup, and those that are for some application.
        self.chosen: list[tuple[tuple[Node, ...], Node]] = []
        self.of_applications: list[Node] = []
        # The interpreters in each group of processes: an application's file is one of its own.
        self.interpreters: dict[str, dict[str, Setting]] = {}

    def define(self, nodes: Sequence[Node]) -> None:
        """Reads the options of each WSGIDaemonProcess among `nodes`."""
        for node in nodes:
            if node.is_section or node.name.lower() != "wsgidaemonprocess":
                continue
            if not node.arguments:
                raise ConversionError(f"{node.origin}: {node.text}: wants a name")
            name = node.arguments[0]
            setting = Setting(node.name, name, node.origin, f"{node.name} {name}")
            if name in self.all:
                raise ConversionError(f"{setting.source}: {name} is there twice")
            part = Plan(self.plan.system, self.plan.folder)
            daemon = self.all[name] = _Daemon(setting, part)
            for word in node.arguments[1:]:
                option, _, value = word.partition("=")
                text = f"WSGIDaemonProcess {option}={value}"
                one = Setting(option, value, node.origin, text)
                daemon.options.append(one)
                _apply(part, one)
            rules.user(part)
            if not any(each.name == "threads" for each in daemon.options):
                rules.pool(part, "threads=15", THREADS)

    def place(
        self, nodes: Sequence[Node], scripts: Sequence[tuple[Node, Location]], host: str
    ) -> None:
        """Finds the process group of each application; `nodes` are all that its server has."""
        found = with_sections(nodes)
        for section, node in found:
            if node.name.lower() == "wsgiprocessgroup":
                if all(node is not known for _, known in self.chosen):
                    self.chosen.append((section, node))
                    self.plan.seen.append(_of(node))
                if any(_rank(section, script) for script, _ in scripts):
                    self.of_applications.append(node)
        for script, location in scripts:
            group = self._chosen(script, found, "process-group", "WSGIProcessGroup")
            interpreter = self._chosen(script, found, "application-group", "WSGIApplicationGroup")
            name = "" if group is None else str(group.value)
            if group is None or name in ("", "%{GLOBAL}"):
                self.embedded, name = True, ""
            elif name in self.all:
                self.all[name].members.append((location, group))
            elif "%" in name:
                self.embedded, name = True, ""
                self.plan.leave(group, "write `wsgi_process NAME;` in each location: it has a name")
            else:
                self.embedded = True
                why = f"its WSGIDaemonProcess is not here: write `python_process {name} …;`"
                self.plan.leave(group, f"{why}, and `wsgi_process {name};` in the location")
            self._interpreter(name, interpreter, script, host)

    def convert(self) -> None:
        """A `python_process` for each, or nginx's workers for the only one that needs no more."""
        plan = self.plan
        for name, daemon in self.all.items():
            if not daemon.members:
                why = f"no application is in {name}: no WSGIProcessGroup names it"
                plan.seen += daemon.options
                for setting in daemon.options or [daemon.setting]:
                    plan.spare(setting, why)
        used = {name: daemon for name, daemon in self.all.items() if daemon.members}
        walled = len(used) > 1 or self.embedded or any(d.plan.process.lines for d in used.values())
        taken: list[str] = []
        for name, daemon in used.items():
            part = Part(groups.name_of(name, taken), daemon.plan, daemon.setting.source)
            taken.append(part.name)
            if walled:
                _limit_data(daemon.plan)
                groups.wall(part)
            self._settle(part.name, daemon, walled)
            groups.merge(plan, daemon.plan)
            if not walled:
                plan.notes.append(
                    f"{daemon.setting.origin}: {name} has all applications, which so run in "
                    f"nginx's workers; `python_process {part.name} …;` and "
                    f"`wsgi_process {part.name};` give them processes of their own"
                )
        if used and walled:
            plan.main.default("worker_processes", "auto", source=groups.WORKERS)
        if self.embedded or not used:
            rules.pool(plan, "threads=15", "mod_wsgi: unless told otherwise")
        self._tell_parts()
        self._tell_interpreters()

    def _settle(self, name: str, daemon: _Daemon, walled: bool) -> None:
        """What the applications of a group have each."""
        plan = self.plan
        for location, group in daemon.members:
            if walled:
                location.set("wsgi_process", name, source=group.source)
            else:
                plan.spare(group, "its processes are nginx's workers")
            for line in daemon.plan.applications.lines:
                if location.find(line.name.replace("*", "wsgi")) is None:
                    location.lines.append(line)
        if not walled and not daemon.options:
            plan.spare(daemon.setting, "the processes are nginx's")

    def _chosen(
        self,
        script: Node,
        found: list[tuple[tuple[Node, ...], Node]],
        option: str,
        directive: str,
    ) -> Setting | None:
        """The option of an application's alias, or the directive that is nearest to it."""
        for word in script.arguments[2:]:
            key, _, value = word.partition("=")
            if key == option:
                return Setting(key, value, script.origin, word)
        best: tuple[tuple[int, int], Node] | None = None
        for section, node in found:
            rank = _rank(section, script)
            if node.name.lower() == directive.lower() and rank and node.arguments:
                best = (rank, node) if best is None or rank >= best[0] else best
        return _of(best[1]) if best else None

    def _tell_parts(self) -> None:
        """Each WSGIProcessGroup for a part of an application, or for something else."""
        for section, node in self.chosen:
            inner = [each for each in section if each.name.lower() != "virtualhost"]
            if inner and all(node is not each for each in self.of_applications):
                where = " ".join(inner[-1].arguments)
                name = " ".join(node.arguments)
                self.plan.leave(
                    _of(node),
                    f"is for {where} alone: write a `location` with the same `wsgi_app`, and "
                    f"`wsgi_process {name};`",
                )

    def _interpreter(self, name: str, chosen: Setting | None, script: Node, host: str) -> None:
        text = str(chosen.value) if chosen else "%{RESOURCE}"
        if text == "%{RESOURCE}":
            text = os.path.normpath(script.arguments[1])
        elif text == "%{SERVER}":
            text = host
        self.interpreters.setdefault(name, {}).setdefault(text, _of(script))

    def _tell_interpreters(self) -> None:
        for known in self.interpreters.values():
            if len(known) > 1:
                shown = ", ".join(setting.source for setting in known.values())
                self.plan.notes.append(
                    f"{shown}: had an interpreter each (WSGIApplicationGroup), and share one here: "
                    "two Django projects, or modules of one name, need a `python_process` each"
                )


def _limit_data(part: Plan) -> None:
    """`memory-limit` is RLIMIT_DATA, which each group can have for itself."""
    line = part.http.find("python_memory_limit")
    if line is not None:
        part.http.lines.remove(line)
        size = line.arguments[0].partition("=")[2]
        part.process.set("rlimit_data", size, source="; ".join(line.sources))


def _apply(part: Plan, setting: Setting) -> None:
    part.seen.append(setting)
    option = DAEMON.by_name.get(setting.name)
    if option is None:
        part.unknown.append(setting)
        return
    try:
        option.rule(part, setting)
    except (ConversionError, ValueError) as error:
        where = "" if str(error).startswith(setting.source) else f"{setting.source}: "
        raise ConversionError(f"{where}{error}") from None


def _of(node: Node) -> Setting:
    return Setting(node.name, " ".join(node.arguments), node.origin, node.text)


def _rank(section: tuple[Node, ...], script: Node) -> tuple[int, int] | None:
    """How near sections are to an application, in Apache's order; None if they are not for it."""
    rank = (0, 0)
    for node in section:
        kind, argument = node.name.lower(), node.arguments[0] if node.arguments else ""
        if kind == "virtualhost":
            rank = max(rank, (1, 0))
        elif kind == "directory":
            if not _is_below(script.arguments[1], argument):
                return None
            rank = max(rank, (2, len(argument.rstrip("/"))))
        elif kind == "files":
            if os.path.basename(script.arguments[1]) != argument:
                return None
            rank = max(rank, (3, 0))
        elif kind == "location":
            if not _is_below(script.arguments[0], argument):
                return None
            rank = max(rank, (4, 0))
        else:
            return None
    return rank


def _is_below(path: str, folder: str) -> bool:
    folder = folder.rstrip("/")
    return path.rstrip("/") == folder or path.startswith(f"{folder}/")


def with_sections(
    nodes: Sequence[Node], inside: tuple[Node, ...] = ()
) -> list[tuple[tuple[Node, ...], Node]]:
    """Each directive, with the sections that it is in."""
    found: list[tuple[tuple[Node, ...], Node]] = []
    for node in nodes:
        if node.is_section:
            found += with_sections(node.children, (*inside, node))
        else:
            found.append((inside, node))
    return found
