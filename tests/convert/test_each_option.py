"""Each option alone: the file says what became of it, by its name, and never that another setting
is stronger, for there is none."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pywsgi.command.convert import apache_directives, mod_wsgi_options
from pywsgi.command.convert.plan import ConversionError, text
from tables import TABLES
from test_published import plan_of

HERE = Path(__file__).parent
# One of them is a value of each option.
VALUES = (
    *("7", "on", "auto", "/x=y", "127.0.0.1:81", "info", "A=1", "A: 1", "unix:/x", "tcp:81", "2"),
    *("asgi", "QUIT", "TLSv1.3", "%d", "/y z", "/y https://z/", "set A b"),
)
# A file of a configuration, an application: the source has one already.
TAKEN = {
    *("-c", "--config", "config", "--app", "-A", "app", "--interface", "wsgi_app", "command"),
    *("application_path", "application", "--module", "--wsgi", "--pecan", "WSGIScriptAlias"),
    # They read a file.
    *("ini", "include", "yaml", "yml", "json", "xml", "js"),
    *(f"--{name}" for name in ("ini", "include", "yaml", "yml", "json", "xml", "js")),
}

COMMANDS = {
    "gunicorn": "{} a:b",
    "uvicorn": "{} a:b",
    "hypercorn": "{} a:b",
    "daphne": "{} a:b",
    "granian": "--interface wsgi {} a:b",
    "waitress-serve": "{} a:b",
    "cheroot": "{} a:b",
    "flask": "--app a:b run {}",
    "uwsgi": "--module a:b {}",
}


@pytest.mark.parametrize("server", COMMANDS)
def test_of_a_command_line(tmp_path, server):
    form = COMMANDS[server]
    for option in TABLES[server].options:
        for name in option.names:
            if not name.startswith("-") or name in TAKEN:
                continue

            def words(value: str, name: str = name, takes: str = option.takes) -> list[str]:
                given = name if takes == "0" else f"{name} {value}"
                # In front of a flag's neighbour uWSGI would take it for the value.
                return ["-C", str(tmp_path), server, *form.format(given).split()]

            told(words, f"command line: {name}")


def of_file(tmp_path: Path, kind: str) -> Iterator[tuple[str, Callable[[str], str], str]]:
    """For each option: its name, the source with a value of it, and where it is in that."""
    if kind == "gunicorn.conf.py":
        for name in names(TABLES["gunicorn"]):
            form = f'wsgi_app = "a:b"\n{name} = %s\n'
            yield name, lambda value, form=form: form % python(value), f"{kind}:2: {name}"
    elif kind == "hypercorn.toml":
        for name in names(TABLES["hypercorn"]):
            form = f'application_path = "a:b"\n{name} = %s\n'
            yield name, lambda value, form=form: form % python(value), f"{kind}:2: {name}"
    elif kind == "uwsgi.ini":
        for name in (HERE / "uwsgi-options.txt").read_text().split():
            form = f"[uwsgi]\nmodule = a:b\n{name} = %s\n"
            yield name, lambda value, form=form: form % value, f"{kind}:3: {name}"
    elif kind == "httpd.conf":
        every = [
            *(option.names[0] for option in TABLES["mod_wsgi"].options),
            *apache_directives.BY_NAME,
        ]
        for name in [*every, *mod_wsgi_options.APACHE_REASONS]:
            form = f"WSGIScriptAlias / /a.wsgi\n{name} %s\n"
            yield name, lambda value, form=form: form % value, f"{kind}:2: {name}"
        for name in names(TABLES["WSGIDaemonProcess"]):
            form = f"WSGIScriptAlias / /a.wsgi process-group=x\nWSGIDaemonProcess x {name}=%s\n"
            where = f"{kind}:2: WSGIDaemonProcess {name}="
            yield name, lambda value, form=form: form % python(value), where
    elif kind == "supervisord.conf":
        for name in names(TABLES["supervisor"]):
            form = f"[program:x]\ncommand=gunicorn a:b\n{name}=%s\n"
            yield name, lambda value, form=form: form % value, f"{kind}:3: "
    elif kind == "web.service":
        for name in sorted(names(TABLES["systemd"]) - {"user", "group", "ExecStart"}):
            form = f"[Service]\nExecStart=gunicorn a:b\n{name}=%s\n"
            yield name, lambda value, form=form: form % value, f"{kind}:3: "
    else:
        # No listener passes to a target of its own.
        for name in names(TABLES["unit"]) - {"large_count", "applications.targets"}:
            where = name.partition(".")[2].replace(".", "/") or name
            yield name, lambda value, name=name: json_of(name, value), where


def names(table) -> set[str]:
    return {name for name in table.by_name if not name.startswith("-")}


def python(value: str) -> str:
    return value if value.isdigit() else json.dumps(value)


def json_of(name: str, value: str) -> str:
    """A configuration of Unit with this option."""
    application, action = {"type": "python", "module": "a"}, {"pass": "applications/a"}
    listener, match, settings = {"pass": "routes"}, {}, {}
    whole = {
        "listeners": {"*:80": listener},
        "applications": {"a": application},
        "routes": [{"match": match, "action": action}],
        "settings": settings,
    }
    places = {
        "applications": application,
        "listeners": listener,
        "match": match,
        "action": action,
        "settings": settings,
    }
    *path, last = name.split(".")
    place = places[path[0]] if path else whole
    for key in path[1:]:
        place = place.setdefault(key, {})
    place[last] = int(value) if value.isdigit() else value
    if name in OBJECTS:
        place[last] = OBJECTS[name]
    return json.dumps(whole)


OBJECTS = {
    "listeners.tls.conf_commands": {"MinProtocol": "TLSv1.2"},
    "action.response_headers": {"X-A": "b"},
    "applications.environment": {"A": "b"},
    "upstreams": {"u": {"servers": {"127.0.0.1:1": {}}}},
}


@pytest.mark.parametrize(
    "kind",
    [
        "gunicorn.conf.py",
        pytest.param(
            "hypercorn.toml",
            marks=pytest.mark.skipif(sys.version_info < (3, 11), reason="tomllib is of 3.11"),
        ),
        "uwsgi.ini",
        "httpd.conf",
        "supervisord.conf",
        "web.service",
        "unit.json",
    ],
)
def test_of_a_file(tmp_path, kind):
    file = tmp_path / kind
    count = 0
    for name, source, where in of_file(tmp_path, kind):
        if name in TAKEN:
            continue
        count += 1

        def words(value: str, source: Callable[[str], str] = source) -> list[str]:
            file.write_text(source(value))
            return [str(file)]

        told(words, where)
    assert count > 9


def told(words: Callable[[str], list[str]], where: str) -> None:
    """Some value has a line or a reason of its own; each has either, or is refused by its name."""
    stronger, refused = "", ""
    for value in VALUES:
        try:
            made = text(plan_of(words(value)))
        except ConversionError as error:
            refused = str(error)
            continue
        whole = " ".join(made.replace("#", " ").split())
        assert where in whole, f"{where} {value} is left out"
        found = [each for each in made.splitlines() if where in each and "changes nothing" in each]
        if not found:
            return
        stronger = found[0]
    assert not stronger, stronger
    raise AssertionError(f"{where}: no value of it is converted: {refused}")
