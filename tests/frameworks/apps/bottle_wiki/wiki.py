"""A wiki: Bottle's routes, SimpleTemplate, signed cookies, uploads, static files, SQLite."""

import os
import secrets
import sqlite3
from contextlib import closing
from pathlib import Path
from wsgiref.validate import validator

import bottle

DATA = Path(os.environ["WIKI_DATA"])
SECRET = os.environ["WIKI_SECRET"]
PAGE = bottle.SimpleTemplate("""<!doctype html>
<title>{{name}}</title>
% if text is None:
<p>There is no page {{name}} yet.</p>
% else:
<article>{{text}}</article>
% end
<form method="post"><input type="hidden" name="token" value="{{token}}">
<textarea name="text">{{text or ""}}</textarea></form>
""")

wiki = bottle.Bottle()


def database():
    connection = sqlite3.connect(DATA / "wiki.sqlite3", timeout=30)
    connection.execute("CREATE TABLE IF NOT EXISTS page (name TEXT PRIMARY KEY, text TEXT)")
    return closing(connection)


def form_token() -> str:
    token = bottle.request.get_cookie("token", secret=SECRET)
    if token is None:
        token = secrets.token_hex(16)
        bottle.response.set_cookie("token", token, secret=SECRET, httponly=True, path="/")
    return token


def check_token() -> None:
    known = bottle.request.get_cookie("token", secret=SECRET)
    if known is None or bottle.request.forms.get("token") != known:
        bottle.abort(403, "the form's token is missing or wrong")


@wiki.get("/")
def index():
    bottle.redirect("page/Start", 302)


@wiki.get("/page/<name>")
def show(name):
    with database() as connection:
        row = connection.execute("SELECT text FROM page WHERE name = ?", (name,)).fetchone()
    return PAGE.render(name=name, text=row and row[0], token=form_token())


@wiki.post("/page/<name>")
def save(name):
    check_token()
    with database() as connection, connection:
        connection.execute(
            "INSERT INTO page VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET text = excluded.text",
            (name, bottle.request.forms.getunicode("text")),
        )
    bottle.redirect(f"/page/{name}", 303)


@wiki.get("/pages.json")
def pages():
    with database() as connection:
        return dict(connection.execute("SELECT name, text FROM page ORDER BY name").fetchall())


@wiki.post("/attachments")
def attach():
    check_token()
    upload = bottle.request.files.get("file")
    upload.save(str(DATA), overwrite=True)
    bottle.response.status = 201
    return {"name": upload.filename, "url": f"/attachments/{upload.filename}"}


@wiki.get("/attachments/<name>")
def attachment(name):
    return bottle.static_file(name, root=str(DATA), download=True)


@wiki.error(404)
def missing(error):
    return f"<!doctype html><p>{error.body}</p>"


application = validator(wiki)
