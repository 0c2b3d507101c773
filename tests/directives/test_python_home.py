"""python_home, python_path and python_executable: which Python, and what it finds."""

from __future__ import annotations

import os
import re
import stat
import sys
from pathlib import Path

import pytest
from harness import VENV

# The Python that the tests' own venv was made from, which is the one the module was built with.
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"

ASK = """
    import json
    import site
    import sys

    def application(environ, start_response):
        text = json.dumps(
            {
                "prefix": sys.prefix,
                "base_prefix": sys.base_prefix,
                "executable": sys.executable,
                "path": sys.path,
                "version": list(sys.version_info[:2]),
                "argv": sys.argv,
            }
        )
        start_response("200 OK", [("Content-Type", "application/json")])
        return [text.encode()]
"""
IMPORT = """
    import {module}

    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [{module}.__file__.encode()]
"""


@pytest.fixture
def ask(nginx):
    """The path of an application that tells what Python it runs in."""
    return nginx.app("ask", ASK)


def fake_venv(folder: Path, version: str) -> Path:
    """What `python -m venv` makes, for a Python that need not be there."""
    (folder / "bin").mkdir(parents=True)
    (folder / "lib" / f"python{version}" / "site-packages").mkdir(parents=True)
    (folder / "bin" / "python3").symlink_to("/usr/bin/python3")
    (folder / "bin" / "python").symlink_to("python3")
    (folder / "pyvenv.cfg").write_text(
        f"home = /usr/bin\ninclude-system-site-packages = false\nversion = {version}.1\n"
    )
    for path in [folder, *folder.rglob("*")]:
        if path.is_dir():
            path.chmod(0o755)
    return folder


# python_home


def test_a_venv(nginx, ask):
    nginx.start(f"wsgi_app {ask};", python_home=VENV)
    answer = nginx.client().get("/").json()
    assert answer["prefix"] == str(VENV)
    assert answer["base_prefix"] != str(VENV)
    assert f"{VENV}/lib/python{VERSION}/site-packages" in answer["path"]
    assert answer["version"] == list(sys.version_info[:2])
    assert Path(answer["executable"]).parent == VENV / "bin"


def test_packages_of_the_venv(nginx):
    path = nginx.app("wsgi", IMPORT.format(module="falcon"))
    nginx.start(f"wsgi_app {path};", python_home=VENV)
    assert nginx.client().get("/").text.startswith(f"{VENV}/lib/python{VERSION}/site-packages/")


def test_without_one_it_is_the_python_of_the_build(nginx, ask):
    nginx.start(f"wsgi_app {ask};", python_home=None)
    answer = nginx.client().get("/").json()
    assert answer["prefix"] == answer["base_prefix"] == sys.base_prefix
    assert not any("site-packages" in path and str(VENV) in path for path in answer["path"])
    assert os.access(answer["executable"], os.X_OK)
    assert "nginx" not in answer["executable"]


def test_a_prefix_that_is_no_venv(nginx, ask):
    nginx.start(f"wsgi_app {ask};", http=f"python_home {sys.base_prefix};", python_home=None)
    assert nginx.client().get("/").json()["prefix"] == sys.base_prefix


def test_a_venv_does_not_see_the_system_s_packages(nginx, ask):
    venv = fake_venv(nginx.root / "venv", VERSION)
    nginx.start(f"wsgi_app {ask};", python_home=venv)
    answer = nginx.client().get("/").json()
    assert answer["prefix"] == str(venv)
    packages = [path for path in answer["path"] if path.endswith("-packages")]
    assert packages == [f"{venv}/lib/python{VERSION}/site-packages"]


def test_a_missing_home(nginx, refused):
    missing = nginx.root / "no-venv"
    refused(
        "python_home",
        str(missing),
        "no such|not found|is not a",
        http=f"python_home {missing};",
        python_home=None,
    )


def test_a_home_that_is_a_file(nginx, refused, ask):
    refused("python_home", str(ask), "director", http=f"python_home {ask};", python_home=None)


def test_a_home_that_holds_no_python(nginx, refused):
    refused("python_home", str(nginx.html), http=f"python_home {nginx.html};", python_home=None)


@pytest.mark.parametrize("version", ["2.7", "3.8", "3.99"])
def test_a_venv_of_another_python(nginx, refused, version):
    venv = fake_venv(nginx.root / "venv", version)
    refused(
        "python_home",
        rf"\b{version}\b",
        rf"\b{VERSION}\b",
        str(venv),
        http=f"python_home {venv};",
        python_home=None,
    )


def test_a_home_that_the_workers_user_cannot_read(nginx, refused, ask):
    if os.geteuid() == 0:
        nginx.user = "daemon"
    venv = fake_venv(nginx.root / "venv", VERSION)
    venv.chmod(0o000)
    refused(
        "python_home",
        str(venv),
        location=f"wsgi_app {ask};",
        http=f"python_home {venv};",
        python_home=None,
    )
    venv.chmod(0o755)


