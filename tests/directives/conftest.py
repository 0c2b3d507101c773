"""What the tests of the directives share."""

from __future__ import annotations

import re

import pytest
from gate import background, gate
from harness import VENV
from protocols import asgi, protocol

__all__ = ["asgi", "background", "gate", "protocol"]

ENVIRON = """
    import json
    from wsgiref.validate import validator

    @validator
    def application(environ, start_response):
        text = json.dumps({k: v for k, v in environ.items() if isinstance(v, str)})
        start_response("200 OK", [("Content-Type", "application/json")])
        return [text.encode()]
"""


ASK = """
    import json
    import site
    import sys

    def application(environ, start_response):
        text = json.dumps(
            {
                "prefix": sys.prefix,
                "base_prefix": sys.base_prefix,
                "executable": sys.executable,
                "path": sys.path,
                "version": list(sys.version_info[:2]),
                "argv": sys.argv,
            }
        )
        start_response("200 OK", [("Content-Type", "application/json")])
        return [text.encode()]
"""


@pytest.fixture
def environ(nginx):
    """The path of an application that answers with the strings of its environ as JSON."""
    return nginx.app("environ", ENVIRON)


@pytest.fixture
def ask(nginx):
    """The path of an application that answers which Python it runs in."""
    return nginx.app("ask", ASK)


@pytest.fixture
def echo(protocol):
    """The path of an application that answers with what it is asked (protocols.py)."""
    return protocol.echo()


@pytest.fixture
def say(nginx):
    """`say("one")` is the path of an application that answers `one`."""

    def make(word: str):
        return nginx.app(
            word,
            f"""
            def application(environ, start_response):
                start_response("200 OK", [("Content-Type", "text/plain")])
                return [b"{word}"]
            """,
        )

    return make


@pytest.fixture
def refuses_a_missing_path(nginx, refused):
    """`refuses_a_missing_path("python_path", "/first")`: after these arguments, one that is not
    there."""

    def check(directive: str, *before: object) -> None:
        missing = nginx.root / "not-there"
        refused(
            directive,
            str(missing),
            "no such|not found|is not a",
            http=f"{directive} {' '.join(map(str, [*before, missing]))};",
            python_home=None if directive == "python_home" else VENV,
        )

    return check


@pytest.fixture
def refused(nginx):
    """`refused("wsgi_app x", "not", "found", location=…)`: `nginx -t` refuses that configuration.

    Its first [emerg] line names the file, the line that holds the first argument, and every
    further argument (regular expressions, in any order and case).
    """

    def check(needle: str, *words: str, **configuration) -> str:
        result = nginx.check(**configuration)
        text = nginx.config.read_text()
        numbers = [
            number for number, line in enumerate(text.splitlines(), start=1) if needle in line
        ]
        assert numbers, f"{needle!r} does not stand in the configuration"
        assert result.returncode != 0, f"accepted, line {numbers}:\n{text}"
        emergencies = [line for line in result.stderr.splitlines() if "[emerg]" in line]
        assert emergencies, result.stderr
        message = emergencies[0]
        assert any(message.endswith(f" in {nginx.config}:{number}") for number in numbers), (
            f"{message!r} should end with the line of {needle!r}, one of {numbers}"
        )
        for word in words:
            assert re.search(word, message, re.IGNORECASE), f"no {word!r} in {message!r}"
        return message

    return check
