"""`pywsgi check`: whether the application and its configuration would start."""

from __future__ import annotations

import shutil
import subprocess
import sys

from pywsgi.command.application import environment, find, worker_user
from pywsgi.command.finding import find_module, find_nginx, mime_types
from pywsgi.command.nginx_conf import ConfError, render
from pywsgi.command.options import Options, UsageError
from pywsgi.command.output import parse
from pywsgi.command.runner import write
from pywsgi.command.serve import check_python, prepare, private_folder
from pywsgi.command.site import serving


def check(options: Options) -> int:
    """Imports the application, and has nginx read the configuration. Nothing is served."""
    try:
        print(f"ok: {_checked(options)}")
    except (UsageError, ConfError) as error:
        print(f"pywsgi check: {error}", file=sys.stderr)
        return 1
    return 0


def _checked(options: Options) -> str:
    nginx = find_nginx(options)
    module = find_module(options, nginx)
    user = worker_user(options)
    app = find(options, environment(options), user)
    check_python(module, app)
    folder = private_folder()
    try:
        # Not at the addresses of the options, which a running server may have.
        private = prepare(
            options,
            folder,
            user,
            module=module,
            mime_types=mime_types(nginx),
            listen=[(f"unix:{folder}/check.sock",)],
            check=True,
        )
        write(folder / "nginx.conf", render(serving(options, app, nginx, private)))
        tested = subprocess.run(
            nginx.test(folder),
            capture_output=True,
            text=True,
            errors="backslashreplace",
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if tested.returncode != 0:
        for line in tested.stderr.splitlines():
            found = parse(line)
            print(found.text if found else line, file=sys.stderr)
        raise UsageError("nginx refuses it; the lines above say why")
    return (
        f"{app.target} ({app.protocol.upper()}) in {app.home}, with nginx {nginx.version_text}"
        f" ({nginx.path}) and {module}"
    )
