"""Accepts forms only from our own pages: each has a token that is also in the session."""

import hmac
import secrets

from flask import Flask, abort, request, session

FIELD = "csrf_token"


def init_app(app: Flask) -> None:
    app.before_request(check)
    app.jinja_env.globals["csrf_token"] = token


def token() -> str:
    """The token of this visitor's session, for a hidden field of a form."""
    return session.setdefault(FIELD, secrets.token_urlsafe(32))


def check() -> None:
    if request.method in ("GET", "HEAD", "OPTIONS"):
        return
    sent = request.form.get(FIELD, "")
    known = session.get(FIELD, "")
    if not known or not hmac.compare_digest(sent.encode(), known.encode()):
        abort(400, "This form has expired. Please go back, load the page again and resubmit it.")
