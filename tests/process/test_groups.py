"""python_process: the processes of a group, from their start to their end, and what they import."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import time
from collections.abc import Iterable
from pathlib import Path

import pytest
from directives.venv import fake_venv, packages_of
from harness import VENV, Nginx, free_port, title_of
from process_memory import descriptors
from process_memory import thread_names as threads
from rawhttp import wait_for

# Says where it was imported.
APP = """
    import json
    import os
    import sys
    import testkit

    testkit.record("{name}", json.dumps({{
        "pid": os.getpid(),
        "prefix": sys.prefix,
        "path": sys.path,
        "cwd": os.getcwd(),
        "environ": dict(os.environ),
        "cpus": sorted(os.sched_getaffinity(0)),
    }}))

    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"{name}"]
"""


def app(nginx: Nginx, name: str) -> Path:
    return nginx.app(name, APP.format(name=name))


def imported(nginx: Nginx, name: str, count: int = 1) -> list[dict]:
    """What the processes have recorded that have imported that application."""
    return [json.loads(line) for line in nginx.wait_recorded(name, count)]


def wait_serving(nginx: Nginx, pids: Iterable[int]) -> None:
    """Waits until all of these say that they have started their applications."""

    def serving() -> set[int]:
        workers = nginx.client().get("/status").json()["workers"]
        return {worker["pid"] for worker in workers if worker["state"] == "serving"}

    wait_for(lambda: serving() >= {*pids}, 60, "processes that serve")


def runs_python(pid: int) -> bool:
    return any(name.startswith("pywsgi") for name in threads(pid))


def listening_in_epoll(pid: int) -> list[int]:
    """The listening sockets that a process waits for."""
    listening = {int(line.split()[9]) for line in _tcp() if line.split()[3] == "0A"}
    found = []
    for descriptor in Path(f"/proc/{pid}/fdinfo").iterdir():
        # One may be closed meanwhile.
        with contextlib.suppress(FileNotFoundError):
            for tfd in re.findall(r"tfd:\s+(\d+)", descriptor.read_text()):
                target = os.readlink(f"/proc/{pid}/fd/{tfd}")
                inode = re.fullmatch(r"socket:\[(\d+)\]", target)
                if inode and int(inode[1]) in listening:
                    found.append(int(tfd))
    return found


def _tcp() -> list[str]:
    return Path("/proc/net/tcp").read_text().splitlines()[1:]


@pytest.fixture
def two_groups(nginx):
    """Starts nginx with two groups, of two processes and of one, and an application in each."""

    def start(*, inside: str = "", http: str = "", **options) -> Nginx:
        shop, reports = app(nginx, "shop"), app(nginx, "reports")
        return nginx.start(
            http=f"python_process shop processes=2; python_process reports threads=2;\n{http}",
            server=f"""
                location /shop {{ wsgi_app {shop}; wsgi_process shop; }}
                location /reports {{ wsgi_app {reports}; wsgi_process reports; }}
                location = /status {{ python_status json; }}
                {inside}
            """,
            **options,
        )

    return start


def test_each_group_has_its_processes(nginx, two_groups):
    two_groups(workers=2)
    shop, reports = nginx.wait_processes("shop", 2), nginx.wait_processes("reports", 1)
    assert len(nginx.workers()) == 2
    for pid in shop:
        assert title_of(pid).startswith(f"nginx: python_process shop: {nginx.apps}/shop.py")
    assert {entry["pid"] for entry in imported(nginx, "shop", 2)} == {*shop}
    assert {entry["pid"] for entry in imported(nginx, "reports")} == {*reports}
    assert all(runs_python(pid) for pid in shop + reports)


def test_workers_without_applications_run_no_python(nginx, two_groups):
    page = nginx.page("static.html", "static")
    two_groups()
    imported(nginx, "shop", 2)
    (worker,) = nginx.workers()
    assert threads(worker) == ["nginx"]
    assert nginx.client().get("/static.html").text == page.read_text()
    nginx.quit()


def test_workers_import_what_is_in_no_group(nginx, two_groups):
    inside = app(nginx, "inside")
    two_groups(inside=f"location /inside {{ wsgi_app {inside}; }}")
    (worker,) = nginx.workers()
    assert [entry["pid"] for entry in imported(nginx, "inside")] == [worker]
    assert nginx.client().get("/inside").text == "inside"
    shop = nginx.wait_processes("shop", 2)
    assert {entry["pid"] for entry in imported(nginx, "shop", 2)} == {*shop}
    assert len(nginx.recorded("inside")) == 1


def test_the_same_target_in_two_groups_is_two_applications(nginx):
    shop = app(nginx, "shop")
    nginx.start(
        http="python_process one; python_process two;",
        server=f"""
            location /one {{ wsgi_app {shop}; wsgi_process one; }}
            location /two {{ wsgi_app {shop}; wsgi_process two; }}
            location = /status {{ python_status json; }}
        """,
    )
    one, two = nginx.wait_processes("one", 1), nginx.wait_processes("two", 1)
    assert {entry["pid"] for entry in imported(nginx, "shop", 2)} == {*one, *two}
    shown = nginx.client().get("/status").json()["applications"]
    shown = [(entry["name"], entry["process"]) for entry in shown]
    assert shown == [(str(shop), "one"), (str(shop), "two")]


@pytest.mark.parametrize(
    ("listen", "events"), [("", ""), ("reuseport", ""), ("", "accept_mutex on;")]
)
def test_processes_serve_no_clients(nginx, two_groups, listen, events):
    nginx.page("static.html", "static")
    two_groups(workers=2, listen=listen, events=events)
    imported(nginx, "shop", 2)
    processes = nginx.wait_processes("shop", 2) + nginx.wait_processes("reports", 1)
    if not events:
        # With the mutex one of them has the sockets.
        wait_for(lambda: all(map(listening_in_epoll, nginx.workers())), 60, "workers that accept")
    assert not any(listening_in_epoll(pid) for pid in processes)
    for _ in range(50):
        assert nginx.client().get("/static.html").text == "static"


def test_processes_are_not_bound_to_a_processor(nginx, two_groups):
    two_groups(workers=2, main="worker_cpu_affinity auto;")
    for entry in imported(nginx, "shop", 2):
        assert entry["cpus"] == sorted(os.sched_getaffinity(nginx.master))


def test_worker_processes_auto(nginx, two_groups):
    paths = [app(nginx, name) for name in ("shop", "reports")]
    config = nginx.write_config(
        http="python_process shop processes=2; python_process reports;",
        server=f"""
            location /shop {{ wsgi_app {paths[0]}; wsgi_process shop; }}
            location /reports {{ wsgi_app {paths[1]}; wsgi_process reports; }}
        """,
    )
    config.write_text(config.read_text().replace("worker_processes 1", "worker_processes auto"))
    nginx.start()
    nginx.wait_processes("shop", 2)
    nginx.wait_processes("reports", 1)
    wait_for(lambda: len(nginx.workers()) == os.cpu_count(), 60, "a worker for each processor")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_process_that_dies_has_a_successor(nginx, two_groups, number):
    nginx.allow_log(r"exited on signal 9")
    two_groups()
    before = nginx.wait_processes("shop", 2)
    # An import that is cut short is put off in the next process.
    wait_serving(nginx, before)
    (reports,) = nginx.wait_processes("reports", 1)
    workers = nginx.workers()
    os.kill(before[0], number)
    after = nginx.wait_processes("shop", 2, but=before[:1])
    assert before[1] in after
    assert {entry["pid"] for entry in imported(nginx, "shop", 3)} == {*before, *after}
    assert nginx.processes("reports") == [reports] and nginx.workers() == workers


def test_a_reload_replaces_all(nginx, two_groups):
    two_groups()
    imported(nginx, "shop", 2)
    before = nginx.wait_processes("shop", 2)
    worker = nginx.workers()
    nginx.reload()
    after = nginx.wait_processes("shop", 2, but=before)
    assert {entry["pid"] for entry in imported(nginx, "shop", 4)} == {*before, *after}
    assert not {*nginx.workers()} & {*worker}
    wait_for(lambda: not {*before} & {*_children(nginx)}, 60, "the old processes' end")


def test_a_reload_takes_groups_away_and_adds_some(nginx, two_groups):
    two_groups()
    imported(nginx, "shop", 2)
    other = app(nginx, "other")
    nginx.write_config(
        http="python_process other processes=3;",
        server=f"location / {{ wsgi_app {other}; wsgi_process other; }}",
    )
    nginx.reload()
    processes = nginx.wait_processes("other", 3)
    assert {entry["pid"] for entry in imported(nginx, "other", 3)} == {*processes}
    gone = lambda: not nginx.processes("shop", leaving=True)  # noqa: E731
    wait_for(gone, 60, "the end of the old processes")
    nginx.write_config(f"wsgi_app {other};")
    nginx.reload()
    wait_for(lambda: len(_children(nginx)) == 1, 60, "the workers alone")
    assert nginx.client().get("/").text == "other"


def _children(nginx: Nginx) -> list[int]:
    text = Path(f"/proc/{nginx.master}/task/{nginx.master}/children").read_text()
    return [int(child) for child in text.split()]


def test_new_workers_wait_for_the_processes(nginx):
    """The old ones serve until the applications of the new processes are imported."""
    slow = nginx.app(
        "slow",
        """
        import os
        import testkit

        testkit.record("begun", os.getpid())
        testkit.gate("first" if len(open(testkit.DATA / "begun").readlines()) == 1 else "second")
        testkit.record("done", os.getpid())

        def application(environ, start_response):
            start_response("200 OK", [])
            return []
        """,
    )
    nginx.open_gate("first")
    nginx.page("static.html", "static")
    nginx.start(
        http="python_process slow;",
        server=f"location /slow {{ wsgi_app {slow}; wsgi_process slow; }}",
    )
    nginx.wait_recorded("done")
    (worker,) = nginx.workers()
    os.kill(nginx.master, signal.SIGHUP)
    nginx.wait_recorded("begun", 2)
    (new,) = [pid for pid in nginx.workers() if pid != worker]
    assert listening_in_epoll(worker) and not listening_in_epoll(new)
    nginx.open_gate("second")
    nginx.wait_recorded("done", 2)
    wait_for(lambda: nginx.workers(leaving=True) == [new], 60, "the old worker's end")
    assert listening_in_epoll(new)
    nginx.wait_log("the workers of the new configuration are ready")


def test_reloads_keep_no_descriptors(nginx, two_groups):
    two_groups(log_level="warn")
    imported(nginx, "shop", 2)
    files = 0
    for number in range(2, 52):
        before = nginx.wait_processes("shop", 2)
        os.kill(nginx.master, signal.SIGHUP)
        nginx.wait_processes("shop", 2, but=before)
        imported(nginx, "shop", 2 * number)
        wait_for(lambda: len(_children(nginx)) == 4, 60, "the end of the old ones")
        # One that has just ended may still have its socket there; a leak would be one each time.
        files = files or descriptors(nginx.master)
    wait_for(lambda: descriptors(nginx.master) <= files, 60, "the same files as at first")


def test_each_process_keeps_its_own_ends_of_the_meetings(nginx, two_groups):
    two_groups(workers=2)
    imported(nginx, "shop", 2)

    def pairs(pid: int) -> set[str]:
        """The sockets of a pair that keep the borders of messages."""
        kinds = {}
        for line in Path("/proc/net/unix").read_text().splitlines()[1:]:
            fields = line.split()
            kinds[fields[6]] = fields[4]
        found = set()
        for fd in Path(f"/proc/{pid}/fd").iterdir():
            inode = re.fullmatch(r"socket:\[(\d+)\]", os.readlink(fd))
            if inode and kinds.get(inode[1]) == "0005":
                found.add(inode[1])
        return found

    processes = nginx.wait_processes("shop", 2) + nginx.wait_processes("reports", 1)
    meetings = pairs(nginx.master)
    assert len(meetings) == 6
    # A worker and a process have a pair of their own besides.
    own = [pairs(pid) & meetings for pid in processes]
    assert [len(ends) for ends in own] == [1, 1, 1]
    assert len(set.union(*own)) == 3
    for worker in nginx.workers():
        assert pairs(worker) & meetings == meetings - set.union(*own)


def test_quit_and_stop(nginx, two_groups):
    two_groups()
    nginx.wait_imports(3)
    nginx.quit()
    two_groups()
    imported(nginx, "shop", 4)
    nginx.stop()


def test_processes_outlive_the_workers(nginx, two_groups):
    """Those may have requests for them."""
    inside = nginx.app(
        "inside",
        """
        import testkit

        def application(environ, start_response):
            testkit.record("begun")
            testkit.gate("end")
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [b"inside"]
        """,
    )
    two_groups(inside=f"location /inside {{ wsgi_app {inside}; }}")
    processes = nginx.wait_processes("shop", 2)
    wait_serving(nginx, processes + nginx.workers())
    with nginx.connect() as connection:
        connection.send("GET /inside HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        nginx.wait_recorded("begun")
        os.kill(nginx.master, signal.SIGQUIT)
        nginx.wait_log("gracefully shutting down")
        # What is not there cannot be waited for: they look every 20 ms.
        time.sleep(0.5)
        assert nginx.processes("shop") == processes
        nginx.open_gate("end")
        assert connection.response().body == b"inside"
    wait_for(lambda: not nginx.is_running(), 60, "nginx's end")
    assert nginx.error_log().count("exited with code 0") == 4


@pytest.mark.parametrize("restrict", ["", "restrict=signal"])
def test_a_change_reloads_nginx(nginx, restrict):
    path, file = app(nginx, "shop"), nginx.data / "touched"
    file.touch()
    nginx.start(
        f"wsgi_app {path}; wsgi_process shop;",
        http=f"python_process shop {restrict}; python_reload touch {file};",
    )
    before = nginx.wait_processes("shop", 1)
    imported(nginx, "shop")
    # It is looked at when the applications have started.
    wait_for(lambda: _touch(file) or nginx.log_lines("nginx is told to reload"), 60, "a reload")
    nginx.wait_processes("shop", 1, but=before)


def _touch(file: Path) -> None:
    file.unlink()
    file.touch()


# Settings


def venv_with(folder: Path, version: str) -> Path:
    venv = fake_venv(folder)
    package = packages_of(venv) / "shared_library.py"
    package.write_text(f"VERSION = {version!r}\n")
    package.chmod(0o644)
    return venv


def test_each_group_has_its_settings(nginx):
    one, two = (venv_with(nginx.root / name, name) for name in ("one", "two"))
    modules = nginx.root / "modules"
    modules.mkdir()
    modules.chmod(0o755)
    library = nginx.app(
        "library",
        APP.format(name="library")
        + """
    import shared_library
    testkit.record("versions", f"{os.environ['GROUP']} {shared_library.VERSION}")
    """,
    )
    nginx.start(
        http=f"""
            python_env GROUP=none COMMON=common OVERRIDDEN=no;
            python_process one home={one} env=GROUP=1 path={modules} working_directory={modules}
                env=OVERRIDDEN=yes env=SPACED=a=b;
            python_process two home={two} "env=GROUP=2" threads=3 queue=7 ring=64k;
        """,
        server=f"""
            location /one {{ wsgi_app {library}; wsgi_process one; }}
            location /two {{ wsgi_app {library}; wsgi_process two; }}
        """,
    )
    assert sorted(nginx.wait_recorded("versions", 2)) == ["1 one", "2 two"]
    entries = {entry["environ"]["GROUP"]: entry for entry in imported(nginx, "library", 2)}
    assert entries["1"]["prefix"] == str(one) and entries["2"]["prefix"] == str(two)
    assert entries["1"]["cwd"] == str(modules) != entries["2"]["cwd"]
    assert str(modules) in entries["1"]["path"] and str(modules) not in entries["2"]["path"]
    assert entries["1"]["environ"]["OVERRIDDEN"] == "yes"
    assert entries["1"]["environ"]["SPACED"] == "a=b"
    assert entries["2"]["environ"]["OVERRIDDEN"] == "no"
    assert all(entry["environ"]["COMMON"] == "common" for entry in entries.values())


def test_imports_and_executable_and_env_file(nginx):
    for name in ("common", "own"):
        nginx.app(f"{name}_module", f"import testkit; testkit.record('modules', '{name}')")
    path = nginx.app(
        "app",
        """
        import os
        import sys
        import testkit

        modules = [name for name in ("common_module", "own_module") if name in sys.modules]
        values = os.environ["GROUP"], os.environ.get("A"), os.environ.get("B"), *modules
        testkit.record("app", " ".join(map(str, values)))
        testkit.record(os.environ["GROUP"], sys.executable)
        """,
    )
    file = nginx._write(nginx.root / "conf" / "own.env", "A=file\nB=file\n")
    own = f"import=own_module env_file={file} env=B=own executable=/bin/sh"
    groups = {"none": "import=off", "common": "", "own": own}
    lines = [f"python_process {name} env=GROUP={name} {of};" for name, of in groups.items()]
    locations = [f"location /{name} {{ wsgi_app {path}; wsgi_process {name}; }}" for name in groups]
    nginx.start(
        http=f"python_import common_module; python_path {nginx.apps}; {' '.join(lines)}",
        server="\n".join(locations),
    )
    assert sorted(nginx.wait_recorded("app", 3)) == [
        "common None None common_module",
        "none None None",
        "own file own own_module",
    ]
    assert sorted(nginx.recorded("modules")) == ["common", "own"]
    # Links to folders are resolved (python_resolve_symlinks).
    assert nginx.wait_recorded("own") == [str(Path("/bin").resolve() / "sh")]
    assert nginx.wait_recorded("common") == [f"{VENV}/bin/python3"]


def test_what_a_group_does_not_set_is_that_of_http(nginx, two_groups):
    two_groups(http="python_env COMMON=common;")
    for entry in imported(nginx, "shop", 2):
        assert entry["prefix"] == str(VENV)
        assert entry["environ"]["COMMON"] == "common"


def test_inheritance(nginx):
    paths = {name: app(nginx, name) for name in ("http", "server", "location", "off")}
    port = free_port()
    nginx.start(
        http=f"""
            python_process a; python_process b; python_process c;
            wsgi_process a;
            server {{ listen 127.0.0.1:{port}; location / {{ wsgi_app {paths["http"]}; }} }}
        """,
        server=f"""
            wsgi_process b;
            location / {{ wsgi_app {paths["server"]}; }}
            location /location {{ wsgi_app {paths["location"]}; wsgi_process c; }}
            location /off {{ wsgi_app {paths["off"]}; wsgi_process off; }}
        """,
    )
    for name, group in (("http", "a"), ("server", "b"), ("location", "c")):
        pids = nginx.wait_processes(group, 1)
        assert [entry["pid"] for entry in imported(nginx, name)] == pids
    assert [entry["pid"] for entry in imported(nginx, "off")] == nginx.workers()
    assert nginx.client().get("/off").text == "off"


def test_an_application_of_asgi(nginx):
    path = nginx.app(
        "app",
        """
        import os
        import testkit

        async def application(scope, receive, send):
            assert scope["type"] == "lifespan"
            await receive()
            testkit.record("startup", os.getpid())
            await send({"type": "lifespan.startup.complete"})
            await receive()
            testkit.record("shutdown", os.getpid())
            await send({"type": "lifespan.shutdown.complete"})
        """,
    )
    nginx.start(f"asgi_app {path}; asgi_process apps;", http="python_process apps;")
    (pid,) = nginx.wait_processes("apps", 1)
    assert nginx.wait_recorded("startup") == [str(pid)]
    assert threads(nginx.workers()[0]) == ["nginx"]
    nginx.quit()
    assert nginx.recorded("shutdown") == [str(pid)]


def test_limits_of_a_workers_life_replace_a_process(nginx, two_groups):
    two_groups(http="python_max_lifetime 1s;")
    before = nginx.wait_processes("reports", 1)
    workers = nginx.workers()
    nginx.wait_processes("reports", 1, but=before)
    nginx.wait_log("this worker is replaced")
    assert nginx.workers() == workers, "a worker without Python does not age"


def test_a_process_that_cannot_import_says_so(nginx):
    path = nginx.app("app", "import no_such_module")
    nginx.start(f"wsgi_app {path}; wsgi_process shop;", http="python_process shop;")
    nginx.wait_log("no_such_module")
    nginx.wait_processes("shop", 1)


def test_children_of_an_application_have_no_meeting(nginx):
    path = nginx.app(
        "app",
        """
        import subprocess
        import testkit

        out = subprocess.run(["ls", "-l", "/proc/self/fd"], capture_output=True, text=True).stdout
        testkit.record("sockets", out.count("socket:"))
        """,
    )
    nginx.start(f"wsgi_app {path}; wsgi_process shop;", http="python_process shop;")
    assert nginx.wait_recorded("sockets") == ["0"]
    nginx.allow_log("application")


def test_a_process_listens_on_nothing_after_a_reload(nginx, two_groups):
    two_groups()
    before = nginx.wait_processes("shop", 2)
    imported(nginx, "shop", 2)
    nginx.reload()
    after = nginx.wait_processes("shop", 2, but=before)
    imported(nginx, "shop", 4)
    assert not any(listening_in_epoll(pid) for pid in after)
    with socket.create_connection(("127.0.0.1", nginx.port), 10):
        pass
