"""What shows the processes of a `python_process`: python_status, logs, variables, titles."""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable

import pytest
from browser import CHROMIUM, Browser
from gate import background
from harness import PROJECT, Nginx, title_of
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as prometheus
from rawhttp import wait_for

__all__ = ["background"]

SHOP = """
    import os
    import sys
    import threading
    import pywsgi
    from testkit import gate, record

    def application(environ, start_response):
        query = environ["QUERY_STRING"]
        if query == "raise":
            raise KeyError("no such thing")
        if query == "die":
            os.kill(os.getpid(), 9)
        if query == "restart":
            pywsgi.restart_worker()
        if query == "print":
            print("said of a request")
            threading.Thread(target=print, args=["said of none"]).start()
        if query == "status":
            import json
            start_response("200 OK", [("Content-Type", "application/json")])
            return [json.dumps(pywsgi.status()).encode()]
        if query.startswith("gate="):
            record("begun", os.getpid())
            gate(query.removeprefix("gate="))
        status = {"missing": "404 Not Found", "full": "503 Full"}.get(query, "200 OK")
        start_response(status, [("Content-Type", "text/plain")])
        return [str(os.getpid()).encode()]
"""
REPORTS = """
    from testkit import gate, opened, record, respond

    async def application(scope, receive, send):
        if scope["query_string"] == b"gate":
            record("begun", "asgi")
            await opened("asgi")
        await respond(send, b"reports")
"""
LOG = """log_format python '$uri?$args $status process=$python_process';
    access_log logs/python.log python;"""


@pytest.fixture
def groups(nginx):
    """Starts nginx with a group of two processes with one thread each, one of a loop, and an
    application in the workers.
    """

    def start(*, http: str = "", processes: int = 2, **options) -> Nginx:
        shop, reports = nginx.app("shop", SHOP), nginx.app("reports", REPORTS)
        inside = nginx.app("inside", SHOP)
        nginx.start(
            http=f"""
                python_process shop processes={processes} threads=1 queue=7;
                python_process reports;
                {http}
            """,
            server=f"""
                location /shop {{ wsgi_app {shop}; wsgi_process shop; }}
                location /reports {{ asgi_app {reports}; asgi_process reports; }}
                location /late {{
                    asgi_app {reports}; asgi_process reports; asgi_queue_timeout 100ms;
                }}
                location /inside {{ wsgi_app {inside}; }}
                location = /status {{ python_status; }}
            """,
            **options,
        )
        wait_for(lambda: group(nginx, "shop")["serving"] == processes, 60, "processes that serve")
        wait_for(lambda: group(nginx, "reports")["serving"] == 1, 60, "processes that serve")
        return nginx

    return start


def numbers(nginx: Nginx) -> dict:
    return nginx.client().get("/status?format=json").json()


def text(nginx: Nginx, form: str) -> str:
    answer = nginx.client().get(f"/status?format={form}")
    assert answer.status_code == 200
    return answer.text


def group(nginx: Nginx, name: str) -> dict:
    return next(each for each in numbers(nginx)["processes"] if each["name"] == name)


def application(nginx: Nginx, name: str) -> dict:
    found = numbers(nginx)["applications"]
    return next(each for each in found if each["name"].endswith(f"/{name}.py"))


def processes(nginx: Nginx, name: str) -> list[dict]:
    return [each for each in numbers(nginx)["workers"] if each["process"] == name]


def wait_begun(nginx: Nginx, count: int) -> list[int]:
    return [int(line) for line in nginx.wait_recorded("begun", count)]


