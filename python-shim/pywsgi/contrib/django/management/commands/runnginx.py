"""`manage.py runnginx`: the project in an nginx of its own, with what `runserver` does."""

from __future__ import annotations

import os
import re
import sys
from typing import Any

import django
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.template.autoreload import get_template_directories

from pywsgi.command.option_list import add_options
from pywsgi.command.options import Options, UsageError
from pywsgi.command.serve import serve


class Command(BaseCommand):  # type: ignore[misc]
    help = "Runs the project in nginx, and reloads it when the code changes."

    def create_parser(self, prog_name: str, subcommand: str, **options: Any) -> Any:
        # manage.py itself has read --pythonpath already.
        return super().create_parser(
            prog_name, subcommand, conflict_handler="resolve", allow_abbrev=False, **options
        )

    def add_arguments(self, parser: Any) -> None:
        parser.add_argument(
            "addrport", nargs="?", help="PORT or ADDRESS:PORT (default: 127.0.0.1:8000)"
        )
        add = parser.add_argument_group("as runserver").add_argument
        add("--noreload", action="store_true", help="do not reload when the code changes")
        add("--nostatic", action="store_true", help="do not serve the apps' static files")
        add("--insecure", action="store_true", help="serve them even if DEBUG is False")
        add("--asgi", action="store_true", help="ASGI_APPLICATION instead of WSGI_APPLICATION")
        try:
            add_options(parser, target=False)
        except UsageError as error:
            raise CommandError(str(error)) from None
        # The option is ours now, and Django asks for its own.
        parser.set_defaults(pythonpath=None)

    def handle(self, *_: Any, **given: Any) -> None:
        options = Options(**given)
        self.check_migrations()
        options.target = self._target(options)
        if given["addrport"]:
            options.bind = [_bind(given["addrport"]), *options.bind]
        if not options.app_dir:
            # That of manage.py.
            options.app_dir = [sys.path[0] or os.getcwd()]
        options.reload = not given["noreload"]
        if options.reload:
            folders = sorted(map(str, get_template_directories()))
            options.reload_dir = [*options.reload_dir, *filter(os.path.isdir, folders)]
        version, module = django.get_version(), settings.SETTINGS_MODULE
        self.stderr.write(f"Django {version}, settings {module!r}", self.style.SUCCESS)
        sys.exit(serve(options))

    def _target(self, options: Options) -> str:
        """The handlers with static files, or what the settings name."""
        names = settings.INSTALLED_APPS
        asgi = options.asgi or options.interface.startswith("asgi")
        # Both need ASGI, and replace runserver's.
        asgi = asgi or (options.interface == "auto" and ("daphne" in names or "channels" in names))
        protocol = "asgi" if asgi else "wsgi"
        has_static = "django.contrib.staticfiles" in names and not options.nostatic
        if has_static and (settings.DEBUG or options.insecure):
            return f"pywsgi.contrib.django.handlers:{protocol}()"
        name = getattr(settings, f"{protocol.upper()}_APPLICATION", None)
        if not name:
            return f"django.core.{protocol}:get_{protocol}_application()"
        module, _, attribute = name.rpartition(".")
        return f"{module}:{attribute}"


def _bind(text: str) -> str:
    if not re.fullmatch(r"(?:(?:[^:\[\]]+|\[[^\]]+\]):)?\d+", text):
        raise CommandError(f"{text!r} is neither PORT nor ADDRESS:PORT")
    return text if ":" in text else f"127.0.0.1:{text}"
