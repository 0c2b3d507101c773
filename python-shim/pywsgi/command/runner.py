"""nginx as a child of `pywsgi serve`: its start, what it says, its signals, its end."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from pywsgi import __version__
from pywsgi.command import addresses
from pywsgi.command.application import Application, environment, why_not
from pywsgi.command.finding import Nginx
from pywsgi.command.nginx_conf import render
from pywsgi.command.options import Options, UsageError
from pywsgi.command.output import (
    CHANGED,
    CHECK_REFUSED,
    IMPORT_FAILED,
    IMPORT_KILLED,
    IMPORTED,
    NOT_STARTED,
    Line,
    Printer,
)
from pywsgi.command.site import STATUS_SOCKET, Private, serving
from pywsgi.command.status import FAULTS, read_socket


def write(path: Path, text: str) -> None:
    """A file that only its owner can read, whole at any time."""
    new = path.with_name(f"{path.name}.new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(text)
    new.replace(path)


class Runner:
    """nginx as a child, from its start to its end."""

    def __init__(
        self,
        options: Options,
        app: Application,
        nginx: Nginx,
        private: Private,
        listening: list[addresses.Listener],
        printer: Printer,
    ) -> None:
        self._options = options
        self._app = app
        self._nginx = nginx
        self._private = private
        self._listening = listening
        self._printer = printer
        self._is_ready = False
        self._is_reloading = False
        # nginx's master handles its signals.
        self._has_workers = False
        # The workers that have imported the application; and, once these are all, when to ask next
        # whether they serve, and how long to wait after that.
        self._imported: set[int] = set()
        self._look: float | None = None
        self._wait = 0.0
        self._has_failed = False
        # Nobody but the worker has tried to import the application.
        self._is_unseen = False
        self._asked: list[int] = []
        self._deadline = 0.0
        # When to say that the import takes its time.
        self._announce = time.monotonic() + 1.0
        self._hint = ""
        self._master: subprocess.Popen[bytes] | None = None
        # nginx's standard error.
        self._err = -1

    def run(self) -> int:
        self._write(check=False)
        with self._pid_file(), _signals() as wakeup, self._started() as (out, err):
            gc.enable()
            self._err = err
            return self._watch(wakeup, out, err)

    def _write(self, check: bool) -> None:
        private = self._private._replace(check=check)
        directives = serving(self._options, self._app, self._nginx, private)
        write(self._private.folder / "nginx.conf", render(directives))

    @contextlib.contextmanager
    def _started(self) -> Iterator[tuple[int, int]]:
        """nginx's standard output and standard error."""
        out, nginx_out = os.pipe()
        err, nginx_err = os.pipe()
        folder = self._private.folder
        descriptors = [each.socket.fileno() for each in self._listening]
        environ = dict(os.environ)
        environ.pop("NGINX", None)
        if descriptors:
            environ["NGINX"] = "".join(f"{each};" for each in descriptors)
        try:
            self._master = subprocess.Popen(
                self._nginx.command(folder),
                stdin=subprocess.DEVNULL,
                stdout=nginx_out,
                stderr=nginx_err,
                pass_fds=descriptors,
                env=environ,
                # The terminal's signals are the command's alone.
                start_new_session=True,
                preexec_fn=_follow(os.getpid(), self._options.umask),
            )
        except OSError as error:
            raise UsageError(f"{self._nginx.path} cannot be started: {error.strerror}") from None
        finally:
            os.close(nginx_out)
            os.close(nginx_err)
        # nginx has them. What is left here would take connections when nginx takes none any more.
        for each in self._listening:
            each.socket.close()
        try:
            yield out, err
        finally:
            self._end()
            os.close(out)
            os.close(err)

    @contextlib.contextmanager
    def _pid_file(self) -> Iterator[None]:
        """While the command runs, the file has its process id."""
        if not self._options.pid:
            yield
            return
        file = Path(self._options.pid)
        try:
            file.write_text(f"{os.getpid()}\n")
        except OSError as error:
            raise UsageError(f"--pid {file}: {error.strerror}") from None
        try:
            yield
        finally:
            # It may be another server's by now, or no file that can go, such as /dev/null.
            with contextlib.suppress(OSError, ValueError):
                if int(file.read_text()) == os.getpid():
                    file.unlink()

    def _end(self) -> None:
        """If the command itself fails, nginx must not stay."""
        if self._master is not None and self._master.poll() is None:
            self._master.terminate()
            self._master.wait()

    def _watch(self, wakeup: int, out: int, err: int) -> int:
        assert self._master is not None
        with selectors.DefaultSelector() as selector:
            for descriptor in (wakeup, out, err):
                os.set_blocking(descriptor, False)
                selector.register(descriptor, selectors.EVENT_READ)
            open_pipes = {out, err}
            while open_pipes:
                for key, _ in selector.select(self._pause()):
                    descriptor = key.fd
                    with contextlib.suppress(BlockingIOError):
                        data = os.read(descriptor, 1 << 16)
                        if descriptor == wakeup:
                            for number in data:
                                self._signalled(number)
                        elif not data:
                            selector.unregister(descriptor)
                            open_pipes.discard(descriptor)
                        elif descriptor == out:
                            _copy(data)
                        else:
                            for line in self._printer.feed(data):
                                self._logged(line)
                if self._look is not None and time.monotonic() >= self._look:
                    self._wait = min(self._wait * 2, _LONGEST_WAIT)
                    self._look = time.monotonic() + self._wait
                    self._look_whether_ready()
                if self._announce and time.monotonic() > self._announce:
                    self._announce = 0.0
                    if not self._is_ready and not self._asked and not self._has_failed:
                        self._printer.info(f"Importing {self._app.target}")
                if self._deadline and time.monotonic() > self._deadline:
                    self._deadline = 0.0
                    self._cut()
                if self._master.poll() is not None:
                    # Processes that the application has started may keep the pipes open.
                    self._drain(out, err)
                    break
        status = self._master.wait()
        self._printer.end()
        return self._result(status)

    def _hear(self) -> None:
        """What nginx has written up to now."""
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self._err, 1 << 16):
                for line in self._printer.feed(data):
                    self._logged(line)

    def _drain(self, out: int, err: int) -> None:
        for descriptor in (out, err):
            with contextlib.suppress(BlockingIOError, OSError):
                while data := os.read(descriptor, 1 << 16):
                    if descriptor == out:
                        _copy(data)
                    else:
                        self._printer.feed(data)

    def _result(self, status: int) -> int:
        if self._has_failed:
            why = None
            if self._is_unseen:
                why = why_not(self._options, environment(self._options), self._private.user)
            self._printer.say("error", why or "The application has not started. Exiting.")
            return 3
        # Before it has its own handlers, the signal itself ends it.
        if self._asked and (status == 0 or not self._is_ready):
            self._printer.info("Stopped")
            return 0
        if not self._is_ready:
            self._printer.say("error", f"nginx did not start; the lines above say why{self._hint}")
            return 1
        how = f"by signal {-status}" if status < 0 else f"with exit code {status}"
        self._printer.say("error", f"nginx has ended {how}")
        return 1

    def _pause(self) -> float | None:
        """Until something is to be done without an event."""
        if self._look is not None:
            return max(self._look - time.monotonic(), 0.0)
        if self._deadline:
            return max(self._deadline - time.monotonic(), 0.0) + 0.01
        return 1.0

    # What nginx says.

    def _logged(self, line: Line) -> None:
        self._has_workers = self._has_workers or line.text.startswith(_WORKERS)
        if line.number == IMPORTED:
            self._has_imported(line.pid)
        elif line.number in (IMPORT_FAILED, IMPORT_KILLED, NOT_STARTED) and not self._is_ready:
            self._is_unseen = self._app.is_guessed and line.number != NOT_STARTED
            self._fail()
        elif line.number == CHANGED:
            self._reloads()
        elif line.number == CHECK_REFUSED:
            self._is_reloading = False
            self._printer.say("warning", "The new code is not loaded: the old one goes on")
        elif line.level == "alert" and line.text.endswith(_NO_WORKER) and not self._is_ready:
            self._fail(for_good=True)
        elif line.level == "emerg" and not self._is_ready:
            self._hint = _hint(line.text)

    def _has_imported(self, worker: int) -> None:
        self._imported.add(worker)
        if len(self._imported) < self._workers():
            return
        if not self._is_ready:
            # Its startup may take a little longer.
            self._look, self._wait = time.monotonic(), 0.001
        elif self._is_reloading:
            self._is_reloading = False
            self._printer.info("Reloaded")

    def _reloads(self) -> None:
        self._is_reloading = self._is_ready
        self._imported.clear()

    def _fail(self, for_good: bool = False) -> None:
        """The application cannot be served. With --reload it is mended while nginx runs, unless
        nginx itself has given up."""
        if (self._options.reload and not for_good) or self._has_failed:
            return
        self._has_failed = True
        assert self._master is not None
        self._master.send_signal(signal.SIGTERM)

    def _look_whether_ready(self) -> None:
        try:
            status = read_socket(self._private.folder / STATUS_SOCKET, timeout=1.0)
        except FAULTS:
            return
        workers = [each for each in status["workers"] if each["state"] == "serving"]
        if len(workers) < self._workers():
            return
        # A worker that serves has said before whether its application is there. What an application
        # writes from now on ends nothing, whatever it looks like.
        self._hear()
        if self._has_failed:
            return
        self._is_ready = True
        self._printer.is_starting = False
        self._look = None
        versions = status["versions"]
        for worker in workers:
            self._printer.info(f"Started worker process [{worker['pid']}]")
        self._printer.info(
            f"Application startup complete: {self._app.target} ({self._app.protocol.upper()})"
        )
        for address in self._addresses():
            self._printer.info(
                f"pywsgi {__version__} running on {address} (nginx {versions['nginx']}, Python"
                f" {versions['python']}; Press CTRL+C to quit)"
            )
        if self._options.reload:
            self._printer.info("Will reload when the code changes")
        self._write_instance()
        # From now on, nothing that cannot be imported replaces what runs.
        self._write(check=True)

    def _write_instance(self) -> None:
        """For `pywsgi top`."""
        import json

        instance = {
            "application": self._app.target,
            "addresses": self._addresses(),
        }
        write(self._private.folder / "instance.json", json.dumps(instance))

    def _workers(self) -> int:
        number = self._options.workers
        return os.cpu_count() or 1 if number == "auto" else int(number)

    def _addresses(self) -> list[str]:
        scheme = "https" if self._options.has_tls else "http"
        shown = [each.shown for each in self._listening] or [
            ":".join(filter(None, each)) for each in self._private.listen
        ]
        return [each if each.startswith("unix:") else f"{scheme}://{each}" for each in shown]

    # Signals.

    def _signalled(self, number: int) -> None:
        assert self._master is not None
        if number == signal.SIGUSR1:
            # It would end an nginx that has not opened its logs yet.
            if self._has_workers:
                self._master.send_signal(signal.SIGUSR1)
        elif number == signal.SIGHUP and not is_hung_up():
            # Without workers, the code is yet to be read.
            if self._has_workers:
                self._printer.info("Reloading")
                self._reloads()
                self._master.send_signal(signal.SIGHUP)
        elif number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            self._stop(number)

    def _stop(self, number: int) -> None:
        """The first signal: requests are finished. After Ctrl-C for a few seconds only; a second
        one ends them."""
        assert self._master is not None
        self._asked.append(number)
        if not self._is_ready and len(self._asked) == 1:
            self._printer.info("Shutting down before the application has started")
        if len(self._asked) > 1 or not self._is_ready:
            self._cut()
            return
        if number == signal.SIGTERM:
            self._printer.info("Shutting down: waiting for requests to end")
        else:
            self._printer.info("Shutting down (Press CTRL+C again to cut requests)")
            self._deadline = time.monotonic() + _PATIENCE
        self._master.send_signal(signal.SIGQUIT)

    def _cut(self) -> None:
        """Without waiting for requests."""
        assert self._master is not None
        if self._is_ready and not self._printer.cuts:
            self._printer.info("Cutting the requests that still run")
        self._printer.cuts = True
        self._master.send_signal(signal.SIGTERM)


