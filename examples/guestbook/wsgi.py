"""The file for nginx: `wsgi_app /path/to/wsgi.py;` finds `application` here."""

from guestbook import create_app

application = create_app()
