"""start() and run(), in processes of their own that are set up like a worker's interpreter."""

from __future__ import annotations

from pathlib import Path
from typing import Callable

import pytest

Embedded = Callable[..., "list[str]"]


def test_what_python_prints_goes_to_the_log(embedded: Embedded) -> None:
    logged = embedded(
        """
        import logging, sys, threading, warnings
        from pywsgi._start import errors_stream
        print("to stdout")
        print("to stderr", file=sys.stderr)
        sys.__stdout__.write("to the first stdout\\n")
        sys.__stderr__.write("to the first stderr\\n")
        errors_stream().write("to wsgi.errors\\n")
        assert errors_stream() is errors_stream()
        logging.getLogger("shop").warning("to the last resort")
        warnings.simplefilter("always")
        warnings.warn_explicit("a warning", UserWarning, "shop.py", 1)
        def broken():
            raise ValueError("in a thread")
        thread = threading.Thread(target=broken, name="background")
        thread.start()
        thread.join()
        class Late:
            def __del__(self):
                raise ValueError("in a finaliser")
        Late()
        """
    )
    for line in (
        "7 to stdout",
        "4 to stderr",
        "7 to the first stdout",
        "4 to the first stderr",
        "4 to wsgi.errors",
        "5 shop: to the last resort",
        "5 shop.py:1: UserWarning: a warning",
        "4 Exception in thread background:",
        "4 ValueError: in a thread",
        "4 ValueError: in a finaliser",
    ):
        assert line in logged


def test_argv_stdin_and_main(embedded: Embedded) -> None:
    embedded(
        """
        import os, sys
        assert sys.argv == ["pywsgi"]
        assert sys.stdin.read() == "" and sys.__stdin__ is sys.stdin
        try:
            input()
        except EOFError:
            pass
        else:
            raise AssertionError
        import __main__
        assert not hasattr(__main__, "__file__") and __main__.__spec__ is None
        import pywsgi
        assert pywsgi.LogHandler and pywsgi.__version__ and pywsgi.LoadError
        """
    )


def test_path_is_in_front_in_the_order_given_with_its_pth_files(
    embedded: Embedded, tmp_path: Path
) -> None:
    one, two, linked = (tmp_path / name for name in ("one", "two", "linked"))
    for directory in (one, two, linked):
        directory.mkdir()
    (one / "a.pth").write_text(f"{linked}\nimport sys; sys.pth_was_read = True\n")
    embedded(
        f"""
        import sys
        from pywsgi._start import _extend_path
        one, two, linked = {str(one)!r}, {str(two)!r}, {str(linked)!r}
        sys.path.append(two)
        before = list(sys.path)
        _extend_path([two, one])
        assert sys.path == [two, one, linked] + before[:-1], sys.path
        assert sys.pth_was_read
        _extend_path([])
        assert sys.path == [two, one, linked] + before[:-1]
        _extend_path([{str(tmp_path / "missing")!r}])
        assert sys.path[1] == two
        """
    )


@pytest.mark.parametrize("status", [2, 258])
def test_exit_code_2_becomes_1_in_the_worker(embedded: Embedded, status: int) -> None:
    (line,) = embedded(f"import posix; posix._exit({status})", code=1)
    assert line.startswith(f"4 os._exit({status}) was called: exit code 2 would ")
    assert line.endswith("exits with 1 instead")


@pytest.mark.parametrize("status", [0, 3])
def test_other_exit_codes_are_left_alone_and_said(embedded: Embedded, status: int) -> None:
    logged = embedded(f"import os; os._exit(status={status})", code=status)
    assert logged == [f"4 os._exit({status}) was called: it ends this worker"]


def test_a_forked_child_exits_as_it_likes(embedded: Embedded) -> None:
    logged = embedded(
        """
        import os
        pid = os.fork()
        if pid == 0:
            os._exit(2)
        assert os.waitpid(pid, 0)[1] == 2 << 8
        """
    )
    assert logged == []


def test_nginx_keeps_its_signals(embedded: Embedded) -> None:
    logged = embedded(
        """
        import signal, threading
        before = signal.getsignal(signal.SIGTERM)
        def quit(*_):
            raise AssertionError
        assert signal.signal(signal.SIGTERM, quit) == before
        assert signal.getsignal(signal.SIGTERM) == before
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        assert signal.getsignal(signal.SIGPIPE) == signal.SIG_IGN
        # The application may use all other signals.
        signal.signal(signal.SIGVTALRM, quit)
        assert signal.getsignal(signal.SIGVTALRM) is quit
        refused = []
        def elsewhere():
            try:
                signal.signal(signal.SIGTERM, quit)
            except ValueError:
                refused.append(True)
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
        assert refused
        """
    )
    assert len(logged) == 2
    assert logged[0].startswith("5 signal.signal(SIGTERM, <function quit at ")
    assert logged[0].endswith("is ignored: SIGTERM is used by nginx in a worker")
    assert logged[1].startswith("5 signal.signal(SIGPIPE, ")


def test_children_take_signals(embedded: Embedded) -> None:
    """The thread that starts them blocks all signals (embed.py does that too)."""
    embedded(
        """
        import os, signal, subprocess, sys
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        assert signal.SIGTERM in blocked
        child = subprocess.Popen(["sleep", "60"])
        child.terminate()
        assert child.wait(timeout=20) == -signal.SIGTERM
        child = subprocess.Popen(["sleep", "60"], close_fds=False)  # By os.posix_spawn().
        child.terminate()
        assert child.wait(timeout=20) == -signal.SIGTERM
        pid = os.posix_spawn("/bin/sleep", ["sleep", "60"], {})
        os.kill(pid, signal.SIGTERM)
        assert os.waitpid(pid, 0)[1] == signal.SIGTERM
        assert os.system("kill -TERM $$") == signal.SIGTERM
        pid = os.fork()
        if pid == 0:
            assert signal.signal(signal.SIGUSR1, lambda *_: os._exit(7)) == signal.SIG_DFL
            os.kill(os.getpid(), signal.SIGUSR1)
            os._exit(1)
        assert os.waitpid(pid, 0)[1] == 7 << 8
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == blocked
        """
    )