# For how long Ctrl-C waits for requests, in seconds.
_PATIENCE = 5.0

# What nginx says when it starts them (ngx_start_worker_processes).
_WORKERS = "start worker process"

# The end of what nginx says of a worker that it does not start again (ngx_reap_children).
_NO_WORKER = "and cannot be respawned"

# Between two looks whether the application's startup has ended, in seconds.
_LONGEST_WAIT = 0.1


def _hint(text: str) -> str:
    """What to do about nginx's own messages."""
    if "is not binary compatible" in text or " instead of " in text:
        return ": the module is built for another nginx; pywsgi doctor says more"
    if "dlopen()" in text:
        return ": the module cannot be loaded; pywsgi doctor says more"
    return ""


def _follow(parent: int, umask: int | None) -> Callable[[], None]:
    """Runs in the child, before nginx: it ends when this process does, even by SIGKILL."""
    prctl = getattr(ctypes.CDLL(None), "prctl", None)

    def prepare() -> None:
        if umask is not None:
            os.umask(umask)
        if prctl is not None:
            prctl(1, signal.SIGTERM, 0, 0, 0)
            if os.getppid() != parent:
                os._exit(1)

    return prepare


def _copy(data: bytes) -> None:
    """The access log, to the standard output."""
    while data:
        try:
            data = data[os.write(1, data) :]
        except BlockingIOError:
            time.sleep(0.001)
        except OSError:
            return


def is_hung_up() -> bool:
    """Whether SIGHUP means that the terminal has gone, and not a reload."""
    return _ends_with_terminal and not _has_terminal()


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY))
    except OSError:
        return False
    return True


# Not under nohup.
_ends_with_terminal = _has_terminal() and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN


@contextlib.contextmanager
def _signals() -> Iterator[int]:
    """A descriptor that has the number of each signal as a byte."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    os.set_blocking(reading, False)
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGCHLD)
    before = {number: signal.signal(number, lambda *_: None) for number in numbers}
    wakeup = signal.set_wakeup_fd(writing)
    try:
        yield reading
    finally:
        signal.set_wakeup_fd(wakeup)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(reading)
        os.close(writing)
