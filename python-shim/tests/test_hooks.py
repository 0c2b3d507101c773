"""What is registered for a worker's start and exit, and when it counts."""

from __future__ import annotations

import pytest

from pywsgi import _hooks, on_worker_exit, on_worker_start, status

pytestmark = pytest.mark.usefixtures("interpreter")


def test_an_import_that_succeeds() -> None:
    calls: list[str] = []
    _hooks.begin_import()
    on_worker_start(lambda: calls.append("start"))
    on_worker_exit(lambda: calls.append("first"))
    on_worker_exit(lambda: calls.append("second"))
    assert calls == []
    _hooks.end_import(True)
    assert calls == ["start"]
    _hooks.run_exits()
    _hooks.run_exits()
    assert calls == ["start", "second", "first"]


def test_an_import_that_fails() -> None:
    calls: list[str] = []
    _hooks.begin_import()
    on_worker_start(lambda: calls.append("start"))
    on_worker_exit(lambda: calls.append("exit"))
    _hooks.end_import(False)
    _hooks.run_exits()
    assert calls == []


def test_outside_of_an_import() -> None:
    calls: list[str] = []
    on_worker_start(lambda: calls.append("start"))
    assert calls == ["start"]


def test_decorators_return_the_function() -> None:
    def function() -> None:
        pass

    assert on_worker_start(function) is function
    assert on_worker_exit(function) is function
    _hooks.run_exits()


def test_only_functions() -> None:
    with pytest.raises(TypeError, match="a function is needed, not int"):
        on_worker_start(3)  # type: ignore[type-var]


def test_outside_of_nginx_there_is_no_status() -> None:
    assert status() is None
