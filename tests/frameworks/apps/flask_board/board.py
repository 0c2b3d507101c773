"""A notice board: accounts, sessions, forms with a token against CSRF, SQLite, files, JSON."""

from __future__ import annotations

import hmac
import os
import secrets
import sqlite3
from pathlib import Path
from wsgiref.validate import validator

from flask import (
    Flask,
    abort,
    flash,
    g,
    jsonify,
    redirect,
    render_template,
    request,
    send_from_directory,
    session,
    stream_with_context,
    url_for,
)
from werkzeug.security import check_password_hash, generate_password_hash
from werkzeug.utils import secure_filename

DATA = Path(os.environ["BOARD_DATA"])
SCHEMA = """
CREATE TABLE IF NOT EXISTS person (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, password TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS notice (
    id INTEGER PRIMARY KEY,
    person INTEGER NOT NULL REFERENCES person (id),
    text TEXT NOT NULL,
    file TEXT
);
"""


def database() -> sqlite3.Connection:
    if "database" not in g:
        g.database = sqlite3.connect(DATA / "board.sqlite3", timeout=30)
        g.database.row_factory = sqlite3.Row
    return g.database


def token() -> str:
    return session.setdefault("token", secrets.token_hex(16))


def create_app() -> Flask:
    app = Flask(__name__)
    app.secret_key = os.environ["BOARD_SECRET"]
    app.config["MAX_CONTENT_LENGTH"] = 8 * 1024 * 1024
    app.jinja_env.globals["token"] = token

    with app.app_context():
        database().executescript(SCHEMA)
        database().commit()

    @app.teardown_appcontext
    def close_database(error: BaseException | None) -> None:
        connection = g.pop("database", None)
        if connection is not None:
            connection.close()

    @app.before_request
    def check_token() -> None:
        if request.method != "POST" or request.is_json:
            return
        if not hmac.compare_digest(request.form.get("token", ""), session.get("token", "-")):
            abort(400, "the form's token is missing or wrong")

    @app.get("/")
    def index():
        notices = database().execute(
            "SELECT notice.id, name, text, file FROM notice"
            " JOIN person ON person.id = notice.person ORDER BY notice.id"
        )
        return render_template("index.html", notices=notices.fetchall())

    @app.post("/register")
    def register():
        name, password = request.form["name"], request.form["password"]
        try:
            database().execute(
                "INSERT INTO person (name, password) VALUES (?, ?)",
                (name, generate_password_hash(password, method="pbkdf2:sha256:1000")),
            )
        except sqlite3.IntegrityError:
            abort(409, "that name is taken")
        database().commit()
        flash(f"welcome, {name}")
        return redirect(url_for("index"))

    @app.post("/login")
    def login():
        person = (
            database()
            .execute("SELECT * FROM person WHERE name = ?", (request.form["name"],))
            .fetchone()
        )
        if person is None or not check_password_hash(person["password"], request.form["password"]):
            abort(403, "name or password is wrong")
        session["person"] = person["id"]
        session["name"] = person["name"]
        return redirect(url_for("index"), code=303)

    @app.post("/logout")
    def logout():
        session.clear()
        return redirect(url_for("index"), code=303)

    @app.post("/notices")
    def add():
        if "person" not in session:
            abort(403, "log in first")
        upload = request.files.get("file")
        name = None
        if upload is not None and upload.filename:
            name = f"{secrets.token_hex(8)}-{secure_filename(upload.filename)}"
            upload.save(DATA / name)
        database().execute(
            "INSERT INTO notice (person, text, file) VALUES (?, ?, ?)",
            (session["person"], request.form["text"], name),
        )
        database().commit()
        return redirect(url_for("index"), code=303)

    @app.get("/files/<name>")
    def file(name: str):
        return send_from_directory(DATA, name, as_attachment=True)

    @app.get("/api/notices")
    def api_list():
        rows = database().execute("SELECT id, text FROM notice ORDER BY id").fetchall()
        return jsonify([dict(row) for row in rows])

    @app.post("/api/echo")
    def api_echo():
        return jsonify(received=request.get_json(), who=session.get("name"))

    @app.get("/export.txt")
    def export():
        @stream_with_context
        def lines():
            for row in database().execute("SELECT text FROM notice ORDER BY id"):
                yield row["text"] + "\n"

        return app.response_class(lines(), mimetype="text/plain")

    @app.get("/boom")
    def boom():
        raise RuntimeError("the board fell down")

    @app.errorhandler(404)
    def missing(error):
        return render_template("missing.html", path=request.path), 404

    return app


app = create_app()
application = validator(app)
