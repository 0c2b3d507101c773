"""python_home: which Python, and which packages it finds."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from directives.venv import IMPORT, VERSION, fake_venv, packages_of
from harness import PROJECT, VENV


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
    venv = fake_venv(nginx.root / "venv")
    nginx.start(f"wsgi_app {ask};", python_home=venv)
    answer = nginx.client().get("/").json()
    assert answer["prefix"] == str(venv)
    packages = [path for path in answer["path"] if path.endswith("-packages")]
    assert packages == [f"{venv}/lib/python{VERSION}/site-packages"]


# Imported at Python's start by a .pth file: before the module's own package.
WATCH = """
import importlib.util
import sys

{magic}
compiled = []

def note(event, arguments):
    if event == "compile" and str(arguments[1]).startswith("pywsgi/"):
        compiled.append(arguments[1])

sys.addaudithook(note)
"""


@pytest.mark.parametrize("magic", ["", "importlib.util.MAGIC_NUMBER = b'of another'"])
def test_another_bytecode_than_that_of_the_build(nginx, protocol, magic):
    """The package, of which the module has bytecode, is compiled by the Python that runs it."""
    venv = fake_venv(nginx.root / "venv")
    (packages_of(venv) / "watch.py").write_text(WATCH.format(magic=magic))
    (packages_of(venv) / "watch.pth").write_text("import watch")
    app = protocol.app(
        "app",
        """
        import watch

        async def answer(request):
            await request.respond("\\n".join(watch.compiled).encode())
        """,
    )
    nginx.start(f"{protocol}_app {app};", python_home=venv)
    files = set(nginx.client().get("/").text.split())
    if not magic:
        assert files == set()
        return
    package = PROJECT / "python-shim" / "pywsgi"
    every = {f"pywsgi/{file.name}" for file in package.glob("*.py")} - {"pywsgi/__main__.py"}
    assert {"pywsgi/__init__.py", "pywsgi/_loader.py"} < files <= every
    if not protocol.is_wsgi:
        assert files == every


def test_a_missing_home(refuses_a_missing_path):
    refuses_a_missing_path("python_home")


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


@pytest.mark.parametrize("directive", ["python_home", "python_path", "python_executable"])
def test_a_relative_path(nginx, refused, directive):
    # nginx's master and its workers need not have the same working directory.
    refused(directive, "absolute", '"bin/x"', http=f"{directive} bin/x;", python_home=None)
