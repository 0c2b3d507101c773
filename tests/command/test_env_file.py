"""`--env-file`: the import before nginx starts has the variables that the worker will have."""

from __future__ import annotations

import json

import pytest
from rawhttp import wait_for

# Whether it is WSGI or ASGI is known after the import alone.
SOURCE = """
import json, os

with open(f"seen.{os.getpid()}", "w") as file:
    json.dump({name: value for name, value in os.environ.items() if name[:2] == "V_"}, file)
os.environ["V_PLAIN"]

def make():
    def app(environ, start_response):
        start_response("200 OK", [])
        return []
    return app

app = make()
"""

FORMS = r"""# A comment
V_PLAIN=postgresql://shop:pa$word@db/shop?x=1   # another one
 export V_EXPORTED = 1
export	V_TAB	=	1	# 2
V_SINGLE='spaces, "quotes", # and \ as they are'   # it's one
V_DOUBLE="two\nlines, a \"quote\", a \\ \t\r \$ \' \x"
V_SPACES=C:\two words\
V_LINES="one
two"
V_RAW='one
two # no comment
'
V_EMPTY=
V_COMMENT= # a comment
V_HASH=#none
V_MIDDLE=a#b
V_QUOTE=it's "so"
V_EQUALS=a=b=c
V_UTF8=ü
V_NAME.with-more=1
	# indented
V_DOLLAR='${V_PLAIN}'
V_SET=of the file
V_LAST=no new line"""


def seen(pywsgi) -> list[dict[str, str]]:
    """By each process that has imported the application."""
    found = [json.loads(each.read_text()) for each in sorted(pywsgi.folder.glob("seen.*"))]
    for each in pywsgi.folder.glob("seen.*"):
        each.unlink()
    return found


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_the_worker_has_the_same(pywsgi, end):
    pywsgi.file("app.py", SOURCE)
    (pywsgi.folder / ".env").write_bytes(b"\xef\xbb\xbf" + FORMS.replace("\n", end).encode())
    pywsgi.file("two.env", "V_TWO=2\n")
    pywsgi.environ["V_SET"] = "of the command"
    options = ("--env-file", ".env", "--env-file", "two.env", "-e", "V_GIVEN=1")
    server = pywsgi.serve("app:app", *options)
    assert server.get().status_code == 200
    at_start, in_worker = seen(pywsgi)
    assert at_start == in_worker
    assert len(in_worker) == FORMS.count("V_") - 1 + 2
    assert in_worker["V_SET"] == "of the command"
    for command in ("check", "config"):
        done = pywsgi.run(command, "app:app", *options)
        assert done.returncode == 0, done.stderr
        assert in_worker in seen(pywsgi)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (b"A=1\nnothing-secret\n", 2),
        (b"A=1\n\n=secret\n", 3),
        (b"A B=secret\n", 1),
        (b"A='x\ny'\nB='a' secret\n", 3),
        (b'A=1\nB="secret\nC=1', 2),
        (b"A=1\nB=sec\0ret\n", 2),
    ],
)
def test_what_is_no_such_file(pywsgi, text, line):
    pywsgi.file("app.py", SOURCE)
    (pywsgi.folder / ".env").write_bytes(text)
    done = pywsgi.run("serve", "app:app", "--env-file", ".env")
    assert done.returncode == 1
    assert done.stderr == (
        f"ERROR:    --env-file .env: line {line} is not NAME=VALUE, or its quotes are not closed\n"
    )
    assert seen(pywsgi) == []
    wait_for(lambda: pywsgi.left_over() == [], 10, "nothing left")
