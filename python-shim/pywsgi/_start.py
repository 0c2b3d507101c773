"""Prepares a worker's interpreter for applications.

A worker is an nginx process: its signals, exit code and standard streams belong to nginx, and its
Python threads block all signals. This module sets up what an application expects from a process. No
other module changes modules of the standard library.
"""

from __future__ import annotations

import _posixsubprocess
import faulthandler
import functools
import operator
import os
import posix
import signal
import site
import sys
import threading
import types

# gevent.monkey may replace these in `threading`; here they are always those of threads.
from _thread import get_ident
from collections.abc import Callable, Sequence
from typing import Any

from pywsgi._contrib import ContribFinder
from pywsgi._django_project import watch_environment
from pywsgi._log import ERROR, log, log_last, wake_main
from pywsgi._records import watch_logging
from pywsgi._streams import LogStream
from pywsgi._threads import refuse_greenlets, watch_hooks


def start(path: Sequence[str], stdout_level: int, stderr_level: int, argv: Sequence[str]) -> None:
    """Called once per worker, on Python's main thread, before any application code runs."""
    _redirect(stdout_level, stderr_level)
    watch_logging()
    _extend_path(path)
    sys.meta_path.append(ContribFinder)
    sys.argv = list(argv)
    _make_main()
    worker = os.getpid()
    _guard_exit(worker)
    _guard_signals(worker)
    _free_children_of_the_signal_mask()
    watch_hooks()
    refuse_greenlets()
    watch_environment()


def errors_stream() -> LogStream:
    """`wsgi.errors`: one object for all requests; unfinished lines are kept per thread."""
    return _errors


def _redirect(stdout_level: int, stderr_level: int) -> None:
    _errors.level = stderr_level
    output = LogStream(stdout_level, "<stdout>")
    # If nginx is not a daemon, its standard input is the terminal.
    nothing = open(os.devnull, encoding="utf-8")  # noqa: SIM115 (it stays open)
    streams = {"stdin": nothing, "stdout": output, "stderr": _errors}
    for name, stream in streams.items():
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def _extend_path(path: Sequence[str]) -> None:
    """Adds directories like site.addsitedir(), with their .pth files, but in front of sys.path."""
    front: list[str] = []
    for directory in path:
        before = list(sys.path)
        # With an empty set of known directories, a known one is added again at the end, and is
        # moved to the front like the others.
        site.addsitedir(directory, set())
        if sys.path[: len(before)] == before:
            front += sys.path[len(before) :]
        else:  # Code in a .pth file may have rearranged sys.path.
            front += [entry for entry in sys.path if entry not in before]
    sys.path[:] = dict.fromkeys(front + sys.path)


def _make_main() -> None:
    """Creates a `__main__` like that of `python -c ''`: multiprocessing's spawn uses its __spec__
    and __file__ to run the same program in the child, and here there is no program."""
    main = sys.modules.get("__main__")
    if main is None:
        main = sys.modules["__main__"] = types.ModuleType("__main__")
    main.__spec__ = None
    vars(main).pop("__file__", None)


def _guard_exit(worker: int) -> None:
    """nginx does not restart a worker that exits with code 2 (ngx_process_get_status)."""
    leave = os._exit

    @functools.wraps(leave)
    def guarded(status: int) -> Any:
        status = operator.index(status)
        if getpid() == worker:
            what = f"os._exit({status}) was called"
            if status & 0xFF == _NEVER_AGAIN:
                status = 1
                log_last(
                    "ExitCalled",
                    f"{what}: exit code 2 would keep nginx from starting this worker again, so that"
                    " it exits with 1 instead",
                )
            else:
                log_last("ExitCalled", f"{what}: it ends this worker")
        leave(status)

    getpid = os.getpid
    os._exit = posix._exit = guarded


