"""NGINX Unit: the JSON of its control API."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .plan import ConversionError, Plan
from .unit_applications import Applications
from .unit_json import Reader
from .unit_listeners import Listeners
from .unit_options import TABLE, WHOLE
from .unit_routes import Routes


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

    def convert(self) -> None:
        values, plan = self.reader.values, self.plan
        known = ("listeners", "routes", "applications", "settings", "access_log", "upstreams")
        for key in values:
            if key not in known:
                plan.unknown.append(self.reader.setting([key], values[key]))
        applications = Applications(plan, self.reader, values.get("applications", {}))
        applications.convert()
        for name, upstream in values.get("upstreams", {}).items():
            plan.upstream(
                name, upstream.get("servers", {}), self.reader.setting(["upstreams", name], "")
            )
        self.settings(values.get("settings", {}), ["settings"])
        self.large()
        applications.listen_threads(plan.facts.get("listen_threads"))
        routes = Routes(plan, self.reader, values.get("routes", []), applications)
        listeners = Listeners(plan, self.reader, routes)
        for address, listener in values.get("listeners", {}).items():
            listeners.convert(address, listener)
        if not plan.servers:
            raise ConversionError(f"{self.reader.shown} has no listeners")
        self.access_log(values.get("access_log"))
        if plan.http.find("client_max_body_size") is None:
            plan.http.add("client_max_body_size", "8m", source="NGINX Unit: unless told otherwise")

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