# What the workers' user must be able to use


@pytest.fixture
def unusable(nginx, refused, ask):
    """`unusable("python_home", path, *words, http=…)`: refused, because another user cannot use
    that path, with these words as they are."""
    if os.geteuid() == 0:
        nginx.user = "daemon"

    def check(directive: str, path: Path, *words: str, target: str = "", **http: str) -> None:
        message = refused(
            directive,
            re.escape(f'{directive} "{path}" cannot be'),
            "user",
            *map(re.escape, words),
            location=f"wsgi_app {target or ask};",
            python_home=None,
            **http,
        )
        assert "Permission denied" in message or "No such file" in message

    return check


root_alone = pytest.mark.skipif(os.geteuid() != 0, reason="another user is needed")


def packages_of(venv: Path) -> Path:
    return venv / "lib" / f"python{VERSION}" / "site-packages"


@pytest.mark.parametrize("name", ["", "flask", "google/"])
def test_packages_that_the_workers_user_cannot_read(nginx, unusable, name):
    """As `pip install` under a umask of 077 leaves them."""
    venv = fake_venv(nginx.root / "venv", VERSION)
    packages = packages_of(venv)
    closed = packages / name
    closed.mkdir(exist_ok=True)
    if name == "flask":
        (closed / "__init__.py").write_text("")
    closed.chmod(0o000)
    unusable("python_home", closed, "chmod o+rx", http=f"python_home {venv};")
    closed.chmod(0o755)


@root_alone
@pytest.mark.parametrize("mode", [0o744, 0o711])
def test_a_folder_wants_reading_and_searching(nginx, unusable, mode):
    venv = fake_venv(nginx.root / "venv", VERSION)
    closed = packages_of(venv) / "flask"
    closed.mkdir()
    closed.chmod(mode)
    unusable("python_home", closed, "read and search", http=f"python_home {venv};")
    unusable("python_path", closed, "read and search", http=f"python_path {packages_of(venv)};")


def test_what_is_no_package_may_be_closed(nginx, ask):
    venv = fake_venv(nginx.root / "venv", VERSION)
    closed = [packages_of(venv) / name for name in ("__pycache__", "~lask", "flask-3.0.dist-info")]
    closed.append(nginx.app("somewhere/private/data.txt", "").parent)
    for folder in closed:
        folder.mkdir(exist_ok=True)
        folder.chmod(0o000)
    http = f"python_home {venv}; python_path {nginx.apps}/somewhere;"
    result = nginx.check(f"wsgi_app {ask};", http=http, python_home=None)
    for folder in closed:
        folder.chmod(0o755)
    assert result.returncode == 0, result.stderr


@root_alone
def test_the_folder_that_is_in_the_way_is_named(nginx, unusable, ask):
    closed = nginx.root / "closed"
    venv = fake_venv(closed / "in" / "venv", VERSION)
    closed.chmod(0o700)
    way = f'the folder "{closed}" is in the way: let that user search it (chmod o+x)'
    unusable("python_home", venv, way, http=f"python_home {venv};")
    unusable("python_path", packages_of(venv), way, http=f"python_path {packages_of(venv)};")
    # By a symbolic link that anybody can read.
    link = nginx.root / "link"
    link.symlink_to(venv)
    unusable("python_home", link, way, http=f"python_home {link};")
    file = closed / "wsgi.py"
    file.write_text("application = print")
    unusable("wsgi_app", file, way, target=str(file))


@pytest.mark.parametrize("closed", ["shop", "shop/__init__.py", "shop/web", "shop/web/wsgi.py"])
def test_a_module_that_the_workers_user_cannot_read(nginx, unusable, closed):
    for name in ("shop/__init__", "shop/web/__init__", "shop/web/wsgi"):
        nginx.app(f"lib/{name}", "application = print")
    path = nginx.apps / "lib" / closed
    if os.geteuid() != 0 and path.is_dir():
        pytest.skip("who starts nginx cannot see what is in there")
    path.chmod(0o700 if path.is_dir() else 0o000)
    http = f"python_path {nginx.apps} {nginx.apps}/lib;"
    unusable("wsgi_app", path, target="shop.web.wsgi:application", http=http)


@root_alone
def test_an_interpreter_that_the_workers_user_cannot_run(nginx, unusable, ask):
    """A venv of a Python that is root's alone (/root/.local, say)."""
    closed = nginx.root / "closed"
    closed.mkdir()
    closed.joinpath("python3").symlink_to("/usr/bin/python3")
    closed.chmod(0o700)
    venv = fake_venv(nginx.root / "venv", VERSION)
    (venv / "bin" / "python3").unlink()
    (venv / "bin" / "python3").symlink_to(closed / "python3")
    unusable("python_home", venv / "bin" / "python3", "executed", http=f"python_home {venv};")
    # Another one is named to be run.
    http = f"python_home {venv}; python_executable /usr/bin/python3;"
    result = nginx.check(f"wsgi_app {ask};", http=http, python_home=None)
    assert result.returncode == 0, result.stderr


