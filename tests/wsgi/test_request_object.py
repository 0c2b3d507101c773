"""environ["pywsgi.request"]: on_disconnect, after_response, the deadline, the id."""

from __future__ import annotations

import re

import httpx
import pytest
from process_memory import thread_names
from rawhttp import wait_for

in_a_call = pytest.mark.threads(
    "the application waits, in a call, for what the event loop is to notice meanwhile"
)

# ?do=NAME chooses what the application does.
SOURCE = """
    import os
    import sqlite3
    import threading
    import time
    from urllib.parse import parse_qsl

    from testkit import Blocks, gate, record

    def until(condition, what):
        deadline = time.monotonic() + 60
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError(what)
            time.sleep(0.005)

    def thread():
        return threading.get_native_id()

    def told(request):
        # The callback is called while the application runs and checks nothing.
        called = threading.Event()
        caller = []

        @request.on_disconnect
        def callback():
            caller.append(thread())
            record("told", request.disconnected)
            called.set()

        record("entered", request.disconnected)
        if not called.wait(60):
            raise TimeoutError("nobody called")
        record("own thread", caller[0] != thread())

    def polls(request):
        record("entered", request.disconnected)
        until(lambda: request.disconnected, "disconnected")
        record("seen")

    def query(request):
        # A query that would run for hours, and is cancelled.
        database = sqlite3.connect(":memory:", check_same_thread=False)
        request.on_disconnect(database.interrupt)
        record("entered")
        try:
            database.execute(
                "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) "
                "SELECT count(*) FROM n"
            ).fetchall()
        except sqlite3.OperationalError as error:
            record("query", error)

    def late(request):
        polls(request)
        request.on_disconnect(lambda: record("late", thread() == os.getpid() or thread()))
        record("late", thread())

    def raising(request):
        request.on_disconnect(lambda: 1 / 0)
        request.on_disconnect(lambda: record("next"))
        record("entered")
        until(lambda: request.disconnected, "disconnected")

    def counted(request):
        request.on_disconnect(lambda: record("told"))
        record("entered")
        until(lambda: request.disconnected, "disconnected")
        record("left")

    def hangs(request):
        def callback():
            record("begun", request.id)
            gate("hangs")
            record("told", request.id)
        request.on_disconnect(callback)
        record("entered", request.id)
        gate("application")

    def unneeded(request):
        request.on_disconnect(lambda: record("told", "in vain"))

    def after(request):
        request.after_response(lambda: record("after", f"first {request.disconnected}"))
        request.after_response(lambda: record("after", "second"))

    def after_raises(request):
        request.after_response(lambda: {}["missing"])
        request.after_response(lambda: record("after", "next"))

    def told_forks(request):
        me = os.getpid()
        called = threading.Event()

        @request.on_disconnect
        def forks():
            child = os.fork()
            if child:
                record("child", os.waitpid(child, 0)[1])

        @request.on_disconnect
        def following():
            record("next", os.getpid() == me)
            called.set()

        record("entered")
        if not called.wait(60):
            raise TimeoutError("nobody called")
        record("parent")

    def asks_in_a_child(request):
        calls = {
            "disconnected": lambda: request.disconnected,
            "deadline": lambda: request.deadline,
            "on_disconnect": lambda: request.on_disconnect(print),
            "after_response": lambda: request.after_response(print),
            "send_trailers": lambda: request.send_trailers([]),
        }
        child = os.fork()
        if child:
            record("child", os.waitpid(child, 0)[1])
            return
        for name, call in calls.items():
            try:
                call()
            except RuntimeError as error:
                record(name, error)
        record("id", request.id.split("-")[1:])
        os._exit(0)

    def slow_after(request):
        def work():
            record("begun")
            gate("work")
            record("after", "work")
        request.after_response(work)

    def deadline(request):
        record("deadline", request.deadline and request.deadline - time.monotonic())

    def nothing(request):
        pass

    def application(environ, start_response):
        query = dict(parse_qsl(environ["QUERY_STRING"]))
        request = environ["pywsgi.request"]
        globals()[query.get("do", "nothing")](request)
        size = int(query.get("size", 3))
        start_response("200 OK", [("Content-Type", "text/plain"), ("X-Id", request.id)])
        many = (b"x" * 65536 for _ in range(size // 65536))
        return Blocks([b"x" * size] if size < 100000 else many)
"""


