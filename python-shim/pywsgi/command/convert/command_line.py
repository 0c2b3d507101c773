"""A command as a shell, a supervisor or a Procfile has it: which server, where, and its options."""

from __future__ import annotations

import os
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path

from .option import Table
from .plan import ConversionError, Plan, Setting
from .rules import truth

# The programs that are servers, and by which module `python -m` starts them.
SERVERS = {
    "gunicorn": "gunicorn",
    "uvicorn": "uvicorn",
    "hypercorn": "hypercorn",
    "daphne": "daphne",
    "granian": "granian",
    "waitress-serve": "waitress",
    "waitress": "waitress",
    "cheroot": "cheroot",
    "flask": "flask",
    "uwsgi": "uwsgi",
    "uwsgi-core": "uwsgi",
    "pyuwsgi": "uwsgi",
}
# Programs that start another one, and their options that take a value.
_WRAPPERS = {
    "env": ("-u", "-C"),
    "exec": (),
    "command": (),
    "nohup": (),
    "sudo": ("-u", "-g"),
    "nice": ("-n",),
    "ionice": ("-c", "-n"),
    "time": (),
    "run": (),
    "stdbuf": (),
    "newrelic-admin": (),
    "run-program": (),
    "opentelemetry-instrument": (),
    "ddtrace-run": (),
}
# Programs whose subcommand is one of the above: `poetry run gunicorn`.
_RUNNERS = {"poetry", "pipenv", "uv", "pdm", "hatch", "rye", "pixi"}


@dataclass
class Command:
    """A server's command line."""

    # The name of its table.
    server: str
    arguments: list[str]
    # Where it is from: "Procfile:1".
    origin: str
    # The folder that it is started in, and its environment as far as it is said.
    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    # The virtual environment whose program it is.
    home: Path | None = None

    @property
    def name(self) -> str:
        return "waitress-serve" if self.server == "waitress" else self.server


def split(text: str, origin: str) -> list[str]:
    """The words of a command, as a shell splits them; only the last one of several commands."""
    return [word.replace(_DOLLAR, "$") for word in _split(text, origin)]


def _split(text: str, origin: str) -> list[str]:
    """With `_DOLLAR` where a shell replaces nothing."""
    text = re.sub(r"\\\n\s*", " ", text)
    try:
        words = shlex.split(re.sub(_QUOTED, _keep_dollars, text), comments=True)
    except ValueError as error:
        raise ConversionError(f"{origin}: {text!r} cannot be split into words: {error}") from None
    if words[:2] in (
        ["sh", "-c"],
        ["bash", "-c"],
        ["bash", "-lc"],
        ["/bin/sh", "-c"],
        ["/bin/bash", "-c"],
    ):
        return _split(words[2].replace(_DOLLAR, "$"), origin) if len(words) > 2 else []
    folder: list[str] = []
    for separator in ("&&", ";"):
        if separator in words:
            before = words[: len(words) - words[::-1].index(separator)]
            words = words[len(before) :]
            # cd FOLDER && COMMAND
            if "cd" in before:
                folder = ["env", "-C", before[before.index("cd") + 1]]
    return [*folder, *words]


# What has quotes of either kind, and what a backslash stands before.
_QUOTED = re.compile(r"""'[^']*'|"(?:[^"\\]|\\.)*"|\\.""", re.DOTALL)
# A `$` that a shell leaves alone; no text has this character.
_DOLLAR = "\ue000"


def _keep_dollars(found: re.Match[str]) -> str:
    if found[0].startswith("'"):
        return found[0].replace("$", _DOLLAR)
    return found[0].replace("\\$", _DOLLAR)


def recognise(
    text: str, origin: str, folder: Path, environment: dict[str, str] | None = None
) -> Command | None:
    """The server that a command of a shell starts; None if it is something else."""
    command = of_words(_split(text, origin), origin, folder, environment)
    if command is not None:
        known = command.environment
        command.arguments = [_expanded(word, known, origin) for word in command.arguments]
    return command


def of_words(
    words: list[str], origin: str, folder: Path, environment: dict[str, str] | None = None
) -> Command | None:
    """The same for words that a shell has split: a `$` in them is none that it replaces."""
    environment = dict(environment or {})
    words = list(words)
    while words:
        program = words.pop(0)
        name = os.path.basename(program)
        assigned = re.fullmatch(r"([A-Za-z_]\w*)=(.*)", program, re.DOTALL)
        if assigned:
            environment[assigned[1]] = assigned[2].replace(_DOLLAR, "$")
        elif name in _WRAPPERS:
            while words and words[0].startswith("-"):
                option = words.pop(0)
                value = words.pop(0) if option in _WRAPPERS[name] and words else ""
                if (name, option) == ("env", "-C"):
                    folder = folder / value
        elif name in _RUNNERS:
            while words and words[0] != "run":
                words.pop(0)
        elif re.fullmatch(r"python[\d.]*", name):
            while words and words[0].startswith("-") and words[0] != "-m":
                words.pop(0)
            if words[:1] == ["-m"] and len(words) > 1:
                words = [os.path.join(os.path.dirname(program), words[1]), *words[2:]]
            else:
                return None
        elif name in SERVERS:
            home = _home(program, folder)
            return Command(SERVERS[name], words, origin, folder, environment, home)
        else:
            return None
    return None


def positional(
    plan: Plan, rest: list[str], command: Command, what: str, variable: str = ""
) -> Setting:
    """The application, which is the first argument that belongs to no option."""
    named = [word for word in rest if ":" in word] or rest
    if not named:
        given = command.environment.get(variable) if variable else None
        if given:
            return Setting(variable, given, f"{command.origin}: {variable}", given)
        raise ConversionError(f"{command.origin}: {command.name} without an application: {what}")
    for word in rest:
        if word is not named[0]:
            plan.unknown.append(Setting(word, None, command.origin, word))
    return Setting(what, named[0], command.origin, named[0])


def from_environment(table: Table, command: Command, prefix: str) -> list[Setting]:
    """The settings that a server of click takes from variables of the environment."""
    found = []
    for name, value in list(command.environment.items()):
        option = "--" + name.removeprefix(prefix).lower().replace("_", "-")
        if name.startswith(prefix) and option in table.by_name:
            del command.environment[name]
            flag = table.by_name[option].takes == "0"
            shown = f"{name}={value}"
            found.append(Setting(option, truth(value) if flag else value, command.origin, shown))
    return found


def _home(program: str, folder: Path) -> Path | None:
    """The virtual environment that a program's path is in."""
    if "/" not in program:
        return None
    # The path as it is written: bin/python3 of an environment is a link out of it.
    path = Path(os.path.normpath(folder / os.path.expanduser(program)))
    if path.parent.name == "bin" and path.parent.parent != Path("/usr"):
        return path.parent.parent
    return None


def _expanded(word: str, environment: dict[str, str], origin: str) -> str:
    """A word with its $NAME, ${NAME} and ${NAME:-default}."""

    def value(match: re.Match[str]) -> str:
        name, default = match["name"] or match["plain"], match["default"]
        found = environment.get(name, os.environ.get(name)) or default
        if found is None:
            raise ConversionError(
                f"{origin}: {word} needs ${name}, which is not set: run `{name}=… pywsgi convert …`"
            )
        return found

    pattern = r"\$(?:\{(?P<name>\w+)(?::?-(?P<default>[^}]*))?\}|(?P<plain>[A-Za-z_]\w*))"
    return re.sub(pattern, value, word).replace(_DOLLAR, "$")
