"""The limits of python_process: what its processes have, and what their applications cannot do."""

from __future__ import annotations

import os
import resource
import signal
from pathlib import Path

import pytest
from process_memory import thread_names as threads
from rawhttp import wait_for

# Tries something at its import, and records how that ends.
TRY = """
    import os
    import testkit

    def attempt(name, function):
        try:
            testkit.record(name, function())
        except Exception as error:
            testkit.record(name, type(error).__name__)

    {body}
    testkit.record("done")

    def application(environ, start_response):
        start_response("200 OK", [])
        return []
"""
MEGABYTE = 1 << 20


@pytest.fixture
def start(nginx):
    """Starts nginx with an application in a `python_process app` with these parameters."""

    def begin(parameters: str, body: str = "", **options) -> int:
        path = nginx.app("app", TRY.format(body=body))
        http = f"python_process app {parameters};\n{options.pop('http', '')}"
        nginx.start(f"wsgi_app {path}; wsgi_process app;", http=http, **options)
        nginx.wait_recorded("done")
        (pid,) = nginx.wait_processes("app", 1)
        return pid

    return begin


def limits(pid: int) -> dict[str, list[str]]:
    """The soft and the hard limits of a process, by the names of proc(5)."""
    lines = Path(f"/proc/{pid}/limits").read_text().splitlines()[1:]
    return {line[:26].strip(): line[26:].split()[:2] for line in lines}


def status(pid: int, field: str) -> str:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return line.split(":", 1)[1].strip()
    raise AssertionError(f"no {field}")


@pytest.mark.parametrize(
    ("parameter", "name", "value"),
    [
        ("rlimit_as=2g", "Max address space", 2048 * MEGABYTE),
        ("rlimit_core=0", "Max core file size", 0),
        ("rlimit_cpu=90s", "Max cpu time", 90),
        ("rlimit_data=900m", "Max data size", 900 * MEGABYTE),
        ("rlimit_fsize=10m", "Max file size", 10 * MEGABYTE),
        ("rlimit_nofile=300", "Max open files", 300),
        ("rlimit_nproc=4000", "Max processes", 4000),
    ],
)
def test_rlimits(nginx, start, parameter, name, value):
    pid = start(parameter)
    assert limits(pid)[name] == [str(value)] * 2
    (worker,) = nginx.workers()
    assert limits(worker)[name] == limits(nginx.master)[name]


def test_an_application_meets_its_limits(nginx, start):
    start(
        "rlimit_fsize=1m rlimit_nofile=200",
        """
    def write():
        with open(testkit.DATA / "large", "wb") as file:
            file.write(bytes(2 << 20))
    attempt("write", write)
    def duplicate():
        made = []
        try:
            while True:
                made.append(os.dup(0))
        finally:
            for descriptor in made:
                os.close(descriptor)
    attempt("open", duplicate)
    """,
    )
    assert nginx.recorded("write") == ["OSError"]
    assert nginx.recorded("open") == ["OSError"]


def test_nice_and_oom_score_and_umask(nginx, start):
    pid = start(
        "nice=7 oom_score_adj=500 umask=077",
        """
    import threading
    def make():
        (testkit.DATA / "made").touch()
        return os.getpriority(os.PRIO_PROCESS, 0)
    attempt("nice", make)
    """,
    )
    assert os.getpriority(os.PRIO_PROCESS, pid) == 7
    assert nginx.recorded("nice") == ["7"]
    assert Path(f"/proc/{pid}/oom_score_adj").read_text() == "500\n"
    assert (nginx.data / "made").stat().st_mode & 0o777 == 0o600
    (worker,) = nginx.workers()
    assert os.getpriority(os.PRIO_PROCESS, worker) == 0
    assert Path(f"/proc/{worker}/oom_score_adj").read_text() != "500\n"


def test_no_new_privs(nginx, start):
    pid = start("no_new_privs=on")
    assert status(pid, "NoNewPrivs") == "1"
    assert status(nginx.workers()[0], "NoNewPrivs") == "0"