def test_processes_are_shown_as_what_they_are(nginx, groups):
    groups(workers=2)
    all_of = numbers(nginx)
    web = [each for each in all_of["workers"] if each["process"] is None]
    assert {each["pid"] for each in web} == {*nginx.workers()}
    assert [each["number"] for each in web] == [0, 1]
    shop = processes(nginx, "shop")
    assert [each["process_number"] for each in shop] == [0, 1]
    assert {each["pid"] for each in shop} == {*nginx.processes("shop")}
    assert all(each["memory"] > 1 << 20 for each in shop)
    found = group(nginx, "shop")
    assert (found["processes"], found["serving"]) == (2, 2)
    # The queue is of each of the web workers; the processes have their own.
    assert (found["queue"], found["queue_age"], found["max_queue"]) == (0, 0, 14)
    [pool] = found["pools"]
    assert (pool["name"], pool["limit"], pool["max_queue"]) == ("default", 2, 14)
    names = {each["name"].rpartition("/")[2]: each["process"] for each in all_of["applications"]}
    assert names == {"shop.py": "shop", "reports.py": "reports", "inside.py": None}
    [loop] = group(nginx, "reports")["loops"]
    assert (loop["name"], loop["tasks"]) == ("main", 0)
    assert [pool["name"] for pool in all_of["pools"]] == ["default"]
    said = text(nginx, "text")
    pid = shop[1]["pid"]
    assert re.search(rf"^process 1 of shop \(pid {pid}\): serving, up ", said, re.MULTILINE), said
    assert re.search(r"^processes of shop: 2 of 2 serve, 0 requests, ", said, re.MULTILINE), said
    assert re.search(r"^wsgi application \S+/shop.py in shop: ", said, re.MULTILINE), said


def test_workers_without_python_have_no_threads(nginx):
    app = nginx.app("shop", SHOP)
    nginx.start(
        http="python_process shop;",
        server=f"""
            location /shop {{ wsgi_app {app}; wsgi_process shop; }}
            location = /status {{ python_status; }}
        """,
    )
    wait_for(lambda: group(nginx, "shop")["serving"] == 1, 60, "a process that serves")
    [pool] = numbers(nginx)["pools"]
    assert (pool["limit"], pool["max_queue"]) == (0, 0)
    assert group(nginx, "shop")["pools"][0]["limit"] > 0


def test_a_request_counts_once(nginx, groups):
    """As its clients count it: over web workers and processes."""
    groups(workers=2)
    queries = ["", "missing", "full", "raise"]
    paths = [f"/{where}?{query}" for where in ("shop", "inside") for query in queries] * 10
    paths += ["/reports"] * 20

    def get(path: str) -> tuple[str, int]:
        with nginx.client() as client:
            return path.split("?")[0], client.get(path).status_code

    with concurrent.futures.ThreadPoolExecutor(8) as executor:
        answers = Counter(executor.map(get, paths))

    def counted() -> Counter:
        found: Counter = Counter()
        for app in numbers(nginx)["applications"]:
            where = "/" + app["name"].rpartition("/")[2].removesuffix(".py")
            for kind, number in app["responses"].items():
                found[where, kind] += number
        return +found

    expected: Counter = Counter()
    for (where, status), count in answers.items():
        expected[where, f"{status // 100}xx"] += count
    wait_for(lambda: counted() == expected, 60, f"{expected}; there is {counted()}")
    shop, reports = group(nginx, "shop"), group(nginx, "reports")
    assert (shop["requests"], reports["requests"]) == (40, 20)
    assert sum(each["requests"] for each in processes(nginx, "shop")) == 40
    web = [each["requests"] for each in numbers(nginx)["workers"] if each["process"] is None]
    assert sum(web) == len(paths)
    wait_for(lambda: group(nginx, "shop")["in_flight"] == 0, 60, "the end of all requests")
    for name in ("shop", "inside"):
        app = application(nginx, name)
        assert (app["exceptions"], app["in_flight"], app["lost"]) == (10, 0, 0)
        for name in ("response", "application", "queue", "gil_wait"):
            assert app["times"][name]["count"] == 40, name
    times = application(nginx, "reports")["times"]
    assert (times["application"]["count"], times["gil_wait"]["count"]) == (20, 0)


def test_what_is_in_flight_and_what_waits_is_seen(nginx, groups, background):
    groups()
    # One runs in each process, and two wait for their threads.
    answers = [background("/shop?gate=open") for _ in range(4)]
    wait_begun(nginx, 2)

    def waits() -> bool:
        found = group(nginx, "shop")
        [pool] = found["pools"]
        shown = (found["in_flight"], pool["busy"], pool["queue"], pool["queue_age"] > 0)
        return shown == (4, 2, 2, True)

    wait_for(waits, 60, "two that run, and two that wait")
    assert [each["in_flight"] for each in processes(nginx, "shop")] == [2, 2]
    assert application(nginx, "shop")["in_flight"] == 4
    web = [each for each in numbers(nginx)["workers"] if each["process"] is None]
    assert [each["in_flight"] for each in web] == [4]
    nginx.open_gate("open")
    assert {answer.result().status_code for answer in answers} == {200}
    wait_for(lambda: group(nginx, "shop")["in_flight"] == 0, 60, "their end")


