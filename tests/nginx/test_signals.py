"""Signals in a worker: nginx keeps its own, and applications may use the rest."""

from __future__ import annotations

import os
import signal

import pytest
from rawhttp import wait_for


def application(nginx, body: str, *, top: str = ""):
    """An application that answers with what this function body returns."""
    indented = "\n".join("    " + line for line in body.strip("\n").splitlines())
    source = f"""{top}

def answer(environ):
{indented}

def application(environ, start_response):
    text = str(answer(environ))
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [text.encode()]
"""
    return nginx.app("app", source)


FATAL = "faulthandler.enable()"


def test_what_a_thread_brings_on_itself_is_not_blocked(nginx):
    path = application(
        nginx,
        """
import signal
blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
return [name for name in "ILL TRAP ABRT BUS FPE SEGV SYS".split()
        if getattr(signal, f"SIG{name}") in blocked]
""",
    )
    nginx.start(f"wsgi_app {path};")
    assert nginx.client().get("/").text == "[]"


@pytest.mark.parametrize("way", ["string_at", "SIGFPE", "SIGBUS"])
@pytest.mark.unsanitized("it handles these signals itself")
def test_faulthandler_says_where_it_happened(nginx, way):
    nginx.allow_log(r"\[alert\].* worker process \d+ exited on signal (11|8|7)")
    path = application(
        nginx,
        """
def dies_here():
    if environ["QUERY_STRING"] == "string_at":
        ctypes.string_at(0)
    signal.raise_signal(getattr(signal, environ["QUERY_STRING"]))
if environ["QUERY_STRING"]:
    dies_here()
return "alive"
""",
        top="import ctypes, faulthandler, signal\nfaulthandler.enable()",
    )
    nginx.start(f"wsgi_app {path};")
    assert nginx.client().get("/").text == "alive"
    assert nginx.raw(f"GET /?{way} HTTP/1.0\r\n\r\n".encode()) == b""
    nginx.wait_log("Fatal Python error")
    nginx.wait_log(f'File "{path}", line ')
    assert any("in dies_here" in line for line in nginx.log_lines(str(path)))
    wait_for(lambda: nginx.log_lines("exited on signal"), what="the end of the worker")
    assert nginx.client().get("/").text == "alive"


@pytest.mark.threads("the stack of the event loop's thread is its own")
@pytest.mark.unsanitized("it handles these signals itself")
def test_faulthandler_after_a_stack_overflow(nginx):
    """The handler has a stack of its own."""
    nginx.allow_log(r"\[alert\].* worker process \d+ exited on signal 11")
    path = application(
        nginx,
        """
if environ["QUERY_STRING"]:
    # A C function that recurses for each bracket, because Python 3.14 guards its own calls.
    ctypes.CDLL(None).regcomp(ctypes.create_string_buffer(256), b"(" * 10**6, 1)
return "alive"
""",
        top="import ctypes, faulthandler\nfaulthandler.enable()",
    )
    nginx.start(f"wsgi_app {path};")
    assert nginx.client().get("/").text == "alive"
    assert nginx.raw(b"GET /?overflow HTTP/1.0\r\n\r\n") == b""
    nginx.wait_log("Fatal Python error: Segmentation fault")
    nginx.wait_log("in application")


def test_a_file_beyond_its_limit_is_an_error_of_its_writer(nginx, protocol):
    """Its signal is ignored, as in every Python program, on the loop's thread as well."""
    path = protocol.app(
        "app",
        """
        import signal
        from testkit import DATA

        async def answer(request):
            said = [signal.getsignal(signal.SIGXFSZ).name]
            try:
                with open(DATA / "file", "wb", buffering=0) as file:
                    while True:
                        file.write(bytes(1_000_000))
            except OSError as error:
                said.append(error.strerror)
            await request.respond(repr(said).encode())
        """,
    )
    nginx.launcher = ("prlimit", "--fsize=4000000")
    nginx.start(f"{protocol}_app {path};", http="python_check on timeout=120s;")
    assert nginx.client().get("/").text == "['SIG_IGN', 'File too large']"


@pytest.mark.parametrize("number", ["SIGRTMIN", "SIGVTALRM", "SIGPROF", "SIGCHLD", "SIGURG"])
def test_a_handler_runs_when_its_signal_comes(nginx, number):
    path = application(
        nginx,
        f"""
sent = time.monotonic()
os.kill(os.getpid(), signal.{number})
while not RAN and time.monotonic() < sent + 20:
    time.sleep(0.01)
return len(RAN), RAN == [(threading.main_thread().ident, signal.{number})]
""",
        top=f"""
import os, signal, threading, time
RAN = []
signal.signal(signal.{number}, lambda number, frame: RAN.append((threading.get_ident(), number)))
""",
    )
    nginx.start(f"wsgi_app {path};")
    assert nginx.client().get("/").text == "(1, True)"


