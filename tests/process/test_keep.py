"""python_process … keep=on: processes go on over a reload, if nothing of theirs has changed."""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from directives.venv import fake_venv, packages_of
from harness import Nginx
from process.load import Load
from process_memory import is_alive
from rawhttp import wait_for

# Says each import, and answers which process it is.
SOURCE = """
    import os
    import testkit
    from shop_parts import NAME

    testkit.record("{name}", str(os.getpid()))

    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [f"{name} {{NAME}} {{os.getpid()}}".encode()]
"""

HTTP = """
    python_process shop keep=on processes=2 path={parts} {shop};
    python_process reports path={parts} {reports};
    {http}
"""

SERVER = """
    location /shop {{ wsgi_app {shop_app}; wsgi_process shop; {location} }}
    location /reports {{ wsgi_app {reports_app}; wsgi_process reports; }}
    {server}
"""


class Site:
    """An nginx with two groups, of which the first one is kept."""

    def __init__(self, nginx: Nginx) -> None:
        self.nginx = nginx
        self.parts = nginx.app("parts/shop_parts", 'NAME = "part"\n')
        apps = {name: SOURCE.format(name=name) for name in ("shop", "reports")}
        self.apps = {name: nginx.app(f"{name}/app", source) for name, source in apps.items()}
        kit = (nginx.apps / "testkit.py").read_text()
        nginx.app("parts/testkit", kit.replace("__file__", repr(str(nginx.apps / "testkit.py"))))
        # What is written now was there before the processes.
        time.sleep(0.1)

    def contexts(
        self, *, shop="", reports="", http="", server="", location="", **options
    ) -> dict[str, object]:
        parts = self.parts.parent
        server = SERVER.format(
            shop_app=self.apps["shop"],
            reports_app=self.apps["reports"],
            location=location,
            server=server,
        )
        http = HTTP.format(parts=parts, shop=shop, reports=reports, http=http)
        return {"workers": 2, **options, "http": http, "server": server}

    def write(self, **settings) -> None:
        self.nginx.write_config(**self.contexts(**settings))

    def start(self, **settings) -> tuple[list[int], list[int]]:
        self.write(**settings)
        self.nginx.start()
        self.nginx.wait_imports(3)
        return self.pids("shop", 2), self.pids("reports", 1)

    def pids(self, group: str, count: int, but: list[int] = []) -> list[int]:  # noqa: B006
        return sorted(self.nginx.wait_processes(group, count, but=but))

    def reload(self, **settings) -> None:
        self.write(**settings)
        self.nginx.reload()

    def replaced(self, before: list[int], group: str = "shop", count: int = 2) -> list[int]:
        return self.pids(group, count, but=before)

    def kept(self) -> int:
        return len(self.nginx.log_lines("on in this reload"))

    def why(self) -> str:
        return self.nginx.log_lines("processes are replaced in this reload")[-1]

    def answers(self, path: str, count: int = 20) -> set[int]:
        """The processes that answer new connections."""
        found = set()
        for _ in range(count):
            with self.nginx.client() as client:
                answer = client.get(path)
            assert answer.status_code == 200, answer.text
            found.add(int(answer.text.split()[-1]))
        return found

    @contextlib.contextmanager
    def load(self) -> Iterator[None]:
        """Clients ask all the time, and are always answered."""
        with Load(self.nginx, ["/shop", "/reports"] * 2) as load:
            yield
        assert [{status for status, _ in client} for client in load.answers()] == [{200}] * 4


@pytest.fixture
def site(nginx) -> Site:
    return Site(nginx)


def test_a_reload_keeps_them(nginx, site):
    shop, reports = site.start()
    with site.load():
        for _ in range(3):
            site.reload()
            assert site.pids("shop", 2) == shop
            reports = site.replaced(reports, "reports", 1)
    assert site.answers("/shop") <= {*shop}
    assert site.answers("/reports") == {*reports}
    assert sorted(map(int, nginx.recorded("shop"))) == shop, "nothing is imported again"
    assert len(nginx.recorded("reports")) == 4
    assert site.kept() == 3
    nginx.quit()


