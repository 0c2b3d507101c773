"""Every directive: its contexts, its number of arguments, and which arguments it refuses."""

from __future__ import annotations

import re
import subprocess

import pytest
from harness import NGINX, VENV

PROTOCOLS = ("wsgi", "asgi")


def both(table: dict[str, object]) -> dict[str, object]:
    """The same for the directives of each protocol: `timeout` is `wsgi_timeout`, `asgi_timeout`."""
    return {f"{protocol}_{name}": of for protocol in PROTOCOLS for name, of in table.items()}


# Directive -> valid arguments. {file} and {folder} exist.
HTTP = {
    "python_home": "{venv}",
    "python_path": "{folder}",
    "python_executable": "{python}",
    "python_env": "NAME=value",
    "python_env_file": "{env_file}",
    "python_working_directory": "{folder}",
    "python_resolve_symlinks": "off",
    "python_import": "json",
    "python_optimize": "1",
    "python_dont_write_bytecode": "on",
    "python_hash_seed": "1234",
    "python_warnings": "error::DeprecationWarning",
    "python_xoption": "faulthandler",
    "python_switch_interval": "2ms",
    "python_gc_freeze": "on",
    "python_finalize": "on timeout=1s",
    "python_thread_pool": "extra threads=2 max_queue=3 stack=8m",
    "python_event_loop": "extra asyncio",
    "python_process": "extra processes=2 threads=3 home={venv} env=A=1",
    "python_drain_timeout": "5s",
    "python_deadlock_timeout": "5s",
    "python_max_stuck_threads": "3",
    "python_max_requests": "1000 jitter=10",
    "python_max_lifetime": "1h jitter=5m",
    "python_memory_limit": "soft=100m hard=1g check=1s",
    "python_reload": "watch {folder}",
    "python_stdout_log_level": "notice",
    "python_stderr_log_level": "warn",
    "python_status_zone": "2m",
    "asgi_stall_warning": "500ms",
}
FLAGS = {
    "request_buffering": "off",
    "buffering": "off",
    "pass_authorization": "off",
    "pass_request_headers": "off",
    "accel": "off",
    "intercept_errors": "on",
    "file_wrapper": "off",
    "force_ranges": "on",
    "early_hints": "off",
}
COMMON = {
    **FLAGS,
    "callable": "application other",
    "script_name": "/prefix",
    "param": "NAME $host if_not_empty",
    "queue_timeout": "5s",
    "timeout": "5s",
    "slow_request": "5s",
    "kill_timeout": "off",
    "buffer_size": "64k",
    "max_temp_file_size": "1m",
    "temp_path": "tmp/own 1 2",
    "path_info": "raw",
    "hide_header": "X-One",
    "pass_header": "X-Accel-Expires",
    "ignore_headers": "X-Accel-Redirect X-Accel-Charset",
    "client_abort": "cancel",
    "debug": "traceback",
    "process": "off",
}
ANYWHERE = {
    **both(COMMON),
    "wsgi_thread_pool": "default",
    "wsgi_interrupt_timeout": "5s",
    "asgi_event_loop": "main",
    "asgi_max_requests_in_flight": "5",
    "asgi_lifespan": "on startup_timeout=5s shutdown_timeout=500ms",
    "asgi_websocket": "off",
    "asgi_websocket_max_message_size": "64k",
    "asgi_websocket_ping_interval": "5s",
    "asgi_websocket_ping_timeout": "5s",
    "asgi_websocket_deflate": "off",
    "asgi_websocket_queue": "64k",
}
ALL = {**HTTP, **ANYWHERE, **both({"app": "{file}"})}
# The first number of arguments that is too many; the others take one, or any number.
TOO_MANY = {
    **dict.fromkeys(ALL, 2),
    **dict.fromkeys(["python_path", "python_env", "python_thread_pool", "python_process"], 0),
    **dict.fromkeys(["python_import", "python_warnings", "python_xoption", "python_reload"], 0),
    "python_event_loop": 3,
    "python_finalize": 3,
    "python_max_requests": 3,
    "python_max_lifetime": 3,
    "python_memory_limit": 4,
    **both({"callable": 0, "ignore_headers": 0, "param": 4, "temp_path": 5}),
    "asgi_lifespan": 4,
}
TOO_FEW = {**dict.fromkeys(ALL, 0), **both({"param": 1})}
# These may stand only once on a level.
ONCE = ALL.keys() - {
    "python_path",
    "python_env",
    "python_env_file",
    "python_import",
    "python_warnings",
    "python_xoption",
    *both(dict.fromkeys(["param", "callable", "hide_header", "pass_header", "ignore_headers"])),
}