def test_a_handler_that_raises_is_logged_and_others_still_run(nginx):
    path = application(
        nginx,
        """
for _ in range(2):
    before = len(RAN)
    os.kill(os.getpid(), signal.SIGRTMIN)
    until = time.monotonic() + 20
    while len(RAN) == before and time.monotonic() < until:
        time.sleep(0.01)
return len(RAN)
""",
        top="""
import os, signal, time
RAN = []
def broken(number, frame):
    RAN.append(number)
    raise ValueError("token-in-handler")
signal.signal(signal.SIGRTMIN, broken)
""",
    )
    nginx.start(f"wsgi_app {path};")
    assert nginx.client().get("/").text == "2"
    wait_for(lambda: len(nginx.log_lines("ValueError: token-in-handler")) == 2, what="tracebacks")
    assert nginx.log_lines("a signal's handler raised")


def test_an_interval_timer(nginx):
    path = application(
        nginx,
        """
signal.setitimer(signal.ITIMER_PROF, 0.01, 0.01)
until = time.monotonic() + 20
while len(TICKS) < 3 and time.monotonic() < until:
    sum(range(10000))
signal.setitimer(signal.ITIMER_PROF, 0)
return len(TICKS) >= 3
""",
        top="""
import signal, time
TICKS = []
signal.signal(signal.SIGPROF, lambda number, frame: TICKS.append(number))
""",
    )
    nginx.start(f"wsgi_app {path};")
    assert nginx.client().get("/").text == "True"


def test_a_wakeup_descriptor_is_one_of_python_s(nginx):
    """Python's C handler writes to it, on a thread that shares Python's descriptors."""
    path = application(
        nginx,
        """
os.kill(os.getpid(), signal.SIGRTMIN)
readable = select.select([READ], [], [], 20)[0]
return readable == [READ] and os.read(READ, 9) == bytes([signal.SIGRTMIN])
""",
        top="""
import os, select, signal
READ, WRITE = os.pipe()
os.set_blocking(WRITE, False)
signal.set_wakeup_fd(WRITE)
signal.signal(signal.SIGRTMIN, lambda number, frame: None)
""",
    )
    nginx.start(f"wsgi_app {path};")
    assert nginx.client().get("/").text == "True"


def test_what_is_nginx_s_is_refused_with_a_line_of_log(nginx):
    path = application(
        nginx,
        "return OLD",
        top="""
import faulthandler, signal
OLD = [str(signal.signal(getattr(signal, name), print))
       for name in "SIGTERM SIGUSR1 SIGALRM SIGRTMAX".split()]
OLD.append(signal.alarm(1))
OLD.append(signal.setitimer(signal.ITIMER_REAL, 1))
faulthandler.register(signal.SIGUSR2)
OLD.append(signal.signal(signal.SIGRTMAX - 1, print))
""",
    )
    nginx.start(f"wsgi_app {path};")
    assert nginx.client().get("/").status_code == 200
    for call in (
        "signal.signal(SIGTERM, <built-in function print>)",
        "signal.signal(SIGUSR1, <built-in function print>)",
        "signal.signal(SIGALRM, <built-in function print>)",
        "signal.signal(SIGRTMAX, <built-in function print>)",
        "signal.alarm(1)",
        "signal.setitimer(ITIMER_REAL, 1)",
        "faulthandler.register(SIGUSR2)",
        "signal.signal(SIGRTMAX-1, <built-in function print>)",
    ):
        assert "[warn]" in nginx.wait_log(f"{call} is ignored"), call
    # They still have nginx's handlers.
    worker = nginx.workers()[0]
    os.kill(worker, signal.SIGQUIT)
    wait_for(lambda: nginx.workers() not in ([], [worker]), what="another worker")


def test_children_are_waited_for_in_peace(nginx):
    """SIGCHLD of an application's children does not disturb nginx."""
    path = application(
        nginx,
        """
import subprocess
return [subprocess.run(["sh", "-c", f"exit {code}"]).returncode for code in range(9)]
""",
    )
    nginx.start(f"wsgi_app {path};")
    for _ in range(3):
        assert nginx.client().get("/").text == str(list(range(9)))
    assert nginx.log_lines("epoll_wait() failed") == []
