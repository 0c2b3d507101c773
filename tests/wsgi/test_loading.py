"""Where an application comes from, and what happens if its import fails."""

from __future__ import annotations

import os

import pytest
from rawhttp import wait_for

HELLO = """
    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"hello"]
"""


def until_ok(client, text: str) -> None:
    """Asks until the import succeeds: after a pause, if no file has changed."""
    wait_for(lambda: client.get("/").text == text, 60, f"the answer {text!r}")


def start_each(nginx, **targets):
    """Starts nginx with a location /NAME for each target, and returns a client."""
    nginx.start(server="\n".join(f"location /{n} {{ wsgi_app {t}; }}" for n, t in targets.items()))
    return nginx.client()


def touch_later(path) -> None:
    """Gives a file a later modification time, whatever the clock's resolution."""
    stat = path.stat()
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 2_000_000_000))


TARGETS = {
    "": "application",
    ":application": "application",
    ":other": "other",
    ":nested.inner.view": "view",
    ":create()": "created None",
    ":create('x', 2, key=[1])": "created ('x', 2, [1])",
    ":nested.make()": "made",
    ":Class": "class",
}

MANY = """
    import types

    def app(text):
        def run(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [text.encode()]
        return run

    application = app("application")
    other = app("other")
    inner = types.SimpleNamespace(view=app("view"))
    nested = types.SimpleNamespace(inner=inner, make=lambda: app("made"))

    def create(first=None, second=None, key=None):
        return app(f"created {first if first is None else (first, second, key)}")

    class Class:
        def __init__(self, environ, start_response):
            start_response("200 OK", [("Content-Type", "text/plain")])

        def __iter__(self):
            return iter([b"class"])
"""


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("form", ["file", "module", "package"])
def test_targets(nginx, form, target):
    path = nginx.app({"package": "pkg/inside/mod.py"}.get(form, "many.py"), MANY)
    if form == "package":
        nginx.app("pkg/__init__.py", "")
        nginx.app("pkg/inside/__init__.py", "")
    base = {"file": str(path), "module": "many", "package": "pkg.inside.mod"}[form]
    nginx.start(f'wsgi_app "{base}{target}";', http=f"python_path {nginx.apps};")
    response = nginx.client().get("/")
    assert (response.status_code, response.text) == (200, TARGETS[target])


def test_the_default_names(nginx):
    first = nginx.app("first", HELLO)
    second = nginx.app("second", HELLO.replace("application", "app").replace("hello", "app"))
    both = nginx.app("both", HELLO + "\n    app = None\n")
    client = start_each(nginx, first=first, second=second, both=both)
    assert client.get("/first").text == "hello"
    assert client.get("/second").text == "app"
    assert client.get("/both").text == "hello"


def test_what_a_file_s_module_knows_of_itself(nginx):
    path = nginx.app(
        "site/shop.py",
        """
        import json, pickle, sys
        import beside

        STARTS = []
        STARTS.append(1)

        class Thing:
            pass

        def application(environ, start_response):
            seen = {
                "name": __name__,
                "file": __file__,
                "path": sys.path[0],
                "beside": beside.WORD,
                "registered": sys.modules[__name__].__dict__ is globals(),
                "spec": __spec__.name,
                "pickled": type(pickle.loads(pickle.dumps(Thing()))) is Thing,
                "starts": len(STARTS),
                "main": hasattr(sys.modules["__main__"], "STARTS"),
            }
            start_response("200 OK", [("Content-Type", "application/json")])
            return [json.dumps(seen).encode()]
        """,
    )
    nginx.app("site/beside.py", "WORD = 'beside'")
    nginx.start(f"wsgi_app {path};")
    client = nginx.client()
    for _ in range(5):
        seen = client.get("/").json()
    assert seen["name"] != "__main__"
    assert seen["spec"] == seen["name"]
    assert seen["file"] == str(path)
    assert seen["path"] == str(path.parent)
    assert seen["beside"] == "beside"
    assert seen["registered"] is True
    assert seen["pickled"] is True
    assert seen["starts"] == 1
    assert seen["main"] is False


@pytest.mark.parametrize("name", ["app.wsgi", "with-dash.py", "code.py", "site.py", "app.txt"])
def test_file_names(nginx, name):
    path = nginx.app(
        name,
        """
        import sys

        def application(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [str(hasattr(sys.modules["site"], "addsitedir")).encode()]
        """,
    )
    nginx.start(f"wsgi_app {path};")
    assert nginx.client().get("/").text == "True"


