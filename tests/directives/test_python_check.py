"""python_check: while nginx reads its configuration, a child imports the applications."""

from __future__ import annotations

import json
import os
import pwd
import re
import signal
import subprocess
import textwrap
import time
from pathlib import Path

import pytest
from harness import NGINX, VENV, _children
from rawhttp import wait_for

ANSWERS = """
    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"{word}"]
"""

ON = "python_check on;"


@pytest.fixture
def app(nginx):
    """`app(source)` writes an application that runs `source` as it is imported, and answers
    `word`."""

    def write(source: str = "", word: str = "text", name: str = "site") -> Path:
        answers = textwrap.dedent(ANSWERS.format(word=word))
        return nginx.app(name, f"import testkit\n{source}\n{answers}")

    return write


@pytest.fixture
def check(nginx, app):
    """`check(source)` is what `nginx -t` says of an application that runs `source` as it is
    imported."""

    def run(source: str = "", *, http: str = ON, directive: str = "wsgi_app", **options):
        return nginx.check(f"{directive} {app(source)};", http=http, **options)

    return run


def is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


# What it says


def test_one_that_can_be_imported(nginx, check):
    result = check("print('imported')")
    assert result.returncode == 0, result.stderr
    assert "test is successful" in result.stderr


def test_by_default_it_is_on(nginx, app, check):
    result = check("raise RuntimeError('no')", http="# python_check by default")
    assert result.returncode != 0 and "RuntimeError: no" in result.stderr


@pytest.mark.parametrize("limit", [64, 512, 900, 901])
def test_few_descriptors(nginx, app, check, limit):
    """By worker_rlimit_nofile, or by the limit of nginx itself."""
    result = check(main=f"worker_rlimit_nofile {limit};")
    assert result.returncode == 0, result.stderr
    nginx.launcher = ("prlimit", f"--nofile={limit}:{limit}")
    nginx.start(f"wsgi_app {app()};", http=ON)
    assert nginx.client().get("/").text == "text"


@pytest.mark.parametrize("http", ["python_check off;", "python_check off timeout=5s;"])
def test_off_imports_nothing(nginx, check, http):
    result = check("testkit.record('imports')\nraise RuntimeError('no')", http=http)
    assert result.returncode == 0, result.stderr
    assert nginx.recorded("imports") == []


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("raise RuntimeError('no database')", "RuntimeError: no database"),
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("def broken(:", "SyntaxError"),
        ("raise SystemExit(4)", "SystemExit"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
    ],
)
def test_the_traceback_is_shown_with_the_directive(nginx, check, source, error):
    result = check(source)
    assert result.returncode == 1
    emergencies = [line for line in result.stderr.splitlines() if "[emerg]" in line]
    number = _line_of(nginx, "wsgi_app")
    target = nginx.apps / "site.py"
    assert re.search(
        rf'\[emerg\] \d+#\d+: pywsgi\[122\]: wsgi_app "{target}" cannot be started.*'
        rf" in {nginx.config}:{number}$",
        emergencies[0],
    )
    assert any(error in line for line in emergencies), result.stderr
    if error != "SyntaxError":
        assert any(f'File "{target}", line 2' in line for line in emergencies)
    assert "python_check off" in emergencies[-1]


def test_a_module_in_a_package_that_is_not_there(nginx):
    result = nginx.check("wsgi_app shop.site:application;", http=ON)
    assert result.returncode == 1
    assert "No module named 'shop'" in result.stderr


def test_a_callable_that_is_not_there(nginx, app):
    result = nginx.check(f"wsgi_app {app()}:other;", http=ON)
    assert result.returncode == 1
    assert "other" in result.stderr


def test_an_application_of_the_other_protocol(nginx, check):
    result = check(directive="asgi_app")
    assert result.returncode == 1
    assert "use wsgi_app" in result.stderr or "wsgi_app" in result.stderr.split("asgi_app", 1)[1]


def test_each_application_is_imported_and_each_broken_one_is_named(nginx, app):
    good = app("testkit.record('good')", name="good")
    first = app("raise ValueError('first one')", name="first")
    second = app("raise ValueError('second one')", name="second")
    server = "\n".join(
        f"location /{path.stem} {{ wsgi_app {path}; }}" for path in (first, good, second)
    )
    result = nginx.check(server=server, http=ON)
    assert result.returncode == 1
    assert "ValueError: first one" in result.stderr and "ValueError: second one" in result.stderr
    assert f'"{good}" cannot' not in result.stderr
    assert nginx.recorded("good") == ["-"]