def test_what_no_process_has_is_seen_with_its_age(nginx, groups, background):
    """The only process has died, and there is no other one yet."""
    nginx.allow_log(r"exited on signal 9")
    groups(http=LOG)
    (pid,) = nginx.processes("reports")
    # Nobody starts another one meanwhile.
    os.kill(nginx.master, signal.SIGSTOP)
    try:
        os.kill(pid, signal.SIGKILL)
        nginx.wait_log('python_process "reports": process 0: it has ended')
        answers = [background("/reports") for _ in range(3)]

        def waits() -> bool:
            found = group(nginx, "reports")
            return found["queue"] == 3 and found["queue_age"] > 0.05

        wait_for(waits, 60, "three that wait")
        said = text(nginx, "threads")
        assert len(re.findall(r'"GET /reports" of .* that no process of reports has', said)) == 3
        assert 'pywsgi_process_queue_length{process="reports"} 3' in text(nginx, "prometheus")
        assert nginx.client().get("/late").status_code == 503
        log = nginx.root / "logs" / "python.log"
        wait_for(lambda: "/late?- 503 process=reports\n" in log.read_text(), what="its line")
    finally:
        os.kill(nginx.master, signal.SIGCONT)
    assert [answer.result().text for answer in answers] == ["reports"] * 3
    found = group(nginx, "reports")
    assert (found["queue"], found["queue_age"], found["crashes"]) == (0, 0, 1)


def test_deaths_are_of_their_group(nginx, groups):
    nginx.allow_log(r"exited on signal 9")
    groups()
    before = nginx.processes("shop")
    assert nginx.client().get("/shop?die").status_code == 502
    nginx.wait_processes("shop", 2, but=[pid for pid in before if not _lives(pid)])
    wait_for(lambda: group(nginx, "shop")["serving"] == 2, 60, "the next process")
    all_of = numbers(nginx)
    assert (all_of["crashes"], group(nginx, "shop")["crashes"]) == (1, 1)
    assert group(nginx, "reports")["crashes"] == 0
    app = application(nginx, "shop")
    assert (app["process_died"], app["lost"], app["responses"]["5xx"]) == (1, 0, 1)
    [crash] = [event for event in all_of["history"] if event["what"] == "crash"]
    assert crash["process"] == "shop" and crash["process_number"] in (0, 1)
    shown = text(nginx, "prometheus")
    assert 'pywsgi_workers_crashed_total{process="shop"} 1\n' in shown
    assert "pywsgi_workers_crashed_total 0\n" in shown
    assert re.search(r"ago: process \d of shop \(pid \d+\) died", text(nginx, "text"))


def test_a_group_that_a_reload_removes_keeps_its_numbers(nginx, groups):
    groups()
    assert nginx.client().get("/shop").status_code == 200
    wait_for(lambda: application(nginx, "shop")["requests"] == 1, 60, "its end")
    nginx.write_config(server="location = /status { python_status; }")
    nginx.reload()
    wait_for(lambda: len(numbers(nginx)["workers"]) == 0, 60, "the end of all processes")
    found = group(nginx, "shop")
    assert (found["processes"], found["serving"], found["memory"]) == (0, 0, 0)
    app = application(nginx, "shop")
    assert (app["process"], app["requests"]) == ("shop", 1)


def _lives(pid: int) -> bool:
    return "python_process" in title_of(pid)


@pytest.mark.parametrize(
    ("accept", "parse"),
    [("", prometheus), ("application/openmetrics-text;version=1.0.0", openmetrics)],
)
def test_prometheus_has_a_label_for_groups(nginx, groups, accept, parse):
    groups()
    for path in ("/shop", "/shop?raise", "/inside"):
        nginx.client().get(path)
    wait_for(lambda: application(nginx, "inside")["requests"] == 1, 60, "its end")
    wait_for(lambda: {each["state"] for each in numbers(nginx)["workers"]} == {"serving"})
    answer = nginx.client().get("/status?format=prometheus", headers={"Accept": accept})
    families = {family.name: family for family in parse(answer.text)}

    def values(family: str, **labels: str) -> list[float]:
        name = family if family in families else family.removesuffix("_total")
        found = [s for s in families[name].samples if labels.items() <= s.labels.items()]
        return [sample.value for sample in found]

    shop = str(nginx.apps / "shop.py")
    assert values("pywsgi_requests_total", application=shop, process="shop", status="2xx") == [1]
    assert values("pywsgi_requests_total", application=shop, process="shop", status="5xx") == [1]
    inside = [s for s in families["pywsgi_workers"].samples if "process" not in s.labels]
    assert {sample.labels["state"]: sample.value for sample in inside}["serving"] == 1
    assert values("pywsgi_workers", state="serving", process="shop") == [2]
    assert values("pywsgi_pool_threads_limit", process="shop") == [2]
    assert len(values("pywsgi_worker_memory_bytes", process="shop")) == 2
    assert values("pywsgi_processes_limit", process="shop") == [2]


