"""python_log: the output of applications, in logs of their own."""

from __future__ import annotations

import json
import os
import re
import signal
import socket

import pytest
from rawhttp import wait_for

SOURCE = """
    import logging
    import sys
    import traceback

    print("imported")

    async def answer(request):
        print("printed, of " + request.path)
        print("to stderr", file=sys.stderr)
        logging.getLogger("shop").warning("low stock\\nof tea")
        try:
            raise KeyError("handled")
        except KeyError:
            traceback.print_exc()
        if request.path == "/raise":
            raise ValueError("broken")
        await request.respond(b"ok")
"""
# The head of each line of a text that a handler of pywsgi's has formatted.
STAMP = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} "


def text(nginx, name: str = "app.log") -> str:
    path = nginx.root / "logs" / name
    return path.read_text() if path.exists() else ""


def wait_text(nginx, wanted: str, name: str = "app.log") -> str:
    wait_for(lambda: wanted in text(nginx, name), 30, f"{wanted!r} in {name}")
    return text(nginx, name)


def records(nginx, name: str = "app.log") -> list[dict]:
    return [json.loads(line) for line in text(nginx, name).splitlines()]


def test_a_file_has_what_applications_say_and_nothing_else(nginx, protocol):
    app = protocol.app("app", SOURCE)
    nginx.start(f"{protocol}_app {app}; python_log logs/app.log;")
    client = nginx.client()
    assert client.get("/good").text == "ok"
    said = wait_text(nginx, "KeyError")
    handled = (
        r"Traceback \(most recent call last\):\n"
        r'(  .*\n)*?  File "[^"]+/app.py", line \d+, in answer\n'
        r"(    .*\n)+"
        r"KeyError: 'handled'\n"
    )
    pattern = (
        r"imported\nprinted, of /good\nto stderr\n" + STAMP + r"WARNING shop: low stock\nof tea\n"
    )
    assert re.fullmatch(pattern + handled, said), said
    assert client.get("/raise").status_code == 500
    # The error log says that, and where more of it is.
    line = nginx.wait_log('app.py" raised')
    assert "[error]" in line
    assert f"(the traceback is in {nginx.root}/logs/app.log)" in line
    assert 'request: "GET /raise ' in line
    said = wait_text(nginx, "ValueError")[len(said) :]
    raised = (
        r"\d{4}/\d\d/\d\d \d\d:\d\d:\d\d ERROR pywsgi\[501\]: "
        r"application \"[^\"]+/app.py\" raised, "
        r"client: 127.0.0.1, server: [^,]*, "
        r"request: \"GET /raise HTTP/1.1\", host: \"[^\"]+\"\n"
        r"Traceback \(most recent call last\):\n(  .*\n)+ValueError: broken\n"
    )
    assert re.search(raised + r"\Z", said), said
    for other in ("imported\n", "printed", "to stderr", "low stock", "Traceback", "KeyError"):
        assert not [line for line in nginx.log_lines(other) if "pywsgi 0" not in line]


def test_json_is_a_line_for_each_record(nginx, protocol):
    app = protocol.app("app", SOURCE)
    nginx.start(f"{protocol}_app {app}; python_log logs/app.log json;")
    client = nginx.client()
    assert client.get("/raise").status_code == 500
    wait_text(nginx, "broken")
    imported, *others = records(nginx)
    (worker,) = nginx.workers()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", imported.pop("time"))
    assert imported == {
        "level": "info",
        "logger": "stdout",
        "message": "imported",
        "application": str(app),
        "process": worker,
    }
    found = []
    for record in others:
        assert record["request"] == "GET /raise"
        assert re.fullmatch(rf"{worker}-\d+-1", record["request_id"])
        assert record["application"] == str(app)
        trace = record.get("traceback", "").splitlines()
        assert not trace or trace[0] == "Traceback (most recent call last):"
        found.append((record["level"], record["logger"], record["message"], trace[-1:]))
    assert found == [
        ("info", "stdout", "printed, of /raise", []),
        ("error", "stderr", "to stderr", []),
        ("warn", "shop", "low stock\nof tea", []),
        ("error", "stderr", "KeyError: 'handled'", ["KeyError: 'handled'"]),
        ("error", "pywsgi", f'application "{app}" raised', ["ValueError: broken"]),
    ]
    assert len({record["request_id"] for record in others}) == 1