def test_a_start_is_refused(nginx, app):
    nginx.allow_log(r"RuntimeError|Traceback|File|raise|cannot be started|is refused|\^")
    with pytest.raises(AssertionError, match="RuntimeError: no"):
        nginx.start(f"wsgi_app {app('raise RuntimeError(chr(110) + chr(111))')};", http=ON)


# How it imports


FACTS = """
import json, os, pathlib, sys, threading
descriptors = {}
for name in os.listdir("/proc/self/fd"):
    try:
        descriptors[name] = os.readlink(f"/proc/self/fd/{name}")
    except OSError:
        pass
testkit.record("facts", json.dumps({
    "user": os.getuid(),
    "groups": sorted(os.getgroups()),
    "home": os.environ.get("HOME"),
    # An nginx with QUIC tells its workers of its maps (NGINX_BPF_MAPS).
    "environment": sorted(name for name in os.environ if not name.startswith("NGINX")),
    "directory": os.getcwd(),
    "prefix": sys.prefix,
    "input": sys.stdin.read() if sys.stdin else None,
    "main": threading.current_thread() is threading.main_thread(),
    "descriptors": descriptors,
    "umask": os.umask(0o22),
    "pid": os.getpid(),
}))
"""


def test_it_imports_as_a_worker_does(nginx, app):

    nginx.start(f"wsgi_app {app(FACTS)};", http=f"{ON} python_env GREETING=hello;")
    checked, served = (json.loads(line) for line in nginx.wait_recorded("facts", 2))
    assert served["pid"] in nginx.workers()
    assert checked["pid"] not in nginx.workers() and not is_there(checked["pid"])
    descriptors = checked.pop("descriptors")
    assert not [target for target in descriptors.values() if target.startswith("socket:")]
    served.pop("descriptors")
    checked.pop("pid"), served.pop("pid")
    assert checked == served
    assert "GREETING" in checked["environment"]
    if os.geteuid() == 0:
        assert checked["user"] == pwd.getpwnam(nginx.user).pw_uid


@pytest.mark.skipif(os.geteuid() != 0, reason="another user is needed")
def test_what_the_workers_user_cannot_read(nginx, app):
    nginx.user = "daemon"
    secret = nginx.root / "secret"
    secret.write_text("key")
    secret.chmod(0o600)
    result = nginx.check(f"wsgi_app {app(f'open({str(secret)!r})')};", http=ON, python_home=None)
    assert result.returncode == 1
    assert "PermissionError" in result.stderr


def test_nothing_of_python_is_left_in_the_master(nginx, app):
    nginx.start(f"wsgi_app {app('testkit.record(chr(97))')};", http=ON)
    nginx.wait_recorded("a", 2)
    assert len(os.listdir(f"/proc/{nginx.master}/task")) == 1
    assert "encodings" not in Path(f"/proc/{nginx.master}/maps").read_text()
    before = _descriptors(nginx.master)
    for _ in range(3):
        nginx.reload()
    # A reload keeps the old logs until its next one.
    wait_for(lambda: _descriptors(nginx.master) <= before + 2, what="the master's descriptors")
    wait_for(
        lambda: set(_children(nginx.master)) == set(nginx.workers(leaving=True)),
        what="only workers as the master's children",
    )


def _descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def test_the_client_of_a_signal_does_not_check(nginx, app):
    """`nginx -s` reads the configuration, as the master does."""
    nginx.start(f"wsgi_app {app('testkit.record(chr(97))')};", http=ON)
    nginx.wait_recorded("a", 2)
    command = [NGINX, "-p", f"{nginx.root}/", "-c", str(nginx.config), "-e", "stderr"]
    subprocess.run([*command, "-s", "reopen"], check=True, timeout=60)
    assert len(nginx.recorded("a")) == 2


# What an import may do


CHILD = """
import os, sys, time
pid = os.fork()
if pid == 0:
    {more}
    testkit.record("child", str(os.getpid()))
    while True:
        time.sleep(1)
while not os.path.exists({recorded!r}):
    time.sleep(0.01)
"""

DAEMON = "os.setsid()\n    if os.fork(): os._exit(0)"


@pytest.mark.parametrize("more", ["pass", "os.setsid()", DAEMON])
def test_a_child_that_it_forks_does_not_stay(nginx, check, more):
    result = check(CHILD.format(more=more, recorded=str(nginx.data / "child")))
    assert result.returncode == 0, result.stderr
    (child,) = nginx.recorded("child")
    assert not is_there(int(child))