@pytest.fixture
def start(nginx):
    app = nginx.app("asks", SOURCE)

    def begin(more: str = "", **options):
        nginx.start(f"wsgi_app {app}; {more}", **options)
        return nginx.client()

    return begin


@pytest.fixture
def ask_and_leave(nginx):
    """`ask_and_leave("told")` is a client that leaves as soon as the application runs."""

    def ask(what: str, how: str = "close") -> None:
        before = len(nginx.recorded("entered"))
        connection = nginx.connect()
        connection.get(f"/?do={what}")
        nginx.wait_recorded("entered", before + 1)
        getattr(connection, how)()

    return ask


@in_a_call
@pytest.mark.parametrize("how", ["close", "reset"])
def test_the_application_is_told_while_it_runs(start, nginx, ask_and_leave, how):
    start()
    ask_and_leave("told", how)
    assert nginx.wait_recorded("told") == ["True"]
    assert nginx.wait_recorded("own thread") == ["True"]
    assert nginx.recorded("entered") == ["False"]


@in_a_call
def test_the_application_can_look(start, nginx, ask_and_leave):
    start()
    ask_and_leave("polls")
    nginx.wait_recorded("seen")


@in_a_call
def test_over_http2_and_tls(start, nginx):
    start(http2=True)
    with nginx.client(http2=True, timeout=3) as client, pytest.raises(httpx.ReadTimeout):
        client.get("/?do=polls")
    nginx.wait_recorded("seen")


@in_a_call
def test_a_running_query_is_cancelled(start, nginx, ask_and_leave):
    start()
    ask_and_leave("query")
    assert nginx.wait_recorded("query") == ["interrupted"]


@in_a_call
def test_who_asks_late_is_told_at_once_and_by_itself(start, nginx, ask_and_leave):
    start()
    ask_and_leave("late")
    told, own = nginx.wait_recorded("late", 2)
    assert told == own


@in_a_call
def test_a_callback_that_raises_is_in_the_log_and_the_next_is_called(start, nginx, ask_and_leave):
    start()
    ask_and_leave("raising")
    nginx.wait_recorded("next")
    line = nginx.wait_log("ZeroDivisionError: division by zero")
    assert "/?do=raising" in line
    assert "on_disconnect's callback raised" in nginx.error_log()


@in_a_call
def test_a_callback_is_called_once_though_the_application_ends_at_once(start, nginx, ask_and_leave):
    start()
    for _ in range(100):
        ask_and_leave("counted")
    nginx.wait_recorded("left", 100)
    nginx.wait_recorded("told", 100)
    nginx.stop()
    assert len(nginx.recorded("told")) == 100


@in_a_call
def test_callbacks_that_hang_cost_no_more_than_a_few_threads(start, nginx):
    """The rest wait for one of these threads, or are run by their application's thread."""
    start(http="python_thread_pool default threads=20;")
    (worker,) = nginx.runners()
    connections = [nginx.connect() for _ in range(20)]
    for connection in connections:
        connection.get("/?do=hangs")
    requests = nginx.wait_recorded("entered", 20)
    for connection in connections:
        connection.close()
    nginx.wait_recorded("begun", 8)
    assert "8 threads are in on_disconnect's callbacks" in nginx.wait_log("callbacks wait")
    assert thread_names(worker).count("pywsgi-gone") == 8
    # The others are called when their applications end.
    nginx.open_gate("application")
    nginx.wait_recorded("begun", 20)
    assert thread_names(worker).count("pywsgi-gone") == 8
    nginx.open_gate("hangs")
    assert sorted(nginx.wait_recorded("told", 20)) == sorted(requests)
    wait_for(lambda: "pywsgi-gone" not in thread_names(worker), what="the threads' end")
    assert nginx.error_log().count("callbacks wait") == 1


