"""supervisord's configuration: [program:x] and [fcgi-program:x]."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from . import command_line, groups, listening, rules, servers, text_file
from .groups import Part
from .option import Table, becomes, kept, needless, nothing
from .plan import ConversionError, Plan, Setting

_KEEP = "keep it in the section that starts nginx"
_LOG = "nginx writes to standard output and error, and supervisord keeps its file"

TABLE = Table(
    "supervisord",
    kept("wsgi_app asgi_app python_process", "command"),
    kept("python_working_directory python_path", "directory"),
    kept("python_env", "environment"),
    kept("user", "user"),
    becomes("python_process", rules.limit("umask", rules.octal), "umask"),
    needless(_KEEP, "process_name"),
    nothing(
        "is one nginx with `worker_processes`, or `processes=` of `python_process`",
        "numprocs",
    ),
    nothing("see numprocs", "numprocs_start"),
    needless(_KEEP, "priority"),
    needless(_KEEP, "autostart"),
    needless(_KEEP, "startsecs"),
    needless(_KEEP, "startretries"),
    needless(_KEEP, "autorestart"),
    needless(_KEEP, "exitcodes"),
    becomes(
        "",
        lambda plan, setting: (
            plan.spare(setting, "QUIT finishes the requests, as nginx needs it")
            if str(setting.value) == "QUIT"
            else plan.leave(setting, "write `stopsignal=QUIT`: it finishes nginx's requests")
        ),
        "stopsignal",
    ),
    needless("keep it: longer than python_drain_timeout", "stopwaitsecs"),
    needless("nginx's master ends its workers", "stopasgroup"),
    needless("nginx's master ends its workers", "killasgroup"),
    needless(_LOG, "redirect_stderr"),
    needless(_LOG, "stdout_logfile"),
    needless(_LOG, "stdout_logfile_maxbytes"),
    needless(_LOG, "stdout_logfile_backups"),
    needless(_LOG, "stdout_capture_maxbytes"),
    needless(_LOG, "stdout_events_enabled"),
    needless(_LOG, "stdout_syslog"),
    needless(_LOG, "stderr_logfile"),
    needless(_LOG, "stderr_logfile_maxbytes"),
    needless(_LOG, "stderr_logfile_backups"),
    needless(_LOG, "stderr_capture_maxbytes"),
    needless(_LOG, "stderr_events_enabled"),
    needless(_LOG, "stderr_syslog"),
    nothing("is supervisord's own", "serverurl"),
    # [fcgi-program:x]
    kept("listen", "socket"),
    nothing("nginx opens the socket: `backlog=` of `listen`", "socket_backlog"),
    nothing("nginx's socket is open to all: protect its folder", "socket_owner"),
    nothing("nginx's socket is open to all: protect its folder", "socket_mode"),
)


@dataclass
class Section:
    """A section, with the line of each key."""

    name: str
    line: int
    settings: list[Setting]


def sections(text: str, shown: str) -> list[Section]:
    """An INI file of supervisord's: a value may go on in indented lines."""
    found: list[Section] = []
    for at, raw in enumerate(text_file.lines(text), 1):
        line = re.sub(r"(?:^|\s)[;#].*$", "", raw).rstrip()
        if not line:
            continue
        header = re.fullmatch(r"\[(.+)\]", line.strip())
        if header:
            found.append(Section(header[1], at, []))
        elif raw[0] in " \t" and found and found[-1].settings:
            last = found[-1].settings.pop()
            value = f"{last.value}\n{line.strip()}"
            found[-1].settings.append(
                Setting(last.name, value, last.origin, f"{last.text.rstrip(' …')} …")
            )
        else:
            parts = re.fullmatch(r"([^=:]+)[=:](.*)", line)
            if parts is None or not found:
                raise ConversionError(f"{shown}:{at}: {line!r} is not KEY=VALUE in a section")
            key, value = parts[1].strip().lower(), parts[2].strip()
            found[-1].settings.append(Setting(key, value, f"{shown}:{at}", f"{key}={value}"))
    return found


