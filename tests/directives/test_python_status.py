"""python_status: the numbers of all workers, in one answer."""

from __future__ import annotations

import json
import os
import signal

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as prometheus
from rawhttp import wait_for

STATUS = "location = /status { python_status; }"
OPENMETRICS = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3"

APP = """
    import os

    async def answer(request):
        if request.path == "/raise":
            raise KeyError("no such thing")
        if request.path == "/wait":
            await request.wait(lambda: os.path.exists({opened!r}))
        status = int(request.query or 200)
        await request.respond(b"text", status=status)
"""


@pytest.fixture
def app(nginx, protocol):
    return protocol.app("app", APP.format(opened=str(nginx.data / "open")))


def numbers(nginx) -> dict:
    """The status as JSON."""
    answer = nginx.client().get("/status?format=json")
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    return answer.json()


def application(nginx) -> dict:
    [found] = numbers(nginx)["applications"]
    return found


def serving(nginx, count: int) -> list[dict]:
    """The workers, if there are so many that serve."""
    workers = numbers(nginx)["workers"]
    return workers if [each["state"] for each in workers] == ["serving"] * count else []


def settled(nginx, count: int) -> dict:
    """The numbers of the only application, once `count` of its requests are over."""

    def found() -> dict | None:
        known = application(nginx)
        response = known["times"]["response"]["count"]
        return known if known["requests"] == response == count else None

    return wait_for(found, 60, f"{count} requests that are over")


def test_requests_are_counted_by_class_over_all_workers(nginx, protocol, app):
    nginx.start(f"{protocol}_app {app};", server=STATUS, workers=2)
    statuses = [200, 200, 201, 302, 404, 404, 404, 500, 503]
    for status in statuses:
        assert nginx.client().get(f"/?{status}").status_code == status
    known = settled(nginx, len(statuses))
    assert (known["name"], known["protocol"]) == (str(app), str(protocol))
    assert known["responses"] == {"1xx": 0, "2xx": 3, "3xx": 1, "4xx": 3, "5xx": 2, "none": 0}
    assert known["in_flight"] == 0
    for name in ("queue", "application", "response"):
        times = known["times"][name]
        assert times["count"] == len(statuses) == times["buckets"][-1][1]
        assert 0 < times["p50"] <= times["p99"]
    workers = wait_for(lambda: serving(nginx, 2), 60, "two workers that serve")
    assert sum(worker["requests"] for worker in workers) == len(statuses)
    assert {worker["pid"] for worker in workers} == set(nginx.workers())
    assert all(worker["memory"] > 1 << 20 for worker in workers)


def test_what_went_wrong_is_counted(nginx, protocol, app):
    nginx.start(
        f"{protocol}_app {app}; {protocol}_timeout 200ms; {protocol}_interrupt_timeout off;"
        if protocol.is_wsgi
        else f"{protocol}_app {app}; {protocol}_timeout 200ms;",
        server=STATUS,
    )
    client = nginx.client()
    assert client.get("/raise").status_code == 500
    assert client.get("/wait").status_code == 504
    nginx.open_gate("open")
    known = settled(nginx, 2)
    assert (known["exceptions"], known["timed_out"]) == (1, 1)
    # A loop waits for the GIL for all of its tasks.
    assert known["times"]["gil_wait"]["count"] == (2 if protocol.is_wsgi else 0)
    assert known["responses"]["5xx"] == 2


def test_what_is_in_flight_and_what_waits_is_seen(nginx, protocol, app, background):
    http = "python_thread_pool default threads=1 max_queue=5;"
    limit = "" if protocol.is_wsgi else "asgi_max_requests_in_flight 1;"
    nginx.start(f"{protocol}_app {app}; {limit}", server=STATUS, http=http)
    answers = [background("/wait") for _ in range(3)]
    wait_for(lambda: application(nginx)["in_flight"] == 3, 60, "three requests in flight")

    def waiting() -> dict | None:
        [found] = numbers(nginx)["pools" if protocol.is_wsgi else "loops"]
        return found if found["queue"] == 2 else None

    found = wait_for(waiting, 60, "two that wait")
    if protocol.is_wsgi:
        assert (found["busy"], found["idle"], found["limit"]) == (1, 0, 1)
        wait_for(lambda: (waiting() or {}).get("queue_age", 0) > 0.05, 60, "an age")
    else:
        assert found["tasks"] == 1
    nginx.open_gate("open")
    assert [answer.result().status_code for answer in answers] == [200, 200, 200]
    settled(nginx, 3)
    [found] = numbers(nginx)["pools" if protocol.is_wsgi else "loops"]
    assert found["queue"] == 0


