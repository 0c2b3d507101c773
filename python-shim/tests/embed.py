"""Runs a script as if inside a worker: loads the shim as the Rust side does, with a `_pywsgi` that
writes `level line` to a descriptor, calls start(), and runs the script with all signals blocked.

    python embed.py LOG SCRIPT [ARGUMENT...]
"""

from __future__ import annotations

import os
import re
import signal
import sys
import types
from pathlib import Path

# The order of the Rust side.
MODULES = (
    "_log",
    "_records",
    "_streams",
    "_target",
    "_failure",
    "_advice",
    "_hidden",
    "_importing",
    "_signature",
    "_callable",
    "_django",
    "_django_project",
    "_loader",
    "_stacks",
    "_tasks",
    "_threads",
    "_contrib",
    "_start",
    "_request",
    "_callbacks",
    "_hooks",
    "_status",
    "_files",
    "_violation",
    "_validate",
    "_debug_page",
    "_exit",
    "_event_loop",
    "_lifespan",
    "_asgi",
    "_asgi_messages",
    "_asgi_validate",
)
SHIM = Path(__file__).resolve().parent.parent / "pywsgi"
CODES = SHIM.parent.parent / "src" / "bridge" / "code.rs"


def give_log(file: str) -> None:
    """The built-in module, over a file: children inherit nothing of it."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    levels = ("Stderr", "Emerg", "Alert", "Crit", "Error", "Warn", "Notice", "Info", "Debug")
    codes = {
        name: levels.index(level)
        for name, level in re.findall(r"^    (\w+) = \d+ (\w+),$", CODES.read_text(), re.MULTILINE)
    }

    def write(level: int, text: str) -> None:
        for line in text.split("\n"):
            os.write(descriptor, f"{level} {line}\n".encode())

    def log(code: str, text: str) -> None:
        write(codes[code], text)

    def say(level: int, _logger: str, lines: str, *_other_forms: object) -> None:
        write(level, lines)

    module = types.ModuleType("_pywsgi")
    vars(module)["log"] = log
    vars(module)["say"] = say
    vars(module)["forms"] = lambda _level: 1
    vars(module)["log_last"] = log
    vars(module)["report"] = lambda code, what, traceback: log(code, f"{what}\n{traceback}")
    vars(module)["unfinished"] = lambda: None
    vars(module)["wake_main"] = lambda: None
    vars(module)["hooks_changed"] = lambda: None
    sys.modules["_pywsgi"] = module


def give_package() -> None:
    package = types.ModuleType("pywsgi")
    package.__path__ = []
    sys.modules["pywsgi"] = package
    for name in MODULES:
        module = types.ModuleType(f"pywsgi.{name}")
        sys.modules[module.__name__] = module
        setattr(package, name, module)
        execute(f"{name}.py", module)
    execute("__init__.py", package)


def execute(file: str, module: types.ModuleType) -> None:
    exec(compile((SHIM / file).read_text(), f"<pywsgi>/{file}", "exec"), vars(module))


def main() -> None:
    log, script, *arguments = sys.argv[1:]
    # As in an embedded interpreter: no folder of a script on sys.path, and no main program.
    del sys.path[0]
    give_log(log)
    give_package()
    from pywsgi._start import start

    start([], 7, 4, ["pywsgi", *arguments])
    signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())
    exec(compile(Path(script).read_text(), script, "exec"), {"__name__": "script"})


if __name__ == "__main__":
    main()
