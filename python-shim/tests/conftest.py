"""Installs a `_pywsgi` that records log lines, before the shim is imported."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Callable

import pytest

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

LINES: list[tuple[int, str]] = []


# The levels of src/bridge/code.rs, by name: a code that is not there is a KeyError.
NGINX_LEVELS = ("Stderr", "Emerg", "Alert", "Crit", "Error", "Warn", "Notice", "Info", "Debug")
CODES = {
    name: NGINX_LEVELS.index(level)
    for name, level in re.findall(
        r"^    (\w+) = \d+ (\w+),$",
        (HERE.parent.parent / "src" / "bridge" / "code.rs").read_text(),
        re.MULTILINE,
    )
}


def log(code: str, text: str) -> None:
    LINES.extend((CODES[code], line) for line in text.split("\n"))


def report(code: str, what: str, traceback: str) -> None:
    log(code, f"{what}\n{traceback}")


def say(level: int, _logger: str, lines: str, *_other_forms: object) -> None:
    LINES.extend((level, line) for line in lines.split("\n"))


_pywsgi = types.ModuleType("_pywsgi")
vars(_pywsgi)["log"] = vars(_pywsgi)["log_last"] = log
vars(_pywsgi)["report"] = report
vars(_pywsgi)["say"] = say
vars(_pywsgi)["forms"] = lambda _level: 1
vars(_pywsgi)["unfinished"] = lambda: None
vars(_pywsgi)["wake_main"] = lambda: None
vars(_pywsgi)["hooks_changed"] = lambda: None
sys.modules["_pywsgi"] = _pywsgi

Embedded = Callable[[str], "list[str]"]


@pytest.fixture
def lines() -> Iterator[list[tuple[int, str]]]:
    """The lines logged in this test: (level, line)."""
    LINES.clear()
    yield LINES
    LINES.clear()


@pytest.fixture
def interpreter() -> Iterator[None]:
    """Restores sys.path and sys.modules, for tests that load applications."""
    from pywsgi._importing import finder

    path, modules = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = path
    finder.files.clear()
    finder.folders.clear()
    for name in set(sys.modules) - modules:
        del sys.modules[name]


@pytest.fixture
def embedded(tmp_path: Path) -> Embedded:
    """Runs a script in a separate process that is set up like a worker's interpreter, and returns
    the lines of its log, each `level line`."""

    def run(script: str, *, code: int = 0) -> list[str]:
        log, file = tmp_path / "error.log", tmp_path / "script.py"
        file.write_text(textwrap.dedent(script))
        result = subprocess.run(
            [sys.executable, str(HERE / "embed.py"), str(log), str(file)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
        )
        logged = log.read_text().splitlines()
        assert result.returncode == code, (result, logged)
        assert result.stdout == ""
        assert result.stderr == ""
        return logged

    return run
