"""What an application prints and raises, line by line in nginx's error log."""

from __future__ import annotations

import re

import pytest

LINE = re.compile(r"^\d{4}/\d\d/\d\d \d\d:\d\d:\d\d \[(\w+)\] \d+#\d+: ")
REQUEST = 'request: "GET /where?x=1 HTTP/1.1"'


@pytest.fixture
def say(nginx, serve):
    """Runs these statements in a request for /where?x=1 and returns the response."""

    def run(statements: str, **options):
        indented = "\n".join("                " + line for line in statements.strip().splitlines())
        source = f"""
            import logging, sys, threading, warnings

            def application(environ, start_response):
{indented}
                start_response("200 OK", [("Content-Type", "text/plain")])
                return [b"said"]
        """
        serve(source, **options)
        return nginx.client().get("/where?x=1")

    return run


def has_context(line: str) -> bool:
    return "client: 127.0.0.1" in line and REQUEST in line and "server: " in line


@pytest.mark.parametrize(
    ("statement", "level"),
    [
        ('print("token-1")', "info"),
        ('sys.stdout.write("token-1\\n")', "info"),
        ('print("token-1", file=sys.stderr)', "error"),
        ('sys.stderr.write("token-1\\n")', "error"),
        ('environ["wsgi.errors"].write("token-1\\n")', "error"),
        ('environ["wsgi.errors"].writelines(["tok", "en-1", "\\n"])', "error"),
        ('print("token-1", end=""); sys.stdout.flush()', "info"),
        ('environ["wsgi.errors"].write("token-1"); environ["wsgi.errors"].flush()', "error"),
        ('logging.getLogger("app").error("token-1")', "error"),
        ('warnings.warn("token" + "-1")', "warn"),
    ],
)
def test_each_stream_has_its_level_and_the_request_s_context(nginx, say, statement, level):
    assert say(statement).text == "said"
    line = nginx.wait_log("token-1")
    assert LINE.match(line)[1] == level
    assert has_context(line), line
    assert len(nginx.log_lines("token-1")) == 1


def test_a_line_of_log_for_each_line(nginx, say):
    say('print("token-1\\ntoken-2\\n\\ntoken-3", file=sys.stderr)')
    nginx.wait_log("token-3")
    for token in ("token-1", "token-2", "token-3"):
        (line,) = nginx.log_lines(token)
        assert LINE.match(line)
        assert has_context(line)


def test_pieces_of_a_line_are_one_line(nginx, say):
    say('for piece in ("tok", "en", "-1", " end\\n"): sys.stderr.write(piece)')
    assert "token-1 end" in nginx.wait_log("token-1")


def test_what_is_left_of_a_line_is_written_at_the_request_s_end(nginx, say):
    say('sys.stderr.write("token-1 without an end")')
    line = nginx.wait_log("token-1 without an end")
    assert has_context(line)


def test_threads_do_not_mix_their_lines(nginx, serve):
    serve(
        """
        import sys

        def application(environ, start_response):
            name = environ["QUERY_STRING"]
            for number in range(50):
                for piece in ("<", name, "-", str(number), ">", "\\n"):
                    sys.stderr.write(piece)
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [b"x"]
        """
    )
    connections = [nginx.connect() for _ in range(6)]
    for number, connection in enumerate(connections):
        connection.get(f"/?thread{number}")
    for connection in connections:
        assert connection.response().status == 200
    for number in range(6):
        nginx.wait_log(f"<thread{number}-49>")
        for line_number in range(50):
            (line,) = nginx.log_lines(f"<thread{number}-{line_number}>")
            assert f'request: "GET /?thread{number} HTTP/1.1"' in line


def test_a_traceback_line_by_line(nginx, serve):
    serve(
        """
        def deeper():
            try:
                raise KeyError("the cause")
            except KeyError as error:
                raise ValueError("token-1\\nsecond line") from error

        def application(environ, start_response):
            deeper()
        """
    )
    assert nginx.client().get("/where?x=1").status_code == 500
    nginx.wait_log("token-1")
    for text in (
        "Traceback (most recent call last):",
        "in deeper",
        "in application",
        "KeyError: 'the cause'",
        "The above exception was the direct cause",
        "ValueError: token-1",
        "second line",
    ):
        lines = nginx.log_lines(text)
        assert lines, text
        for line in lines:
            assert LINE.match(line)[1] == "error"
            assert has_context(line), line
    assert any("app.py" in line and "line" in line for line in nginx.log_lines("in deeper"))


def test_the_traceback_names_the_application(nginx, serve):
    serve("def application(environ, start_response):\n    raise ValueError('token-1')\n")
    nginx.client().get("/")
    nginx.wait_log("token-1")
    path = nginx.apps / "app.py"
    assert nginx.log_lines(str(path))


def test_an_exception_that_cannot_be_shown(nginx, serve):
    serve(
        """
        class Hostile(Exception):
            def __str__(self):
                raise RuntimeError("no")
            __repr__ = __str__

        def application(environ, start_response):
            raise Hostile()
        """
    )
    assert nginx.client().get("/").status_code == 500
    nginx.wait_log("Hostile")


