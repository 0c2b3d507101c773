"""python_thread_pool and wsgi_thread_pool: a pool's threads, and which locations it serves."""

from __future__ import annotations

import signal
from collections import Counter
from pathlib import Path

import pytest
from rawhttp import wait_for

MEGABYTE = 1 << 20
STACK = """
    import ctypes

    LIBC = ctypes.CDLL(None)
    LIBC.pthread_self.restype = ctypes.c_ulong

    def application(environ, start_response):
        attributes = ctypes.create_string_buffer(256)
        size = ctypes.c_size_t()
        assert LIBC.pthread_getattr_np(ctypes.c_ulong(LIBC.pthread_self()), attributes) == 0
        assert LIBC.pthread_attr_getstacksize(attributes, ctypes.byref(size)) == 0
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [str(size.value).encode()]
"""
SIGNALS = """
    import signal

    def application(environ, start_response):
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [])
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [" ".join(str(int(number)) for number in blocked).encode()]
"""


def thread(answer) -> str:
    return answer.text.split()[1]


# python_thread_pool


@pytest.mark.parametrize(
    ("http", "threads"), [("", 8), ("python_thread_pool default threads=3;", 3)]
)
def test_the_default_pool_has_as_many_threads(nginx, gate, background, http, threads):
    held = gate()
    nginx.start(f"wsgi_app {held.app};", http=http)
    answers = [background("/?hold") for _ in range(threads + 2)]
    held.wait_entered(threads)
    quick = background("/")
    assert not quick.done()
    assert held.entered() == threads
    held.open()
    assert {answer.result().status_code for answer in answers} == {200}
    assert quick.result().status_code == 200
    assert len({thread(answer.result()) for answer in answers}) == threads
    assert held.entered() <= threads + 2


def test_threads_start_on_demand_and_the_last_idle_is_used_first(nginx, gate, background):
    held = gate()
    nginx.start(f"wsgi_app {held.app};", http="python_thread_pool default threads=6;")
    client = nginx.client()
    # A thread that has answered may not be idle yet when the next request comes.
    first = {thread(client.get("/")) for _ in range(30)}
    assert len(first) <= 4, "one request after another needs no six threads"
    (worker,) = nginx.workers()

    def all_sleep() -> bool:
        tasks = [Path(f"/proc/{worker}/task/{number}/stat").read_text() for number in first]
        return all(task.rpartition(")")[2].split()[0] == "S" for task in tasks)

    wait_for(all_sleep, what="threads that are idle again")
    answers = [background("/?hold") for _ in range(4)]
    held.wait_entered(4)
    held.open()
    used = {thread(answer.result()) for answer in answers}
    assert len(used) == 4
    assert first <= used, "idle threads were used before new ones were started"
    held.shut()
    later = Counter(thread(client.get("/")) for _ in range(40))
    assert set(later) <= used
    assert later.most_common(1)[0][1] >= 15, "in turn, each would have had ten"


def test_stack(nginx):
    app = nginx.app("stack", STACK)
    nginx.start(
        http="python_thread_pool large threads=1 stack=48m;",
        server=f"""
        location /large {{ wsgi_app {app}; wsgi_thread_pool large; }}
        location /default {{ wsgi_app {app}; }}
        """,
    )
    client = nginx.client()
    assert int(client.get("/large").text) >= 48 * 1024 * 1024
    assert int(client.get("/default").text) < 48 * 1024 * 1024


def test_all_signals_are_blocked(nginx):
    nginx.start(f"wsgi_app {nginx.app('signals', SIGNALS)};")
    blocked = {int(number) for number in nginx.client().get("/").text.split()}
    # Two of them cannot be blocked, and the synchronous ones must not be: if one of those is
    # blocked, the kernel ends the process without calling its handler.
    names = ["KILL", "STOP", "ILL", "TRAP", "ABRT", "BUS", "FPE", "SEGV", "SYS"]
    assert {*signal.valid_signals()} - blocked == {signal.Signals[f"SIG{name}"] for name in names}


def test_the_smallest_stack(nginx, gate):
    held = gate()
    nginx.start(f"wsgi_app {held.app};", http="python_thread_pool default threads=1 stack=256k;")
    assert nginx.client().get("/").status_code == 200


# wsgi_thread_pool


def test_a_pool_is_a_bulkhead(nginx, gate, background):
    held = gate()
    nginx.page("index.html", "static")
    nginx.start(
        http="python_thread_pool report threads=2;",
        server=f"""
        location /report {{ wsgi_app {held.app}; wsgi_thread_pool report; }}
        location /login {{ wsgi_app {held.app}; }}
        """,
    )
    answers = [background("/report?hold") for _ in range(6)]
    held.wait_entered(2)
    client = nginx.client()
    for _ in range(20):
        assert client.get("/login").status_code == 200
        assert client.get("/").text == "static"
    assert held.entered() == 2
    assert not any(answer.done() for answer in answers)
    held.open()
    assert {answer.result().status_code for answer in answers} == {200}


