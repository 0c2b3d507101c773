"""Apache with mod_wsgi: httpd.conf, or a site of sites-available."""

from __future__ import annotations

import os
import re
from pathlib import Path

from . import apache_directives, listening, rules
from .apache import Node, parse
from .mod_wsgi_daemons import Daemons, with_sections
from .mod_wsgi_options import APACHE_REASONS, TABLE, authorization
from .plan import ConversionError, Left, Listen, Location, Plan, Server, Setting


def _setting(node: Node) -> Setting:
    return Setting(node.name, " ".join(node.arguments), node.origin, node.text)


def convert(file: Path, folder: Path) -> Plan:
    plan = Plan("mod_wsgi", folder)
    _Converter(plan).convert(parse(file), file)
    return plan


class _Converter:
    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.apache = apache_directives.Directives(plan)
        # The directives outside of all virtual hosts.
        self.top: list[Node] = []
        self.listens: list[Node] = []
        self.daemons = Daemons(plan)

    def convert(self, nodes: list[Node], file: Path) -> None:
        skipped: list[Node] = []
        flat = _flat(nodes, skipped)
        for node in _deep(skipped):
            if not node.is_section:
                self.plan.spare(_setting(node), "is for an Apache without that module")
        hosts = [node for node in flat if node.is_section and node.name.lower() == "virtualhost"]
        self.top = [node for node in flat if node not in hosts]
        self.listens = [node for node in self.top if node.name.lower() == "listen"]
        every = [*self.top, *(inner for host in hosts for inner in host.children)]
        scripts = [node for node in _deep(every) if node.name.lower().startswith("wsgiscriptalias")]
        if not scripts:
            raise ConversionError(f"{file.name} has no WSGIScriptAlias")
        self.daemons.define(_deep(every))
        of_top = any(node.name.lower().startswith("wsgiscriptalias") for node in _deep(self.top))
        if of_top or not hosts:
            self.server(None, self.top)
        else:
            self.common(self.top)
        for host in hosts:
            self.server(host, host.children)
        plan = self.plan
        if "group" in plan.facts and plan.main.find("user") is None:
            rules.user(plan)
        self.daemons.convert()
        plan.http.default("client_max_body_size", "1g", source="Apache: unless told otherwise")

    def common(self, nodes: list[Node]) -> None:
        """What stands outside of the virtual hosts, and is for all of them."""
        server = Server("")
        self.plan.servers.insert(0, server)
        self.directives(nodes, server)
        self.plan.servers.remove(server)
        self.shared = server

    shared: Server | None = None

    def server(self, host: Node | None, nodes: list[Node]) -> None:
        source = f"{host.origin}: {host.text}" if host else "Apache's main server"
        server = Server(source)
        # What is for the one server that rules know is for this one.
        self.plan.servers.insert(0, server)
        if self.shared is not None and host is not None:
            server.lines = [line for line in self.shared.lines if line.name != "server_name"]
            server.applications.lines = list(self.shared.applications.lines)
        scripts = self.directives(nodes, server)
        inherited = [host] if host else []
        self.daemons.place([*self.top, *inherited], scripts, source)
        self.plan.servers.remove(server)
        self.plan.servers.append(server)
        self.listen(server, host)

    def listen(self, server: Server, host: Node | None) -> None:
        if host is None:
            for node in self.listens:
                server.listens.append(
                    Listen(
                        listening.address(self.plan, node.arguments[0], 80), _setting(node).source
                    )
                )
            if not server.listens:
                server.listens.append(Listen("80", "Apache: unless told otherwise"))
            return
        for address in host.arguments:
            text = re.sub(r"^(?:\*|_default_)(?=:|$)", "", address) or ":80"
            server.listens.append(Listen(listening.address(self.plan, text, 80), server.source))

    # Directives

    def directives(self, nodes: list[Node], server: Server) -> list[tuple[Node, Location]]:
        """Converts them, and returns the applications among them."""
        locations: list[tuple[Node, Location]] = []
        for node in nodes:
            try:
                self.one(node, server, locations)
            except (IndexError, ValueError):
                raise ConversionError(
                    f"{node.origin}: {node.text}: its value is not understood"
                ) from None
            except ConversionError as error:
                where = "" if str(error).startswith(node.origin) else f"{node.origin}: "
                raise ConversionError(f"{where}{error}") from None
        self.objects(nodes, locations)
        return locations

    def one(self, node: Node, server: Server, locations: list[tuple[Node, Location]]) -> None:
        name, setting = node.name.lower(), _setting(node)
        if not node.is_section and name not in _LATER:
            self.plan.seen.append(setting)
        if node.is_section:
            self.section(node, server)
        elif name == "wsgiscriptalias":
            self.script(node, server, locations)
        elif name == "wsgiscriptaliasmatch":
            self.script_match(node, server, locations)
        elif name.startswith("wsgi"):
            self.wsgi(node, setting)
        elif name in apache_directives.BY_NAME:
            apache_directives.BY_NAME[name](self.apache, server, node, setting)
        elif name in APACHE_REASONS:
            why, is_needless = APACHE_REASONS[name]
            (self.plan.needless if is_needless else self.plan.left).append(Left(setting, why))
        else:
            self.plan.unknown.append(setting)

    def wsgi(self, node: Node, setting: Setting) -> None:
        plan, name = self.plan, node.name.lower()
        option = next((o for o in TABLE.options if o.names[0].lower() == name), None)
        if option is None:
            plan.unknown.append(setting)
        elif name == "wsgipassauthorization":
            authorization(plan, setting)
        elif name == "wsgierroroverride":
            if rules.truth(setting.value):
                plan.applications.set("*_intercept_errors", "on", source=setting.source)
            else:
                plan.spare(setting, "is off")
        elif name == "wsgiscriptreloading":
            if rules.truth(setting.value):
                plan.leave(setting, "write `python_reload touch FILE;` with the script's file")
            else:
                plan.spare(setting, "is off")
        elif name == "wsgitrustedproxies":
            rules.trusted(plan, Setting(setting.name, node.arguments, setting.origin, setting.text))
        elif name == "wsgitrustedproxyheaders":
            plan.spare(setting, "X-Forwarded-For and X-Forwarded-Proto are believed")
        elif name == "wsgislowrequests":
            if str(setting.value).lower() == "off":
                plan.spare(setting, "is off")
            else:
                plan.applications.set(
                    "*_slow_request", rules.duration(node.arguments[-1]), source=setting.source
                )
        elif name not in _LATER:
            option.rule(plan, setting)

    def section(self, node: Node, server: Server, only: str = "") -> None:
        """What is inside a <Directory> is for the whole server here, or says who may. only: the
        section says for which part."""
        if node.name.lower() in ("location", "locationmatch") and node.arguments != ["/"]:
            only = only or f"{' '.join(node.arguments)} alone: write a `location` with it"
        elif node.name.lower() in ("if", "elseif", "else"):
            only = only or f"what fulfils {node.text} alone: write an `if` or a `map`"
        for inner in node.children:
            name = inner.name.lower()
            if inner.is_section:
                self.section(inner, server, only)
            elif name in _LATER:
                continue
            elif only and _becomes_a_line(name):
                self.plan.leave(_setting(inner), f"is for {only}")
            elif name == "require" and [word.lower() for word in inner.arguments] != [
                "all",
                "granted",
            ]:
                self.plan.leave(_setting(inner), "write `allow`, `deny` or `auth_basic`")
            else:
                self.one(inner, server, [])

    def script(self, node: Node, server: Server, locations: list[tuple[Node, Location]]) -> None:
        setting = _setting(node)
        if len(node.arguments) < 2:
            raise ConversionError(f"{setting.source}: wants a path and a file")
        mount, file = node.arguments[:2]
        if file.endswith("/") or os.path.isdir(file):
            self.plan.leave(setting, "a folder of scripts: write a location for each file")
            return
        options = dict(word.partition("=")[::2] for word in node.arguments[2:])
        prefix = "/" + mount.strip("/") if mount.strip("/") else ""
        is_file = bool(re.search(r"\.\w+$", mount))
        location = server.location(f"{prefix}/" if not is_file else f"= {prefix}", setting.source)
        location.protocol = "wsgi"
        called = options.pop("callable-object", None)
        text = f"{self.plan.path(file)}:{called}" if called else self.plan.path(file)
        location.set("wsgi_app", text, source=setting.source)
        if prefix:
            location.set("wsgi_script_name", prefix, source=setting.source)
        if options.pop("pass-authorization", "On").lower() == "off":
            location.set("*_pass_authorization", "off", source=setting.source)
        for name, value in options.items():
            one = Setting(name, value, node.origin, f"{name}={value}")
            if name == "application-group":
                self.plan.spare(one, "a process has one interpreter")
            elif name == "process-group":
                self.plan.seen.append(one)
            else:
                self.plan.unknown.append(one)
        locations.append((node, location))

    def script_match(
        self, node: Node, server: Server, locations: list[tuple[Node, Location]]
    ) -> None:
        setting = _setting(node)
        pattern, file = node.arguments[:2]
        if "$" in file:
            self.plan.leave(
                setting, "the file's name has no captures: write a location for each file"
            )
            return
        location = server.location(f"~ {pattern}", setting.source)
        location.protocol = "wsgi"
        location.set("wsgi_app", self.plan.path(file), source=setting.source)
        locations.append((node, location))

    def objects(self, nodes: list[Node], locations: list[tuple[Node, Location]]) -> None:
        """WSGICallableObject, for a file or for all of them."""
        for section, node in with_sections(nodes):
            if not _names(node, "WSGICallableObject"):
                continue
            setting = _setting(node)
            files = [
                os.path.basename(each.arguments[0])
                for each in section
                if each.name.lower() == "files"
            ]
            for script, location in locations:
                if files and os.path.basename(script.arguments[1]) not in files:
                    continue
                line = location.find("wsgi_app")
                if line is not None and ":" not in line.arguments[0]:
                    line.arguments = (f"{line.arguments[0]}:{node.arguments[0]}",)
                    line.sources.append(setting.source)


def _becomes_a_line(name: str) -> bool:
    return name in apache_directives.BY_NAME or any(
        option.here and option.names[0].lower() == name for option in TABLE.options
    )


def _names(node: Node, name: str) -> bool:
    return node.name.lower() == name.lower()


def _flat(nodes: list[Node], skipped: list[Node]) -> list[Node]:
    """With what is in <IfModule>, <IfDefine> and <IfVersion>, as if what they name is there; what
    is for the contrary goes to `skipped`."""
    found = []
    for node in nodes:
        if node.is_section and node.name.lower() in ("ifmodule", "ifdefine", "ifversion"):
            if "".join(node.arguments).startswith("!"):
                skipped += node.children
            else:
                found += _flat(node.children, skipped)
        elif node.is_section:
            node.children = _flat(node.children, skipped)
            found.append(node)
        else:
            found.append(node)
    return found


def _deep(nodes: list[Node]) -> list[Node]:
    return [node for each in nodes for node in (each, *_deep(each.children))]


# What needs to know the applications.
_LATER = ("wsgidaemonprocess", "wsgiprocessgroup", "wsgicallableobject")
