"""python_resolve_symlinks: a worker stays in the release that it has started with."""

from __future__ import annotations

import os

import pytest
from directives.venv import fake_venv, packages_of
from rawhttp import wait_for

WSGI = """
    import json
    import sys

    def application(environ, start_response):
        if environ["QUERY_STRING"]:
            __import__(environ["QUERY_STRING"])
        shown = {name: getattr(sys.modules.get(name), "word", None) for name in ("late", "packed")}
        shown |= {"file": __file__, "path": sys.path, "prefix": sys.prefix}
        shown |= {"executable": sys.executable}
        start_response("200 OK", [("Content-Type", "application/json")])
        return [json.dumps(shown).encode()]
"""


class Releases:
    """Folders `one` and `two` below `releases/`, each with `wsgi.py`, `late.py` and a virtual
    environment with the module `packed`; and a link `current`."""

    def __init__(self, nginx):
        self.nginx = nginx
        self.folder = nginx.root / "shop" / "releases"
        self.current = nginx.root / "shop" / "current"
        for name in ("one", "two"):
            self.write(name, "wsgi.py", WSGI)
            self.write(name, "late.py", f"word = {name!r}")
            venv = fake_venv(self.folder / name / "venv")
            module = packages_of(venv) / "packed.py"
            module.write_text(f"word = {name!r}")
            module.chmod(0o644)
        self.point_to("one")

    def write(self, release: str, file: str, source: str):
        return self.nginx._write(self.folder / release / file, source)

    def point_to(self, release: str) -> None:
        """As a deployment does: there is a link at each moment."""
        new = self.current.with_name("new")
        new.symlink_to(f"releases/{release}")
        new.replace(self.current)

    def start(self, http: str = "", target: str = "", **options) -> None:
        self.nginx.start(
            f"wsgi_app {target or f'{self.current}/wsgi.py'};",
            http=http,
            python_home=None,
            **options,
        )

    def get(self, module: str = "") -> dict:
        response = self.nginx.client().get(f"/?{module}")
        assert response.status_code == 200
        return response.json()


@pytest.fixture
def releases(nginx):
    return Releases(nginx)


ON = pytest.mark.parametrize("on", ["", "python_resolve_symlinks on;"])


@ON
def test_a_later_import_is_of_the_same_release(releases, on):
    releases.start(f"{on} python_home {releases.current}/venv;")
    releases.point_to("two")
    assert releases.get("late")["late"] == "one"
    assert releases.get("packed")["packed"] == "one"
    release = releases.folder / "one"
    seen = releases.get()
    assert seen["file"] == f"{release}/wsgi.py"
    assert seen["prefix"] == f"{release}/venv"
    assert seen["executable"] == f"{release}/venv/bin/python3"
    assert not any(str(releases.current) in entry for entry in seen["path"])


def test_the_folder_of_python_executable(releases):
    """Not the file itself, which leads out of the virtual environment."""
    releases.start(f"python_executable {releases.current}/venv/bin/python;")
    assert releases.get()["executable"] == f"{releases.folder}/one/venv/bin/python"


@ON
def test_a_module_of_python_path(releases, on):
    releases.start(f"{on} python_path {releases.current};", target="wsgi:application")
    releases.point_to("two")
    assert releases.get("late")["late"] == "one"
    assert str(releases.folder / "one") in releases.get()["path"]


def test_off_leaves_the_paths_as_they_are(releases):
    releases.start(
        f"python_resolve_symlinks off; python_home {releases.current}/venv;"
        f" python_path {releases.current};"
    )
    seen = releases.get()
    assert seen["file"] == f"{releases.current}/wsgi.py"
    assert seen["prefix"] == f"{releases.current}/venv"
    assert str(releases.current) in seen["path"]
    releases.point_to("two")
    assert releases.get("late")["late"] == "two"
    assert releases.get("packed")["packed"] == "two"


