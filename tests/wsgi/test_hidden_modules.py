"""Applications with modules of the same names, in one interpreter."""

from __future__ import annotations

import pytest

APP = """
    import sys

    {ask}

    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [sys.modules[NAME].WORD.encode()]
"""


@pytest.fixture
def site(nginx):
    """`site("one", "config")` writes a folder with an application and a module beside it."""

    def write(folder: str, module: str, before: str = ""):
        nginx.app(f"{folder}/{module}", f"WORD = '{folder}'")
        ask = f"{before}import {module}; NAME = {module!r}"
        return nginx.app(f"{folder}/wsgi", APP.format(ask=ask))

    return write


@pytest.fixture
def start(nginx):
    def run(*files):
        nginx.start(
            server="".join(
                f"location /{number} {{ wsgi_app {file}; }}\n"
                for number, file in enumerate(files, start=1)
            ),
            http=f"python_path {nginx.apps};",
        )
        return nginx.client()

    return run


def test_the_second_one_s_module_is_hidden(nginx, site, start):
    one, three = site("one", "config"), site("three", "settings")
    two = site("two", "config", before="from testkit import gate; gate('one'); ")
    client = start(one, two, three)
    assert client.get("/1").text == "one"
    nginx.open_gate("one")
    for _ in range(2):
        assert client.get("/1").text == "one"
        assert client.get("/2").status_code == 500
        assert client.get("/3").text == "three"
    line = nginx.wait_log("imports 'config'")
    for word in (two, two.with_name("config.py"), one, one.with_name("config.py")):
        assert str(word) in line, line
    assert len(nginx.log_lines("imports 'config'")) == 1

    # Repaired without a reload.
    two.with_name("config.py").rename(two.with_name("config_of_two.py"))
    site("two", "config_of_two")
    assert client.get("/2").text == "two"


def test_those_that_are_imported_side_by_side_have_their_own(nginx, site, start):
    """The second one's folder is first on sys.path when the first one's import continues."""
    slow = site("slow", "other")
    nginx.app("slow/config", "WORD = 'slow'")
    ask = "from testkit import gate; gate('slow'); import config; NAME = 'config'"
    nginx.app("slow/wsgi", APP.format(ask=ask))
    quick = site("quick", "thing")
    nginx.app("quick/config", "WORD = 'quick'")
    client = start(slow, quick)
    assert client.get("/2").text == "quick"
    nginx.open_gate("slow")
    assert client.get("/1").text == "slow"
