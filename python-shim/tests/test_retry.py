"""Application after a failure: when it is retried, and what the retry finds."""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path

import pytest

from pywsgi._loader import Application

pytestmark = pytest.mark.usefixtures("interpreter")

GOOD = "def application(environ, start_response): return [b'good']\n"


def write(file: Path, source: str, age: float = 10) -> Path:
    """A file that was last changed `age` seconds ago."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(source)
    changed = time.time() - age
    os.utime(file, (changed, changed))
    return file


def fails(application: Application) -> BaseException:
    try:
        application.load()
    except Exception as error:
        assert not application.changed()
        return error
    raise AssertionError("it loaded")


def works(application: Application) -> bool:
    response: list[bytes] = application.load()({}, None)
    return response == [b"good"] and not application.changed()


def test_nothing_has_changed_before_a_failure(tmp_path: Path) -> None:
    application = Application(str(write(tmp_path / "shop.py", GOOD)))
    assert not application.changed()
    assert works(application)
    write(tmp_path / "shop.py", "raise ValueError", age=5)
    assert not application.changed()


@pytest.mark.parametrize(
    "broken", ["raise ValueError", "def", "import sys; sys.exit(1)", "x = 1", "application = 1"]
)
def test_a_file_that_is_mended(tmp_path: Path, broken: str) -> None:
    application = Application(str(write(tmp_path / "shop.py", broken)))
    fails(application)
    write(tmp_path / "shop.py", f"{broken} ", age=8)
    assert application.changed()
    fails(application)
    write(tmp_path / "shop.py", GOOD, age=7)
    assert application.changed()
    assert works(application)


def test_the_same_size_and_second_is_a_change_too(tmp_path: Path) -> None:
    neighbour = write(tmp_path / "neighbour.py", "answer = 1/0\n", age=0)
    file = write(tmp_path / "shop.py", f"import neighbour\n{GOOD}")
    second = time.time_ns() // 10**9 * 10**9
    os.utime(neighbour, ns=(second, second))
    application = Application(str(file))
    assert isinstance(fails(application), ZeroDivisionError)
    neighbour.write_text("answer = 1/1\n")
    os.utime(neighbour, ns=(second + 1, second + 1))
    assert application.changed()
    assert works(application)


def test_a_file_that_appears(tmp_path: Path) -> None:
    application = Application(f"{tmp_path}/shop.py:application")
    fails(application)
    write(tmp_path / "shop.py", GOOD)
    assert application.changed()
    assert works(application)


def test_a_file_that_is_replaced_by_one_of_the_same_age_and_size(tmp_path: Path) -> None:
    file = write(tmp_path / "shop.py", "raise ValueError")
    application = Application(str(file))
    fails(application)
    times = os.stat(file)
    new = write(tmp_path / "new.py", "raise ValueError")
    os.utime(new, ns=(times.st_atime_ns, times.st_mtime_ns))
    new.replace(file)
    assert application.changed()


def test_a_file_that_is_written_while_it_is_imported_counts_as_changed(tmp_path: Path) -> None:
    file = write(tmp_path / "shop.py", "")
    write(file, f"open({str(file)!r}, 'w').write({GOOD!r})\nraise ValueError('new')")
    application = Application(str(file))
    with pytest.raises(ValueError, match="new"):
        application.load()
    assert application.changed()
    assert works(application)


def test_a_module_that_appears(tmp_path: Path) -> None:
    lib = tmp_path / "lib"
    lib.mkdir()
    sys.path.append(str(lib))
    application = Application(str(write(tmp_path / "app" / "shop.py", f"import later\n{GOOD}")))
    fails(application)
    (lib / "something_else").write_text("")
    assert not application.changed()
    write(lib / "later" / "__init__.py", "from . import part")
    assert application.changed()
    fails(application)
    write(lib / "later" / "part.py", "")
    assert application.changed()
    assert works(application)


def test_a_target_that_is_a_module_that_appears(tmp_path: Path) -> None:
    sys.path.append(str(tmp_path))
    application = Application("later_package.wsgi")
    fails(application)
    write(tmp_path / "later_package" / "__init__.py", "")
    assert application.changed()
    fails(application)
    write(tmp_path / "later_package" / "wsgi.py", GOOD)
    assert application.changed()
    assert works(application)


@pytest.mark.parametrize(
    ("use", "broken"),
    [
        ("import neighbour", "raise ValueError"),
        ("import neighbour", "import"),
        ("from neighbour import answer", "anser = 1"),
        ("import neighbour; neighbour.answer", "anser = 1"),
        ("import neighbour\ntry: neighbour.f()\nexcept ValueError: raise TypeError",
         "def f(): raise ValueError"),
    ],
)  # fmt: skip
def test_a_neighbour_that_is_mended(tmp_path: Path, use: str, broken: str) -> None:
    application = Application(str(write(tmp_path / "shop.py", f"{use}\n{GOOD}")))
    write(tmp_path / "neighbour.py", broken)
    fails(application)
    write(tmp_path / "neighbour.py", "answer = 1\ndef f(): pass\n", age=8)
    assert application.changed()
    assert works(application)


def test_a_package_is_imported_anew_with_its_parts(tmp_path: Path) -> None:
    sys.path.append(str(tmp_path))
    write(tmp_path / "shop_pkg" / "__init__.py", "")
    write(tmp_path / "shop_pkg" / "settings.py", "anser = 1")
    write(tmp_path / "shop_pkg" / "wsgi.py", f"from shop_pkg import settings\n{GOOD}"
          "assert settings.answer\n")  # fmt: skip
    application = Application("shop_pkg.wsgi")
    assert isinstance(fails(application), AttributeError)
    write(tmp_path / "shop_pkg" / "settings.py", "answer = 1", age=8)
    assert application.changed()
    assert works(application)


def test_a_part_of_a_package_that_others_use_is_imported_anew(tmp_path: Path) -> None:
    sys.path.append(str(tmp_path))
    write(tmp_path / "common_pkg" / "__init__.py", "")
    write(tmp_path / "common_pkg" / "settings.py", "anser = 1")
    write(tmp_path / "good_app.py", f"import common_pkg\n{GOOD}")
    write(tmp_path / "bad_app.py", f"from common_pkg import settings\n{GOOD}settings.answer\n")
    assert works(Application("good_app"))
    package = sys.modules["common_pkg"]
    application = Application("bad_app")
    fails(application)
    write(tmp_path / "common_pkg" / "settings.py", "answer = 1", age=8)
    assert works(application)
    assert sys.modules["common_pkg"] is package


def test_a_file_that_the_application_misses(tmp_path: Path) -> None:
    source = f"open({str(tmp_path / 'shop.json')!r}).close()\n{GOOD}"
    application = Application(str(write(tmp_path / "shop.py", source)))
    assert isinstance(fails(application), FileNotFoundError)
    (tmp_path / "shop.json").write_text("{}")
    assert application.changed()
    assert works(application)


def test_libraries_and_extension_modules_are_not_imported_anew(tmp_path: Path) -> None:
    library = tmp_path / "venv" / "lib" / "site-packages"
    write(library / "installed_lib.py", "")
    write(tmp_path / "neighbour.py", "")
    sys.path.append(str(library))
    source = "import installed_lib, neighbour, tabnanny\nraise ValueError\n"
    application = Application(str(write(tmp_path / "shop.py", source)))
    assert "tabnanny" not in sys.modules
    fails(application)
    kept = {name: sys.modules[name] for name in ("installed_lib", "tabnanny")}
    neighbour = sys.modules["neighbour"]
    # An extension module in the application's own directory.
    import _struct

    extension = type(_struct)("own_extension")
    extension.__file__ = str(tmp_path / "own_extension.abi3.so")
    sys.modules["own_extension"] = extension
    write(tmp_path / "shop.py", f"import own_extension\n{source}", age=8)
    fails(application)
    write(tmp_path / "shop.py", f"import own_extension, {source.split(chr(10))[0][7:]}\n{GOOD}", 6)
    assert works(application)
    assert {name: sys.modules[name] for name in kept} == kept
    assert sys.modules["own_extension"] is extension
    assert sys.modules["neighbour"] is not neighbour


def test_what_a_running_application_imports_meanwhile_stays(tmp_path: Path) -> None:
    """Another application's thread may import something of a shared directory at any time."""
    sys.path.append(str(tmp_path))
    write(tmp_path / "lazily_imported.py", "")
    begun, done = threading.Event(), threading.Event()
    gate = type(sys)("gate")
    vars(gate).update(begun=begun, done=done)
    sys.modules["gate"] = gate
    source = "import gate; gate.begun.set(); gate.done.wait(10); raise ValueError"
    application = Application(str(write(tmp_path / "shop.py", source)))

    def running() -> None:
        begun.wait(10)
        import lazily_imported  # type: ignore[import-not-found]  # noqa: F401

        done.set()

    thread = threading.Thread(target=running)
    thread.start()
    fails(application)
    thread.join()
    module = sys.modules["lazily_imported"]
    write(tmp_path / "shop.py", GOOD, age=8)
    assert works(application)
    assert sys.modules["lazily_imported"] is module


