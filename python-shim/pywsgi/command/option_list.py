"""The options of `pywsgi serve`, `config` and `check`, under the names that users of gunicorn and
uvicorn know."""

from __future__ import annotations

import argparse
import os
from typing import Any

from pywsgi.command.option_values import (
    boolean,
    directories,
    header,
    message_size,
    natural,
    port,
    positive,
    root_path,
    seconds,
    size,
    static,
    status,
    umask,
    variable,
    websockets,
    worker_class,
    workers,
)
from pywsgi.command.options import UsageError
from pywsgi.command.others_options import REFUSED, WITHOUT_EFFECT, Refused, WithoutEffect


def add_options(parser: argparse.ArgumentParser, target: bool = True) -> None:
    """The target and all options."""
    if target:
        _add_target(parser)
    parser.set_defaults(without_effect=[], password_file=None)
    _add_application(parser.add_argument_group("application"))
    _add_workers(parser.add_argument_group("workers"))
    _add_sockets(parser.add_argument_group("sockets and HTTP"))
    _add_websockets(parser.add_argument_group("WebSockets"))
    _add_tls(parser.add_argument_group("TLS"))
    _add_logs(parser.add_argument_group("logs"))
    _add_nginx(parser.add_argument_group("nginx"))
    _add_others(parser)


def _add_target(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "target",
        nargs="?",
        metavar="TARGET",
        help="app.py, app.py:name, package.module:name, 'module:create(\"args\")', or a folder;"
        " without it, what flask and fastapi would find here",
    )


def _add_others(parser: argparse.ArgumentParser) -> None:
    without = parser.add_argument_group(
        "without effect",
        "Accepted, so that a command line of gunicorn or uvicorn can stay as it is.",
    )
    for names, values, reason in WITHOUT_EFFECT:
        without.add_argument(*names, nargs=values, action=WithoutEffect, help=reason)
    for names, values, reason in REFUSED:
        parser.add_argument(
            *names, nargs=values, action=Refused, help=argparse.SUPPRESS, const=reason
        )


def _add_application(group: Any) -> None:
    add = group.add_argument
    add("--factory", action="store_true", help="TARGET is a function that returns the application")
    add(
        "--interface",
        choices=["auto", "wsgi", "asgi", "asgi2", "asgi3"],
        default="auto",
        help="what the application is (default: found out by importing it)",
    )
    add(
        "-k",
        "--worker-class",
        dest="interface",
        type=worker_class,
        metavar="CLASS",
        help="as gunicorn's: sync, gthread: WSGI; asgi, uvicorn.workers.UvicornWorker: ASGI",
    )
    add(
        "--app-dir",
        "--pythonpath",
        dest="app_dir",
        type=directories,
        action="extend",
        default=[],
        metavar="DIR",
        help="import the application from there (default: the current directory)",
    )
    add(
        "--chdir",
        metavar="DIR",
        help="the application's current directory, and where it is imported from",
    )
    add(
        "--venv",
        "--python-home",
        dest="venv",
        metavar="DIR",
        help="the virtual environment (default: the one of this command)",
    )
    add(
        "-e",
        "--env",
        action="append",
        default=[],
        type=variable,
        metavar="NAME=VALUE",
        help="an environment variable of the application; may be repeated",
    )
    add(
        "--env-file",
        action="append",
        default=[],
        metavar="FILE",
        help="environment variables from a .env file",
    )
    add(
        "--root-path",
        type=root_path,
        default="",
        metavar="/PATH",
        help="the path that the application is mounted under (SCRIPT_NAME, root_path)",
    )
    add(
        "--lifespan",
        choices=["auto", "on", "off"],
        default="auto",
        help="ASGI's lifespan (default: auto)",
    )
    add(
        "--loop",
        choices=["auto", "asyncio", "uvloop"],
        default="auto",
        help="ASGI's event loop (default: uvloop if it is installed)",
    )


