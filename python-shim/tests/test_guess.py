"""Which protocol the source of an application says it has."""

from __future__ import annotations

from pathlib import Path

import pytest

from pywsgi.command.guess import guess
from pywsgi.command.naming import Place

FASTAPI = "from fastapi import FastAPI\napp = FastAPI()\n"


@pytest.mark.parametrize(
    ("source", "expression", "found"),
    [
        (FASTAPI, None, ("asgi", "app")),
        (FASTAPI, "app", ("asgi", "app")),
        (FASTAPI + "@app.get('/')\ndef index():\n    app = 1\n", None, None),
        ("import flask as f\nsite: f.Flask = f.Flask('a')\n", "site", ("wsgi", "site")),
        ("import falcon.asgi\napi = falcon.asgi.App()\n", None, ("asgi", "api")),
        ("import falcon\napi = falcon.App()\n", None, ("wsgi", "api")),
        ("def app(environ, start_response): ...\n", None, ("wsgi", "app")),
        ("async def app(scope, receive, send): ...\n", None, ("asgi", "app")),
        (
            "from django.core.wsgi import get_wsgi_application\n"
            "application = get_wsgi_application()\n",
            None,
            ("wsgi", "application"),
        ),
        # In doubt.
        (FASTAPI, "other", None),
        (FASTAPI, "app()", None),
        (FASTAPI + "app = Middleware(app)\n", None, None),
        (FASTAPI + "if x:\n    app = 1\n", None, None),
        (FASTAPI + "try:\n    from y import app\nexcept ImportError:\n    pass\n", None, None),
        (FASTAPI + "application = other\n", None, None),
        (FASTAPI + "def app(environ, start_response): ...\n", None, ("wsgi", "app")),
        ("from .own import FastAPI\napp = FastAPI()\n", None, None),
        ("class FastAPI: ...\napp = FastAPI()\n", None, None),
        ("@decorated\ndef app(environ, start_response): ...\n", None, None),
        ("def app(a, b): ...\n", None, None),
        ("def app(\n", None, None),
        ("", None, None),
    ],
)
def test_the_source(
    tmp_path: Path, source: str, expression: str | None, found: tuple[str, str] | None
) -> None:
    file = tmp_path / "main.py"
    file.write_text(source)
    assert guess(Place(str(file), expression), []) == found
    assert guess(Place("main", expression), [str(tmp_path)]) == found


def test_where_the_source_is(tmp_path: Path) -> None:
    package = tmp_path / "shop" / "web"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(FASTAPI)
    assert guess(Place("shop.web", None), [str(tmp_path)]) == ("asgi", "app")
    assert guess(Place("shop.web", None, str(tmp_path)), []) == ("asgi", "app")
    assert guess(Place("shop.web", None), []) is None
    assert guess(Place("shop.other", None), [str(tmp_path)]) is None
    # The first package of that name is the one that is imported.
    (tmp_path / "first" / "shop").mkdir(parents=True)
    assert guess(Place("shop.web", None), [str(tmp_path / "first"), str(tmp_path)]) is None
