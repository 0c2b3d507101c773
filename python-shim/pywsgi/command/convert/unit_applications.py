"""NGINX Unit's applications: what all of nginx has of them, and the locations that they serve."""

from __future__ import annotations

from typing import Any

from . import rules
from .plan import ConversionError, Location, Plan, Setting
from .target import protocol_of, target
from .unit_json import Reader
from .unit_options import TABLE


class Applications:
    def __init__(self, plan: Plan, reader: Reader, applications: dict[str, Any]) -> None:
        self.plan, self.reader, self.applications = plan, reader, applications
        self.threads = 0

    def convert(self) -> None:
        """Makes of them what nginx has once."""
        for name, application in self.applications.items():
            self.application(name, application)
        self.processes()

    def serve(self, location: Location, name: str, setting: Setting) -> None:
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