@in_a_call
def test_a_child_that_a_callback_forks_ends_with_it(start, nginx, ask_and_leave):
    start()
    ask_and_leave("told_forks", "reset")
    assert nginx.wait_recorded("child") == ["0"]
    assert nginx.wait_recorded("parent") == ["-"]
    assert nginx.recorded("next") == ["True"]


def test_a_forked_child_is_refused_what_is_its_parent_s(start, nginx):
    """The event loop may have held a lock of the request during the fork."""
    client = start()
    response = client.get("/?do=asks_in_a_child")
    assert response.text == "xxx"
    assert nginx.recorded("child") == ["0"]
    for name in ("disconnected", "deadline", "on_disconnect", "after_response", "send_trailers"):
        (said,) = nginx.recorded(name)
        assert "the request is the parent's" in said
    assert nginx.recorded("id") == [str(response.headers["X-Id"].split("-")[1:])]


def test_a_client_that_stays_disturbs_nobody(start, nginx):
    client = start()
    for _ in range(20):
        assert client.get("/?do=unneeded").text == "xxx"
    client.close()
    nginx.stop()
    assert nginx.recorded("told") == []


@in_a_call
def test_a_timeout_tells_the_application_too(start, nginx):
    client = start("wsgi_timeout 200ms;")
    assert client.get("/?do=told").status_code == 504
    assert nginx.wait_recorded("told") == ["True"]


def test_after_the_response(start, nginx):
    client = start()
    assert client.get("/?do=after").text == "xxx"
    assert nginx.wait_recorded("after", 2) == ["first False", "second"]
    assert nginx.recorded("closed") == ["-"]


def test_after_a_response_that_its_client_takes_slowly(start, nginx):
    client = start(listen="sndbuf=8k", http="python_thread_pool default threads=1;")
    size = 16 * 65536
    with nginx.connect(receive=4096) as connection:
        connection.send(f"GET /?do=after&size={size} HTTP/1.0\r\n\r\n")
        # The application has returned: the only thread is free.
        nginx.wait_recorded("closed")
        assert client.get("/").text == "xxx"
        assert nginx.recorded("after") == []
        assert len(connection.rest()) > size
    assert nginx.wait_recorded("after", 2) == ["first False", "second"]


# When the client leaves, the larger one may still be written; nginx has all of the smaller one.
@pytest.mark.parametrize("size", [256 * 65536, 3 * 65536])
def test_after_a_client_that_has_left(start, nginx, size):
    start(listen="sndbuf=8k")
    connection = nginx.connect(receive=4096)
    connection.get(f"/?do=after&size={size}")
    connection.head()
    if size < 256 * 65536:
        # The thread is free again: its response has been taken.
        assert nginx.client().get("/").text == "xxx"
    connection.reset()
    assert nginx.wait_recorded("after", 2) == ["first True", "second"]


def test_what_comes_after_and_raises_is_in_the_log(start, nginx):
    client = start()
    assert client.get("/?do=after_raises").text == "xxx"
    assert nginx.wait_recorded("after") == ["next"]
    assert "/?do=after_raises" in nginx.wait_log("KeyError: 'missing'")
    assert "after_response's callback raised" in nginx.error_log()


def test_the_connection_is_free_while_it_runs(start, nginx):
    start(http="python_thread_pool default threads=2;")
    with nginx.connect() as connection:
        connection.get("/?do=slow_after")
        assert connection.response().body == b"xxx"
        nginx.wait_recorded("begun")
        connection.get("/")
        assert connection.response().body == b"xxx"
        assert nginx.recorded("after") == []
        nginx.open_gate("work")
        assert nginx.wait_recorded("after") == ["work"]


def let_it_end(nginx, worker: int) -> None:
    """Opens the callback's gate; the worker must have waited for it, and exit then."""
    nginx.open_gate("work")
    assert nginx.wait_recorded("after") == ["work"]
    wait_for(lambda: worker not in nginx.runners(leaving=True), what="the old worker's end")
    assert "the worker exits before" not in nginx.error_log()


