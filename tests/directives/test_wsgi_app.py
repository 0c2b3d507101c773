"""wsgi_app: its targets, its inheritance, and what it is refused for."""

from __future__ import annotations

import os

import pytest

PACKAGE = """
    class Site:
        def __init__(self, name, number=0):
            self.text = f"{name} {number}".encode()

        def serve(self, environ, start_response):
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [self.text]

    site = Site("site")
    main = site.serve

    def create(name="factory", number=1):
        return Site(name, number).serve
"""


@pytest.fixture
def package(nginx):
    """A package `shop` with a module `web`, and the directive that puts its folder on the path."""
    nginx.app("shop/__init__.py", "")
    nginx.app("shop/web.py", PACKAGE)
    return f"python_path {nginx.apps};"


@pytest.mark.parametrize(
    ("target", "text"),
    [
        ("shop.web:main", "site 0"),
        ("shop.web:site.serve", "site 0"),
        ("shop.web:create()", "factory 1"),
        ('shop.web:create("x",number=-2)', "x -2"),
        ("'shop.web:create(\"two words\", number=7)'", "two words 7"),
        ("'shop.web:create([1, {\"a\": (2.5, True)}], None)'", "[1, {'a': (2.5, True)}] None"),
        ("APPS/shop/web.py:main", "site 0"),
        ("APPS/shop/web.py:site.serve", "site 0"),
        ("APPS/shop/web.py:create(number=3)", "factory 3"),
        ("\"APPS/shop/web.py:create('ü ö')\"", "ü ö 1"),
    ],
)
def test_target(nginx, package, target, text):
    nginx.start(f"wsgi_app {target.replace('APPS', str(nginx.apps))};", http=package)
    answer = nginx.client().get("/")
    assert (answer.status_code, answer.text) == (200, text)


def test_a_file_s_folder_is_first_on_the_path_and_its_name_is_its_own(nginx):
    nginx.app("one/neighbour.py", 'word = "one"')
    source = """
        import sys
        import neighbour

        def application(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [f"{neighbour.word} {__name__} {__file__} {__name__ in sys.modules}".encode()]
    """
    path = nginx.app("one/wsgi.py", source)
    nginx.start(f"wsgi_app {path};")
    word, name, file, known = nginx.client().get("/").text.split(" ")
    assert word == "one"
    assert name != "__main__"
    assert file == str(path)
    assert known == "True", "pickle and dataclasses look the module up in sys.modules"


def test_two_files_of_the_same_name_are_two_applications(nginx):
    source = """
        def application(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [__file__.encode()]
    """
    one, two = nginx.app("one/wsgi.py", source), nginx.app("two/wsgi.py", source)
    nginx.start(server=f"location /one {{ wsgi_app {one}; }} location /two {{ wsgi_app {two}; }}")
    client = nginx.client()
    for _ in range(2):
        assert client.get("/one").text == str(one)
        assert client.get("/two").text == str(two)


def test_one_target_in_two_locations_is_imported_once(nginx):
    counter = nginx.data / "imports"
    path = nginx.app(
        "wsgi",
        f"""
        with open({str(counter)!r}, "a") as file:
            file.write("x")

        def application(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [b"ok"]
        """,
    )
    nginx.start(server=f"location /a {{ wsgi_app {path}; }} location /b {{ wsgi_app {path}; }}")
    client = nginx.client()
    assert [client.get(url).text for url in ["/a", "/b", "/a"]] == ["ok"] * 3
    assert counter.read_text() == "x"


def test_a_factory_is_called_once_per_worker(nginx):
    counter = nginx.data / "calls"
    path = nginx.app(
        "wsgi",
        f"""
        def create(word):
            with open({str(counter)!r}, "a") as file:
                file.write(word)

            def application(environ, start_response):
                start_response("200 OK", [("Content-Type", "text/plain")])
                return [word.encode()]

            return application
        """,
    )
    nginx.start(f'wsgi_app {path}:create("w");')
    client = nginx.client()
    assert [client.get("/").text for _ in range(5)] == ["w"] * 5
    assert counter.read_text() == "w"


def test_location_below_inherits_nothing(nginx, say):
    nginx.page("below/index.html", "static")
    nginx.start(f"wsgi_app {say('one')}; location /below/ {{ index index.html; }}")
    client = nginx.client()
    assert client.get("/").text == "one"
    assert client.get("/else").text == "one"
    assert client.get("/below/").text == "static"


def test_if_inherits_overrides_and_switches_off(nginx, say):
    nginx.page("index.html", "static")
    nginx.start(
        f"""
        wsgi_app {say("one")};
        if ($arg_inherit) {{ set $x 1; }}
        if ($arg_other) {{ wsgi_app {say("two")}; }}
        if ($arg_off) {{ wsgi_app off; }}
        """
    )
    client = nginx.client()
    assert client.get("/").text == "one"
    assert client.get("/?inherit=1").text == "one"
    assert client.get("/?other=1").text == "two"
    assert client.get("/?off=1").text == "static"
    assert client.get("/").text == "one"


def test_off_beside_a_return(nginx, say):
    nginx.start(
        f"""
        wsgi_app {say("one")};
        if ($arg_maintenance) {{
            wsgi_app off;
            return 503;
        }}
        """
    )
    client = nginx.client()
    assert client.get("/").text == "one"
    assert client.get("/?maintenance=1").status_code == 503


