"""A configuration of nginx as a tree of directives, and its text.

An argument is what nginx reads: `$name` and `${name}` in it are variables if the directive takes
variables. `literal()` makes text that is meant as it is.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

# With a comment on the same line.
WIDTH = 100
INDENT = "    "
# NGX_CONF_BUFFER: nginx refuses a longer argument.
LONGEST_ARGUMENT = 4095


class ConfError(ValueError):
    """What cannot be written into a configuration of nginx."""


@dataclass(frozen=True)
class Directive:
    """`name args;`, or with a block `name args { … }`.

    comment: goes behind the directive, or above it if that would be too long.
    Without a name it is only its comment; without both, an empty line.
    """

    name: str
    args: tuple[str, ...] = ()
    block: Sequence[Directive] | None = None
    comment: str | None = None


def render(directives: Iterable[Directive]) -> str:
    """The text of a file. Raises ConfError for what nginx could not read."""
    return "".join(f"{line}\n" for line in _lines(directives, ""))


def quote(argument: str) -> str:
    """One argument as nginx's parser wants it (ngx_conf_read_token)."""
    if "\0" in argument:
        raise ConfError(f"{argument!r} contains a NUL, which nginx cannot read")
    if len(argument.encode("utf-8", "surrogateescape")) > LONGEST_ARGUMENT:
        raise ConfError(
            f"{argument[:40]!r}… is longer than {LONGEST_ARGUMENT} bytes, nginx's limit"
        )
    # A backslash stands for itself, unless the parser would read it and what follows as an escape.
    text = _ESCAPE.sub(r"\\\\", argument)
    if not _needs_quotes(argument):
        return text
    for character, escape in _ESCAPES.items():
        text = text.replace(character, escape)
    if '"' in text and "'" not in text:
        return f"'{text}'"
    escaped = text.replace('"', '\\"')
    return f'"{escaped}"'


def literal(text: str) -> str:
    """An argument in which `$` is no variable, for directives that take variables.

    nginx has no escape for it: the character comes from the variable of `DOLLAR`, which the http
    block needs then (`with_dollar`).
    """
    return text.replace("$", "${dollar}")


DOLLAR = Directive("geo", ("$dollar",), (Directive("default", ("$",)),))


def with_dollar(http: Sequence[Directive]) -> list[Directive]:
    """The directives of an http block, with `DOLLAR` in front if one of them needs it."""
    return [DOLLAR, *http] if any(map(_has_dollar, http)) else list(http)


def _has_dollar(directive: Directive) -> bool:
    return any("${dollar}" in argument for argument in directive.args) or any(
        map(_has_dollar, directive.block or ())
    )


def _lines(directives: Iterable[Directive], indent: str) -> Iterable[str]:
    """The lines of a block. One empty line separates a block from its neighbours."""
    previous: Directive | None = None
    for directive in directives:
        if previous is not None and _stand_apart(previous, directive):
            yield ""
        previous = directive
        yield from _of_directive(directive, indent)


def _stand_apart(before: Directive, after: Directive) -> bool:
    if _is_empty(before) or _is_empty(after):
        return False
    # A comment alone belongs to what follows.
    return bool(after.block) or bool(before.block) or (after.name == "" != before.name)


def _is_empty(directive: Directive) -> bool:
    return not directive.name and not directive.comment


def _of_directive(directive: Directive, indent: str) -> Iterable[str]:
    if not directive.name:
        if directive.args or directive.block is not None:
            raise ConfError("a directive with arguments or a block needs a name")
        yield from _comment(directive.comment, indent) if directive.comment else [""]
        return
    if not _NAME.fullmatch(directive.name):
        raise ConfError(f"{directive.name!r} is no name of a directive")
    line = " ".join([indent + directive.name, *map(quote, directive.args)])
    line += _end(directive)
    if directive.comment:
        behind = f"{line}  # {directive.comment}"
        if len(behind) <= WIDTH and len(directive.comment.splitlines()) == 1:
            line = behind
        else:
            yield from _comment(directive.comment, indent)
    yield line
    if directive.block:
        yield from _lines(directive.block, indent + INDENT)
        yield f"{indent}}}"


def _end(directive: Directive) -> str:
    if directive.block is None:
        return ";"
    return " {" if directive.block else " {}"


def _comment(text: str, indent: str) -> Iterable[str]:
    for paragraph in text.splitlines():
        yield from textwrap.wrap(
            paragraph,
            WIDTH,
            initial_indent=f"{indent}# ",
            subsequent_indent=f"{indent}# ",
            break_long_words=False,
            break_on_hyphens=False,
        ) or [f"{indent}#"]


def _needs_quotes(argument: str) -> bool:
    # `{` is part of `${name}` only.
    without_variables = re.sub(r"\$\{\w+\}", "", argument)
    return not argument or argument[0] in "#}" or bool(_SPECIAL.search(without_variables))


_NAME = re.compile(r"[^\s;{}\"'\\$#]+")
_ESCAPE = re.compile(r"""\\(?=["'\\trn\t\r\n]|\Z)""")
_SPECIAL = re.compile(r"""[\s;{}"']""")
_ESCAPES = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}