def test_it_is_inherited_and_replaced(nginx, protocol):
    app = protocol.app("app", SOURCE)
    with_app = f"{protocol}_app {app};"
    nginx.start(
        http="python_log logs/http.log;",
        server=f"""
        location /http {{ {with_app} }}
        location /own {{ {with_app} python_log logs/own.log json level=error; }}
        location /off {{ {with_app} python_log off; }}
        location /error_log {{ {with_app} python_log error_log level=warn; }}
        location /stderr {{ {with_app} python_log stderr; }}
        """,
    )
    client = nginx.client()
    for path in ("http", "own", "off", "error_log", "stderr"):
        assert client.get(f"/{path}").text == "ok"
    wait_text(nginx, "KeyError", "http.log")
    wait_text(nginx, "KeyError", "own.log")
    wait_for(lambda: "printed, of /stderr" in nginx.stderr() + nginx.error_log(), 30, "stderr")
    nginx.quit()
    assert text(nginx, "http.log").count("printed") == 1
    # What an import says is of all locations: each log has it, if its level allows.
    assert text(nginx, "http.log").count("imported") == 1
    assert [record["level"] for record in records(nginx, "own.log")] == ["error", "error"]
    everything = "".join(text(nginx, name) for name in os.listdir(nginx.root / "logs"))
    assert "of /off" not in everything
    assert "of /error_log" not in everything
    assert nginx.log_lines("shop: low stock")[0].count("[warn]") == 1
    # Its lines have no prefix.
    assert "\nprinted, of /stderr\n" in "\n" + nginx.stderr() + nginx.error_log()


def test_a_log_that_leaves_out_what_is_printed_says_so_once_at_the_start(nginx):
    app = nginx.app("app", "def application(environ, start_response): raise ValueError")
    result = nginx.check(
        server=f"""
        location / {{ wsgi_app {app}; python_log off; }}
        location /a {{ wsgi_app {app}; python_log logs/a.log level=warn; }}
        location /b {{ wsgi_app {app}; python_log logs/b.log; }}
        location /c {{ python_log off; }}
        """
    )
    assert result.returncode == 0, result.stderr
    lines = [line for line in result.stderr.splitlines() if "is not logged" in line]
    assert len(lines) == 2
    assert "[notice]" in lines[0]
    assert (
        "python_log off: what applications print to stdout and stderr is not logged "
        "(python_stdout_log_level is info, python_stderr_log_level is error) in "
    ) in lines[0]
    assert "python_log level=warn: what applications print to stdout is not logged" in lines[1]


def test_it_is_reopened(nginx, protocol):
    """USR1: requests, and a thread that prints while nginx has nothing to do."""
    app = protocol.app(
        "app",
        """
        import threading
        from testkit import DATA
        import os
        import time

        def count():
            number = 0
            while not (DATA / "stop").exists():
                number += 1
                print("counted", number)
                time.sleep(0.001)

        threading.Thread(target=count, daemon=True).start()

        async def answer(request):
            print("served " + request.path)
            await request.respond(b"ok")
        """,
    )
    nginx.start(f"{protocol}_app {app}; python_log logs/app.log;", workers=1)
    wait_text(nginx, "counted 10\n")
    before = nginx.root / "logs" / "before.log"
    for turn in range(3):
        (nginx.root / "logs" / "app.log").rename(before.with_name(f"before{turn}.log"))
        os.kill(nginx.master, signal.SIGUSR1)
        wait_text(nginx, "counted")
        assert nginx.client().get(f"/{turn}").text == "ok"
        wait_text(nginx, f"served /{turn}\n")
    nginx.open_gate("stop")
    nginx.quit()
    whole = [text(nginx, f"before{turn}.log") for turn in range(3)] + [text(nginx)]
    counted = [line for line in "".join(whole).splitlines() if line.startswith("counted")]
    assert counted == [f"counted {number}" for number in range(1, len(counted) + 1)]
    for turn in range(3):
        assert f"served /{turn}" in whole[turn + 1]


def test_nothing_is_lost_or_mixed_if_many_threads_write_at_once(nginx):
    """Two workers, eight threads each, and long records."""
    app = nginx.app(
        "app",
        """
        import logging
        import pywsgi

        logging.basicConfig(level="INFO", handlers=[pywsgi.LogHandler()])

        def application(environ, start_response):
            name = environ["PATH_INFO"].strip("/")
            for number in range(50):
                print(name, number, "p" * 20_000)
                logging.info("%s %d %s\\nend", name, number, "l" * 20_000)
            start_response("200 OK", [])
            return [b"ok"]
        """,
    )
    nginx.start(f"wsgi_app {app}; python_log logs/app.log;", workers=2)
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda own: nginx.client().get(f"/t{own}").text, range(16)))
    assert answers == ["ok"] * 16
    said = text(nginx)
    lines = said.splitlines()
    for own in range(16):
        printed = [line for line in lines if line.startswith(f"t{own} ")]
        assert printed == [f"t{own} {number} {'p' * 20_000}" for number in range(50)]
    pattern = STAMP + r"INFO root: t\d+ \d+ l{20000}\nend\n"
    assert len(re.findall(pattern, said)) == 16 * 50
    assert len(lines) == 16 * 50 * 3


