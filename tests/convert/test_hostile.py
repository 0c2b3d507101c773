"""Names, paths and texts with characters that mean something to nginx, in every kind of source:
each is an argument of its directive and nothing else, and nginx takes it."""

from __future__ import annotations

import argparse
import json
import re
import subprocess
from pathlib import Path

import pytest
from harness import VENV
from pywsgi.command import convert
from pywsgi.command.convert.plan import ConversionError, directives, text
from pywsgi.command.nginx_conf import ConfError
from test_published import Site, every, line, plan_of

# A folder's name, a header's value, …; the same without what ends a word of Apache's.
HOSTILE = "a b;c{d}e'f\"g\\h$i#j é"
TAME = "a;b{c}$d#e"
INJECTED = "x; } http { server { listen 6666; } "


def of(tmp_path: Path, name: str, content: str, *options: str):
    file = tmp_path / name
    file.write_text(content)
    return plan_of([*options, str(file)])


def told(plan) -> list[str]:
    """Every directive, with its arguments as nginx will have them."""
    return [line(each) for each in every(directives(plan))]


SOURCES = {
    "gunicorn": lambda folder: plan_of(
        [
            *("-C", str(folder / HOSTILE), "gunicorn", "-e", f"A={HOSTILE}", "--certfile", HOSTILE),
            *("--access-logfile", HOSTILE, "app:app"),
        ]
    ),
    "gunicorn.conf.py": lambda folder: of(
        folder,
        "gunicorn.conf.py",
        f"wsgi_app = 'app:app'\nraw_env = [{'A=' + HOSTILE!r}]\ncertfile = {HOSTILE!r}\n",
    ),
    "uvicorn": lambda folder: plan_of(
        [
            *(
                "-C",
                str(folder),
                "uvicorn",
                "--header",
                f"X-A:{HOSTILE}",
                "--ssl-certfile",
                HOSTILE,
            ),
            *("--root-path", f"/{HOSTILE}", "app:app"),
        ]
    ),
    "granian": lambda folder: plan_of(
        [
            *("-C", str(folder), "granian", "--interface", "wsgi", "--static-path-mount", HOSTILE),
            *("--static-path-route", f"/{HOSTILE}", "app:app"),
        ]
    ),
    "unit": lambda folder: of(
        folder,
        "unit.json",
        json.dumps(
            {
                "listeners": {"*:80": {"pass": "routes"}},
                "applications": {
                    "a": {
                        "type": "python",
                        "module": "a",
                        "path": f"{folder}/{HOSTILE}",
                        "environment": {"A": HOSTILE},
                    }
                },
                "routes": [
                    {
                        "match": {"uri": f"/{HOSTILE}/*"},
                        "action": {
                            "return": 301,
                            "location": "https://$host/$dollar;$header_user_agent${method}",
                        },
                    },
                    {
                        "match": {"uri": f"/{HOSTILE}"},
                        "action": {"share": "/www$uri", "response_headers": {"X-A": "a;b{'\""}},
                    },
                    {"action": {"pass": "applications/a"}},
                ],
            }
        ),
    ),
    "groups": lambda folder: of(
        folder,
        "unit.json",
        json.dumps(
            {
                "listeners": {"*:80": {"pass": "routes"}},
                "applications": {
                    name: {
                        "type": "python",
                        "module": "a",
                        "path": [f"{folder}/{HOSTILE}", f"{folder}/x={HOSTILE}"],
                        "home": f"{folder}/{HOSTILE} venv",
                        "working_directory": f"{folder}/{HOSTILE}",
                        "environment": {"A": HOSTILE, "B": INJECTED},
                    }
                    for name in (HOSTILE, INJECTED)
                },
                "routes": [
                    {"match": {"uri": "/a/*"}, "action": {"pass": f"applications/{HOSTILE}"}},
                    {"action": {"pass": f"applications/{INJECTED}"}},
                ],
            }
        ),
    ),
    "uwsgi": lambda folder: of(
        folder,
        "shop.ini",
        f"[uwsgi]\nmodule = app\nenv = A={HOSTILE}\nstatic-map = /{HOSTILE}={folder}/{HOSTILE}\n"
        f"add-header = X-A: {HOSTILE}\n",
    ),
    "mod_wsgi": lambda folder: of(
        folder,
        "httpd.conf",
        f'WSGIScriptAlias "/{TAME} x" "{folder}/{TAME} x/wsgi.py"\n'
        f'Alias "/{TAME} y" "{folder}/{TAME} y"\n'
        f'SetEnv A "{TAME}"\nHeader set X-A "{TAME}"\nErrorDocument 404 "/{TAME}"\n'
        f'Redirect "/{TAME} z" "https://x.org/{TAME}"\nDocumentRoot "{folder}/{TAME} x"\n'
        f'AliasMatch "^/w/(.*)" "{folder}/{TAME}/$1"\n',
    ),
    "daemons": lambda folder: of(
        folder,
        "httpd.conf",
        f'WSGIDaemonProcess "{TAME} x" python-path="{folder}/{TAME} x" lang="{TAME} x"\n'
        f'WSGIDaemonProcess "{TAME} y" home="{folder}/{TAME} y" user="{TAME}"\n'
        f'WSGIScriptAlias /a {folder}/a.wsgi process-group="{TAME} x"\n'
        f'WSGIScriptAlias /b {folder}/b.wsgi process-group="{TAME} y"\n',
    ),
    "supervisor": lambda folder: of(
        folder,
        "supervisord.conf",
        f"[program:web]\ncommand=gunicorn app:app\ndirectory={folder}/a b;c{{d}}$e\n"
        'environment=A="a b,c;d{e}$f#g"\n',
    ),
    "systemd": lambda folder: of(
        folder,
        "web.service",
        f"[Service]\nWorkingDirectory={folder}/a b;c{{d}}$e\nExecStart=gunicorn app:app\n"
        'Environment="A=a b;c{d}$e#f"\n',
    ),
    "procfile": lambda folder: of(
        folder,
        "Procfile",
        "web: gunicorn -e 'A=a b;c{d}#e' --certfile 'a b;c' --keyfile 'k;{}' app:app\n",
    ),
}