def _add_workers(group: Any) -> None:
    add = group.add_argument
    add(
        "-w",
        "--workers",
        type=workers,
        default=_concurrency(),
        metavar="N",
        help="worker processes, or auto: one for each processor (default: $WEB_CONCURRENCY, or 1)",
    )
    add(
        "--threads",
        type=positive,
        metavar="N",
        help="threads of each worker for WSGI (default: 8)",
    )
    add(
        "-t",
        "--timeout",
        type=natural,
        metavar="SECONDS",
        help="how long a request may take; 0: no limit (default: 60)",
    )
    add(
        "--graceful-timeout",
        "--timeout-graceful-shutdown",
        dest="graceful_timeout",
        type=natural,
        metavar="SECONDS",
        help="how long TERM and a reload wait for requests (default: 30)",
    )
    add(
        "--max-requests",
        "--limit-max-requests",
        dest="max_requests",
        type=natural,
        default=0,
        metavar="N",
        help="replace a worker after so many requests",
    )
    add(
        "--max-requests-jitter",
        "--limit-max-requests-jitter",
        dest="max_requests_jitter",
        type=natural,
        default=0,
        metavar="N",
        help="and up to so many more",
    )
    add(
        "--limit-concurrency",
        type=positive,
        metavar="N",
        help="ASGI requests that run at once; others wait",
    )
    add(
        "--worker-connections",
        type=positive,
        metavar="N",
        help="connections of each worker (default: 1024)",
    )
    add(
        "--reload",
        action="store_true",
        help="reload when the code changes; if the new code does not import, the old one goes on",
    )
    add(
        "--reload-dir",
        "--reload-extra-file",
        dest="reload_dir",
        action="append",
        default=[],
        metavar="DIR",
        help="watch all files in this directory, too; may be repeated",
    )
    add("--debug", action="store_true", help="exceptions as pages, with their traceback")
    add("-u", "--user", metavar="USER", help="as root: the user of the workers")
    add("-g", "--group", metavar="GROUP", help="as root: the group of the workers")
    add("-m", "--umask", type=umask, metavar="MODE", help="the umask of the application, as 027")


def _concurrency() -> str:
    """Not as a default that argparse reads: it would say that --workers is wrong."""
    text = os.environ.get("WEB_CONCURRENCY") or "1"
    try:
        return workers(text)
    except argparse.ArgumentTypeError as error:
        raise UsageError(f"WEB_CONCURRENCY={text}: {error}") from None


def _add_sockets(group: Any) -> None:
    add = group.add_argument
    add(
        "-b",
        "--bind",
        action="append",
        default=[],
        metavar="ADDRESS",
        help="HOST:PORT, HOST, :PORT, [IPv6]:PORT, unix:PATH or fd://N; may be repeated",
    )
    add("--host", help="the address (default: 127.0.0.1)")
    add("--port", type=port, help="the port; 0: a free one (default: 8000)")
    add("--uds", metavar="PATH", help="a Unix socket")
    add("--fd", type=natural, metavar="N", help="a socket that is open already")
    add("--backlog", type=positive, metavar="N", help="connections that may wait (default: 511)")
    add(
        "--reuse-port",
        action="store_true",
        help="a queue of connections for each worker (SO_REUSEPORT)",
    )
    add(
        "--keep-alive",
        "--timeout-keep-alive",
        dest="keep_alive",
        type=natural,
        metavar="SECONDS",
        help="how long an idle connection stays open (default: 75)",
    )
    add(
        "--static",
        action="append",
        type=static,
        default=[],
        metavar="/URL=DIR",
        help="files that nginx serves itself, but hidden ones; may be repeated",
    )
    add(
        "--client-max-body-size",
        default="0",
        type=size,
        metavar="SIZE",
        help="the largest request, as 20m; 0: no limit (default: 0)",
    )
    add(
        "--status",
        nargs="?",
        const="/-/status",
        type=status,
        metavar="/PATH",
        help="what all workers are doing, for the local host (default path: /-/status)",
    )
    add(
        "--proxy-headers",
        action="store_true",
        help="believe X-Forwarded-For and -Proto of the proxies in --forwarded-allow-ips",
    )
    add(
        "--no-proxy-headers",
        dest="proxy_headers",
        action="store_false",
        help="do not (the default)",
    )
    add(
        "--forwarded-allow-ips",
        metavar="LIST",
        help="the proxies: addresses and networks with commas between them, or *;"
        " implies --proxy-headers (default: $FORWARDED_ALLOW_IPS, or 127.0.0.1,::1)",
    )
    add(
        "--header",
        action="append",
        type=header,
        default=[],
        metavar="NAME:VALUE",
        help="a header of each response; may be repeated",
    )
    add("--server-header", action="store_true", help="nginx's version in the Server header")
    add(
        "--no-server-header",
        dest="server_header",
        action="store_false",
        help="Server: nginx alone (the default)",
    )
    add("--http2", action="store_true", help="HTTP/2")


