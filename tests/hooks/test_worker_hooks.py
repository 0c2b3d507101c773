"""pywsgi.on_worker_start and pywsgi.on_worker_exit."""

from __future__ import annotations

import os
import signal

import pytest
from rawhttp import wait_for

# What a busy machine needs to run atexit.
END = "python_finalize on timeout=60s;"

APP = """
    import os
    import threading

    import pywsgi
    from testkit import record

    {more}

    def place():
        return f"{{os.getpid()}} {{threading.current_thread() is threading.main_thread()}}"

    @pywsgi.on_worker_start
    def connect():
        record("started", place())

    @pywsgi.on_worker_exit
    def disconnect():
        record("exited", place())

    async def answer(request):
        record("answered")
        await request.respond(str(os.getpid()).encode())
"""


@pytest.fixture
def app(protocol):
    """`app(more)` writes the application, with more lines in its module."""
    return lambda more="": protocol.app("app", APP.format(more="\n    ".join(more.splitlines())))


def test_each_worker_starts_and_exits_once(nginx, protocol, app):
    nginx.start(f"{protocol}_app {app()};", workers=2, http=END)
    nginx.wait_recorded("started", 2)
    workers = nginx.workers()
    assert sorted(nginx.recorded("started")) == sorted(f"{pid} True" for pid in workers)
    assert nginx.client().get("/").status_code == 200
    assert nginx.recorded("exited") == []
    nginx.reload()
    assert len(nginx.wait_recorded("started", 4)) == 4
    nginx.wait_recorded("exited", 2)
    assert sorted(nginx.recorded("exited")) == sorted(f"{pid} True" for pid in workers)
    nginx.quit()
    assert len(nginx.recorded("exited")) == 4
    assert not nginx.log_lines("[error]")


def test_no_request_comes_before_the_start(nginx, protocol, app, background):
    more = """
from testkit import gate

@pywsgi.on_worker_start
def slow():
    record("starting")
    gate("go")
"""
    nginx.start(f"{protocol}_app {app(more)};", http=END)
    answer = background("/")
    nginx.wait_recorded("starting")
    assert not nginx.log_lines("imported in")
    assert nginx.recorded("answered") == []
    nginx.open_gate("go")
    assert answer.result().status_code == 200
    assert len(nginx.recorded("started")) == 1


def test_a_reload_waits_for_the_start(nginx, protocol, app):
    """The old workers serve until then."""
    nginx.start(f"{protocol}_app {app()};")
    client = nginx.client(headers={"Connection": "close"})
    old = client.get("/").text
    app("""
from testkit import gate

@pywsgi.on_worker_start
def slow():
    record("starting")
    gate("go")
""")
    os.kill(nginx.master, signal.SIGHUP)
    nginx.wait_recorded("starting")
    assert {client.get("/").text for _ in range(20)} == {old}
    nginx.open_gate("go")
    wait_for(lambda: client.get("/").text != old, what="an answer of the new worker")


def test_what_raises_is_named_and_the_others_run(nginx, protocol, app):
    more = """
@pywsgi.on_worker_start
def broken():
    raise ValueError("token-at-start")

@pywsgi.on_worker_start
def leaves():
    raise SystemExit(3)

@pywsgi.on_worker_exit
def broken_too():
    raise ValueError("token-at-exit")

class Shop:
    def close(self):
        record("closed")

pywsgi.on_worker_exit(Shop().close)
"""
    nginx.start(f"{protocol}_app {app(more)};", http=END)
    assert nginx.client().get("/").status_code == 200
    assert len(nginx.recorded("started")) == 1
    assert "[error]" in nginx.wait_log("ValueError: token-at-start")
    assert nginx.log_lines("on_worker_start function") and nginx.log_lines(".broken raised")
    assert nginx.log_lines(".leaves raised")
    assert not nginx.log_lines("token-at-exit")
    nginx.quit()
    assert nginx.log_lines("ValueError: token-at-exit")
    assert nginx.log_lines("on_worker_exit function") and nginx.log_lines(".broken_too raised")
    assert len(nginx.recorded("exited")) == 1
    assert nginx.recorded("closed") == ["-"]


def test_the_order_at_the_exit(nginx, protocol, app):
    """The last one first, before threads are waited for and before atexit."""
    more = """
import atexit

atexit.register(lambda: record("order", "atexit"))
over = threading.Event()

def work():
    over.wait()
    record("order", "thread")

threading.Thread(target=work).start()

@pywsgi.on_worker_exit
def first():
    record("order", "first")
    over.set()

@pywsgi.on_worker_exit
def second():
    record("order", "second")
"""
    nginx.start(f"{protocol}_app {app(more)};", http=END)
    assert nginx.client().get("/").status_code == 200
    nginx.quit()
    assert nginx.recorded("order") == ["second", "first", "thread", "atexit"]