@pytest.fixture
def cgroup(nginx):
    """The folder of a cgroup that the workers' user may move processes to."""
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    places = [fields[1] for fields in mounts if fields[2] == "cgroup2"]
    if os.geteuid() != 0 or not places:
        pytest.skip("needs root, and a mounted cgroup2")
    folder = Path(places[0]) / f"pywsgi-{os.getpid()}"
    try:
        folder.mkdir()
    except OSError as error:
        pytest.skip(f"no cgroup can be made: {error}")
    yield folder
    nginx.close()
    wait_for(lambda: not (folder / "cgroup.procs").read_text(), 60, "an empty cgroup")
    folder.rmdir()


def test_a_cgroup(nginx, start, cgroup):
    common = cgroup.parent / "cgroup.procs"
    mode = common.stat().st_mode
    for file in (common, cgroup / "cgroup.procs"):
        file.chmod(0o666)
    try:
        pid = start(f"cgroup={cgroup}")
        assert (cgroup / "cgroup.procs").read_text() == f"{pid}\n"
    finally:
        common.chmod(mode)


def test_a_cgroup_that_the_workers_user_cannot_use(nginx, cgroup):
    if nginx.user == "root":
        pytest.skip("root can use it")
    path = nginx.app("app", TRY.format(body=""))
    result = nginx.check(
        f"wsgi_app {path}; wsgi_process app;", http=f"python_process app cgroup={cgroup};"
    )
    assert result.returncode == 1
    assert f'python_process app: cgroup "{cgroup}/cgroup.procs" cannot be written' in result.stderr


# Landlock


def test_restrict_write(nginx, start):
    allowed, page = nginx.root / "allowed", nginx.page("page.html", "as it was")
    allowed.mkdir()
    allowed.chmod(0o777)
    page.chmod(0o666)
    single = nginx.root / "single"
    single.touch()
    single.chmod(0o666)
    start(
        f"restrict=write writable={allowed} writable={nginx.data} writable={single}",
        f"""
    def write(path, text="x"):
        with open(path, "w") as file:
            file.write(text)
    attempt("allowed", lambda: write("{allowed}/new"))
    attempt("renamed", lambda: os.rename("{allowed}/new", "{allowed}/other"))
    attempt("single", lambda: write("{single}"))
    attempt("other", lambda: write("{page}"))
    attempt("emptied", lambda: os.truncate("{page}", 0))
    attempt("removed", lambda: os.unlink("{allowed}/../html/page.html"))
    attempt("null", lambda: write("/dev/null"))
    attempt("temporary", lambda: os.close(
        os.open("{nginx.root}/tmp/wsgi", os.O_TMPFILE | os.O_RDWR, 0o600)))
    attempt("read", lambda: open("{page}").read())
    attempt("child", lambda: os.system("echo x > {page}") != 0)
    """,
    )
    results = ["allowed", "renamed", "single", "null", "temporary"]
    assert [nginx.recorded(name) for name in results] == [["None"]] * 5
    for name in ("other", "emptied", "removed"):
        assert nginx.recorded(name) == ["PermissionError"], name
    assert nginx.recorded("read") == ["as it was"] and nginx.recorded("child") == ["True"]
    assert page.read_text() == "as it was"


def test_logs_are_reopened_by_a_process_that_may_not_write(nginx, start):
    pid = start(f"restrict=write writable={nginx.data}")
    os.rename(nginx.log_path, nginx.root / "logs" / "old.log")
    os.kill(nginx.master, signal.SIGUSR1)
    wait_for(nginx.log_path.exists, 60, "a new log")

    def opened() -> bool:
        return any(
            os.readlink(fd) == str(nginx.log_path) for fd in Path(f"/proc/{pid}/fd").iterdir()
        )

    wait_for(opened, 60, "the new log in the process")
    nginx.quit()
    assert "exited with code 0" in nginx.error_log()


def test_restrict_exec(nginx, start):
    start(
        "restrict=exec",
        """
    import ctypes
    import subprocess
    attempt("run", lambda: subprocess.run(["/bin/true"]).returncode)
    attempt("fork", lambda: os.waitpid(os.fork() or os._exit(3), 0)[1] >> 8)
    attempt("library", lambda: ctypes.CDLL("libm.so.6") is not None)
    """,
    )
    assert nginx.recorded("run") == ["PermissionError"]
    assert nginx.recorded("fork") == ["3"] and nginx.recorded("library") == ["True"]


