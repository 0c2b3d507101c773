"""The tables of options: against the servers that are installed, and against docs/migrating."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from harness import PROJECT, VENV
from pywsgi.command.convert import apache_directives, mod_wsgi_options, unit_options
from tables import TABLES

HERE = Path(__file__).parent
# Not installed for this Python: make test runs it where it is.
PYTHON_315 = pytest.mark.skipif(sys.version_info >= (3, 15), reason="it is not built for 3.15")

PAGES = {
    "from-gunicorn": ["gunicorn"],
    "from-uvicorn": ["uvicorn"],
    "from-hypercorn": ["hypercorn"],
    "from-daphne": ["daphne"],
    "from-granian": ["granian"],
    "from-waitress": ["waitress-serve"],
    "from-cheroot": ["cheroot"],
    "from-flask-run": ["flask"],
    "from-uwsgi": ["uwsgi"],
    "from-supervisor": ["supervisor", "systemd"],
    "from-unit": ["unit"],
    "from-mod_wsgi": ["mod_wsgi", "WSGIDaemonProcess"],
}


def listed(*command: str) -> set[str]:
    """The options that a program's --help lists."""
    done = subprocess.run(
        [VENV / "bin" / command[0], *command[1:], "--help"],
        check=True,
        capture_output=True,
        text=True,
    )
    text = done.stdout + done.stderr
    found = set(re.findall(r"(?<![\w-])(?:--[a-z][\w-]*\w|-[a-zA-Z])(?![\w-])", text))
    # "--[no-]ipv4"
    for name in re.findall(r"--\[no-\]([a-z][\w-]*)", text):
        found |= {f"--{name}", f"--no-{name}"}
    return found


def test_gunicorn_has_no_other_settings():
    settings = import_module("gunicorn.config").KNOWN_SETTINGS
    names = {setting.name for setting in settings}
    names |= {option for setting in settings for option in setting.cli or ()}
    assert {"bind", "--bind", "-b"} <= names
    assert names - TABLES["gunicorn"].by_name.keys() == set()


def test_uvicorn_has_no_other_options():
    import_module("uvicorn")
    names = set(inspect.signature(import_module("uvicorn").Config).parameters)
    names |= listed("uvicorn")
    assert {"host", "--host"} <= names
    assert names - TABLES["uvicorn"].by_name.keys() == set()


def test_hypercorn_has_no_other_options():
    config = import_module("hypercorn.config").Config
    names = {
        name
        for name, value in inspect.getmembers(config)
        if not name.startswith("_") and not callable(value)
    }
    names |= {name for name in vars(config)["__annotations__"] if name[0] != "_"}
    # Read-only: what it makes of the others.
    names -= {"log", "ssl_enabled"}
    names |= listed("hypercorn")
    assert {"bind", "--bind", "-b"} <= names
    assert names - TABLES["hypercorn"].by_name.keys() == set()


@PYTHON_315
def test_daphne_has_no_other_options():
    command = Path(import_module("daphne").__file__).parent / "management/commands/runserver.py"
    names = set(re.findall(r'"(--[\w-]+|(?:DAPHNE|ASGI)_\w+)"', command.read_text()))
    names |= listed("daphne")
    assert {"--noasgi", "-b", "DAPHNE_WEBSOCKET_MAX_MESSAGE_SIZE"} <= names
    assert names - TABLES["daphne"].by_name.keys() == set()


@PYTHON_315
def test_granian_has_no_other_options():
    parameters = import_module("granian.cli").cli.params
    names = {parameter.name for parameter in parameters} - {"version"}
    for parameter in parameters:
        names |= {each for each in (*parameter.opts, *parameter.secondary_opts) if each[0] == "-"}
    assert {"host", "--host", "--no-ws"} <= names
    assert names - TABLES["granian"].by_name.keys() == set()


def test_waitress_has_no_other_options():
    settings = import_module("waitress.adjustments").Adjustments._params
    names = {name for name, _ in settings} | listed("waitress-serve")
    assert {"listen", "--listen", "--no-ipv4"} <= names
    assert names - TABLES["waitress-serve"].by_name.keys() == set()


def test_cheroot_has_no_other_options():
    server = import_module("cheroot.wsgi").Server
    names = set(inspect.signature(server.__init__).parameters) - {"self"}
    names |= listed("cheroot")
    assert {"numthreads", "--bind"} <= names
    assert names - TABLES["cheroot"].by_name.keys() == set()


def test_flask_run_has_no_other_options():
    names = listed("flask", "run") | listed("flask")
    assert {"--host", "--app", "--no-debug"} <= names
    assert names - TABLES["flask"].by_name.keys() == set()


def test_uwsgi_has_no_other_options():
    """The names of its reference, Options, of its plugins and of its sources of 2026."""
    names = (HERE / "uwsgi-options.txt").read_text().split()
    assert len(names) > 1300
    assert [name for name in names if not TABLES["uwsgi"].answers(name)] == []


