"""Which application is meant by what is typed, and by nothing."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from pywsgi._target import LoadError
from pywsgi.command.choosing import choose
from pywsgi.command.naming import Place, locate


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Files by which an application can be named."""
    for name in (
        "app.py",
        "hello.wsgi",
        "shop/__init__.py",
        "shop/web/__init__.py",
        "shop/web/main.py",
        "plain/main.py",
        "site/manage.py",
        "site/mysite/__init__.py",
        "site/mysite/wsgi.py",
    ):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    return tmp_path.resolve()


@pytest.mark.parametrize(
    ("typed", "place", "expression", "folder"),
    [
        ("app:app", "app", "app", None),
        ("shop.web.main", "shop.web.main", None, None),
        ("shop.web:create_app('x', y=[1])", "shop.web", "create_app('x', y=[1])", None),
        ('shop:create("a:b")', "shop", 'create("a:b")', None),
        ("app.py", "{}/app.py", None, None),
        ("./app.py:site.api", "{}/app.py", "site.api", None),
        ("hello.wsgi", "{}/hello.wsgi", None, None),
        # As a module of its package, so that relative imports work.
        ("shop/web/main.py:app", "shop.web.main", "app", "{}"),
        ("plain/main.py", "{}/plain/main.py", None, None),
        ("plain", "{}/plain/main.py", None, None),
        (".", "{}/app.py", None, None),
        ("site", "mysite.wsgi", None, "{}/site"),
        ("shop", "shop", None, None),
    ],
)
def test_what_is_typed(
    project: Path, typed: str, place: str, expression: str | None, folder: str | None
) -> None:
    found = locate(typed, str(project), {})
    where = folder.format(project) if folder else None
    assert found == Place(place.format(project), expression, where)


def test_nothing_is_typed(project: Path) -> None:
    assert locate(None, str(project), {}).place == f"{project}/app.py"
    assert locate(None, str(project / "site"), {}).place == "mysite.wsgi"
    assert locate(None, str(project), {"FLASK_APP": "shop:create_app"}) == Place(
        "shop", "create_app"
    )
    (project / "pyproject.toml").write_text(
        '[tool.other]\nentrypoint = "no:no"\n\n[tool.fastapi]\nentrypoint = "shop.web.main:api"\n'
    )
    assert locate(None, str(project), {}) == Place("shop.web.main", "api")


@pytest.mark.parametrize("typed", ["missing.py", "missing.py:app", "no/such/file"])
def test_a_file_that_is_not_there(project: Path, typed: str) -> None:
    with pytest.raises(LoadError, match="there is no file"):
        locate(typed, str(project), {})


def test_a_folder_without_an_application(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match=r"there is no application .*: name it, as app.py"):
        locate(None, str(tmp_path), {})


class Framework:
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        raise NotImplementedError


def wsgi(environ: Any, start_response: Any) -> list[bytes]:
    raise NotImplementedError


def create_app() -> Framework:
    return Framework()


def create_app_of(name: str) -> Framework:
    return Framework()


SITE = Framework()


@pytest.mark.parametrize(
    ("values", "factory", "chosen"),
    [
        ({"app": wsgi}, False, "app"),
        ({"app": wsgi, "application": wsgi}, False, "application"),
        ({"app": ModuleType("app"), "site": SITE}, False, "site"),
        ({"Framework": Framework, "site": SITE, "alias": SITE}, False, "site"),
        ({"_private": SITE, "create_app": create_app}, False, "create_app()"),
        ({"app": wsgi, "make_app": create_app}, True, "make_app()"),
    ],
)
def test_the_callable_of_a_module(values: dict[str, Any], factory: bool, chosen: str) -> None:
    module = ModuleType("main")
    vars(module).update(values)
    assert choose(module, factory) == chosen


@pytest.mark.parametrize(
    ("values", "factory", "message"),
    [
        ({"one": Framework(), "two": Framework()}, False, "main:one or main:two"),
        ({"create_app": create_app_of}, False, "has no application"),
        ({"app": wsgi}, True, "has no function create_app"),
        ({}, False, "has no application"),
    ],
)
def test_a_module_that_leaves_it_open(values: dict[str, Any], factory: bool, message: str) -> None:
    module = ModuleType("main")
    vars(module).update(values)
    with pytest.raises(LoadError, match=message):
        choose(module, factory)