def test_a_line_and_a_record_are_bounded(nginx):
    app = nginx.app(
        "app",
        """
        import logging
        import pywsgi

        logging.basicConfig(level="INFO", handlers=[pywsgi.LogHandler()])

        def application(environ, start_response):
            print("p" * 100_000)
            logging.info("\\n" * 100_000)
            logging.info("é" * 100_000)
            start_response("200 OK", [])
            return [b"ok"]
        """,
    )
    nginx.start(f"wsgi_app {app}; python_log logs/app.log json;")
    assert nginx.client().get("/").text == "ok"
    printed, newlines, accents = (record["message"] for record in records(nginx))
    assert printed == "p" * 65_536 + " [34464 more characters are cut]"
    # As JSON writes them, each takes two bytes.
    assert newlines == "\n" * 32_800 + " [67200 more characters are cut]"
    assert accents == "é" * 32_800 + " [67200 more characters are cut]"
    assert len(text(nginx)) < 4 * 65_536


def test_what_a_forked_child_and_a_dying_worker_have_said_is_there(nginx):
    app = nginx.app(
        "app",
        """
        import os
        import signal

        def application(environ, start_response):
            pid = os.fork()
            if pid == 0:
                print("from the child")
                os._exit(0)
            os.waitpid(pid, 0)
            print("the last words")
            os.kill(os.getpid(), signal.SIGKILL)
        """,
    )
    nginx.allow_log(r"exited on signal 9")
    nginx.start(f"wsgi_app {app}; python_log logs/app.log json;")
    (worker,) = nginx.workers()
    with nginx.connect() as connection:
        connection.get("/")
        connection.rest()
    child, last = records(nginx)
    assert child["message"] == "from the child"
    assert child["process"] != worker
    assert child["request_id"].startswith(f"{worker}-")
    assert last["message"] == "the last words"
    nginx.wait_log("exited on signal 9")


def test_a_background_thread_and_the_end_of_a_worker(nginx, protocol):
    """Their output is of no request: it goes where that of all locations goes."""
    app = protocol.app(
        "app",
        """
        import atexit
        import threading

        atexit.register(print, "at exit")
        threading.Thread(target=print, args=("in a thread",)).start()

        async def answer(request):
            await request.respond(b"ok")
        """,
    )
    nginx.start(f"{protocol}_app {app}; python_log logs/app.log json;")
    wait_text(nginx, "in a thread")
    nginx.quit()
    thread, end = records(nginx)
    assert (thread["message"], end["message"]) == ("in a thread", "at exit")
    assert "request" not in thread
    assert "application" not in thread


def test_a_file_that_is_full_loses_what_it_cannot_take_and_says_so_once(nginx):
    nginx.start(
        f"wsgi_app {nginx.app('app', 'def application(environ, start_response):' + PRINTS)};"
        "python_log /dev/full;"
    )
    assert nginx.client().get("/").text == "ok"
    nginx.wait_log("python_log /dev/full cannot be written: No space left on device")
    assert nginx.client().get("/").text == "ok"
    nginx.quit()
    assert len(nginx.log_lines("/dev/full")) == 1


PRINTS = """
    print("printed")
    start_response("200 OK", [])
    return [b"ok"]
"""


