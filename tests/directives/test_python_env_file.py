"""python_env_file: variables of a file, in os.environ before the first import."""

from __future__ import annotations

import os
import signal

import pytest

SOURCE = """
    import json
    import os
    import subprocess
    import sys

    AT_IMPORT = dict(os.environ)

    def application(environ, start_response):
        child = subprocess.run(["/usr/bin/env", "-0"], capture_output=True, check=True).stdout
        names = [line.partition("=")[0] for line in child.decode().split("\\0")]
        text = json.dumps({"import": AT_IMPORT, "child": names, "warnings": sys.warnoptions})
        start_response("200 OK", [("Content-Type", "application/json")])
        return [text.encode()]
"""


@pytest.fixture
def file(nginx):
    """`file("A=1")` writes a file of variables that root alone can read, and returns its path."""

    def write(text: str | bytes, name: str = "app.env"):
        path = nginx.root / "conf" / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        path.chmod(0o600)
        return path

    return write


@pytest.fixture
def start(nginx, monkeypatch):
    """`start("python_env_file x;", A="b")` starts nginx with A in its own environment."""

    def run(http: str, **variables: str):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        nginx.start(f"wsgi_app {nginx.app('wsgi', SOURCE)};", http=http)
        return nginx.client().get("/").json()["import"]

    return run


def test_the_forms_of_a_value(file, start):
    path = file("""\
# A comment
PLAIN=postgresql://shop:pa$word@db/shop?x=1   # another one
export EXPORTED = 1
SINGLE='spaces, "quotes", # and \\ as they are'
DOUBLE="two\\nlines, a \\"quote\\", a backslash: \\\\"
SPACES=C:\\two words\\
LINES="one
two"
EMPTY=
UTF8=ü
""")
    seen = start(f"python_env_file {path};")
    assert seen["PLAIN"] == "postgresql://shop:pa$word@db/shop?x=1"
    assert seen["EXPORTED"] == "1"
    assert seen["SINGLE"] == 'spaces, "quotes", # and \\ as they are'
    assert seen["DOUBLE"] == 'two\nlines, a "quote", a backslash: \\'
    assert seen["SPACES"] == "C:\\two words\\"
    assert seen["LINES"] == "one\ntwo"
    assert seen["EMPTY"] == ""
    assert seen["UTF8"] == "ü"


def test_children_inherit_them_and_python_reads_its_own(nginx, file, start):
    path = file("A=1\nPYTHONWARNINGS=error::FutureWarning\n")
    start(f"python_env_file {path};")
    answer = nginx.client().get("/").json()
    assert "A" in answer["child"]
    assert answer["warnings"] == ["error::FutureWarning"]


def test_a_dollar_is_not_replaced(file, start):
    """Not even by a variable that nginx has been started with, or that stands in the file."""
    path = file("A=1\nB=x$A\nC=$PYWSGI_GIVEN\nD='$A'\n")
    seen = start(f"python_env_file {path};", PYWSGI_GIVEN="given")
    assert (seen["B"], seen["C"], seen["D"]) == ("x$A", "$PYWSGI_GIVEN", "$A")
    assert "PYWSGI_GIVEN" not in seen


def test_precedence(file, start):
    """python_env, then the file, then what is kept from nginx's start."""
    path = file("A=file\nB=file\nC=file\nD=file\nLANG=C.UTF-8\nHOME=/srv\n")
    seen = start(
        f"python_env A=python_env;\npython_env_file {path};\npython_env B=python_env C D;",
        C="started",
        LANG="de_DE.UTF-8",
    )
    assert seen["A"] == seen["B"] == "python_env"
    # Without a value: that of nginx's start, if there is one.
    assert seen["C"] == "started"
    assert seen["D"] == "file"
    assert (seen["LANG"], seen["HOME"]) == ("C.UTF-8", "/srv")


