"""Makes the interpreter of a worker process one that applications can live in.

A worker is nginx's process, not Python's: its signals, its exit code and its standard streams are
nginx's, and its Python threads block all signals. What an application takes for granted is arranged
here, in the one place that changes anything in the modules of the standard library.
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

# An application may put greenlets in the place of threads (gevent.monkey): these are the threads.
from _thread import get_ident
from collections.abc import Callable, Sequence
from typing import Any

from pywsgi._django_project import watch_environment
from pywsgi._log import ERROR, WARN, log, log_by_descriptor, log_last, printable, wake_main
from pywsgi._streams import LogStream
from pywsgi._threads import refuse_greenlets, watch_hooks


def start(path: Sequence[str], stdout_level: int, stderr_level: int, argv: Sequence[str]) -> None:
    """Called once per worker, on Python's main thread, before anything of an application runs."""
    _redirect(stdout_level, stderr_level)
    _extend_path(path)
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
    """`wsgi.errors`: one object for all requests; what is unfinished of a line is each thread's."""
    return _errors


def _redirect(stdout_level: int, stderr_level: int) -> None:
    _errors.level = stderr_level
    output = LogStream(stdout_level, "<stdout>")
    # nginx that is not a daemon has the terminal as its standard input.
    nothing = open(os.devnull, encoding="utf-8")  # noqa: SIM115 (it stays open)
    streams = {"stdin": nothing, "stdout": output, "stderr": _errors}
    for name, stream in streams.items():
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def _extend_path(path: Sequence[str]) -> None:
    """Each directory as by site.addsitedir(), so that .pth files count, but in sys.path's front."""
    front: list[str] = []
    for directory in path:
        before = list(sys.path)
        # With an empty set of known directories, one that is known is added again, at the end, and
        # so comes in front like the others.
        site.addsitedir(directory, set())
        if sys.path[: len(before)] == before:
            front += sys.path[len(before) :]
        else:  # A .pth file may hold code that arranges sys.path itself.
            front += [entry for entry in sys.path if entry not in before]
    sys.path[:] = dict.fromkeys(front + sys.path)


def _make_main() -> None:
    """A `__main__` as of `python -c ''`: multiprocessing's spawn looks at its __spec__ and __file__
    to run the same program in the child, and here there is none to run."""
    main = sys.modules.get("__main__")
    if main is None:
        main = sys.modules["__main__"] = types.ModuleType("__main__")
    main.__spec__ = None
    vars(main).pop("__file__", None)


def _guard_exit(worker: int) -> None:
    """nginx never starts a worker again that has exited with code 2 (ngx_process_get_status)."""
    leave = os._exit

    @functools.wraps(leave)
    def guarded(status: int) -> Any:
        status = operator.index(status)
        if getpid() == worker:
            what = f"os._exit({status}) was called"
            if status & 0xFF == _NEVER_AGAIN:
                status = 1
                log_last(
                    f"{what}: exit code 2 would keep nginx from starting this worker again, so that"
                    " it exits with 1 instead"
                )
            else:
                log_last(f"{what}: it ends this worker")
        leave(status)

    getpid = os.getpid
    os._exit = posix._exit = guarded


def _guard_signals(worker: int) -> None:
    """nginx learns by signal that a worker is to quit: a handler of Python's in that place would
    keep it from ever exiting, and SIGPIPE's default would end it with the first aborted client.
    All other signals are the application's; their handlers run on Python's main thread, as ever."""
    set_handler, getpid, main = signal.signal, os.getpid, get_ident()

    def is_nginxs(signalnum: int) -> bool:
        return signalnum in _NGINX_SIGNALS and getpid() == worker

    def ignored(call: str, signalnum: int) -> None:
        name = signal.Signals(signalnum).name
        log(WARN, printable(f"{call} is ignored: in a worker {name} is nginx's signal"))

    @functools.wraps(set_handler)
    def guarded(signalnum: int, handler: Any, /) -> Any:
        # On other threads Python itself refuses.
        if not is_nginxs(signalnum) or get_ident() != main:
            return set_handler(signalnum, handler)
        name = signal.Signals(signalnum).name
        ignored(f"signal.signal({name}, {handler!r})", signalnum)
        return signal.getsignal(signalnum)

    signal.signal = guarded  # type: ignore[assignment]

    # The timer whose signal SIGALRM is: nginx's own `timer_resolution` has it.
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
            ignored(f"faulthandler.register({signal.Signals(signum).name})", signum)
        else:
            register(signum, *args, **kwargs)

    faulthandler.register = guarded_register

    def in_forked_child() -> None:
        for signalnum in _NGINX_SIGNALS - {signal.SIGPIPE}:
            set_handler(signalnum, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        log_by_descriptor()
        # Up to Python 3.12 threading._shutdown(), which multiprocessing calls as a child ends,
        # fails where a thread has forked that threading did not start.
        thread: Any = main_thread()
        if getattr(thread, "_tstate_lock", thread) is None:
            thread._set_tstate_lock()

    main_thread = threading.main_thread
    # nginx's handlers would go on in the child, and do nothing there but set a flag.
    os.register_at_fork(after_in_child=in_forked_child)


def _free_children_of_the_signal_mask() -> None:
    """A child process inherits the signal mask of the thread that starts it. A Python thread of
    nginx blocks all signals: Popen.terminate(), and with it multiprocessing's Pool.terminate(),
    would be without effect on its children."""
    spawn = _unblocked(_posixsubprocess.fork_exec)
    _posixsubprocess.fork_exec = spawn
    subprocess = sys.modules.get("subprocess")
    if subprocess is not None and hasattr(subprocess, "_fork_exec"):
        # Imported already, by a .pth file say. Since Python 3.11 it has a name of its own for it.
        vars(subprocess)["_fork_exec"] = spawn
    os.posix_spawn = _unblocked(os.posix_spawn)
    os.posix_spawnp = _unblocked(os.posix_spawnp)
    os.system = _unblocked(os.system)


def _unblocked(start_child: Callable[..., Any]) -> Any:
    # Meanwhile this thread could take a signal that is meant for nginx; Linux gives one that is
    # sent to the process to its first thread, the event loop's, which blocks none
    # (complete_signal()). One of the application's that it takes is for Python's main thread.
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


# ngx_process.c: the code after which a worker is not started again.
_NEVER_AGAIN = 2

# Those that nginx handles or ignores in a worker, but for SIGCHLD, which the module gives back; and
# the one by which the module wakes Python's main thread.
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
    }
)

_errors = LogStream(ERROR, "<stderr>")