def test_a_program_that_it_starts_does_not_stay(nginx, check):
    source = "import subprocess\ntestkit.record('child', subprocess.Popen(['sleep', '600']).pid)"
    result = check(source.replace(".pid)", ".pid.__str__())"))
    assert result.returncode == 0, result.stderr
    (child,) = nginx.recorded("child")
    assert not is_there(int(child))


def test_a_temporary_folder_is_removed(nginx, check):
    source = (
        "import tempfile\n"
        f"folder = tempfile.TemporaryDirectory(dir={str(nginx.data)!r})\n"
        "testkit.record('folder', folder.name)"
    )
    assert check(source).returncode == 0
    (folder,) = nginx.recorded("folder")
    assert not Path(folder).exists()


@pytest.mark.parametrize(
    "source",
    [
        "import threading as t, time\nt.Thread(target=time.sleep, args=[600], daemon=True).start()",
        "import threading, time\nthreading.Thread(target=time.sleep, args=(600,)).start()",
        "import os\nos.chdir('/')\nos.umask(0)",
        "import sys\nassert sys.stdin is None or sys.stdin.read() == ''",
        "import os\nos.closerange(3, 500)",
        "import signal\nsignal.signal(signal.SIGUSR1, lambda *ignored: None)",
        "import sys\nsys.stdout = sys.stderr = None",
        "import atexit, os\natexit.register(os._exit, 3)",
        "import atexit, time\natexit.register(time.sleep, 600)",
    ],
    ids=["daemon", "thread", "chdir", "stdin", "closerange", "signal", "no-output", "exit", "hang"],
)
def test_what_does_no_harm(nginx, check, source):
    result = check(source, http=f"{ON} python_finalize on timeout=500ms;")
    assert result.returncode == 0, result.stderr
    assert "does not end" not in result.stderr
    assert Path.cwd().exists()


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("import os\nos._exit(3)", "exit code 3"),
        ("import os\nos._exit(0)", "exit code 0"),
        ("import os\nos.kill(os.getpid(), 9)", "signal 9"),
        ("import os\nos.abort()", "signal 6"),
        ("import ctypes\nctypes.string_at(0)", "signal 11"),
        ("import ctypes\nctypes.CDLL(None).exit(5)", "exit code 5"),
    ],
)
@pytest.mark.unsanitized("AddressSanitizer handles these signals")
def test_an_import_that_ends_its_process(nginx, app, check, source, words):
    result = check(source)
    assert result.returncode == 1
    number = _line_of(nginx, "wsgi_app")
    (line,) = [line for line in result.stderr.splitlines() if words in line and "emerg" in line]
    assert f'wsgi_app "{nginx.apps / "site.py"}"' in line and line.endswith(f":{number}")


@pytest.mark.parametrize(
    "source",
    [
        "import time\ndef stuck():\n    time.sleep(600)\nstuck()",
        "import time\nwhile True: time.sleep(1)",
    ],
)
def test_one_that_never_ends(nginx, check, source):
    began = time.monotonic()
    # Long enough for Python to come to the import.
    result = check(source, http="python_check on timeout=8s;")
    assert time.monotonic() - began < 60
    assert result.returncode == 1
    assert "has not started within 8 s (python_check timeout)" in result.stderr
    assert "time.sleep" in result.stderr, "where it is"


def test_one_that_never_ends_and_keeps_the_gil(nginx, check):
    source = "import ctypes\nctypes.PyDLL(None).sleep(600)"
    result = check(source, http="python_check on timeout=300ms;")
    assert result.returncode == 1
    assert "has not started within 0.3 s" in result.stderr


def test_what_an_import_says_is_logged(nginx, app):
    source = "import sys\nprint('to stdout')\nprint('to stderr', file=sys.stderr)"
    nginx.start(f"wsgi_app {app(source)};", http=ON)
    nginx.client().get("/")
    nginx.reload()
    assert "[info]" in nginx.wait_log("python_check: to stdout")
    assert "[error]" in nginx.wait_log("python_check: to stderr")


# A reload


BROKEN = ["raise RuntimeError('broken deploy')", "import no_such_module", "def broken(:"]


@pytest.mark.parametrize("source", BROKEN)
def test_a_broken_deploy_keeps_the_old_workers(nginx, app, source):
    nginx.allow_log(r"\[emerg\]")
    nginx.start(f"wsgi_app {app(word='old')};", http=ON, workers=2)
    # Whoever imports it later gets the broken code.
    nginx.wait_imports(2)
    client = nginx.client()
    assert client.get("/").text == "old"
    app(source, word="new")
    said = nginx.refuse_reload()
    assert "the workers go on with the old one" in said
    assert f'wsgi_app "{nginx.apps / "site.py"}"' in said
    assert {client.get("/").text for _ in range(20)} == {"old"}
    app(word="new")
    nginx.reload()
    wait_for(lambda: nginx.client().get("/").text == "new", what="the new code")


