"""python_process: what a group sets of its interpreter and of the life of its processes."""

from __future__ import annotations

import pytest
from gate import background
from rawhttp import wait_for

__all__ = ["background"]

SEEN = """
    import gc
    import json
    import os
    import sys
    from urllib.parse import parse_qs

    kept = []

    def application(environ, start_response):
        for size in parse_qs(environ["QUERY_STRING"]).get("keep", []):
            kept.append(bytearray(b"x") * (int(size) << 20))
        seen = {
            "pid": os.getpid(),
            "optimize": sys.flags.optimize,
            "dont_write_bytecode": sys.dont_write_bytecode,
            "hash": hash("a string") if not sys.flags.hash_randomization else None,
            "warnings": sys.warnoptions,
            "xoptions": sys._xoptions,
            "switch_interval": round(sys.getswitchinterval(), 3),
            "frozen": gc.get_freeze_count() > 0,
        }
        start_response("200 OK", [("Content-Type", "application/json")])
        return [json.dumps(seen).encode()]
"""

LEAVES = """
    import atexit
    import os
    import testkit

    atexit.register(lambda: testkit.record("left", environ_of))

    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [str(os.getpid()).encode()]

    environ_of = os.environ.get("GROUP", "workers")
"""

HAS_ALL = (
    "optimize=2 dont_write_bytecode=on hash_seed=0 warnings=error::UserWarning "
    "warnings=ignore::ResourceWarning xoption=int_max_str_digits=5000 "
    "switch_interval=20ms gc_freeze=on"
)


@pytest.fixture
def start(nginx):
    """Starts nginx with the groups `one` and `two`, and the same application in the workers."""

    def begin(source: str, one: str, *, http: str = "", two: str = "") -> None:
        app = nginx.app("app", source)
        nginx.start(
            http=f"""
                python_process one env=GROUP=one {one};
                python_process two env=GROUP=two {two};
                {http}
            """,
            server=f"""
                location /one {{ wsgi_app {app}; wsgi_process one; }}
                location /two {{ wsgi_app {app}; wsgi_process two; }}
                location /workers {{ wsgi_app {app}; }}
            """,
        )

    return begin


def seen(nginx, where: str) -> dict:
    return nginx.client().get(f"/{where}").json()


def test_the_interpreter_of_a_group(nginx, start):
    start(SEEN, HAS_ALL)
    of_one = seen(nginx, "one")
    assert (of_one["optimize"], of_one["dont_write_bytecode"], of_one["frozen"]) == (2, True, True)
    assert of_one["hash"] is not None
    assert of_one["warnings"] == ["error::UserWarning", "ignore::ResourceWarning"]
    assert of_one["xoptions"] == {"int_max_str_digits": "5000"}
    assert of_one["switch_interval"] == 0.02
    for other in (seen(nginx, "two"), seen(nginx, "workers")):
        assert (other["optimize"], other["dont_write_bytecode"], other["frozen"]) == (
            0,
            False,
            False,
        )
        assert (other["hash"], other["warnings"], other["xoptions"]) == (None, [], {})
        assert other["switch_interval"] == 0.005


def test_what_a_group_does_not_set_of_the_interpreter_is_that_of_http(nginx, start):
    start(
        SEEN,
        "optimize=0 warnings=error::FutureWarning",
        http="python_optimize 1; python_warnings ignore::UserWarning; python_switch_interval 7ms;",
    )
    of_one, of_two = seen(nginx, "one"), seen(nginx, "two")
    assert (of_one["optimize"], of_one["warnings"]) == (0, ["error::FutureWarning"])
    assert (of_two["optimize"], of_two["warnings"]) == (1, ["ignore::UserWarning"])
    assert seen(nginx, "workers")["optimize"] == 1
    assert of_one["switch_interval"] == of_two["switch_interval"] == 0.007


def replaced(nginx) -> list[str]:
    return nginx.log_lines("this worker is replaced")


@pytest.mark.parametrize(
    ("parameter", "query", "reason"),
    [
        ("max_requests=3,jitter=0", "", "it has had 3 requests (python_max_requests)"),
        ("max_lifetime=1500ms", "", "it has lived for 1.5 s (python_max_lifetime)"),
        pytest.param(
            "memory_limit=300m,hard=2g,check=100ms",
            "?keep=300",
            "(python_memory_limit soft=300m)",
            marks=pytest.mark.unsanitized("the sanitizer's memory counts as well"),
        ),
    ],
)
def test_a_limit_replaces_a_process_of_its_group_alone(nginx, start, parameter, query, reason):
    start(SEEN, parameter)
    others = [seen(nginx, "two")["pid"], seen(nginx, "workers")["pid"]]
    before = seen(nginx, "one")["pid"]
    for where in ("two", "workers"):
        for _ in range(5):
            assert nginx.client().get(f"/{where}{query}").status_code == 200
    for _ in range(2):
        assert nginx.client().get(f"/one{query}").status_code == 200
    nginx.wait_processes("one", 1, but=[before])
    wait_for(lambda: replaced(nginx), 60, "the reason")
    assert all(reason in line and 'process: "one/0"' in line for line in replaced(nginx))
    assert [seen(nginx, "two")["pid"], seen(nginx, "workers")["pid"]] == others