def test_two_files_of_one_name_are_two_applications(nginx):
    source = """
    import json

    count = 0

    def application(environ, start_response):
        global count
        count += 1
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [f"{WORD} {count}".encode()]
    """
    one = nginx.app("one/wsgi.py", source + "\n    WORD = 'one'\n")
    two = nginx.app("two/wsgi.py", source + "\n    WORD = 'two'\n")
    client = start_each(nginx, one=one, two=two, again=one)
    assert client.get("/one").text == "one 1"
    assert client.get("/two").text == "two 1"
    assert client.get("/again").text == "one 2"


BROKEN = {
    "an exception": ("raise ValueError('token-broken')", "token-broken"),
    "a syntax error": ("def application(:\n", "SyntaxError"),
    "a missing module": ("import no_such_module_at_all", "no_such_module_at_all"),
    "no callable": ("nothing = 1", "application"),
    "not a callable": ("application = 7", "application"),
    "sys.exit": ("import sys; sys.exit(3)", "SystemExit"),
    "KeyboardInterrupt": ("raise KeyboardInterrupt('token-broken')", "KeyboardInterrupt"),
    "an ASGI application": (
        "async def application(scope, receive, send):\n    pass\n",
        "ASGI",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_an_application_that_does_not_import(nginx, case):
    source, text = BROKEN[case]
    broken, good = nginx.app("broken", source), nginx.app("good", HELLO)
    nginx.page("static.txt", "static\n")
    nginx.start(
        server=f"""
        location / {{ root {nginx.html}; }}
        location /broken {{ wsgi_app {broken}; }}
        location /good {{ wsgi_app {good}; }}
        """
    )
    client = nginx.client()
    workers = nginx.runners()
    for _ in range(3):
        assert client.get("/broken").status_code == 500
        assert client.get("/good").text == "hello"
        assert client.get("/static.txt").text == "static\n"
    line = nginx.wait_log(text)
    assert "[error]" in line
    assert nginx.log_lines("broken.py")
    assert nginx.runners() == workers

    # The repaired file is imported for the next request.
    nginx.app("broken", HELLO)
    touch_later(broken)
    assert client.get("/broken").text == "hello"


def test_a_missing_module_that_comes_into_being(nginx):
    path = nginx.app("app", "import helper_of_mine\nfrom helper_of_mine import application\n")
    nginx.start(f"wsgi_app {path};")
    client = nginx.client()
    assert client.get("/").status_code == 500
    nginx.app("helper_of_mine", HELLO)
    assert client.get("/").text == "hello"


def test_a_broken_helper_that_is_repaired(nginx):
    path = nginx.app("app", "from helper_of_mine import application\n")
    helper = nginx.app("helper_of_mine", "application = undefined_name\n")
    nginx.start(f"wsgi_app {path};")
    client = nginx.client()
    assert client.get("/").status_code == 500
    nginx.wait_log("undefined_name")
    nginx.app("helper_of_mine", HELLO)
    touch_later(helper)
    assert client.get("/").text == "hello"


def test_it_is_not_imported_again_while_nothing_has_changed(nginx):
    path = nginx.app(
        "app",
        """
        from testkit import record
        record("imported")
        application = "no application"
        """,
    )
    nginx.start(f"wsgi_app {path};")
    client = nginx.client()
    for _ in range(10):
        assert client.get("/").status_code == 500
    assert len(nginx.recorded("imported")) == 1


def test_a_failed_repair_fails_again_and_is_logged_again(nginx):
    path = nginx.app("app", "raise ValueError('first failure')")
    nginx.start(f"wsgi_app {path};")
    client = nginx.client()
    assert client.get("/").status_code == 500
    nginx.wait_log("first failure")
    nginx.app("app", "raise ValueError('second failure')")
    touch_later(path)
    assert client.get("/").status_code == 500
    nginx.wait_log("second failure")
    nginx.app("app", HELLO)
    os.utime(path, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns + 5_000_000_000))
    assert client.get("/").text == "hello"


def test_a_factory_that_fails_is_tried_again_after_a_change(nginx):
    path = nginx.app("app", "def create():\n    raise ValueError('no database yet')\n")
    nginx.start(f'wsgi_app "{path}:create()";')
    client = nginx.client()
    assert client.get("/").status_code == 500
    nginx.wait_log("no database yet")
    nginx.app("app", HELLO + "\n    def create():\n        return application\n")
    touch_later(path)
    assert client.get("/").text == "hello"


def test_a_factory_is_called_once(nginx):
    path = nginx.app(
        "app",
        """
        from testkit import record

        def create():
            record("created")
            def run(environ, start_response):
                start_response("200 OK", [("Content-Type", "text/plain")])
                return [b"x"]
            return run
        """,
    )
    nginx.start(f'wsgi_app "{path}:create()";')
    client = nginx.client()
    for _ in range(5):
        assert client.get("/").text == "x"
    assert len(nginx.recorded("created")) == 1


def test_a_slow_import_does_not_keep_static_files_waiting(nginx):
    path = nginx.app("app", "from testkit import gate\ngate('import')\n" + _dedented(HELLO))
    nginx.page("static.txt", "static\n")
    nginx.start(f"wsgi_app {path};", server=f"location /static.txt {{ root {nginx.html}; }}")
    client = nginx.client()
    with nginx.connect() as waiting:
        waiting.get("/")
        for _ in range(5):
            assert client.get("/static.txt").text == "static\n"
        assert waiting.quiet(0.2)
        nginx.open_gate("import")
        assert waiting.response().body == b"hello"


def test_every_worker_imports_for_itself(nginx):
    path = nginx.app(
        "app",
        """
        import os
        from testkit import record
        record("imported", os.getpid())
        """
        + HELLO.replace("\n    ", "\n        "),
    )
    nginx.start(f"wsgi_app {path};", workers=3)
    pids = {int(pid) for pid in nginx.wait_recorded("imported", 3)}
    assert pids == set(nginx.runners())


def test_flask_finds_its_root(nginx):
    path = nginx.app(
        "site/application.py",
        """
        from flask import Flask, render_template

        app = Flask(__name__)

        @app.get("/")
        def index():
            return render_template("page.html", word=app.root_path)
        """,
    )
    template = path.parent / "templates" / "page.html"
    template.parent.mkdir()
    template.parent.chmod(0o755)
    template.write_text("<p>{{ word }}</p>")
    nginx.start(f"wsgi_app {path};")
    assert nginx.client().get("/").text == f"<p>{path.parent}</p>"


def _dedented(source: str) -> str:
    import textwrap

    return textwrap.dedent(source)


def test_a_variable_that_nginx_has_cleared(nginx, monkeypatch):
    monkeypatch.setenv("PYWSGI_SECRET", "hush")
    path = nginx.app("app", "import os\nos.environ['PYWSGI_SECRET']\n" + _dedented(HELLO))
    nginx.start(f"wsgi_app {path};")
    client = nginx.client()
    assert client.get("/").status_code == 500
    assert "`python_env PYWSGI_SECRET;`" in nginx.wait_log("nginx clears its environment")
    assert nginx.log_lines("KeyError: 'PYWSGI_SECRET'")
    nginx.write_config(f"wsgi_app {path};", http="python_env PYWSGI_SECRET;")
    nginx.reload()
    assert client.get("/").text == "hello"


def test_a_package_without_python_home(nginx):
    path = nginx.app("app", "import no_such_package\n" + _dedented(HELLO))
    nginx.start(f"wsgi_app {path};", python_home=None)
    assert nginx.client().get("/").status_code == 500
    line = nginx.wait_log("python_home is not set")
    assert "'no_such_package'" in line
    assert "python_path" in line


@pytest.mark.parametrize("closed", ["shop", "shop/parts"])
def test_a_module_in_a_folder_that_cannot_be_read(nginx, closed):
    source = "import config, parts.one\n" + _dedented(HELLO)
    path = nginx.app("shop/wsgi", source)
    nginx.app("shop/config", "")
    nginx.app("shop/parts/__init__", "")
    nginx.app("shop/parts/one", "")
    folder = nginx.apps / closed
    folder.chmod(0o111)
    nginx.start(f"wsgi_app {path};", python_home=None)
    if nginx.user != "root":
        client = nginx.client()
        assert client.get("/").status_code == 500
        line = nginx.wait_log("cannot read and search")
        assert f"the folder {folder} (chmod" in line
        folder.chmod(0o755)
        until_ok(client, "hello")
    folder.chmod(0o755)
