"""The servers of WSGI, and how each is started with the same Python and application."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import apache
from place import APPS, Place, Run, free_port

BIN = Path(sys.prefix) / "bin"


@dataclass(frozen=True)
class Server:
    name: str
    launch: Callable[[Place], None]
    installed: Callable[[], bool] = lambda: True
    # The module of its application, if a measurement has no other.
    app: str = "work"
    # If it serves only some of the works: what it serves at their paths.
    paths: dict[str, str] = field(default_factory=dict, compare=False)

    def start(
        self,
        run: Run,
        *,
        app: str = "",
        path: str = "/hello",
        connections: int = 1024,
        count: int = 1,
    ) -> Place:
        """Starts it and waits for its first response; StartError if there is none."""
        app = app or self.app
        folder = run.folder / f"{self.name}-{app}".replace(" ", "-").replace(",", "")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        place = Place(run, folder, free_port(), app, connections, count)
        try:
            self.launch(place)
            place.wait(path)
        except BaseException:
            place.stop()
            raise
        return place


def _pywsgi(
    threads: int, *, pool: str = "default", more: str = "", main: str = ""
) -> Callable[[Place], None]:
    def launch(place: Place) -> None:
        location = f"wsgi_app {place.app}:application; wsgi_thread_pool {pool}; {more}"
        with_module(
            place, location, http=f"python_thread_pool default threads={threads};", main=main
        )

    return launch


def _behind_a_wall(processes: int) -> Callable[[Place], None]:
    """The application runs in processes of its own, with 8 threads each."""

    def launch(place: Place) -> None:
        location = f"wsgi_app {place.app}:application; wsgi_process own;"
        http = f"python_process own processes={processes} threads=8;"
        with_module(place, location, http=http)

    return launch


def with_module(place: Place, location: str, *, http: str = "", main: str = "") -> None:
    """Starts an nginx with the module, this Python and the applications."""
    environment = place.run.environment().items()
    http += (
        f"python_home {sys.prefix}; python_path {APPS};"
        f"python_env {' '.join(f'{name}={value}' for name, value in environment)};"
    )
    place.nginx_with(location, main=main, http=http, module=True)


def _nginx(place: Place) -> None:
    place.nginx_with('default_type text/plain; return 200 "Hello, World!\\n";')


def _nginx_gunicorn(place: Place) -> None:
    upstream = f"upstream app {{ server unix:{place.socket}; keepalive 64; }}"
    place.spawn(*_gunicorn(f"unix:{place.socket}", place.app))
    place.nginx_with(
        'proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection "";'
        "proxy_set_header Host $host;",
        http=upstream,
    )


def _gunicorn(bind: str, app: str) -> list[str | Path]:
    options = ["--workers=1", "--threads=8", "--worker-class=gthread", "--keep-alive=60"]
    return [BIN / "gunicorn", "--bind", bind, *options, "--log-level=error", f"{app}:application"]


def _nginx_uwsgi(place: Place) -> None:
    place.spawn(
        "uwsgi",
        "--plugin=python3",
        f"--socket={place.socket}",
        "--master",
        "--processes=1",
        "--threads=8",
        f"--virtualenv={sys.prefix}",
        f"--pythonpath={APPS}",
        f"--module={place.app}:application",
        "--disable-logging",
        "--listen=100",
        "--die-on-term",
    )
    place.nginx_with(f"include /etc/nginx/uwsgi_params; uwsgi_pass unix:{place.socket};")


def script(text: str) -> Callable[[Place], None]:
    """A server that is started by a function call, with the application as `app`."""

    def launch(place: Place) -> None:
        begin = f"from {place.app} import application as app; "
        place.spawn(BIN / "python", "-c", begin + text.format(port=place.port))

    return launch


def _granian(place: Place) -> None:
    options = ["--interface=wsgi", "--workers=1", "--blocking-threads=8", "--no-access-log"]
    options += ["--backpressure=1024", "--log-level=error", f"--port={place.port}"]
    place.spawn(BIN / "granian", *options, f"{place.app}:application")


def is_root() -> bool:
    return os.geteuid() == 0


# nginx's own responses: the cost of the works without Python.
FLOOR = Server("nginx alone", _nginx, paths={"/hello": "/hello", "/file": "/static/file"})
OURS = Server("pywsgi, 8 threads", _pywsgi(8))
ONE_THREAD = Server("pywsgi, 1 thread", _pywsgi(1))
# As in all servers without nginx: the application reads the body as it arrives.
STREAMED = Server(
    "pywsgi, request buffering off",
    _pywsgi(8, more="wsgi_request_buffering off;"),
    paths={"/upload": "/upload"},
)
# Only root may set it.
PRIORITY = "worker_priority -10;"
FIRST = Server(
    "pywsgi, worker_priority -10",
    _pywsgi(8, main=PRIORITY),
    is_root,
)
INLINE = Server("pywsgi, inline", _pywsgi(8, pool="inline"))
WALLED = Server("pywsgi, a process of 8 threads", _behind_a_wall(1))
TWO_WALLED = Server("pywsgi, two processes of 8 threads", _behind_a_wall(2))
# For more clients than the other servers have threads; nothing fills the disk.
_BOUNDED = "wsgi_max_temp_file_size 64m;"
# As OURS, with the status at /status.
WATCHED = Server(OURS.name, _pywsgi(8, more="location = /status { python_status; allow all; }"))
UNREAD = [
    Server("pywsgi, 24 threads", _pywsgi(24, more=_BOUNDED)),
    Server("pywsgi, 24 threads, buffering off", _pywsgi(24, more="wsgi_buffering off;")),
    Server("pywsgi, inline", _pywsgi(8, pool="inline", more=_BOUNDED)),
    Server("pywsgi, inline, buffering off", _pywsgi(8, pool="inline", more="wsgi_buffering off;")),
]
GUNICORN = Server(
    "gunicorn gthread",
    lambda place: place.spawn(*_gunicorn(f"127.0.0.1:{place.port}", place.app)),
)
NGINX_GUNICORN = Server("nginx + gunicorn", _nginx_gunicorn)
NGINX_UWSGI = Server("nginx + uWSGI", _nginx_uwsgi, lambda: shutil.which("uwsgi") is not None)
DAEMON = Server("mod_wsgi daemon", apache.daemon, apache.installed)

SERVERS = [
    FLOOR,
    OURS,
    ONE_THREAD,
    INLINE,
    STREAMED,
    WALLED,
    NGINX_UWSGI,
    NGINX_GUNICORN,
    Server("mod_wsgi embedded", apache.embedded, apache.installed),
    DAEMON,
    GUNICORN,
    Server("granian", _granian),
    Server(
        "waitress",
        script("import waitress; waitress.serve(app, host='127.0.0.1', port={port}, threads=8)"),
    ),
    Server(
        "cheroot",
        # By default it keeps ten connections alive, and closes the others.
        script(
            "from cheroot.wsgi import Server; "
            "server = Server(('127.0.0.1', {port}), app, numthreads=8, request_queue_size=4096); "
            "server.keep_alive_conn_limit = 10000; server.safe_start()"
        ),
    ),
    Server("bjoern", script("import bjoern; bjoern.run(app, '127.0.0.1', {port})")),
    Server(
        "fastwsgi",
        script(
            "import fastwsgi; fastwsgi.server.backlog = 4096; "
            "fastwsgi.run(app, host='127.0.0.1', port={port})"
        ),
    ),
]
