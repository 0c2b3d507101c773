"""The interpreter in a worker: processes, threads, the environment, its end."""

from __future__ import annotations

import pytest
from harness import VENV
from rawhttp import wait_for


@pytest.fixture
def run(nginx, serve):
    """Serves the result of this function body, as text; `state` is a dict that stays."""

    def start(body: str, *, top: str = "", **options):
        indented = "\n".join("                " + line for line in body.strip("\n").splitlines())
        above = "\n".join("            " + line for line in top.strip("\n").splitlines())
        source = f"""
            state = {{}}
{above}

            def answer(environ):
{indented}

            def application(environ, start_response):
                text = answer(environ)
                start_response("200 OK", [("Content-Type", "text/plain")])
                return [str(text).encode()]
        """
        return serve(source, **options)

    return start


def test_subprocess(nginx, run):
    run(
        """
import subprocess
codes = [subprocess.run(["sh", "-c", f"exit {code}"]).returncode for code in range(20)]
said = subprocess.check_output(["echo", "hello"], text=True).strip()
piped = subprocess.run(["cat"], input=b"piped", capture_output=True).stdout.decode()
return codes, said, piped
"""
    )
    client = nginx.client()
    for _ in range(5):
        assert client.get("/").text == str((list(range(20)), "hello", "piped"))


def test_subprocess_with_stdin_and_stdout_inherited(nginx, run):
    run(
        """
import subprocess, sys
code = subprocess.run(["cat"]).returncode
subprocess.run(["sh", "-c", "echo token-child >&2"], stderr=sys.stderr)
return code
"""
    )
    assert nginx.client().get("/").text == "0"
    nginx.wait_log("token-child")


def test_a_child_process_can_be_terminated(nginx, run):
    run(
        """
import subprocess
child = subprocess.Popen(["sleep", "300"])
child.terminate()
try:
    return child.wait(20)
except subprocess.TimeoutExpired:
    child.kill()
    child.wait()
    return "the child inherited a mask that blocks SIGTERM"
"""
    )
    assert nginx.client().get("/").text == "-15"


def test_a_child_process_that_times_out(nginx, run):
    run(
        """
import subprocess
try:
    subprocess.run(["sleep", "300"], timeout=0.2)
except subprocess.TimeoutExpired:
    return "timed out"
"""
    )
    assert nginx.client().get("/").text == "timed out"


def test_multiprocessing_spawn(nginx, run):
    run(
        """
import multiprocessing
context = multiprocessing.get_context("spawn")
with context.Pool(2) as pool:
    squares = pool.map(square, range(10))
process = context.Process(target=leave, args=(7,))
process.start()
process.join()
return squares, process.exitcode
""",
        top="""
import sys

def square(number):
    return number * number

def leave(code):
    sys.exit(code)
""",
    )
    assert nginx.client().get("/").text == str(([n * n for n in range(10)], 7))


def test_a_spawned_process_can_be_terminated(nginx, run):
    run(
        """
import multiprocessing, time
context = multiprocessing.get_context("spawn")
process = context.Process(target=time.sleep, args=(300,))
process.start()
process.terminate()
process.join(30)
code = process.exitcode
if code is None:
    process.kill()
    process.join()
return code
"""
    )
    assert nginx.client().get("/").text == "-15"


def test_process_pool_executor(nginx, run):
    run(
        """
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
context = multiprocessing.get_context("spawn")
with ProcessPoolExecutor(2, mp_context=context) as pool:
    return list(pool.map(abs, [-1, -2, -3]))
"""
    )
    assert nginx.client().get("/").text == "[1, 2, 3]"


def test_a_background_thread_runs_between_requests(nginx, run):
    run(
        """
if environ["PATH_INFO"] == "/start":
    threading.Thread(target=work, daemon=True).start()
return "answered"
""",
        top="""
import threading, time
from testkit import record

def work():
    while True:
        record("turns")
        time.sleep(0.005)
""",
    )
    client = nginx.client()
    client.get("/start")
    assert client.get("/").text == "answered"
    # No request arrives meanwhile.
    nginx.wait_recorded("turns", len(nginx.recorded("turns")) + 20)