def test_what_else_changes_in_the_configuration(nginx, site):
    """Another group's line, another location, a server, the number of workers."""
    shop, reports = site.start()
    with site.load():
        site.reload(
            reports="threads=3 max_requests=1000 optimize=1",
            server="add_header X-New yes; location /other { return 204; }",
            workers=3,
        )
        assert site.pids("shop", 2) == shop
        site.replaced(reports, "reports", 1)
        assert nginx.client().get("/other").status_code == 204
        assert nginx.client().get("/shop").headers["X-New"] == "yes"
        # A group in front of it, which has numbers in front of its.
        site.reload(http=f"python_process first; python_process second path={site.parts.parent};")
        assert site.pids("shop", 2) == shop
    assert len(nginx.recorded("shop")) == 2


def test_a_new_group_and_one_that_is_gone(nginx, site):
    shop, _ = site.start()
    app = nginx.app("wiki/app", SOURCE.format(name="wiki"))
    site.reload(
        http=f"python_process a_wiki processes=3 path={site.parts.parent};",
        server=f"location /wiki {{ wsgi_app {app}; wsgi_process a_wiki; }}",
    )
    assert site.pids("shop", 2) == shop
    assert site.answers("/wiki") <= {*site.pids("a_wiki", 3)}
    assert site.answers("/shop") <= {*shop}
    site.reload()
    wait_for(lambda: not nginx.processes("a_wiki", leaving=True), 60, "the end of the group")
    assert site.pids("shop", 2) == shop
    assert site.answers("/shop") <= {*shop}


@pytest.mark.parametrize(
    "change",
    [
        {"shop": "threads=3"},
        {"shop": "env=NAME=value"},
        {"shop": "nice=3"},
        {"shop": "max_requests=1000"},
        {"shop": "drain_timeout=20s"},
        {"shop": "optimize=1"},
        {"location": "wsgi_timeout 55s;"},
        {"location": "wsgi_param NAME value;"},
        {"http": "python_max_requests 1000;"},
        {"http": "python_optimize 1;"},
        {"main": "worker_rlimit_core 0;"},
        {"log_level": "notice"},
    ],
    ids=str,
)
def test_what_the_processes_have_of_it_changes(nginx, site, change):
    shop, _ = site.start()
    with site.load():
        site.reload(**change)
        new = site.replaced(shop)
    assert "its configuration has changed" in site.why()
    # These are kept in turn.
    site.reload(**change)
    assert site.pids("shop", 2) == new
    assert site.answers("/shop") <= {*new}


def test_a_location_more(nginx, site):
    """The numbers of locations cross: all that are there must be the same."""
    shop, _ = site.start()
    site.reload(server=f"location /again {{ wsgi_app {site.apps['shop']}; wsgi_process shop; }}")
    site.replaced(shop)
    # A location of another application in front of it changes other numbers alone.
    shop = site.pids("shop", 2)
    app = nginx.app("other", "def application(environ, start_response): raise OSError")
    again = f"location /again {{ wsgi_app {site.apps['shop']}; wsgi_process shop; }}"
    site.reload(server=f"{again} location /a {{ wsgi_app {app}; }}")
    assert site.pids("shop", 2) == shop
    assert site.answers("/again") <= {*shop}


def test_a_module_changes(nginx, site):
    shop, reports = site.start()
    with site.load():
        nginx.app("parts/shop_parts", 'NAME = "other"\n')
        site.reload()
        site.replaced(shop)
        site.replaced(reports, "reports", 1)
    assert f'"{site.parts}" has changed' in site.why()
    assert "shop other" in nginx.client().get("/shop").text


def test_a_module_goes(nginx, site):
    nginx.allow_log(r"\[emerg\].*(pywsgi\[12[12]\]|Traceback|File|ModuleNotFoundError|from )")
    shop, _ = site.start(http="python_check on;")
    site.parts.unlink()
    assert "ModuleNotFoundError" in nginx.refuse_reload()
    assert site.pids("shop", 2) == shop
    assert site.answers("/shop") <= {*shop}
    nginx.app("parts/shop_parts", 'NAME = "again"\n')
    nginx.reload()
    site.replaced(shop)


