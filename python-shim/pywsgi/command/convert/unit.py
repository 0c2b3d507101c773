"""NGINX Unit: the JSON of its control API."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ..nginx_conf import literal
from . import rules
from .option import is_off
from .plan import ConversionError, Listen, Location, Plan, Server, Setting
from .target import protocol_of, target
from .unit_json import Reader
from .unit_options import TABLE, WHOLE


def convert(file: Path, folder: Path) -> Plan:
    plan = Plan("NGINX Unit", folder)
    try:
        _Converter(plan, Reader(file)).convert()
    except (AttributeError, KeyError, TypeError) as error:
        # A string where Unit has an object, or an application without its module.
        raise ConversionError(f"{file.name} is no valid configuration of Unit: {error}") from None
    return plan


class _Converter:
    def __init__(self, plan: Plan, reader: Reader) -> None:
        self.plan, self.reader = plan, reader
        self.threads = 0
        values = reader.values
        self.applications: dict[str, Any] = values.get("applications", {})
        self.routes: Any = values.get("routes", [])
        self.upstreams: dict[str, Any] = values.get("upstreams", {})

    def convert(self) -> None:
        values, plan = self.reader.values, self.plan
        known = ("listeners", "routes", "applications", "settings", "access_log", "upstreams")
        for key in values:
            if key not in known:
                plan.unknown.append(self.reader.setting([key], values[key]))
        for name, application in self.applications.items():
            self.application(name, application)
        self.processes()
        for name, upstream in self.upstreams.items():
            plan.upstream(
                name, upstream.get("servers", {}), self.reader.setting(["upstreams", name], "")
            )
        self.settings(values.get("settings", {}), ["settings"])
        self.large()
        for address, listener in values.get("listeners", {}).items():
            self.listener(address, listener)
        if not plan.servers:
            raise ConversionError(f"{self.reader.shown} has no listeners")
        self.access_log(values.get("access_log"))
        if plan.http.find("client_max_body_size") is None:
            plan.http.add("client_max_body_size", "8m", source="NGINX Unit: unless told otherwise")

    # Applications: what all of nginx has of them

    def application(self, name: str, values: dict[str, Any]) -> None:
        path = ["applications", name]
        if not str(values.get("type", "")).startswith("python"):
            self.plan.leave(
                self.reader.setting([*path, "type"], values.get("type")),
                "is no Python: keep it in Unit, and write `proxy_pass` to it",
            )
            return
        for key, value in values.items():
            setting = self.reader.setting([*path, key], value)
            if key in ("processes", "limits") and isinstance(value, dict):
                for inner, number in value.items():
                    self.part(f"applications.{key}.{inner}", [*path, key, inner], number)
            else:
                self.part(f"applications.{key}", [*path, key], value)
                self.common(key, setting)

    def part(self, option: str, path: list[str], value: object) -> None:
        """A setting that has a rule of its own, or is looked up where it is needed."""
        setting = self.reader.setting(path, value)
        # Each variable of the environment is a setting of its own, and each of a target.
        if option == "applications.targets" and isinstance(value, dict):
            for name, each in value.items():
                for key in each:
                    self.plan.seen.append(self.reader.setting([*path, name, key], each[key]))
        elif option != "applications.environment":
            self.plan.seen.append(setting)
        known = TABLE.by_name.get(option)
        if known is None:
            self.plan.unknown.append(setting)
        elif known.here:
            self.plan.keep(setting, "/".join(path))
        elif option not in ("applications.type",):
            known.rule(self.plan, setting)
        if option == "applications.type":
            self.plan.spare(setting, "the Python is that of the module")

    def common(self, key: str, setting: Setting) -> None:
        """What is one for all of nginx: two applications may not differ in it."""
        plan, value = self.plan, setting.value
        if key == "path":
            paths = value if isinstance(value, list) else [value]
            folders = [plan.path(each) for each in paths]
            plan.http.extend("python_path", *folders, source=setting.source)
        elif key == "home":
            self.once("python_home", plan.path(value), setting)
        elif key == "working_directory":
            self.once("python_working_directory", plan.path(value), setting)
        elif key == "environment" and isinstance(value, dict):
            for name, each in value.items():
                one = self.reader.setting([*setting.name.split("/"), name], each)
                self.variable(f"{name}={each}", one)
        elif key == "threads":
            # The most that an application asks for.
            if rules.number(setting, 1) > self.threads:
                self.threads = rules.number(setting, 1)
                rules.threads(plan, setting)
            else:
                plan.spare(setting, "another application has as many: they share the pool")
        elif key == "group" and "user" not in self.applications[setting.name.split("/")[1]]:
            plan.leave(setting, "a group without a user: write `user NAME GROUP;`")
        elif key == "thread_stack_size":
            rules.pool(plan, f"stack={rules.bytes_of(rules.natural(setting))}", setting.source)
        elif key == "user":
            line = plan.main.find("user")
            if line is not None and line.arguments[0] != str(value):
                plan.leave(setting, f"one user is for all: it is {line.arguments[0]}")
            elif line is None:
                group = self.applications[setting.name.split("/")[1]].get("group")
                arguments = [str(value), *([str(group)] if group else [])]
                source = setting.source
                if group:
                    path = [*setting.name.split("/")[:2], "group"]
                    source += f"; {self.reader.setting(path, group).source}"
                plan.main.set("user", *arguments, source=source)

    def once(self, name: str, value: str, setting: Setting) -> None:
        line = self.plan.http.find(name)
        if line is None:
            self.plan.http.add(name, value, source=setting.source)
        elif line.arguments == (value,):
            line.sources.append(setting.source)
        else:
            why = f"one is for all: {name} is {line.arguments[0]}; run an nginx of its own"
            self.plan.leave(setting, why)

    def variable(self, pair: str, setting: Setting) -> None:
        name = pair.partition("=")[0]
        for line in self.plan.http.lines:
            if line.name == "python_env" and line.arguments[0].startswith(f"{name}="):
                if line.arguments[0] != pair:
                    why = "the environment is one for all, and another application sets it as well"
                    self.plan.leave(setting, why)
                return
        self.plan.http.add("python_env", pair, source=setting.source)

    def processes(self) -> None:
        """The most that any application has."""
        most, source, requests = 0, "", None
        threads = False
        for name, values in self.applications.items():
            processes = values.get("processes", 1)
            path = ["applications", name, "processes"]
            if isinstance(processes, dict):
                processes, path = processes.get("max", 1), [*path, "max"]
            if processes > most:
                told = "processes" in values
                most = processes
                source = (
                    self.reader.setting(path, processes).source
                    if told
                    else "one, unless told otherwise"
                )
            limits = values.get("limits", {})
            if "requests" in limits:
                requests = self.reader.setting(
                    ["applications", name, "limits", "requests"], limits["requests"]
                )
            threads = threads or "threads" in values
        if most:
            self.plan.main.set("worker_processes", str(most), source=source)
        if requests is not None:
            self.plan.http.set("python_max_requests", str(requests.value), source=requests.source)
        if self.applications and not threads:
            rules.pool(self.plan, "threads=1", "NGINX Unit: one, unless told otherwise")

    def settings(self, values: dict[str, Any], path: list[str]) -> None:
        for key, value in values.items():
            here = [*path, key]
            option = ".".join(here)
            if isinstance(value, dict) and option not in WHOLE:
                self.settings(value, here)
                continue
            setting = self.reader.setting(here, value)
            self.plan.seen.append(setting)
            known = TABLE.by_name.get(option)
            if known is None:
                self.plan.unknown.append(setting)
            else:
                known.rule(self.plan, setting)

    def large(self) -> None:
        size, count = self.plan.facts.get("large"), self.plan.facts.get("large_count")
        if size is None and count is None:
            return
        arguments = [str(count.value) if count else "4", str(size.value) if size else "8k"]
        source = "; ".join(each.source for each in (size, count) if each)
        self.plan.http.set("large_client_header_buffers", *arguments, source=source)

    def access_log(self, value: Any) -> None:
        if value is None:
            for server in self.plan.servers:
                server.default(
                    "access_log", "off", source="NGINX Unit: no access log, unless told otherwise"
                )
            return
        setting = self.reader.setting(["access_log"], value)
        path = value if isinstance(value, str) else value.get("path")
        self.plan.http.set("access_log", self.plan.file(path), source=setting.source)
        if isinstance(value, dict):
            for key in value.keys() - {"path"}:
                one = self.reader.setting(["access_log", key], value[key])
                if key == "format":
                    self.plan.leave(one, "write a `log_format`, and its name behind `access_log`")
                elif key == "if":
                    self.plan.leave(one, "write `access_log … if=$variable` with a `map`")
                else:
                    self.plan.unknown.append(one)

    # Listeners and routes

    def listener(self, address: str, values: dict[str, Any]) -> None:
        plan = self.plan
        path = ["listeners", address]
        setting = self.reader.setting(path, address)
        listen = Listen(rules.address(plan, address, 80), setting.origin + f": listener {address}")
        base = Server(listen.source)
        for key, value in values.items():
            self.listener_option(base, listen, [*path, key], key, value)
        passed = values.get("pass")
        if passed is None:
            passed = f"applications/{values.get('application', '')}"
        servers: dict[tuple[str, ...], Server] = {}

        def server_of(hosts: tuple[str, ...], source: str) -> Server:
            if hosts not in servers:
                made = Server(base.source)
                made.lines = list(base.lines)
                parameters = list(listen.parameters)
                if not hosts and len(servers) > 0:
                    parameters.append("default_server")
                made.listens = [Listen(listen.address, listen.source, parameters, listen.tls)]
                if servers:
                    # What belongs to the address is said once.
                    made.listens[0].parameters = [
                        p for p in parameters if not p.startswith("backlog=")
                    ]
                if hosts:
                    made.set("server_name", *hosts, source=source)
                servers[hosts] = made
            return servers[hosts]

        if passed.split("/")[0] == "routes":
            steps, at = self.steps(passed)
            for number, step in enumerate(steps):
                self.step(server_of, step, [*at, str(number)])
        else:
            server = server_of((), "")
            self.action(server, server.location("/", setting.source), {"pass": passed}, path)
        if not servers:
            # As Unit does if no step matches.
            source = "no step is left, so that nothing is found"
            server_of((), source).location("/", source).set("return", "404", source=source)
        made = list(servers.values())
        if len(made) > 1 and () in servers:
            # The steps without a host are for every host.
            rest = servers[()]
            for server in made:
                for location in rest.locations:
                    if server is not rest and all(
                        each.path != location.path for each in server.locations
                    ):
                        server.locations.append(location)
        plan.servers += made

    def listener_option(
        self, server: Server, listen: Listen, path: list[str], key: str, value: Any
    ) -> None:
        plan = self.plan
        setting = self.reader.setting(path, value)
        if key in ("pass", "application"):
            return
        if key == "backlog":
            listen.parameters.append(f"backlog={value}")
        elif key == "tls":
            self.tls(server, path, value)
        elif key in ("forwarded", "client_ip"):
            for name, each in value.items():
                self.forwarded(name, self.reader.setting([*path, name], each))
        else:
            plan.unknown.append(setting)

    def forwarded(self, key: str, setting: Setting) -> None:
        plan, value, source = self.plan, setting.value, setting.source
        if key == "source":
            for each in value if isinstance(value, list) else [value]:
                plan.http.add("set_real_ip_from", each, source=source)
        elif key in ("client_ip", "header"):
            plan.http.set("real_ip_header", str(value), source=source)
        elif key == "recursive":
            plan.http.set("real_ip_recursive", rules.switch(plan, setting) or "off", source=source)
        elif key == "protocol":
            why = "write a `map` of it, and `wsgi_param HTTPS` (deploy/behind-a-proxy.conf)"
            plan.leave(setting, why)
        else:
            plan.unknown.append(setting)

    def tls(self, server: Server, path: list[str], values: dict[str, Any]) -> None:
        for key, value in values.items():
            setting = self.reader.setting([*path, key], value)
            source = setting.source
            if key == "certificate":
                names = value if isinstance(value, list) else [value]
                for name in names:
                    # Unit has it in its state; both parts are in one file.
                    file = literal(f"/etc/nginx/ssl/{name}.pem")
                    server.add("ssl_certificate", file, source=source)
                    server.add("ssl_certificate_key", file, source=source)
                    self.plan.leave(
                        setting, f"is in Unit's state: write the bundle {name} to {file}"
                    )
            elif key == "conf_commands":
                for name, each in value.items():
                    server.add("ssl_conf_command", name, str(each), source=source)
            elif key == "session":
                for name, each in value.items():
                    self.session(server, name, self.reader.setting([*path, key, name], each))
            else:
                self.plan.unknown.append(setting)

    def session(self, server: Server, key: str, setting: Setting) -> None:
        if key not in ("cache_size", "timeout", "tickets"):
            self.plan.unknown.append(setting)
        elif key == "timeout":
            value = rules.duration(setting.value)
            server.set("ssl_session_timeout", value, source=setting.source)
        elif key == "tickets":
            on = "off" if is_off(setting.value) else "on"
            server.set("ssl_session_tickets", on, source=setting.source)
        elif rules.natural(setting):
            server.set("ssl_session_cache", "shared:unit:1m", source=setting.source)
        else:
            self.plan.spare(setting, "is off")

    def steps(self, passed: str) -> tuple[list[dict[str, Any]], list[str]]:
        name = passed.partition("/")[2]
        if isinstance(self.routes, list):
            return self.routes, ["routes"]
        if name not in self.routes:
            raise ConversionError(f"{self.reader.shown} has no route {name!r}")
        return self.routes[name], ["routes", name]

    def step(self, server_of: Any, step: dict[str, Any], path: list[str]) -> None:
        match, action = step.get("match", {}), step.get("action", {})
        source = self.reader.setting(path, "").source
        hosts: tuple[str, ...] = ()
        where = host = source
        uris = ["*"]
        rest: list[tuple[str, tuple[str, ...]]] = []
        for key, value in match.items():
            values = value if isinstance(value, list) else [value]
            one = self.reader.setting([*path, "match", key], value)
            if key == "host" and not any(str(each).startswith("!") for each in values):
                hosts, host = tuple(_host(str(each)) for each in values), one.source
            elif key == "uri" and not any(str(each).startswith("!") for each in values):
                uris, where = [str(each) for each in values], one.source
            elif key == "source":
                source = one.source
                rest += [
                    ("deny", (each[1:],)) if each.startswith("!") else ("allow", (each,))
                    for each in map(str, values)
                ]
                if not any(str(each).startswith("!") for each in values):
                    rest.append(("deny", ("all",)))
            else:
                why = "a negation: write a `location` of its own"
                option = TABLE.by_name.get(f"match.{key}")
                if option is None:
                    self.plan.unknown.append(one)
                elif option.here:
                    self.plan.leave(one, why)
                else:
                    option.rule(self.plan, one)
                # A step that cannot be told apart is left out as a whole.
                self.plan.leave(self.reader.setting(path, action), "its step is left out")
                return
        server = server_of(hosts, host)
        for uri in uris:
            pattern = _location(uri)
            if any(each.path == pattern for each in server.locations):
                self.plan.leave(
                    self.reader.setting([*path, "match"], uri), "an earlier step has this path"
                )
                continue
            location = server.location(pattern, where)
            for name, arguments in rest:
                location.add(name, *arguments, source=source)
            self.action(server, location, action, [*path, "action"], uri)

    def action(
        self,
        server: Server,
        location: Location,
        action: dict[str, Any],
        path: list[str],
        uri: str = "*",
    ) -> None:
        plan = self.plan
        known = {
            "pass",
            "proxy",
            "return",
            "location",
            "response_headers",
            "share",
            "index",
            "fallback",
        }
        for key in action.keys() - known:
            option = TABLE.by_name.get(f"action.{key}")
            one = self.reader.setting([*path, key], action[key])
            if option is None:
                plan.unknown.append(one)
            else:
                option.rule(plan, one)
        if "pass" in action:
            self.passed(server, location, str(action["pass"]), [*path, "pass"])
        if "proxy" in action:
            setting = self.reader.setting([*path, "proxy"], action["proxy"])
            location.set("proxy_pass", str(action["proxy"]), source=setting.source)
        if "return" in action:
            setting = self.reader.setting([*path, "return"], action["return"])
            to = []
            if "location" in action:
                one = self.reader.setting([*path, "location"], action["location"])
                to = [self.template(str(action["location"]), one)]
            location.set("return", str(action["return"]), *to, source=setting.source)
        if "share" in action:
            self.share(server, location, action, path, uri)
        for key, needed in (("location", "return"), ("index", "share"), ("fallback", "share")):
            if key in action and needed not in action:
                one = self.reader.setting([*path, key], action[key])
                plan.spare(one, f"is nothing without {needed}")
        for name, value in (action.get("response_headers") or {}).items():
            setting = self.reader.setting([*path, "response_headers", name], value)
            if value is None:
                location.add(
                    f"{location.protocol or 'proxy'}_hide_header", name, source=setting.source
                )
            else:
                text = self.template(str(value), setting)
                location.add("add_header", name, text, "always", source=setting.source)

    def template(self, text: str, setting: Setting) -> str:
        """A text with Unit's variables as nginx's (nxt_http_register_variables)."""

        def variable(found: re.Match[str]) -> str:
            name = found[1] or found[2]
            if name == "dollar":
                return literal("$")
            for theirs, ours in _VARIABLES.items():
                if name == theirs or (theirs.endswith("_") and name.startswith(theirs)):
                    return f"${{{ours}{name.removeprefix(theirs)}}}"
            self.plan.leave(setting, f"nginx has no ${name}: write a `map` or another variable")
            return literal(found[0])

        if text.startswith("`"):
            self.plan.leave(setting, "is JavaScript: write it with njs, `js_set`")
            return literal(text)
        return re.sub(r"\$(?:\{(\w+)\}|(\w+))", variable, text)

    def share(
        self, server: Server, location: Location, action: dict[str, Any], path: list[str], uri: str
    ) -> None:
        plan = self.plan
        shares = action["share"] if isinstance(action["share"], list) else [action["share"]]
        setting = self.reader.setting([*path, "share"], action["share"])
        share = self.template(str(shares[0]), setting)
        for other in shares[1:]:
            plan.leave(self.reader.setting([*path, "share"], other), "write a `try_files` for it")
        if share.endswith("${uri}"):
            root = plan.path(share.removesuffix("${uri}") or "/")
            location.set("root", root, source=setting.source)
        elif "$" in share:
            plan.leave(setting, "write an `alias` with these variables")
            location.set("return", "404", source=setting.source)
        elif location.path.startswith("= ") or not share.endswith("/"):
            location.set("alias", plan.path(share), source=setting.source)
        else:
            location.set("root", plan.path(share), source=setting.source)
        if "index" in action:
            one = self.reader.setting([*path, "index"], action["index"])
            location.set("index", str(action["index"]), source=one.source)
        if "fallback" in action:
            one = self.reader.setting([*path, "fallback"], "")
            name = f"@fallback{len([each for each in server.locations if each.path[0] == '@'])}"
            location.set("try_files", "$uri", name, source=one.source)
            self.action(
                server, server.location(name, one.source), action["fallback"], [*path, "fallback"]
            )

    def passed(self, server: Server, location: Location, to: str, path: list[str]) -> None:
        kind, _, name = to.partition("/")
        setting = self.reader.setting(path, to)
        if kind == "upstreams":
            location.set("proxy_pass", f"http://{name}", source=setting.source)
        elif kind != "applications" or "$" in to:
            self.plan.leave(setting, "write a `location` for it")
            location.set("return", "404", source=setting.source)
        else:
            self.to_application(location, name, setting)

    def to_application(self, location: Location, name: str, setting: Setting) -> None:
        name, _, part = name.partition("/")
        values = self.applications.get(name)
        if values is None:
            raise ConversionError(f"{setting.source}: there is no application {name!r}")
        if not str(values.get("type", "")).startswith("python"):
            location.set("return", "502", source=f"{setting.source}: {name} is no Python")
            return
        chosen = values["targets"][part] if part else values
        what = ["applications", name, *(["targets", part] if part else [])]
        module = self.reader.setting([*what, "module"], chosen["module"])
        called = chosen.get("callable")
        place = str(chosen["module"])
        protocol = values.get("protocol") or protocol_of(self.plan, place, called)
        if protocol not in ("wsgi", "asgi"):
            raise ConversionError(f"{setting.source}: its protocol is {protocol!r}: wsgi or asgi")
        location.protocol = protocol
        named = [key for key in ("callable", "factory") if key in chosen]
        sources = [self.reader.setting([*what, key], chosen[key]) for key in named]
        if "protocol" in values:
            path = ["applications", name, "protocol"]
            sources.append(self.reader.setting(path, values["protocol"]))
        source = "; ".join(each.source for each in (setting, module, *sources))
        text = target(place, called or "application", call=bool(chosen.get("factory")))
        location.set(f"{protocol}_app", text, source=source)
        prefix = chosen.get("prefix")
        if prefix:
            one = self.reader.setting([*what, "prefix"], prefix)
            location.set(f"{protocol}_script_name", str(prefix).rstrip("/"), source=one.source)
        timeout = values.get("limits", {}).get("timeout")
        if timeout:
            one = self.reader.setting(["applications", name, "limits", "timeout"], timeout)
            location.set(f"{protocol}_timeout", f"{timeout}s", source=one.source)


# Those that end in _ are families.
_VARIABLES = {
    "host": "host",
    "uri": "uri",
    "request_uri": "request_uri",
    "method": "request_method",
    "remote_addr": "remote_addr",
    "request_line": "request",
    "request_id": "request_id",
    "request_time": "request_time",
    "time_local": "time_local",
    "status": "status",
    "body_bytes_sent": "body_bytes_sent",
    "arg_": "arg_",
    "cookie_": "cookie_",
    "header_": "http_",
    "response_header_": "sent_http_",
}


def _host(pattern: str) -> str:
    """A host with Unit's `*` as nginx's server_name."""
    if pattern.startswith("~"):
        return pattern
    if "*" not in pattern or re.fullmatch(r"\*\.[^*]+|[^*]+\.\*", pattern):
        return pattern
    return "~^" + re.escape(pattern).replace(r"\*", ".*") + "$"


def _location(pattern: str) -> str:
    """A path with Unit's `*` as nginx's location."""
    if pattern.startswith("~"):
        return f"~ {pattern[1:]}"
    if "*" not in pattern:
        return f"= {pattern}"
    if pattern == "*":
        return "/"
    if pattern.index("*") == len(pattern) - 1:
        return pattern[:-1]
    return "~ ^" + re.escape(pattern).replace(r"\*", ".*") + "$"