def test_a_background_thread_started_at_import(nginx, run):
    run(
        """
return state.get("count", 0) > 0
""",
        top="""
import threading, time

def work():
    while True:
        state["count"] = state.get("count", 0) + 1
        time.sleep(0.005)

threading.Timer(0.01, work).start()
""",
        http="python_drain_timeout 2s; python_finalize on timeout=2s;",
    )
    client = nginx.client()
    wait_for(lambda: client.get("/").text == "True", what="the background thread's work")


def test_threads_of_every_kind(nginx, run):
    run(
        """
import asyncio, queue, threading
from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor(4) as pool:
    mapped = list(pool.map(abs, [-1, -2]))

async def wait():
    await asyncio.sleep(0.01)
    return await asyncio.to_thread(abs, -3)

return mapped, asyncio.run(wait()), threading.current_thread() is not threading.main_thread()
"""
    )
    client = nginx.client()
    for _ in range(5):
        assert client.get("/").text == "([1, 2], 3, True)"


def test_an_asyncio_subprocess(nginx, run):
    run(
        """
import asyncio

async def wait():
    child = await asyncio.create_subprocess_exec("sh", "-c", "echo out; exit 4", stdout=-1)
    out, _ = await child.communicate()
    return out.decode().strip(), child.returncode

return asyncio.run(wait())
"""
    )
    assert nginx.client().get("/").text == "('out', 4)"


def test_the_interpreter_is_the_venv_s(nginx, run):
    run(
        """
import json, subprocess, sys
code = "import json, sys; print(json.dumps([sys.prefix, sys.version]))"
child = json.loads(subprocess.check_output([sys.executable, "-c", code]))
import flask
return json.dumps([sys.executable, sys.prefix, child == [sys.prefix, sys.version], flask.__file__])
"""
    )
    executable, prefix, same, flask = nginx.client().get("/").json()
    assert executable.startswith(f"{VENV}/bin/python")
    assert prefix == str(VENV)
    assert same is True
    assert flask.startswith(str(VENV))


def test_without_a_venv_it_is_the_system_s(nginx, run):
    run(
        """
import subprocess, sys
child = subprocess.check_output([sys.executable, "-c", "print(42)"], text=True).strip()
return sys.prefix == sys.base_prefix, child
""",
        python_home=None,
    )
    assert nginx.client().get("/").text == "(True, '42')"


def test_the_environment(nginx, run):
    run(
        """
import json, os, sys, locale
return json.dumps({
    "environ": dict(os.environ),
    "utf8": sys.flags.utf8_mode,
    "filesystem": sys.getfilesystemencoding(),
    "preferred": locale.getpreferredencoding(),
    "opened": open(os.devnull).encoding.lower(),
    "argv": sys.argv,
})
""",
        http="python_env ONE=1 SPACED='a b' EMPTY=;",
    )
    seen = nginx.client().get("/").json()
    assert seen["environ"]["ONE"] == "1"
    assert seen["environ"]["PATH"]
    assert seen["utf8"] == 1
    assert seen["filesystem"].lower() == "utf-8"
    assert seen["opened"] == "utf-8"
    assert isinstance(seen["argv"], list)


def test_the_environment_reaches_children(nginx, run):
    run(
        """
import subprocess
return subprocess.check_output(["sh", "-c", "echo $FOR_CHILDREN"], text=True).strip()
""",
        http="python_env FOR_CHILDREN=yes;",
    )
    assert nginx.client().get("/").text == "yes"


def test_standard_extension_modules(nginx, run):
    run(
        """
import bz2, ctypes, decimal, hashlib, lzma, sqlite3, ssl, zlib, uuid, zoneinfo
database = sqlite3.connect(":memory:")
answer = database.execute("select 6 * 7").fetchone()[0]
ssl.create_default_context()
return answer, hashlib.sha256(b"").hexdigest()[:4], ctypes.CDLL(None).abs(-5)
"""
    )
    assert nginx.client().get("/").text == "(42, 'e3b0', 5)"