def test_an_interpreter_that_is_gone(nginx, unusable):
    venv = fake_venv(nginx.root / "venv", VERSION)
    (venv / "bin" / "python3").unlink()
    (venv / "bin" / "python3").symlink_to("/nonexistent/python3")
    words = ["executed", f"recreate the virtual environment with python{VERSION} -m venv"]
    unusable("python_home", venv / "bin" / "python3", *words, http=f"python_home {venv};")


@root_alone
def test_an_executable_of_root_alone(nginx, unusable):
    program = nginx.root / "python"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o700)
    unusable("python_executable", program, "executed", http=f"python_executable {program};")


@pytest.mark.parametrize("directive", ["python_home", "python_path", "python_executable"])
def test_a_relative_path(nginx, refused, directive):
    # nginx's master and its workers need not have the same working directory.
    refused(directive, "absolute", '"bin/x"', http=f"{directive} bin/x;", python_home=None)


# python_path


def test_folders_stand_in_front_in_their_order(nginx):
    nginx.app("one/word.py", "")
    nginx.app("two/word.py", "")
    # Both a package of the venv and a module of the standard library.
    nginx.app("two/falcon.py", "")
    nginx.app("two/colorsys.py", "")
    for module in ["word", "falcon", "colorsys"]:
        nginx.app(f"use_{module}", IMPORT.format(module=module))
    nginx.start(
        http=f"python_path {nginx.apps}/one {nginx.apps}/two;",
        server="".join(
            f"location /{module} {{ wsgi_app {nginx.apps}/use_{module}.py; }}\n"
            for module in ["word", "falcon", "colorsys"]
        ),
    )
    client = nginx.client()
    assert client.get("/word").text == f"{nginx.apps}/one/word.py"
    assert client.get("/falcon").text == f"{nginx.apps}/two/falcon.py"
    assert client.get("/colorsys").text == f"{nginx.apps}/two/colorsys.py"


def test_pth_files_work(nginx):
    nginx.app("hidden/inside.py", "")
    (nginx.app("site/empty.py", "").parent / "more.pth").write_text(f"{nginx.apps}/hidden\n")
    path = nginx.app("wsgi", IMPORT.format(module="inside"))
    nginx.start(f"wsgi_app {path};", http=f"python_path {nginx.apps}/site;")
    assert nginx.client().get("/").text == f"{nginx.apps}/hidden/inside.py"


def test_a_target_by_its_module_s_name(nginx, ask):
    nginx.start("wsgi_app ask:application;", http=f"python_path {nginx.apps};")
    assert str(nginx.apps) in nginx.client().get("/").json()["path"]


def test_a_missing_folder(nginx, refused):
    missing = nginx.root / "no-folder"
    refused(
        "python_path",
        str(missing),
        "no such|not found|is not a",
        http=f"python_path {nginx.apps} {missing};",
    )


def test_a_file_is_no_folder(refused, ask):
    refused("python_path", str(ask), "director", http=f"python_path {ask};")


def test_a_folder_that_the_workers_user_cannot_read(nginx, refused, ask):
    if os.geteuid() == 0:
        nginx.user = "daemon"
    nginx.html.chmod(0o000)
    refused(
        "python_path",
        str(nginx.html),
        location=f"wsgi_app {ask};",
        http=f"python_path {nginx.html};",
        python_home=None,
    )
    nginx.html.chmod(0o755)


# python_executable


def test_default_is_that_of_home(nginx):
    path = nginx.app(
        "wsgi",
        """
        import subprocess
        import sys

        def application(environ, start_response):
            code = "import sys, falcon; print(sys.prefix)"
            text = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [text.stdout.strip()]
        """,
    )
    nginx.start(f"wsgi_app {path};", python_home=VENV)
    assert nginx.client().get("/").text == str(VENV)


def test_another_one(nginx, ask):
    wrapper = nginx.root / "conf" / "wrapped-python"
    wrapper.write_text(f'#!/bin/sh\nexec "{VENV}/bin/python3" "$@"\n')
    wrapper.chmod(0o755)
    nginx.start(f"wsgi_app {ask};", http=f"python_executable {wrapper};")
    answer = nginx.client().get("/").json()
    assert answer["executable"] == str(wrapper)
    assert answer["prefix"] == str(VENV), "python_home still says which packages there are"


def test_a_missing_executable(nginx, refused):
    missing = nginx.root / "no-python"
    refused(
        "python_executable",
        str(missing),
        "no such|not found|is not a",
        http=f"python_executable {missing};",
    )


def test_what_cannot_be_executed(nginx, refused, ask):
    assert not ask.stat().st_mode & stat.S_IXUSR
    refused("python_executable", str(ask), "execut|permission", http=f"python_executable {ask};")
    refused("python_executable", str(nginx.apps), http=f"python_executable {nginx.apps};")