def test_a_worker_that_dies_leaves_consistent_numbers(nginx, protocol, app):
    nginx.start(f"{protocol}_app {app};", server=STATUS)
    assert nginx.client().get("/").status_code == 200
    [worker] = nginx.workers()
    with nginx.connect() as connection:
        connection.send("GET /wait HTTP/1.0\r\n\r\n")
        wait_for(lambda: application(nginx)["in_flight"] == 1, 60, "a request in flight")
        nginx.allow_log(r"exited on signal 9")
        os.kill(worker, signal.SIGKILL)
        assert connection.sock.recv(1) == b""
    wait_for(lambda: nginx.workers() not in ([], [worker]), 60, "another worker")
    assert nginx.client().get("/").status_code == 200
    known = settled_after_crash(nginx)
    assert (known["requests"], known["lost"], known["in_flight"]) == (2, 1, 0)
    all_numbers = numbers(nginx)
    assert all_numbers["crashes"] == 1
    assert [worker["requests"] for worker in all_numbers["workers"]] == [1]
    assert [(event["what"], event["pid"]) for event in all_numbers["history"]] == [
        ("crash", worker)
    ]


def settled_after_crash(nginx) -> dict:
    return wait_for(
        lambda: known if (known := application(nginx))["requests"] == 2 else None, 60, "both"
    )


def test_numbers_stay_over_a_reload(nginx, protocol, app):
    nginx.start(f"{protocol}_app {app};", server=STATUS)
    assert nginx.client().get("/?404").status_code == 404
    settled(nginx, 1)
    other = protocol.app("other", APP.format(opened=""))
    nginx.write_config(f"{protocol}_app {other};", server=STATUS)
    nginx.reload()
    assert nginx.client().get("/").status_code == 200
    old, new = numbers(nginx)["applications"]
    assert (old["name"], old["responses"]["4xx"]) == (str(app), 1)
    wait_for(lambda: numbers(nginx)["applications"][1]["requests"] == 1, 60, "the new one's")
    assert new["name"] == str(other)
    assert numbers(nginx)["reloads"] == 1


@pytest.mark.parametrize("accept", ["text/plain;version=0.0.4", OPENMETRICS])
def test_prometheus_reads_it(nginx, protocol, accept):
    app = protocol.app('quo"te', APP.format(opened=""))
    nginx.start(f"{protocol}_app '{app}';", server=STATUS)
    for status in (200, 200, 404):
        nginx.client().get(f"/?{status}")
    settled(nginx, 3)
    wait_for(lambda: serving(nginx, 1), 60, "a worker that serves")
    answer = nginx.client().get("/status", headers={"Accept": accept})
    is_open = accept == OPENMETRICS
    kind = "application/openmetrics-text" if is_open else "text/plain"
    assert answer.headers["content-type"].startswith(kind + "; version=")
    parse = openmetrics if is_open else prometheus
    samples = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in parse(answer.text)
        for sample in family.samples
    }
    own = (("application", str(app)), ("protocol", str(protocol)))
    assert samples["pywsgi_requests_total", (*own, ("status", "2xx"))] == 2
    assert samples["pywsgi_requests_total", (*own, ("status", "4xx"))] == 1
    assert samples["pywsgi_response_time_seconds_count", own] == 3
    assert samples["pywsgi_workers", (("state", "serving"),)] == 1


def test_a_request_chooses_the_format(nginx, protocol, app):
    nginx.start(f"{protocol}_app {app};", server=STATUS)
    client = nginx.client()
    kinds = {
        "html": "text/html; charset=utf-8",
        "json": "application/json",
        "text": "text/plain; charset=utf-8",
        "prometheus": "text/plain; version=0.0.4; charset=utf-8",
    }
    for name, kind in kinds.items():
        answer = client.get(f"/status?a=b&format={name}")
        assert (answer.status_code, answer.headers["content-type"]) == (200, kind)
        assert str(app) in answer.text
    for accept, kind in [
        ("text/html,application/xhtml+xml,*/*;q=0.8", kinds["html"]),
        ("application/json", kinds["json"]),
        ("*/*", kinds["text"]),
    ]:
        answer = client.get("/status", headers={"Accept": accept})
        assert answer.headers["content-type"] == kind
    assert client.get("/status?format=xml").status_code == 400
    assert client.post("/status").status_code == 405
    head = client.head("/status?format=json")
    assert (head.status_code, head.content) == (200, b"")
    assert int(head.headers["content-length"]) > 0