def test_signals_are_nginx_s(nginx, run):
    run(
        """
import signal
try:
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
except ValueError:
    refused = True
return refused, signal.getsignal(signal.SIGCHLD) in (signal.SIG_DFL, None)
"""
    )
    client = nginx.client()
    assert client.get("/").text == "(True, True)"
    nginx.reload()
    assert client.get("/").text == "(True, True)"


@pytest.mark.threads("that is what threads are for")
def test_one_sleeping_request_does_not_hold_the_others(nginx, run):
    run(
        """
if environ["PATH_INFO"] == "/sleep":
    record("asleep")
    gate("wake")
return "awake"
""",
        top="from testkit import gate, record",
    )
    with nginx.connect() as sleeper:
        sleeper.get("/sleep")
        nginx.wait_recorded("asleep")
        client = nginx.client()
        for _ in range(50):
            assert client.get("/").text == "awake"
        nginx.open_gate("wake")
        assert sleeper.response().body == b"awake"


@pytest.mark.parametrize("how", ["quit", "stop", "reload"])
def test_atexit_runs_when_a_worker_leaves(nginx, run, how):
    run(
        """
return os.getpid()
""",
        top="""
import atexit, os
from testkit import record

@atexit.register
def leave():
    record("atexit", os.getpid())
""",
    )
    pid = nginx.client().get("/").text
    getattr(nginx, how)()
    assert nginx.wait_recorded("atexit")[0] == pid
    assert len(nginx.recorded("atexit")) == 1


def test_atexit_runs_on_python_s_main_thread(nginx, run):
    run(
        "return 1",
        top="""
import atexit, threading
from testkit import record

record("imported", threading.current_thread() is threading.main_thread())
atexit.register(lambda: record("atexit", threading.current_thread() is threading.main_thread()))
""",
    )
    nginx.client().get("/")
    nginx.quit()
    assert nginx.recorded("imported") == ["True"]
    assert nginx.recorded("atexit") == ["True"]


def test_what_atexit_prints_and_raises_is_logged(nginx, run):
    run(
        "return 1",
        top="""
import atexit

@atexit.register
def leave():
    print("token-atexit")
    raise ValueError("token-raised")
""",
    )
    nginx.client().get("/")
    nginx.quit()
    assert nginx.log_lines("token-atexit")
    assert nginx.log_lines("token-raised")


@pytest.mark.threads("inline the event loop hears of a reload after the call that it is in")
def test_running_requests_finish_before_a_worker_leaves(nginx, run):
    run(
        """
record("started")
gate("finish")
return "finished"
""",
        top="""
import atexit
from testkit import gate, record
atexit.register(record, "atexit")
""",
    )
    with nginx.connect() as connection:
        connection.get()
        nginx.wait_recorded("started")
        old = nginx.workers()
        nginx.reload()
        assert not nginx.recorded("atexit")
        assert set(old) <= set(nginx.workers(leaving=True))
        nginx.open_gate("finish")
        assert connection.response().body == b"finished"
    nginx.wait_recorded("atexit")


def test_pywsgi_can_be_imported(nginx, run):
    run(
        """
import logging, pywsgi
logger = logging.getLogger("shop")
logger.addHandler(pywsgi.LogHandler())
logger.setLevel("DEBUG")
logger.propagate = False
for level in ("debug", "info", "warning", "error", "critical"):
    getattr(logger, level)("token-%s", level)
return pywsgi.__version__
""",
        log_level="debug",
    )
    nginx.allow_log("token-critical")
    assert nginx.client().get("/").text
    levels = {"debug": "debug", "info": "info", "warning": "warn", "error": "error"}
    levels["critical"] = "crit"
    for python, ours in levels.items():
        line = nginx.wait_log(f"token-{python}")
        assert f"[{ours}]" in line
        # nginx adds no context to lines at debug.
        assert 'request: "GET / ' in line or ours == "debug"
