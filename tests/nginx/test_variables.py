"""The `$python_*` variables, in the access log, in `map` and in a header."""

from __future__ import annotations

import time

import pytest
from harness import EXECUTOR
from protocols import protocol
from rawhttp import wait_for

__all__ = ["protocol"]

NAMES = [
    "app",
    "queue_time",
    "app_time",
    "gil_wait_time",
    "cpu_time",
    "input_time",
    "process",
    "thread",
    "exception",
    "aborted",
]
LOG = "log_format numbers '" + "|".join(f"$python_{name}" for name in NAMES) + "|$status';"

APP = """
    import os
    import threading
    import time

    async def answer(request):
        body = await request.body()
        if request.path == "/raise":
            raise KeyError("no such thing")
        if request.path == "/compute":
            since = time.thread_time()
            while time.thread_time() - since < 0.05:
                pass
        if request.path == "/wait":
            await request.wait(lambda: os.path.exists({opened!r}))
        await request.respond(str(threading.get_ident()).encode())
"""


@pytest.fixture
def app(nginx, protocol):
    return protocol.app("app", APP.format(opened=str(nginx.data / "open")))


def start(nginx, protocol, app, **options) -> None:
    location = f"{protocol}_app {app}; access_log logs/numbers.log numbers;"
    location += options.pop("location", "")
    http = f"map $request_uri $is_logged {{ /first 0; default 1; }}\n{LOG}"
    nginx.start(location.replace("numbers;", "numbers if=$is_logged;"), http=http, **options)
    # Its queue time has the import as well.
    assert nginx.client().get("/first").status_code == 200


def logged(nginx, count: int = 1) -> list[dict[str, str]]:
    """The first `count` lines of the access log, by name."""
    path = nginx.root / "logs" / "numbers.log"

    def lines() -> list[str]:
        return path.read_text().splitlines() if path.exists() else []

    found = wait_for(lambda: len(lines()) >= count and lines(), 60, f"{count} lines")
    return [dict(zip([*NAMES, "status"], line.split("|"), strict=True)) for line in found]


def test_what_a_request_took(nginx, protocol, app):
    start(nginx, protocol, app)
    answer = nginx.client().post("/compute", content=b"x" * 1000)
    [values] = logged(nginx)
    assert (values["app"], values["status"]) == (str(app), "200")
    assert (values["exception"], values["aborted"]) == ("-", "0")
    assert values["process"] == ("tests/0" if EXECUTOR == "process" else "-")
    times = ["queue_time", "app_time", "input_time"]
    if protocol.is_wsgi:
        assert values["thread"] == answer.text
        assert 0.05 <= float(values["cpu_time"]) <= float(values["app_time"])
        times.append("gil_wait_time")
    else:
        assert (values["gil_wait_time"], values["cpu_time"]) == ("-", "-")
    assert float(values["app_time"]) >= 0.05
    for name in times:
        whole, _, decimals = values[name].partition(".")
        assert whole.isdigit() and len(decimals) == 6


def test_what_was_raised_and_who_has_left(nginx, protocol, app):
    start(nginx, protocol, app)
    assert nginx.client().get("/raise").status_code == 500
    [values] = logged(nginx)
    assert (values["exception"], values["status"]) == ("KeyError", "500")
    with nginx.connect() as connection:
        connection.send("GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
    values = logged(nginx, 2)[1]
    assert (values["aborted"], values["exception"], values["status"]) == ("1", "-", "499")
    nginx.open_gate("open")


def test_a_slow_upload_is_the_clients_time(nginx, protocol, app):
    start(nginx, protocol, app, location=f"{protocol}_request_buffering on;")
    with nginx.connect() as connection:
        connection.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n1")
        # nginx may be late to see the first part.
        time.sleep(1.5)
        connection.send("2")
        connection.response()
    [values] = logged(nginx)
    assert float(values["input_time"]) >= 0.3
    assert float(values["queue_time"]) + float(values["app_time"]) < float(values["input_time"])


def test_a_request_without_an_application_has_none(nginx, protocol, app):
    nginx.page("page.html", "page")
    server = "location = /page.html { access_log logs/numbers.log numbers; }"
    start(nginx, protocol, app, server=server)
    assert nginx.client().get("/page.html").text == "page"
    [values] = logged(nginx)
    assert {name: values[name] for name in NAMES} == dict.fromkeys(NAMES, "-")


def test_an_error_page_keeps_what_the_application_took(nginx, protocol, app):
    nginx.page("sorry.html", "sorry")
    start(
        nginx,
        protocol,
        app,
        location="error_page 500 /sorry.html;",
        server="location = /sorry.html { access_log logs/numbers.log numbers; }",
    )
    assert nginx.client().get("/raise").text == "sorry"
    [values] = logged(nginx)
    assert (values["app"], values["exception"]) == (str(app), "KeyError")


def test_a_header_and_a_map_can_use_them(nginx, protocol, app):
    http = "map $python_exception $failed { '' no; default yes; }"
    location = "add_header X-Failed $failed always; add_header X-App $python_app always;"
    nginx.start(f"{protocol}_app {app}; {location}", http=http)
    assert nginx.client().get("/").headers["x-failed"] == "no"
    answer = nginx.client().get("/raise")
    assert (answer.headers["x-failed"], answer.headers["x-app"]) == ("yes", str(app))