def test_a_group_can_have_no_limit_of_those_of_http(nginx, start):
    start(
        SEEN,
        "max_requests=off max_lifetime=off memory_limit=off",
        http="python_max_requests 3; python_max_lifetime 24h; python_memory_limit soft=4g;",
    )
    before = seen(nginx, "one")["pid"]
    assert {seen(nginx, "one")["pid"] for _ in range(10)} == {before}
    of_two = seen(nginx, "two")["pid"]
    for _ in range(2):
        seen(nginx, "two")
    nginx.wait_processes("two", 1, but=[of_two])
    assert nginx.processes("one") == [before]


def test_a_hard_limit_of_memory(nginx, start):
    start(SEEN, "memory_limit=soft=300m,hard=400m,check=100ms")
    before = seen(nginx, "one")["pid"]
    nginx.allow_log("exits at once")
    nginx.client().get("/one?keep=450")
    nginx.wait_processes("one", 1, but=[before])
    (line,) = nginx.log_lines("it exits at once")
    assert "(python_memory_limit hard=400m)" in line and 'process: "one/0"' in line


def test_a_group_ends_without_finalizing(nginx, start):
    start(LEAVES, "finalize=off", two="finalize=on,timeout=30s")
    for where in ("one", "two", "workers"):
        nginx.client().get(f"/{where}")
    nginx.quit()
    assert sorted(nginx.recorded("left")) == ["two", "workers"]


STUCK = """
    import os
    import testkit

    def application(environ, start_response):
        if environ["QUERY_STRING"]:
            testkit.record("entered", environ["QUERY_STRING"])
            testkit.gate("go")
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [str(os.getpid()).encode()]
"""


def test_how_long_a_process_that_is_replaced_waits_for_its_requests(nginx, start, background):
    """That of http is for the workers, and for the other group."""
    nginx.allow_log("python_drain_timeout")
    start(STUCK, "max_requests=2 drain_timeout=100ms", http="python_drain_timeout 60s;", two="")
    (before,) = nginx.wait_processes("one", 1)
    assert nginx.client().get("/one").text == str(before)
    running = background("/one?stuck")
    nginx.wait_recorded("entered")
    wait_for(lambda: before not in nginx.processes("one", leaving=True), 60, "the end of one")
    assert running.result().status_code in (502, 503)
    nginx.open_gate("go")
    assert nginx.client().get("/one").text != str(before)


STUBBORN = """
    import os
    import time
    from testkit import DATA

    def application(environ, start_response):
        while environ["QUERY_STRING"] and not (DATA / "go").exists():
            try:
                time.sleep(0.01)
            except BaseException:
                pass
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [str(os.getpid()).encode()]
"""


def test_how_many_threads_may_be_stuck(nginx, start):
    """The first one is one too many in one group."""
    start(
        STUBBORN,
        "max_stuck_threads=0 drain_timeout=1s finalize=on,timeout=1s",
        http="""
            wsgi_timeout 300ms; wsgi_interrupt_timeout 300ms;
            python_drain_timeout 1s; python_finalize on timeout=1s;
        """,
    )
    before = {where: nginx.client().get(f"/{where}").text for where in ("one", "two")}
    for where in ("two", "one"):
        assert nginx.client().get(f"/{where}?stuck").status_code == 504
    wait_for(lambda: len(nginx.log_lines("is written off")) == 2, 60, "both threads")
    nginx.wait_processes("one", 1, but=[int(before["one"])])
    (line,) = replaced(nginx)
    assert "(python_max_stuck_threads 0)" in line and 'process: "one/0"' in line
    assert nginx.client().get("/two").text == before["two"]
    nginx.open_gate("go")


HOLDS = """
    import ctypes
    import os

    def application(environ, start_response):
        if environ["QUERY_STRING"]:
            # Keeps the GIL.
            ctypes.PyDLL(None).usleep(int(environ["QUERY_STRING"]) * 1000)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [str(os.getpid()).encode()]
"""


def test_a_deadlock_is_seen_in_a_group_that_looks_for_one(nginx, start):
    nginx.allow_log("python_deadlock_timeout")
    start(HOLDS, "deadlock_timeout=off", two="deadlock_timeout=1s")
    of_one = nginx.client().get("/one").text
    of_two = nginx.client().get("/two").text
    assert nginx.client().get("/one?4000").text == of_one
    nginx.client().get("/two?4000")
    nginx.wait_processes("two", 1, but=[int(of_two)])
    assert nginx.processes("one") == [int(of_one)]
    lines = nginx.log_lines("could take the GIL")
    assert lines and all('process: "two/0"' in line for line in lines)


def test_the_check_has_them(nginx):
    """A module that asserts is refused, and not without asserts."""
    app = nginx.app("app", "assert False, 'asserted'\napplication = print")
    location = f"wsgi_app {app}; wsgi_process one;"
    for parameter, code in (("optimize=1", 0), ("optimize=0", 1)):
        result = nginx.check(
            location, http=f"python_process one {parameter}; python_optimize 1; python_check on;"
        )
        assert result.returncode == code, result.stderr
    assert "asserted" in result.stderr
