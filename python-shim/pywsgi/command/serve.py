"""`pywsgi serve`: an nginx of one's own in the foreground, until Ctrl-C.

The command stays beside nginx: it has the terminal's signals, shows what nginx and the application
say, and removes what was written. Its folder below the temporary directory has the configuration,
the temporary files, and the socket of the status.
"""

from __future__ import annotations

import contextlib
import grp
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from pywsgi.command import addresses
from pywsgi.command.application import (
    Application,
    NotImportedError,
    User,
    environment,
    find,
    guessed,
    import_path,
    worker_user,
)
from pywsgi.command.finding import find_module, find_nginx, mime_types, python_version
from pywsgi.command.nginx_conf import ConfError
from pywsgi.command.options import Options, UsageError
from pywsgi.command.output import Printer, has_colors
from pywsgi.command.runner import Runner, is_hung_up, write
from pywsgi.command.site import Private

PREFIX = "pywsgi-serve-"


def serve(options: Options) -> int:
    """Returns the command's exit code."""
    colors = has_colors(options.use_colors)
    printer = Printer(options.log_level, colors)
    for note in options.without_effect:
        printer.say("warning", f"{note} (without effect)")
    listening: list[addresses.Listener] = []
    folder: Path | None = None
    end = _End()
    try:
        nginx = find_nginx(options)
        module = find_module(options, nginx)
        wanted = addresses.addresses(options, os.environ)
        listening = [] if options.reuse_port else addresses.listeners(wanted, options.backlog)
        user = worker_user(options)
        app = _application(options, user, printer)
        check_python(module, app)
        folder = private_folder()
        private = prepare(
            options,
            folder,
            user,
            module=module,
            mime_types=mime_types(nginx),
            listen=[each.listen for each in listening] or [(each.listen,) for each in wanted],
            hosts=[each.host for each in wanted if each.host],
            colors=colors,
        )
        runner = Runner(options, app, nginx, private, listening, printer)
        return runner.run()
    except (UsageError, ConfError) as error:
        printer.say("error", str(error))
        return 3 if isinstance(error, NotImportedError) else 1
    except KeyboardInterrupt:
        printer.info("Shutting down before the application has started")
        printer.info("Stopped")
        return 0
    finally:
        end.is_near = True
        addresses.close(listening)
        if folder is not None:
            import shutil

            shutil.rmtree(folder, ignore_errors=True)


class _End:
    """Until nginx runs, TERM and a hang-up do what Ctrl-C does: what was made is removed. Only the
    first signal does, so that the removal is not interrupted."""

    def __init__(self) -> None:
        self.is_near = False
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._come)

    def _come(self, number: int, _: object) -> None:
        if self.is_near or (number == signal.SIGHUP and not is_hung_up()):
            return
        self.is_near = True
        raise KeyboardInterrupt


def private_folder() -> Path:
    """Not by tempfile, the import of which takes longer than the rest of this module."""
    base = temporary_folder()
    # A Unix socket's path has at most 107 bytes.
    folder = Path(base if len(base) < 60 else "/tmp", f"{PREFIX}{os.urandom(6).hex()}")
    try:
        folder.mkdir(0o700)
    except OSError as error:
        raise UsageError(
            f"{folder.parent} cannot be written to ({error.strerror}): name another folder for"
            " temporary files, as TMPDIR"
        ) from None
    return folder


def temporary_folder() -> str:
    for name in ("TMPDIR", "TEMP", "TMP"):
        base = os.environ.get(name)
        if base and os.access(base, os.W_OK | os.X_OK):
            return os.path.abspath(base)
    return "/tmp"


def check_python(module: Path, app: Application) -> None:
    """Raises UsageError if the module has another Python than the application."""
    built = python_version(module)
    own = version_of(app.home)
    if built is None or own is None or built == own:
        return
    wanted = ".".join(map(str, built))
    raise UsageError(
        f"{module.name} is built for Python {wanted}, and {app.home} has"
        f" {own[0]}.{own[1]}: create the environment with python{wanted}, or install the module for"
        f" Python {own[0]}.{own[1]}"
    )


def version_of(home: Path) -> tuple[int, int] | None:
    if home == Path(sys.prefix):
        return sys.version_info[:2]
    for folder in sorted(home.glob("lib/python3.*")):
        number = folder.name.partition(".")[2]
        if number.isdigit() and (folder / "site-packages").exists():
            return 3, int(number)
    return None


def _application(options: Options, user: User, printer: Printer) -> Application:
    """With --reload, a broken application is waited for."""
    found = None if options.reload else guessed(options)
    if found is not None:
        return found
    while True:
        before = _newest(import_path(options))
        try:
            return find(options, environment(options), user)
        except UsageError as error:
            if not options.reload:
                raise
            printer.say("error", f"{error}; waiting for a change (Press CTRL+C to quit)")
        while _newest(import_path(options)) == before:
            time.sleep(0.2)


def _newest(folders: list[str]) -> tuple[float, int]:
    """Changes when a Python file below these folders does."""
    newest, count = 0.0, 0
    for folder in folders:
        for parent, inner, files in os.walk(folder):
            inner[:] = [
                each
                for each in inner
                if each[0] != "."
                and each not in ("node_modules", "__pycache__")
                and not os.path.exists(os.path.join(parent, each, "pyvenv.cfg"))
            ]
            for file in files:
                if file.endswith(".py"):
                    with contextlib.suppress(OSError):
                        newest = max(newest, os.stat(os.path.join(parent, file)).st_mtime)
                        count += 1
    return newest, count


def prepare(
    options: Options,
    folder: Path,
    user: User,
    *,
    module: Path,
    mime_types: Path | None,
    listen: Sequence[tuple[str, ...]],
    hosts: Sequence[str] = (),
    colors: bool = False,
    check: bool = False,
) -> Private:
    """Puts into the folder what the configuration will name."""
    (folder / "tmp").mkdir()
    if user:
        # nginx as root reads and writes there: the workers may pass through, and change nothing.
        os.chown(folder, -1, grp.getgrnam(user[1]).gr_gid)
        folder.chmod(0o710)
        (folder / "tmp").chmod(0o711)
    if options.tls_self_signed:
        if options.certfile:
            raise UsageError("--tls-self-signed and --certfile exclude each other")
        options.certfile, options.keyfile = self_signed(folder, hosts)
    if options.keyfile_password:
        options.password_file = str(folder / "password")
        write(folder / "password", f"{options.keyfile_password}\n")
    return Private(folder, module, mime_types, listen, user, colors, check)


def self_signed(folder: Path, wanted: Sequence[str]) -> tuple[str, str]:
    """A certificate for these addresses and localhost, and its key."""
    hosts = {"localhost", "127.0.0.1", "::1", *wanted}
    names = sorted(f"{'IP' if _is_address(each) else 'DNS'}:{each}" for each in hosts)
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    command = [
        *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
        *("-nodes", "-days", "30", "-subj", "/CN=localhost"),
        *("-addext", f"subjectAltName={','.join(names)}"),
        *("-keyout", str(key), "-out", str(certificate)),
    ]
    import subprocess

    try:
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    except OSError:
        raise UsageError(
            "--tls-self-signed needs the program openssl: install it, or use --certfile"
        ) from None
    if done.returncode != 0:
        raise UsageError(f"--tls-self-signed: openssl says {done.stderr.strip().splitlines()[-1:]}")
    return str(certificate), str(key)


def _is_address(host: str) -> bool:
    return ":" in host or host.replace(".", "").isdigit()