def _add_websockets(group: Any) -> None:
    add = group.add_argument
    add(
        "--ws",
        type=websockets,
        default=True,
        metavar="auto|none",
        help="none: no WebSockets; the names of uvicorn's libraries are accepted",
    )
    add(
        "--ws-max-size",
        type=message_size,
        metavar="BYTES",
        help="the largest message of a client (default: 16 MB)",
    )
    add(
        "--ws-ping-interval",
        type=seconds,
        metavar="SECONDS",
        help="pings to silent clients (default: 20)",
    )
    add(
        "--ws-ping-timeout",
        type=seconds,
        metavar="SECONDS",
        help="how long they may take to answer (default: 20)",
    )
    add(
        "--ws-per-message-deflate",
        type=boolean,
        default=True,
        metavar="true|false",
        help="compression (default: true)",
    )


def _add_tls(group: Any) -> None:
    add = group.add_argument
    add(
        "--certfile",
        "--ssl-certfile",
        dest="certfile",
        metavar="FILE",
        help="the certificate, with its chain",
    )
    add(
        "--keyfile",
        "--ssl-keyfile",
        dest="keyfile",
        metavar="FILE",
        help="its key (default: in the certificate's file)",
    )
    add(
        "--ssl-keyfile-password", dest="keyfile_password", metavar="TEXT", help="the key's password"
    )
    add(
        "--ca-certs",
        "--ssl-ca-certs",
        dest="ca_certs",
        metavar="FILE",
        help="authorities of clients' certificates",
    )
    add(
        "--cert-reqs",
        "--ssl-cert-reqs",
        dest="cert_reqs",
        type=int,
        choices=[0, 1, 2],
        default=0,
        help="clients' certificates: 0 no, 1 if they have one, 2 required",
    )
    add(
        "--ciphers",
        "--ssl-ciphers",
        dest="ciphers",
        metavar="LIST",
        help="OpenSSL's list of ciphers",
    )
    add("--tls-self-signed", action="store_true", help="a certificate made now, for development")
    add("--http3", action="store_true", help="HTTP/3 as well, if this nginx has it")


def _add_logs(group: Any) -> None:
    add = group.add_argument
    add(
        "--access-logfile",
        default="-",
        metavar="FILE",
        help="- is the standard output (default: -)",
    )
    add("--access-log", action="store_true", default=True, help="log requests (the default)")
    add("--no-access-log", dest="access_log", action="store_false", help="do not")
    add(
        "--error-logfile",
        "--log-file",
        dest="error_logfile",
        default="-",
        metavar="FILE",
        help="for nginx and the application; - is the standard error (default: -)",
    )
    add(
        "--log-level",
        choices=["critical", "error", "warning", "info", "debug", "trace"],
        default="info",
        type=str.lower,
        help="of nginx and the application (default: info)",
    )
    add("--use-colors", action="store_true", default=None, help="colours (default: on a terminal)")
    add("--no-use-colors", dest="use_colors", action="store_false", help="no colours")
    add("-p", "--pid", dest="pid", metavar="FILE", help="write the process id there")


def _add_nginx(group: Any) -> None:
    add = group.add_argument
    add(
        "--nginx",
        metavar="FILE",
        help="the nginx to run (default: $PYWSGI_NGINX, pywsgi-nginx's, the system's)",
    )
    add(
        "--module",
        metavar="FILE",
        help="ngx_http_pywsgi_module.so (default: $PYWSGI_MODULE, and then as above)",
    )
    add("--server-name", metavar="NAME", help="for `pywsgi config`: the site's name")
