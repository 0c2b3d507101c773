"""Lines of nginx's error log and of applications, as `pywsgi serve` shows them."""

from __future__ import annotations

import os

import pytest

from pywsgi.command.output import Line, Printer, has_colors, parse

PREFIX = "2026/11/30 07:00:00"


def shown(capfd: pytest.CaptureFixture[str]) -> str:
    return capfd.readouterr().err


def test_a_line_is_taken_apart() -> None:
    line = parse(f'{PREFIX} [error] 12#13: *5 open() "/x" failed, client: 127.0.0.1')
    assert line == Line("error", 12, 'open() "/x" failed, client: 127.0.0.1')
    assert parse(f"{PREFIX} [notice] 12#12: pywsgi[202]: application").number == 202  # type: ignore[union-attr]
    assert parse('nginx: [emerg] unknown directive "x"') == Line(
        "emerg", 0, 'unknown directive "x"'
    )
    assert parse("2026/11/30 printed by an application") is None


def test_what_is_shown(capfd: pytest.CaptureFixture[str]) -> None:
    printer = Printer("info", colors=False)
    found = printer.feed(
        f"{PREFIX} [notice] 1#1: start worker processes\n"
        f"{PREFIX} [notice] 1#1: pywsgi[202]: application imported\n"
        f"{PREFIX} [notice] 1#1: pywsgi[301]: this worker is replaced\n"
        f"{PREFIX} [warn] 1#1: a warning\n"
        f"{PREFIX} ERROR pywsgi[501]: the same line, above its traceback\n"
        "printed \xe9\n".encode("latin-1")
    )
    assert [line.number for line in found] == [0, 202, 301, 0]
    assert shown(capfd) == (
        "INFO:     pywsgi[301]: this worker is replaced\nWARNING:  a warning\nprinted \\xe9\n"
    )
    printer.feed(b"half a ")
    assert shown(capfd) == ""
    printer.feed(b"line\nand another")
    assert shown(capfd) == "half a line\n"
    printer.end()
    assert shown(capfd) == "and another\n"


def test_the_level(capfd: pytest.CaptureFixture[str]) -> None:
    printer = Printer("warning", colors=False)
    printer.info("nothing")
    printer.say("error", "something")
    printer.feed(f"{PREFIX} [notice] 1#1: pywsgi[301]: x\n{PREFIX} [alert] 1#1: y\n".encode())
    assert shown(capfd) == "ERROR:    something\nCRITICAL: y\n"
    Printer("debug", colors=False).feed(f"{PREFIX} [notice] 1#1: start\n".encode())
    assert shown(capfd) == "INFO:     start\n"


def test_colors(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    Printer("info", colors=True).say("error", "x")
    assert shown(capfd) == "\x1b[31mERROR\x1b[0m:    x\n"
    assert has_colors(True)
    assert not has_colors(False)
    for stream in ("stdout", "stderr"):
        monkeypatch.setattr(f"sys.{stream}.isatty", lambda: True)
    monkeypatch.setitem(os.environ, "NO_COLOR", "1")
    assert not has_colors(None)
    monkeypatch.delitem(os.environ, "NO_COLOR")
    assert has_colors(None)


def test_what_nginx_says_of_requests_that_are_cut(capfd: pytest.CaptureFixture[str]) -> None:
    line = f"{PREFIX} [alert] 1#1: *3 open socket #17 left in connection 4\n".encode()
    printer = Printer("info", colors=False)
    printer.feed(line)
    assert shown(capfd) == "CRITICAL: open socket #17 left in connection 4\n"
    printer.cuts = True
    printer.feed(line)
    printer.feed(f"{PREFIX} [alert] 1#1: worker exited on signal 11\n".encode())
    assert shown(capfd) == "CRITICAL: worker exited on signal 11\n"