def test_unit_has_no_other_options():
    """Those of Python in src/nxt_conf_validation.c of Unit 1.35."""
    names = (HERE / "unit-options.txt").read_text().split()
    assert len(names) > 80
    known = {form for name in TABLES["unit"].by_name for form in (name, name.rpartition(".")[0])}
    # Objects that have no option of their own, and those that are read as a whole.
    known |= {name.partition(".")[0] for name in known} | {"routes", *unit_options.WHOLE}
    known |= {"settings.http", "access_log.path", "access_log.format", "access_log.if"}
    assert [
        name for name in names if name not in known and name != "upstreams.servers.weight"
    ] == []


def test_mod_wsgi_has_no_other_options():
    """The directives of src/server of mod_wsgi 6.0.5, and the options of WSGIDaemonProcess."""
    names = set((HERE / "mod_wsgi-options.txt").read_text().split())
    assert {"WSGIScriptAlias", "listen-backlog"} <= names
    assert (
        names - TABLES["mod_wsgi"].by_name.keys() - TABLES["WSGIDaemonProcess"].by_name.keys()
        == set()
    )


def test_supervisor_has_no_other_options():
    """Those of [program:x] and [fcgi-program:x] in supervisor/options.py of Supervisor 4.4."""
    names = set((HERE / "supervisor-options.txt").read_text().split())
    assert {"command", "socket_backlog"} <= names
    assert names - TABLES["supervisor"].by_name.keys() == set()


def rows(name: str) -> list[tuple[set[str], str]]:
    """The names in the first cell of each row of a page, and what the second says."""
    found = []
    for line in (PROJECT / "docs" / "migrating" / f"{name}.md").read_text().splitlines():
        cells = re.split(r"(?<!\\)\|", line.strip().strip("|"))
        if line.startswith("|") and len(cells) == 2:
            names = set(re.findall(r"`([^`]+)`", cells[0]))
            found.append((names, cells[1]))
    return found


@pytest.mark.parametrize("name", PAGES)
def test_a_page_says_what_the_table_does(name):
    """Each option of a table has a row, which names the directives that it becomes."""
    pages = rows(name)
    wrong = []
    for option in [option for table in PAGES[name] for option in TABLES[table].options]:
        names = {form for each in option.names for form in forms(each)}
        row = next((text for told, text in pages if told & names), None)
        if row is None:
            wrong.append(f"{option.names[0]} has no row")
            continue
        # A page may speak of one protocol; the page of the directive is of both.
        both = {each: {each, re.sub("^asgi", "wsgi", each)} for each in option.here}
        wrong += [
            f"{option.names[0]} becomes {each}, and its row says {row.strip()!r}"
            for each, either in both.items()
            if not any(form in row for form in either)
        ]
    assert not wrong, "\n".join(wrong)


def forms(name: str) -> set[str]:
    """How a page may write a name."""
    short = re.sub(r"^(?:applications|listeners)\.", "", name)
    tail = re.sub(r"^isolation$", "isolation.rootfs", short)
    plain = name.lstrip("-")
    return {name, short, tail, plain, f"{plain}=", name.replace("_", "-")}


@pytest.mark.parametrize("name", ["from-unit", "from-mod_wsgi", "from-uwsgi"])
def test_the_table_knows_what_a_page_names(name):
    """The other way around, for servers that are not installed."""
    known = {
        form for table in PAGES[name] for each in TABLES[table].by_name for form in forms(each)
    }
    if name == "from-mod_wsgi":
        lower = {*apache_directives.BY_NAME, *mod_wsgi_options.APACHE_REASONS}
        known |= {each for told, _ in rows(name) for each in told if each.lower() in lower}
    answers = TABLES["uwsgi"].answers if name == "from-uwsgi" else known.__contains__
    told = {each.partition("=")[0] for names, _ in rows(name) for each in names}
    assert [
        each for each in sorted(told - BY_HAND) if not answers(each) and each not in known
    ] == []


# What a page tells of that is no setting in a file.
BY_HAND = {
    '"*:80"',
    "/status",
    "/control/applications/NAME/restart",
    "/config",
    "/certificates",
    "processes",
    "upstreams",
    "servers",
    "weight",
    "path",
    "format",
    "if",
    "WSGIScriptAlias",
    "application-group",
    "process-group",
    "callable-object",
    "pass-authorization",
    "isolation.rootfs",
    "isolation.automount",
    "isolation.namespaces",
    "isolation.uidmap",
    "isolation.gidmap",
    "isolation.new_privs",
    "isolation.cgroup",
    "AddOutputFilterByType DEFLATE",
    "AuthType Basic",
    "Header set",
    "SSLOptions +StdEnvVars",
}