def convert(file: Path, folder: Path | None, program: str | None, *, run: bool = False) -> Plan:
    """The programs that are servers, each with a `python_process` if there are several; or the one
    that `program` names."""
    every = sections(text_file.read(file), file.name)
    programs = {
        section.name.partition(":")[2]: section
        for section in every
        if section.name.startswith(("program:", "fcgi-program:"))
    }
    known = {name: _command(section, file, folder) for name, section in programs.items()}
    servers_of = {name: command for name, command in known.items() if command is not None}
    if program is not None and program not in servers_of:
        raise ConversionError(
            f"{file.name} has no server in [program:{program}]: "
            f"it has {', '.join(servers_of) or 'none'}"
        )
    if not servers_of:
        raise ConversionError(f"{file.name} has no program that pywsgi convert knows as a server")
    chosen = [program] if program is not None else list(servers_of)
    parts: list[Part] = []
    for name in chosen:
        section = programs[name]
        plan = _program(section, servers_of[name], run=run)
        own = groups.name_of(name, [part.name for part in parts])
        source = f"{file.name}:{section.line}: [{section.name}] has processes of its own"
        parts.append(Part(own, plan, source))
    if len(parts) == 1:
        whole = parts[0].plan
    else:
        whole = Plan("supervisord", folder or file.absolute().parent)
        groups.join(whole, parts)
    for section in every:
        if section not in [programs[name] for name in chosen]:
            setting = Setting(
                section.name, None, f"{file.name}:{section.line}", f"[{section.name}]"
            )
            whole.leave(setting, "is another section: keep it")
    return whole


def _program(section: Section, command: command_line.Command, *, run: bool) -> Plan:
    """One program, as if it were alone."""
    plan = Plan(command.server, command.folder)
    plan.supervised = True
    for setting in section.settings:
        # These are settings of the command.
        if setting.name == "directory":
            plan.folder_source = setting.source
        elif setting.name == "environment":
            plan.facts["environment"] = setting
        elif setting.name == "command":
            plan.spare(setting, "is what is converted here")
        else:
            TABLE.apply(plan, setting)
    _own(plan, section, command, run=run)
    return plan


def _command(section: Section, file: Path, folder: Path | None) -> command_line.Command | None:
    values = {setting.name: setting for setting in section.settings}
    if "command" not in values:
        return None
    setting = values["command"]
    start = folder or Path(
        _plain(str(values["directory"].value), section)
        if "directory" in values
        else file.absolute().parent
    )
    environment = _environment(values["environment"], section) if "environment" in values else {}
    text = _plain(str(setting.value), section).replace("\n", " ")
    return command_line.recognise(text, setting.origin, start, environment)


def _plain(text: str, section: Section) -> str:
    """A value with its %(…)s, as far as they are known here."""
    name = section.name.partition(":")[2]
    for key, value in (("program_name", name), ("group_name", name), ("process_num", "0")):
        text = re.sub(rf"%\({key}\)0?\d*[sd]", value, text)
    text = re.sub(r"%\(ENV_(\w+)\)s", r"${\1}", text)
    return text.replace("%%", "%")


def _environment(setting: Setting, section: Section) -> dict[str, str]:
    """KEY="value",KEY2=value."""
    lexer = shlex.shlex(_plain(str(setting.value), section), posix=True)
    lexer.wordchars += "/.+-():*@?&%${}~^!|"
    try:
        tokens = list(lexer)
    except ValueError as error:
        raise ConversionError(f"{setting.source}: {error}") from None
    found = {}
    # Each has a comma behind it, the last one perhaps.
    for at in range(0, len(tokens), 4):
        pair = tokens[at : at + 3]
        if len(pair) != 3 or pair[1] != "=" or tokens[at + 3 : at + 4] not in ([","], []):
            raise ConversionError(f'{setting.source}: is not KEY="VALUE",KEY="VALUE"')
        found[pair[0]] = pair[2]
    return found


def _own(plan: Plan, section: Section, command: command_line.Command, *, run: bool) -> None:
    """The command, and what supervisord says around it."""
    environment = plan.facts.pop("environment", None)
    origins = {}
    if environment is not None:
        origins = dict.fromkeys(_environment(environment, section), environment.origin)
    account = plan.facts.get("user")
    socket = plan.facts.pop("socket", None)
    if socket is not None:
        bind = re.sub("^tcp://", "", str(socket.value))
        plan.server.listens.append(listening.listen(plan, bind, 80, socket.source))
    servers.convert(plan, command, run=run, sources=origins)
    if account is not None:
        rules.user(plan)
