"""systemd's unit of a server, with the .socket of its name beside it."""

from __future__ import annotations

import re
from pathlib import Path

from . import command_line, listening, rules, servers, text_file
from .option import Table, kept, needless, nothing
from .plan import ConversionError, Plan, Setting

_UNIT = "keep it in nginx's unit (deploy/systemd/nginx.service)"

# What changes the configuration; every other line of a unit stays one of a unit.
TABLE = Table(
    "systemd",
    kept("wsgi_app asgi_app", "ExecStart"),
    kept("python_working_directory python_path", "WorkingDirectory"),
    kept("python_env", "Environment"),
    kept("python_env_file", "EnvironmentFile"),
    kept("user", "user User"),
    kept("user", "group Group"),
    kept("listen", "ListenStream"),
    nothing("nginx opens its sockets: leave the .socket unit out", "ListenDatagram"),
    nothing("nginx's unit is Type=forking, with a PIDFile=", "Type"),
    needless("`nginx -s reload`, or HUP to its master, as in nginx's unit", "ExecReload"),
    needless("QUIT finishes the requests, as in nginx's unit", "KillMode"),
    needless("QUIT finishes the requests, as in nginx's unit", "KillSignal"),
)


def convert(file: Path, folder: Path | None, *, run: bool = False) -> Plan:
    settings = _read(file)
    socket = file.with_suffix(".socket")
    if socket.is_file():
        settings += [each for each in _read(socket) if each.name == "ListenStream"]
    values = {setting.name: setting for setting in settings}
    if "ExecStart" not in values:
        raise ConversionError(f"{file.name} has no ExecStart=")
    start = values["ExecStart"]
    directory = values.get("WorkingDirectory")
    where = folder or Path(str(directory.value).lstrip("-") if directory else "/")
    if not where.is_absolute():
        raise ConversionError(f"{directory.source if directory else ''}: name it by --directory")
    environment: dict[str, str] = {}
    origins: dict[str, str] = {}
    for setting in settings:
        if setting.name == "Environment":
            for word in command_line.split(str(setting.value), setting.origin):
                name, _, value = word.partition("=")
                environment[name], origins[name] = value, setting.origin
    text = str(start.value).lstrip("@-:+!")
    command = command_line.recognise(text, start.origin, where, environment)
    if command is None:
        raise ConversionError(f"{start.source}: starts no server that pywsgi convert knows")
    plan = Plan(command.server, command.folder)
    for setting in settings:
        if setting.name == "WorkingDirectory":
            plan.folder_source = setting.source
        elif setting.name in ("ExecStart", "Environment"):
            if setting is start:
                plan.spare(setting, "is what is converted here")
        elif setting.name in TABLE.by_name:
            TABLE.apply(plan, setting)
        else:
            plan.spare(setting, _UNIT)
    for listen in plan.all_facts.pop("ListenStream", []):
        plan.server.listens.append(listening.listen(plan, str(listen.value), 80, listen.source))
    files = plan.all_facts.pop("EnvironmentFile", [])
    if files and environment:
        why = "systemd takes a variable from there first, and nginx that of python_env"
        plan.notes.append(f"{files[0].source}: {why}")
    for env_file in files:
        name = str(env_file.value).removeprefix("-")
        if name != env_file.value:
            plan.notes.append(f"{env_file.source}: nginx wants the file; systemd can do without it")
        rules.env_file(plan, Setting(env_file.name, name, env_file.origin, env_file.text))
    account: dict[str, Setting] = {
        key: plan.facts[key] for key in ("user", "group") if key in plan.facts
    }
    plan.facts = {}
    servers.convert(plan, command, run=run, sources=origins)
    plan.facts.update(account)
    rules.user(plan)
    return plan


def _read(file: Path) -> list[Setting]:
    found: list[Setting] = []
    text = text_file.lines(text_file.read(file))
    pending, first = "", 0
    for at, raw in enumerate(text, 1):
        # Also between the lines of one setting.
        if raw.strip().startswith(("#", ";")):
            continue
        first = first or at
        pending += raw.strip()
        if pending.endswith("\\") and at < len(text):
            pending = f"{pending[:-1]} "
            continue
        name, equals, value = (part.strip() for part in pending.removesuffix("\\").partition("="))
        origin, pending, first = f"{file.name}:{first}", "", 0
        if equals and name and name[0] != "[":
            if not value and name in _LISTS:
                # It empties the list.
                found = [each for each in found if each.name != name]
            found.append(Setting(name, _specified(value, file), origin, f"{name}={value}"))
    return [each for each in found if each.value or each.name not in _LISTS]


_LISTS = ("Environment", "EnvironmentFile", "ListenStream", "ExecStart")


def _specified(text: str, file: Path) -> str:
    """A value with the specifiers of the unit's own name, and of the system's folders."""
    name, at, instance = file.stem.partition("@")
    if at and not instance and re.search("%[iI]", text):
        raise ConversionError(f"{file.name}: copy it to {name}@NAME.service: {text} has that NAME")
    known = {"%": "%", "n": file.name, "N": file.stem, "p": name, "i": instance, "I": instance}
    known |= {"t": "/run", "S": "/var/lib", "C": "/var/cache", "L": "/var/log", "E": "/etc"}
    known |= {"h": "/root", "T": "/tmp", "V": "/var/tmp"}
    return re.sub(r"%(.)", lambda match: known.get(match[1], match[0]), text)
