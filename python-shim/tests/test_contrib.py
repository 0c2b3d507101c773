"""Inside nginx the package has no folder, and `pywsgi.contrib` is that of the installed one."""

from __future__ import annotations

from pathlib import Path

import pytest

from pywsgi._contrib import ContribFinder


def test_the_first_installed_one_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("first", "second"):
        folder = tmp_path / name / "pywsgi" / "contrib"
        folder.mkdir(parents=True)
        (folder / "__init__.py").write_text("")
    empty = tmp_path / "empty"
    monkeypatch.setattr("sys.path", [str(empty), str(tmp_path / "first"), str(tmp_path / "second")])
    spec = ContribFinder.find_spec("pywsgi.contrib", [])
    assert spec is not None
    folder = tmp_path / "first" / "pywsgi" / "contrib"
    assert (spec.origin, spec.submodule_search_locations) == (
        str(folder / "__init__.py"),
        [str(folder)],
    )


@pytest.mark.parametrize("name", ["pywsgi", "pywsgi.command", "pywsgi.contrib.django", "contrib"])
def test_nothing_else_is(name: str) -> None:
    assert ContribFinder.find_spec(name, []) is None


def test_it_may_not_be_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.path", [])
    assert ContribFinder.find_spec("pywsgi.contrib", []) is None