def test_a_broken_module_of_another_group(nginx, site):
    """The configuration is refused: nothing has happened to those that would have been kept."""
    nginx.allow_log(r"\[emerg\].*(pywsgi\[12[12]\]|Traceback|File|OSError|raise )")
    shop, reports = site.start(http="python_check on;")
    nginx.app("reports/app", "raise OSError('no disk')")
    nginx.refuse_reload()
    assert (site.pids("shop", 2), site.pids("reports", 1)) == (shop, reports)
    nginx.app("reports/app", SOURCE.format(name="reports"))
    nginx.reload()
    assert site.pids("shop", 2) == shop
    assert site.answers("/shop") <= {*shop}


def test_a_virtual_environment_changes(nginx, site):
    venv = fake_venv(nginx.root / "venv")
    time.sleep(0.1)
    shop, _ = site.start(shop=f"home={venv}")
    site.reload(shop=f"home={venv}")
    assert site.pids("shop", 2) == shop
    (packages_of(venv) / "other-1.dist-info").mkdir()
    site.reload(shop=f"home={venv}")
    site.replaced(shop)
    assert 'other-1.dist-info" has changed' in site.why()


def test_a_link_leads_elsewhere(nginx, site):
    """A deployment: `current` is a link to a release."""
    for release in ("one", "two"):
        nginx.app(f"{release}/app", SOURCE.format(name="shop"))
    current = nginx.apps / "current"
    current.symlink_to("one")
    site.apps["shop"] = current / "app.py"
    time.sleep(0.1)
    shop, _ = site.start()
    site.reload()
    assert site.pids("shop", 2) == shop
    (nginx.apps / "next").symlink_to("two")
    (nginx.apps / "next").rename(current)
    site.reload()
    site.replaced(shop)


def test_a_log_is_moved(nginx, site):
    """A reload after that: the processes would go on writing to the old file."""
    shop, _ = site.start()
    nginx.log_path.rename(nginx.root / "logs" / "error.log.1")
    nginx.reload()
    site.replaced(shop)
    old = (nginx.root / "logs" / "error.log.1").read_text()
    assert f'another file is named "{nginx.log_path}" now' in old


def test_reopened_logs(nginx, site):
    shop, _ = site.start()
    site.reload()
    old = nginx.root / "logs" / "error.log.1"
    nginx.log_path.rename(old)
    os.kill(nginx.master, signal.SIGUSR1)
    wait_for(nginx.log_path.exists, 60, "the new log")
    opened = lambda pid: nginx.log_path.resolve() in {*descriptors(pid)}  # noqa: E731
    wait_for(lambda: all(map(opened, shop)), 60, "the new log in the processes")
    assert not any(old in {*descriptors(pid)} for pid in shop)
    site.reload()
    assert site.pids("shop", 2) == shop


def descriptors(pid: int) -> Iterator[Path]:
    for file in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            yield file.readlink()


@pytest.mark.parametrize("times", [1, 2])
def test_one_that_dies_is_replaced(nginx, site, times):
    nginx.allow_log(r"\[alert\].* exited on signal 9")
    shop, _ = site.start()
    for _ in range(times):
        site.reload()
    assert site.pids("shop", 2) == shop
    os.kill(shop[0], signal.SIGKILL)
    (new,) = [pid for pid in site.pids("shop", 2, but=shop[:1]) if pid not in shop]
    wait_for(lambda: str(new) in nginx.recorded("shop"), 60, "its import")
    wait_for(lambda: new in site.answers("/shop", 8), 60, "an answer of it")
    # It is kept as the others.
    site.reload()
    assert site.pids("shop", 2) == sorted([new, shop[1]])
    assert site.answers("/shop") <= {new, shop[1]}


def test_restart_worker_one_after_another(nginx, site):
    """Those that are kept, and those that follow them, agree on whose turn it is."""
    nginx.app(
        "shop/app",
        SOURCE.format(name="shop")
        + """
    import pywsgi
    plain = application
    def application(environ, start_response):
        if environ["QUERY_STRING"] == "restart":
            pywsgi.restart_worker()
        return plain(environ, start_response)
""",
    )
    time.sleep(0.1)
    shop, _ = site.start()
    with site.load():
        for at in range(1, 3):
            site.reload()
            assert site.pids("shop", 2) == shop
            nginx.client().get("/shop?restart")
            changed = lambda: {*nginx.processes("shop")} != {*shop}  # noqa: B023, E731
            wait_for(changed, 60, "the end of a process")
            wait_for(lambda: len(nginx.processes("shop")) == 2, 60, "the next one")
            shop = site.pids("shop", 2)
            nginx.wait_imports(3 + 2 * at)