def test_a_location_has_one_format(nginx, environ):
    server = """
        location = /j { python_status json; }
        location = /t { python_status text; }
        location = /p { python_status prometheus; }
        location = /h { python_status html; }
    """
    nginx.start(f"wsgi_app {environ};", server=server)
    client = nginx.client()
    assert json.loads(client.get("/j?format=text").text)["workers"]
    assert client.get("/t").text.startswith("pywsgi ")
    assert "# TYPE pywsgi_requests_total counter" in client.get("/p").text
    assert client.get("/h").text.startswith("<!doctype html>")


def test_only_the_local_host_is_answered_unless_the_location_says_who(nginx, environ):
    """A client's address is set by realip, as behind a proxy."""
    server = """
        set_real_ip_from 127.0.0.1;
        real_ip_header X-Client;
        location = /private { python_status json; }
        location = /allowed { python_status json; allow 192.0.2.1; deny all; }
        location = /open { python_status json; allow all; }
    """
    nginx.start(f"wsgi_app {environ};", server=server)
    client = nginx.client()

    def status(path: str, **fields: str) -> int:
        return client.get(path, headers=fields).status_code

    assert status("/private") == 200
    for address in ("192.0.2.1", "2001:db8::1", "10.0.0.1"):
        assert status("/private", **{"X-Client": address}) == 403
    for address in ("127.9.9.9", "::1"):
        assert status("/private", **{"X-Client": address}) == 200
    # What a proxy on this host passes on comes from somebody else.
    for field in ("X-Forwarded-For", "Forwarded", "X-Real-IP"):
        assert status("/private", **{field: "for=192.0.2.1"}) == 403
    assert status("/allowed", **{"X-Client": "192.0.2.1"}) == 200
    assert status("/allowed") == 403
    assert status("/open", **{"X-Client": "192.0.2.7", "X-Forwarded-For": "192.0.2.7"}) == 200
    assert nginx.log_lines("python_status answers the local host alone")
    assert nginx.log_lines("python_status does not answer what a proxy")


def test_without_an_application_it_shows_nothing(nginx):
    nginx.start(server=STATUS, http="python_check off;")
    known = numbers(nginx)
    assert (known["applications"], known["workers"]) == ([], [])


IMPORTED_LATER = """
    from testkit import gate

    gate("import")

    async def answer(request):
        await request.respond(b"text")
"""


def test_it_is_ready_once_a_worker_serves(nginx, protocol):
    """What a load balancer asks: it needs the status of the response alone."""
    app = protocol.app("late", IMPORTED_LATER)
    ready = "location = /ready { python_status ready; }"
    nginx.start(f"{protocol}_app {app};", server=STATUS + ready, http="python_check off;")
    client = nginx.client()
    for path in ("/ready", "/status?format=ready"):
        answer = client.get(path)
        assert (answer.status_code, answer.text.partition(":")[0]) == (503, "not ready")
        assert answer.headers["cache-control"] == "no-store"
    assert client.get("/status").status_code == 200, "nginx itself lives"
    nginx.open_gate("import")
    wait_for(lambda: client.get("/ready").status_code == 200, 60, "a worker that serves")
    assert client.get("/status?format=ready").text == "ready\n"
    assert client.head("/ready").status_code == 200
    assert client.get("/").text == "text"


def test_without_an_application_it_is_ready(nginx):
    nginx.start(server="location = /ready { python_status ready; }", http="python_check off;")
    assert nginx.client().get("/ready").text == "ready\n"


@pytest.mark.parametrize(
    ("location", "http", "message"),
    [
        ("python_status xml;", "", 'has "xml"; it must be html, json, prometheus, ready, text'),
        ("python_status; python_status;", "", '"python_status" directive is duplicate'),
        ("python_status; wsgi_app {app};", "", "stands beside another content handler"),
        ("wsgi_app {app}; python_status;", "", "stands beside another content handler"),
        ("wsgi_app {app};", "python_status_zone 1k;", "must be a size of at least 64k"),
        ("wsgi_app {app};", "python_status_zone x;", 'has "x"; it must be a size'),
        ("wsgi_app {app};", "python_status;", "is not allowed here"),
    ],
)
def test_wrong_values(nginx, environ, location, http, message):
    result = nginx.check(location.replace("{app}", str(environ)), http=http)
    assert result.returncode == 1
    assert message in result.stderr


