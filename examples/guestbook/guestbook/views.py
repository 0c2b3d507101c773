"""The pages."""

import os
import threading
from datetime import UTC, datetime

from flask import Flask, current_app, redirect, render_template, request, url_for
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response

from . import database, pictures

ENTRIES_PER_PAGE = 20
MAX_NAME = 80
MAX_MESSAGE = 2000


def init_app(app: Flask) -> None:
    app.add_url_rule("/", view_func=show, methods=["GET"])
    app.add_url_rule("/", view_func=sign, methods=["POST"])
    # nginx serves the pictures: this is only for url_for() in templates.
    app.add_url_rule("/pictures/<name>", endpoint="picture", build_only=True)
    app.register_error_handler(HTTPException, show_error)
    app.add_template_filter(utc)
    app.context_processor(whereabouts)


def show() -> str:
    """The form and the entries."""
    return page({})


def sign() -> Response | tuple[str, int]:
    """Stores the entry, or shows the form again with the errors."""
    name = request.form.get("name", "").strip()
    message = request.form.get("message", "").strip()
    upload = request.files.get("picture")

    errors = {}
    if not 1 <= len(name) <= MAX_NAME:
        errors["name"] = f"Please give a name of 1 to {MAX_NAME} characters."
    if not 1 <= len(message) <= MAX_MESSAGE:
        errors["message"] = f"Please write a message of 1 to {MAX_MESSAGE} characters."

    picture = None
    # If no file was chosen, a browser sends an empty part without a file name.
    if upload and upload.filename and not errors:
        try:
            picture = pictures.store(upload, current_app.config["PICTURES"])
        except pictures.BadPicture as error:
            errors["picture"] = str(error)
    if errors:
        return page(errors), 400

    database.add(name, message, picture)
    # "See Other": reloading the next page does not send the form again.
    return redirect(url_for("show"), 303)


def show_error(error: HTTPException) -> tuple[str, int]:
    return render_template("error.html", error=error), error.code or 500


def page(errors: dict[str, str]) -> str:
    before = request.args.get("before", type=int)
    # One more than the page shows, to know whether there are older ones.
    entries = database.newest(ENTRIES_PER_PAGE + 1, before)
    return render_template(
        "index.html",
        entries=entries[:ENTRIES_PER_PAGE],
        older=len(entries) > ENTRIES_PER_PAGE,
        total=database.count(),
        errors=errors,
        form=request.form,
        max_name=MAX_NAME,
        max_message=MAX_MESSAGE,
    )


def utc(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def whereabouts() -> dict[str, object]:
    """For the footer: the nginx worker and the thread that made this page."""
    return {"worker": os.getpid(), "thread": threading.get_native_id()}
