"""wsgi_app, asgi_app: their targets, their inheritance, and what they are refused for."""

from __future__ import annotations

import os

import pytest

PACKAGE = """
    import bothkit

    class Site:
        def __init__(self, name, number=0):
            self.text = f"{{name}} {{number}}".encode()
            self.serve = bothkit.{protocol}(self.answer)

        async def answer(self, request):
            await request.respond(self.text)

    site = Site("site")
    main = site.serve

    def create(name="factory", number=1):
        return Site(name, number).serve
"""


@pytest.fixture
def package(nginx, protocol):
    """A package `shop` with a module `web`, and the directive that puts its folder on the path."""
    nginx.app("shop/__init__.py", "")
    nginx.app("shop/web.py", PACKAGE.format(protocol=protocol))
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
def test_target(nginx, protocol, package, target, text):
    nginx.start(f"{protocol}_app {target.replace('APPS', str(nginx.apps))};", http=package)
    answer = nginx.client().get("/")
    assert (answer.status_code, answer.text) == (200, text)


def test_a_file_s_folder_is_first_on_the_path_and_its_name_is_its_own(nginx, protocol):
    nginx.app("one/neighbour.py", 'word = "one"')
    source = """
        import sys
        import neighbour

        async def answer(request):
            text = f"{neighbour.word} {__name__} {__file__} {__name__ in sys.modules}"
            await request.respond(text.encode())
    """
    path = protocol.app("one/wsgi.py", source)
    nginx.start(f"{protocol}_app {path};")
    word, name, file, known = nginx.client().get("/").text.split(" ")
    assert word == "one"
    assert name != "__main__"
    assert file == str(path)
    assert known == "True", "pickle and dataclasses look the module up in sys.modules"


def test_two_files_of_the_same_name_are_two_applications(nginx, protocol):
    source = """
        async def answer(request):
            await request.respond(__file__.encode())
    """
    one, two = (protocol.app(f"{folder}/wsgi.py", source) for folder in ("one", "two"))
    nginx.start(
        server=f"""
        location /one {{ {protocol}_app {one}; }}
        location /two {{ {protocol}_app {two}; }}
        """
    )
    client = nginx.client()
    for _ in range(2):
        assert client.get("/one").text == str(one)
        assert client.get("/two").text == str(two)


def test_one_target_in_two_locations_is_imported_once(nginx, protocol):
    counter = nginx.data / "imports"
    path = protocol.app(
        "main",
        f"""
        with open({str(counter)!r}, "a") as file:
            file.write("x")

        async def answer(request):
            await request.respond(b"ok")
        """,
    )
    nginx.start(
        server=f"location /a {{ {protocol}_app {path}; }} location /b {{ {protocol}_app {path}; }}"
    )
    client = nginx.client()
    assert [client.get(url).text for url in ["/a", "/b", "/a"]] == ["ok"] * 3
    assert counter.read_text() == "x"


def test_a_factory_is_called_once_per_worker(nginx, protocol):
    counter = nginx.data / "calls"
    path = nginx.app(
        "main",
        f"""
        import bothkit

        def create(word):
            with open({str(counter)!r}, "a") as file:
                file.write(word)
            return bothkit.{protocol}(lambda request: request.respond(word.encode()))
        """,
    )
    nginx.start(f'{protocol}_app {path}:create("w");')
    client = nginx.client()
    assert [client.get("/").text for _ in range(5)] == ["w"] * 5
    assert counter.read_text() == "w"


def test_location_below_inherits_nothing(nginx, protocol):
    nginx.page("below/index.html", "static")
    nginx.start(f"{protocol}_app {protocol.say('one')}; location /below/ {{ index index.html; }}")
    client = nginx.client()
    assert client.get("/").text == "one"
    assert client.get("/else").text == "one"
    assert client.get("/below/").text == "static"


def test_if_inherits_overrides_and_switches_off(nginx, protocol):
    nginx.page("index.html", "static")
    nginx.start(
        f"""
        {protocol}_app {protocol.say("one")};
        if ($arg_inherit) {{ set $x 1; }}
        if ($arg_other) {{ {protocol}_app {protocol.say("two")}; }}
        if ($arg_off) {{ {protocol}_app off; }}
        """
    )
    client = nginx.client()
    assert client.get("/").text == "one"
    assert client.get("/?inherit=1").text == "one"
    assert client.get("/?other=1").text == "two"
    assert client.get("/?off=1").text == "static"
    assert client.get("/").text == "one"


def test_off_beside_a_return(nginx, protocol):
    nginx.start(
        f"""
        {protocol}_app {protocol.say("one")};
        if ($arg_maintenance) {{
            {protocol}_app off;
            return 503;
        }}
        """
    )
    client = nginx.client()
    assert client.get("/").text == "one"
    assert client.get("/?maintenance=1").status_code == 503


def test_if_alone_has_an_application(nginx, protocol):
    nginx.page("index.html", "static")
    nginx.start(f"if ($arg_app) {{ {protocol}_app {protocol.say('one')}; }} index index.html;")
    client = nginx.client()
    assert client.get("/?app=1").text == "one"
    assert client.get("/").text == "static"


