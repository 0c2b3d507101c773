"""What a configuration of another server becomes: servers, locations, and what has no counterpart.

Each source format fills in a `Plan`; `render` makes the nginx.conf of it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..nginx_conf import LONGEST_LINE, Directive, comment, literal, render, with_dollar


class ConversionError(Exception):
    """The source cannot be converted; the message says what to do."""


@dataclass(frozen=True)
class Setting:
    """One setting of the source: its name and value there, and where it is."""

    name: str
    value: object
    # "gunicorn.conf.py:4", or "command line".
    origin: str
    # As it is written there: "workers = cpu_count() * 2 + 1".
    text: str

    @property
    def source(self) -> str:
        """What a comment says of the setting."""
        return f"{self.origin}: {self.text}"


@dataclass
class Line:
    """A directive, and the sources that it comes from."""

    name: str
    arguments: tuple[str, ...]
    sources: list[str]


class Block:
    """The directives of one context, in the order in which they come."""

    def __init__(self) -> None:
        self.lines: list[Line] = []

    def find(self, name: str, *first: str) -> Line | None:
        """The directive of this name, whose first arguments are `first`."""
        for line in self.lines:
            if line.name == name and line.arguments[: len(first)] == first:
                return line
        return None

    def set(self, name: str, *arguments: str, source: str) -> None:
        """Sets a directive that can be there once: the last value is in force, as in the source."""
        line = self.find(name)
        if line is None:
            self.add(name, *arguments, source=source)
        else:
            line.arguments, line.sources = tuple(map(str, arguments)), [source]

    def default(self, name: str, *arguments: str, source: str) -> None:
        """Sets a directive that nothing has set."""
        if self.find(name) is None:
            self.add(name, *arguments, source=source)

    def add(self, name: str, *arguments: object, source: str) -> None:
        """Adds a directive that can be there several times."""
        # JSON and TOML have numbers where a text is wanted.
        self.lines.append(Line(name, tuple(map(str, arguments)), [source]))

    def extend(self, name: str, *arguments: str, source: str) -> None:
        """Adds arguments to a directive that takes several of them."""
        line = self.find(name)
        if line is None:
            self.add(name, *arguments, source=source)
            return
        line.arguments += tuple(each for each in arguments if each not in line.arguments)
        if source not in line.sources:
            line.sources.append(source)


@dataclass
class Listen:
    """An address, and the parameters of `listen` besides `ssl`."""

    address: str
    source: str
    parameters: list[str] = field(default_factory=list)
    # False: without TLS, whatever the server has.
    tls: bool | None = None

    @property
    def is_unix(self) -> bool:
        return self.address.startswith("unix:")


class Location(Block):
    """A location. Directives of both protocols are written as `*_timeout`."""

    def __init__(self, path: str, source: str) -> None:
        super().__init__()
        self.path, self.source = path, source
        # wsgi or asgi; empty without an application.
        self.protocol = ""

    @property
    def arguments(self) -> tuple[str, ...]:
        """The modifier, if there is one, and the path, which may have spaces in it."""
        found = re.fullmatch(r"(=|~\*?|\^~) (.*)", self.path, re.DOTALL)
        return (found[1], found[2]) if found else (self.path,)


class Server(Block):
    """A server. What its applications have in common stays in `applications`."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.source = source
        self.listens: list[Listen] = []
        self.locations: list[Location] = []
        self.applications = Block()

    def location(self, path: str, source: str) -> Location:
        """The location of this path, made if it is not there."""
        for location in self.locations:
            if location.path == path:
                return location
        location = Location(path, source)
        self.locations.append(location)
        return location


@dataclass(frozen=True)
class Left:
    """A setting that becomes no line, and why."""

    setting: Setting
    why: str

    @property
    def text(self) -> str:
        return f"{self.setting.source}: {self.why}"


