"""A configuration of nginx as a tree of directives, and its text.

An argument is what nginx reads: `$name` and `${name}` in it are variables if the directive takes
variables. `literal()` makes text that is meant as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

# With a comment on the same line.
WIDTH = 100
INDENT = "    "
# nginx refuses a longer argument: NGX_CONF_BUFFER, less a quote and a space behind it.
LONGEST_ARGUMENT = 4093
# Of a comment, in characters, which have up to four bytes.
LONGEST_LINE = 900


class ConfError(ValueError):
    """What cannot be written into a configuration of nginx."""


class Directive(NamedTuple):
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
    # A backslash stands for itself, unless the parser would read it and what follows as an escape.
    text = _ESCAPE.sub(r"\\\\", argument)
    mark = ""
    if _needs_quotes(argument):
        for character, escape in _ESCAPES.items():
            text = text.replace(character, escape)
        mark = "'" if '"' in text and "'" not in text else '"'
        text = text.replace(mark, f"\\{mark}")
    # nginx counts what is written, without the quotes.
    if len(encode(text)) > LONGEST_ARGUMENT:
        raise ConfError(
            f"{argument[:40]!r}… is longer than {LONGEST_ARGUMENT} bytes, nginx's limit"
        )
    return f"{mark}{text}{mark}"


def encode(text: str) -> bytes:
    """The bytes of a file's text; what came from a path or a command that is not UTF-8 stays."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        # Such as JSON's "\\ud800".
        raise ConfError(f"{text[error.start]!r} is half a character, which UTF-8 has not") from None


def literal(text: str) -> str:
    """An argument in which `$` is no variable, for directives that take variables.

    nginx has no escape for it: the character comes from the variable of `DOLLAR`, which the http
    block needs then (`with_dollar`).
    """
    return text.replace("$", "${dollar}")


DOLLAR = Directive(
    "geo",
    ("$dollar",),
    (Directive("default", ("$",), comment="nginx has no escape for it"),),
    comment="a $ that begins no variable",
)


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
        yield from comment(directive.comment, indent) if directive.comment else [""]
        return
    if not _NAME.fullmatch(directive.name):
        raise ConfError(f"{directive.name!r} is no name of a directive")
    line, *more = _words(directive, indent)
    if directive.comment:
        behind = f"{line}  # {directive.comment}"
        if not more and len(behind) <= WIDTH and len(directive.comment.splitlines()) == 1:
            line = behind
        else:
            yield from comment(directive.comment, indent)
    yield line
    yield from more
    if directive.block:
        yield from _lines(directive.block, indent + INDENT)
        yield f"{indent}}}"


def _words(directive: Directive, indent: str) -> list[str]:
    """A directive without its block, in as many lines as it needs."""
    words = [indent + directive.name, *map(quote, directive.args)]
    words[-1] += _end(directive)
    lines = [" ".join(words[:2])]
    for word in words[2:]:
        if len(lines[-1]) + 1 + len(word) <= WIDTH:
            lines[-1] += f" {word}"
        else:
            lines.append(f"{indent}{INDENT}{word}")
    return lines


def _end(directive: Directive) -> str:
    if directive.block is None:
        return ";"
    return " {" if directive.block else " {}"


def comment(text: str, indent: str = "", width: int = WIDTH) -> Iterable[str]:
    """The lines of a comment; nginx's limit is that of an argument."""
    import textwrap

    mark = f"{indent}# "
    for paragraph in text.splitlines():
        wrapped = textwrap.wrap(
            paragraph,
            width,
            initial_indent=mark,
            subsequent_indent=mark,
            break_long_words=False,
            break_on_hyphens=False,
        )
        for line in wrapped or [f"{indent}#"]:
            yield line[:LONGEST_LINE]
            for start in range(LONGEST_LINE, len(line), LONGEST_LINE):
                yield mark + line[start : start + LONGEST_LINE]


def _needs_quotes(argument: str) -> bool:
    # `{` is part of `${name}` only.
    without_variables = re.sub(r"\$\{\w+\}", "", argument)
    return not argument or argument[0] in "#}" or bool(_SPECIAL.search(without_variables))


_NAME = re.compile(r"[^\s;{}\"'\\$#]+")
_ESCAPE = re.compile(r"""\\(?=["'\\trn\t\r\n]|\Z)""")
_SPECIAL = re.compile(r"""[\s;{}"']""")
_ESCAPES = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}
