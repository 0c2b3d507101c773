"""Application: targets, names, and what is a WSGI application."""

from __future__ import annotations

import importlib
import pickle
import sys
from pathlib import Path
from typing import Any

import pytest

from pywsgi import LoadError
from pywsgi._loader import Application

pytestmark = pytest.mark.usefixtures("interpreter")

APP = """
def application(environ, start_response):
    return [b"application"]

def other(environ, start_response):
    return [b"other"]

class Holder:
    class inner:
        @staticmethod
        def app(environ, start_response):
            return [b"inner"]

def create(*args, **kwargs):
    def app(environ, start_response):
        return [repr((args, kwargs)).encode()]
    return app
"""


PROXY = """
class Proxy:
    @property
    def __name__(self):
        raise RuntimeError("outside of a request")
    def __call__(self, environ, start_response):
        pass
app = Proxy()
"""


def write(file: Path, source: str = APP) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(source)
    return file


def call(target: str, *callables: str) -> Any:
    return Application(target, callables or ("application", "app")).load()({}, None)[0].decode()


def refusal(target: str, *callables: str) -> str:
    with pytest.raises(LoadError) as caught:
        Application(target, callables or ("application", "app")).load()
    return str(caught.value)


# Targets.


def test_a_file(tmp_path: Path) -> None:
    file = write(tmp_path / "shop.py")
    assert call(str(file)) == "application"
    assert call(f"{file}:other") == "other"
    assert call(f"{file}:Holder.inner.app") == "inner"
    assert Application(f"{file}:other").name == f"{file}:other"


def test_the_names_that_are_tried_in_order(tmp_path: Path) -> None:
    file = write(tmp_path / "shop.py")
    assert call(str(file), "nothing", "other", "application") == "other"
    assert call(str(file), "Holder.inner.app") == "inner"


@pytest.mark.parametrize(
    ("expression", "arguments"),
    [
        ("create()", ((), {})),
        ('create(1, "x", key=True)', ((1, "x"), {"key": True})),
        ('create("a:b(c)", "/srv", -1.5, [1, (2,)], {"a": None})', None),
        ("create( )", ((), {})),
    ],
)
def test_a_factory(tmp_path: Path, expression: str, arguments: object) -> None:
    file = write(tmp_path / "shop.py")
    if arguments is None:
        arguments = (("a:b(c)", "/srv", -1.5, [1, (2,)], {"a": None}), {})
    assert call(f"{file}:{expression}") == repr(arguments)


def test_a_module(tmp_path: Path) -> None:
    write(tmp_path / "shop_package" / "__init__.py", "")
    write(tmp_path / "shop_package" / "wsgi.py")
    sys.path.append(str(tmp_path))
    assert call("shop_package.wsgi") == "application"
    assert call("shop_package.wsgi:other") == "other"
    assert call("shop_package.wsgi:Holder.inner.app") == "inner"
    assert call('shop_package.wsgi:create("a:b")') == "(('a:b',), {})"


def test_a_path_may_hold_colons_and_spaces(tmp_path: Path) -> None:
    file = write(tmp_path / "a:b c" / "x:y.py")
    assert call(str(file)) == "application"
    assert call(f"{file}:other") == "other"


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("app.py", "'app.py' must be an absolute path"),
        ("app.py:app", "'app.py' must be an absolute path"),
        ("./app.py:app", "'./app.py' must be an absolute path"),
        ("my-app", "'my-app' is neither an absolute path nor a module's name"),
        ("os.path:", "'' is not NAME, NAME.NAME or NAME(literal arguments)"),
        ("os.path:1x", "'1x' is not NAME, NAME.NAME or NAME(literal arguments)"),
        ("os.path:join()()", "'join()()' is not NAME"),
        ("os.path:join().x", "'join().x' is not NAME"),
        ("os.path:join(*a)", "arguments of a factory must be literals"),
        ("os.path:join(**a)", "'join(**a)' is not NAME"),
        ("os.path:join(open('/etc/passwd'))", "and open('/etc/passwd') is not"),
        ("os.path:join(a=b)", "and b is not"),
        ("os.path:join(", "'join(' is not NAME"),
        ("", "'' is neither"),
    ],
)
def test_what_is_no_target(target: str, message: str) -> None:
    assert message in refusal(target)


def test_a_bad_callable_of_a_file(tmp_path: Path) -> None:
    file = write(tmp_path / "shop.py")
    assert refusal(f"{file}:a-b") == "'a-b' is not NAME, NAME.NAME or NAME(literal arguments)"


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    assert refusal(f"{tmp_path}/no.py") == f"{tmp_path}/no.py: No such file or directory"
    assert refusal(f"{tmp_path}/no.py:app") == f"{tmp_path}/no.py: No such file or directory"
    assert refusal(str(tmp_path)) == f"{tmp_path}: Is a directory"