def test_several_files(file, start):
    one, two = file("A=1\nB=1\n", "one.env"), file("B=1\nC=1\n", "two.env")
    seen = start(f"python_env_file {one};\npython_env_file {two};")
    assert {name: seen[name] for name in "ABC"} == {"A": "1", "B": "1", "C": "1"}


@pytest.mark.skipif(os.geteuid() != 0, reason="another user is needed")
def test_the_workers_user_need_not_read_it(nginx, file, start):
    if nginx.user in ("", "root"):
        nginx.user = "daemon"
    path = file("A=1\n")
    path.parent.chmod(0o700)
    assert start(f"python_env_file {path};")["A"] == "1"


def test_a_reload_reads_it_anew(nginx, file, start):
    path = file("A=1\nB=1\n")
    assert start(f"python_env_file {path};")["A"] == "1"
    file("A=2\n")
    client = nginx.client()
    assert client.get("/").json()["import"]["A"] == "1"
    nginx.reload()
    seen = nginx.client().get("/").json()["import"]
    assert seen["A"] == "2"
    assert "B" not in seen


def test_a_reload_with_a_broken_file_is_refused(nginx, file, start):
    path = file("A=1\n")
    start(f"python_env_file {path};")
    before = nginx.workers()
    file("A=1\nthe-secret\n")
    nginx.allow_log(r"\[emerg\].* python_env_file ")
    os.kill(nginx.master, signal.SIGHUP)
    line = nginx.wait_log("python_env_file")
    assert f'"{path}", line 2, is not NAME=VALUE' in line
    assert "secret" not in line
    assert nginx.client().get("/").json()["import"]["A"] == "1"
    assert nginx.workers() == before


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("A=1\nsecret\n", 2, "is not NAME=VALUE"),
        ("# x\n\n=secret\n", 3, "is not NAME=VALUE"),
        ("A B=secret\n", 1, "is not NAME=VALUE"),
        ("A='1'secret\n", 1, "behind a closing quote"),
        ("A=1\nB='secret\nC=1\n", 2, "quote that is not closed"),
        ("A=1\nB=secret${HOST}\n", 2, "a reference .* in the value of B; .*write"),
        ("A=1\nB='secret'\nA=2\n", 3, 'another value for "A" than in .*app.env:1'),
        (b"A=1\nB=secret\xff\n", 2, "not UTF-8"),
        (b"A=1\nB=secret\0\n", 2, "NUL"),
    ],
)
def test_a_fault_in_the_file(refused, file, text, line, words):
    path = file(text)
    message = refused(
        "python_env_file", f'"{path}", line {line}, ', words, http=f"python_env_file {path};"
    )
    assert "secret" not in message


def test_another_value_in_another_file(refused, file):
    one, two = file("A=secret-1\n", "one.env"), file("\nA=secret-2\n", "two.env")
    message = refused(
        f"python_env_file {two}",
        f'"{two}", line 2, has another value for "A" than in {one}:1',
        http=f"python_env_file {one};\npython_env_file {two};",
    )
    assert "secret" not in message


def test_a_file_that_cannot_be_read(nginx, refused, refuses_a_missing_path):
    refuses_a_missing_path("python_env_file")
    refused("python_env_file", "is not a file", http=f"python_env_file {nginx.apps};")
    large = nginx._write(nginx.root / "conf" / "large.env", f"A={'x' * 1024 * 1024}\n")
    refused("python_env_file", "larger than 1 MB", http=f"python_env_file {large};")
    refused("python_env_file", "absolute", '"app.env"', http="python_env_file app.env;")


def test_the_check_has_them(nginx, file):
    source = """
        import os
        assert os.environ["A"] == "1", os.environ["A"]
        application = print
    """
    app = f"wsgi_app {nginx.app('app', source)};"
    http = f"python_check on; python_env_file {file('A=1')};"
    assert nginx.check(app, http=http).returncode == 0
    file("A=2")
    assert "AssertionError: 2" in nginx.check(app, http=http).stderr