def test_a_zone_that_is_too_small_is_said(nginx, environ):
    nginx.start(f"wsgi_app {environ};", server=STATUS, http="python_status_zone 64k;", workers=8)
    [line] = nginx.log_lines("python_status_zone has room for")
    assert "restart nginx" in line
    assert nginx.client().get("/").status_code == 200


THREADS = """
    import os
    import threading
    import time

    def idle_but_there():
        while True:
            time.sleep(60)

    threading.Thread(target=idle_but_there, name="my-own-thread", daemon=True).start()

    async def waits_at_the_gate(request):
        await request.wait(lambda: os.path.exists({opened!r}))

    async def answer(request):
        if request.path == "/wait":
            await waits_at_the_gate(request)
        await request.respond(str(os.getpid()).encode())
"""


def test_threads_shows_where_each_request_of_each_worker_is(nginx, protocol, background):
    app = protocol.app("app", THREADS.format(opened=str(nginx.data / "open")))
    server = f"{STATUS} location = /threads {{ python_status threads; }}"
    nginx.start(f"{protocol}_app {app};", server=server, workers=2)
    wait_for(lambda: serving(nginx, 2), 60, "two workers that serve")
    answers = [background("/wait", params={"n": number}) for number in range(8)]
    wait_for(lambda: application(nginx)["in_flight"] == 8, 60, "eight requests in flight")
    text = nginx.client().get("/threads").text
    for worker in nginx.workers():
        assert f"(pid {worker}, serving), " in text
    for number in range(8):
        assert f'"GET /wait?n={number}" of application "{app}" runs for ' in text
    assert text.count("in waits_at_the_gate") == 8
    assert text.count('thread "my-own-thread"') == 2
    assert "in idle_but_there" in text
    assert "has not answered" not in text
    nginx.open_gate("open")
    assert {answer.result().status_code for answer in answers} == {200}
    assert "waits_at_the_gate" not in nginx.client().get("/status?format=threads").text


def test_threads_after_a_reload(nginx, protocol, app):
    """The new workers know each other's channels, and the old ones are gone."""
    nginx.start(f"{protocol}_app {app};", server=STATUS, workers=2)
    nginx.reload()
    wait_for(lambda: serving(nginx, 2), 60, "two workers that serve")
    text = nginx.client().get("/status?format=threads").text
    assert {f"(pid {worker}, serving)" in text for worker in nginx.workers()} == {True}
    assert "has not answered" not in text


def test_a_worker_whose_gil_is_held_does_not_hold_up_the_answer(nginx, protocol, background):
    source = """
        import ctypes

        async def answer(request):
            if request.path == "/hold":
                # PyDLL keeps the GIL.
                ctypes.PyDLL(None).usleep(ctypes.c_uint(3_000_000))
            await request.respond(b"text")
    """
    path = protocol.app("app", source)
    nginx.start(f"{protocol}_app {path};", server=STATUS, workers=1)
    assert nginx.client().get("/").status_code == 200
    held = background("/hold")
    wait_for(lambda: application(nginx)["in_flight"] == 1, 60, "the one that holds the GIL")
    text = nginx.client().get("/status?format=threads").text
    assert "1 requests in flight" in text
    assert "has not answered within 1 s" in text or "usleep" in text
    assert held.result().status_code == 200


def test_threads_for_a_client_that_leaves(nginx, protocol, app):
    nginx.start(f"{protocol}_app {app};", server=STATUS)
    for _ in range(20):
        with nginx.connect() as connection:
            connection.send("GET /status?format=threads HTTP/1.1\r\nHost: x\r\n\r\n")
    assert nginx.client().get("/status?format=threads").status_code == 200


def test_threads_without_a_master(nginx, protocol, app):
    nginx.start(f"{protocol}_app {app};", server=STATUS, main="master_process off;")
    assert nginx.client().get("/").status_code == 200
    text = nginx.client().get("/status?format=threads").text
    assert text.startswith("worker 0 (pid ")
    assert "has not answered" not in text


def test_an_application_can_ask(nginx, protocol):
    source = """
        import json

        import pywsgi

        async def answer(request):
            if request.path == "/numbers":
                await request.respond(json.dumps(pywsgi.status()).encode())
            else:
                await request.respond(b"text", status=404)
    """
    nginx.start(f"{protocol}_app {protocol.app('app', source)};", server=STATUS)
    assert nginx.client().get("/").status_code == 404
    settled(nginx, 1)
    found = nginx.client().get("/numbers").json()
    shown = numbers(nginx)
    assert found.keys() == shown.keys()
    [known] = found["applications"]
    assert (known["responses"]["4xx"], known["in_flight"]) == (1, 1)
