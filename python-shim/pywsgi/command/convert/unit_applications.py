"""NGINX Unit's applications: the processes that each has, and the locations that they serve."""

from __future__ import annotations

from typing import Any

from . import groups, rules
from .groups import Part
from .plan import ConversionError, Location, Plan, Setting
from .target import protocol_of, target
from .unit_json import Reader
from .unit_options import TABLE


class Applications:
    def __init__(self, plan: Plan, reader: Reader, applications: dict[str, Any]) -> None:
        self.plan, self.reader, self.applications = plan, reader, applications
        self.parts: dict[str, Part] = {}
        # Whether each has a `python_process`; an only one that needs none is in nginx's workers.
        self.walled = False

    def convert(self) -> None:
        for name, application in self.applications.items():
            self.application(name, application)
        parts = self.parts.values()
        self.walled = len(parts) > 1 or any(part.plan.process.lines for part in parts)
        for part in parts:
            if self.walled:
                groups.wall(part)
            else:
                self.plan.notes.append(
                    f"{part.source}: is the only application, which so runs in nginx's workers; "
                    f"`python_process {part.name} …;` and `wsgi_process {part.name};` give it "
                    "processes of its own"
                )
            groups.merge(self.plan, part.plan)

    def listen_threads(self, setting: Setting | None) -> None:
        """`listen_threads`: how many take the clients' connections."""
        plan = self.plan
        if not self.walled:
            if setting is not None:
                plan.leave(setting, "a worker has one event loop: see `worker_processes`")
        elif setting is not None:
            count = str(max(rules.natural(setting), 1))
            plan.main.set("worker_processes", count, source=setting.source)
        else:
            plan.main.default("worker_processes", "auto", source=groups.WORKERS)

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
        if self.walled:
            location.set(f"{protocol}_process", self.parts[name].name, source=setting.source)
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
        part = Plan(self.plan.system, self.plan.folder)
        taken = [known.name for known in self.parts.values()]
        source = self.reader.setting(path, "").source
        self.parts[name] = Part(groups.name_of(name, taken), part, source)
        for key, value in values.items():
            setting = self.reader.setting([*path, key], value)
            if key in ("processes", "limits", "isolation") and isinstance(value, dict):
                for inner, number in value.items():
                    self.part(part, f"applications.{key}.{inner}", [*path, key, inner], number)
            else:
                self.part(part, f"applications.{key}", [*path, key], value)
                self.common(part, key, setting, values)
        self.processes(part, name, values)

    def part(self, part: Plan, option: str, path: list[str], value: object) -> None:
        """A setting that has a rule of its own, or is looked up where it is needed."""
        setting = self.reader.setting(path, value)
        # Each variable of the environment is a setting of its own, and each of a target.
        if option == "applications.targets" and isinstance(value, dict):
            for name, each in value.items():
                for key in each:
                    part.seen.append(self.reader.setting([*path, name, key], each[key]))
        elif option != "applications.environment":
            part.seen.append(setting)
        known = TABLE.by_name.get(option)
        if known is None:
            part.unknown.append(setting)
        elif option == "applications.type":
            part.spare(setting, "the Python is that of the module")
        else:
            known.rule(part, setting)

    def common(self, part: Plan, key: str, setting: Setting, values: dict[str, Any]) -> None:
        """What all processes of an application have."""
        value = setting.value
        if key == "path":
            paths = value if isinstance(value, list) else [value]
            folders = [part.path(each) for each in paths]
            part.http.extend("python_path", *folders, source=setting.source)
        elif key == "home":
            part.http.set("python_home", part.path(value), source=setting.source)
        elif key == "working_directory":
            part.http.set("python_working_directory", part.path(value), source=setting.source)
        elif key == "environment" and isinstance(value, dict):
            for name, each in value.items():
                one = self.reader.setting([*setting.name.split("/"), name], each)
                part.http.add("python_env", f"{name}={each}", source=one.source)
        elif key == "threads":
            rules.threads(part, setting)
        elif key == "group" and "user" not in values:
            part.leave(setting, "a group without a user: write `user NAME GROUP;`")
        elif key == "thread_stack_size":
            rules.pool(part, f"stack={rules.bytes_of(rules.natural(setting))}", setting.source)
        elif key == "user":
            arguments, source = [str(value)], setting.source
            if values.get("group"):
                arguments.append(str(values["group"]))
                path = [*setting.name.split("/")[:2], "group"]
                source += f"; {self.reader.setting(path, values['group']).source}"
            part.main.set("user", *arguments, source=source)

    def processes(self, part: Plan, name: str, values: dict[str, Any]) -> None:
        """How many processes it has, how many threads, and how long they live."""
        processes = values.get("processes", 1)
        path = ["applications", name, "processes"]
        if isinstance(processes, dict):
            processes, path = processes.get("max", 1), [*path, "max"]
        setting = self.reader.setting(path, processes)
        told = "processes" in values
        source = setting.source if told else "NGINX Unit: one process, unless told otherwise"
        part.main.set("worker_processes", str(rules.number(setting, 1)), source=source)
        requests = values.get("limits", {}).get("requests")
        if requests is not None:
            one = self.reader.setting(["applications", name, "limits", "requests"], requests)
            part.http.set("python_max_requests", str(requests), source=one.source)
        if "threads" not in values:
            rules.pool(part, "threads=1", "NGINX Unit: one, unless told otherwise")