@pytest.fixture
def line(nginx, say):
    """`line("wsgi_timeout")` is that directive with valid arguments."""
    values = {
        "file": say("app"),
        "folder": nginx.apps,
        "env_file": nginx._write(nginx.root / "conf" / "app.env", "A=1\n"),
        "venv": VENV,
        "python": VENV / "bin" / "python3",
    }

    def make(name: str, arguments: str | None = None) -> str:
        text = ALL[name] if arguments is None else arguments
        return f"{name} {text}".format(**values).strip() + ";"

    return make


def accepted(nginx, location: str = "", **configuration):
    result = nginx.check(location, **configuration)
    assert result.returncode == 0, result.stderr
    assert "test is successful" in result.stderr


@pytest.mark.parametrize("name", sorted(HTTP))
def test_in_http_alone(nginx, line, refused, name):
    accepted(nginx, http=line(name), python_home=None)
    where = f'"{name}" directive is not allowed here'
    refused(name, where, main=line(name), python_home=None)
    refused(name, where, server=line(name), python_home=None)
    refused(name, where, location=line(name), python_home=None)


@pytest.mark.parametrize("name", sorted(ANYWHERE))
def test_in_http_server_and_location(nginx, line, refused, name):
    app = line(f"{name[:4]}_app")
    accepted(nginx, app, http=line(name))
    accepted(nginx, app, server=line(name))
    accepted(nginx, app + line(name))
    accepted(nginx, app, http=line(name), server=line(name))
    where = f'"{name}" directive is not allowed here'
    refused(name, where, main=line(name))
    refused(name, where, location=f"{app}\nif ($arg_x) {{ {line(name)} }}")


@pytest.mark.parametrize("name", ["wsgi_app", "asgi_app"])
def test_an_application_in_location_and_if_in_location(nginx, line, refused, name):
    app = line(name)
    accepted(nginx, app)
    accepted(nginx, f"if ($arg_x) {{ {app} }}")
    where = f'"{name}" directive is not allowed here'
    refused(name, where, main=app)
    refused(name, where, http=app)
    refused(name, where, server=app)
    refused(name, where, server=f"if ($arg_x) {{ {app} }}")
    refused(name, where, location=f"limit_except GET {{ {app} }}")


def test_the_status_in_location_alone(nginx, line, refused):
    status = "python_status json;"
    accepted(nginx, status)
    where = '"python_status" directive is not allowed here'
    for context in ("main", "http", "server"):
        refused("python_status", where, **{context: status})
    refused("python_status", where, location=f"if ($arg_x) {{ {status} }}")
    message = 'invalid number of arguments in "python_status" directive'
    refused("python_status", message, location="python_status json html;")


@pytest.mark.parametrize("name", sorted(ALL))
def test_number_of_arguments(line, refused, name):
    context = "http" if name in HTTP else "location"
    many = " ".join(["x"] * (TOO_MANY.get(name, 0)))
    few = " ".join(["x"] * TOO_FEW[name])
    message = f'invalid number of arguments in "{name}" directive'
    refused(name, message, **{context: line(name, few)}, python_home=None)
    if many:
        refused(name, message, **{context: line(name, many)}, python_home=None)


@pytest.mark.parametrize("name", sorted(ONCE))
def test_twice_on_one_level(nginx, line, refused, name):
    context = "http" if name in HTTP else "location"
    refused(name, "duplicate|twice", **{context: f"{line(name)}\n{line(name)}"}, python_home=None)


@pytest.mark.parametrize("name", [*both(FLAGS), "asgi_websocket", "asgi_websocket_deflate"])
def test_flags(line, refused, name):
    refused(name, "invalid value", "maybe", 'must be "on" or "off"', location=line(name, "maybe"))


@pytest.mark.parametrize(
    "name", ["python_resolve_symlinks", "python_dont_write_bytecode", "python_gc_freeze"]
)
@pytest.mark.parametrize("value", ["maybe", "ON", "1", "''"])
def test_on_or_off(line, refused, name, value):
    value_shown = value.strip("'")
    refused(name, f'has "{value_shown}"; it must be on or off', http=line(name, value))


