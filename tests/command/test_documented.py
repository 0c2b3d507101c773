"""docs/command.md has every option, and no other."""

from __future__ import annotations

import argparse
import re
import sys

from harness import PROJECT

sys.path.insert(0, str(PROJECT / "python-shim"))

from pywsgi.command import parser
from pywsgi.command.others_options import REFUSED, WITHOUT_EFFECT

PAGE = (PROJECT / "docs" / "command.md").read_text("utf-8")


def commands() -> dict[str, argparse.ArgumentParser]:
    (found,) = (each for each in parser()._actions if isinstance(each, argparse._SubParsersAction))
    return found.choices


def options(name: str) -> set[str]:
    known = {each for action in commands()[name]._actions for each in action.option_strings}
    return known - {"-h", "--help"} - {each for names, _, _ in REFUSED for each in names}


def test_every_option_has_a_row():
    section = PAGE[PAGE.index("## Options") : PAGE.index("## pywsgi config")]
    cells = re.findall(r"^\| ((?:`--?[^|]*?`(?:, )?)+)[^|]*\|", section, re.MULTILINE)
    named = {each for cell in cells for each in re.findall(r"`(--?[\w-]+)`", cell)}
    assert named == options("serve")
    assert options("config") == options("check") == named
    without = section[section.index("### Without effect") :]
    for names, _, _ in WITHOUT_EFFECT:
        for name in names:
            assert f"`{name}`" in without


def test_the_other_commands():
    for name in commands():
        assert f"`pywsgi {name} " in PAGE or f"`pywsgi {name}`" in PAGE
    for name in ("doctor", "top"):
        section = PAGE[PAGE.index(f"## pywsgi {name}") :]
        section = section[: section.index("\n## ")]
        for option in options(name) - {"-n"}:
            assert f"`{option}`" in section