def _guard_signals(worker: int) -> None:
    """nginx uses signals to make a worker quit: if Python replaced a handler, the worker would
    never exit, and SIGPIPE's default would kill it when a client aborts. Applications may use all
    other signals; their handlers run on Python's main thread, as usual."""
    set_handler, getpid, main = signal.signal, os.getpid, get_ident()

    def is_nginxs(signalnum: int) -> bool:
        return signalnum in _NGINX_SIGNALS and getpid() == worker

    def ignored(call: str, signalnum: int) -> None:
        name = _name_of(signalnum)
        log("SignalIgnored", f"{call} is ignored: {name} is used by nginx in a worker")

    @functools.wraps(set_handler)
    def guarded(signalnum: int, handler: Any, /) -> Any:
        # On other threads Python itself raises.
        if not is_nginxs(signalnum) or get_ident() != main:
            return set_handler(signalnum, handler)
        name = _name_of(signalnum)
        ignored(f"signal.signal({name}, {handler!r})", signalnum)
        return signal.getsignal(signalnum)

    signal.signal = guarded  # type: ignore[assignment]

    # This timer sends SIGALRM, which nginx uses for `timer_resolution`.
    set_timer, set_alarm = signal.setitimer, signal.alarm

    @functools.wraps(set_timer)
    def guarded_timer(which: int, seconds: float, interval: float = 0.0, /) -> tuple[float, float]:
        if which == signal.ITIMER_REAL and is_nginxs(signal.SIGALRM):
            ignored(f"signal.setitimer(ITIMER_REAL, {seconds!r})", signal.SIGALRM)
            return (0.0, 0.0)
        return set_timer(which, seconds, interval)

    @functools.wraps(set_alarm)
    def guarded_alarm(seconds: int, /) -> int:
        if is_nginxs(signal.SIGALRM):
            ignored(f"signal.alarm({seconds!r})", signal.SIGALRM)
            return 0
        return set_alarm(seconds)

    signal.setitimer = guarded_timer
    signal.alarm = guarded_alarm

    register = faulthandler.register

    @functools.wraps(register)
    def guarded_register(signum: int, *args: Any, **kwargs: Any) -> None:
        if is_nginxs(signum):
            ignored(f"faulthandler.register({_name_of(signum)})", signum)
        else:
            register(signum, *args, **kwargs)

    faulthandler.register = guarded_register

    def in_forked_child() -> None:
        for signalnum in _NGINX_SIGNALS - {signal.SIGPIPE}:
            set_handler(signalnum, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        # Up to Python 3.12, threading._shutdown(), which multiprocessing calls when a child exits,
        # fails if the thread that forked was not started by threading.
        thread: Any = main_thread()
        if getattr(thread, "_tstate_lock", thread) is None:
            thread._set_tstate_lock()

    main_thread = threading.main_thread
    # In the child, nginx's handlers would only set a flag that nobody reads.
    os.register_at_fork(after_in_child=in_forked_child)


def _name_of(signalnum: int) -> str:
    return "SIGRTMAX-1" if signalnum == _DUMP_SIGNAL else signal.Signals(signalnum).name


def _free_children_of_the_signal_mask() -> None:
    """A child process inherits the signal mask of the thread that starts it. Python threads in
    nginx block all signals, so Popen.terminate() and multiprocessing's Pool.terminate() would have
    no effect on their children."""
    spawn = _unblocked(_posixsubprocess.fork_exec)
    _posixsubprocess.fork_exec = spawn
    subprocess = sys.modules.get("subprocess")
    if subprocess is not None and hasattr(subprocess, "_fork_exec"):
        # Already imported, perhaps by a .pth file. Since Python 3.11 it has its own name for it.
        vars(subprocess)["_fork_exec"] = spawn
    os.posix_spawn = _unblocked(os.posix_spawn)
    os.posix_spawnp = _unblocked(os.posix_spawnp)
    os.system = _unblocked(os.system)


def _unblocked(start_child: Callable[..., Any]) -> Any:
    # While unblocked, this thread could receive a signal for nginx; but Linux delivers a signal of
    # the process to its first thread, the event loop's, which blocks none (complete_signal()). If
    # it receives one for the application, Python's main thread must be woken.
    set_mask = signal.pthread_sigmask

    @functools.wraps(start_child)
    def call(*args: Any, **kwargs: Any) -> Any:
        blocked = set_mask(signal.SIG_SETMASK, ())
        try:
            return start_child(*args, **kwargs)
        finally:
            set_mask(signal.SIG_SETMASK, blocked)
            wake_main()

    return call


# ngx_process.c: nginx does not restart a worker that exits with this code.
_NEVER_AGAIN = 2

# The signals that nginx handles or ignores in a worker, except SIGCHLD, which the module restores;
# and the one that wakes Python's main thread.
# The watchdog's (`pywsgi._stacks.dump_at`).
_DUMP_SIGNAL = signal.SIGRTMAX - 1

_NGINX_SIGNALS = frozenset(
    {
        signal.SIGHUP,
        signal.SIGUSR1,
        signal.SIGUSR2,
        signal.SIGWINCH,
        signal.SIGTERM,
        signal.SIGQUIT,
        signal.SIGINT,
        signal.SIGALRM,
        signal.SIGIO,
        signal.SIGPIPE,
        signal.SIGRTMAX,
        _DUMP_SIGNAL,
    }
)

_errors = LogStream(ERROR, "<stderr>")
