"""python_stdout_log_level and python_stderr_log_level: the log levels of what is printed."""

from __future__ import annotations

import pytest

SOURCE = """
    import sys

    print("imported, out")
    print("imported, err", file=sys.stderr)

    def application(environ, start_response):
        print("served, out")
        print("served, err", file=sys.stderr)
        print("served, errors", file=environ["wsgi.errors"])
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"ok"]
"""


@pytest.fixture
def lines(nginx):
    """`lines(http)` returns the levels of the five lines that the application prints."""

    def run(http: str = ""):
        nginx.start(f"wsgi_app {nginx.app('wsgi', SOURCE)};", http=http, log_level="info")
        assert nginx.client().get("/").text == "ok"
        texts = ["imported, out", "imported, err", "served, out", "served, err", "served, errors"]
        found = []
        for text in texts:
            line = nginx.wait_log(text)
            found.append(line[line.index("[") + 1 : line.index("]")])
        return found

    return run


def test_default_is_info_and_error(lines):
    assert lines() == ["info", "error", "info", "error", "error"]


def test_other_levels(lines):
    assert lines("python_stdout_log_level notice; python_stderr_log_level warn;") == [
        *("notice", "warn", "notice", "warn"),
        # wsgi.errors is the server's error stream, as sys.stderr is.
        "warn",
    ]


def test_logging_keeps_its_own_levels(nginx):
    source = """
        import logging

        import pywsgi

        logging.basicConfig(level=logging.DEBUG, handlers=[pywsgi.LogHandler()])

        def application(environ, start_response):
            for name in ["debug", "info", "warning", "error", "critical"]:
                getattr(logging, name)("logged as %s", name)
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [b"ok"]
    """
    nginx.allow_log(r"\[crit\].*logged as critical")
    nginx.start(f"wsgi_app {nginx.app('wsgi', source)};", log_level="debug")
    assert nginx.client().get("/").text == "ok"
    levels = {"info": "info", "warning": "warn", "error": "error", "critical": "crit"}
    for name, level in {"debug": "debug", **levels}.items():
        assert f"[{level}]" in nginx.wait_log(f"logged as {name}")


def test_what_is_below_the_log_s_own_level_is_left_out(nginx):
    nginx.start(f"wsgi_app {nginx.app('wsgi', SOURCE)};", log_level="error")
    assert nginx.client().get("/").text == "ok"
    nginx.wait_log("served, errors")
    assert nginx.log_lines("served, out") == []


@pytest.mark.parametrize("level", ["debug", "info", "notice", "warn", "error", "crit"])
def test_every_level_of_error_log_is_known(nginx, level):
    result = nginx.check(http=f"python_stdout_log_level {level}; python_stderr_log_level {level};")
    assert result.returncode == 0, result.stderr
