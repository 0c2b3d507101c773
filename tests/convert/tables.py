"""The tables of options that `pywsgi convert` has, by the command or the kind of file."""

from __future__ import annotations

from pywsgi.command.convert import (
    cheroot,
    daphne,
    flask,
    granian,
    gunicorn,
    hypercorn,
    mod_wsgi_options,
    supervisor,
    systemd,
    unit_options,
    uvicorn,
    uwsgi_options,
    waitress,
)

TABLES = {
    "gunicorn": gunicorn.TABLE,
    "uvicorn": uvicorn.TABLE,
    "hypercorn": hypercorn.TABLE,
    "daphne": daphne.TABLE,
    "granian": granian.TABLE,
    "waitress-serve": waitress.TABLE,
    "cheroot": cheroot.TABLE,
    "flask": flask.TABLE,
    "uwsgi": uwsgi_options.TABLE,
    "supervisor": supervisor.TABLE,
    "systemd": systemd.TABLE,
    "unit": unit_options.TABLE,
    "mod_wsgi": mod_wsgi_options.TABLE,
    "WSGIDaemonProcess": mod_wsgi_options.DAEMON,
}
