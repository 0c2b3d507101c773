"""The loops of a worker: their making, what applications do to them, and their end."""

from __future__ import annotations

import asyncio
import importlib
import logging
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from conftest import Embedded

from pywsgi import LoadError
from pywsgi._event_loop import close, new_loop, run, stop

Lines = list[tuple[int, str]]
Main = Callable[[], Coroutine[Any, Any, Any]]

ERROR, WARN = 4, 5

KINDS = ["asyncio", "uvloop"]


def serve(kind: str, main: Main, seconds: float = 5.0) -> Any:
    """Runs main() on a loop with a thread of its own, as a worker does; its result."""

    def work() -> Any:
        loop = new_loop(kind)
        results: list[asyncio.Task[Any]] = []

        async def then_stop() -> Any:
            try:
                return await main()
            finally:
                stop(loop)

        loop.call_soon(lambda: results.append(loop.create_task(then_stop())))
        run(loop)
        close(loop, seconds)
        return results[0].result()

    with ThreadPoolExecutor(1) as threads:
        return threads.submit(work).result(60)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


# Making one.


def test_the_kinds(kind: str) -> None:
    async def main() -> str:
        assert asyncio.get_event_loop() is asyncio.get_running_loop()
        return type(asyncio.get_running_loop()).__module__.partition(".")[0]

    assert serve(kind, main) == kind
    assert serve("auto", main) == "uvloop"


def test_it_is_the_threads_loop_before_it_runs(kind: str) -> None:
    loop = new_loop(kind)
    try:
        assert asyncio.get_event_loop() is loop
    finally:
        close(loop, 1)


def test_a_uvloop_that_cannot_be_imported(
    lines: Lines, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)
    with pytest.raises(LoadError) as caught:
        new_loop("uvloop")
    assert str(caught.value).startswith("uvloop cannot be imported (ModuleNotFoundError: ")
    assert "pip install uvloop" in str(caught.value)
    loop = new_loop("auto")
    assert isinstance(loop, asyncio.SelectorEventLoop)
    close(loop, 1)
    assert lines == []
    monkeypatch.setattr(sys, "prefix", sys.base_prefix)
    with pytest.raises(LoadError, match="or set python_home to a virtual environment"):
        new_loop("uvloop")


