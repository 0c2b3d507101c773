"""`pywsgi serve` as a user meets it: what it prints, answers, and does at a signal."""

from __future__ import annotations

import os
import re
import signal
import socket
import threading
from pathlib import Path

import httpx
import pytest
from harness import HAS_HTTP3, free_port
from rawhttp import wait_for

WSGI = """
import os

print("imported")

def app(environ, start_response):
    text = "first"
    if environ["PATH_INFO"] == "/about":
        text = "|".join([
            os.environ["COLOR"], os.environ["FROM_FILE"], os.getcwd(), environ["REMOTE_ADDR"],
            environ["wsgi.url_scheme"],
        ])
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [text.encode()]
"""

ASGI = """
import asyncio, os

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                print("starts up")
                await send({"type": "lifespan.startup.complete"})
            else:
                print("shuts down")
                await send({"type": "lifespan.shutdown.complete"})
                return
    if scope["path"] == "/wait":
        open("waits", "w").close()
        while not os.path.exists("gate"):
            await asyncio.sleep(0.01)
    await send({"type": "http.response.start", "status": 201})
    await send({"type": "http.response.body", "body": scope["path"].encode()})

def create_app():
    return app
"""


def test_a_session(pywsgi):
    """One server: its lines, its answers, its environment, reloads by HUP, Ctrl-C."""
    app = pywsgi.file("app.py", WSGI)
    pywsgi.file("public/site.css", "body {}")
    pywsgi.file("robots.txt", "none")
    pywsgi.file(".env", "FROM_FILE='a b'\nCOLOR=unused\n")
    pywsgi.environ["COLOR"] = "red"
    server = pywsgi.serve(
        "app:app",
        *("--env-file", ".env", "--static", "/static=public", "--static", "/robots.txt=robots.txt"),
        *("--header", "X-Own:a $b; c", "--status", "--pid", "pid"),
        *("--proxy-headers", "--http", "h11"),
    )
    port = server.url.rpartition(":")[2]
    said = server.err()
    assert "WARNING:  --http: nginx parses HTTP (without effect)" in said
    # Not by the process that finds out what it is.
    assert said.count("imported\n") == 1
    assert "INFO:     Application startup complete: app:app (WSGI)\n" in said
    assert "Press CTRL+C to quit" in said
    # nginx's own lines are not for everybody.
    assert "epoll" not in said
    assert "pywsgi[" not in said
    assert int(Path(pywsgi.folder / "pid").read_text()) == server.process.pid

    answer = server.get()
    assert (answer.text, answer.headers["X-Own"]) == ("first", "a $b; c")
    server.wait_out('"GET / HTTP/1.1" 200 OK\n')
    assert server.out().startswith("INFO:     127.0.0.1:")
    about = server.get(
        "/about", headers={"X-Forwarded-For": "10.1.2.3", "X-Forwarded-Proto": "https"}
    )
    assert about.text == f"red|a b|{pywsgi.folder}|10.1.2.3|https"
    css = server.get("/static/site.css")
    assert (css.text, css.headers["Content-Type"]) == ("body {}", "text/css")
    assert server.get("/robots.txt").text == "none"
    assert server.get("/-/status?format=json").json()["workers"][0]["state"] == "serving"

    # A reload takes the new code.
    app.write_text(WSGI.replace("first", "second"))
    server.send(signal.SIGHUP)
    wait_for(lambda: server.get().text == "second", 60, "the new code")
    # One that does not import is not taken.
    app.write_text("import nothing_of_this_name")
    server.send(signal.SIGHUP)
    said = server.wait("The new code is not loaded: the old one goes on")
    assert "ModuleNotFoundError: No module named 'nothing_of_this_name'" in said
    assert server.get().text == "second"

    assert server.stop(signal.SIGINT) == 0
    assert server.err().endswith("INFO:     Stopped\n")
    assert not (pywsgi.folder / "pid").exists()
    assert pywsgi.left_over() == []
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", int(port)))


def test_term_drains(pywsgi):
    """ASGI from a factory: the lifespan, and a request that TERM waits for."""
    pywsgi.file("main.py", ASGI)
    server = pywsgi.serve("main:create_app", "--factory", "-w", "2", "--root-path", "/api")
    server.wait("starts up", 2)
    assert "Application startup complete: main:create_app() (ASGI)" in server.wait("complete:")
    answers = []
    client = threading.Thread(target=lambda: answers.append(server.get("/wait")))
    client.start()
    wait_for((pywsgi.folder / "waits").exists, 60, "a request")
    server.send(signal.SIGTERM)
    server.wait("Shutting down: waiting for requests to end")
    assert server.process.poll() is None
    pywsgi.file("gate")
    client.join()
    assert (answers[0].status_code, answers[0].text) == (201, "/wait")
    assert server.process.wait(60) == 0
    assert server.err().count("shuts down") == 2