def test_inheritance(nginx, gate, background):
    held = gate()
    app = f"wsgi_app {held.app};"
    nginx.start(
        http="""
        python_thread_pool one threads=1;
        python_thread_pool two threads=1;
        wsgi_thread_pool one;
        """,
        server=f"""
        location /one {{ {app} }}
        location /two {{
            wsgi_thread_pool two;
            {app}
            if ($arg_if) {{ set $x 1; }}
            location /two/below {{ {app} }}
            location /two/default {{ wsgi_thread_pool default; {app} }}
        }}
        """,
    )
    client = nginx.client()
    threads = {
        path: thread(client.get(path))
        for path in ["/one", "/two", "/two?if=1", "/two/below", "/two/default"]
    }
    assert threads["/two"] == threads["/two?if=1"] == threads["/two/below"]
    assert len(set(threads.values())) == 3
    answers = [background("/one?hold"), background("/two/below?hold")]
    held.wait_entered(2)
    assert client.get("/two/default").status_code == 200
    waiting = background("/two?if=1")
    assert client.get("/two/default").status_code == 200
    assert not waiting.done()
    held.open()
    assert [answer.result().status_code for answer in [*answers, waiting]] == [200] * 3


def test_a_pool_may_be_declared_after_its_use(nginx, say):
    result = nginx.check(
        http=f"""
        server {{
            listen 127.0.0.1:{nginx.port};
            location / {{ wsgi_app {say("one")}; wsgi_thread_pool later; }}
        }}
        python_thread_pool later threads=1;
        """
    )
    assert result.returncode == 0, result.stderr


@pytest.mark.unsanitized("it needs address space")
def test_a_first_thread_that_cannot_be_started_is_tried_again(nginx, background):
    """The limit leaves no room for the pool's stack until the import raises it."""
    nginx.allow_log(r'a thread of python_thread_pool "large" cannot be started')
    source = """
        import resource
        from testkit import gate

        gate("room")
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))

        def application(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [b"at last"]
    """
    nginx.launcher = ("prlimit", f"--as={1000 * MEGABYTE}:")
    nginx.start(
        f"wsgi_app {nginx.app('app', source)}; wsgi_thread_pool large;",
        http="python_thread_pool large threads=1 stack=1024m;",
    )
    nginx.wait_log("cannot be started")
    answer = background("/")
    nginx.open_gate("room")
    assert answer.result(60).text == "at last"
    nginx.wait_log('a thread of python_thread_pool "large" has been started again')
    assert len(nginx.log_lines("cannot be started")) == 1


def test_a_request_that_blocks_after_many_quick_ones_holds_up_nobody(nginx):
    """While requests are quick no thread stands by; the event loop must notice one that is slow."""
    source = """
        from testkit import gate

        def application(environ, start_response):
            start_response("200 OK", [("Content-Length", "2")])
            if environ["QUERY_STRING"]:
                gate(environ["QUERY_STRING"])
            return [b"ok"]
    """
    nginx.start(f"wsgi_app {nginx.app('app', source)};")
    connections = [nginx.connect() for _ in range(6)]
    request = b"GET /%b HTTP/1.1\r\nHost: a\r\n\r\n"
    for number in range(10):
        for connection in connections * 4:
            connection.send(request % b"")
            assert connection.response().body == b"ok"
        name = f"gate{number}"
        connections[0].send(request % f"?{name}".encode())
        for connection in connections[1:]:
            connection.send(request % b"")
        assert {connection.response().body for connection in connections[1:]} == {b"ok"}
        nginx.open_gate(name)
        assert connections[0].response().body == b"ok"


# Mistakes


def test_an_unknown_pool(refused, say):
    app = f"wsgi_app {say('one')};"
    for context in ["http", "server", "location"]:
        text = {"location": app, context: "wsgi_thread_pool reports;"}
        if context == "location":
            text["location"] = f"{app}\nwsgi_thread_pool reports;"
        refused("wsgi_thread_pool reports", "reports", "pool", **text)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("threads=0", ["threads=0"]),
        ("threads=-1", ["threads=-1"]),
        ("threads=+4", [r"threads=\+4"]),
        ("threads=many", ["threads=many"]),
        ("threads=", ["threads="]),
        ("max_queue=5", ["threads"]),
        ("4", ["4"]),
        ("threads=4 max_queue=-1", ["max_queue=-1"]),
        ("threads=4 max_queue=x", ["max_queue=x"]),
        ("threads=4 stack=x", ["stack=x"]),
        ("threads=4 stack=1", ["stack=1"]),
        ("threads=4 stack=255k", ["stack=255k"]),
        ("threads=4 queue=5", ["queue=5"]),
    ],
)
def test_wrong_parameters(refused, arguments, words):
    refused("python_thread_pool pool", *words, http=f"python_thread_pool pool {arguments};")


def test_a_pool_declared_twice(refused):
    refused(
        "python_thread_pool pool threads=3",
        "duplicate|twice|already",
        "pool",
        http="python_thread_pool pool threads=2;\npython_thread_pool pool threads=3;",
    )
