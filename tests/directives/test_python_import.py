"""python_import: modules that a worker imports before its applications."""

from __future__ import annotations

import os
import signal

import pytest
from rawhttp import wait_for

APP = """
    import sys
    from testkit import record

    record("order", __name__)

    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [" ".join(name for name in ("first", "pkg.second") if name in sys.modules).encode()]
"""

MODULE = """
    import threading
    from testkit import record

    assert threading.current_thread() is threading.main_thread()
    record("order", __name__)
"""


@pytest.fixture
def modules(nginx):
    """The modules `first` and `pkg.second`, which record their import; and python_path."""
    nginx.app("first", MODULE)
    nginx.app("pkg/__init__", "")
    nginx.app("pkg/second", MODULE)
    return f"python_path {nginx.apps};"


def test_they_are_imported_first_in_their_order(nginx, modules):
    apps = [nginx.app(name, APP) for name in ("app", "other")]
    nginx.start(
        f"wsgi_app {apps[0]};",
        server=f"location /other {{ wsgi_app {apps[1]}; }}",
        http=f"{modules}\npython_import first pkg.second;\npython_import first;",
    )
    client = nginx.client()
    assert client.get("/").text == client.get("/other").text == "first pkg.second"
    order = nginx.recorded("order")
    assert order[:2] == ["first", "pkg.second"]
    assert sorted(order[2:]) == ["app", "other"]
    for name in ("first", "pkg.second"):
        assert "[notice]" in nginx.wait_log(f'python_import "{name}" imported in ')


def test_each_worker_imports_them_and_so_does_a_reload(nginx, modules):
    nginx.start(
        f"wsgi_app {nginx.app('app', APP)};", http=f"{modules} python_import first;", workers=2
    )
    nginx.wait_recorded("order", 4)
    nginx.reload()
    nginx.wait_recorded("order", 8)
    assert sorted(nginx.recorded("order")) == ["app"] * 4 + ["first"] * 4


def test_requests_wait_for_them(nginx, modules):
    nginx.app("slow", "from testkit import gate, record\nrecord('slow')\ngate('go')\n")
    nginx.start(f"wsgi_app {nginx.app('app', APP)};", http=f"{modules} python_import slow;")
    nginx.wait_recorded("slow")
    with nginx.connect() as connection:
        connection.get("/")
        nginx.open_gate("go")
        assert connection.response().status == 200


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("raise ValueError('token')", "ValueError: token"),
        ("import sys; sys.exit(3)", "called sys.exit(3)"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("import no_such_module", "no_such_module"),
        ("import os; os.environ['NO_SUCH']", "python_env NO_SUCH"),
        ("def", "SyntaxError"),
    ],
)
def test_one_that_fails_is_logged_and_the_others_are_imported(nginx, modules, source, said):
    nginx.app("broken", source)
    nginx.start(f"wsgi_app {nginx.app('app', APP)};", http=f"{modules} python_import broken first;")
    assert nginx.client().get("/").text == "first"
    line = nginx.wait_log('python_import "broken" cannot be imported')
    assert "[error]" in line
    assert "until nginx is reloaded" in line
    nginx.wait_log(said)
    # It is not tried again.
    assert nginx.client().get("/").text == "first"
    assert len(nginx.log_lines('python_import "broken"')) == 1


def test_one_that_is_not_there_is_logged_with_what_to_do(nginx):
    nginx.start(f"wsgi_app {nginx.app('app', APP)};", http="python_import no_such.module;")
    assert nginx.client().get("/").status_code == 200
    line = nginx.wait_log('python_import "no_such.module" cannot be imported')
    assert "python_path adds directories" in line


def test_a_child_that_one_forks_ends_there(nginx, modules):
    nginx.app(
        "forks",
        """
        import os
        from testkit import record

        child = os.fork()
        if child:
            record("status", os.waitpid(child, 0)[1])
        """,
    )
    nginx.start(f"wsgi_app {nginx.app('app', APP)};", http=f"{modules} python_import forks first;")
    assert nginx.client().get("/").text == "first"
    assert nginx.recorded("status") == ["0"]
    assert nginx.recorded("order") == ["first", "app"]


def test_one_that_kills_its_worker_is_left_out(nginx, modules):
    """After two deaths: the first may have been an accident."""
    nginx.allow_log(r"\[alert\].* worker process \d+ exited on signal 9")
    nginx.app(
        "deadly",
        """
        import os, signal
        from testkit import record

        record("deadly")
        os.kill(os.getpid(), signal.SIGKILL)
        """,
    )
    nginx.start(f"wsgi_app {nginx.app('app', APP)};", http=f"{modules} python_import deadly first;")
    line = nginx.wait_log('python_import "deadly" is left out')
    assert "[error]" in line
    assert "2 workers in a row" in line
    wait_for(lambda: nginx.recorded("order") == ["first", "app"], 60, "the application")
    assert nginx.client().get("/").text == "first"
    assert len(nginx.recorded("deadly")) == 2
    # A worker that is started for another reason leaves it out, too.
    (worker,) = nginx.workers()
    os.kill(worker, 9)
    wait_for(lambda: nginx.workers() not in ([], [worker]), 60, "another worker")
    assert nginx.client().get("/").text == "first"
    assert len(nginx.recorded("deadly")) == 2
    # A reload tries again.
    nginx.app("deadly", "from testkit import record\nrecord('mended')\n")
    nginx.reload()
    assert nginx.client().get("/").text == "first"
    assert nginx.recorded("mended")


