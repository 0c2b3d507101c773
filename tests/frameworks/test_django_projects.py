"""Several Django applications in one nginx: those of one project are served. An application of a
second project is refused, because Django supports one project per process."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest
from rawhttp import wait_for

ASK = {
    "setdefault": 'os.environ.setdefault("DJANGO_SETTINGS_MODULE", "{settings}")',
    "set": 'os.environ["DJANGO_SETTINGS_MODULE"] = "{settings}"',
    "update": 'os.environ.update(DJANGO_SETTINGS_MODULE="{settings}")',
    "nothing": "",
}

WSGI = """
import os
from django.core.wsgi import get_wsgi_application

{ask}
{more}
application = get_wsgi_application()
"""

URLS = """
import os
from django.http import HttpResponse
from django.urls import re_path

def say(request):
    return HttpResponse("{name} " + os.environ["DJANGO_SETTINGS_MODULE"])

urlpatterns = [re_path("", say)]
"""

CONFIGURED = """
    from django.conf import settings
    from django.core.wsgi import get_wsgi_application
    from django.http import HttpResponse
    from django.urls import re_path

    settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="secret")
    urlpatterns = [re_path("", lambda request: HttpResponse("configured"))]
    application = get_wsgi_application()
"""


@pytest.fixture(params=["wsgi", "asgi"])
def protocol(request):
    """Which of Django's two handlers serves."""
    return request.param


only_wsgi = pytest.mark.parametrize("protocol", ["wsgi"], indirect=True)


@pytest.fixture
def project(nginx, protocol):
    """`project("site1")` writes a project and returns the file of its application."""

    def write(name: str, ask: str = "setdefault", settings: str = "", more: str = ""):
        folder = f"of_{name}"
        values = f'SECRET_KEY = "x"; ALLOWED_HOSTS = ["*"]; ROOT_URLCONF = "{name}.urls"'
        nginx.app(f"{folder}/{name}/__init__", "")
        nginx.app(f"{folder}/{name}/settings", values)
        nginx.app(f"{folder}/{name}/urls", URLS.replace("{name}", name))
        ask = ASK[ask].format(settings=settings or f"{name}.settings")
        source = WSGI.replace("wsgi", protocol).format(ask=ask, more=more)
        return nginx.app(f"{folder}/{name}/wsgi", source)

    return write


@pytest.fixture
def configured(nginx, protocol):
    """`configured(source)` writes an application that configures Django in code."""
    return lambda source=CONFIGURED: nginx.app("single", source.replace("wsgi", protocol))


@pytest.fixture
def start(nginx, protocol):
    """`start(one, two)` starts nginx with `/1` and `/2` for these targets. Further files are
    imported after the first one, unless they must be imported side by side."""

    def run(*targets, http: str = "", side_by_side: bool = False):
        if not side_by_side:
            for file in targets[1:]:
                if isinstance(file, Path):
                    gate = "from testkit import gate; gate('first')\n"
                    file.write_text(gate + file.read_text())
        folders = sorted(folder for folder in nginx.apps.iterdir() if folder.is_dir())
        path = f"python_path {' '.join(map(str, [*folders, nginx.apps]))};"
        # Imports that wait at a gate hold up Python's main thread, and with it the loop `main`.
        loop = "python_event_loop apart; asgi_event_loop apart;" if protocol == "asgi" else ""
        server = "".join(
            f"location /{number} {{ {protocol}_app {target}; }}\n"
            for number, target in enumerate(targets, start=1)
        )
        nginx.start(server=server, http=f"{path}\n{http}\n{loop}")
        client = nginx.client()
        if not side_by_side:
            assert client.get("/1").status_code == 200
            nginx.open_gate("first")
        return client

    return run