def test_what_another_application_has_taken_over_since_stays(tmp_path: Path) -> None:
    write(tmp_path / "shared_part.py", "")
    broken = Application(str(write(tmp_path / "broken.py", "import shared_part\nraise ValueError")))
    fails(broken)
    module = sys.modules["shared_part"]
    good = Application(str(write(tmp_path / "good.py", f"import shared_part\n{GOOD}")))
    assert works(good)
    write(tmp_path / "broken.py", f"import shared_part\n{GOOD}", age=8)
    assert works(broken)
    assert sys.modules["shared_part"] is module


def test_a_broken_application_does_not_break_one_in_the_same_file(tmp_path: Path) -> None:
    file = write(tmp_path / "shop.py", GOOD)
    good, broken = Application(str(file)), Application(f"{file}:missing")
    assert works(good)
    module = sys.modules["shop"]
    fails(broken)
    fails(broken)
    assert sys.modules["shop"] is module
    assert works(good)


def test_a_file_from_the_future_is_not_tried_on_every_request(tmp_path: Path) -> None:
    application = Application(str(write(tmp_path / "shop.py", "raise ValueError", age=-3600)))
    fails(application)
    write(tmp_path / "shop.py", GOOD, age=-3700)
    assert application.changed()
    assert works(application)


def test_an_exception_with_odd_attributes_comes_through(tmp_path: Path) -> None:
    source = (
        "class OddError(ImportError):\n"
        "    exceptions = 3\n"
        "    def __str__(self): raise SystemExit\n"
        "raise OddError(name=None, path=None)"
    )
    application = Application(str(write(tmp_path / "shop.py", source)))
    assert type(fails(application)).__name__ == "OddError"


def test_the_module_of_the_target_itself_is_imported_anew_whoever_else_lives_there(
    tmp_path: Path,
) -> None:
    broken = Application(str(write(tmp_path / "broken.py", "x = 1")))
    fails(broken)
    assert works(Application(str(write(tmp_path / "good.py", GOOD))))
    write(tmp_path / "broken.py", GOOD, age=8)
    assert works(broken)


def test_a_file_that_has_ended_the_worker_before(tmp_path: Path) -> None:
    file = write(tmp_path / "shop.py", GOOD)
    for target in (str(file), "shop"):
        application = Application(target)
        sys.path.insert(0, str(tmp_path))
        application.put_off()
        assert not application.changed()
        write(file, GOOD, age=9)
        assert application.changed()
        assert works(application)
        write(file, GOOD)