def test_limit_except_inherits(nginx, protocol):
    nginx.start(f"{protocol}_app {protocol.say('one')}; limit_except GET {{ deny 127.0.0.2; }}")
    client = nginx.client()
    assert client.get("/").text == "one"
    assert client.post("/", content=b"x").text == "one"


def test_regex_named_and_exact_locations(nginx, protocol):
    nginx.start(
        server=f"""
        location ~ \\.py$ {{ {protocol}_app {protocol.say("regex")}; }}
        location = /exact {{ {protocol}_app {protocol.say("exact")}; }}
        location @named {{ {protocol}_app {protocol.say("named")}; }}
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


def test_a_location_that_ends_in_a_slash_redirects_without_it(nginx, protocol):
    nginx.start(server=f"location /x/ {{ {protocol}_app {protocol.say('one')}; }}")
    client = nginx.client()
    assert client.get("/x/").text == "one"
    answer = client.get("/x?a=b")
    assert answer.status_code == 301
    assert answer.headers["location"] == nginx.url("/x/?a=b")
    assert client.get("/xy").status_code == 404


def test_servers_have_applications_of_their_own(nginx, protocol):
    nginx.start(
        server="server_name one;",
        location=f"{protocol}_app {protocol.say('one')};",
        http=f"""
        server {{
            listen 127.0.0.1:{nginx.port};
            server_name two;
            location / {{ {protocol}_app {protocol.say("two")}; }}
        }}
        """,
    )
    client = nginx.client()
    assert client.get("/", headers={"Host": "one"}).text == "one"
    assert client.get("/", headers={"Host": "two"}).text == "two"


# Mistakes


def test_a_file_that_is_not_there(nginx, refused, protocol):
    missing = nginx.apps / "missing.py"
    refused(
        f"{protocol}_app",
        str(missing),
        "no such file|not found|not there",
        location=f"{protocol}_app {missing};",
    )
    refused(f"{protocol}_app", str(missing), location=f"{protocol}_app {missing}:application;")
    refused(f"{protocol}_app", str(missing), location=f"{protocol}_app {missing}:create(1);")


def test_a_folder_is_no_file(nginx, refused, protocol):
    refused(
        f"{protocol}_app", "director|folder|not a.*file", location=f"{protocol}_app {nginx.apps};"
    )


def test_a_file_that_the_workers_user_cannot_read(nginx, refused, protocol):
    if os.geteuid() == 0:
        nginx.user = "daemon"
    path = protocol.say("secret")
    path.chmod(0o000)
    words = [str(path), "permission denied", "user"]
    refused(f"{protocol}_app", *words, location=f"{protocol}_app {path};", python_home=None)
    folder = nginx.app("closed/wsgi.py", "application = print").parent
    folder.chmod(0o000)
    refused(
        f"{protocol}_app", "user", location=f"{protocol}_app {folder}/wsgi.py;", python_home=None
    )
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
def test_a_target_that_is_neither_a_file_nor_a_module(refused, protocol, target):
    refused(f"{protocol}_app", f"{protocol}_app", location=f'{protocol}_app "{target}";')


@pytest.mark.parametrize(
    "callable_name", ["", "1st", "a..b", ".a", "a-b", "a b", "create(", "create)", "create()x"]
)
@pytest.mark.parametrize("module", ["FILE", "pkg.mod"])
def test_a_target_whose_callable_is_no_name(refused, protocol, module, callable_name):
    target = module.replace("FILE", str(protocol.say("one"))) + ":" + callable_name
    refused(f"{protocol}_app", f"{protocol}_app", location=f'{protocol}_app "{target}";')


@pytest.mark.parametrize(
    "other",
    ["proxy_pass http://127.0.0.1:9;", "uwsgi_pass 127.0.0.1:9;", "stub_status;", "empty_gif;"],
)
def test_beside_another_content_handler(refused, protocol, other):
    app = f"{protocol}_app {protocol.say('one')};"
    refused(f"{protocol}_app", "content handler|beside|duplicate", location=f"{app}\n{other}")
    refused(f"{protocol}_app", "content handler|beside|duplicate", location=f"{other}\n{app}")


def test_a_wrong_application_in_the_second_of_two_servers_is_found(nginx, refused, protocol):
    refused(
        "missing.py",
        "missing.py",
        location=f"{protocol}_app {protocol.say('one')};",
        http=f"""
        server {{
            listen 127.0.0.1:{nginx.port};
            server_name two;
            location / {{ {protocol}_app {nginx.apps}/missing.py; }}
        }}
        """,
    )


def test_a_factory_s_arguments_are_literals(nginx, protocol):
    path = nginx.app("factory", "def create(*arguments):\n    raise SystemError(arguments)\n")
    nginx.start(f"{protocol}_app \"{path}:create(__import__('os').getpid())\";")
    assert nginx.client().get("/").status_code == 500
    nginx.wait_log("literal")
    assert "SystemError" not in nginx.error_log()
