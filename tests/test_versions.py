"""Cargo.toml has the version; the files that must repeat it say the same."""

from __future__ import annotations

import re
import tomllib

import pytest
from harness import PROJECT

VERSION = tomllib.loads((PROJECT / "Cargo.toml").read_text())["package"]["version"]

# In a file that must have it, and by which pattern.
COPIES = {
    "CHANGELOG.md": r"^## (\S+) \(",
    "debian/changelog": r"^pywsgi \((\S+)-\d+\) ",
    "deploy/kubernetes/chart/Chart.yaml": r"^appVersion: (\S+)$",
    "nginx-bindings/Cargo.toml": r'^version = "(\S+)"$',
    "python-nginx/pyproject.toml": r'^version = "(\S+)"$',
    "python-shim/pywsgi/__init__.py": r'^__version__ = "(\S+)"$',
    "python-shim/pyproject.toml": r'^version = "(\S+)"$',
}


@pytest.mark.parametrize("file", COPIES)
def test_a_file_has_the_version_of_cargo_toml(file):
    """The first one that it names: both logs have their newest entry at the top."""
    found = re.search(COPIES[file], (PROJECT / file).read_text(), re.MULTILINE)
    assert found
    assert found.group(1) == VERSION
