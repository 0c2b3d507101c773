"""The file for nginx: `asgi_app /path/to/asgi.py;` finds `app` here."""

from chat import create_app

app = create_app()
