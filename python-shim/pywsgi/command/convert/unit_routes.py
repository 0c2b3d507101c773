"""NGINX Unit's routes: the locations, and what they answer with."""

from __future__ import annotations

import re
from typing import Any

from ..nginx_conf import literal
from .plan import ConversionError, Location, Plan, Server, Setting
from .unit_applications import Applications
from .unit_json import Reader
from .unit_options import TABLE


class Routes:
    def __init__(self, plan: Plan, reader: Reader, routes: Any, applications: Applications) -> None:
        self.plan, self.reader = plan, reader
        self.routes, self.applications = routes, applications

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
            self.applications.serve(location, name, setting)


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
