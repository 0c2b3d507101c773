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
        ("granian app:app", "the interface is RSGI, which only Granian has"),
        ("flask routes", "command line: `flask routes` is no server: convert `flask run`"),
        ("flask run", "command line: no application: give --app, or convert in the folder"),
        ("uwsgi --http :80", "no application: uWSGI wants module, wsgi-file or mount"),
        ("uwsgi no.ini", "no.ini cannot be read: No such file or directory"),
        ("hypercorn -c python:config app:app", "give `file:` and the module's file"),
        ("gunicorn -t nan app:app", "command line: -t nan: 'nan' is not a time in seconds"),
        ("gunicorn -t inf app:app", "command line: -t inf: 'inf' is not a time in seconds"),
        ("gunicorn -t -5 app:app", "command line: -t -5: '-5' is not a time in seconds"),
        ("gunicorn -w -4 app:app", "command line: -w -4: '-4' is less than 0"),
        ("gunicorn --threads x app:app", "command line: --threads x: 'x' is not a number"),
        (
            "gunicorn --max-requests -1 app:app",
            "command line: --max-requests -1: '-1' is less than",
        ),
        ("gunicorn --backlog 1.5 app:app", "command line: --backlog 1.5: '1.5' is not a number"),
        (
            "GUNICORN_CMD_ARGS=' gunicorn app:app",
            "cannot be split into words: No closing quotation",
        ),
    ],
)
def test_a_mistake_is_one_line_that_says_what_to_do(tmp_path, command, message):
    arguments = ["--directory", str(tmp_path), *command.split()]
    told = refusal(*arguments)
    assert message in told
    assert "\n" not in told


