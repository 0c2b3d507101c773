"""Virtual environments for the tests of python_home, python_path and python_executable."""

from __future__ import annotations

import sys
from pathlib import Path

# The Python of the tests' venv, which is the one the module was built with.
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"


# An application that answers with the file of a module.
IMPORT = """
    import {module}

    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [{module}.__file__.encode()]
"""


def fake_venv(folder: Path, version: str = VERSION) -> Path:
    """What `python -m venv` makes, for a Python that need not exist."""
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


def packages_of(venv: Path) -> Path:
    """Its site-packages."""
    return venv / "lib" / f"python{VERSION}" / "site-packages"
