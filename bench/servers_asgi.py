"""The servers of ASGI, each with one worker and, where it can be chosen, uvloop."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from place import Place
from servers import BIN, FLOOR, PRIORITY, Server, is_root, script, with_module

APP = "work_asgi"
ASGI = partial(Server, app=APP)


def _pywsgi(loop: str, *, main: str = "") -> Callable[[Place], None]:
    def launch(place: Place) -> None:
        location = f"asgi_app {place.app}:application;"
        with_module(place, location, http=f"python_event_loop main {loop};", main=main)

    return launch


def _uvicorn(*bind: str | Path, python: str = "python") -> list[str | Path]:
    options = ["--loop=uvloop", "--http=httptools", "--backlog=4096", "--timeout-keep-alive=3600"]
    options += ["--no-access-log", "--log-level=error"]
    return [BIN / python, "-m", "uvicorn", *bind, *options]


def _bare_uvicorn(python: str) -> Callable[[Place], None]:
    def launch(place: Place) -> None:
        bind = ("--port", str(place.port))
        place.spawn(*_uvicorn(*bind, python=python), f"{place.app}:application")

    return launch


def _nginx_uvicorn(place: Place) -> None:
    place.spawn(*_uvicorn("--uds", place.socket), f"{place.app}:application")
    # A request keeps the connection to uvicorn, except one for a WebSocket.
    place.nginx_with(
        "proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Host $host;"
        "proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $upgrade;"
        "proxy_read_timeout 1h;",
        http=f"upstream app {{ server unix:{place.socket}; keepalive 64; }}"
        'map $http_upgrade $upgrade { default upgrade; "" ""; }',
    )


def _hypercorn(place: Place) -> None:
    configuration = place.folder / "hypercorn.toml"
    # By default it closes a connection after a thousand requests.
    configuration.write_text(
        f'bind = "127.0.0.1:{place.port}"\nbacklog = 4096\nworkers = 1\nworker_class = "uvloop"\n'
        'keep_alive_timeout = 3600\nkeep_alive_max_requests = 1000000000\nloglevel = "error"\n'
    )
    place.spawn(BIN / "hypercorn", "--config", configuration, f"{place.app}:application")


def _granian(place: Place) -> None:
    # It counts an open WebSocket as a request.
    options = ["--interface=asgi", "--workers=1", "--loop=uvloop", "--backpressure=20000"]
    options += ["--backlog=4096", "--no-access-log", "--log-level=error", f"--port={place.port}"]
    place.spawn(BIN / "granian", *options, f"{place.app}:application")


def _h2corn(place: Place) -> None:
    options = ["--workers=1", "--loop=uvloop", "--backlog=4096", "--timeout-keep-alive=3600"]
    options += ["--no-access-log", f"--port={place.port}"]
    place.spawn(BIN / "h2corn", *options, f"{place.app}:application")


# As its peers run, and as `python_event_loop main auto` chooses if there is uvloop.
OURS = ASGI("pywsgi, uvloop", _pywsgi("uvloop"))
ASYNCIO = ASGI("pywsgi, asyncio", _pywsgi("asyncio"))
FIRST = ASGI("pywsgi, uvloop, worker_priority -10", _pywsgi("uvloop", main=PRIORITY), is_root)
UVICORN = ASGI("uvicorn", _bare_uvicorn("python"))
# Run by the same library as the module, instead of the program: what it loses is not the module's.
UVICORN_LIBPYTHON = ASGI("uvicorn, libpython", _bare_uvicorn("libpython"))
NGINX_UVICORN = ASGI("nginx + uvicorn", _nginx_uvicorn)
GRANIAN = ASGI("granian", _granian)
FREASTAL = ASGI(
    "freastal",
    script("import freastal; freastal.serve_asgi(app, host='127.0.0.1', port={port})"),
)

SERVERS_ASGI = [
    FLOOR,
    OURS,
    ASYNCIO,
    UVICORN,
    UVICORN_LIBPYTHON,
    NGINX_UVICORN,
    ASGI("hypercorn", _hypercorn),
    GRANIAN,
    FREASTAL,
    ASGI(
        "FastPySGI",
        script(
            "import fastpysgi; fastpysgi.server.backlog = 4096; "
            "fastpysgi.run(app, host='127.0.0.1', port={port})"
        ),
    ),
    ASGI("h2corn", _h2corn),
]
