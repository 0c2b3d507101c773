"""What is wrong in a source, and what `pywsgi convert` must not do with it."""

from __future__ import annotations

import argparse
import textwrap

import pytest
from pywsgi.command import convert
from pywsgi.command.convert.plan import ConversionError, text
from pywsgi.command.nginx_conf import ConfError
from test_published import CASES, plan_of, write

FILES = [each for each in CASES if not each.command]


def converted(tmp_path, name: str, content: str, *options: str) -> str:
    file = tmp_path / name
    file.write_text(textwrap.dedent(content))
    return text(plan_of([*options, str(file)]))


def refusal(*arguments: str) -> str:
    with pytest.raises(ConversionError) as error:
        plan_of(list(arguments))
    return str(error.value)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("", "name a file or a command: see `pywsgi convert --help`"),
        ("nothing.conf", "nothing.conf is neither a file nor a server: cheroot, daphne, "),
        ("gunicorn -w 4", "command line: no application: set wsgi_app, "),
        ("gunicorn -w four app:app", "command line: -w four: 'four' is not a number"),
        ("gunicorn -b 127.0.0.1:99999 app:app", "nginx needs a port from 1 to 65535, not 99999"),
        ("gunicorn --timeout", "command line: --timeout has no value"),
        ("gunicorn --log-level loud app:app", "'loud' is not a level: critical, "),
        ("uvicorn app", "command line: app: uvicorn wants MODULE:ATTRIBUTE"),
        ("uvicorn", "command line: uvicorn without an application: APP"),
        ("uvicorn --port $NO_SUCH_PORT app:app", "run `NO_SUCH_PORT=… pywsgi convert …`"),
        ("granian app:app", "the interface is RSGI, which only Granian has"),
        ("flask routes", "command line: `flask routes` is no server: convert `flask run`"),
        ("flask run", "command line: no application: give --app, or convert in the folder"),
        ("uwsgi --http :80", "no application: uWSGI wants module, wsgi-file or mount"),
        ("uwsgi no.ini", "no.ini cannot be read: No such file or directory"),
        ("hypercorn -c python:config app:app", "give `file:` and the module's file"),
    ],
)
def test_a_mistake_is_one_line_that_says_what_to_do(tmp_path, command, message):
    arguments = ["--directory", str(tmp_path), *command.split()]
    told = refusal(*arguments)
    assert message in told
    assert "\n" not in told


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("site.txt", "hello\n", "is no configuration that is known here: say which with --from"),
        ("gunicorn.conf.py", "workers = (\n", "gunicorn.conf.py:1 is no valid Python"),
        ("unit.json", "{", "unit.json is no valid JSON"),
        ("unit.json", "[]", "unit.json is no configuration of Unit"),
        ("unit.json", '{"routes": []}', "unit.json has no listeners"),
        (
            "unit.json",
            '{"listeners": {"*:80": {"pass": "applications/x"}}}',
            "there is no application 'x'",
        ),
        ("httpd.conf", "<VirtualHost *:80>\n", "httpd.conf:1: <VirtualHost *:80> is not closed"),
        ("unit.json", '{"listeners": {"*:80": 1}}', "is no valid configuration of Unit"),
        (
            "httpd.conf",
            "WSGIScriptAlias / /a.wsgi\nWSGISwitchInterval soon\n",
            "httpd.conf:2: WSGISwitchInterval soon: its value is not understood",
        ),
        ("httpd.conf", "WSGIPythonHome /x\n", "httpd.conf has no WSGIScriptAlias"),
        ("Procfile", "worker: celery\n", "Procfile has no process type web: give --program"),
        ("Procfile", "web: node index.js\n", "starts no server that pywsgi convert knows"),
        ("supervisord.conf", "[supervisord]\n", "has 0 servers: give --program (none)"),
        (
            "supervisord.conf",
            "[program:a]\ncommand=uvicorn a:a\n[program:b]\ncommand=daphne b:b\n",
            "has 2 servers: give --program (a, b)",
        ),
        ("web.service", "[Service]\nUser=a\n", "web.service has no ExecStart="),
        ("hypercorn.toml", "bind = \n", "hypercorn.toml is no valid TOML"),
    ],
)
def test_a_file_that_cannot_be_converted(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    assert message in refusal(str(tmp_path / name))


def test_an_unknown_option_is_named_as_unknown(tmp_path):
    plan = plan_of(["--directory", str(tmp_path), "uvicorn", "app:app", "--wrokers=4"])
    assert [each.text for each in plan.unknown] == ["--wrokers=4"]
    assert (
        "# Unknown to pywsgi convert as options of uvicorn:\n#   command line: --wrokers"
        in text(plan)
    )


def test_the_stronger_of_two_settings_is_in_force_and_the_other_is_named(tmp_path):
    (tmp_path / "gunicorn.conf.py").write_text("workers = 2\nbind = '127.0.0.1:1'\n")
    made = text(
        plan_of(
            ["-C", str(tmp_path), *["gunicorn", "-w", "5", "-b", ":81", "-b", ":82", "app:app"]]
        )
    )
    assert "worker_processes 5;  # command line: -w 5\n" in made
    assert "listen 81;" in made
    assert "listen 82;" in made
    assert "#   gunicorn.conf.py:1: workers = 2: changes nothing: another setting is" in made
    assert "#   gunicorn.conf.py:2: bind = '127.0.0.1:1': changes nothing" in made


def test_apache_quotes_words(tmp_path):
    made = converted(
        tmp_path,
        "httpd.conf",
        r"""
        WSGIDaemonProcess a threads=9 python-home="/srv/a venv" user='www data'
        WSGIDaemonProcess b threads=3 user=bob
        WSGIScriptAlias / "/srv/it's/wsgi.py"
        AliasMatch "^/([^/]*\.css)$" /srv/styles/$1
        CustomLog /var/log/apache2/x.log combined env=!quiet
        """,
    )
    assert 'python_home "/srv/a venv";' in made
    assert 'user "www data";' in made
    assert "threads=9;" in made
    assert "WSGIDaemonProcess user=bob: one is for all, and it is www data" in made
    assert 'wsgi_app "/srv/it\'s/wsgi.py";' in made
    assert r"location ~ ^/([^/]*\.css)$ {" in made
    assert "CustomLog … env=!quiet: write" in made


def test_a_shell_says_the_folder(tmp_path):
    made = converted(
        tmp_path,
        "web.service",
        """
        [Service]
        ExecStart=/bin/sh -c 'cd /srv/shop && exec uvicorn --app-dir src app:app'
        """,
    )
    assert "python_path /srv/shop/src /srv/shop;" in made
    assert "python_working_directory /srv/shop;" in made
    made = converted(tmp_path, "Procfile", "web: cd site && waitress-serve app:app\n")
    assert f"python_working_directory {tmp_path}/site;" in made
    made = converted(tmp_path, "web.service", "[Service]\nExecStart=/usr/bin/daphne a.asgi:b\n")
    assert "python_working_directory /;" in made


def test_an_emperor_is_no_application(tmp_path):
    (tmp_path / "emperor.ini").write_text("[uwsgi]\nemperor = /etc/uwsgi/vassals\n")
    assert "convert the files of its vassals" in refusal(str(tmp_path / "emperor.ini"))


# Configuration files in Python


def test_a_file_in_python_is_not_run(tmp_path):
    made = converted(
        tmp_path,
        "gunicorn.conf.py",
        """
        import os
        import subprocess
        from multiprocessing import cpu_count as count
        from pathlib import Path

        open("ran", "w").write("it ran")
        subprocess.run(["touch", "ran"])
        wsgi_app = "app:app"
        workers = min(count(), 1) * 2 + 1
        threads = __import__("os").system("touch ran")
        timeout = eval("60")
        keepalive = ().__class__.__bases__[0].__subclasses__()
        bind = "{}:{}".format("127.0.0.1", int(os.environ.get("NO_SUCH_PORT", "8123")))
        pidfile = "{:>999999999}".format("x")
        proc_name = "%999999999d" % 1
        user = "x" * 999999999
        raw_env = ["A=%s" % "1", f"B={workers}"]
        chdir = str(Path(__file__).resolve().parent / "site")
        if os.environ.get("NO_SUCH_NAME"):
            daemon = True
        """,
    )
    assert not (tmp_path / "ran").exists()
    assert "worker_processes 3;" in made
    assert "listen 127.0.0.1:8123;" in made
    assert "python_env A=1;" in made
    assert "python_env B=3;" in made
    assert f"python_path {tmp_path}/site;" in made
    for name in ("threads", "timeout", "keepalive", "pidfile", "proc_name", "user"):
        assert f": {name} = " in made[made.index("# Has no counterpart") :]
    assert "give --run to run the file" in made
    assert "daemon" not in made


def test_a_file_in_python_is_run_if_one_asks_for_it(tmp_path):
    source = """
        import functools

        wsgi_app = "app:app"
        workers = functools.reduce(lambda one, other: one + other, [1, 2, 3])
        print("printed")
    """
    assert "worker_processes 6;" not in converted(tmp_path, "gunicorn.conf.py", source)
    assert "worker_processes 6;" in converted(tmp_path, "gunicorn.conf.py", source, "--run")
    (tmp_path / "gunicorn.conf.py").write_text("raise SystemExit('no')\n")
    told = refusal("--run", str(tmp_path / "gunicorn.conf.py"))
    assert told == "gunicorn.conf.py fails when it is run:\nno"


# Anything else


@pytest.mark.parametrize("case", FILES, ids=lambda case: case.name)
def test_a_file_that_ends_early_is_converted_or_refused(tmp_path, case, monkeypatch):
    """A source that is cut at any line has no effect but a file or a message."""
    for name, value in case.environment.items():
        monkeypatch.setenv(name, value)
    arguments = write(case, tmp_path)
    file = tmp_path / next(iter(case.files))
    whole = file.read_text().splitlines(keepends=True)
    refused = 0
    for count in range(len(whole)):
        file.write_text("".join(whole[:count]))
        try:
            text(plan_of(arguments))
        except (ConversionError, ConfError):
            refused += 1
    # Without its first line nothing is left.
    assert refused


@pytest.mark.parametrize("case", FILES, ids=lambda case: case.name)
def test_values_of_another_kind_are_converted_or_refused(tmp_path, case, monkeypatch):
    """The same for what nobody has expected as a value."""
    for name, value in case.environment.items():
        monkeypatch.setenv(name, value)
    arguments = write(case, tmp_path)
    file = tmp_path / next(iter(case.files))
    whole = file.read_text().splitlines(keepends=True)
    done = 0
    for at, line in enumerate(whole):
        for old, new in (("=", "= \\x00\"'"), (": ", ": {}")):
            file.write_text("".join([*whole[:at], line.replace(old, new, 1), *whole[at + 1 :]]))
            try:
                text(plan_of(arguments))
            except (ConversionError, ConfError) as error:
                assert str(error)
            done += 1
    assert done == len(whole) * 2


def test_what_cannot_be_written_is_said_in_one_line(tmp_path, capsys):
    parser = argparse.ArgumentParser()
    convert.add_options(parser)
    words = ["-C", str(tmp_path), "gunicorn", "-e", "A=" + "x" * 5000, "app:app"]
    assert convert.convert(parser.parse_args(words)) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("pywsgi convert: 'A=xxx")
    assert told.err.count("\n") == 1