def test_threads_shows_the_stacks_of_processes(nginx, groups, background):
    groups()
    answers = [background(path) for path in ("/shop?gate=open", "/reports?gate")]
    nginx.wait_recorded("begun", 2)
    said = text(nginx, "threads")
    parts = re.split(r"^(?=(?:worker|process) \d+)", said, flags=re.MULTILINE)[1:]
    heads = [part.splitlines()[0] for part in parts]
    assert [re.sub(r" \(pid.*", "", head) for head in heads] == [
        "worker 0",
        "process 0 of shop",
        "process 1 of shop",
        "process 0 of reports",
    ]
    [shop] = [part for part in parts if "/shop?gate" in part]
    assert re.search(r'"GET /shop\?gate=open" of application ".*" runs for .* in thread', shop)
    assert 'gate(query.removeprefix("gate="))' in shop and "1 requests in flight" in shop
    [reports] = [part for part in parts if "/reports?gate" in part]
    assert 'await opened("asgi")' in reports
    assert '"GET' not in parts[0], "the web worker's requests are the processes'"
    for name in ("open", "asgi"):
        nginx.open_gate(name)
    assert [answer.result().status_code for answer in answers] == [200, 200]


def test_lines_and_variables_name_the_process(nginx, groups):
    log = nginx.root / "logs" / "said.json"
    groups(http=f"{LOG}\npython_log {log} json;")
    client = nginx.client()
    pid = int(client.get("/shop?print").text)
    [number] = [each["process_number"] for each in processes(nginx, "shop") if each["pid"] == pid]
    client.get("/shop?raise")
    client.get("/inside?raise")
    client.get("/inside?print")

    def records() -> list[dict]:
        return [json.loads(line) for line in log.read_text().splitlines()]

    wait_for(lambda: len([r for r in records() if "said of" in r["message"]]) == 4, 60, "lines")
    by_pid = {each["pid"]: each for each in numbers(nginx)["workers"]}
    for record in records():
        of = by_pid[record["process"]]
        expected = f"{of['process']}/{of['process_number']}" if of["process"] else None
        assert record.get("python_process") == expected, record
    assert {record.get("python_process") for record in records()} >= {f"shop/{number}", None}
    lines = nginx.log_lines("pywsgi[501]")
    [inside] = [line for line in lines if "GET /inside" in line]
    [shop] = [line for line in lines if "GET /shop" in line]
    assert re.search(r'application ".*/shop.py" raised.*, client: 127.0.0.1, .*request: "GET', shop)
    assert re.search(r', process: "shop/[01]"$', shop) and ", process: " not in inside
    access = (nginx.root / "logs" / "python.log").read_text()
    assert f"/shop?print 200 process=shop/{number}\n" in access
    assert "/inside?raise 500 process=-\n" in access


def test_titles_name_the_applications(nginx, groups, background):
    groups(processes=1)
    (pid,) = nginx.processes("shop")
    name = f"{nginx.apps}/shop.py"
    assert title_of(pid).startswith(f"nginx: python_process shop: {name}")
    answer = background("/shop?gate=open")
    wait_begun(nginx, 1)
    os.kill(pid, signal.SIGQUIT)
    leaves = f"nginx: python_process shop is shutting down: {name}"
    wait_for(lambda: title_of(pid).startswith(leaves), 60, leaves)
    wait_for(lambda: processes(nginx, "shop")[0]["state"] == "draining", 60, "its state")
    nginx.open_gate("open")
    assert answer.result().text == str(pid)


def test_an_application_sees_all_of_them(nginx, groups):
    groups()
    for where in ("shop", "inside"):
        seen = nginx.client().get(f"/{where}?status").json()
        assert [each["name"] for each in seen["processes"]] == ["shop", "reports"]
        assert seen["processes"][0]["serving"] == 2
        assert len(seen["workers"]) == 4


