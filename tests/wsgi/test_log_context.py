"""In which log an application's lines are, with which context, when, and how long they may be."""

from __future__ import annotations

import re

import pytest
from rawhttp import wait_for

in_a_call = pytest.mark.threads("inline nobody can answer for the event loop while it is in a call")

CUT = """
    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        yield b"first block"
        raise RuntimeError("in the middle")
"""


@pytest.mark.parametrize("protocol", ["1.0", "1.1"])
def test_a_traceback_is_in_the_log_when_its_client_sees_the_cut(nginx, protocol):
    nginx.start(f"wsgi_app {nginx.app('app', CUT)};")
    for number in range(50):
        before = len(nginx.error_log())
        with nginx.connect() as connection:
            connection.send(f"GET /{number} HTTP/{protocol}\r\nHost: of.{number}\r\n\r\n")
            connection.rest()
        text = nginx.error_log()[before:]
        lines = [line for line in text.splitlines() if "[error]" in line]
        assert any("RuntimeError: in the middle" in line for line in lines), text
        assert any("Traceback (most recent call last)" in line for line in lines), text
        for line in lines:
            assert re.search(
                rf" \*\d+ .*, request: \"GET /{number} .*, host: \"of.{number}\"", line
            )


# Two sites with logs of their own; "main.log" is the main one.
def sites(nginx, one: str, two: str) -> str:
    return f"""
        error_log {nginx.root}/logs/one.log info;
        location / {{ {one} }}
    }}
    server {{
        listen unix:{nginx.root}/two.sock;
        error_log {nginx.root}/logs/two.log info;
        location / {{ {two} }}
    """


def log(nginx, name: str) -> str:
    return (nginx.root / "logs" / name).read_text("utf-8")


def test_an_import_is_in_the_log_of_its_site(nginx):
    broken = nginx.app("broken", 'print("begins")\nimport of_nobody')
    good = nginx.app(
        "good",
        """
        def application(environ, start_response):
            start_response("200 OK", [])
            return [b"good"]
        """,
    )
    nginx.start(server=sites(nginx, f"wsgi_app {broken};", f"wsgi_app {good};"))
    assert nginx.client().get("/").status_code == 500
    wait_for(lambda: "imported in" in log(nginx, "two.log"), what="the other import")
    one, two, main = (log(nginx, name) for name in ("one.log", "two.log", "error.log"))
    for text in ("begins", "No module named 'of_nobody'", "cannot be imported", "Traceback"):
        assert text in one
        assert text not in two
        assert text not in main
    assert "imported in" not in one
    assert "imported in" not in main


def test_an_import_is_in_the_log_of_each_site_of_its_application(nginx):
    broken = nginx.app("broken", "import of_nobody")
    same = f"wsgi_app {broken};"
    nginx.start(server=sites(nginx, same, f"location /more {{ {same} }} {same}"))
    assert nginx.client().get("/").status_code == 500
    for name in ("one.log", "two.log"):
        assert log(nginx, name).count("ModuleNotFoundError: No module named 'of_nobody'") == 1
    assert "of_nobody" not in log(nginx, "error.log")


@in_a_call
def test_what_a_request_says_after_its_end_is_in_the_log_of_its_site(nginx):
    app = nginx.app(
        "app",
        """
        from testkit import gate, record

        def application(environ, start_response):
            gate("late")
            print("this is late")
            record("said")
            raise RuntimeError("later still")
        """,
    )
    nginx.start(server=sites(nginx, f"wsgi_app {app}; wsgi_timeout 300ms;", "return 204;"))
    assert nginx.client().get("/", headers={"Host": "one.example"}).status_code == 504
    # Wherever it is by then.
    stack = "the thread of"
    wait_for(lambda: stack in log(nginx, "one.log"), what="the stack")
    nginx.open_gate("late")
    nginx.wait_recorded("said")
    wait_for(lambda: "later still" in log(nginx, "one.log"), what="the last line")
    one = log(nginx, "one.log")
    for text in ("timed out after 300 ms", stack, "this is late", "RuntimeError: later still"):
        (line, *_) = [line for line in one.splitlines() if text in line]
        assert re.search(r" \*\d+ .*request: \"GET / HTTP/1.1\", host: \"one.example\"", line), line
        assert text not in log(nginx, "error.log")


@pytest.mark.parametrize(
    "statement",
    [
        'print("a" * 300_000 + "end")',
        'environ["wsgi.errors"].write("a" * 300_000 + "end")',
        'raise RuntimeError("a" * 300_000 + "end")',
        'logging.getLogger().error("a" * 300_000 + "end")',
    ],
)
def test_a_message_has_a_longest_length(nginx, statement):
    app = nginx.app(
        "app",
        f"""
        import logging

        def application(environ, start_response):
            {statement}
            start_response("200 OK", [])
            return [b"said"]
        """,
    )
    nginx.start(f"wsgi_app {app};")
    nginx.client().get("/")
    line = nginx.wait_log("more characters are cut")
    (cut,) = re.findall(r"\[(\d+) more characters are cut\]", line)
    written = nginx.error_log().count("a" * 64) * 64
    assert 60 * 1024 < written <= 64 * 1024
    assert 300_000 - 64 * 1024 <= int(cut) < 300_000 - 60 * 1024
    assert nginx.error_log().count("more characters are cut") == 1