class Plan:
    """The nginx.conf to be."""

    def __init__(self, system: str, folder: Path) -> None:
        # The server that the source is for.
        self.system = system
        # The folder that it is started in: relative paths begin there.
        self.folder = folder
        # The setting that says so, if one does.
        self.folder_source = ""
        self.main, self.events, self.http = Block(), Block(), Block()
        # The parameters of `python_process` that workers have no directive for.
        self.process = Block()
        # Who says each parameter of the pool `default`.
        self.of_pool: dict[str, str] = {}
        self.servers: list[Server] = []
        # Settings that only make sense together, by the name that the table gives them.
        self.facts: dict[str, Setting] = {}
        self.all_facts: dict[str, list[Setting]] = {}
        # Every setting that the source has: none is left out silently.
        self.seen: list[Setting] = []
        self.needless: list[Left] = []
        self.left: list[Left] = []
        self.unknown: list[Setting] = []
        # What the user has to know besides.
        self.notes: list[str] = []
        self.upstreams: list[tuple[str, Block, str]] = []
        # The addresses of the proxies whose headers are believed, and who says so.
        self.proxies: list[str] = []
        self.proxies_source = ""
        # nginx stays in the foreground, because the source is for what supervises it.
        self.supervised = False

    @property
    def server(self) -> Server:
        """The one server of a source that has only one."""
        if not self.servers:
            self.servers.append(Server(self.system))
        return self.servers[0]

    @property
    def applications(self) -> Block:
        """What applies to all applications of that server."""
        return self.server.applications

    def keep(self, setting: Setting, name: str) -> None:
        self.facts[name] = setting
        self.all_facts.setdefault(name, []).append(setting)

    def leave(self, setting: Setting, why: str) -> None:
        self.left.append(Left(setting, why))

    def spare(self, setting: Setting, why: str) -> None:
        self.needless.append(Left(setting, why))

    def path(self, value: object) -> str:
        """An absolute path: nginx's own folder is another one than the source's."""
        return os.path.normpath(self.folder / os.path.expanduser(str(value)))

    def file(self, value: object) -> str:
        """The same for a directive that takes variables: `$` in a name is none."""
        return literal(self.path(value))

    def upstream(self, name: str, servers: dict[str, dict[str, int]], setting: Setting) -> None:
        """Servers that requests are passed to."""
        block = Block()
        for address, values in servers.items():
            weight = [f"weight={values['weight']}"] if "weight" in values else []
            block.add("server", address, *weight, source=setting.source)
        self.upstreams.append((name, block, setting.source))

    def application(
        self, target: str, protocol: str, source: str, *, path: str = "/", prefix: str = ""
    ) -> Location:
        """The location of an application, mounted below `prefix`."""
        prefix = "/" + prefix.strip("/") if prefix.strip("/") else ""
        location = self.server.location(f"{prefix}/" if prefix else path, source)
        location.protocol = protocol
        location.set(f"{protocol}_app", target, source=source)
        if prefix:
            location.set(f"{protocol}_script_name", prefix, source=source)
        return location


def directives(plan: Plan) -> list[Directive]:
    """The nginx.conf as the model that all of `pywsgi` shares."""
    needed = "every nginx.conf needs it"
    plan.main.default(
        "worker_processes", "1", source=f"{plan.system}: one process, unless told otherwise"
    )
    if plan.supervised:
        plan.main.default("daemon", "off", source="its supervisor expects it in the foreground")
    first = Directive(
        "load_module",
        ("modules/ngx_http_pywsgi_module.so",),
        comment="unless the package's modules-enabled has it",
    )
    http = [
        Directive("include", ("mime.types",), comment="the types of static files; nginx has it"),
        *_lines(plan.http),
        *_scheme(plan),
        *(
            Directive("upstream", (name,), block=tuple(_lines(block)), comment=source)
            for name, block, source in plan.upstreams
        ),
        *(_server(plan, server) for server in plan.servers),
    ]
    return [
        first,
        *_lines(plan.main),
        Directive("events", (), block=tuple(_lines(plan.events)), comment=needed),
        Directive("http", (), block=with_dollar(http), comment=needed),
    ]