def test_a_reload_takes_the_new_release(nginx, releases):
    releases.start()
    assert releases.get("late")["late"] == "one"
    releases.point_to("two")
    nginx.reload()
    seen = releases.get("late")
    assert seen["late"] == "two"
    assert seen["file"] == f"{releases.folder}/two/wsgi.py"


def test_another_worker_takes_the_new_release(nginx, releases):
    nginx.allow_log(r"\[alert\].* worker process \d+ exited on signal 9")
    releases.start()
    releases.point_to("two")
    (worker,) = nginx.workers()
    os.kill(worker, 9)
    wait_for(lambda: nginx.workers() not in ([], [worker]), 60, "another worker")
    assert releases.get("late")["late"] == "two"


def test_another_attempt_to_import_is_of_the_same_release(nginx, releases):
    releases.write("one", "wsgi.py", "import missing_part\n")
    releases.start()
    client = nginx.client()
    assert client.get("/").status_code == 500
    # The release that works is not this worker's.
    releases.point_to("two")
    assert client.get("/").status_code == 500
    assert "missing_part" in nginx.wait_log("ModuleNotFoundError")
    # Its own release is mended.
    releases.write("one", "missing_part.py", "")
    releases.write("one", "wsgi.py", f"import missing_part\n{WSGI}".replace("\n    ", "\n"))
    wait_for(lambda: client.get("/").status_code == 200, 60, "an answer")
    assert releases.get("late")["late"] == "one"


def test_log_lines_name_the_target_and_where_it_is(nginx, releases):
    target = f"{releases.current}/wsgi.py:application"
    releases.start(f"python_home {releases.current}/venv;", target=target)
    line = nginx.wait_log(f'application "{target}" imported in')
    assert line.endswith(f', from "{releases.folder}/one/wsgi.py:application"')
    nginx.wait_log(f'python_home "{releases.folder}/one/venv"')


def test_a_path_without_links_is_said_once(nginx, ask):
    nginx.start(f"wsgi_app {ask};")
    assert nginx.wait_log(f'application "{ask}" imported in').endswith(" s")


def test_a_file_that_is_a_link_has_its_neighbours_where_the_link_is(nginx, releases):
    link = releases.folder / "one" / "site.py"
    nginx._write(nginx.root / "shop" / "shared.py", WSGI)
    link.symlink_to("../../shared.py")
    releases.start(target=f"{releases.current}/site.py")
    seen = releases.get("late")
    assert seen["late"] == "one"
    assert seen["file"] == str(link)


def test_advice_names_the_path_of_the_configuration(nginx, releases):
    """It is for nginx.conf, where the link should stay."""
    releases.write("one", "__init__.py", "")
    releases.write("one", "wsgi.py", "from . import late\n")
    releases.start()
    assert nginx.client().get("/").status_code == 500
    line = nginx.wait_log("belongs to the package")
    assert f"add `python_path {releases.current.parent};`" in line
    assert "current.wsgi" in line


def test_two_names_of_one_application(nginx, releases):
    """By the link and by the release: both are imported, and neither gets in the other's way."""
    releases.start(
        server=f"location /release/ {{ wsgi_app {releases.folder}/one/wsgi.py; }}",
    )
    assert releases.get("late")["late"] == "one"
    assert nginx.client().get("/release/").json()["file"] == f"{releases.folder}/one/wsgi.py"


def test_asgi(nginx, releases):
    source = """
        from testkit import respond

        async def app(scope, receive, send):
            import late

            await respond(send, f"{late.word} {__file__}".encode())
    """
    releases.write("one", "asgi.py", source)
    releases.write("one", "testkit.py", (nginx.apps / "testkit.py").read_text())
    nginx.start(f"asgi_app {releases.current}/asgi.py; asgi_lifespan off;")
    releases.point_to("two")
    assert nginx.client().get("/").text == f"one {releases.folder}/one/asgi.py"