@pytest.fixture
def syslog(nginx):
    """A socket to which syslog messages come, and its directive's argument."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        path = str(nginx.root / "syslog")
        sock.bind(path)
        os.chmod(path, 0o666)
        sock.settimeout(30)
        yield sock, f"syslog:server=unix:{path},nohostname,tag=shop,facility=user"


def received(sock, count: int) -> list[str]:
    return [sock.recv(1 << 20).decode() for _ in range(count)]


def test_syslog_has_a_message_for_each_line(nginx, protocol, syslog):
    sock, where = syslog
    nginx.start(f"{protocol}_app {protocol.app('app', SOURCE)}; python_log {where};")
    assert nginx.client().get("/").text == "ok"
    messages = received(sock, 8)
    stamp = r"<(\d+)>\w{3} [ \d]\d \d\d:\d\d:\d\d shop: "
    found = [re.fullmatch(stamp + "(.*)", message).groups() for message in messages]
    # Facility user is 1; info is 6, warn 4, error 3.
    assert found[0] == ("14", "imported")
    assert found[2] == ("11", "to stderr")
    assert found[3][0] == found[4][0] == "12"
    assert found[4][1] == "of tea"
    assert found[5] == ("11", "Traceback (most recent call last):")


def test_a_line_that_is_too_long_for_a_syslog_is_several_messages(nginx, syslog):
    sock, where = syslog
    source = """
        def application(environ, start_response):
            print("x" * 100_000)
            print("next")
            start_response("200 OK", [])
            return [b"ok"]
    """
    nginx.start(f"wsgi_app {nginx.app('app', source)}; python_log {where};")
    assert nginx.client().get("/").text == "ok"
    texts = [message.split("shop: ", 1)[1] for message in received(sock, 4)]
    assert "".join(texts[:3]) == "x" * 65_536 + " [34464 more characters are cut]"
    assert max(map(len, texts)) == 24_576 and texts[3] == "next"


def test_syslog_has_a_message_for_each_record_of_json(nginx, syslog):
    sock, where = syslog
    source = """
        import logging
        import pywsgi

        logging.basicConfig(level="INFO", handlers=[pywsgi.LogHandler()])

        def application(environ, start_response):
            logging.info("x" * 100_000)
            try:
                1 / 0
            except ZeroDivisionError:
                logging.exception("divided")
            start_response("200 OK", [])
            return [b"ok"]
    """
    nginx.start(f"wsgi_app {nginx.app('app', source)}; python_log {where} json;")
    assert nginx.client().get("/").text == "ok"
    long, divided = (json.loads(message.split("shop: ", 1)[1]) for message in received(sock, 2))
    # One datagram: the texts of a record are cut where a syslog still takes it.
    assert long["message"] == "x" * 24_576 + " [75424 more characters are cut]"
    assert divided["message"] == "divided"
    assert divided["traceback"].endswith("ZeroDivisionError: division by zero")


def test_a_syslog_that_is_away_loses_what_is_said_and_says_so_once(nginx, syslog):
    sock, where = syslog
    app = nginx.app("app", "def application(environ, start_response):" + PRINTS)
    nginx.start(f"wsgi_app {app}; python_log {where};")
    client = nginx.client()
    assert client.get("/").text == "ok"
    assert "printed" in received(sock, 1)[0]
    path = sock.getsockname()
    os.rename(path, f"{path}.away")
    sock.close()
    # nginx says itself that it cannot be reached.
    nginx.allow_log(r"syslog|\(111: Connection refused\)|send\(\) failed|connect\(\) failed")
    for _ in range(3):
        assert client.get("/").text == "ok"
    nginx.wait_log("python_log cannot send to its syslog")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as again:
        again.bind(path)
        os.chmod(path, 0o666)
        again.settimeout(30)
        assert client.get("/").text == "ok"
        assert "printed" in received(again, 1)[0]
        line = nginx.wait_log("python_log can send to its syslog again")
        assert re.search(r"; [1-3] records have been lost", line)
        assert len(nginx.log_lines("python_log cannot send")) == 1


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("logs/a.log jsonx", 'python_log has "jsonx"; only json and level=LEVEL may follow'),
        ("logs/a.log json json", 'python_log has "json"; only json'),
        ("logs/a.log level=warn level=info", 'python_log has "level=info"; only json'),
        ("logs/a.log level=loud", 'python_log has the unknown level "loud"; write emerg, alert'),
        ("error_log json", "python_log cannot write json to the error_log"),
        ('""', "python_log has an empty name"),
        ("syslog:tag=x", "no syslog server specified"),
        ("logs/none/a.log", 'logs/none/a.log" failed (2: No such file or directory)'),
        ("logs/a.log; python_log logs/b.log", '"python_log" directive is duplicate'),
        ("", 'invalid number of arguments in "python_log" directive'),
    ],
)
def test_wrong_values(nginx, value, message):
    result = nginx.check(f"wsgi_app {nginx.app('app', '')}; python_log {value};")
    assert result.returncode != 0
    assert message in result.stderr


def test_contexts(nginx):
    result = nginx.check(
        http="python_log logs/a.log;",
        server="python_log logs/b.log; location /x { python_log off; }",
    )
    assert result.returncode == 0, result.stderr
    result = nginx.check(server="location / { if ($args) { python_log off; } }")
    assert '"python_log" directive is not allowed here' in result.stderr


def test_the_file_is_as_nginx_makes_its_logs(nginx):
    """The same owner and mode as the access log, before and after it is reopened."""
    app = nginx.app("app", "def application(environ, start_response):" + PRINTS)
    nginx.start(f"wsgi_app {app}; python_log logs/app.log;")
    logs = [nginx.root / "logs" / name for name in ("access.log", "app.log")]

    def owners():
        return [(status.st_uid, status.st_gid, status.st_mode) for status in map(os.stat, logs)]

    assert len(set(owners())) == 1
    for log in logs:
        log.unlink()
    os.kill(nginx.master, signal.SIGUSR1)
    wait_for(lambda: all(log.exists() for log in logs), 30, "the logs")
    assert nginx.client().get("/").text == "ok"
    wait_text(nginx, "printed")
    assert len(set(owners())) == 1