def text(plan: Plan) -> str:
    """The whole file: the directives, and what is not in them."""
    made = directives(plan)
    _account(plan, made)
    parts = [render(made)]
    if plan.unknown:
        names = [setting.source for setting in plan.unknown]
        parts.append(_section(f"Unknown to pywsgi convert as options of {plan.system}:", names))
    if plan.left:
        lines = [left.text for left in plan.left]
        parts.append(_section("Has no counterpart here:", lines))
    if plan.notes:
        parts.append(_section("To be looked at:", plan.notes))
    if plan.needless:
        lines = [left.text for left in plan.needless]
        parts.append(_section("Needs no line:", lines))
    return "\n".join(parts)


def _account(plan: Plan, made: list[Directive]) -> None:
    """Names the settings that no line and no reason names, because another one is stronger."""
    # Several sources are in one comment: "-w 4" is not the beginning of "-w 40".
    told = "\n".join(f"; {comment}; " for comment in _comments(made))
    named = {left.setting.source for left in (*plan.left, *plan.needless)}
    named |= {setting.source for setting in plan.unknown}
    for setting in plan.seen:
        if f"; {setting.source}; " not in told and setting.source not in named:
            why = "changes nothing: another setting is stronger, or nothing uses it"
            plan.spare(setting, why)


def _comments(made: Sequence[Directive]) -> list[str]:
    return [
        text
        for directive in made
        for text in (directive.comment or "", *_comments(directive.block or ()))
    ]


def _section(title: str, lines: list[str]) -> str:
    shown = [title, *("  " + line.replace("\n", " ") for line in lines)]
    return "".join(f"{each}\n" for line in shown for each in comment(line, width=LONGEST_LINE))


def _lines(block: Block, protocol: str = "") -> list[Directive]:
    made = []
    for line in block.lines:
        name = line.name.replace("*", protocol) if protocol else line.name
        made.append(Directive(name, line.arguments, comment="; ".join(line.sources)))
    return made


def _scheme(plan: Plan) -> list[Directive]:
    """$forwarded_https: "on" if a trusted proxy says that the client has used TLS."""
    if not plan.proxies:
        return []
    source = plan.proxies_source

    def entry(*words: str) -> Directive:
        return Directive(words[0], words[1:], comment=source)

    everybody = "0.0.0.0/0" in plan.proxies
    key = "$http_x_forwarded_proto" if everybody else "$from_proxy:$http_x_forwarded_proto"
    on = "https" if everybody else "1:https"
    found = Directive(
        "map",
        (key, "$forwarded_https"),
        block=(entry("default", ""), entry(on, "on")),
        comment=source,
    )
    if everybody:
        return [found]
    # geo takes a Unix socket for this address.
    networks = ["255.255.255.255" if each == "unix:" else each for each in plan.proxies]
    known = Directive(
        "geo",
        ("$realip_remote_addr", "$from_proxy"),
        block=(entry("default", "0"), *(entry(network, "1") for network in networks)),
        comment=source,
    )
    return [known, found]


def _server(plan: Plan, server: Server) -> Directive:
    tls = server.find("ssl_certificate") is not None
    lines = []
    for listen in server.listens:
        secure = tls if listen.tls is None else listen.tls
        parameters = [*(["ssl"] if secure else []), *listen.parameters]
        lines.append(Directive("listen", (listen.address, *parameters), comment=listen.source))
    lines += _lines(server)
    for location in server.locations:
        if location.protocol:
            _inherit(plan, location, server.applications)
        block = tuple(_lines(location, location.protocol))
        lines.append(
            Directive("location", location.arguments, block=block, comment=location.source)
        )
    return Directive("server", (), block=tuple(lines), comment=server.source)


def _inherit(plan: Plan, location: Location, common: Block) -> None:
    """What all applications of a server have, as far as it is for this one's protocol."""
    other = "asgi_" if location.protocol == "wsgi" else "wsgi_"
    for line in common.lines:
        if line.name.startswith(other):
            why = f"it is for {other[:-1].upper()}, and this application is not"
            origin, _, shown = line.sources[0].partition(": ")
            setting = Setting(line.name, line.arguments, origin, shown)
            if all(left.setting != setting for left in plan.needless):
                plan.spare(setting, why)
        elif line.name.endswith(("_param", "add_header")) or location.find(line.name) is None:
            location.lines.append(line)