TIMES = [
    *both({"queue_timeout": "", "timeout": "", "slow_request": "", "kill_timeout": ""}),
    "wsgi_interrupt_timeout",
    "python_drain_timeout",
    "python_deadlock_timeout",
    "python_switch_interval",
    "asgi_stall_warning",
    "asgi_websocket_ping_interval",
    "asgi_websocket_ping_timeout",
]


@pytest.mark.parametrize("value", ["soon", "-1s", "5 s", "1.5s", "10x", "''"])
@pytest.mark.parametrize("name", TIMES)
def test_times(line, refused, name, value):
    context = "http" if name in HTTP else "location"
    message = "invalid number of arguments" if " " in value else f"invalid.*{name}|{name}.*invalid"
    refused(name, message, **{context: line(name, value)})


SIZES = [
    "python_status_zone",
    *both({"buffer_size": "", "max_temp_file_size": ""}),
    "asgi_websocket_max_message_size",
    "asgi_websocket_queue",
]


@pytest.mark.parametrize("value", ["much", "-1", "1t", "1.5m", "''"])
@pytest.mark.parametrize("name", SIZES)
def test_sizes(line, refused, name, value):
    context = "http" if name in HTTP else "location"
    message = f"invalid.*{name}|{name}.*(invalid|must be a size)"
    refused(name, message, **{context: line(name, value)})


@pytest.mark.parametrize("name", ["python_stdout_log_level", "python_stderr_log_level"])
@pytest.mark.parametrize("value", ["loud", "INFO", "6", "''"])
def test_log_levels(line, refused, name, value):
    refused(name, "unknown|invalid", "info", "notice", http=line(name, value))


@pytest.mark.parametrize(
    ("mistake", "word"),
    [
        ("wsgi_thread_pool nowhere;", "nowhere"),
        ("wsgi_timeout soon;", "wsgi_timeout"),
        ("proxy_pass http://127.0.0.1:9;", "content handler|duplicate"),
    ],
)
def test_a_mistake_in_an_included_file_names_that_file(nginx, line, mistake, word):
    site = nginx.root / "conf" / "site.conf"
    site.write_text(f"# A site.\n\nlocation /site {{\n    {line('wsgi_app')} {mistake}\n}}\n")
    result = nginx.check(server=f"include {site};")
    assert result.returncode != 0
    message = next(text for text in result.stderr.splitlines() if "[emerg]" in text)
    assert message.endswith(f" in {site}:4")
    assert re.search(word, message)


def test_the_module_that_is_loaded_but_not_used_changes_nothing(nginx):
    nginx.page("index.html", "plain")
    nginx.start(server="location /x { return 204; }", python_home=None)
    assert nginx.client().get("/").text == "plain"
    assert nginx.client().get("/x").status_code == 204


@pytest.mark.parametrize(
    ("protocol", "arguments", "used"),
    [
        ("wsgi", "", True),
        ("wsgi", "wsgi_max_temp_file_size 0;", False),
        ("asgi", "", False),
        ("asgi", "asgi_max_temp_file_size 1m;", True),
    ],
)
def test_the_default_folder_of_temporary_files_is_used_only_if_there_may_be_one(
    nginx, line, protocol, arguments, used
):
    """nginx then knows its path, and refuses the same path with other levels."""
    built = subprocess.run([NGINX, "-V"], capture_output=True, text=True).stderr
    beside = re.search(r"--http-uwsgi-temp-path=(\S+)/uwsgi", built)
    folder = f"{beside[1]}/{protocol}" if beside else f"{protocol}_temp"
    nginx.write_config(f"{line(f'{protocol}_app')} {arguments}")
    text = re.sub(r"\b[wa]sgi_temp_path tmp/\w+;", "", nginx.config.read_text())
    text = text.replace("client_body_temp_path tmp/body;", f"client_body_temp_path {folder} 3 3;")
    # nginx then stops before it makes its folders, which are not the test's.
    nginx.config.write_text(text.replace("pid logs/", "pid not-there/"))
    said = nginx.check().stderr
    assert ("has the same name as default path" in said) == used
    assert ("syntax is ok" in said) != used