def test_a_second_ctrl_c_cuts_requests(pywsgi):
    pywsgi.file("main.py", ASGI)
    server = pywsgi.serve("main.py", "--no-access-log")
    faults = []

    def ask():
        try:
            server.get("/wait")
        except httpx.HTTPError as error:
            faults.append(error)

    client = threading.Thread(target=ask)
    client.start()
    wait_for((pywsgi.folder / "waits").exists, 60, "a request")
    server.send(signal.SIGINT)
    server.wait("Press CTRL+C again to cut requests")
    server.send(signal.SIGINT)
    client.join()
    assert faults
    server.wait("INFO:     Cutting the requests that still run\n")
    assert server.process.wait(60) == 0
    assert server.out() == ""


def test_an_import_that_takes_long(pywsgi):
    pywsgi.file("app.py", "import time\ntime.sleep(600)\n" + WSGI)
    server = pywsgi.serve("app:app")
    server.wait("INFO:     Importing app:app\n")
    assert server.stop(signal.SIGINT) == 0
    assert server.err() == (
        "INFO:     Importing app:app\n"
        "INFO:     Shutting down before the application has started\n"
        "INFO:     Stopped\n"
    )
    assert pywsgi.left_over() == []


def test_reload_on_change(pywsgi):
    """A broken start is waited for; a broken save leaves the old code."""
    app = pywsgi.file("app.py", "import nothing_of_this_name")
    server = pywsgi.serve("app.py", "--reload", "--debug")
    assert "No module named 'nothing_of_this_name'" in server.wait("waiting for a change")
    app.write_text(WSGI)
    assert "Will reload when the code changes" in server.wait("Will reload")
    assert server.get().text == "first"
    app.write_text(WSGI.replace("first", "second"))
    server.wait("INFO:     app.py has changed: reloading\n")
    server.wait("INFO:     Reloaded\n")
    wait_for(lambda: server.get().text == "second", 60, "the new code")
    app.write_text("1 / 0")
    said = server.wait("WARNING:  The new code is not loaded: the old one goes on\n")
    # Nothing of nginx's configuration, which nobody has written.
    assert "\nZeroDivisionError: division by zero\n" in said
    assert "pywsgi[" not in said
    assert "python_check" not in said
    assert server.get().text == "second"
    app.write_text(WSGI.replace('text = "first"', "raise ValueError('shown')"))
    wait_for(lambda: server.get().status_code == 500, 60, "the new code")
    assert "ValueError: shown" in server.get().text


@pytest.mark.parametrize(
    ("proxies", "seen"),
    [
        ("*", "9.9.9.9|https"),
        ("0.0.0.0/0,::/0", "9.9.9.9|https"),
        ("127.1.2.3/8,127.0.0.1,127.0.0.1/32", "8.8.8.8|https"),
        ("10.0.0.0/8,/a/socket", "127.0.0.1|http"),
        (",", "127.0.0.1|http"),
    ],
)
def test_proxies_that_are_trusted(pywsgi, proxies, seen):
    """Nothing that others claim is believed; nginx has nothing to warn of."""
    pywsgi.file("app.py", WSGI)
    pywsgi.environ.update(COLOR="", FROM_FILE="")
    server = pywsgi.serve("app:app", "--forwarded-allow-ips", proxies)
    headers = {"X-Forwarded-For": "9.9.9.9, 8.8.8.8", "X-Forwarded-Proto": "https"}
    answer = server.get("/about", headers=headers)
    assert answer.text.split("|", 3)[3] == seen
    assert "WARNING" not in server.err()


def test_tls_and_sockets(pywsgi):
    """A certificate that is made now, HTTP/2, a Unix socket, two addresses."""
    pywsgi.file("app.py", WSGI)
    path = pywsgi.folder / "a.sock"
    first, second = free_port(), free_port()
    server = pywsgi.serve(
        *("--tls-self-signed", "--http2", "--bind", f"127.0.0.1:{first}"),
        *("--bind", f"127.0.0.1:{second}", "--uds", path),
        *(["--http3"] if HAS_HTTP3 else []),
    )
    assert server.url == f"https://127.0.0.1:{first}"
    assert f"running on unix:{path} " in server.wait("running on", 3)
    for port in (first, second):
        with httpx.Client(trust_env=False, verify=False, http2=True, timeout=60) as client:
            answer = client.get(f"https://127.0.0.1:{port}/")
            assert (answer.text, answer.http_version) == ("first", "HTTP/2")
            assert ("Alt-Svc" in answer.headers) == HAS_HTTP3
    assert server.stop(signal.SIGTERM) == 0
    assert not path.exists()


def test_nginx_ends_with_a_command_that_is_killed(pywsgi):
    pywsgi.file("app.py", WSGI)
    server = pywsgi.serve("app.py")
    port = int(server.url.rpartition(":")[2])
    server.process.kill()
    server.process.wait(60)

    def refused() -> bool:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            return True
        return False

    wait_for(refused, 60, "nginx's end")


def test_a_startup_that_fails(pywsgi):
    pywsgi.file("main.py", ASGI.replace('print("starts up")', "raise OSError('no database')"))
    server = pywsgi.serve("main:app", "--lifespan", "on")
    assert server.process.wait(120) == 3
    assert "no database" in server.err()
    assert server.err().count("The application has not started. Exiting.") == 1
    assert pywsgi.left_over() == []


