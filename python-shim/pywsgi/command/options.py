"""What `pywsgi serve`, `config` and `check` have been asked for, and the parser that reads it."""

from __future__ import annotations

import argparse
import os
from typing import Any, NoReturn


class Options(argparse.Namespace):
    """What has been asked for. None and empty lists: not given."""

    target: str | None
    # The application.
    factory: bool
    interface: str
    app_dir: list[str]
    chdir: str | None
    venv: str | None
    env: list[str]
    env_file: list[str]
    root_path: str
    lifespan: str
    loop: str
    # Workers.
    workers: str
    threads: int | None
    timeout: int | None
    graceful_timeout: int | None
    max_requests: int
    max_requests_jitter: int
    limit_concurrency: int | None
    worker_connections: int | None
    reload: bool
    reload_dir: list[str]
    debug: bool
    user: str | None
    group: str | None
    umask: int | None
    # Sockets and HTTP.
    bind: list[str]
    host: str | None
    port: int | None
    uds: str | None
    fd: int | None
    backlog: int | None
    reuse_port: bool
    keep_alive: int | None
    proxy_headers: bool
    forwarded_allow_ips: str | None
    header: list[tuple[str, str]]
    server_header: bool
    static: list[tuple[str, str]]
    client_max_body_size: str
    status: str | None
    ws: bool
    ws_max_size: int | None
    ws_ping_interval: float | None
    ws_ping_timeout: float | None
    ws_per_message_deflate: bool
    # TLS.
    certfile: str | None
    keyfile: str | None
    keyfile_password: str | None
    ca_certs: str | None
    cert_reqs: int
    ciphers: str | None
    tls_self_signed: bool
    http2: bool
    http3: bool
    # Logs.
    access_log: bool
    access_logfile: str
    error_logfile: str
    log_level: str
    use_colors: bool | None
    pid: str | None
    # nginx.
    nginx: str | None
    module: str | None
    server_name: str | None
    # The file with keyfile_password.
    password_file: str | None
    # Options that were given and have no effect, with the reason.
    without_effect: list[str]

    @property
    def has_tls(self) -> bool:
        return self.certfile is not None or self.tls_self_signed


class UsageError(Exception):
    """What was typed cannot be done; the message is one line that says what to type."""


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, and which option was meant."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("allow_abbrev", False)
        kwargs.setdefault("formatter_class", _Help)
        super().__init__(*args, **kwargs)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        found, rest = super().parse_known_args(args, namespace)
        unknown = [each for each in rest if each.startswith("-")]
        if unknown:
            self.error(self._unknown(unknown[0]))
        return found, rest

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")

    def _unknown(self, argument: str) -> str:
        import difflib

        name = argument.partition("=")[0]
        known = [each for each in self._option_string_actions if each.startswith("--")]
        alike = difflib.get_close_matches(name, known, 1) or [
            each for each in known if len(name) > 3 and each.startswith(name)
        ]
        hint = f"; did you mean {alike[0]}?" if alike else ""
        return f"there is no option {name}{hint}"


class _Help(argparse.HelpFormatter):
    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=32, width=min(100, _terminal_width()))

    def _format_usage(self, usage: Any, actions: Any, groups: Any, prefix: Any) -> str:
        positionals = [each for each in actions if not each.option_strings]
        options = [each for each in actions if each.option_strings]
        if len(options) < 8:
            return super()._format_usage(usage, actions, groups, prefix)
        return super()._format_usage("%(prog)s [OPTION]... [TARGET]", positionals, groups, prefix)


def _terminal_width() -> int:
    try:
        return os.get_terminal_size().columns - 2
    except OSError:
        return 98
