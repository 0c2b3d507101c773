"""python_env: os.environ before the first import; nginx alone would have emptied it."""

from __future__ import annotations

import pwd

import pytest

SOURCE = """
    import json
    import os
    import subprocess
    import sys

    AT_IMPORT = dict(os.environ)

    def application(environ, start_response):
        child = subprocess.run(["/usr/bin/env", "-0"], capture_output=True, check=True).stdout
        text = json.dumps(
            {
                "import": AT_IMPORT,
                "now": dict(os.environ),
                "child": dict(
                    line.split("=", 1) for line in child.decode().split("\\0") if "=" in line
                ),
                "utf8": sys.flags.utf8_mode,
                "encoding": [sys.getfilesystemencoding(), open("/dev/null").encoding],
                "wsgi": [name for name in environ if name in ("PATH", "HOME", "A", "LANG")],
            }
        )
        start_response("200 OK", [("Content-Type", "application/json")])
        return [text.encode()]
"""


@pytest.fixture
def start(nginx, monkeypatch):
    """`start("python_env A=b;", C="d")` starts nginx with C in its own environment."""

    def run(http: str = "", **variables: str):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        nginx.start(f"wsgi_app {nginx.app('wsgi', SOURCE)};", http=http)
        return nginx.client().get("/").json()

    return run


def test_path_and_lang_are_kept_and_nothing_else(nginx, start):
    answer = start(
        PATH="/usr/bin:/bin",
        LANG="de_DE.UTF-8",
        HOME="/nonexistent",
        PYWSGI_SECRET="x",
        PYTHONSTARTUP="/nonexistent",
    )
    for moment in ["import", "now"]:
        assert answer[moment]["PATH"] == "/usr/bin:/bin"
        assert answer[moment]["LANG"] == "de_DE.UTF-8"
        if nginx.user in ("", "root"):  # It runs as who starts it.
            assert answer[moment]["HOME"] == "/nonexistent"
        assert "PYWSGI_SECRET" not in answer[moment]
        assert "PYTHONSTARTUP" not in answer[moment]


def test_values(start):
    answer = start("""
        python_env A=1 EMPTY= "SPACE=two words" EQUALS=a=b;
        python_env UTF8=ü DOLLAR=$x;
    """)
    for moment in ["import", "now", "child"]:
        seen = answer[moment]
        assert seen["A"] == "1"
        assert seen["EMPTY"] == ""
        assert seen["SPACE"] == "two words"
        assert seen["EQUALS"] == "a=b"
        assert seen["UTF8"] == "ü"
        assert seen["DOLLAR"] == "$x"


def test_a_name_alone_is_passed_on_from_nginx_s_start(start):
    answer = start(
        "python_env PYWSGI_GIVEN PYWSGI_UNSET;", PYWSGI_GIVEN="a value", PYWSGI_OTHER="no"
    )
    assert answer["import"]["PYWSGI_GIVEN"] == "a value"
    assert "PYWSGI_UNSET" not in answer["import"]
    assert "PYWSGI_OTHER" not in answer["import"]


def test_home_is_the_workers_user_s(nginx, start):
    """The workers' user cannot read root's home: libpq, for one, then silently gives up TLS."""
    if nginx.user in ("", "root"):
        pytest.skip("needs root, and workers of another user")
    home = pwd.getpwnam(nginx.user).pw_dir
    answer = start(HOME="/root")
    for moment in ["import", "now", "child"]:
        assert answer[moment]["HOME"] == home


def test_home_of_nginx_s_start_can_be_asked_for(start):
    assert start("python_env HOME;", HOME="/srv/started")["now"]["HOME"] == "/srv/started"


def test_python_reads_its_own_as_it_starts(nginx):
    source = """
        import sys

        def application(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [f"{sys.warnoptions} {sys.dont_write_bytecode}".encode()]
    """
    env = "python_env PYTHONWARNINGS=error::FutureWarning PYTHONDONTWRITEBYTECODE=1;"
    nginx.start(f"wsgi_app {nginx.app('flags', source)};", http=env)
    assert nginx.client().get("/").text == "['error::FutureWarning'] True"


def test_a_value_wins_over_what_is_kept(start):
    answer = start("python_env LANG=C.UTF-8 HOME=/srv;", LANG="de_DE.UTF-8")
    assert answer["now"]["LANG"] == "C.UTF-8"
    assert answer["now"]["HOME"] == "/srv"


def test_utf8_mode_is_on(start):
    answer = start(LANG="C", LC_ALL="C")
    assert answer["utf8"] == 1
    assert [name.lower().replace("-", "") for name in answer["encoding"]] == ["utf8", "utf8"]


def test_environ_of_a_request_holds_none_of_it(start):
    assert start("python_env A=1;")["wsgi"] == []


def test_a_reload_takes_the_new_value(nginx, start):
    assert start("python_env A=1;")["now"]["A"] == "1"
    nginx.write_config(f"wsgi_app {nginx.apps}/wsgi.py;", http="python_env A=2;")
    nginx.reload()
    assert nginx.client().get("/").json()["import"]["A"] == "2"


@pytest.mark.parametrize("value", ["=value", "''", "=", "A=1 =2"])
def test_a_variable_without_a_name(refused, value):
    refused("python_env", "python_env", http=f"python_env {value};")


@pytest.mark.parametrize(
    ("first", "second"), [("A=1", "A=2"), ("A=1", "A="), ("A", "A=1"), ("A=1", "A"), ("A=", "A")]
)
def test_a_second_value_is_refused_with_both_places(nginx, refused, first, second):
    message = refused(f"python_env {second};", http=f"python_env {first};\npython_env {second};")
    at = nginx.config.read_text().split(f"python_env {first};")[0].count("\n") + 1
    assert f'another value for "A" than in {nginx.config}:{at};' in message
    assert "one value" in message


def test_a_second_value_in_another_file_or_in_one_line(nginx, refused):
    other = nginx.page("site.conf", "\npython_env B=2 A=a-secret;\n")
    http = f"include {other};\npython_env A=another-secret;"
    message = refused("python_env A=another-secret", f"{other}:2;", http=http)
    assert "secret" not in message
    refused("python_env A=1 B=2 A=3;", '"A"', http="python_env A=1 B=2 A=3;")


def test_one_value_can_be_given_many_times(start):
    answer = start(
        "python_env A=1 PYWSGI_GIVEN A=1;\npython_env A=1;\npython_env PYWSGI_GIVEN;",
        PYWSGI_GIVEN="given",
    )
    assert answer["now"]["A"] == "1"
    assert answer["now"]["PYWSGI_GIVEN"] == "given"