@pytest.mark.threads("inline the event loop hears of a reload after the callback that it is in")
def test_a_reload_waits_for_it(start, nginx):
    client = start()
    (before,) = nginx.runners()
    assert client.get("/?do=slow_after").text == "xxx"
    client.close()
    nginx.wait_recorded("begun")
    nginx.reload()
    wait_for(lambda: before in nginx.runners(leaving=True), what="the old worker to leave")
    assert nginx.client().get("/").text == "xxx"
    assert before in nginx.runners(leaving=True)
    let_it_end(nginx, before)


@pytest.mark.threads("inline the event loop hears of a reload after the callback that it is in")
def test_a_reload_waits_for_it_where_the_upload_ended_later(start, nginx):
    start()
    (before,) = nginx.runners()
    with nginx.connect() as connection:
        connection.send(b"POST /?do=slow_after HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\na")
        nginx.reload()
        wait_for(lambda: before in nginx.runners(leaving=True), what="the old worker to leave")
        connection.send(b"b")
        assert connection.response().body == b"xxx"
    nginx.wait_recorded("begun")
    let_it_end(nginx, before)


@pytest.mark.threads("inline the event loop hears of a reload after the callback that it is in")
def test_a_reload_waits_no_longer_than_python_drain_timeout(start, nginx):
    client = start(http="python_drain_timeout 500ms; python_finalize on timeout=500ms;")
    assert client.get("/?do=slow_after").text == "xxx"
    client.close()
    nginx.wait_recorded("begun")
    nginx.quit()
    assert nginx.wait_log("exits before what 1 request has asked for after its response ")
    assert nginx.recorded("after") == []


@pytest.mark.threads("inline the event loop hears of a quit after the callback that it is in")
def test_several_requests_that_are_not_waited_for_are_counted(start, nginx):
    client = start(http="python_drain_timeout 500ms; python_finalize on timeout=500ms;")
    for _ in range(2):
        assert client.get("/?do=slow_after").text == "xxx"
    client.close()
    nginx.wait_recorded("begun", 2)
    nginx.quit()
    assert nginx.wait_log("what 2 requests have asked for after their responses ")
    assert nginx.recorded("after") == []


def test_the_deadline_is_that_of_wsgi_timeout(start, nginx):
    app = nginx.root / "apps" / "asks.py"
    client = start(
        "wsgi_timeout 100s;", server=f"location /none {{ wsgi_app {app}; wsgi_timeout 0; }}"
    )
    client.get("/?do=deadline")
    client.get("/none?do=deadline")
    left, none = nginx.wait_recorded("deadline", 2)
    assert 0 < float(left) <= 100
    assert none == "None"


def test_the_id_is_that_of_nginx_s_logs(start, nginx):
    start(
        "access_log logs/ids.log ids;",
        http="log_format ids '$pid-$connection-$connection_requests';",
    )
    ids = []
    for _ in range(2):
        with nginx.connect() as connection:
            for _ in range(3):
                connection.get("/")
                ids.append(connection.response().get("X-Id"))
    assert len(set(ids)) == 6
    assert re.fullmatch(r"\d+-\d+-[123]", ids[0])
    log = nginx.root / "logs" / "ids.log"
    wait_for(lambda: log.read_text().split() == ids, what="the access log")


@pytest.mark.parametrize("method", ["on_disconnect", "after_response"])
def test_callbacks_without_an_end_are_refused(nginx, method):
    app = nginx.app(
        "many",
        f"""
        def application(environ, start_response):
            register = environ["pywsgi.request"].{method}
            called = []
            text = "all"
            for number in range(10_001):
                try:
                    register(lambda: called.append(1))
                except RuntimeError as error:
                    text = f"{{number}}: {{error}}"
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [text.encode()]
        """,
    )
    nginx.start(f"wsgi_app {app};")
    assert nginx.client().get("/").text == (
        f"10000: {method}: 10000 callbacks of this request wait already; register one that does the"
        " work of all"
    )
