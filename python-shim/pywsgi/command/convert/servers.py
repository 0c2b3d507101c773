"""The command lines of all servers, and what they have in common: the environment, and the venv."""

from __future__ import annotations

import os
from typing import Callable

from . import cheroot, daphne, flask, granian, gunicorn, hypercorn, rules, uvicorn, uwsgi, waitress
from .command_line import Command
from .plan import Plan, Setting

CONVERTERS: dict[str, Callable[..., None]] = {
    "gunicorn": gunicorn.convert,
    "uvicorn": uvicorn.convert,
    "hypercorn": hypercorn.convert,
    "daphne": daphne.convert,
    "granian": granian.convert,
    "waitress": waitress.convert,
    "cheroot": cheroot.convert,
    "flask": flask.convert,
    "uwsgi": uwsgi.convert,
}


def convert(
    plan: Plan, command: Command, *, run: bool = False, sources: dict[str, str] | None = None
) -> None:
    """A whole command. sources: where each variable of its environment is set."""
    before = dict(command.environment)
    if command.home is not None:
        source = f"{command.origin}: the {command.name} that is started is in it"
        plan.http.default("python_home", str(command.home), source=source)
    CONVERTERS[command.server](plan, command, run=run)
    for name, value in command.environment.items():
        origin = (sources or {}).get(name, command.origin)
        variable(plan, Setting(name, value, origin, f"{name}={value}"))
    # These have been the settings of the server.
    for name in before.keys() - command.environment.keys():
        plan.http.lines = [
            line
            for line in plan.http.lines
            if not (line.name == "python_env" and line.arguments[0].startswith(f"{name}="))
        ]
    rules.find_home(plan)


def variable(plan: Plan, setting: Setting) -> None:
    """A variable of the environment that the source sets."""
    name, value = setting.name, str(setting.value)
    if name == "VIRTUAL_ENV":
        plan.http.default("python_home", plan.path(value), source=setting.source)
    elif name == "PYTHONPATH":
        rules.python_path(os.pathsep)(plan, setting)
    elif name == "WEB_CONCURRENCY" and plan.system in ("gunicorn", "uvicorn"):
        plan.main.default("worker_processes", value, source=setting.source)
    elif name in ("PORT", "PYTHONUNBUFFERED"):
        why = "is in `listen`" if name == "PORT" else "output goes to the log line by line"
        plan.spare(setting, why)
    else:
        plan.http.add("python_env", f"{name}={value}", source=setting.source)
