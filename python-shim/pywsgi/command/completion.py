"""`pywsgi completion`: what bash, zsh or fish complete, made from the parser itself.

Made once and written to a file: nothing of Python runs when Tab is pressed.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from typing import NamedTuple


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=sorted(_SHELLS), help="the shell to complete in")


def completion(options: argparse.Namespace) -> int:
    from pywsgi.command import parser

    print(_SHELLS[options.shell](list(_commands(parser()))), end="")
    return 0


class Option(NamedTuple):
    names: list[str]
    help: str
    # What its value can be; None if it takes none.
    values: list[str] | None


class Command(NamedTuple):
    name: str
    help: str
    options: list[Option]
    choices: list[str]


def _commands(top: argparse.ArgumentParser) -> Iterator[Command]:
    (commands,) = (each for each in top._actions if isinstance(each, argparse._SubParsersAction))
    helps = {each.dest: each.help or "" for each in commands._choices_actions}
    for name, parser in commands.choices.items():
        options = []
        choices: list[str] = []
        for action in parser._actions:
            if action.help == argparse.SUPPRESS:
                continue
            values = list(map(str, action.choices or ()))
            if action.option_strings:
                takes = action.nargs != 0
                text = re.sub(r"\s+", " ", action.help or "")
                options.append(Option(list(action.option_strings), text, values if takes else None))
            else:
                choices += values
        yield Command(name, helps.get(name, ""), options, choices)


def _bash(commands: list[Command]) -> str:
    cases, values = [], []
    for command in commands:
        words = " ".join(name for option in command.options for name in option.names)
        cases.append(f"    {command.name}) words='{words} {' '.join(command.choices)}' ;;\n")
        for option in command.options:
            if option.values:
                names = "|".join(f"{command.name}:{name}" for name in option.names)
                values.append(f"    {names}) words='{' '.join(option.values)}' ;;\n")
            elif option.values is not None:
                names = "|".join(f"{command.name}:{name}" for name in option.names)
                values.append(f"    {names}) COMPREPLY=(); compopt -o default; return ;;\n")
    names = " ".join(command.name for command in commands)
    return (
        "# bash completion of pywsgi: pywsgi completion bash\n"
        "_pywsgi() {\n"
        "  local word=${COMP_WORDS[COMP_CWORD]} words=\n"
        '  if [ "$COMP_CWORD" -eq 1 ]; then\n'
        f"    COMPREPLY=($(compgen -W '{names} --help --version' -- \"$word\"))\n"
        "    return\n"
        "  fi\n"
        "  case ${COMP_WORDS[1]} in\n"
        f"{''.join(cases)}"
        "  esac\n"
        '  case "${COMP_WORDS[1]}:${COMP_WORDS[COMP_CWORD-1]}" in\n'
        f"{''.join(values)}"
        "  esac\n"
        '  COMPREPLY=($(compgen -W "$words" -- "$word"))\n'
        "  [ ${#COMPREPLY[@]} -gt 0 ] || compopt -o default\n"
        "}\n"
        "complete -F _pywsgi pywsgi\n"
    )


def _zsh(commands: list[Command]) -> str:
    def quoted(text: str) -> str:
        return "'" + text.replace("'", "'\\''") + "'"

    cases, named = [], []
    for command in commands:
        named.append(quoted(f"{command.name}:{command.help}"))
        specs = []
        for option in command.options:
            text = re.sub(r"([\[\]:\\])", r"\\\1", option.help)
            value = ""
            if option.values is not None:
                value = f":value:({' '.join(option.values)})" if option.values else ":value:_files"
            # One that is given may be given again.
            specs += [quoted(f"*{name}[{text}]{value}") for name in option.names]
        rest = f"*:value:({' '.join(command.choices)})" if command.choices else "*:file:_files"
        specs.append(quoted(rest))
        cases.append(f"    {command.name})\n      _arguments -s {' '.join(specs)} ;;\n")
    return (
        "#compdef pywsgi\n"
        "# zsh completion of pywsgi: pywsgi completion zsh\n"
        "_pywsgi() {\n"
        "  if (( CURRENT == 2 )); then\n"
        f"    local -a commands=({' '.join(named)})\n"
        "    _describe command commands\n"
        "    return\n"
        "  fi\n"
        "  local command=$words[2]\n"
        "  shift words\n"
        "  (( CURRENT-- ))\n"
        "  case $command in\n"
        f"{''.join(cases)}"
        "  esac\n"
        "}\n"
        'if [ "$funcstack[1]" = _pywsgi ]; then _pywsgi "$@"; else compdef _pywsgi pywsgi; fi\n'
    )


def _fish(commands: list[Command]) -> str:
    def quoted(text: str) -> str:
        return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"

    shown = ["# fish completion of pywsgi: pywsgi completion fish\n"]
    for command in commands:
        shown.append(
            f"complete -c pywsgi -n __fish_use_subcommand -f -a {command.name}"
            f" -d {quoted(command.help)}\n"
        )
        seen = f"-n '__fish_seen_subcommand_from {command.name}'"
        if command.choices:
            shown.append(f"complete -c pywsgi {seen} -f -a {quoted(' '.join(command.choices))}\n")
        for option in command.options:
            names = "".join(
                f" -l {name[2:]}" if name.startswith("--") else f" -s {name[1:]}"
                for name in option.names
            )
            value = ""
            if option.values is not None:
                value = f" -x -a {quoted(' '.join(option.values))}" if option.values else " -r"
            shown.append(f"complete -c pywsgi {seen}{names}{value} -d {quoted(option.help)}\n")
    return "".join(shown)


_SHELLS = {"bash": _bash, "zsh": _zsh, "fish": _fish}
