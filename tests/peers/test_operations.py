"""The comparison's tables of operations: a reload of good and of broken code, and a request that
is stuck beside healthy ones."""

from __future__ import annotations

import os

import pytest
from harness import EXECUTOR
from load import Load
from protocols import WSGI_ONLY
from rawhttp import wait_for

# The import takes its time, as in the comparison.
DEPLOYED = """
    import time
    time.sleep(0.3)

    async def answer(request):
        await request.respond(b"{word}")
"""

STUCK = """
    import ctypes
    import os
    import time

    from testkit import DATA, record

    def sleep():
        while not (DATA / "go").exists():
            time.sleep(0.3)

    def sleep_in_c():
        # No exception of Python's ends it.
        time.sleep(1000)

    def loop():
        while not (DATA / "go").exists():
            sum(range(1000))

    def keep_the_gil():
        # PyDLL keeps the GIL while it is in C: until somebody opens the other end.
        ctypes.PyDLL(None).open(os.fsencode(DATA / "fifo"), os.O_RDONLY)

    async def answer(request):
        if request.query == "healthy":
            record("healthy")
            await request.wait((DATA / "healthy-go").exists)
        elif request.query:
            record("stuck")
            globals()[request.query]()
        await request.respond(str(os.getpid()).encode())
"""

in_threads = pytest.mark.threads("inline a request that is stuck holds the event loop")
END = "python_drain_timeout 1s; python_finalize on timeout=1s;"


# A reload of good code: nginx/test_reload_without_gap.py has its cells; `make bench-reload` the
# times.


def test_a_reload_of_broken_code(nginx, protocol):
    """The old code answers throughout; the next reload, of code that is mended, is a usual one."""
    nginx.allow_log(r"\[emerg\]")
    app = protocol.app("app", DEPLOYED.format(word="old"))
    nginx.start(f"{protocol}_app {app};", http="python_check on timeout=120s;", workers=2)
    # Whoever imports it later gets the broken code.
    nginx.wait_imports(2)
    assert nginx.client().get("/").text == "old"
    said = set()

    def once(client) -> None:
        answer = client.get("/", headers={"Connection": "close"})
        assert answer.status_code == 200
        said.add(answer.text)

    def kept(client) -> None:
        answer = client.get("/")
        assert answer.status_code == 200
        said.add(answer.text)

    load = Load(nginx)
    for each in (once, once, once, kept, kept, kept):
        load.start(each)
    try:
        nginx.app("app", "def broken(:")
        nginx.refuse_reload()
        answered = load.answered
        wait_for(lambda: load.answered > answered + 60, 60, "answers after it")
        assert said == {"old"}
        protocol.app("app", DEPLOYED.format(word="new"))
        nginx.reload()
        wait_for(lambda: "new" in said, 60, "an answer of the new code")
        answered = load.answered
        wait_for(lambda: load.answered > answered + 60, 60, "answers after it")
    finally:
        load.stop()
    assert load.failures == []
    assert said == {"old", "new"}


@in_threads
@pytest.mark.parametrize("how", ["sleep", "sleep_in_c", "loop"])
@WSGI_ONLY
def test_one_stuck_request_and_two_healthy_siblings(nginx, protocol, background, how):
    """One worker with four threads, as in the comparison: 504 on time, the siblings are fine, the
    worker lives, and its thread is back or replaced."""
    app = protocol.app("app", STUCK)
    nginx.start(
        server=f"""
        location /stuck {{
            wsgi_app {app};
            wsgi_timeout 500ms;
            wsgi_interrupt_timeout 500ms;
        }}
        location / {{ wsgi_app {app}; wsgi_timeout 1h; }}
        """,
        http=f"python_thread_pool default threads=4; {END}",
    )
    worker = nginx.workers()
    siblings = [background("/?healthy") for _ in range(2)]
    nginx.wait_recorded("healthy", 2)
    assert nginx.client().get(f"/stuck?{how}").status_code == 504
    assert nginx.client().get("/").text == str(worker[0])
    # All of its threads serve again.
    more = [background("/?healthy") for _ in range(2)]
    nginx.wait_recorded("healthy", 4)
    nginx.open_gate("healthy-go")
    for sibling in siblings + more:
        assert sibling.result().text == str(worker[0])
    assert nginx.workers() == worker
    nginx.open_gate("go")
    if how == "sleep_in_c":
        nginx.wait_log("is written off")
    else:
        nginx.wait_log("(wsgi_interrupt_timeout)")


@in_threads
def test_one_that_keeps_the_gil(nginx, protocol, background):
    """In a call of C. Meanwhile nobody runs Python, and nginx is on time; then all is well."""
    os.mkfifo(nginx.data / "fifo")
    (nginx.data / "fifo").chmod(0o666)
    app = protocol.app("app", STUCK)
    nginx.page("page.txt", "static")
    nginx.start(
        server=f"""
        location /stuck {{ {protocol}_app {app}; {protocol}_timeout 500ms; }}
        location /page.txt {{ }}
        location / {{ {protocol}_app {app}; {protocol}_timeout 1h; }}
        """,
        http="asgi_stall_warning off;" if not protocol.is_wsgi else "",
    )
    worker = nginx.workers()
    siblings = [background("/?healthy") for _ in range(2)]
    nginx.wait_recorded("healthy", 2)
    assert nginx.client().get("/stuck?keep_the_gil").status_code == 504
    assert nginx.client().get("/page.txt").text == "static"
    nginx.open_gate("healthy-go")
    (nginx.data / "fifo").open("wb").close()
    for sibling in siblings:
        assert sibling.result().text == str(worker[0])
    assert nginx.client().get("/").text == str(worker[0])
    assert nginx.workers() == worker


@pytest.mark.skipif(EXECUTOR != "threads", reason="asgi")
@pytest.mark.parametrize("how", ["sleep", "loop"])
@pytest.mark.parametrize("protocol", ["asgi"], indirect=True)
def test_a_task_that_blocks_its_loop(nginx, protocol, background, how):
    """504 on time. The tasks of its loop wait for it and are fine afterwards, those of another one
    do not notice, and the worker lives."""
    app = protocol.app("app", STUCK)
    nginx.start(
        server=f"""
        location /stuck {{ asgi_app {app}; asgi_timeout 500ms; }}
        location /other {{
            asgi_app {protocol.app("other", STUCK)};
            asgi_event_loop other;
        }}
        location / {{ asgi_app {app}; asgi_timeout 1h; }}
        """,
        http="python_event_loop other asyncio; asgi_stall_warning 300ms;",
    )
    worker = nginx.workers()
    siblings = [background("/?healthy"), background("/other?healthy")]
    nginx.wait_recorded("healthy", 2)
    assert nginx.client().get(f"/stuck?{how}").status_code == 504
    same = background("/")
    nginx.open_gate("healthy-go")
    assert siblings[1].result().text == str(worker[0])
    nginx.wait_log("in answer")
    assert not siblings[0].done() and not same.done()
    nginx.open_gate("go")
    for answer in (siblings[0], same):
        assert answer.result().text == str(worker[0])
    assert nginx.workers() == worker
