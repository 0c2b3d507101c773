"""The files that the workers' user must be able to read or run are checked before nginx starts."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from directives.venv import VERSION, fake_venv, packages_of


@pytest.fixture
def unusable(nginx, refused, ask):
    """`unusable("python_home", path, *words, http=…)`: refused, because the workers' user cannot
    use that path; the message contains these words."""
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


@pytest.mark.parametrize("name", ["", "flask", "google/"])
def test_packages_that_the_workers_user_cannot_read(nginx, unusable, name):
    """As `pip install` under a umask of 077 leaves them."""
    venv = fake_venv(nginx.root / "venv")
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
    venv = fake_venv(nginx.root / "venv")
    closed = packages_of(venv) / "flask"
    closed.mkdir()
    closed.chmod(mode)
    unusable("python_home", closed, "read and search", http=f"python_home {venv};")
    unusable("python_path", closed, "read and search", http=f"python_path {packages_of(venv)};")


def test_what_is_no_package_may_be_closed(nginx, ask):
    venv = fake_venv(nginx.root / "venv")
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
    venv = fake_venv(closed / "in" / "venv")
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
    """A venv of a Python that only root can reach, such as one in /root/.local."""
    closed = nginx.root / "closed"
    closed.mkdir()
    closed.joinpath("python3").symlink_to("/usr/bin/python3")
    closed.chmod(0o700)
    venv = fake_venv(nginx.root / "venv")
    (venv / "bin" / "python3").unlink()
    (venv / "bin" / "python3").symlink_to(closed / "python3")
    unusable("python_home", venv / "bin" / "python3", "executed", http=f"python_home {venv};")
    # python_executable names another one.
    http = f"python_home {venv}; python_executable /usr/bin/python3;"
    result = nginx.check(f"wsgi_app {ask};", http=http, python_home=None)
    assert result.returncode == 0, result.stderr


def test_an_interpreter_that_is_gone(nginx, unusable):
    venv = fake_venv(nginx.root / "venv")
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


def test_a_home_that_the_workers_user_cannot_read(nginx, refused, ask):
    if os.geteuid() == 0:
        nginx.user = "daemon"
    venv = fake_venv(nginx.root / "venv")
    venv.chmod(0o000)
    refused(
        "python_home",
        str(venv),
        location=f"wsgi_app {ask};",
        http=f"python_home {venv};",
        python_home=None,
    )
    venv.chmod(0o755)


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