def test_an_accident_is_forgotten(nginx, modules):
    nginx.allow_log(r"\[alert\].* worker process \d+ exited on signal 9")
    nginx.app(
        "deadly",
        """
        import os, signal
        from testkit import record, DATA

        record("deadly")
        if (DATA / "deadly").read_text().count("-") % 2:
            os.kill(os.getpid(), signal.SIGKILL)
        """,
    )
    nginx.start(f"wsgi_app {nginx.app('app', APP)};", http=f"{modules} python_import deadly;")
    for count in (2, 4):
        nginx.wait_recorded("deadly", count)
        nginx.wait_recorded("order", count // 2)
        assert nginx.client().get("/").status_code == 200
        (worker,) = nginx.workers()
        os.kill(worker, 9)
    assert nginx.log_lines("is left out") == []


def test_without_an_application_python_is_not_started(nginx, modules):
    nginx.page("index.html", "static")
    nginx.start(server="location /x { return 204; }", http=f"{modules} python_import first;")
    assert nginx.client().get("/").text == "static"
    (worker,) = nginx.workers()
    assert len(os.listdir(f"/proc/{worker}/task")) == 1


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("/srv/app.py", "is a file; write the module's name"),
        ("app.py", "is a file; write the module's name"),
        ("''", "is not the name of a module"),
        ("a..b", "is not the name of a module"),
        ("a:b", "is not the name of a module"),
        ("json 1a", "is not the name of a module"),
    ],
)
def test_mistakes(refused, name, word):
    refused("python_import", word, http=f"python_import {name};")


@pytest.mark.skipif(os.geteuid() != 0, reason="another user is needed")
def test_one_that_the_workers_user_cannot_read(nginx, refused, modules):
    if nginx.user in ("", "root"):
        nginx.user = "daemon"
    (nginx.apps / "pkg" / "second.py").chmod(0o600)
    refused(
        "python_import",
        'python_import ".*/pkg/second.py" cannot be read by the workers',
        location=f"wsgi_app {nginx.app('app', APP)};",
        http=f"{modules}\npython_import pkg.second;",
    )


# python_check


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (
            "raise ValueError('token')",
            ["cannot be imported, as the workers' user", "ValueError: token"],
        ),
        ("import no_such", ["cannot be imported", "No module named 'no_such'"]),
        ("import os; os._exit(3)", ["ends the process that imports it, with exit code 3"]),
        ("import time; time.sleep(600)", ["has not started within 1 s"]),
    ],
)
def test_a_configuration_with_one_that_fails_is_refused(nginx, modules, source, words):
    nginx.app("broken", source)
    timeout = "timeout=1s" if "sleep" in source else ""
    result = nginx.check(
        f"wsgi_app {nginx.app('app', APP)};",
        http=f"python_check on {timeout}; {modules}\npython_import broken;",
    )
    assert result.returncode != 0
    line = nginx.config.read_text().split("python_import")[0].count("\n") + 1
    first = next(text for text in result.stderr.splitlines() if "[emerg]" in text)
    assert 'python_import "broken" ' in first
    assert first.endswith(f" in {nginx.config}:{line}")
    for word in words:
        assert word in result.stderr
    assert "the applications do without it" not in result.stderr


def test_the_check_says_what_to_do(nginx):
    app = nginx.app("app", APP)
    result = nginx.check(f"wsgi_app {app};", http="python_check on; python_import no_such.module;")
    assert 'python_import "no_such.module" cannot be imported' in result.stderr
    assert "there is no module 'no_such' on sys.path; python_path adds directories" in result.stderr


def test_a_reload_with_one_that_fails_is_refused(nginx, modules):
    nginx.start(
        f"wsgi_app {nginx.app('app', APP)};",
        http=f"python_check on; {modules} python_import first;",
    )
    assert nginx.client().get("/").text == "first"
    before = nginx.workers()
    nginx.app("first", "raise ValueError('token')")
    nginx.allow_log(r"\[emerg\]")
    os.kill(nginx.master, signal.SIGHUP)
    nginx.wait_log("the workers go on with the old one")
    assert "[emerg]" in nginx.wait_log('python_import "first" cannot be imported')
    assert nginx.client().get("/").text == "first"
    assert nginx.workers() == before


def test_a_module_that_fails_is_named_before_the_applications_that_need_it(nginx, modules):
    nginx.app("broken", "raise ValueError('token')")
    app = nginx.app("app", "import broken\n")
    http = f"python_check on; {modules}\npython_import broken;"
    emergencies = [
        line
        for line in nginx.check(f"wsgi_app {app};", http=http).stderr.splitlines()
        if "[emerg]" in line and "cannot be" in line
    ]
    assert 'python_import "broken" cannot be imported' in emergencies[0]
    assert f'wsgi_app "{app}" cannot be started' in emergencies[1]
