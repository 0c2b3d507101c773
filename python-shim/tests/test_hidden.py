"""Applications that have modules of the same names: an import that gets another application's is
refused, and no other."""

from __future__ import annotations

import builtins
import gc
import importlib
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pywsgi import LoadError
from pywsgi._loader import Application

GOOD = "def application(environ, start_response): return [b'good']\n"

Load = Callable[..., Application]


@pytest.fixture(autouse=True)
def _apart(interpreter: None) -> Iterator[None]:
    """Hides the applications of other tests, and checks that the hooks are removed."""
    gc.collect()
    plain = builtins.__import__, importlib.import_module
    yield
    assert (builtins.__import__, importlib.import_module) == plain
    gc.collect()


def write(file: Path, source: str = "") -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(source)
    return file


def application(file: Path, source: str = "import config") -> Application:
    return Application(str(write(file, f"{source}\n{GOOD}")))


def works(app: Application) -> bool:
    response: list[bytes] = app.load()({}, None)
    return response == [b"good"]


def refused(app: Application) -> str:
    with pytest.raises(LoadError) as caught:
        app.load()
    return str(caught.value)


ASKS = {
    "import": "import config",
    "from": "from config import NAME",
    "part": "import config.part",
    "import_module": "import importlib; importlib.import_module('config')",
    "import_module by name": "from importlib import import_module; import_module('config.part')",
    "in a module of its own": "import views_of_two",
    "in a function": "def create(): import config\ncreate()",
    "by a library": "import lib_of_all; lib_of_all.import_string('config')",
    "and fails": "from config import ONLY_IN_TWO",
    "and fails later": "import config; config.ONLY_IN_TWO",
}


@pytest.mark.parametrize("ask", ASKS)
@pytest.mark.parametrize("form", ["config.py", "config/__init__.py"])
def test_a_module_of_another_application(tmp_path: Path, ask: str, form: str) -> None:
    if "part" in ASKS[ask] and form == "config.py":
        pytest.skip("a module has no parts")
    write(tmp_path / "lib/site-packages/lib_of_all.py", "import_string = __import__")
    sys.path.append(str(tmp_path / "lib/site-packages"))
    first, own = (write(tmp_path / name / form, "NAME = 1") for name in ("one", "two"))
    write(tmp_path / "one/config/part.py")
    write(tmp_path / "two/config/part.py")
    write(tmp_path / "two/views_of_two.py", "import config")
    one = application(tmp_path / "one/wsgi.py")
    two = application(tmp_path / "two/wsgi.py", ASKS[ask])
    assert works(one)
    message = refused(two)
    assert f"{tmp_path}/two/wsgi.py imports 'config', which should be its own {own}," in message
    assert f"gets {first} of {tmp_path}/one/wsgi.py:" in message
    assert sys.modules["config"].__file__ == str(first)
    assert works(one)


def test_several_modules_are_named(tmp_path: Path) -> None:
    for name in ("one", "two"):
        for module in ("models", "config", "views"):
            write(tmp_path / name / f"{module}.py")
    source = "import config, views, models"
    one = application(tmp_path / "one/wsgi.py", source)
    two = application(tmp_path / "two/wsgi.py", source)
    assert works(one)
    assert "imports 'config'" in refused(two)
    assert "(likewise 'models', 'views')" in refused(two)


def test_the_module_of_the_other_s_file_itself(tmp_path: Path) -> None:
    """As in Flask's examples: `app.py`, and `from app import app` in a module that it imports."""
    one = application(tmp_path / "one/app.py", "")
    two = application(tmp_path / "two/app.py", "import routes_of_two")
    write(tmp_path / "two/routes_of_two.py", "from app import application")
    assert works(one)
    assert "imports 'app'" in refused(two)


@pytest.mark.parametrize("first", ["site", "site/admin"])
def test_one_application_s_folder_within_the_other_s(tmp_path: Path, first: str) -> None:
    folders = {name: tmp_path / name for name in ("site", "site/admin")}
    for folder in folders.values():
        write(folder / "config.py")
    apps = {name: application(folder / "wsgi.py") for name, folder in folders.items()}
    [second] = set(folders) - {first}
    assert works(apps[first])
    message = refused(apps[second])
    assert f"its own {folders[second]}/config.py, but gets {folders[first]}/config.py" in message


def test_modules_of_packages_that_python_path_names(tmp_path: Path) -> None:
    sys.path[:0] = [str(tmp_path / "one"), str(tmp_path / "two")]
    for name in ("one", "two"):
        write(tmp_path / name / "config.py")
        write(tmp_path / name / f"shop_{name}/__init__.py")
        write(tmp_path / name / f"shop_{name}/wsgi.py", f"import config\n{GOOD}")
    one, two = Application("shop_one.wsgi"), Application("shop_two.wsgi")
    assert works(one)
    assert f"its own {tmp_path}/two/config.py" in refused(two)


def test_it_is_served_once_the_module_has_a_name_of_its_own(tmp_path: Path) -> None:
    write(tmp_path / "one/config.py")
    write(tmp_path / "two/config.py")
    one, two = application(tmp_path / "one/wsgi.py"), application(tmp_path / "two/wsgi.py")
    assert works(one)
    refused(two)
    assert not two.may_pass
    (tmp_path / "two/config.py").rename(tmp_path / "two/config_of_two.py")
    write(tmp_path / "two/wsgi.py", f"import config_of_two\n{GOOD}")
    assert two.changed()
    assert works(two)