def test_a_command_in_one_word_is_what_a_shell_would_split(tmp_path, monkeypatch):
    monkeypatch.setenv("PORT", "5001")
    command = "A='$PORT' uvicorn --port ${PORT} --header 'X-A:$PORT' --header X-B:\\$5 app:app"
    made = text(plan_of(["-C", str(tmp_path), command]))
    assert "listen 127.0.0.1:5001;" in made
    assert "add_header X-A ${dollar}PORT always;" in made
    assert "add_header X-B ${dollar}5 always;" in made
    assert "python_env A=$PORT;" in made
    told = refusal("-C", str(tmp_path), "uvicorn --port $NO_SUCH_PORT app:app")
    assert "run `NO_SUCH_PORT=… pywsgi convert …`" in told
    # The shell has done so with several words.
    made = text(plan_of(["-C", str(tmp_path), *["uvicorn", "--header", "X-A:$PORT", "app:app"]]))
    assert "add_header X-A ${dollar}PORT always;" in made


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
        ("supervisord.conf", "[supervisord]\n", "has no program that pywsgi convert knows as a"),
        ("web.service", "[Service]\nUser=a\n", "web.service has no ExecStart="),
        ("hypercorn.toml", "bind = \n", "hypercorn.toml is no valid TOML"),
        ("gunicorn.conf.py", "workers = 1\0", "gunicorn.conf.py is no valid Python: source code"),
        ("gunicorn.conf.py", f"workers = {'-' * 9999}1", "gunicorn.conf.py is no valid Python"),
        ("unit.json", f"{'[' * 99999}", "unit.json is no valid JSON"),
        (
            "unit.json",
            '{"listeners": {}, "applications": {"a": {"type": "python", "threads": NaN}}}',
            "unit.json:1: applications/a/threads: NaN: nan is not a number",
        ),
        ("uwsgi.json", '["uwsgi"]', "uwsgi.json is no JSON with the key uwsgi"),
        ("uwsgi.json", '{"uwsgi": []}', "uwsgi.json has no options below the key uwsgi"),
        ("a.ini", "[uwsgi]\nini = a.ini\n", "a.ini includes itself"),
        ("a.ini", "[uwsgi]\nini = :b\n[b]\nini = :uwsgi\n", "includes itself"),
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
        WSGIProcessGroup a
        WSGIScriptAlias / "/srv/it's/wsgi.py"
        WSGIScriptAlias /b "/srv/b/wsgi.py" process-group=b
        AliasMatch "^/([^/]*\.css)$" /srv/styles/$1
        CustomLog /var/log/apache2/x.log combined env=!quiet
        """,
    )
    assert 'python_process a threads=9 "home=/srv/a venv";' in made
    assert 'user "www data";' in made
    assert "python_process b threads=3;" in made
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


def test_an_emperor_wants_its_vassals(tmp_path):
    (tmp_path / "emperor.ini").write_text("[uwsgi]\nemperor = vassals\n")
    assert "emperor.ini:2: emperor = vassals: no file of a vassal is there" in refusal(
        str(tmp_path / "emperor.ini")
    )
    (tmp_path / "vassals").mkdir()
    (tmp_path / "vassals" / "a.ini").write_text("[uwsgi]\nemperor = .\n")
    assert "a.ini: is an emperor itself" in refusal(str(tmp_path / "emperor.ini"))
    (tmp_path / "vassals" / "a.ini").unlink()
    assert "has no file of uWSGI: .ini, .xml" in refusal(str(tmp_path / "vassals"))
    made = converted(tmp_path, "both.ini", "[uwsgi]\nmodule = a\nemperor = vassals\n")
    assert "emperor = vassals: convert the files of its vassals as well" in made


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


def test_a_long_value_is_said_shortly(tmp_path, capsys):
    parser = argparse.ArgumentParser()
    convert.add_options(parser)
    words = ["-C", str(tmp_path), "gunicorn", "-w", "x" * 5000, "app:app"]
    assert convert.convert(parser.parse_args(words)) == 1
    told = capsys.readouterr().err
    assert told.startswith("pywsgi convert: command line: -w xxx")
    assert len(told) < 600


def test_a_file_in_python_has_no_warnings(tmp_path, recwarn):
    made = converted(tmp_path, "gunicorn.conf.py", "wsgi_app = 'a:a'\nworkers = 1if 1else 2\n")
    assert "worker_processes 1;" in made
    assert list(recwarn) == []


# Nothing is left out silently


def test_a_setting_that_another_one_begins_with_is_named(tmp_path):
    made = text(plan_of(["-C", str(tmp_path), *["gunicorn", "-w", "4", "-w", "40", "app:app"]]))
    assert "worker_processes 40;  # command line: -w 40\n" in made
    assert "#   command line: -w 4: changes nothing: another setting is stronger" in made
    made = text(plan_of(["-C", str(tmp_path), *["gunicorn", "-e", "A=1", "-e", "B=2", "app:app"]]))
    assert made.count("-e A=1 -e B=2") == 2
    assert "changes nothing" not in made


def test_a_proxy_is_an_address_or_a_network(tmp_path):
    words = ["--forwarded-allow-ips", "10.1.2.3/8,proxy.internal,::1,/run/a", "app:app"]
    made = text(plan_of(["-C", str(tmp_path), "gunicorn", *words]))
    assert "proxy.internal is no address and no network: nginx knows no other" in made
    assert made.count("set_real_ip_from ") == 3
    made = text(plan_of(["-C", str(tmp_path), "gunicorn", "--forwarded-allow-ips", "x", "a:b"]))
    assert "x is no address" in made
    assert "real_ip" not in made


def test_a_file_in_python_that_another_one_changes(tmp_path):
    (tmp_path / "common.py").write_text("workers = 7\nraw_env = []\n")
    source = """
        from os import environ
        from common import *
        from common import threads
        import common as c

        wsgi_app = "app:app"
        raw_env = ["A=1"]
        raw_env.append("B=2")
        raw_env.extend(["C=" + environ["NAME"]])
        try:
            keepalive = 3
        except ImportError:
            timeout = 1
        else:
            backlog = 100
        finally:
            max_requests = 9
        for user in ("bob",):
            pass
        pythonpath = c.path
        proc_name = 9 * 999999999 * "x"
        class logger_class:
            pass
        if c.anything:
            def post_fork(server, worker):
                pass
    """
    (tmp_path / "gunicorn.conf.py").write_text(textwrap.dedent(source))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NAME", "3")
        made = text(plan_of([str(tmp_path / "gunicorn.conf.py")]))
    first = 'gunicorn.conf.py:8: raw_env = ["A=1"]; raw_env.append("B=2"); raw_env.extend(["C=" +'
    assert first in " ".join(made.replace("#", "").split())
    for expected in ("python_env C=3;", "keepalive_timeout 3s;", "python_max_requests 9;"):
        assert expected in made
    assert "backlog=100" in made
    told = made[made.index("# Has no counterpart") :]
    for name, why in (
        ("from common import *", "it is imported"),
        ("from common import threads", "it is imported"),
        ("try: …", "it depends on an exception"),
        ('for user in ("bob",): …', "it is set in a loop or a block"),
        ("pythonpath = c.path", "c.path is code"),
        ("proc_name = 9 * 999999999", "it repeats a string or a list"),
        ("class logger_class", "it is a class"),
        ("if c.anything: …", "it depends on a condition"),
    ):
        assert any(name in each and why in each for each in told.splitlines()), name
    # What another file sets is known when it is run.
    (tmp_path / "common.py").write_text("workers = 7\nraw_env = []\nthreads = 5\n")
    (tmp_path / "gunicorn.conf.py").write_text("from common import *\nwsgi_app = 'a:a'\n")
    made = text(plan_of(["--run", str(tmp_path / "gunicorn.conf.py")]))
    assert "worker_processes 7;  # gunicorn.conf.py: workers = 7\n" in made
    assert "threads=5;  # gunicorn.conf.py:1: from common import *" not in made
    assert "threads=5;  # gunicorn.conf.py: threads = 5\n" in made


def test_a_name_that_hypercorn_has_not(tmp_path):
    made = converted(tmp_path, "hypercorn.py", "application_path = 'a:a'\nwrokers = 3\n")
    assert "hypercorn.py:2: wrokers = 3: Hypercorn has no setting of this name" in made


def test_apache_says_for_which_part(tmp_path):
    made = converted(
        tmp_path,
        "httpd.conf",
        """
        Define EMPTY ""
        ${EMPTY}
        WSGIScriptAlias / /srv/wsgi.py
        <Location /private>
            SetEnv A 1
            WSGIProcessGroup x
            <If "true">
                Header set B 1
            </If>
        </Location>
        <If "%{HTTP_HOST} == 'x'">
            LimitRequestBody 1
        </If>
        <IfModule !mod_ssl.c>
            Timeout 3
        </IfModule>
        <Location />
            SetEnv C 1
        </Location>
        """,
    )
    assert "wsgi_param C 1;" in made
    assert made.count("wsgi_param") == 1
    for expected in (
        "httpd.conf:6: SetEnv A 1: is for /private alone: write a `location` with it",
        "httpd.conf:9: Header set B 1: is for /private alone",
        "httpd.conf:13: LimitRequestBody 1: is for what fulfils <If \"%{HTTP_HOST} == 'x'\"> alone",
        "httpd.conf:16: Timeout 3: is for an Apache without that module",
    ):
        assert expected in made
    assert "client_max_body_size 1g;" in made
    assert "send_timeout" not in made


def test_supervisord_reads_comments_and_colons(tmp_path):
    made = converted(
        tmp_path,
        "supervisord.conf",
        """
        [program:web]
        Command: gunicorn app:app  # the shop
        directory=/srv/shop ; a folder
        environment=A="1",B="x;y",
        """,
    )
    assert "wsgi_app app:app;" in made
    assert "python_path /srv/shop;" in made
    assert 'python_env "B=x;y";' in made
    assert "Unknown" not in made
    (tmp_path / "supervisord.conf").write_text(
        '[program:web]\ncommand=gunicorn app:app\nenvironment=A="1",B\n'
    )
    assert 'A="1",B: is not KEY="VALUE",KEY="VALUE"' in refusal(str(tmp_path / "supervisord.conf"))


def test_systemd_reads_specifiers_comments_and_empty_values(tmp_path):
    unit = """
        [Service]
        WorkingDirectory=/srv/%i
        Environment=A=1 B=2
        Environment=
        Environment=C=%p-%i
        EnvironmentFile=-/etc/default/%i
        EnvironmentFile=/etc/second
        ListenStream=1
        ExecStart=@gunicorn \\
          # the workers
          -w 2 \\
          ; and the rest
          --pid %t/%i.pid app:app
    """
    made = converted(tmp_path, "web@shop.service", unit)
    for expected in (
        "worker_processes 2;",
        "python_path /srv/shop;",
        "python_env C=web-shop;",
        "pid /run/shop.pid;",
        "python_env_file /etc/default/shop;",
        "nginx wants the file; systemd can do without it",
        "python_env_file /etc/second;",
        "EnvironmentFile=-/etc/default/%i: systemd takes a variable from there first, and nginx",
    ):
        assert expected in made
    assert "python_env A=1;" not in made
    (tmp_path / "web@.service").write_text(textwrap.dedent(unit))
    told = "web@.service: copy it to web@NAME.service: /srv/%i has that NAME"
    assert refusal(str(tmp_path / "web@.service")) == told
    (tmp_path / "a.service").write_text("[Service]\nWorkingDirectory=~\nExecStart=daphne a:a\n")
    assert "WorkingDirectory=~: name it by --directory" in refusal(str(tmp_path / "a.service"))
