"""python_stdout_log_level and python_stderr_log_level: the log levels of what is printed."""

from __future__ import annotations

import re

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


def test_what_an_application_says_is_logged_whatever_the_level_of_error_log(nginx):
    """Debian's `error_log` has the level error: a `print` must not vanish there."""
    nginx.start(f"wsgi_app {nginx.app('wsgi', SOURCE)};", log_level="crit")
    assert nginx.client().get("/").text == "ok"
    nginx.wait_log("served, errors")
    found = re.findall(r"\[(\w+)\] .*(served|imported), (\w+)", nginx.error_log())
    assert found == [
        ("info", "imported", "out"),
        ("error", "imported", "err"),
        ("info", "served", "out"),
        ("error", "served", "err"),
        ("error", "served", "errors"),
    ]


def test_of_several_logs_those_get_it_that_have_its_level(nginx):
    app = nginx.app("wsgi", SOURCE)
    server = "error_log logs/few.log error; error_log logs/all.log info;"
    nginx.start(f"wsgi_app {app};", server=server)
    assert nginx.client().get("/").text == "ok"
    nginx.quit()
    few, every = ((nginx.root / "logs" / name).read_text() for name in ("few.log", "all.log"))
    assert "served, out" in every
    assert "served, out" not in few
    assert "served, err" in few


WAYS = """
    import logging
    import sys
    import warnings

    {setup}

    class Message(str):
        '''As loguru writes it.'''

    def message(text, name, number):
        class Level:
            no = number
        found = Message(text + "\\n")
        found.record = dict(level=Level, name=name)
        return found

    def application(environ, start_response):
        for name in ["debug", "info", "warning", "error"]:
            getattr(logging.getLogger("shop"), name)("logged as %s", name)
        sys.stderr.write(message("of loguru", "shop", 25))
        warnings.warn("a warning")
        print("plain", file=sys.stderr)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"ok"]
"""


@pytest.mark.parametrize(
    ("setup", "wanted"),
    [
        # Nothing is configured: as in Python, warnings and errors are logged.
        ("", [("warn", "shop: logged as warning"), ("error", "shop: logged as error")]),
        (
            "logging.basicConfig(level='INFO')",
            [
                ("info", "INFO:shop:logged as info"),
                ("warn", "WARNING:shop:logged as warning"),
                ("error", "ERROR:shop:logged as error"),
            ],
        ),
        (
            "logging.basicConfig(level='DEBUG', stream=sys.stdout, format='%(message)s')",
            [
                (name[:4] if name == "warning" else name, f"logged as {name}")
                for name in ("debug", "info", "warning", "error")
            ],
        ),
        # As Django does with DEBUG=False: its own logger has a handler, which writes nothing.
        (
            "logging.getLogger('shop').addHandler(logging.NullHandler())",
            [("warn", "shop: logged as warning"), ("error", "shop: logged as error")],
        ),
        # Who does not want that says so.
        (
            "logging.getLogger('shop').propagate = False; "
            "logging.getLogger('shop').addHandler(logging.NullHandler())",
            [],
        ),
        ("logging.getLogger().addHandler(logging.NullHandler())", []),
    ],
    ids=["nothing", "basicConfig", "stdout", "handler-of-its-own", "no-propagation", "root"],
)
def test_what_logging_writes_to_a_stream_keeps_its_level(nginx, setup, wanted):
    nginx.start(f"wsgi_app {nginx.app('wsgi', WAYS.format(setup=setup))};", log_level="error")
    assert nginx.client().get("/").text == "ok"
    nginx.wait_log("plain")
    found = []
    for line in nginx.error_log().splitlines():
        # nginx adds no request to a line of the level debug.
        match = re.search(r"\[(\w+)\] \S+ \*\d+ (.*?)(, client: .*)?$", line)
        assert match, line
        found.append((match[1], match[2]))
    loguru, warning, source, plain = found[-4:]
    assert found[:-4] == wanted
    assert loguru == ("info", "of loguru")
    assert re.fullmatch(r"/.*/wsgi.py:\d+: UserWarning: a warning", warning[1])
    assert (warning[0], source) == ("warn", ("warn", '  warnings.warn("a warning")'))
    assert plain == ("error", "plain")


@pytest.mark.parametrize("level", ["debug", "info", "notice", "warn", "error", "crit"])
def test_every_level_of_error_log_is_known(nginx, level):
    result = nginx.check(http=f"python_stdout_log_level {level}; python_stderr_log_level {level};")
    assert result.returncode == 0, result.stderr
