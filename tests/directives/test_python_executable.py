"""python_executable: what sys.executable is."""

from __future__ import annotations

import stat

from harness import VENV


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


def test_a_missing_executable(refuses_a_missing_path):
    refuses_a_missing_path("python_executable")


def test_what_cannot_be_executed(nginx, refused, ask):
    assert not ask.stat().st_mode & stat.S_IXUSR
    refused("python_executable", str(ask), "execut|permission", http=f"python_executable {ask};")
    refused("python_executable", str(nginx.apps), http=f"python_executable {nginx.apps};")