def test_subprocess_that_was_imported_before_start(embedded: Embedded) -> None:
    embedded(
        """
        import signal, subprocess
        from pywsgi import _start
        import _posixsubprocess
        # As a .pth file may import it: with the original function.
        original = _posixsubprocess.fork_exec.__wrapped__
        _posixsubprocess.fork_exec = original
        if hasattr(subprocess, "_fork_exec"):
            subprocess._fork_exec = original
        _start._free_children_of_the_signal_mask()
        child = subprocess.Popen(["sleep", "60"])
        child.terminate()
        assert child.wait(timeout=20) == -signal.SIGTERM
        """
    )


def test_multiprocessing_spawns_from_an_application(embedded: Embedded, tmp_path: Path) -> None:
    folder = tmp_path / "app"
    folder.mkdir()
    (folder / "shop.py").write_text(
        "import multiprocessing, sys, time\n"
        "def square(x): return x * x\n"
        "def speak(): print('the child speaks'); sys.exit(3)\n"
        "def hang(): time.sleep(60)\n"
        "def application(environ, start_response):\n"
        "    context = multiprocessing.get_context('spawn')\n"
        "    with context.Pool(2) as pool:\n"
        "        squares = pool.map(square, range(4))\n"
        "    child = context.Process(target=hang)\n"
        "    child.start()\n"
        "    child.terminate()\n"
        "    child.join(20)\n"
        "    return squares, child.exitcode\n"
    )
    logged = embedded(
        f"""
        import threading
        from pywsgi._exit import run
        from pywsgi._loader import Application
        application = Application({str(folder / "shop.py")!r}).load()
        answers = []
        thread = threading.Thread(target=lambda: answers.append(application({{}}, None)))
        thread.start()
        thread.join()
        assert answers == [([0, 1, 4, 9], -15)], answers
        run()
        """
    )
    assert logged == []


def test_multiprocessing_forks_from_a_thread_that_python_did_not_start(embedded: Embedded) -> None:
    embedded(
        """
        import _thread, multiprocessing, threading
        context = multiprocessing.get_context("fork")
        codes = []
        def request():
            threading.current_thread()  # As logging does: from now on it is known.
            child = context.Process(target=len, args=("abc",))
            child.start()
            child.join(20)
            codes.append(child.exitcode)
            done.release()
        done = threading.Semaphore(0)
        _thread.start_new_thread(request, ())
        assert done.acquire(timeout=30)
        assert codes == [0], codes
        """
    )


def test_run_joins_threads_then_calls_atexit_then_logs_what_is_unfinished(
    embedded: Embedded,
) -> None:
    logged = embedded(
        """
        import atexit, concurrent.futures, sys, threading, time
        from pywsgi._exit import run
        def first():
            print("atexit")
            print("unfinished", end="")
        def broken():
            raise ValueError("in atexit")
        def leaves():
            sys.exit(5)
        atexit.register(first)
        atexit.register(broken)
        atexit.register(leaves)
        concurrent.futures.ThreadPoolExecutor(1).submit(lambda: print("in the pool"))
        go = threading.Event()
        def background():
            go.wait()
            print("background")
        threading.Thread(target=background).start()
        threading.Thread(target=threading.Event().wait, daemon=True).start()
        threading.Timer(0.2, go.set).start()
        run()
        run()
        """
    )
    assert logged.index("7 background") < logged.index("7 atexit")
    assert logged.count("7 atexit") == 1
    assert "7 in the pool" in logged
    assert logged[-1] == "7 unfinished"


def test_run_without_standard_streams(embedded: Embedded) -> None:
    script = "import sys; sys.stdout = sys.stderr = None; import pywsgi._exit; pywsgi._exit.run()"
    assert embedded(script) == []


def test_what_fails_in_run_is_logged(embedded: Embedded) -> None:
    logged = embedded(
        """
        import sys, threading
        from pywsgi._exit import run
        class Odd:
            def flush(self):
                raise OSError("cannot flush")
        def broken():
            raise KeyError("before the threads")
        threading._register_atexit(broken)
        sys.stdout = Odd()
        run()
        sys.stdout = sys.__stdout__
        """
    )
    assert "4 KeyError: 'before the threads'" in logged
    assert "4 OSError: cannot flush" in logged


def test_threading_takes_no_locks_of_greenlets(embedded: Embedded) -> None:
    embedded(
        """
        import _thread, threading
        from pywsgi import LoadError

        class Lock: pass
        class Own: pass

        real = threading.Lock
        for library in ("gevent.thread", "eventlet.green.thread"):
            Lock.__module__ = library
            for module, name in ((_thread, "allocate_lock"), (threading, "Lock")):
                try:
                    setattr(module, name, Lock)
                except LoadError as error:
                    expected = f"{library.partition('.')[0]} must not replace {module.__name__}."
                    assert str(error).startswith(expected + name), error
                else:
                    raise AssertionError(name)
        assert threading.Lock is real
        threading.Lock = Own
        assert threading.Lock is Own
        """
    )