def test_a_uvloop_that_is_broken_is_said(
    lines: Lines, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    (tmp_path / "uvloop.py").write_text("raise ImportError('undefined symbol')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "uvloop", raising=False)
    importlib.invalidate_caches()
    loop = new_loop("auto")
    assert isinstance(loop, asyncio.SelectorEventLoop)
    close(loop, 1)
    assert lines[0] == (WARN, "uvloop is installed, but its import fails: asyncio's loop is used")
    assert lines[-1] == (WARN, "ImportError: undefined symbol")


# What applications do.


def test_signal_handlers_are_refused(kind: str) -> None:
    async def main() -> str:
        loop = asyncio.get_running_loop()
        assert loop.remove_signal_handler(signal.SIGTERM) is False
        with pytest.raises(NotImplementedError) as caught:
            loop.add_signal_handler(signal.SIGTERM, print)
        with pytest.raises(NotImplementedError, match=r"add_signal_handler\(99\)"):
            loop.add_signal_handler(99, print, 1)
        return str(caught.value)

    text = serve(kind, main)
    assert text.startswith("loop.add_signal_handler(SIGTERM): nginx handles the signals")


def test_subprocesses_on_another_than_the_main_thread(kind: str) -> None:
    """uvloop's SIGCHLD reaches the main thread here, which is free."""

    async def main() -> Any:
        process = await asyncio.create_subprocess_exec(
            "sh", "-c", "cat; exit 7", stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        output, _ = await process.communicate(b"text")
        shells = [await asyncio.create_subprocess_shell(f"exit {code}") for code in range(5)]
        return output, process.returncode, [await shell.wait() for shell in shells]

    assert serve(kind, main) == (b"text", 7, [0, 1, 2, 3, 4])


def test_subprocesses_on_pythons_main_thread(embedded: Embedded, kind: str) -> None:
    """That thread takes the signals which nginx does not use while its loop runs."""
    script = f"""
    import asyncio, signal, threading
    from pywsgi._event_loop import close, new_loop, run, stop

    async def children():
        assert threading.current_thread() is threading.main_thread()
        process = await asyncio.create_subprocess_exec("sh", "-c", "exit 7")
        print(await process.wait(), signal.getsignal(signal.SIGCHLD) == signal.SIG_DFL)
        process = await asyncio.create_subprocess_exec("sleep", "60")
        process.terminate()
        print(await process.wait())
        stop(loop)

    loop = new_loop({kind!r})
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])
    loop.call_soon(lambda: loop.create_task(children()))
    run(loop)
    close(loop, 5)
    """
    assert embedded(script) == ["7 7 True", "7 -15"]


def test_it_outlives_what_applications_do_to_it(lines: Lines, kind: str) -> None:
    async def main() -> Any:
        loop = asyncio.get_running_loop()
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.sleep(0.01)
        loop.stop()
        await asyncio.sleep(0.01)

        async def leave() -> None:
            sys.exit(3)

        tasks = [loop.create_task(leave())]
        await asyncio.wait(tasks)
        return type(tasks[0].exception())

    assert serve(kind, main) is SystemExit
    errors = [line for level, line in lines if level == ERROR]
    assert errors[0] == (
        "an application has called loop.stop(), which is ignored: other applications may use the"
        " loop, too"
    )
    assert errors[1] == "an exception has left the loop, which runs on"
    assert errors[-1] == "SystemExit: 3"


def test_libraries_find_the_task_that_the_loop_runs_for(kind: str) -> None:
    """As anyio does. Without one, it would end an idle thread with each request."""
    anyio = importlib.import_module("anyio")

    async def main() -> Any:
        threads = []
        for _ in range(5):
            task = asyncio.ensure_future(anyio.to_thread.run_sync(threading.get_ident))
            threads.append(await task)
            await asyncio.sleep(0.01)
        return len(set(threads))

    assert serve(kind, main) == 1


def raises() -> None:
    raise ValueError("in a callback")


def test_exceptions_that_nobody_handles_are_logged(
    kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async def main() -> None:
        asyncio.get_running_loop().call_soon(raises)
        await asyncio.sleep(0.01)

    serve(kind, main)
    errors = capsys.readouterr().err
    assert "Exception in callback " in errors
    assert "ValueError: in a callback" in errors


def test_they_are_logged_even_if_logging_disables_it(lines: Lines, kind: str) -> None:
    async def main() -> None:
        asyncio.get_running_loop().call_soon(raises)
        await asyncio.sleep(0.01)

    logger = logging.getLogger("asyncio")
    logger.disabled = True
    try:
        serve(kind, main)
    finally:
        logger.disabled = False
    assert lines[0][1].startswith("Exception in callback ")
    assert lines[-1] == (ERROR, "ValueError: in a callback")
    assert any("    raise ValueError" in line for _, line in lines)


def test_the_handler_of_an_application_is_its_own(lines: Lines, kind: str) -> None:
    async def main() -> Any:
        loop, contexts = asyncio.get_running_loop(), []
        loop.set_exception_handler(lambda loop, context: contexts.append(context))
        loop.call_soon(raises)
        await asyncio.sleep(0.01)
        return [str(context["exception"]) for context in contexts]

    assert serve(kind, main) == ["in a callback"]
    assert lines == []


# Its end.


def test_tasks_are_cancelled_and_run_to_their_end(lines: Lines, kind: str) -> None:
    ends, more = [], []

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.02)
            more.append(asyncio.ensure_future(late()))
            ends.append("work")

    async def late() -> None:
        ends.append("late")
        await asyncio.sleep(60)

    async def main() -> None:
        main.task = asyncio.ensure_future(work())  # type: ignore[attr-defined]
        await asyncio.sleep(0)

    serve(kind, main)
    assert ends == ["work", "late"]
    assert more[0].cancelled()
    assert lines == []


def test_a_task_that_raises_at_the_end_is_logged(
    kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            raise ValueError("no time")

    async def main() -> None:
        main.task = asyncio.ensure_future(work())  # type: ignore[attr-defined]
        await asyncio.sleep(0)

    serve(kind, main)
    errors = capsys.readouterr().err
    assert "a task raised when it was cancelled at the end of its loop" in errors
    assert "ValueError: no time" in errors


def test_a_task_that_does_not_end_is_shown(
    lines: Lines, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async def stubborn() -> None:
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                continue

    async def main() -> None:
        main.task = asyncio.ensure_future(stubborn())  # type: ignore[attr-defined]
        main.task.set_name("stubborn")  # type: ignore[attr-defined]
        await asyncio.sleep(0)

    began = time.monotonic()
    serve(kind, main, seconds=0.2)
    del main.task  # type: ignore[attr-defined]
    assert time.monotonic() - began < 15
    assert lines[0] == (WARN, "1 task still runs at the end of its loop, though it was cancelled")
    assert lines[1] == (WARN, 'task "stubborn" is at:')
    assert any("await asyncio.sleep(60)" in line for _, line in lines)
    assert "was destroyed but it is pending" not in capsys.readouterr().err


def test_asynchronous_generators_are_closed(kind: str) -> None:
    ends = []

    async def numbers() -> Any:
        try:
            yield 1
        finally:
            ends.append("closed")

    async def main() -> None:
        main.numbers = numbers()  # type: ignore[attr-defined]
        async for _ in main.numbers:  # type: ignore[attr-defined]
            break

    serve(kind, main)
    assert ends == ["closed"]


def test_threads_of_the_executor_are_waited_for_and_may_use_the_loop(
    lines: Lines, kind: str
) -> None:
    ends = []

    async def answer() -> str:
        return "answered"

    async def main() -> None:
        loop, begun = asyncio.get_running_loop(), threading.Event()

        def work() -> None:
            begun.set()
            time.sleep(0.1)
            ends.append(asyncio.run_coroutine_threadsafe(answer(), loop).result(5))

        main.future = loop.run_in_executor(None, work)  # type: ignore[attr-defined]
        await asyncio.get_running_loop().run_in_executor(None, begun.wait)

    serve(kind, main)
    assert ends == ["answered"]
    assert lines == []


def test_a_thread_that_does_not_end_is_not_waited_for_long(lines: Lines, kind: str) -> None:
    release = threading.Event()

    async def main() -> None:
        main.future = asyncio.get_running_loop().run_in_executor(  # type: ignore[attr-defined]
            None, release.wait, 20
        )
        await asyncio.sleep(0.01)

    began = time.monotonic()
    serve(kind, main, seconds=0.2)
    assert time.monotonic() - began < 15
    release.set()
    assert lines == [
        (WARN, "threads of run_in_executor() or to_thread() still run at the end of their loop")
    ]


def test_stop_before_it_runs(kind: str) -> None:
    loop = new_loop(kind)
    stop(loop)
    stop(loop)
    run(loop)
    close(loop, 1)
    assert loop.is_closed()


def test_a_loop_that_an_application_closes(kind: str) -> None:
    """It can only stop it first, and close it from another thread."""
    loop = new_loop(kind)
    loop.close()
    run(loop)
    close(loop, 1)