@pytest.mark.threads("inline the event loop runs the request")
def test_the_exit_waits_for_requests(nginx, protocol, background):
    app = protocol.app(
        "app",
        """
        import pywsgi
        from testkit import DATA, record

        pywsgi.on_worker_exit(lambda: record("order", "exit"))

        async def answer(request):
            record("entered")
            await request.wait((DATA / "go").exists)
            record("order", "request")
            await request.respond(b"done")
        """,
    )
    nginx.start(f"{protocol}_app {app};", http=END)
    answer = background("/")
    nginx.wait_recorded("entered")
    os.kill(nginx.master, signal.SIGQUIT)
    wait_for(lambda: not nginx.workers(), what="a worker that leaves")
    nginx.open_gate("go")
    assert answer.result().text == "done"
    wait_for(lambda: len(nginx.recorded("order")) == 2, what="the end")
    assert nginx.recorded("order") == ["request", "exit"]


def test_with_a_lifespan(nginx, asgi):
    """The start comes before its startup, the exit after its shutdown."""
    app = nginx.app(
        "app",
        """
        import pywsgi
        from testkit import record, respond

        pywsgi.on_worker_start(lambda: record("order", "start"))
        pywsgi.on_worker_exit(lambda: record("order", "exit"))

        async def application(scope, receive, send):
            if scope["type"] == "lifespan":
                for kind in ("startup", "shutdown"):
                    assert (await receive())["type"] == f"lifespan.{kind}"
                    record("order", kind)
                    await send({"type": f"lifespan.{kind}.complete"})
                return
            await respond(send, b"ok")
        """,
    )
    nginx.start(f"asgi_app {app};", http=END)
    assert nginx.client().get("/").text == "ok"
    nginx.quit()
    assert nginx.recorded("order") == ["start", "startup", "shutdown", "exit"]


def test_a_failed_import_registers_nothing(nginx, protocol, app):
    path = app("if __import__('os').path.exists(pywsgi_marker): raise ValueError('too early')")
    marker = nginx.data / "marker"
    marker.touch()
    text = path.read_text().replace("pywsgi_marker", repr(str(marker)))
    # Registered before it fails.
    head, _, rest = text.partition("if __import__")
    line, _, rest = rest.partition("\n")
    path.write_text(f"{head}{rest}\nif __import__{line}\n")
    nginx.start(f"{protocol}_app {path};", http=END)
    assert nginx.client().get("/").status_code == 500
    assert nginx.recorded("started") == []
    marker.unlink()
    os.utime(path)
    path.write_text(path.read_text() + "\n# changed\n")
    wait_for(lambda: nginx.client().get("/").status_code == 200, what="the import")
    assert len(nginx.recorded("started")) == 1
    nginx.quit()
    assert len(nginx.recorded("exited")) == 1


def test_the_check_runs_neither(nginx, protocol, app):
    nginx.start(f"{protocol}_app {app()};", http="python_check on timeout=60s;")
    nginx.wait_recorded("started")
    assert nginx.client().get("/").status_code == 200
    assert len(nginx.recorded("started")) == 1
    assert nginx.recorded("exited") == []


def test_python_import_registers_as_well(nginx, protocol, app):
    nginx.app("early", APP.format(more="").split("async def")[0])
    nginx.start(
        f"{protocol}_app {protocol.say('hello')};",
        http=f"python_path {nginx.apps}; python_import early; {END}",
    )
    assert nginx.client().get("/").text == "hello"
    assert len(nginx.recorded("started")) == 1
    nginx.quit()
    assert len(nginx.recorded("exited")) == 1


def test_outside_of_an_import_the_start_is_now(nginx, protocol):
    app = protocol.app(
        "app",
        """
        import pywsgi
        from testkit import record

        async def answer(request):
            pywsgi.on_worker_start(lambda: record("now"))
            try:
                pywsgi.on_worker_exit("not a function")
            except TypeError as error:
                await request.respond(str(error).encode())
        """,
    )
    nginx.start(f"{protocol}_app {app};")
    assert nginx.client().get("/").text == "a function is needed, not str"
    assert nginx.recorded("now") == ["-"]


@pytest.mark.parametrize("directive", ["python_finalize off;"])
def test_without_finalization_there_is_no_exit(nginx, protocol, app, directive):
    nginx.start(f"{protocol}_app {app()};", http=directive)
    assert nginx.client().get("/").status_code == 200
    nginx.quit()
    assert nginx.recorded("exited") == []