@pytest.mark.parametrize("second", ["setdefault", "set", "update"])
@pytest.mark.parametrize("first", ["setdefault", "set"])
def test_a_second_project_is_refused(nginx, project, start, first, second):
    one, two = project("site1", first), project("site2", second)
    client = start(one, two)
    for _ in range(2):
        assert client.get("/2").status_code == 500
        answer = client.get("/1")
        assert (answer.status_code, answer.text) == (200, "site1 site1.settings")
    line = nginx.wait_log("asks Django for")
    for word in (str(one), "'site1.settings'", str(two), "'site2.settings'", "python_process"):
        assert word in line, line
    assert nginx.log_lines(f'application "{two}" cannot be imported')
    # Another attempt would have the same result.
    assert len(nginx.log_lines("asks Django for")) == 1


def test_a_second_project_is_refused_before_nginx_starts(nginx, project, protocol):
    """By `python_check`."""
    files = [project("site1"), project("site2")]
    server = "".join(
        f"location /{number} {{ {protocol}_app {file}; }}\n" for number, file in enumerate(files)
    )
    folders = " ".join(str(file.parent.parent) for file in files)
    result = nginx.check(server=server, http=f"python_check on; python_path {folders};")
    assert result.returncode == 1
    assert "'site1.settings'" in result.stderr and "'site2.settings'" in result.stderr


def test_a_second_project_whose_import_fails_because_of_the_first(nginx, project, start):
    more = "from django.conf import settings; assert settings.ROOT_URLCONF == 'site2.urls'"
    client = start(project("site1"), project("site2", more=more))
    assert client.get("/2").status_code == 500
    assert client.get("/1").text == "site1 site1.settings"
    assert "'site2.settings'" in nginx.wait_log("asks Django for")
    assert nginx.log_lines("AssertionError")


def test_two_that_are_imported_side_by_side(nginx, project, start):
    """The second one waits while the first one is imported as a whole."""
    gate = "from testkit import gate; gate('slow')"
    slow, quick = project("site1", "set", more=gate), project("site2", "set")
    client = start(slow, quick, side_by_side=True)
    assert client.get("/2").text == "site2 site2.settings"
    nginx.open_gate("slow")
    assert client.get("/1").status_code == 500
    line = nginx.wait_log("asks Django for")
    assert line.index(str(slow)) < line.index(str(quick))
    assert client.get("/2").text == "site2 site2.settings"


# In a settings module: waits while Django reads it.
READS = """
def __dir__():
    import threading
    from testkit import gate
    main = threading.current_thread() is threading.main_thread()
    print("reads the settings", main, flush=True)
    gate("slow" if main else "quick")
    return list(globals())
"""


@pytest.mark.parametrize("last", ["slow", "quick"])
def test_two_that_configure_django_at_the_same_moment(nginx, project, start, last):
    """Django's settings are read by both threads, from the same module, as nothing in Django keeps
    the second one out; the one that ends last replaces the other's."""
    # The value of the first stays.
    slow, quick = project("site1", "set"), project("site2")
    settings = slow.with_name("settings.py")
    settings.write_text(settings.read_text() + READS)
    client = start(slow, quick, side_by_side=True)
    for main in (True, False):
        nginx.wait_log(f"reads the settings {main}")
    first, path = ("quick", "/2") if last == "slow" else ("slow", "/1")
    nginx.open_gate(first)
    answer = client.get(path)
    assert answer.status_code == (200 if first == "slow" else 500)
    nginx.open_gate(last)
    assert client.get("/2").status_code == 500
    assert client.get("/1").text == "site1 site1.settings"
    assert "'site2.settings'" in nginx.wait_log("asks Django for")


# An application that waits in settings.configure(), which has seen that Django is not configured.
HELD = textwrap.dedent("""
        from testkit import gate

        class Held(str):
            def isupper(self):
                print("configures", flush=True)
                gate("slow")
                return True
        """) + textwrap.dedent(CONFIGURED).replace("configure(", 'configure(**{Held("HELD"): 1}, ')


