"""Polls: Pyramid's routes, sessions, its own CSRF check, an event subscriber, SQLite."""

import json
import os
import sqlite3
from contextlib import closing
from html import escape
from pathlib import Path
from wsgiref.validate import validator

from pyramid.config import Configurator
from pyramid.csrf import get_csrf_token
from pyramid.events import NewRequest
from pyramid.httpexceptions import HTTPFound, HTTPNotFound
from pyramid.response import FileIter, Response
from pyramid.session import SignedCookieSessionFactory
from pyramid.view import forbidden_view_config, notfound_view_config, view_config

DATA = Path(os.environ["POLLS_DATA"])
SCHEMA = """
CREATE TABLE IF NOT EXISTS poll (id INTEGER PRIMARY KEY, question TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS vote (
    poll INTEGER NOT NULL REFERENCES poll (id), choice TEXT NOT NULL
);
"""


def open_database(event):
    connection = sqlite3.connect(DATA / "polls.sqlite3", timeout=30)
    event.request.database = connection
    event.request.add_finished_callback(lambda request: connection.close())


def page(request, body: str) -> Response:
    token = escape(get_csrf_token(request))
    return Response(
        f"<!doctype html><title>Polls</title>{body}"
        f'<form method="post"><input type="hidden" name="csrf_token" value="{token}"></form>'
    )


@view_config(route_name="index", request_method="GET")
def index(request):
    polls = request.database.execute("SELECT id, question FROM poll ORDER BY id").fetchall()
    seen = request.session["seen"] = request.session.get("seen", 0) + 1
    items = "".join(
        f'<li><a href="{request.route_url("poll", number=number)}">{escape(question)}</a></li>'
        for number, question in polls
    )
    return page(request, f"<p>visit {seen}</p><ul>{items}</ul>")


@view_config(route_name="index", request_method="POST")
def create(request):
    cursor = request.database.execute(
        "INSERT INTO poll (question) VALUES (?)", (request.POST["question"],)
    )
    request.database.commit()
    return HTTPFound(request.route_url("poll", number=cursor.lastrowid))


def counts(request) -> dict[str, int]:
    return dict(
        request.database.execute(
            "SELECT choice, count(*) FROM vote WHERE poll = ? GROUP BY choice ORDER BY choice",
            (int(request.matchdict["number"]),),
        ).fetchall()
    )


@view_config(route_name="poll", request_method="GET")
def poll(request):
    row = request.database.execute(
        "SELECT question FROM poll WHERE id = ?", (int(request.matchdict["number"]),)
    ).fetchone()
    if row is None:
        raise HTTPNotFound("no such poll")
    return page(
        request, f"<h1>{escape(row[0])}</h1><pre>{escape(json.dumps(counts(request)))}</pre>"
    )


@view_config(route_name="poll", request_method="POST")
def vote(request):
    request.database.execute(
        "INSERT INTO vote (poll, choice) VALUES (?, ?)",
        (int(request.matchdict["number"]), request.POST["choice"]),
    )
    request.database.commit()
    return HTTPFound(request.route_url("poll", number=request.matchdict["number"]))


@view_config(route_name="results", renderer="json")
def results(request):
    return counts(request)


@view_config(route_name="picture", request_method="POST")
def store_picture(request):
    upload = request.POST["picture"]
    target = DATA / f"picture-{int(request.matchdict['number'])}"
    with target.open("wb") as file:
        while block := upload.file.read(65536):
            file.write(block)
    return HTTPFound(request.route_url("poll", number=request.matchdict["number"]))


@view_config(route_name="picture", request_method="GET")
def show_picture(request):
    file = (DATA / f"picture-{int(request.matchdict['number'])}").open("rb")
    length = os.fstat(file.fileno()).st_size
    return Response(
        app_iter=FileIter(file), content_type="application/octet-stream", content_length=length
    )


@notfound_view_config()
def not_found(request):
    request.response.status = 404
    request.response.text = "<!doctype html><title>Polls</title><p>no such page</p>"
    return request.response


@forbidden_view_config()
def forbidden(request):
    return Response("forbidden", status=403, content_type="text/plain")


def main():
    with closing(sqlite3.connect(DATA / "polls.sqlite3", timeout=30)) as connection:
        connection.executescript(SCHEMA)
    with Configurator() as config:
        config.set_session_factory(SignedCookieSessionFactory(os.environ["POLLS_SECRET"]))
        config.set_default_csrf_options(require_csrf=True)
        config.add_subscriber(open_database, NewRequest)
        config.add_route("index", "/")
        config.add_route("poll", r"/polls/{number:\d+}")
        config.add_route("results", r"/polls/{number:\d+}/results.json")
        config.add_route("picture", r"/polls/{number:\d+}/picture")
        config.scan(__name__)
        return validator(config.make_wsgi_app())
