"""A guestbook: visitors leave a message, and a picture if they like."""

import os
from pathlib import Path

from flask import Flask

from . import csrf, database, views
from .pictures import MAX_PICTURE_BYTES
from .storage import Storage

# Beside the picture, a form has its text fields and the boundaries between them.
FORM_BYTES = 64 * 1024


def create_app(folder: Path | None = None) -> Flask:
    """The application, which keeps everything it stores in `folder`.

    Without one, the environment variable GUESTBOOK_DATA names it, or it is `data` beside this
    package.
    """
    if folder is None:
        beside = Path(__file__).resolve().parent.parent / "data"
        folder = Path(os.environ.get("GUESTBOOK_DATA", beside))
    storage = Storage(folder)

    app = Flask(__name__)
    app.config.update(
        DATABASE=storage.database,
        PICTURES=storage.pictures,
        SECRET_KEY=storage.secret_key,
        SESSION_COOKIE_SAMESITE="Lax",
        MAX_CONTENT_LENGTH=MAX_PICTURE_BYTES + FORM_BYTES,
    )
    database.init_app(app)
    csrf.init_app(app)
    views.init_app(app)
    return app