def test_top_shows_groups(nginx, groups):
    groups()
    nginx.client().get("/shop")
    done = subprocess.run(
        [sys.executable, "-m", "pywsgi", "top", "--once", nginx.url("/status")],
        env={**os.environ, "PYTHONPATH": str(PROJECT / "python-shim")},
        capture_output=True,
        text=True,
        check=True,
    )
    lines = done.stdout.splitlines()
    [shop] = [line for line in lines if line.startswith("shop ")]
    assert re.match(r"shop +2/2 +0 +0 +0/7 +0 +0 +0 +\d+M$", shop), shop
    assert any(re.match(r"\S+/shop.py +wsgi in shop ", line) for line in lines), done.stdout
    assert any(re.match(r"shop: default +0/2 +0/14 ", line) for line in lines), done.stdout
    assert any(re.match(r"reports: main +0 +0 ", line) for line in lines), done.stdout
    (pid, _) = nginx.processes("shop")
    assert any(re.match(rf"{pid} +serving .* shop/[01]$", line) for line in lines), done.stdout
    [worker] = nginx.workers()
    assert any(re.match(rf"{worker} +serving .* -$", line) for line in lines), done.stdout


def test_restart_worker_restarts_that_process_alone(nginx, groups):
    """One after the other, while clients come: nothing is lost, and one is there at any time."""
    groups()
    workers, others = nginx.workers(), nginx.processes("reports")
    before = nginx.processes("shop")
    stop: list[bool] = []
    serving: list[int] = []

    def get_on() -> Counter:
        found: Counter = Counter()
        with nginx.client() as client:
            while not stop:
                found[client.get("/shop").status_code] += 1
        return found

    def look(done: Callable[[], bool]) -> bool:
        serving.append(group(nginx, "shop")["serving"])
        return done()

    with concurrent.futures.ThreadPoolExecutor(3) as executor:
        loads = [executor.submit(get_on) for _ in range(3)]
        # Both are asked, of which one has to wait.
        asked = set()
        while asked != {*before}:
            asked.add(int(nginx.client().get("/shop?restart").text))
        gone = lambda: not {*nginx.processes("shop", leaving=True)} & {*before}  # noqa: E731
        wait_for(lambda: look(gone), 60, "the end of both")
        full = lambda: group(nginx, "shop")["serving"] == 2  # noqa: E731
        wait_for(lambda: look(full), 60, "the next ones")
        stop.append(True)
        answers = sum((load.result() for load in loads), Counter())
    assert set(answers) == {200}, answers
    assert min(serving) >= 1, "never two at once"
    assert (nginx.workers(), nginx.processes("reports")) == (workers, others)
    found = group(nginx, "shop")
    assert found["replaced"]["restart_worker"] == 2 and found["crashes"] == 0
    assert numbers(nginx)["replaced"]["restart_worker"] == 2


@pytest.mark.skipif(not CHROMIUM.exists(), reason="there is no chromium")
def test_the_page_shows_groups(nginx, groups, background):
    groups()
    with contextlib.closing(Browser()) as browser:
        page = browser.open(nginx.url("/status"))
        page.watch()
        answers = [background("/shop?gate=open") for _ in range(4)]
        wait_begun(nginx, 2)
        shown = "Array.from(document.querySelectorAll('%s tbody tr'), row => row.textContent)"
        page.wait(f"{shown % '#groups'}.some(row => row.startsWith('shop2 of 242 of 22'))")
        assert page.evaluate(f"{shown % '#groups'}.length") == 2
        workers = page.evaluate(f"{shown % '#workers'}")
        assert [row[:6] for row in workers[1:3]] == ["shop 0", "shop 1"]
        assert any(row.startswith("shop: default") for row in page.evaluate(shown % "#pools"))
        assert any(row.startswith("reports: main") for row in page.evaluate(shown % "#loops"))
        assert any("wsgi, shop" in row for row in page.evaluate(shown % "#apps"))
        wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        for width in (1600, 1250, 1100, 1010, 800, 390, 320):
            page.size(width, 1000)
            assert page.evaluate(wide) <= 0, f"{width} pixels"
        assert page.errors() == []
        nginx.open_gate("open")
        assert {answer.result().status_code for answer in answers} == {200}
