"""Advice about a failed import: nginx's environment, and packages."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pywsgi import LoadError
from pywsgi._loader import Application

pytestmark = pytest.mark.usefixtures("interpreter")


def failure(file: Path, source: str, *, has_home: bool = True, factory: str = "") -> BaseException:
    file.write_text(source)
    try:
        Application(f"{file}{factory}", has_home=has_home).load()
    except Exception as error:
        return error
    raise AssertionError("it loaded")


VARIABLES = {
    "import os; os.environ['NO_SUCH']": KeyError,
    "from os import environ; environ['NO_SUCH']": KeyError,
    "import os; os.environ.pop('NO_SUCH')": KeyError,
    "import os; os.environb[b'NO_SUCH']": KeyError,
    "import os; '{NO_SUCH}'.format_map(os.environ)": KeyError,
    # As in django-environ and many settings.py files.
    "import os\ntry: os.environ['NO_SUCH']\n"
    "except KeyError as error: raise ValueError('no secret') from error": ValueError,
    "import os\ntry: os.environ['NO_SUCH']\nexcept KeyError: raise ValueError('no secret')": (
        ValueError
    ),
}


@pytest.mark.parametrize("source", VARIABLES)
def test_a_variable_that_nginx_has_cleared(tmp_path: Path, source: str) -> None:
    error = failure(tmp_path / "shop.py", source)
    assert isinstance(error, LoadError)
    assert type(error.__cause__) is VARIABLES[source]
    assert "os.environ has no 'NO_SUCH': nginx clears its environment" in str(error)
    assert "`python_env NO_SUCH;`" in str(error)


def test_a_variable_that_a_factory_wants(tmp_path: Path) -> None:
    source = "import os\ndef create(): return os.environ['NO_SUCH']"
    error = failure(tmp_path / "shop.py", source, factory=":create()")
    assert "`python_env NO_SUCH;`" in str(error)
    assert str(error.__cause__) == "'create()' raised KeyError"


@pytest.mark.parametrize(
    "source",
    [
        "{}['NO_SUCH']",
        "raise KeyError('NO_SUCH')",
        "import os; dict(os.environ)['NO_SUCH']",
        "class Other(dict):\n  def __getitem__(self, key): raise KeyError(key)\nOther()['NO_SUCH']",
        "import os; del os.environ['NO_SUCH']",
    ],
)
def test_a_key_error_of_something_else(tmp_path: Path, source: str) -> None:
    assert type(failure(tmp_path / "shop.py", source)) is KeyError


@pytest.mark.parametrize("factory", ["", ":create()"])
def test_a_package_without_python_home(tmp_path: Path, factory: str) -> None:
    source = "def create():\n  import no_such_package.part\n" + ("" if factory else "create()")
    file = tmp_path / "shop.py"
    error = failure(file, source, has_home=False, factory=factory)
    assert isinstance(error, LoadError)
    message = str(error)
    assert "there is no module 'no_such_package' on sys.path. python_home is not set" in message
    assert sys.prefix in message
    assert "python_path" in message
    assert error.__cause__ is not None


@pytest.mark.parametrize(
    ("source", "has_home"),
    [
        ("import no_such_package", True),
        ("import json.no_such_part", False),
        ("from json import no_such_name", False),
        ("raise ModuleNotFoundError('by itself')", False),
    ],
)
def test_an_import_error_that_no_home_would_mend(
    tmp_path: Path, source: str, has_home: bool
) -> None:
    error = failure(tmp_path / "shop.py", source, has_home=has_home)
    assert not isinstance(error, LoadError)


def test_a_module_that_is_the_target() -> None:
    for has_home in (False, True):
        with pytest.raises(LoadError) as caught:
            Application("no_such_package.wsgi", has_home=has_home).load()
        assert "python_path adds directories" in str(caught.value)
        assert ("python_home" in str(caught.value)) is not has_home
