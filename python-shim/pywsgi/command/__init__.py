"""The command `pywsgi`: it runs applications in an nginx of its own, and writes configurations.

Not part of nginx's module: pip installs it with the package, and nothing of it runs inside nginx.
"""

from __future__ import annotations

import argparse
import errno
import gc
import importlib
import os
import signal
import sys
from collections.abc import Sequence

from pywsgi import __version__


def main(arguments: Sequence[str] | None = None) -> int:
    """The entry point: `pywsgi COMMAND …`."""
    from pywsgi.command.options import Options, UsageError

    _open_standard_streams()
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] == ["serve"]:
        # A start makes no garbage. The runner enables it again.
        gc.disable()
    try:
        options = parser(arguments[0] if arguments else "").parse_args(arguments, Options())
        if options.command not in ("top", "completion"):
            _check_directory()
        run = importlib.import_module(f"pywsgi.command.{options.command}")
        status = getattr(run, options.command)(options)
        sys.stdout.flush()
        return int(status)
    except UsageError as error:
        print(f"pywsgi: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:
        # Whoever reads has seen enough.
        _drop_output()
        return 0
    except OSError as error:
        if error.errno != errno.ENOSPC or error.filename is not None:
            raise
        _drop_output()
        print(f"pywsgi: the output cannot be written: {error.strerror}", file=sys.stderr)
        return 1


def _drop_output() -> None:
    """What is still to be written, so that Python does not try it again as it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _check_directory() -> None:
    from pywsgi.command.options import UsageError

    try:
        os.getcwd()
    except FileNotFoundError:
        raise UsageError("the current directory has been removed: go to another one") from None


def _open_standard_streams() -> None:
    """Those that are closed, such as by `>&-`. A socket or a pipe that is opened would else be one
    of them."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            # It is the lowest number that is free.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115


def parser(wanted: str = "") -> argparse.ArgumentParser:
    """The command's parser; of the subcommands with many options, only the wanted one has them."""
    from pywsgi.command.option_list import add_options
    from pywsgi.command.options import Parser

    top = Parser(prog="pywsgi", description="Python applications inside nginx.")
    top.add_argument("--version", action="version", version=f"pywsgi {__version__}")
    commands = top.add_subparsers(
        dest="command", metavar="COMMAND", parser_class=Parser, required=True
    )
    for name, (text, add) in _COMMANDS.items():
        command = commands.add_parser(name, help=text, description=text)
        if add == "serve":
            if wanted in (name, ""):
                add_options(command)
        elif wanted in (name, ""):
            importlib.import_module(f"pywsgi.command.{name}").add_options(command)
    return top


_COMMANDS = {
    "serve": ("run an application in an nginx of its own, in the foreground", "serve"),
    "config": ("print the nginx.conf for production of the same options", "serve"),
    "check": ("import an application and check its configuration, as serve would", "serve"),
    "convert": ("make the nginx.conf of another server's configuration", "own"),
    "doctor": ("say what is wrong with an installation, and what to do", "own"),
    "top": ("show what all workers are doing", "own"),
    "completion": ("print a completion for bash, zsh or fish", "own"),
}