def test_a_module_that_is_not_there() -> None:
    message = refusal("no_such_package.wsgi:app")
    assert "no module 'no_such_package' on sys.path" in message
    assert "python_path" in message


# The module of a file.


def test_a_files_folder_is_first_on_sys_path_once(tmp_path: Path) -> None:
    write(tmp_path / "neighbour_of_shop.py", "name = 'neighbour'")
    file = write(tmp_path / "shop.py", f"import neighbour_of_shop\n{APP}")
    call(str(file))
    call(f"{file}:other")
    assert sys.path[0] == str(tmp_path)
    assert sys.path.count(str(tmp_path)) == 1


def test_a_files_module_is_named_by_its_stem_and_known_under_it(tmp_path: Path) -> None:
    file = write(tmp_path / "shop.py")
    application = Application(str(file)).load()
    module = sys.modules["shop"]
    assert application.__module__ == "shop"
    assert module.__file__ == str(file)
    assert module.__spec__ is not None
    assert (module.__spec__.name, module.__spec__.origin) == ("shop", str(file))
    assert module.__name__ == "shop"
    assert pickle.loads(pickle.dumps(application)) is application
    assert importlib.import_module("shop") is module
    assert importlib.reload(module) is module


def test_any_extension_is_fine_and_leaves_no_bytecode(tmp_path: Path) -> None:
    wsgi = write(tmp_path / "shop.wsgi")
    assert call(str(wsgi)) == "application"
    assert sys.modules["shop"].__file__ == str(wsgi)
    other = write(tmp_path / "shop.py", APP.replace('b"application"', 'b"from shop.py"'))
    assert call(str(other)) == "from shop.py"
    assert not (tmp_path / "__pycache__").exists()


@pytest.mark.parametrize("stem", ["code", "site", "email", "sys", "my-app", "class", "__main__"])
def test_a_stem_that_is_taken_or_no_name_gets_a_hash(tmp_path: Path, stem: str) -> None:
    before = sys.modules.get(stem)
    file = write(tmp_path / f"{stem}.py")
    name = Application(str(file)).load().__module__
    assert name.startswith(f"{stem.replace('-', '_')}_")
    assert name.isidentifier()
    assert sys.modules[name].__file__ == str(file)
    assert sys.modules.get(stem) is before


def test_a_stem_that_can_be_imported_from_elsewhere_gets_a_hash(tmp_path: Path) -> None:
    write(tmp_path / "lib" / "shop_elsewhere.py", "")
    sys.path.append(str(tmp_path / "lib"))
    (tmp_path / "shop_folder").mkdir()  # No module, though importable as a namespace.
    sys.path.append(str(tmp_path))
    name = Application(str(write(tmp_path / "a" / "shop_elsewhere.py"))).load().__module__
    assert name.startswith("shop_elsewhere_")
    assert Application(str(write(tmp_path / "a" / "shop_folder.py"))).load().__module__ == (
        "shop_folder"
    )


def test_two_files_of_one_name_are_two_modules(tmp_path: Path) -> None:
    one, two = write(tmp_path / "1" / "shop.py"), write(tmp_path / "2" / "shop.py")
    first, second = Application(str(one)).load(), Application(str(two)).load()
    assert first.__module__ == "shop"
    assert second.__module__.startswith("shop_")
    assert first is not second
    # The same on every load: a file keeps its name.
    assert Application(str(two)).load() is second


def test_two_targets_in_one_file_are_one_module(tmp_path: Path) -> None:
    file = write(tmp_path / "shop.py")
    first, second = Application(f"{file}:other").load(), Application(str(file)).load()
    assert first.__globals__ is second.__globals__


# Callables.


def test_a_missing_name_is_said_with_what_there_is(tmp_path: Path) -> None:
    source = """
    import os
    from collections import OrderedDict
    from os.path import join
    from typing import Optional
    def applicatoin(environ, start_response): pass
    class Shop: pass
    def _hidden(): pass
    number = 1
    """
    file = write(tmp_path / "shop.py", source.replace("\n    ", "\n"))
    assert refusal(str(file)) == (f"{file} has no 'application' or 'app'; it has applicatoin, Shop")
    file = write(tmp_path / "empty.py", "")
    assert refusal(f"{file}:app") == f"{file} has no 'app'; it has no callables"


def test_a_module_that_was_imported_before_is_said_to_want_a_reload(tmp_path: Path) -> None:
    file = write(tmp_path / "shop.py")
    call(str(file))
    assert "reload nginx after a change" in refusal(f"{file}:missing")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("app = 1", "'app' is an int, which cannot be called"),
        ("app = None", "'app' is None, which cannot be called"),
        ("def app(): pass", "start_response; if it makes the application, write app()"),
        ("def app(environ): pass", "two arguments environ and start_response"),
        ("def app(a, b, c, d): pass", "two arguments environ and start_response"),
    ],
)
def test_what_is_no_wsgi_application(tmp_path: Path, source: str, message: str) -> None:
    refused = refusal(str(write(tmp_path / "shop.py", source)))
    assert refused.endswith(message)


