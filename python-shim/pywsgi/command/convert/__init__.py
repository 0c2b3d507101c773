"""`pywsgi convert`: the nginx.conf that does what another server's configuration says.

Each line has a comment that says where it comes from. What has no counterpart is listed at the end
of the file and on standard error, with the reason; nothing is left out silently.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from pathlib import Path

from ..nginx_conf import ConfError, encode
from . import (
    command_line,
    groups,
    mod_wsgi,
    procfile,
    servers,
    supervisor,
    systemd,
    text_file,
    unit,
    uwsgi,
    uwsgi_files,
)
from .plan import ConversionError, Plan, text

KINDS = ("gunicorn", "hypercorn", "uwsgi", "unit", "mod_wsgi", "supervisor", "procfile", "systemd")


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--from", dest="kind", choices=KINDS, help="what the file is (default: found out)"
    )
    parser.add_argument(
        "--program", help="the program of a supervisord.conf, or the process type of a Procfile"
    )
    parser.add_argument(
        "-C", "--directory", type=Path, help="the folder that the server is started in"
    )
    parser.add_argument("--venv", type=Path, help="the virtual environment of the application")
    parser.add_argument(
        "--run",
        action="store_true",
        help="run a configuration file in Python, in a child process (default: read it)",
    )
    parser.add_argument("-o", "--output", type=Path, help="a new file instead of standard output")
    parser.add_argument(
        "source",
        nargs=argparse.REMAINDER,
        metavar="SOURCE",
        help="gunicorn.conf.py, hypercorn.toml, uwsgi.ini, unit.json, httpd.conf, "
        "supervisord.conf, Procfile or a unit of systemd; several files of uWSGI, or their folder; "
        "or a command, such as: gunicorn -w 4 app:app",
    )


def convert(arguments: argparse.Namespace) -> int:
    """The subcommand: prints the file, and on standard error what is not in it."""
    try:
        plan = plan_of(arguments)
        made = encode(text(plan))
        if arguments.output is not None:
            with open(arguments.output, "xb") as file:
                file.write(made)
    except (ConversionError, ConfError) as error:
        shown = [line if len(line) < 500 else f"{line[:500]}…" for line in str(error).splitlines()]
        print("pywsgi convert:", "\n".join(shown), file=sys.stderr)
        return 1
    except RecursionError:
        print("pywsgi convert: it is nested too deeply to be read", file=sys.stderr)
        return 1
    except FileExistsError:
        print(f"pywsgi convert: {arguments.output} exists: name a new file", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"pywsgi convert: {error}", file=sys.stderr)
        return 1
    if arguments.output is None:
        sys.stdout.buffer.write(made)
        sys.stdout.buffer.flush()
    for setting in plan.unknown:
        print(f"unknown: {setting.source}", file=sys.stderr)
    for left in plan.left:
        print(f"not converted: {left.text}", file=sys.stderr)
    for note in plan.notes:
        print(f"note: {note}", file=sys.stderr)
    return 0


def plan_of(arguments: argparse.Namespace) -> Plan:
    """The plan of a file or a command; raises ConversionError."""
    words = [word for word in arguments.source if word != "--"]
    if not words:
        raise ConversionError("name a file or a command: see `pywsgi convert --help`")
    file = Path(words[0])
    is_command = os.path.basename(words[0]) in command_line.SERVERS and not file.suffix
    if file.is_dir() and not is_command:
        plan = _vassals(file, uwsgi_files.vassals(file, "."), arguments)
    elif file.is_file() and not is_command:
        plan = _file(file, words[1:], arguments)
    else:
        plan = _command(words, arguments)
    groups.leave_limits(plan)
    if arguments.venv is not None:
        plan.http.set("python_home", str(arguments.venv.absolute()), source="option --venv")
    _tell_home(plan)
    return plan


def _tell_home(plan: Plan) -> None:
    """Notes that no virtual environment is named, and for which application."""
    own = [line for line in plan.http.lines if line.name == "python_process"]
    without = [
        line.arguments[0]
        for line in own
        if not any(each.startswith("home=") for each in line.arguments)
    ]
    if plan.http.find("python_home") is not None or (own and not without):
        return
    of = f" for {', '.join(without)}" if without else ""
    plan.notes.append(
        f"no virtual environment is named{of}: if the application has one, "
        + ("write `home=` behind `python_process`" if without else "give --venv")
    )


def kind_of(file: Path) -> str:
    """Which of KINDS a file is, by its name and by what is in it."""
    name, suffix = file.name, file.suffix
    if name.startswith("Procfile"):
        return "procfile"
    if suffix == ".service":
        return "systemd"
    if suffix == ".py":
        return "hypercorn" if "hypercorn" in name else "gunicorn"
    if suffix == ".toml":
        return "hypercorn"
    content = text_file.read(file)
    if suffix in (".json", ".js"):
        return "uwsgi" if '"uwsgi"' in content and '"listeners"' not in content else "unit"
    if re.search(r"^\[(?:fcgi-)?program:|^\[supervisord\]", content, re.MULTILINE):
        return "supervisor"
    if suffix in (".yaml", ".yml", ".xml") or re.search(r"^\[uwsgi\]", content, re.MULTILINE):
        return "uwsgi"
    if re.search(r"^\s*(?:WSGI\w+|<VirtualHost)\b", content, re.MULTILINE | re.IGNORECASE):
        return "mod_wsgi"
    raise ConversionError(f"{file} is no configuration that is known here: say which with --from")


def _file(file: Path, rest: list[str], arguments: argparse.Namespace) -> Plan:
    kind = arguments.kind or kind_of(file)
    given = arguments.directory.absolute() if arguments.directory else None
    folder = given or file.absolute().parent
    if kind in ("gunicorn", "hypercorn"):
        words = [kind, "-c", str(file.absolute()), *rest]
        if kind == "hypercorn" and file.suffix == ".py":
            words[2] = f"file:{words[2]}"
        command = command_line.of_words(words, file.name, folder)
        assert command is not None
        return _server(command, arguments)
    if kind == "uwsgi":
        others = [Path(word) for word in rest]
        if others and all(each.suffix in uwsgi_files.SUFFIXES for each in others):
            return _vassals(file.parent, [file, *others], arguments)
        command = command_line.of_words(["uwsgi", str(file.absolute()), *rest], file.name, folder)
        assert command is not None
        return _server(command, arguments)
    if rest:
        raise ConversionError(f"{' '.join(rest)}: only one file at a time")
    if kind == "unit":
        return unit.convert(file, folder)
    if kind == "mod_wsgi":
        return mod_wsgi.convert(file, folder)
    if kind == "supervisor":
        return supervisor.convert(file, given, arguments.program, run=arguments.run)
    if kind == "systemd":
        return systemd.convert(file, given, run=arguments.run)
    return procfile.convert(file, folder, arguments.program, run=arguments.run)


def _vassals(folder: Path, files: list[Path], arguments: argparse.Namespace) -> Plan:
    """Several files of uWSGI: an application each."""
    if not files:
        raise ConversionError(f"{folder} has no file of uWSGI: {', '.join(uwsgi_files.SUFFIXES)}")
    plan = Plan("uwsgi", folder.absolute())
    given = arguments.directory.absolute() if arguments.directory else None
    uwsgi.emperor(plan, [file.absolute() for file in files], given)
    return plan


def _command(words: list[str], arguments: argparse.Namespace) -> Plan:
    folder = arguments.directory.absolute() if arguments.directory else Path.cwd()
    # A command in one word is one that a shell would split.
    if len(words) == 1 and " " in words[0]:
        command = command_line.recognise(words[0], "command line", folder)
    else:
        command = command_line.of_words(words, "command line", folder)
    if command is None:
        names = ", ".join(sorted({*command_line.SERVERS} - {"waitress", "uwsgi-core", "pyuwsgi"}))
        word = words[0].partition(" ")[0]
        raise ConversionError(f"{word} is neither a file nor a server: {names}")
    return _server(command, arguments)


def _server(command: command_line.Command, arguments: argparse.Namespace) -> Plan:
    plan = Plan(command.name, command.folder)
    servers.convert(plan, command, run=arguments.run)
    return plan


__all__ = ["KINDS", "add_options", "convert", "kind_of", "plan_of"]
