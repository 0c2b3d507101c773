"""The time from typing the command to the first answer: `pywsgi serve` beside gunicorn and uvicorn.

    python first_answers.py --module MODULE.so --nginx /usr/sbin/nginx [--rounds 15] [CASE…]

The two servers of a case take turns. Processor time is that of all their processes until the first
answer, from the kernel; everything is killed then. Shown are the medians, the median of the ratios
of pairs, and the memory (PSS) of all processes a second after the first answer.
"""

from __future__ import annotations

import argparse
import compileall
import contextlib
import ctypes
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from accounting import memory
from place import StartError, free_port
from servers import BIN

SHIM = Path(__file__).resolve().parent.parent / "python-shim"
PR_SET_CHILD_SUBREAPER = 36

APPS = {
    "wsgi": """
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]
""",
    "asgi": """
async def app(scope, receive, send):
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": b"hello"})
""",
    "flask": """
from flask import Flask

app = Flask(__name__)

@app.get("/")
def hello():
    return "hello"
""",
    "fastapi": """
from fastapi import FastAPI

app = FastAPI()

@app.get("/")
def hello():
    return "hello"
""",
}
OTHERS = {"wsgi": "gunicorn", "asgi": "uvicorn", "flask": "gunicorn", "fastapi": "uvicorn"}

# As pip installs it: an environment of its own would take a minute.
COMMAND = """\
#!{python}
import sys
sys.path.insert(0, {folder!r})
from pywsgi.command import main
sys.exit(main())
"""


@dataclass(frozen=True)
class Start:
    """Seconds until the first answer, and megabytes."""

    processor: float
    wall: float
    pss: float = 0.0


class Starts:
    def __init__(self, folder: Path, module: Path, nginx: str) -> None:
        self._folder = folder
        self._environ = {
            **os.environ,
            "PYWSGI_MODULE": str(module),
            "PYWSGI_NGINX": nginx,
            "TMPDIR": str(folder),
        }
        shutil.copytree(SHIM / "pywsgi", folder / "lib" / "pywsgi")
        for name, source in APPS.items():
            (folder / f"{name}_app.py").write_text(source)
        compileall.compile_dir(folder, quiet=1)
        self._command = folder / "pywsgi"
        self._command.write_text(COMMAND.format(python=sys.executable, folder=str(folder / "lib")))
        self._command.chmod(0o755)

    def once(self, server: str, case: str, with_memory: bool = False) -> Start:
        port = free_port()
        command = {
            "pywsgi": [self._command, "serve", f"--port={port}"],
            "gunicorn": [BIN / "gunicorn", f"--bind=127.0.0.1:{port}"],
            "uvicorn": [BIN / "uvicorn", f"--port={port}"],
        }[server]
        before, begin = _used(), time.monotonic()
        with open(self._folder / "output", "wb") as output:
            process = subprocess.Popen(
                [*command, f"{case}_app:app"],
                cwd=self._folder,
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        try:
            self._ask(process, port)
            wall = time.monotonic() - begin
            pss = 0.0
            if with_memory:
                time.sleep(1)
                pss = sum(memory(pid).pss for pid in _descendants())
        finally:
            _kill_all()
            process.returncode = -signal.SIGKILL
        return Start(_used() - before, wall, pss)

    def _ask(self, process: subprocess.Popen[bytes], port: int) -> None:
        while True:
            try:
                with socket.create_connection(("127.0.0.1", port)) as client:
                    client.sendall(b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n")
                    answer = client.recv(65536)
                break
            except ConnectionRefusedError:
                if process.poll() is not None:
                    raise StartError((self._folder / "output").read_text()) from None
                time.sleep(0.001)
        if b" 200 " not in answer[:20]:
            raise StartError(f"the answer is {answer[:200]!r}")


def _used() -> float:
    """Of all processes that have ended, descendants of descendants too: they are adopted."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _descendants() -> list[int]:
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found = list(children.get(os.getpid(), ()))
    for pid in found:
        found += children.get(pid, ())
    return found


def _kill_all() -> None:
    while found := _descendants():
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while True:
                os.waitpid(-1, 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("cases", nargs="*", metavar="CASE", help=", ".join(APPS))
    parser.add_argument("--module", type=Path, required=True)
    parser.add_argument("--nginx", required=True)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    print("| | processor | wall | memory |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="pywsgi-bench-") as folder:
        starts = Starts(Path(folder), options.module.absolute(), options.nginx)
        for case in options.cases or APPS:
            _compare(starts, case, options.rounds)


def _compare(starts: Starts, case: str, rounds: int) -> None:
    names = ["pywsgi", OTHERS[case]]
    pss = [starts.once(name, case, with_memory=True).pss for name in names]
    pairs = []
    for number in range(rounds):
        order = names if number % 2 else names[::-1]
        found = {name: starts.once(name, case) for name in order}
        pairs.append([found[name] for name in names])
    for index, name in enumerate(names):
        processor = median(pair[index].processor for pair in pairs)
        wall = median(pair[index].wall for pair in pairs)
        print(f"| {case}: {name} | {processor:.3f} s | {wall:.3f} s | {pss[index]:.1f} MB |")
    ratios = [median(getattr(a, what) / getattr(b, what) for a, b in pairs) for what in _WHAT]
    print(f"| ratio | {ratios[0]:.2f} | {ratios[1]:.2f} | {pss[0] / pss[1]:.2f} |", flush=True)


_WHAT = ("processor", "wall")

if __name__ == "__main__":
    main()