@pytest.mark.parametrize(
    "source",
    [
        "async def app(scope, receive, send): pass",
        "async def app(*args): pass",
        "def app(scope, receive, send): return coroutine()",
        "class App:\n    async def __call__(self, scope, receive, send): pass\napp = App()",
        "class app:\n    async def __call__(self, scope, receive, send): pass",
        "class App:\n    async def asgi(self, scope, receive, send): pass\napp = App().asgi",
        "from functools import partial\nasync def f(x, *rest): pass\napp = partial(f, 1)",
    ],
)
def test_an_asgi_application(tmp_path: Path, source: str) -> None:
    refused = refusal(str(write(tmp_path / "shop.py", source)))
    assert refused == "'app' is an ASGI application: use asgi_app instead of wsgi_app"


@pytest.mark.parametrize(
    "source",
    [
        "def app(environ, start_response): pass",
        "def app(environ, start_response, more=None): pass",
        "def app(*args): pass",
        "app = lambda environ, start_response: []",
        "class App:\n    def __call__(self, environ, start_response): pass\napp = App()",
        "class App:\n    def wsgi(self, environ, start_response): pass\napp = App().wsgi",
        "class app:\n    def __init__(self, environ, start_response): pass",
        "from functools import partial\ndef f(x, environ, respond): pass\napp = partial(f, 1)",
        PROXY,
        # As in werkzeug's Request.application.
        "import functools\ndef view(request): pass\n@functools.wraps(view)\ndef app(*args): pass",
    ],
)
def test_every_kind_of_wsgi_application(tmp_path: Path, source: str) -> None:
    assert callable(Application(str(write(tmp_path / "shop.py", source))).load())


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("def create(): raise ValueError(1)", "'create()' raised ValueError"),
        ("def create(a): pass", "'create()' raised TypeError"),
        ("def create(): pass", "what create() returned is None, which cannot be called"),
        ("async def create(): pass", "'create()' is an async function; wsgi_app needs one that"),
        (
            "def create():\n    async def app(s, r, e): pass\n    return app",
            "what create() returned is an ASGI application: use asgi_app instead of wsgi_app",
        ),
        ("create = 1", "'create()': an int cannot be called"),
    ],
)
def test_a_factory_that_makes_no_application(tmp_path: Path, source: str, message: str) -> None:
    assert refusal(f"{write(tmp_path / 'shop.py', source)}:create()").startswith(message)


# Failures of the application's own code.


def test_its_own_exceptions_come_through(tmp_path: Path) -> None:
    class_name = "class Broken(Exception): pass\nraise Broken('by itself')"
    with pytest.raises(Exception, match="by itself") as caught:
        Application(str(write(tmp_path / "shop.py", class_name))).load()
    assert type(caught.value).__name__ == "Broken"
    assert "shop" not in sys.modules
    with pytest.raises(SyntaxError):
        Application(str(write(tmp_path / "other.py", "def"))).load()
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        Application(
            str(write(tmp_path / "third.py", "import no_such_module")), has_home=True
        ).load()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import sys; sys.exit(3)", "called sys.exit(3) while it was imported"),
        ("raise KeyboardInterrupt", "raised KeyboardInterrupt while it was imported"),
    ],
)
def test_what_would_end_the_worker_is_a_load_error(
    tmp_path: Path, source: str, message: str
) -> None:
    file = write(tmp_path / "shop.py", source)
    assert refusal(str(file)) == f"{file} {message}"


@pytest.mark.parametrize("source", ["import project.settings", "from . import settings"])
def test_a_file_of_a_package_is_told_how_to_be_named(tmp_path: Path, source: str) -> None:
    write(tmp_path / "project" / "__init__.py", "")
    file = write(tmp_path / "project" / "wsgi.py", source)
    assert refusal(str(file)) == (
        f"{file} belongs to the package 'project': add `python_path {tmp_path};` and give the"
        " target as a module, project.wsgi"
    )


def test_what_is_imported_may_have_another_path_than_the_target(tmp_path: Path) -> None:
    """A worker resolves links; log lines have the path of the configuration."""
    write(tmp_path / "releases" / "one" / "here_app.py")
    (tmp_path / "current").symlink_to("releases/one")
    target = f"{tmp_path}/current/here_app.py:other"
    resolved = f"{tmp_path}/releases/one/here_app.py:other"
    application = Application(target, resolved=resolved)
    found: Any = application.load()
    assert found({}, None) == [b"other"]
    assert found.__globals__["__file__"] == f"{tmp_path}/releases/one/here_app.py"
    assert application.name == target
    assert f"{tmp_path}/current" not in sys.path
