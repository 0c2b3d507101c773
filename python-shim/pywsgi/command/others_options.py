"""Options of gunicorn and uvicorn that have no counterpart: those that can be ignored, so that a
command line can stay as it is, and those that cannot."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any


class WithoutEffect(argparse.Action):
    def __call__(self, parser: Any, namespace: Any, values: Any, option: Any = None) -> None:
        # Not the default's list, which all parsers share.
        namespace.without_effect = [*namespace.without_effect, f"{option}: {self.help}"]


class Refused(argparse.Action):
    def __call__(self, parser: Any, namespace: Any, values: Any, option: Any = None) -> None:
        parser.error(f"{option}: {self.const}")


_NGINX_PARSES = "nginx parses HTTP"
_APPLICATION_LOGS = "the application configures logging itself"
_NO_FORK = "each worker imports the application itself, once"
_STATUS = "--status has the numbers, for Prometheus too"

# Names, number of values, reason.
WITHOUT_EFFECT: Sequence[tuple[tuple[str, ...], Any, str]] = (
    (("--http",), None, _NGINX_PARSES),
    (("--h11-max-incomplete-event-size",), None, _NGINX_PARSES),
    (("--limit-request-line",), None, _NGINX_PARSES),
    (("--limit-request-fields",), None, _NGINX_PARSES),
    (("--limit-request-field_size",), None, _NGINX_PARSES),
    (("--date-header",), 0, "nginx always sends Date"),
    (("--no-date-header",), 0, "nginx always sends Date"),
    (("--reset-contextvars",), 0, "each request has a context of its own"),
    (("--ws-max-queue",), None, "asgi_websocket_queue has a size in bytes"),
    (("--timeout-worker-healthcheck",), None, "the event loop never waits for Python"),
    (("--reload-delay",), None, "changes are seen at once"),
    (("--reload-include",), None, "--reload-dir watches all files of a directory"),
    (("--reload-exclude",), None, "hidden files, __pycache__ and node_modules do not count"),
    (("--reload-engine",), None, "changes are seen at once"),
    (("--log-config",), None, _APPLICATION_LOGS),
    (("--log-config-json",), None, _APPLICATION_LOGS),
    (("--logger-class",), None, _APPLICATION_LOGS),
    (("--access-logformat",), None, "nginx's log_format is another one"),
    (("--capture-output",), 0, "what the application prints is always logged"),
    (("-R", "--enable-stdio-inheritance"), 0, "what the application prints is always logged"),
    (("--preload",), 0, _NO_FORK),
    (("--worker-tmp-dir",), None, "there is no heartbeat"),
    (("-n", "--name"), None, "the processes are nginx's"),
    (("--no-sendfile",), 0, "nginx chooses"),
    (("--ssl-version",), None, "TLS 1.2 and 1.3"),
    (("--do-handshake-on-connect",), 0, "nginx does the handshake"),
    (("--suppress-ragged-eofs",), 0, "nginx does the handshake"),
    (("--statsd-host",), None, _STATUS),
    (("--statsd-prefix",), None, _STATUS),
    (("--no-control-socket",), 0, "there is none"),
)

_CONVERT = "pywsgi convert makes an nginx.conf of that file"

REFUSED: Sequence[tuple[tuple[str, ...], Any, str]] = (
    (("-c", "--config"), "?", _CONVERT),
    (
        ("-D", "--daemon"),
        0,
        "this runs in the foreground; for a service, pywsgi config prints an nginx.conf",
    ),
    (("--paste", "--paster"), "?", "name a Python file that calls paste.deploy.loadapp"),
    (("--spew",), 0, "there is no such thing; --log-level debug says more"),
    (("--log-syslog",), 0, "pywsgi config prints an nginx.conf: write syslog:… into it"),
    (("--check-config",), 0, "pywsgi check does that"),
    (("--print-config",), 0, "pywsgi config does that"),
    (
        ("--proxy-protocol",),
        "?",
        "pywsgi config prints an nginx.conf: write proxy_protocol into its listen",
    ),
)