def test_many_reloads_under_load(nginx, site):
    shop, _ = site.start()
    with site.load():
        for at in range(8):
            # nginx may be reading the one before.
            config = nginx.config
            nginx.config = config.with_suffix(".next")
            site.write(reports=f"threads={1 + at % 3}")
            nginx.config = nginx.config.rename(config)
            os.kill(nginx.master, signal.SIGHUP)
            time.sleep(0.05 * at)
        wait_for(lambda: site.kept() >= 2, 60, "reloads")
        nginx.reload()
    assert site.pids("shop", 2) == shop
    assert len(nginx.recorded("shop")) == 2
    assert site.answers("/shop") <= {*shop}
    nginx.quit()


def test_without_keep_after_it(nginx, site):
    shop, _ = site.start()
    site.reload()
    assert site.pids("shop", 2) == shop
    site.write()
    nginx.config.write_text(nginx.config.read_text().replace("keep=on", "keep=off"))
    with site.load():
        nginx.reload()
        site.replaced(shop)


def test_a_port_that_is_gone(nginx, site):
    """A process that is kept keeps no listening socket."""
    shop, _ = site.start()
    for pid in shop:
        for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]:
            place = line.split()
            if place[3] == "0A" and int(place[1].split(":")[1], 16) == nginx.port:
                inode = place[9]
                assert f"socket:[{inode}]" not in {str(file) for file in descriptors(pid)}


def test_a_python_that_does_not_answer(nginx, site):
    """Its thread has the GIL: nobody knows what it has imported."""
    nginx.app(
        "shop/app",
        SOURCE.format(name="shop")
        + """
    import ctypes
    plain = application
    def application(environ, start_response):
        if environ["QUERY_STRING"] == "hold":
            testkit.record("held", "")
            ctypes.PyDLL(None).sleep(12)
        return plain(environ, start_response)
""",
    )
    time.sleep(0.1)
    shop, _ = site.start(location="wsgi_timeout 60s;")
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        held = pool.submit(lambda: nginx.client(timeout=60).get("/shop?hold"))
        nginx.wait_recorded("held")
        site.reload(location="wsgi_timeout 60s;")
        site.replaced(shop)
        assert held.result().status_code == 200
    assert re.search(r"process \d has not answered within 5 s", site.why())


def test_dormant_ones(nginx, site):
    """They have imported nothing, and go on."""
    site.write(shop="start=lazy")
    nginx.start()
    shop = site.pids("shop", 2)
    nginx.app("shop/app", SOURCE.format(name="shop") + "    # changed\n")
    site.reload(shop="start=lazy")
    assert site.pids("shop", 2) == shop
    assert site.answers("/shop") <= {*shop}
    site.reload(shop="start=lazy")
    assert site.pids("shop", 2) == shop


@pytest.mark.unsanitized("a new binary has lost its options")
def test_a_binary_upgrade_that_is_given_up(nginx, site, upgradable):
    """The new master has processes of its own. WINCH ends those of the old one, and HUP starts all
    of them again: it knows of those that it has kept before."""
    upgradable(**site.contexts())
    nginx.wait_imports(3)
    shop = site.pids("shop", 2)
    os.kill(nginx.master, signal.SIGHUP)
    nginx.wait_log("2 processes go on in this reload")
    reports = site.pids("reports", 1)
    wait_for(lambda: len(nginx.recorded("reports")) == 2, 60, "the end of the reload")
    assert site.pids("shop", 2) == shop
    second = upgradable.upgrade()
    wait_for(lambda: len(nginx.recorded("shop")) == 4, 60, "the processes of the second master")
    os.kill(nginx.master, signal.SIGWINCH)
    wait_for(lambda: not nginx.processes("shop", leaving=True), 60, "the end of the processes")
    os.kill(nginx.master, signal.SIGHUP)
    assert not {*site.pids("shop", 2)} & {*shop, *reports}
    wait_for(lambda: len(nginx.recorded("shop")) == 6, 60, "their imports")
    os.kill(second, signal.SIGQUIT)
    wait_for(lambda: not is_alive(second), 60, "the end of the second master")
    assert site.answers("/shop") <= {*site.pids("shop", 2)}
    assert site.answers("/reports") == {*site.pids("reports", 1)}
