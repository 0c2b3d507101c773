"""Every directive: its contexts, its number of arguments, and which arguments it refuses."""

from __future__ import annotations

import re

import pytest

# Directive -> valid arguments. {file} and {folder} exist.
HTTP = {
    "python_home": "{venv}",
    "python_path": "{folder}",
    "python_executable": "{python}",
    "python_env": "NAME=value",
    "python_finalize": "on timeout=1s",
    "python_thread_pool": "extra threads=2 max_queue=3 stack=8m",
    "python_drain_timeout": "5s",
    "python_stdout_log_level": "notice",
    "python_stderr_log_level": "warn",
}
ANYWHERE = {
    "wsgi_callable": "application other",
    "wsgi_script_name": "/prefix",
    "wsgi_param": "NAME $host if_not_empty",
    "wsgi_thread_pool": "default",
    "wsgi_queue_timeout": "5s",
    "wsgi_request_buffering": "off",
    "wsgi_buffering": "off",
    "wsgi_buffer_size": "64k",
    "wsgi_max_temp_file_size": "1m",
    "wsgi_temp_path": "tmp/wsgi 1 2",
    "wsgi_timeout": "5s",
    "wsgi_path_info": "raw",
    "wsgi_pass_authorization": "off",
    "wsgi_pass_request_headers": "off",
    "wsgi_hide_header": "X-One",
    "wsgi_pass_header": "X-Accel-Expires",
    "wsgi_ignore_headers": "X-Accel-Redirect X-Accel-Charset",
    "wsgi_accel": "off",
    "wsgi_intercept_errors": "on",
}
ALL = {**HTTP, **ANYWHERE, "wsgi_app": "{file}"}
# The first number of arguments that is too many; the others take any number.
TOO_MANY = {
    "python_home": 2,
    "python_executable": 2,
    "python_finalize": 3,
    "python_drain_timeout": 2,
    "python_stdout_log_level": 2,
    "python_stderr_log_level": 2,
    "wsgi_app": 2,
    "wsgi_script_name": 2,
    "wsgi_param": 4,
    "wsgi_thread_pool": 2,
    "wsgi_queue_timeout": 2,
    "wsgi_request_buffering": 2,
    "wsgi_buffering": 2,
    "wsgi_buffer_size": 2,
    "wsgi_max_temp_file_size": 2,
    "wsgi_temp_path": 5,
    "wsgi_timeout": 2,
    "wsgi_path_info": 2,
    "wsgi_pass_authorization": 2,
    "wsgi_pass_request_headers": 2,
    "wsgi_hide_header": 2,
    "wsgi_pass_header": 2,
    "wsgi_accel": 2,
    "wsgi_intercept_errors": 2,
}
TOO_FEW = {"wsgi_param": 1, **dict.fromkeys(ALL.keys() - {"wsgi_param"}, 0)}
# These may stand only once on a level.
ONCE = ALL.keys() - {
    "python_path",
    "python_env",
    "wsgi_param",
    "wsgi_callable",
    "wsgi_hide_header",
    "wsgi_pass_header",
    "wsgi_ignore_headers",
}


@pytest.fixture
def line(nginx, say):
    """`line("wsgi_timeout")` is that directive with valid arguments."""
    from harness import VENV

    values = {
        "file": say("app"),
        "folder": nginx.apps,
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
    app = line("wsgi_app")
    accepted(nginx, app, http=line(name))
    accepted(nginx, app, server=line(name))
    accepted(nginx, app + line(name))
    accepted(nginx, app, http=line(name), server=line(name))
    where = f'"{name}" directive is not allowed here'
    refused(name, where, main=line(name))
    refused(name, where, location=f"{app}\nif ($arg_x) {{ {line(name)} }}")


def test_wsgi_app_in_location_and_if_in_location(nginx, line, refused):
    app = line("wsgi_app")
    accepted(nginx, app)
    accepted(nginx, f"if ($arg_x) {{ {app} }}")
    where = '"wsgi_app" directive is not allowed here'
    refused("wsgi_app", where, main=app)
    refused("wsgi_app", where, http=app)
    refused("wsgi_app", where, server=app)
    refused("wsgi_app", where, server=f"if ($arg_x) {{ {app} }}")
    refused("wsgi_app", where, location=f"limit_except GET {{ {app} }}")


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


FLAGS = [
    "wsgi_request_buffering",
    "wsgi_buffering",
    "wsgi_pass_authorization",
    "wsgi_pass_request_headers",
    "wsgi_accel",
    "wsgi_intercept_errors",
]


@pytest.mark.parametrize("name", FLAGS)
def test_flags(line, refused, name):
    refused(name, "invalid value", "maybe", 'must be "on" or "off"', location=line(name, "maybe"))


@pytest.mark.parametrize("value", ["soon", "-1s", "5 s", "1.5s", "10x", "''"])
@pytest.mark.parametrize("name", ["wsgi_queue_timeout", "wsgi_timeout", "python_drain_timeout"])
def test_times(line, refused, name, value):
    context = "http" if name in HTTP else "location"
    message = "invalid number of arguments" if " " in value else f"invalid.*{name}|{name}.*invalid"
    refused(name, message, **{context: line(name, value)})


@pytest.mark.parametrize("value", ["much", "-1", "1t", "1.5m", "''"])
@pytest.mark.parametrize("name", ["wsgi_buffer_size", "wsgi_max_temp_file_size"])
def test_sizes(line, refused, name, value):
    refused(name, f"invalid.*{name}|{name}.*invalid", location=line(name, value))


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