def test_two_that_configure_django_in_code_at_the_same_moment(nginx, start, configured, protocol):
    """Django does not keep the second one out, whose settings would replace the first one's."""
    begin = 'from testkit import gate\ngate("quick")\nprint("is next", flush=True)\n'
    source = textwrap.dedent(CONFIGURED).replace('"configured"', '"quick"')
    quick = nginx.app("quick", begin + source.replace("wsgi", protocol))
    client = start(configured(HELD), quick, side_by_side=True)
    nginx.wait_log("configures")
    nginx.open_gate("quick")
    nginx.wait_log("is next")
    nginx.open_gate("slow")
    assert client.get("/2").status_code == 500
    assert client.get("/1").text == "configured"
    assert f"{quick} asks Django for settings of its own" in nginx.wait_log("asks Django for")


@pytest.mark.parametrize("last", ["slow", "quick"])
def test_one_in_code_and_one_by_a_module_at_the_same_moment(
    nginx, project, start, configured, last
):
    """The settings of the one that ends first stay."""
    slow, quick = configured(HELD), project("site2")
    settings = quick.with_name("settings.py")
    settings.write_text(settings.read_text() + READS)
    client = start(slow, quick, side_by_side=True)
    nginx.wait_log("configures")
    nginx.wait_log("reads the settings False")
    texts = {"/1": "configured", "/2": "site2 site2.settings"}
    first, path, refused = ("quick", "/2", "/1") if last == "slow" else ("slow", "/1", "/2")
    nginx.open_gate(first)
    assert client.get(path).text == texts[path]
    nginx.open_gate(last)
    assert client.get(refused).status_code == 500
    assert client.get(path).text == texts[path]
    asks = "settings of its own" if last == "slow" else "the settings module 'site2.settings'"
    assert f"asks Django for {asks}" in nginx.wait_log("asks Django for")


def test_two_applications_of_one_project(nginx, project, start, protocol):
    one = project("site1")
    source = WSGI.replace("wsgi", protocol)
    ask = ASK["set"].format(settings="site1.settings")
    other = nginx.app("of_site1/site1/api", source.format(ask=ask, more=""))
    none = nginx.app("of_site1/site1/none", source.format(ask="", more=""))
    client = start(one, other, none, "site1.wsgi:application")
    for number in (1, 2, 3, 4):
        assert client.get(f"/{number}").text == "site1 site1.settings"
    assert not nginx.log_lines("cannot be imported")


@pytest.mark.parametrize("first", ["setdefault", "nothing"])
def test_python_env_goes_before_what_applications_set_by_default(nginx, project, start, first):
    """As in a process of their own: two applications of one project."""
    one = project("site1", first, settings="site1.development")
    two = project("site1", "setdefault", settings="site1.testing").rename(one.with_name("two.py"))
    project("site1", first, settings="site1.development")
    client = start(one, two, http="python_env DJANGO_SETTINGS_MODULE=site1.settings;")
    assert client.get("/1").text == client.get("/2").text == "site1 site1.settings"
    assert not nginx.log_lines("cannot be imported")


def test_one_that_overrules_python_env(nginx, project, start):
    one, two = project("site1", "nothing"), project("site2", "set")
    client = start(one, two, http="python_env DJANGO_SETTINGS_MODULE=site1.settings;")
    assert client.get("/2").status_code == 500
    assert client.get("/1").text == "site1 site1.settings"
    line = nginx.wait_log("asks Django for")
    assert str(one) in line
    assert "'site2.settings'" in line


def test_one_that_is_overruled_of_python_env(nginx, project, start):
    slow = project("site1", "nothing", more="from testkit import gate; gate('slow')")
    quick = project("site2", "set")
    env = "python_env DJANGO_SETTINGS_MODULE=site1.settings;"
    client = start(slow, quick, http=env, side_by_side=True)
    assert client.get("/2").text == "site2 site2.settings"
    nginx.open_gate("slow")
    assert client.get("/1").status_code == 500
    line = nginx.wait_log("asks Django for")
    assert line.index(str(slow)) < line.index("'site1.settings'") < line.index(str(quick))


