"""Which folders have been imported from."""

from __future__ import annotations

import importlib
import os
import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest

from pywsgi import _imported

pytestmark = pytest.mark.usefixtures("interpreter")


@pytest.fixture
def new(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[], dict[str, bool]]:
    """The folders of the test since the last call."""
    monkeypatch.setattr(_imported, "_seen", set())
    ours = os.fsencode(tmp_path)
    return lambda: {
        os.fsdecode(folder): installed
        for folder, installed in _imported.new_folders()
        if folder.startswith(ours)
    }


def test_each_folder_is_told_when_something_of_it_is_imported(
    new: Callable[[], dict[str, bool]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for file in ("shop_here.py", "shop/__init__.py", "shop/views.py", "spaced/inner/one.py"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    assert new() == {}
    importlib.import_module("shop_here")
    assert new() == {str(tmp_path): False}
    assert new() == {}
    importlib.import_module("shop.views")
    assert new() == {str(tmp_path / "shop"): False}
    importlib.import_module("spaced.inner.one")
    folders = {str(tmp_path / "spaced"), str(tmp_path / "spaced/inner")}
    assert new().keys() == folders


def test_installed_ones_are_told_apart(
    new: Callable[[], dict[str, bool]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path / "lib/python3/site-packages"
    site.mkdir(parents=True)
    (site / "installed_here.py").write_text("")
    monkeypatch.syspath_prepend(site)
    importlib.import_module("installed_here")
    assert new() == {str(site): True}


def test_what_is_no_usual_module(
    new: Callable[[], dict[str, bool]], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Lazy(types.ModuleType):
        def __getattr__(self, name: str) -> object:
            raise AssertionError(name)

    number = types.ModuleType("number")
    number.__file__ = 3  # type: ignore[assignment]
    relative = types.ModuleType("relative")
    relative.__file__ = "pywsgi/__init__.py"
    others: list[object] = [None, object(), Lazy("lazy"), number, relative]
    for at, module in enumerate(others):
        monkeypatch.setitem(sys.modules, f"unusual{at}", module)
    assert new() == {}


def test_all_modules_are_told_each_time(
    new: Callable[[], dict[str, bool]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for file in ("told_here.py", "told_spaced/inner/one.py"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.import_module("told_here")
    importlib.import_module("told_spaced.inner.one")
    assert new()
    for _ in range(2):
        files, folders = _imported.all_modules()
        ours = {os.fsdecode(file) for file in files if file.startswith(os.fsencode(tmp_path))}
        assert ours == {str(tmp_path / "told_here.py"), str(tmp_path / "told_spaced/inner/one.py")}
        # A namespace package has a folder and no file.
        assert {os.fsencode(tmp_path), os.fsencode(tmp_path / "told_spaced")} <= {*dict(folders)}