def test_a_deep_recursion(nginx, serve):
    serve(
        """
        def application(environ, start_response):
            return application(environ, start_response)
        """
    )
    client = nginx.client()
    for _ in range(3):
        assert client.get("/").status_code == 500
    nginx.wait_log("RecursionError")


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ('"token-1 caf\\u00e9 \\u20ac"', "token-1 caf\u00e9 \u20ac"),
        ('"token-1 \\ud800 end"', "token-1"),
        ('"token-1 \\x1b[31m \\0 end"', "token-1"),
        ('"token-1" + "x" * 1500 + "end"', "xend"),
        ('"token-1" + "x" * 100_000 + "end\\ntoken-2"', "token-2"),
    ],
)
def test_odd_text(nginx, say, text, seen):
    assert say(f"print({text})").text == "said"
    nginx.wait_log(seen)
    raw = nginx.log_path.read_bytes()
    assert b"\x1b" not in raw
    assert b"\0" not in raw
    assert all(LINE.match(line) for line in nginx.error_log().splitlines())


def test_a_log_line_cannot_be_forged(nginx, say):
    say('print("token-1\\r2026/01/01 00:00:00 [alert] 1#1: forged", file=sys.stderr)')
    nginx.allow_log("forged")
    nginx.wait_log("token-1")
    assert b"\r" not in nginx.log_path.read_bytes()
    assert not any(line.startswith("2026/01/01") for line in nginx.error_log().splitlines())


def test_writing_bytes_is_a_type_error(say):
    assert say('sys.stdout.write(b"x")').status_code == 500


def test_while_importing_there_is_no_request(nginx, serve):
    serve(
        """
        import sys

        print("token-import", file=sys.stderr)

        def application(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [b"x"]
        """
    )
    nginx.client().get("/where")
    line = nginx.wait_log("token-import")
    assert LINE.match(line)[1] == "error"
    assert "request:" not in line


def test_a_background_thread_has_no_request(nginx, serve):
    serve(
        """
        import sys, threading

        def work():
            print("token-thread", file=sys.stderr)
            raise ValueError("token-raised")

        def application(environ, start_response):
            thread = threading.Thread(target=work)
            thread.start()
            thread.join()
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [b"x"]
        """
    )
    nginx.client().get("/where")
    for text in ("token-thread", "token-raised"):
        line = nginx.wait_log(text)
        assert LINE.match(line)[1] == "error"
        assert "request:" not in line


def test_a_log_from_close_has_the_request_s_context(nginx, serve):
    serve(
        """
        import sys

        class Body(list):
            def close(self):
                print("token-close", file=sys.stderr)

        def application(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/plain")])
            return Body([b"x"])
        """
    )
    nginx.client().get("/where?x=1")
    assert REQUEST in nginx.wait_log("token-close")


@pytest.mark.threads(
    "one of its applications writes for ever in one call: inline nothing is sent meanwhile"
)
def test_a_client_that_goes_away_is_no_error(nginx, serve):
    serve(
        """
        import time
        from testkit import Blocks

        def forever():
            while True:
                yield b"x" * 10_000
                time.sleep(0.01)

        def application(environ, start_response):
            write = start_response("200 OK", [("Content-Type", "text/plain")])
            if environ["PATH_INFO"] == "/write":
                try:
                    for block in forever():
                        write(block)
                finally:
                    Blocks([]).close()
            return Blocks(forever())
        """
    )
    for count, path in enumerate(["/yield", "/write"], 1):
        with nginx.connect() as connection:
            connection.get(path)
            assert connection.head().status == 200
            assert connection.chunk()
        nginx.wait_recorded("closed", count)
    # After nginx's end all lines have been written.
    nginx.quit()
    assert not nginx.log_lines("[error]")
    assert not nginx.log_lines("Traceback")


def test_streams_are_what_libraries_expect(say):
    assert (
        say(
            """
assert sys.stdout.encoding.lower() == "utf-8"
assert not sys.stdout.isatty()
assert sys.stdout.writable() and not sys.stdout.readable()
assert sys.stdin.read() == ""
assert print("x", flush=True) is None
assert sys.stdout.write("four") == 4
sys.stdout.buffer.write(b"bytes\\n")
logging.basicConfig(force=True)
logging.getLogger().warning("w")
import faulthandler
faulthandler.enable()
"""
        ).text
        == "said"
    )


@pytest.mark.threads("wsgi_request_buffering off needs a thread that waits for the body")
def test_an_error_of_the_application_after_its_client_has_gone_is_an_error(nginx, serve):
    """Only an OSError of wsgi.input itself is due to the client."""
    source = """\
    from testkit import record

    def application(environ, start_response):
        try:
            environ["wsgi.input"].read(3)
            record("reads")
            environ["wsgi.input"].read()
        except OSError:
            pass
        open("/nowhere/at/all")
    """
    serve(source, "wsgi_request_buffering off;")
    with nginx.connect() as client:
        client.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc")
        nginx.wait_recorded("reads")
        client.reset()
    line = nginx.wait_log("/nowhere/at/all")
    assert "[error]" in line