def test_a_reload_with_another_virtual_environment(nginx, app):
    """It has no packages that the application imports."""
    nginx.allow_log(r"\[emerg\]")
    empty = nginx.root / "empty"
    subprocess.run([f"{VENV}/bin/python", "-m", "venv", "--without-pip", empty], check=True)
    path = app("import httpx")
    nginx.start(f"wsgi_app {path};", http=ON)
    assert nginx.client().get("/").text == "text"
    nginx.write_config(f"wsgi_app {path};", http=ON, python_home=empty)
    assert "No module named 'httpx'" in nginx.refuse_reload()
    assert nginx.client().get("/").text == "text"


def test_nginx_can_be_stopped_while_it_checks(nginx, app):
    nginx.allow_log(r"\[emerg\]")
    nginx.start(f"wsgi_app {app()};", http=ON)
    assert nginx.client().get("/").text == "text"
    app(
        "testkit.record('checker', __import__('os').getpid().__str__())\ntestkit.gate('never', 600)"
    )
    os.kill(nginx.master, signal.SIGHUP)
    (checker,) = nginx.wait_recorded("checker")
    nginx.stop(timeout=30)
    assert "cut short" in nginx.error_log()
    assert not is_there(int(checker))


def test_the_check_ends_with_the_nginx_that_asked_for_it(nginx, app):
    path = app(
        "testkit.record('checker', __import__('os').getpid().__str__())\ntestkit.gate('never', 600)"
    )
    nginx.write_config(f"wsgi_app {path};", http=ON)
    command = [NGINX, "-t", "-p", f"{nginx.root}/", "-c", str(nginx.config), "-e", "stderr"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    (checker,) = nginx.wait_recorded("checker")
    process.kill()
    process.wait()
    wait_for(lambda: not is_there(int(checker)), what="the checker's end")


# ASGI


LIFESPAN = """
    import testkit

    async def application(scope, receive, send):
        if scope["type"] == "lifespan":
            await receive()
            testkit.record("startup")
            {failure}
            await send({{"type": "lifespan.startup.complete"}})
            await receive()
            testkit.record("shutdown")
            await send({{"type": "lifespan.shutdown.complete"}})
        else:
            await testkit.respond(send, b"text")
"""


def test_without_lifespan_no_startup_runs(nginx):
    app = nginx.app("site", LIFESPAN.format(failure="raise RuntimeError('no')"))
    assert nginx.check(f"asgi_app {app};", http=ON).returncode == 0
    assert nginx.recorded("startup") == []


def test_with_lifespan_the_startup_runs_and_the_shutdown(nginx):
    app = nginx.app("site", LIFESPAN.format(failure=""))
    result = nginx.check(f"asgi_app {app};", http="python_check on lifespan=on;")
    assert result.returncode == 0, result.stderr
    assert (nginx.recorded("startup"), nginx.recorded("shutdown")) == (["-"], ["-"])


def test_a_startup_that_fails(nginx):
    failure = "await send({'type': 'lifespan.startup.failed', 'message': 'no database'}); return"
    app = nginx.app("site", LIFESPAN.format(failure=failure))
    result = nginx.check(f"asgi_app {app};", http="python_check on timeout=30s lifespan=on;")
    assert result.returncode == 1
    assert "no database" in result.stderr and "asgi_app" in result.stderr


def test_a_startup_that_never_ends(nginx):
    app = nginx.app("site", LIFESPAN.format(failure="await receive()"))
    result = nginx.check(f"asgi_app {app};", http="python_check on timeout=1s lifespan=on;")
    assert result.returncode == 1
    assert "has not started within 1 s" in result.stderr


# Mistakes


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("yes", '"yes"; it must be on or off'),
        ("on timeout=0", "timeout of 0"),
        ("on timeout=soon", 'invalid time "soon"'),
        ("on lifespan=yes", '"yes"; it must be on or off'),
        ("on limit=5s", "it takes timeout=TIME and lifespan=on.off"),
    ],
)
def test_wrong_values(refused, value, words):
    refused(
        "python_check",
        re.escape(words).replace(r"on\.off", "on.off"),
        http=f"python_check {value};",
    )


def test_twice(refused):
    refused("python_check off", "duplicate", http="python_check on;\npython_check off;")


def _line_of(nginx, text: str) -> int:
    lines = nginx.config.read_text().splitlines()
    return next(number for number, line in enumerate(lines, 1) if text in line)
