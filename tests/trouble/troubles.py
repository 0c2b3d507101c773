"""The troubles of `make stress`: what happens to nginx, one thing after another.

Each says what of the requests' outcomes it explains while it is there (excuses.py). A reload, a
refused one, a worker that is recycled or told to leave, one that stands still: these explain
nothing.
"""

from __future__ import annotations

import contextlib
import os
import random
import resource
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from harness import Nginx
from process_memory import descriptors
from rawhttp import wait_for
from trouble.clients import PROTOCOLS, Counts, Finding
from trouble.excuses import CLOSED, FAILED, Excuses

WORKERS = 3
# For a new worker, which imports the applications, beside all the others.
PATIENCE = 120.0


class Troubles:
    """Makes trouble until it is stopped."""

    def __init__(
        self,
        nginx: Nginx,
        seed: int,
        excuses: Excuses,
        counts: Counts,
        deploy: Callable[[int | None], None],
        disk: Disk,
    ) -> None:
        self.nginx, self.excuses, self.counts = nginx, excuses, counts
        self.deploy, self.disk = deploy, disk
        self.source = random.Random(f"{seed}/troubles")
        self.over = threading.Event()
        # The signal that each worker has been killed by.
        self.killed: dict[int, int] = {}
        self.made: list[str] = []
        self.kinds: list[Callable[[], None]] = [
            self.kill,
            self.kill_two,
            self.terminate,
            self.crash,
            self.reload,
            self.reload_twice,
            self.reload_and_kill,
            self.broken_deploy,
            self.quit_one,
            self.restart_by_itself,
            self.stand_still,
            self.reopen,
            self.full_disk,
            self.short_of_descriptors,
            self.short_of_memory,
        ]

    def run(self, until: float) -> None:
        """Each kind comes once before any comes again."""
        waiting: list[Callable[[], None]] = []
        while time.monotonic() < until and not self.over.is_set():
            if not waiting:
                waiting = self.source.sample(self.kinds, len(self.kinds))
            trouble = waiting.pop()
            self.made.append(trouble.__name__)
            trouble()
            self.wait_whole(trouble.__name__)
            self.over.wait(self.source.choice([0.1, 0.5, 1.5]))

    def wait_whole(self, after: str) -> None:
        """All workers are there again; nobody is lost for good."""
        try:
            wait_for(lambda: len(self.nginx.workers()) == WORKERS, PATIENCE)
        except AssertionError:
            workers = self.nginx.workers()
            raise Finding(f"{len(workers)} of {WORKERS} workers are left after {after}") from None

    def started(self) -> list[int]:
        """The workers that have imported both applications."""
        lines = self.nginx.log_lines("imported in")
        pids = [int(line.split("] ", 1)[1].partition("#")[0]) for line in lines]
        return [pid for pid in self.nginx.workers() if pids.count(pid) >= len(PROTOCOLS)]

    def some(self, count: int) -> list[int]:
        """So many workers that have started: one that dies in an import is another trouble."""
        wait_for(lambda: len(self.started()) >= count, PATIENCE, "workers that have started")
        return self.source.sample(self.started(), count)

    def one(self) -> int:
        return self.some(1)[0]

    def busy(self) -> int:
        """The worker that has answered last: what it lacks is noticed."""
        self.counts.add("wsgi", "own")
        with self.nginx.connect(timeout=PATIENCE) as connection:
            connection.get("/wsgi/text", close=True)
            return int(connection.response().get("X-Worker"))

    # Workers that die

    def end(self, pid: int, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
            if number != signal.SIGTERM:
                self.killed[pid] = number
        wait_for(lambda: not Path(f"/proc/{pid}").exists(), PATIENCE, f"the end of {pid}")

    @contextlib.contextmanager
    def deaths(self, *outcomes: str) -> Iterator[None]:
        """Clients see such an end a moment later."""
        with self.excuses.during("death", CLOSED, *outcomes):
            yield
            self.over.wait(0.5)

    def kill(self) -> None:
        with self.deaths():
            self.end(self.one(), signal.SIGKILL)

    def kill_two(self) -> None:
        with self.deaths():
            for pid in self.some(2):
                self.end(pid, signal.SIGKILL)

    def terminate(self) -> None:
        """A worker alone that is told to exit at once."""
        with self.deaths():
            self.end(self.one(), signal.SIGTERM)

    def crash(self) -> None:
        """From within, by a request."""
        protocol = self.source.choice(PROTOCOLS)
        before = len(self.nginx.recorded("crashed"))
        self.counts.add(protocol, "own")
        with self.deaths(), contextlib.suppress(OSError):
            with self.nginx.connect(timeout=PATIENCE) as connection:
                connection.get(f"/{protocol}/crash")
                connection.rest()
            (pid,) = self.nginx.recorded("crashed")[before:]
            self.killed[int(pid)] = signal.SIGSEGV

    # Workers that are replaced

    def reload(self) -> None:
        self.deploy(self.source.randrange(10**6))
        if self.source.random() < 0.7:
            self.reload_whole()
        else:
            os.kill(self.nginx.master, signal.SIGHUP)

    def reload_whole(self) -> None:
        """A reload, until all workers are new."""
        old = set(self.nginx.workers())
        os.kill(self.nginx.master, signal.SIGHUP)
        wait_for(
            lambda: not old & set(self.nginx.workers()),
            PATIENCE,
            "the end of the old workers after a reload",
        )

    def reload_twice(self) -> None:
        os.kill(self.nginx.master, signal.SIGHUP)
        self.over.wait(self.source.choice([0.0, 0.3, 1.0, 2.0]))
        os.kill(self.nginx.master, signal.SIGHUP)

    def reload_and_kill(self) -> None:
        """An import that a worker dies of is put off, and its requests are answered 500."""
        before = set(self.nginx.workers(leaving=True))
        os.kill(self.nginx.master, signal.SIGHUP)
        self.over.wait(self.source.choice([0.0, 0.3, 1.0, 2.0]))
        with self.deaths(FAILED):
            self.end(self.source.choice(self.nginx.workers(leaving=True)), signal.SIGKILL)
            # The workers of before may still serve: they do not count.
            wait_for(
                lambda: len(set(self.started()) - before) == WORKERS,
                PATIENCE,
                "the imports that were put off",
            )

    def broken_deploy(self) -> None:
        """The check refuses it, and the old code answers; a worker that is recycled meanwhile has
        only the broken code."""
        # One that still imports would get the broken code.
        self.some(WORKERS)
        before, workers = len(self.nginx.error_log()), self.nginx.workers()
        with self.excuses.during("broken", FAILED) as excuse:
            self.deploy(None)
            os.kill(self.nginx.master, signal.SIGHUP)
            wait_for(
                lambda: "the configuration is refused" in self.nginx.error_log()[before:],
                PATIENCE,
                "a refused reload",
            )
            self.over.wait(self.source.choice([0.0, 1.0]))
            recycled = self.nginx.workers() != workers
            self.deploy(self.source.randrange(10**6))
            self.reload_whole()
        if excuse.used and not recycled:
            raise Finding(f"the old code did not answer: {excuse.used[:5]}")

    def quit_one(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.one(), signal.SIGQUIT)

    def restart_by_itself(self) -> None:
        """An application asks for another worker."""
        protocol = self.source.choice(PROTOCOLS)
        self.counts.add(protocol, "own")
        with self.nginx.connect(timeout=PATIENCE) as connection:
            connection.get(f"/{protocol}/restart", close=True)
            status = connection.response().status
        if status != 200:
            raise Finding(f"restart_worker() was answered {status}")

    def stand_still(self) -> None:
        """A worker that gets no processor for a while."""
        pid = self.one()
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
            try:
                self.over.wait(self.source.choice([0.2, 2.0]))
            finally:
                os.kill(pid, signal.SIGCONT)

    def reopen(self) -> None:
        """A worker that is forked between the signal and what the master does about it reopens the
        logs, too, which the master has not given to the workers' user yet."""
        with self.excuses.during("reopen"):
            os.kill(self.nginx.master, signal.SIGUSR1)
            self.over.wait(0.5)

    # What runs short

    def full_disk(self) -> None:
        with self.excuses.during("disk", CLOSED, FAILED, large=True), self.disk.full():
            self.over.wait(self.source.choice([1.0, 3.0]))

    def short_of_descriptors(self) -> None:
        pid = self.busy()
        with (
            self.excuses.during("descriptors", CLOSED, FAILED),
            contextlib.suppress(FileNotFoundError),
        ):
            few = descriptors(pid) + self.source.choice([0, 2, 5])
            with limited(pid, "nofile", few):
                self.over.wait(self.source.choice([0.5, 2.0]))
            # nginx tries again to accept after half a second.
            self.over.wait(1)

    def short_of_memory(self) -> None:
        """A worker may die of it: Rust and C libraries cannot go on without memory."""
        pid = self.busy()
        with self.excuses.during("memory", CLOSED, FAILED), contextlib.suppress(FileNotFoundError):
            pages = int(Path(f"/proc/{pid}/statm").read_text().split()[0])
            room = self.source.choice([1, 8, 24]) << 20
            with limited(pid, "as", pages * resource.getpagesize() + room):
                self.over.wait(self.source.choice([0.5, 2.0]))
            if not Path(f"/proc/{pid}").exists():
                self.killed[pid] = signal.SIGABRT
            self.wait_whole("short_of_memory")
            self.over.wait(1)


@contextlib.contextmanager
def limited(pid: int, what: str, soft: int) -> Iterator[None]:
    """A process with this soft limit, until the end or its death.

    what: as prlimit(1) calls it. Root may change the limits of others only with CAP_SYS_RESOURCE;
    everybody may change those of their own processes.
    """
    before, _ = prlimit(pid, "--output=SOFT,HARD", f"--{what}").split() or ("", "")
    prlimit(pid, f"--{what}={soft}:")
    try:
        yield
    finally:
        if before:
            prlimit(pid, f"--{what}={before}:")


def prlimit(pid: int, *options: str) -> str:
    """What prlimit(1) says; nothing if there is no such process any more."""
    try:
        owner = Path(f"/proc/{pid}").stat()
    except FileNotFoundError:
        return ""
    as_owner = {"user": owner.st_uid, "group": owner.st_gid} if os.geteuid() == 0 else {}
    command = ["prlimit", "--noheadings", "--pid", str(pid), *options]
    ended = subprocess.run(command, capture_output=True, text=True, **as_owner)
    if ended.returncode != 0 and Path(f"/proc/{pid}").exists():
        raise Finding(f"{command}: {ended.stderr}")
    return ended.stdout


class Disk:
    """The folder of nginx's temporary files: a small file system, if one can be mounted."""

    SIZE = 64 << 20

    def __init__(self, nginx: Nginx) -> None:
        self.nginx, self.folder = nginx, nginx.root / "tmp"
        command = ["mount", "-t", "tmpfs", "-o", f"size={self.SIZE},mode=777", "stress"]
        self.mounted = False
        if os.geteuid() == 0 and shutil.which("mount"):
            mount = subprocess.run([*command, str(self.folder)], capture_output=True)
            self.mounted = mount.returncode == 0

    @contextlib.contextmanager
    def full(self) -> Iterator[None]:
        """The disk has no room. Without a file system of its own: files may not be large."""
        if not self.mounted:
            with contextlib.ExitStack() as stack:
                for pid in self.nginx.workers(leaving=True):
                    # Their logs must still grow.
                    room = self.nginx.log_path.stat().st_size + (1 << 20)
                    stack.enter_context(limited(pid, "fsize", room))
                yield
            return
        fill = self.folder / "fill"
        with fill.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(1 << 20))
        with fill.open("ab", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(512))
        try:
            yield
        finally:
            fill.unlink()

    def close(self) -> None:
        if self.mounted:
            subprocess.run(["umount", "-l", str(self.folder)], check=True)
