"""A guestbook: visitors leave a message and, optionally, a picture."""

import os
from pathlib import Path

from flask import Flask

from . import csrf, database, views
from .pictures import MAX_PICTURE_BYTES
from .storage import Storage

# Besides the picture, a form has text fields and boundaries.
FORM_BYTES = 64 * 1024


def create_app(folder: Path | None = None) -> Flask:
    """Creates the application, which stores its data in `folder`.

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