def test_one_that_is_refused_leaves_nothing_to_the_others(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write(tmp_path / name / "config.py")
        write(tmp_path / name / "views.py", f"WORD = b'{name}'")
        write(tmp_path / name / "later.py", f"WORD = b'{name}'")
    source = "def application(*args):\n  import later, views\n  return [views.WORD, later.WORD]"
    one = Application(str(write(tmp_path / "one/wsgi.py", f"import config\n{source}")))
    two = application(tmp_path / "two/wsgi.py", "import views, config")
    serve = one.load()
    before = list(sys.path)
    for _ in range(2):
        assert "imports 'config'" in refused(two)
        assert sys.path == before
    assert serve({}, None) == [b"one", b"one"]


NO_ALARM = {
    "it has none": ("import config_of_one", []),
    "it is not asked for": ("", ["config.py"]),
    "it is not asked for yet": ("def later(): import config", ["config.py"]),
    "a folder that is no package": ("import config", ["config/data.txt"]),
    "a part of a package": ("import shop.config", ["shop/__init__.py", "shop/config.py"]),
    "relative": ("import shop", ["shop/__init__.py", "config.py", "shop/config.py"]),
    "of the standard library": ("import colorsys, json", ["colorsys.py", "json.py"]),
    "of an installed package": ("import installed", ["installed.py"]),
    "asked for by the other's code": ("import code_of_one", ["config.py"]),
}


@pytest.mark.parametrize("case", NO_ALARM)
def test_no_alarm(tmp_path: Path, case: str) -> None:
    source, files = NO_ALARM[case]
    library = tmp_path / "one/venv/lib/site-packages"
    write(library / "installed.py")
    sys.path.append(str(library))
    write(tmp_path / "one/config.py")
    write(tmp_path / "one/config_of_one.py")
    write(tmp_path / "one/code_of_one.py", "import config")
    for file in files:
        write(tmp_path / "two" / file, "from . import config" if file == "shop/__init__.py" else "")
    one = application(tmp_path / "one/wsgi.py", "import config, installed, colorsys, json")
    two = application(tmp_path / "two/wsgi.py", source)
    assert works(one)
    assert works(two)


def test_no_alarm_in_one_folder(tmp_path: Path) -> None:
    write(tmp_path / "config.py")
    assert works(application(tmp_path / "one.py"))
    assert works(application(tmp_path / "two.py"))
    assert works(application(tmp_path / "below/three.py"))


def test_no_alarm_for_one_file_by_two_paths(tmp_path: Path) -> None:
    write(tmp_path / "one/config.py")
    (tmp_path / "two").symlink_to("one")
    assert works(application(tmp_path / "one/first.py"))
    assert works(application(tmp_path / "two/second.py"))


def test_two_imports_side_by_side(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write(tmp_path / name / "config.py")
    begun, imported = threading.Event(), threading.Event()
    gate = type(sys)("gate")
    vars(gate).update(begun=begun, imported=imported)
    sys.modules["gate"] = gate
    two = application(
        tmp_path / "two/wsgi.py",
        "import gate; gate.begun.set(); gate.imported.wait(30)\nimport config",
    )
    one = application(tmp_path / "one/wsgi.py", "import gate; gate.begun.wait(30); import config")
    errors: list[str] = []
    thread = threading.Thread(target=lambda: errors.append(refused(two)))
    thread.start()
    assert works(one)
    imported.set()
    thread.join(30)
    assert "imports 'config'" in errors[0]


def test_what_a_library_puts_over_the_import_statement_stays(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write(tmp_path / name / "config.py")
    source = """
import builtins
plain = builtins.__import__
def over(*args, **kwargs):
    return plain(*args, **kwargs)
builtins.__import__ = over
"""
    one = application(tmp_path / "one/wsgi.py")
    two = application(tmp_path / "two/wsgi.py", source)
    three = application(tmp_path / "three/wsgi.py")
    write(tmp_path / "three/config.py")
    plain = builtins.__import__
    assert works(one)
    try:
        assert works(two)
        over = builtins.__import__
        assert over.__name__ == "over"
        assert "imports 'config'" in refused(three)
        assert builtins.__import__ is over
    finally:
        builtins.__import__ = plain


def test_neither_tracebacks_nor_warnings_show_how_it_is_found(tmp_path: Path) -> None:
    write(tmp_path / "one/config.py")
    write(tmp_path / "two/config.py")
    write(tmp_path / "two/old_part.py", "import warnings; warnings.warn('old', stacklevel=2)")
    write(tmp_path / "two/broken_part.py", "import no_such_module_anywhere")
    assert works(application(tmp_path / "one/wsgi.py"))
    two = application(tmp_path / "two/wsgi.py", "import old_part, broken_part")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with pytest.raises(ImportError) as raised:
            two.load()
    assert [warning.filename for warning in caught] == [str(tmp_path / "two/wsgi.py")]
    text = "".join(traceback.format_exception(None, raised.value, raised.value.__traceback__))
    assert "broken_part.py" in text
    assert "noted_import" not in text