@pytest.mark.parametrize("kind", SOURCES)
def test_nginx_takes_it(nginx, kind):
    """As it is printed: nothing of it is a directive of its own, and a `$` is a variable where the
    source has one."""
    srv = nginx.root / "srv"
    srv.mkdir()
    plan = SOURCES[kind](srv)
    made = directives(plan)
    Site(nginx, made).install()
    result = nginx.check()
    assert result.returncode == 0, result.stderr


def test_a_dollar_is_a_variable_only_where_the_source_has_one(tmp_path):
    plan = SOURCES["unit"](tmp_path)
    location = "https://${host}/${dollar};${http_user_agent}${request_method}"
    assert f"return 301 {location};" in told(plan)
    plan = SOURCES["mod_wsgi"](tmp_path)
    lines = told(plan)
    assert "add_header X-A a;b{c}${dollar}d#e always;" in lines
    dollar = TAME.replace("$", "${dollar}")
    assert f"alias {tmp_path}/{dollar} y/;" in lines
    assert f"alias {tmp_path}/{dollar}/$1;" in lines
    assert "location /a;b{c}$d#e x/;" in lines
    plan = SOURCES["uvicorn"](tmp_path)
    lines = told(plan)
    dollar = HOSTILE.replace("$", "${dollar}")
    assert f"add_header X-A {dollar} always;" in lines
    assert f"ssl_certificate {tmp_path}/{dollar};" in lines
    assert any("nginx reads it at each connection" in each for each in plan.notes)
    assert "geo $dollar;" in lines


def test_what_unit_has_and_nginx_has_not_is_named(tmp_path):
    routes = [{"action": {"return": 301, "location": "/$nothing"}}]
    content = json.dumps({"listeners": {"*:80": {"pass": "routes"}}, "routes": routes})
    plan = of(tmp_path, "unit.json", content)
    assert "return 301 /${dollar}nothing;" in told(plan)
    assert "nginx has no $nothing: write a `map`" in plan.left[0].text
    routes[0]["action"]["location"] = "`/${host}`"
    content = json.dumps({"listeners": {"*:80": {"pass": "routes"}}, "routes": routes})
    assert "is JavaScript" in of(tmp_path, "unit.json", content).left[0].text


@pytest.mark.parametrize("kind", SOURCES)
def test_the_text_has_no_other_lines(tmp_path, kind):
    """What a source has in it begins no line, and ends no comment."""
    made = text(SOURCES[kind](tmp_path))
    for each in made.splitlines():
        # A long directive goes on with a path or a parameter.
        assert re.match(r"\s*(?:#|\}|$|[a-z_]\w* ?)|\s+\"?(?:/|[a-z_]+=)", each), each
    plan = plan_of(["-C", str(tmp_path), "gunicorn", "-e", f"A=1\n{INJECTED}\n}}", "app:app"])
    made = text(plan)
    assert all(
        "listen 6666" not in each or "#" in each or "\\n" in each for each in made.split("\n")
    )
    plan = plan_of(["-C", str(tmp_path), "gunicorn", "--name", f"1\n{INJECTED}\n}}", "app:app"])
    assert all("listen 6666" not in each or each[0] == "#" for each in text(plan).split("\n"))


