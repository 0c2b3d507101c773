"""What a start imports: each of these modules would take longer than the work itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import pywsgi

SHIM = Path(pywsgi.__file__).parent.parent


def imported(code: str, *names: str) -> str:
    """Those of these modules that the code imports, in a Python without site packages."""
    program = f"import sys\nsys.path.insert(0, {str(SHIM)!r})\n{code}\n"
    program += f"print(*(name for name in {names!r} if name in sys.modules))"
    command = [sys.executable, "-I", "-S", "-c", program]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_of_the_command() -> None:
    code = (
        "from pywsgi.command import parser\n"
        "from pywsgi.command.options import Options\n"
        "parser('serve').parse_args(['serve', 'app:app', '--reload'], Options())\n"
        "import pywsgi.command.serve"
    )
    unwanted = ("difflib", "logging", "pywsgi._hooks", "shutil", "ssl", "tempfile", "traceback")
    assert imported(code, *unwanted) == ""


def test_of_a_worker() -> None:
    code = "import pywsgi._start, pywsgi._loader, pywsgi._exit, pywsgi._debug_page"
    unwanted = ("difflib", "hashlib", "html", "importlib.resources", "pathlib", "sysconfig")
    assert imported(code, *unwanted) == ""


def test_the_package() -> None:
    assert set(pywsgi.__all__) <= set(dir(pywsgi))
    for name in pywsgi.__all__:
        assert getattr(pywsgi, name) is getattr(pywsgi, name)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = pywsgi.nothing  # type: ignore[attr-defined]