def test_beside_one_that_is_configured_in_code(nginx, project, start, configured):
    one, two = configured(), project("site2")
    client = start(one, two)
    assert client.get("/2").status_code == 500
    assert client.get("/1").text == "configured"
    line = nginx.wait_log("asks Django for")
    assert f"configured by settings.configure() of {one}" in line


@pytest.mark.parametrize("configures", ["before", "after"])
def test_one_that_is_configured_in_code_side_by_side(nginx, project, start, configured, configures):
    wait = "from testkit import gate; gate('slow')"
    source = textwrap.dedent(CONFIGURED)
    parts = (source, wait) if configures == "before" else (wait, source)
    slow = configured("\n".join(parts))
    quick = project("site2")
    client = start(slow, quick, side_by_side=True)
    served, refused, text = {
        "before": ("/1", "/2", "configured"),
        "after": ("/2", "/1", "site2 site2.settings"),
    }[configures]
    # The quick one is imported before the slow one's import continues.
    assert client.get("/2").status_code == (200 if served == "/2" else 500)
    nginx.open_gate("slow")
    assert client.get(refused).status_code == 500
    assert client.get(served).text == text
    line = nginx.wait_log("asks Django for")
    first, second = (slow, quick) if refused == "/1" else (quick, slow)
    assert line.index(str(first)) < line.index(str(second))


def test_one_that_is_configured_in_code_beside_a_project(nginx, project, start, configured):
    one, two = project("site1"), configured()
    client = start(one, two)
    assert client.get("/2").status_code == 500
    assert client.get("/1").text == "site1 site1.settings"
    line = nginx.wait_log("asks Django for")
    assert f"{two} asks Django for settings of its own (settings.configure())" in line
    assert str(one) in line
    assert "'site1.settings'" in line


@only_wsgi
def test_an_application_without_django_that_sets_the_variable(nginx, start):
    source = """
        import json
        import os

        os.environ["DJANGO_SETTINGS_MODULE"] = "of.nobody"
        os.environb[b"RAW"] = b"bytes"

        def application(environ, start_response):
            start_response("200 OK", [("Content-Type", "application/json")])
            return [json.dumps([os.environ["DJANGO_SETTINGS_MODULE"], os.environ["RAW"]]).encode()]
    """
    client = start(nginx.app("plain", source), nginx.app("other", source))
    assert client.get("/1").json() == client.get("/2").json() == ["of.nobody", "bytes"]


def test_two_projects_of_one_name(nginx, project, start):
    """Their settings modules have the same name too: the second would get the first one's."""
    one = project("site1")
    two = nginx.apps / "second" / "site1" / "wsgi.py"
    for file in ("__init__", "settings", "urls", "wsgi"):
        source = (one.parent / f"{file}.py").read_text()
        nginx.app(f"second/site1/{file}", source.replace("site1 ", "second "))
    client = start(one, two)
    assert client.get("/2").status_code == 500
    assert client.get("/1").text == "site1 site1.settings"
    line = nginx.wait_log("imports 'site1'")
    assert f"{two.parent}/__init__.py" in line
    assert f"{one.parent}/__init__.py of {one}" in line


@only_wsgi
def test_another_attempt_of_an_application_leaves_the_settings_of_another_alone(nginx, start):
    """Django's templates and forms work without django.setup()."""
    single = nginx.app(
        "single",
        """
        import django.apps
        from django.conf import settings

        settings.configure(SECRET_KEY="kept")

        def application(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [settings.SECRET_KEY.encode()]
        """,
    )
    broken = nginx.app("broken", "raise ValueError('broken')")
    client = start(single, broken)
    assert client.get("/2").status_code == 500
    nginx.app("broken", "def application(e, s): s('200 OK', []); return [b'mended']")
    wait_for(lambda: client.get("/2").text == "mended", 60, "the mended application")
    assert client.get("/1").text == "kept"