# What does not start says why in its last line, and how to go on.


def refused(pywsgi, *arguments: str | Path, code: int = 1) -> tuple[str, str]:
    done = pywsgi.run("serve", *arguments)
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert pywsgi.left_over() == []
    *before, last = re.sub(r"^imported\n", "", done.stderr).splitlines()
    assert last.startswith("ERROR:    ")
    return "\n".join(before), last


def test_an_address_that_is_in_use(pywsgi):
    pywsgi.file("app.py", WSGI)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        before, last = refused(pywsgi, "app:app", "--port", str(port))
    # Nothing has been imported for it.
    assert before == ""
    assert last.startswith(f"ERROR:    127.0.0.1:{port} is already in use: stop what listens there")


@pytest.mark.parametrize(
    ("source", "target", "traceback", "message"),
    [
        ("import nothing_here", "app:app", 'app.py", line 1', "install nothing_here in "),
        ("1 / 0", "app.py", "ZeroDivisionError", "cannot be imported: ZeroDivisionError"),
        # Of those whose source says what they are, the worker finds out.
        (WSGI + "1 / 0", "app.py", "ZeroDivisionError", "be imported: ZeroDivisionError"),
        (ASGI + "1 / 0", "app.py:app", "ZeroDivisionError", "be imported: ZeroDivisionError"),
        (WSGI + "os._exit(7)", "app.py", "", "ended its process with exit code 7"),
        ("def app(", "app.py", "SyntaxError", "cannot be imported: SyntaxError"),
        ("raise SystemExit(3)", "app.py", "", "called sys.exit(3) while it was imported"),
        ("import os; os._exit(7)", "app.py", "", "ended its process with exit code 7"),
        (WSGI, "app:nothing", "", "has no 'nothing'; it has app"),
        (WSGI, "missing:app", "", "there is no module 'missing' in "),
        (WSGI, "missing.py", "", "there is no file missing.py"),
        ("x = 1", "app:x", "", "is an int, which cannot be called"),
    ],
)
def test_an_application_that_does_not_import(pywsgi, source, target, traceback, message):
    pywsgi.file("app.py", source)
    before, last = refused(pywsgi, target, "--port", "0", code=3)
    assert message in last
    assert ("Traceback" in before or "SyntaxError" in before) == bool(traceback)
    assert traceback in before
    # It begins with the application's own code.
    assert "/pywsgi/" not in before
    assert "startup complete" not in before
    assert "pywsgi[203]" not in before


def test_variables_that_are_wrong(pywsgi):
    pywsgi.file("app.py", WSGI)
    pywsgi.environ["PORT"] = "99999"
    _, last = refused(pywsgi, "app:app")
    assert last == "ERROR:    PORT=99999: the last port is 65535"
    pywsgi.environ["WEB_CONCURRENCY"] = "many"
    done = pywsgi.run("serve", "app:app")
    assert done.stderr == "pywsgi: WEB_CONCURRENCY=many: 'many' is no number of at least 0\n"
    assert done.returncode == 1


def test_a_wrong_protocol(pywsgi):
    pywsgi.file("app.py", WSGI)
    _, last = refused(pywsgi, "app:app", "--interface", "asgi3", "--port", "0", code=3)
    assert "app:app is an application of WSGI, and not of ASGI: leave out --interface" in last


def test_nginx_and_its_module_are_missing(pywsgi):
    pywsgi.file("app.py", WSGI)
    _, last = refused(pywsgi, "app:app", "--nginx", "/no/nginx")
    assert "--nginx: /no/nginx is no nginx that can be run" in last
    _, last = refused(pywsgi, "app:app", "--module", "/no/module.so")
    assert "--module: there is no file /no/module.so" in last


def test_a_module_that_cannot_be_loaded(pywsgi):
    pywsgi.file("app.py", WSGI)
    broken = pywsgi.file("broken.so", "this is no library")
    before, last = refused(pywsgi, "app:app", "--module", broken, "--port", "0")
    assert "dlopen()" in before
    assert "the module cannot be loaded; pywsgi doctor says more" in last


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--pid", "no/p"), "ERROR:    --pid no/p: No such file or directory\n"),
        (("--uds", "no/s"), "/no/s: No such file or directory\n"),
        (("--user", "no;user"), "ERROR:    --user no;user: there is no such user\n"),
        (("--group", "no;group"), "ERROR:    --group no;group: there is no such group\n"),
    ],
)
def test_a_name_that_is_none(pywsgi, arguments, message):
    """One line, and nothing stays."""
    if arguments[0] in ("--user", "--group") and os.geteuid() != 0:
        message = "--user and --group need root"
    pywsgi.file("app.py", WSGI)
    server = pywsgi.serve("app:app", *arguments)
    assert server.process.wait(60) == 1
    assert message in server.err()
    assert server.err().count("\n") == 1
    assert pywsgi.left_over() == []
