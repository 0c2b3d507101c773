"""A Procfile: one process type for each line."""

from __future__ import annotations

import re
from pathlib import Path

from . import command_line, servers, text_file
from .plan import ConversionError, Plan, Setting


def convert(file: Path, folder: Path, program: str | None, *, run: bool = False) -> Plan:
    """The process `web`, or the one that `program` names."""
    types: dict[str, tuple[int, str]] = {}
    for at, line in enumerate(text_file.lines(text_file.read(file)), 1):
        match = re.match(r"([A-Za-z0-9_-]+):\s*(.+)$", line)
        if match:
            types[match[1]] = (at, match[2])
    chosen = program or "web"
    if chosen not in types:
        known = ", ".join(types) or "none"
        raise ConversionError(f"{file.name} has no process type {chosen}: give --program ({known})")
    at, text = types[chosen]
    origin = f"{file.name}:{at}"
    command = command_line.recognise(text, origin, folder)
    if command is None:
        raise ConversionError(f"{origin}: {text!r} starts no server that pywsgi convert knows")
    plan = Plan(command.server, command.folder)
    plan.supervised = True
    servers.convert(plan, command, run=run)
    for name, (line_number, other) in types.items():
        if name != chosen:
            setting = Setting(name, other, f"{file.name}:{line_number}", f"{name}: {other}")
            plan.leave(setting, "is another process: keep its line")
    setting = Setting(chosen, text, origin, chosen)
    plan.spare(setting, "its line becomes `nginx -c` and this file")
    return plan
