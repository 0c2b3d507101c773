"""The variables of `--env-file`, for the import that finds out what an application is.

The worker has them from `python_env_file`, whose syntax this is. nginx says what else is wrong with
such a file, and why.
"""

from __future__ import annotations

import re

from pywsgi.command.options import UsageError


def variables(files: list[str]) -> dict[str, str]:
    """Those of all files. Raises UsageError, without any value in the message."""
    found: dict[str, str] = {}
    for file in files:
        try:
            with open(file, encoding="utf-8-sig", newline="") as opened:
                text = opened.read()
        except UnicodeDecodeError:
            raise UsageError(f"--env-file {file}: it is not UTF-8; save it as UTF-8") from None
        except (FileNotFoundError, IsADirectoryError):
            raise UsageError(f"--env-file {file}: there is no such file") from None
        except OSError as error:
            raise UsageError(f"--env-file {file}: {error.strerror}") from None
        found.update(_variables(file, text))
    return found


def _variables(file: str, text: str) -> dict[str, str]:
    found = {}
    at = 0
    while at < len(text):
        line = _LINE.match(text, at)
        if line is None or "\0" in line[0]:
            number = text.count("\n", 0, at) + 1
            raise UsageError(
                f"--env-file {file}: line {number} is not NAME=VALUE, or its quotes are not closed"
            )
        if line["name"]:
            found[line["name"]] = _value(line)
        at = line.end()
    return found


def _value(line: re.Match[str]) -> str:
    if line["single"] is not None:
        return line["single"]
    if line["double"] is not None:
        return _ESCAPE.sub(lambda found: _ESCAPED.get(found[1], found[1]), line["double"])
    return re.split(r"[ \t]#", line["bare"], maxsplit=1)[0].strip()


_LINE = re.compile(
    r"""[ \t]*
    (?:(?:export[ \t]+)?(?P<name>[\w.-]+)[ \t]*=
        (?:[ \t]*'(?P<single>[^']*)'(?:[ \t]+\#[^\n]*|[ \t]*)
        |[ \t]*"(?P<double>(?:[^"\\]|\\.)*)"(?:[ \t]+\#[^\n]*|[ \t]*)
        |(?P<bare>(?![ \t]*['"])[^\n]*)
        )
    |\#[^\n]*
    |)\r?(?:\n|\Z)""",
    re.VERBOSE | re.ASCII | re.DOTALL,
)
_ESCAPE = re.compile(r"""\\([nrt"\\$])""")
_ESCAPED = {"n": "\n", "r": "\r", "t": "\t"}
