"""Tracebacks and stacks: as Python prints them, without the frames of the shim."""

from __future__ import annotations

import faulthandler
import signal
import sys
import threading
from pathlib import Path

import pytest

from pywsgi._loader import Application
from pywsgi._stacks import dump_at, format_exception, format_others, format_stack

pytestmark = pytest.mark.usefixtures("interpreter")


def failure(file: Path, source: str, suffix: str = "") -> str:
    file.write_text(source)
    try:
        Application(f"{file}{suffix}").load()
    except BaseException as error:
        # Without this function's frame: the Rust side has none.
        trace = error.__traceback__
        return format_exception(error.with_traceback(trace and trace.tb_next))
    raise AssertionError("it loaded")


def test_a_traceback_begins_in_the_application(tmp_path: Path) -> None:
    file = tmp_path / "shop.py"
    (tmp_path / "neighbour.py").write_text("x = 1\nraise ValueError('broken')\n")
    assert failure(file, "import neighbour\n").replace(" " * 4 + "^" * 16 + "\n", "") == (
        "Traceback (most recent call last):\n"
        f'  File "{file}", line 1, in <module>\n'
        "    import neighbour\n"
        f'  File "{tmp_path}/neighbour.py", line 2, in <module>\n'
        "    raise ValueError('broken')\n"
        "ValueError: broken"
    )


def test_chained_exceptions_are_stripped_as_well(tmp_path: Path) -> None:
    file = tmp_path / "shop.py"
    assert failure(file, "x = 1\nraise SystemExit(1)\n") == (
        "Traceback (most recent call last):\n"
        f'  File "{file}", line 2, in <module>\n'
        "    raise SystemExit(1)\n"
        "SystemExit: 1\n"
        "\n"
        "The above exception was the direct cause of the following exception:\n"
        "\n"
        f"pywsgi.LoadError: {file} called sys.exit(1) while it was imported"
    )


def test_a_traceback_without_any_frame_has_no_heading(tmp_path: Path) -> None:
    file = tmp_path / "shop.py"
    text = failure(file, "x = 1\n", suffix=":app()")
    assert "pywsgi/_loader.py" not in text
    assert text.endswith(f"pywsgi.LoadError: {file} has no 'app()'; it has no callables")
    assert format_exception(ValueError("never raised")) == "ValueError: never raised"


def test_a_syntax_error_shows_its_line(tmp_path: Path) -> None:
    text = failure(tmp_path / "shop.py", "x = 1\nif x\n    pass\n")
    assert f'File "{tmp_path}/shop.py", line 2' in text
    assert "    if x\n" in text
    assert "importlib" not in text


def test_frames_of_importlib_inside_an_application_stay(tmp_path: Path) -> None:
    file = tmp_path / "shop.py"
    text = failure(file, "import importlib\nimportlib.import_module('no_such_module')\n")
    assert f'File "{file}", line 2' in text
    assert "in import_module" in text


def test_it_never_raises() -> None:
    class SilentError(Exception):
        def __str__(self) -> str:
            raise SystemExit

        __repr__ = __str__

    class HostileError(Exception):
        @property
        def __cause__(self) -> None:  # type: ignore[override]
            raise KeyboardInterrupt

    assert "Silent" in format_exception(SilentError())
    assert "Hostile" in format_exception(HostileError())

    loop = ValueError("loop")
    loop.__context__ = KeyError("inner")
    loop.__context__.__context__ = loop
    assert "ValueError: loop" in format_exception(loop)


def test_exceptions_raised_in_handling_and_groups_are_shown() -> None:
    try:
        try:
            raise KeyError("first")
        except KeyError:
            raise ValueError("second") from None
    except ValueError as error:
        error.__suppress_context__ = False
        text = format_exception(error)
    assert "During handling of the above exception" in text
    assert text.index("KeyError: 'first'") < text.index("ValueError: second")
    if sys.version_info >= (3, 11):
        import builtins

        group = builtins.ExceptionGroup("several", [ValueError("one"), TypeError("two")])
        text = format_exception(group)
        group.exceptions[0].exceptions = 3  # Any exception may have such an attribute.
        assert format_exception(group) == text
        assert "ValueError: one" in text
        assert "TypeError: two" in text


def test_the_stack_of_another_thread() -> None:
    inside, done = threading.Event(), threading.Event()

    def stuck_in_the_view() -> None:
        inside.set()
        done.wait(10)

    thread = threading.Thread(target=stuck_in_the_view)
    thread.start()
    inside.wait(10)
    assert thread.ident is not None
    text = format_stack(thread.ident)
    done.set()
    thread.join()
    assert "in stuck_in_the_view\n    done.wait(10)\n" in text
    assert text.index("_bootstrap") < text.index("stuck_in_the_view") < text.index("in wait")
    assert format_stack(thread.ident) == ""


def test_the_stacks_of_other_threads() -> None:
    done = threading.Event()
    threads = [threading.Thread(target=done.wait, args=[10], name=f"t{n}") for n in range(60)]
    for thread in threads:
        thread.start()
    known = [thread.ident for thread in threads[1:]]
    text = format_others([ident for ident in known if ident is not None])
    everything = format_others([])
    done.set()
    for thread in threads:
        thread.join()
    assert f'thread "t0" ({threads[0].ident}) is at:\n' in text
    assert "in wait" in text
    assert '"t1"' not in text
    assert "test_the_stacks_of_other_threads" not in text
    assert everything.splitlines()[-1].startswith("and ")


def test_the_stack_of_this_thread_ends_with_the_caller() -> None:
    lines = format_stack(threading.get_ident()).splitlines()
    assert "test_the_stack_of_this_thread_ends_with_the_caller" in lines[-2]
    assert format_stack(-1) == ""


def test_a_signal_writes_the_stacks_of_all_threads(capfd: pytest.CaptureFixture[str]) -> None:
    waiting = threading.Event()
    thread = threading.Thread(target=waiting.wait)
    thread.start()
    dump_at(signal.SIGUSR2)
    try:
        signal.raise_signal(signal.SIGUSR2)
    finally:
        faulthandler.unregister(signal.SIGUSR2)
        waiting.set()
        thread.join()
    text = capfd.readouterr().err
    assert "in test_a_signal_writes_the_stacks_of_all_threads" in text
    assert text.count("hread 0x") >= 2