def test_if_alone_has_an_application(nginx, say):
    nginx.page("index.html", "static")
    nginx.start(f"if ($arg_app) {{ wsgi_app {say('one')}; }} index index.html;")
    client = nginx.client()
    assert client.get("/?app=1").text == "one"
    assert client.get("/").text == "static"


def test_limit_except_inherits(nginx, say):
    nginx.start(f"wsgi_app {say('one')}; limit_except GET {{ deny 127.0.0.2; }}")
    client = nginx.client()
    assert client.get("/").text == "one"
    assert client.post("/", content=b"x").text == "one"


def test_regex_named_and_exact_locations(nginx, say):
    nginx.start(
        server=f"""
        location ~ \\.py$ {{ wsgi_app {say("regex")}; }}
        location = /exact {{ wsgi_app {say("exact")}; }}
        location @named {{ wsgi_app {say("named")}; }}
        location /files/ {{ try_files $uri @named; }}
        """
    )
    nginx.page("files/there.txt", "static")
    client = nginx.client()
    assert client.get("/x/y.py").text == "regex"
    assert client.get("/exact").text == "exact"
    assert client.get("/exact/").status_code == 404
    assert client.get("/files/there.txt").text == "static"
    assert client.get("/files/elsewhere").text == "named"


def test_a_location_that_ends_in_a_slash_redirects_without_it(nginx, say):
    nginx.start(server=f"location /x/ {{ wsgi_app {say('one')}; }}")
    client = nginx.client()
    assert client.get("/x/").text == "one"
    answer = client.get("/x?a=b")
    assert answer.status_code == 301
    assert answer.headers["location"] == nginx.url("/x/?a=b")
    assert client.get("/xy").status_code == 404


def test_servers_have_applications_of_their_own(nginx, say):
    nginx.start(
        server="server_name one;",
        location=f"wsgi_app {say('one')};",
        http=f"""
        server {{
            listen 127.0.0.1:{nginx.port};
            server_name two;
            location / {{ wsgi_app {say("two")}; }}
        }}
        """,
    )
    client = nginx.client()
    assert client.get("/", headers={"Host": "one"}).text == "one"
    assert client.get("/", headers={"Host": "two"}).text == "two"


# Mistakes


def test_a_file_that_is_not_there(nginx, refused):
    missing = nginx.apps / "missing.py"
    refused(
        "wsgi_app",
        str(missing),
        "no such file|not found|not there",
        location=f"wsgi_app {missing};",
    )
    refused("wsgi_app", str(missing), location=f"wsgi_app {missing}:application;")
    refused("wsgi_app", str(missing), location=f"wsgi_app {missing}:create(1);")


def test_a_folder_is_no_file(nginx, refused):
    refused("wsgi_app", "director|folder|not a.*file", location=f"wsgi_app {nginx.apps};")


def test_a_file_that_the_workers_user_cannot_read(nginx, refused, say):
    if os.geteuid() == 0:
        nginx.user = "daemon"
    path = say("secret")
    path.chmod(0o000)
    words = [str(path), "permission denied", "user"]
    refused("wsgi_app", *words, location=f"wsgi_app {path};", python_home=None)
    folder = nginx.app("closed/wsgi.py", "application = print").parent
    folder.chmod(0o000)
    refused("wsgi_app", "user", location=f"wsgi_app {folder}/wsgi.py;", python_home=None)
    folder.chmod(0o755)


@pytest.mark.parametrize(
    "target",
    [
        "",
        "pkg..mod:application",
        ".mod:application",
        "pkg.:application",
        "my-module:application",
        "1st:application",
        ":application",
        "wsgi.py",
        "wsgi.py:application",
        "apps/wsgi.py",
        "./wsgi.py",
    ],
)
def test_a_target_that_is_neither_a_file_nor_a_module(refused, target):
    refused("wsgi_app", "wsgi_app", location=f'wsgi_app "{target}";')


@pytest.mark.parametrize(
    "callable_name", ["", "1st", "a..b", ".a", "a-b", "a b", "create(", "create)", "create()x"]
)
@pytest.mark.parametrize("module", ["FILE", "pkg.mod"])
def test_a_target_whose_callable_is_no_name(refused, say, module, callable_name):
    target = module.replace("FILE", str(say("one"))) + ":" + callable_name
    refused("wsgi_app", "wsgi_app", location=f'wsgi_app "{target}";')


@pytest.mark.parametrize(
    "other",
    ["proxy_pass http://127.0.0.1:9;", "uwsgi_pass 127.0.0.1:9;", "stub_status;", "empty_gif;"],
)
def test_beside_another_content_handler(refused, say, other):
    app = f"wsgi_app {say('one')};"
    refused("wsgi_app", "content handler|beside|duplicate", location=f"{app}\n{other}")
    refused("wsgi_app", "content handler|beside|duplicate", location=f"{other}\n{app}")


def test_a_wrong_application_in_the_second_of_two_servers_is_found(nginx, refused, say):
    refused(
        "missing.py",
        "missing.py",
        location=f"wsgi_app {say('one')};",
        http=f"""
        server {{
            listen 127.0.0.1:{nginx.port};
            server_name two;
            location / {{ wsgi_app {nginx.apps}/missing.py; }}
        }}
        """,
    )


def test_a_factory_s_arguments_are_literals(nginx, say):
    path = nginx.app("factory", "def create(*arguments):\n    raise SystemError(arguments)\n")
    nginx.start(f"wsgi_app \"{path}:create(__import__('os').getpid())\";")
    assert nginx.client().get("/").status_code == 500
    nginx.wait_log("literal")
    assert "SystemError" not in nginx.error_log()