# Texts


def test_what_is_not_utf8_stays(tmp_path):
    """A path in another encoding arrives on standard output as it was typed."""
    shim = Path(convert.__file__).parents[3]
    command = [VENV / "bin" / "python", "-m", "pywsgi", "convert", "-C", tmp_path]
    done = subprocess.run(
        [*command, "gunicorn", "-e", b"A=\xe9", "app:app"],
        capture_output=True,
        env={"PYTHONPATH": str(shim), "PYTHONIOENCODING": "ascii", "PATH": "/usr/bin"},
        timeout=60,
    )
    assert b"python_env A=\xe9;" in done.stdout, done.stderr
    assert done.returncode == 0
    half = (
        '{"listeners": {"*:80": {"pass": "routes"}}, "routes": [{"action": {"return": "\\ud800"}}]}'
    )
    (tmp_path / "unit.json").write_text(half)
    parser = argparse.ArgumentParser()
    convert.add_options(parser)
    assert convert.convert(parser.parse_args([str(tmp_path / "unit.json")])) == 1


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("httpd.conf", "WSGIScriptAlias / /a.wsgi\n# é\n"),
        ("gunicorn.conf.py", "wsgi_app = 'a:a'\n# é\n"),
        ("shop.ini", "[uwsgi]\n; é\n"),
        ("unit.json", '{\n"é": 1}'),
        ("Procfile", "web: gunicorn a:a\né: b\n"),
        ("supervisord.conf", "[supervisord]\n; é"),
        ("web.service", "[Unit]\n# é"),
        ("hypercorn.toml", "bind = 'a'\n# é"),
    ],
)
def test_a_file_in_latin_1_is_refused_with_its_line(tmp_path, name, content):
    (tmp_path / name).write_bytes(content.encode("latin-1"))
    with pytest.raises(ConversionError) as error:
        plan_of([str(tmp_path / name)])
    assert str(error.value) == f"{name}:2 is not UTF-8: write it so, as by iconv -f latin1 -t utf-8"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("gunicorn.conf.py", "wsgi_app = 'a:a'\r\n"),
        ("shop.ini", "[uwsgi]\r\nmodule = a:a\r\n"),
        ("Procfile", "web: gunicorn a:a\r\n"),
        ("supervisord.conf", "[program:a]\r\ncommand = gunicorn a:a\r\n"),
        ("web.service", "[Service]\r\nExecStart = gunicorn \\\r\n a:a\r\n"),
    ],
)
def test_a_file_from_windows_is_read(tmp_path, name, content):
    (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + content.encode())
    assert "wsgi_app a:a;" in told(plan_of([str(tmp_path / name)]))


def test_a_comment_is_not_longer_than_nginx_reads(nginx):
    """It has the same limit as an argument."""
    srv = nginx.root / "srv"
    srv.mkdir()
    plan = plan_of(["-C", str(srv), "gunicorn", "-e", "A=" + "é" * 2040, "-n", "é" * 4096, "a:a"])
    Site(nginx, directives(plan)).install()
    whole = text(plan)
    assert max(len(each.encode()) for each in whole.splitlines() if "#" in each) < 4096
    with nginx.config.open("a") as file:
        file.write(whole[whole.rindex("\n}\n") + 3 :])
    result = nginx.check()
    assert result.returncode == 0, result.stderr


def test_an_argument_that_is_too_long_as_it_is_written(tmp_path):
    """nginx counts the bytes of the file, in which a new line has two."""
    plan = plan_of(["-C", str(tmp_path), "gunicorn", "-e", "A=" + "\n" * 2500, "app:app"])
    with pytest.raises(ConfError):
        text(plan)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("hypercorn.toml", f"x = {'[' * 100_000}"),
        ("unit.json", '{"listeners": ' + "[" * 100_000),
        ("gunicorn.conf.py", f"x = {'-' * 100_000}1"),
        ("httpd.conf", "<IfModule x>\nWSGIScriptAlias / /a\n" * 3000 + "</IfModule>\n" * 3000),
    ],
    ids=["toml", "json", "py", "httpd"],
)
def test_what_is_nested_too_deeply(tmp_path, capsys, name, content):
    """One line, whatever its parser says."""
    file = tmp_path / name
    file.write_text(content)
    parser = argparse.ArgumentParser()
    convert.add_options(parser)
    assert convert.convert(parser.parse_args([str(file)])) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("pywsgi convert: ")
    assert err.count("\n") == 1