def test_restrict_listen(nginx, start):
    start(
        "restrict=listen",
        f"""
    import socket
    def bind():
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
    def connect():
        with socket.create_connection(("127.0.0.1", {nginx.port}), 10):
            pass
    attempt("bind", bind)
    attempt("connect", connect)
    """,
    )
    assert nginx.recorded("bind") == ["PermissionError"]
    assert nginx.recorded("connect") == ["None"]


def test_restrict_signal(nginx, start):
    start(
        "restrict=signal",
        """
    import signal
    import subprocess
    attempt("master", lambda: os.kill(os.getppid(), signal.SIGWINCH))
    def child():
        with subprocess.Popen(["sleep", "60"]) as process:
            process.kill()
        return process.returncode
    attempt("child", child)
    """,
    )
    assert nginx.recorded("master") == ["PermissionError"]
    assert nginx.recorded("child") == ["-9"]


def test_a_worker_is_not_restricted(nginx):
    inside = nginx.app("inside", TRY.format(body='attempt("run", lambda: os.system("true"))'))
    path = nginx.app("app", "def application(environ, start_response): return []")
    nginx.start(
        http="python_process app restrict=write,exec,listen,signal rlimit_core=0;",
        server=f"""
            location /inside {{ wsgi_app {inside}; }}
            location /app {{ wsgi_app {path}; wsgi_process app; }}
        """,
    )
    assert nginx.wait_recorded("run") == ["0"]


def test_a_limit_that_cannot_be_put_on(nginx):
    """It was there when the configuration was read; the applications do not run without it."""
    path = nginx.app("app", TRY.format(body=""))
    folder = nginx.data / "folder"
    folder.mkdir()
    nginx.start(
        f"wsgi_app {path}; wsgi_process app;",
        http=f"python_process app writable={folder} writable={nginx.data} restrict=write;",
    )
    nginx.wait_recorded("done")
    (before,) = nginx.wait_processes("app", 1)
    folder.rmdir()
    nginx.allow_log(r"cannot be confined|exited on signal 9")
    os.kill(before, signal.SIGKILL)
    (after,) = nginx.wait_processes("app", 1, but=[before])
    nginx.wait_log(f'python_process "app": this process cannot be confined: restrict=: {folder}')
    assert threads(after) == ["nginx"]
    nginx.quit()


@pytest.mark.parametrize("parameter", ["restrict=signal", "no_new_privs=on"])
def test_threads_of_nginx_that_they_would_not_hold(nginx, parameter):
    path = nginx.app("app", TRY.format(body=""))
    nginx.allow_log("cannot be confined")
    nginx.start(
        f"wsgi_app {path}; wsgi_process app; aio threads;",
        http=f"python_process app {parameter};",
    )
    nginx.wait_log("nginx has threads in this process for which it would not hold")
    assert nginx.client().get("/").status_code == 500


def test_the_check_puts_them_on(nginx):
    path = nginx.app("app", "import mmap; mmap.mmap(-1, 600 << 20)")
    result = nginx.check(
        f"wsgi_app {path}; wsgi_process app;",
        http="python_process app rlimit_as=600m; python_check on;",
    )
    assert result.returncode == 1
    assert f'wsgi_app "{path}" (python_process app) cannot be started' in result.stderr
    assert "Cannot allocate memory" in result.stderr


@pytest.mark.parametrize("check", ["on", "off"])
def test_a_limit_above_that_of_nginx(nginx, check):
    if nginx.user in ("", "root") and os.geteuid() == 0:
        pytest.skip("root may raise its limits")
    path = nginx.app("app", TRY.format(body=""))
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    result = nginx.check(
        f"wsgi_app {path}; wsgi_process app;",
        http=f"python_process app rlimit_nofile={hard + 1}; python_check {check};",
    )
    assert result.returncode == 1
    assert f'"app" has rlimit_nofile={hard + 1}, which is above the limit' in result.stderr
    # What nginx gives its workers counts.
    result = nginx.check(
        f"wsgi_app {path}; wsgi_process app;",
        http="python_process app rlimit_nofile=1001; python_check off;",
        main="worker_rlimit_nofile 1000;",
        events="",
    )
    assert result.returncode == 1
    assert "above the limit that nginx has itself, 1000" in result.stderr
