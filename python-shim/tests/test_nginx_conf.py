"""The text of a configuration, read again by the rules of ngx_conf_read_token()."""

from __future__ import annotations

import re

import pytest

from pywsgi.command.nginx_conf import (
    DOLLAR,
    LONGEST_ARGUMENT,
    WIDTH,
    ConfError,
    Directive,
    literal,
    quote,
    render,
    with_dollar,
)

ARGUMENTS = [
    "",
    "plain",
    "/srv/shop/wsgi.py:app",
    "two words",
    " leading",
    "a;b",
    "a{b}c",
    "}",
    "{",
    "#comment",
    "a#b",
    '"quoted"',
    "it's",
    'it\'s "both"',
    "'",
    '"',
    "back\\slash",
    "\\",
    "\\\\",
    "a\\",
    "C:\\temp\\new\\root",
    '\\"',
    "\\'",
    "\\;",
    "\\ ",
    "\\\n",
    "two\nlines\tand a tab\r",
    "\\n is no new line",
    r"\.php$",
    r"^/(\d{4})/(?<slug>[\w-]+)$",
    r"~* \.(?:js|css)$",
    "$host",
    "${host}:8080",
    "$host{",
    "${",
    "é ü 日本",
    "\udcff",
    'shop.web:create_app("production", debug=False)',
]


def read(text: str) -> list[str]:
    """The arguments of one directive, as ngx_conf_read_token() reads them."""
    tokens: list[str] = []
    at = 0
    while True:
        while text[at] in " \t\r\n":
            at += 1
        if text[at] == ";":
            assert at == len(text) - 1
            return tokens
        assert text[at] not in "{}#", f"{text[at]!r} begins no argument"
        end = text[at] if text[at] in "\"'" else ""
        at += len(end)
        start, variable = at, False
        while (text[at] != end) if end else not ends_token(text[at], variable):
            variable = text[at] == "$"
            at += 2 if text[at] == "\\" else 1
        tokens.append(unescape(text[start:at]))
        at += len(end)
        assert text[at] in " ;", "a closing quote must be followed by a space"


def ends_token(character: str, variable: bool) -> bool:
    return character in " \t\r\n;" or (character == "{" and not variable)


def unescape(token: str) -> str:
    value, at = "", 0
    while at < len(token):
        pair = token[at : at + 2]
        if pair in _ESCAPES:
            value += _ESCAPES[pair]
            at += 2
        else:
            value += token[at]
            at += 1
    return value


_ESCAPES = {'\\"': '"', "\\'": "'", "\\\\": "\\", "\\t": "\t", "\\r": "\r", "\\n": "\n"}


@pytest.mark.parametrize("argument", ARGUMENTS)
def test_an_argument_is_read_as_it_was_given(argument: str) -> None:
    assert read(f"a {quote(argument)} b;") == ["a", argument, "b"]


@pytest.mark.parametrize(
    "argument", ["plain", "a=b", r"\.php$", "$host", "${host}:80", "a#b", "/srv/app.py:create()"]
)
def test_what_needs_no_quotes_has_none(argument: str) -> None:
    assert quote(argument) == argument


def test_the_quotes_are_those_that_need_fewer_escapes() -> None:
    assert quote('create_app("x")') == "'create_app(\"x\")'"
    assert quote("it's") == '"it\'s"'


@pytest.mark.parametrize(
    "argument",
    [
        "a\0b",
        "x" * (LONGEST_ARGUMENT + 1),
        "ü" * 2048,
        "\n" * 2048,
        "\\" * 2048,
        "'\"" * 1366,
        "\ud800",
    ],
)
def test_what_nginx_cannot_read_is_refused(argument: str) -> None:
    """Its limit is that of what is written, with the escapes."""
    with pytest.raises(ConfError):
        quote(argument)
    assert quote("x" * LONGEST_ARGUMENT)


@pytest.mark.parametrize("name", ["two words", "a;b", "{", "#", "a\nb"])
def test_a_name_that_is_none(name: str) -> None:
    with pytest.raises(ConfError):
        render([Directive(name)])


def test_blocks_are_indented_and_stand_apart() -> None:
    directives = [
        Directive("worker_processes", ("2",)),
        Directive("events", (), ()),
        Directive(
            "http",
            (),
            [
                Directive("sendfile", ("on",)),
                Directive("server", (), [Directive("listen", ("80",))]),
                Directive("server", (), [Directive("listen", ("81",))]),
            ],
        ),
    ]
    assert render(directives) == (
        "worker_processes 2;\n"
        "events {}\n"
        "\n"
        "http {\n"
        "    sendfile on;\n"
        "\n"
        "    server {\n"
        "        listen 80;\n"
        "    }\n"
        "\n"
        "    server {\n"
        "        listen 81;\n"
        "    }\n"
        "}\n"
    )


def test_a_short_comment_stands_behind() -> None:
    directives = [
        Directive("listen", ("80",), comment="--bind"),
        Directive("http", (), [Directive("sendfile", ("on",))], comment="all of it"),
    ]
    assert render(directives) == (
        "listen 80;  # --bind\n\nhttp {  # all of it\n    sendfile on;\n}\n"
    )


def test_long_arguments_are_wrapped() -> None:
    arguments = tuple(f"path=/srv/{number:010}" for number in range(9))
    found = render([Directive("http", (), [Directive("python_process", ("a", *arguments))])])
    lines = found.splitlines()[1:-1]
    assert lines[0].startswith("    python_process a path=/srv/0000000000 ")
    assert len(lines) == 3
    assert all(line.startswith("        path=") and len(line) <= WIDTH for line in lines[1:])
    assert " ".join(found.split()).endswith("path=/srv/0000000008; }")
    one = render([Directive("wsgi_app", ("/" + "x" * 200,))])
    assert one.count("\n") == 1


def test_a_long_comment_stands_above_and_is_wrapped() -> None:
    words = "a comment that goes on and on " * 6
    text = render([Directive("http", (), [Directive("a", comment=words), Directive("b")])])
    lines = text.splitlines()
    assert lines[0] == "http {"
    assert lines[-3:] == ["    a;", "    b;", "}"]
    assert all(line.startswith("    # ") and len(line) <= WIDTH for line in lines[1:-3])
    assert " ".join(line[6:] for line in lines[1:-3]) == words.strip()


def test_no_line_of_a_comment_is_read_by_nginx() -> None:
    text = render([Directive("a", comment="one\n}\r\n\nevil on;"), Directive("b", ("c",))])
    assert text == "# one\n# }\n#\n# evil on;\na;\nb c;\n"


def test_a_comment_alone_and_an_empty_line() -> None:
    directives = [
        Directive("a"),
        Directive("", comment="of b"),
        Directive("b"),
        Directive(""),
        Directive("c"),
    ]
    assert render(directives) == "a;\n\n# of b\nb;\n\nc;\n"
    with pytest.raises(ConfError):
        render([Directive("", ("a",))])


def test_a_dollar_that_is_no_variable() -> None:
    assert literal("/srv/a$b") == "/srv/a${dollar}b"
    plain = [Directive("server", (), [Directive("root", ("/srv/$host",))])]
    assert with_dollar(plain) == plain
    needs_it = [Directive("server", (), [Directive("root", (literal("/srv/a$b"),))])]
    assert with_dollar(needs_it) == [DOLLAR, *needs_it]
    text = re.sub(r"  # .*", "", render([DOLLAR]))
    assert text == "geo $dollar {\n    default $;\n}\n"
