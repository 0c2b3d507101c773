"""LogHandler: levels, lines, and use outside nginx."""

from __future__ import annotations

import logging
import logging.config
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import pywsgi

Lines = list[tuple[int, str]]


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    logger = logging.getLogger("shop.orders")
    logger.propagate = False
    logger.setLevel(1)
    yield logger
    logger.handlers.clear()


def test_levels_are_kept(lines: Lines, logger: logging.Logger) -> None:
    logger.addHandler(pywsgi.LogHandler())
    for level in (50, 60, 40, 45, 30, 20, 10, 5):
        logger.log(level, "at %d", level)
    assert lines == [
        (3, "shop.orders: at 50"),
        (3, "shop.orders: at 60"),
        (4, "shop.orders: at 40"),
        (4, "shop.orders: at 45"),
        (5, "shop.orders: at 30"),
        (7, "shop.orders: at 20"),
        (8, "shop.orders: at 10"),
        (8, "shop.orders: at 5"),
    ]


def test_a_record_of_several_lines_is_a_line_each(lines: Lines, logger: logging.Logger) -> None:
    logger.addHandler(pywsgi.LogHandler(logging.ERROR))
    logger.info("below the handler's level")
    try:
        raise ValueError("a\x1bb")
    except ValueError:
        logger.exception("failed")
    assert {level for level, _ in lines} == {4}
    assert lines[0][1] == "shop.orders: failed"
    assert lines[1][1] == "Traceback (most recent call last):"
    assert lines[-1][1] == "ValueError: a\\x1bb"


def test_dict_config_and_basic_config_take_it(lines: Lines) -> None:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    try:
        logging.config.dictConfig(
            {
                "version": 1,
                "disable_existing_loggers": False,
                "formatters": {"short": {"format": "<%(message)s>"}},
                "handlers": {"nginx": {"class": "pywsgi.LogHandler", "formatter": "short"}},
                "root": {"handlers": ["nginx"], "level": "INFO"},
            }
        )
        logging.info("one")
        logging.basicConfig(handlers=[pywsgi.LogHandler()], level="INFO", force=True)
        logging.info("two")
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
    assert lines == [(7, "<one>"), (7, "root: two")]


def test_a_record_that_cannot_be_formatted_does_not_break_the_request(
    lines: Lines, logger: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    logger.addHandler(pywsgi.LogHandler())
    logger.info("%d", "no number")
    assert lines == []
    assert "Logging error" in capsys.readouterr().err


def test_another_log_gets_the_time_and_the_level_and_json_gets_fields(
    logger: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[tuple[object, ...]] = []
    monkeypatch.setattr("pywsgi._records.say", lambda *what: said.append(what))
    monkeypatch.setattr("pywsgi._records.forms", lambda level: 7 if level < 7 else 0)
    handler = pywsgi.LogHandler()
    logger.addHandler(handler)
    logger.info("not wanted")
    try:
        raise ValueError("broken \udc80")
    except ValueError:
        logger.error("failed in %s\x1b", "tea", exc_info=True)
    handler.setFormatter(logging.Formatter("<%(message)s>"))
    logger.warning("low", stack_info=True)
    (level, name, lines, text, message, traceback), custom = said
    assert (level, name, message) == (4, "shop.orders", "failed in tea\x1b")
    assert str(lines).startswith("shop.orders: failed in tea\\x1b\nTraceback (most ")
    assert re.match(r"\d{4}-.* ERROR shop.orders: failed in tea\\x1b\nTraceback (.*)", str(text))
    assert str(traceback).startswith("Traceback (most recent call last):\n")
    assert str(traceback).endswith("ValueError: broken \\udc80")
    level, name, lines, text, message, traceback = custom
    assert (level, text, message) == (5, None, "<low>")
    assert str(lines).startswith("<low>\nStack (most recent call last):\n")
    assert str(traceback).startswith("Stack (most recent call last):\n")


def test_outside_nginx_it_writes_to_standard_error(tmp_path: Path) -> None:
    shim = Path(__file__).resolve().parent.parent
    code = (
        f"import sys; sys.path.insert(0, {str(shim)!r})\n"
        "import logging, pywsgi\n"
        "logging.basicConfig(handlers=[pywsgi.LogHandler()])\n"
        "logging.getLogger('shop').warning('low stock')\n"
        "print(pywsgi.__version__)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    assert result.stderr == "[warn] shop: low stock\n"
    assert result.stdout == f"{pywsgi.__version__}\n"
