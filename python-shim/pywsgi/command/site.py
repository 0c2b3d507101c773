"""The configuration of nginx that the options ask for: for `pywsgi serve`, and for production."""

from __future__ import annotations

import contextlib
import grp
import http
import ipaddress
import os
import pwd
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Union

from pywsgi.command.application import Application, User, directory
from pywsgi.command.finding import Nginx
from pywsgi.command.nginx_conf import Directive, literal, with_dollar
from pywsgi.command.options import Options, UsageError

STATUS_SOCKET = "status.sock"


class Private(NamedTuple):
    """What an nginx of `pywsgi serve` has for itself."""

    folder: Path
    module: Path
    mime_types: Path | None
    # The arguments of each `listen`.
    listen: Sequence[tuple[str, ...]]
    # As root: of the workers.
    user: User = ()
    colors: bool = False
    # Whether nginx imports the application before it starts.
    check: bool = True


def serving(options: Options, app: Application, nginx: Nginx, private: Private) -> list[Directive]:
    """The file for `pywsgi serve`."""
    own = private.folder
    main = [
        *_line("load_module", str(private.module)),
        *(_line("user", *private.user) if private.user else ()),
        *_line("worker_processes", options.workers),
        *_line("worker_shutdown_timeout", f"{_graceful(options)}s"),
        *_line("daemon", "off"),
        *_line("pid", str(own / "nginx.pid")),
        # The command reads it, and shows what --log-level asks for.
        *_line("error_log", "stderr", "debug" if _is_debug(options) else "notice"),
    ]
    if options.error_logfile != "-":
        main += _line("error_log", os.path.abspath(options.error_logfile), _log_level(options))
    main.append(_block("events", _events(options)))
    inside = [
        *_types(private.mime_types),
        *_access_log(options, private.colors),
        *temporary(own),
        *_python(options, app),
        *_environment(options, private.user),
        *_line("python_check", "on" if private.check else "off"),
        *_line(
            "python_log",
            "stderr" if options.error_logfile == "-" else os.path.abspath(options.error_logfile),
            *(
                ()
                if _log_level(options) in ("info", "debug")
                else (f"level={_log_level(options)}",)
            ),
        ),
        *_http(options, app),
        _block(
            "server", [*_listens(options, nginx, private.listen), *_server(options, app, nginx)]
        ),
        _block(
            "server",
            [
                *_line("listen", f"unix:{own / STATUS_SOCKET}"),
                *_line("access_log", "off"),
                _block("location", _line("python_status"), "=", "/status"),
            ],
        ),
    ]
    return [*main, _block("http", with_dollar(inside))]


def production(
    options: Options, app: Application, nginx: Nginx | None, listen: Sequence[tuple[str, ...]]
) -> list[Directive]:
    """The file of `pywsgi config`, for an nginx that systemd runs as root."""
    main = [
        *_line("load_module", "modules/ngx_http_pywsgi_module.so"),
        *_line("user", *_production_user(options)),
        *_line("worker_processes", options.workers),
        *_line("pid", options.pid or "/run/nginx.pid"),
        *_line(
            "error_log",
            _file(options.error_logfile, "/var/log/nginx/error.log"),
            "notice" if options.log_level == "info" else _log_level(options),
        ),
        *_line("worker_shutdown_timeout", f"{_graceful(options)}s"),
        _block("events", _events(options)),
    ]
    access = _file(options.access_logfile, "/var/log/nginx/access.log")
    inside = [
        *_line("include", "/etc/nginx/mime.types"),
        *_line("access_log", literal(access) if options.access_log else "off"),
        *_python(options, app),
        *_named_environment(options),
        *_http(options, app),
        _block(
            "server",
            [
                *_listens(options, nginx, listen),
                *_line("server_name", options.server_name or "_"),
                *_server(options, app, nginx),
            ],
        ),
    ]
    return [*main, _block("http", with_dollar(inside))]


# The parts.


def _production_user(options: Options) -> Iterator[str]:
    name = options.user or "www-data"
    yield name
    if options.group:
        yield options.group
        return
    # nginx takes the group of that name, and not every user has one.
    with contextlib.suppress(KeyError):
        group = grp.getgrgid(pwd.getpwnam(name).pw_gid).gr_name
        if group != name:
            yield group


def _events(options: Options) -> list[Directive]:
    number = options.worker_connections
    return _line("worker_connections", str(number)) if number else []


def _types(file: Path | None) -> Iterator[Directive]:
    if file is not None:
        yield Directive("include", (_no_pattern(str(file)),))
    else:
        import mimetypes

        by_type: dict[str, list[str]] = {}
        for extension, kind in sorted(mimetypes.types_map.items()):
            by_type.setdefault(kind, []).append(extension.lstrip("."))
        yield _block("types", [Directive(kind, tuple(names)) for kind, names in by_type.items()])
    yield Directive("default_type", ("application/octet-stream",))


def _no_pattern(path: str) -> str:
    """A path for `include`, which takes one with such a character for a pattern of glob()."""
    return re.sub(r"([\\*?\[])", r"\\\1", path) if re.search(r"[*?\[]", path) else path


def _access_log(options: Options, colors: bool) -> Iterator[Directive]:
    """In uvicorn's form on the standard output, in nginx's usual one in a file."""
    if not options.access_log:
        yield Directive("access_log", ("off",))
        return
    if options.access_logfile != "-":
        yield Directive("access_log", (literal(os.path.abspath(options.access_logfile)),))
        return
    reasons = [
        Directive(str(status.value), (literal(status.phrase),)) for status in http.HTTPStatus
    ]
    yield _block("map", [Directive("default", ("",)), *reasons], "$status", "$pywsgi_reason")
    line = '$remote_addr:$remote_port - "$request"'
    if not colors:
        yield Directive("log_format", ("pywsgi", f"INFO:     {line} $status $pywsgi_reason"))
        yield Directive("access_log", ("/dev/stdout", "pywsgi"))
        return
    for digit, color in _COLORS.items():
        condition = f"$pywsgi_is_{digit}"
        choice = [Directive("default", ("",)), Directive(f"~^{digit}", ("1",))]
        yield _block("map", choice, "$status", condition)
        text = f"\x1b[32mINFO\x1b[0m:     {line} \x1b[{color}m$status $pywsgi_reason\x1b[0m"
        yield Directive("log_format", (f"pywsgi_{digit}", text))
        yield Directive("access_log", ("/dev/stdout", f"pywsgi_{digit}", f"if={condition}"))


# Of the statuses' classes: white, green, yellow, red, bright red.
_COLORS = {"1": "37", "2": "32", "3": "33", "4": "31", "5": "91"}


def temporary(folder: Path) -> Iterator[Directive]:
    """All paths of temporary files, below `tmp` in this folder, which must exist."""
    for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi", "wsgi", "asgi"):
        yield Directive(f"{name}_temp_path", (str(folder / "tmp" / name),))


def _python(options: Options, app: Application) -> Iterator[Directive]:
    yield Directive("python_home", (str(app.home),))
    yield Directive("python_path", tuple(app.path))
    yield Directive("python_working_directory", (directory(options),))
    if options.threads:
        yield Directive("python_thread_pool", ("default", f"threads={options.threads}"))
    if options.loop != "auto":
        yield Directive("python_event_loop", ("main", options.loop))
    yield Directive("python_drain_timeout", (f"{_graceful(options)}s",))
    if options.max_requests:
        jitter = options.max_requests_jitter
        more = (f"jitter={jitter}",) if jitter else ()
        yield Directive("python_max_requests", (str(options.max_requests), *more))
    if options.reload:
        paths = map(os.path.abspath, options.reload_dir)
        folders = [os.path.dirname(each) if os.path.isfile(each) else each for each in paths]
        for folder in folders:
            if not os.path.isdir(folder):
                raise UsageError(f"--reload-dir {folder}: there is no such directory")
        yield Directive("python_reload", ("watch", *folders))


def _environment(options: Options, user: Sequence[str]) -> Iterator[Directive]:
    """All that this command has been started with, as for any other server."""
    given = {each.partition("=")[0] for each in options.env}
    # Of another user, they would be the wrong ones.
    is_other = bool(user) and user[0] != "root"
    left_out = _NOT_PASSED | given | ({"HOME", "USER", "LOGNAME"} if is_other else set())
    names = [
        name
        for name in sorted(os.environ)
        if re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII) and name not in left_out
    ]
    for start in range(0, len(names), 5):
        yield Directive("python_env", tuple(names[start : start + 5]))
    yield from _named_environment(options)


def _named_environment(options: Options) -> Iterator[Directive]:
    for variable in options.env:
        yield Directive("python_env", (variable,))
    for file in options.env_file:
        path = os.path.abspath(file)
        if not os.path.isfile(path):
            raise UsageError(f"--env-file {file}: there is no such file")
        yield Directive("python_env_file", (path,))


# nginx's own, the shell's, and what would mislead an embedded Python.
_NOT_PASSED = frozenset(
    ("NGINX", "NGINX_BPF_MAPS", "_", "SHLVL", "PYTHONHOME", "PYTHONUTF8", "PYTHONSTARTUP")
)


def _http(options: Options, app: Application) -> Iterator[Directive]:
    yield Directive("sendfile", ("on",))
    yield Directive("server_tokens", ("on" if options.server_header else "off",))
    yield Directive("client_max_body_size", (options.client_max_body_size,))
    if options.keep_alive is not None:
        yield Directive("keepalive_timeout", (f"{options.keep_alive}s",))
    if options.proxy_headers or options.forwarded_allow_ips:
        yield from _proxied(options, app)


def _proxied(options: Options, app: Application) -> Iterator[Directive]:
    """The client and the scheme are those that the proxies name."""
    text = options.forwarded_allow_ips or os.environ.get("FORWARDED_ALLOW_IPS") or "127.0.0.1,::1"
    names = [each.strip() for each in text.split(",") if each.strip()]
    everybody = "*" in names
    typed = ["0.0.0.0/0", "::/0"] if everybody else [each for each in names if each[0] != "/"]
    networks = list(dict.fromkeys(map(_network, typed)))
    if everybody or len(typed) < len(names):
        yield Directive("set_real_ip_from", ("unix:",))
    for network in networks:
        yield Directive("set_real_ip_from", (_short(network),))
    yield Directive("real_ip_header", ("X-Forwarded-For",))
    yield Directive("real_ip_recursive", ("on",))
    # Of a whole family, the halves: it is the default's network, which nginx warns of.
    parts = [half for each in networks for half in ([each] if each.prefixlen else each.subnets())]
    trusted = [Directive(_short(each), ("1",)) for each in parts if not everybody]
    default = Directive("default", ("1" if everybody else "0",))
    yield _block("geo", [default, *trusted], "$realip_remote_addr", "$pywsgi_from_proxy")
    yield _block(
        "map",
        [Directive("default", ("",)), Directive("1:https", ("on",)), Directive("1:wss", ("on",))],
        "$pywsgi_from_proxy:$http_x_forwarded_proto",
        "$pywsgi_https",
    )
    yield Directive(f"{app.protocol}_param", ("HTTPS", "$pywsgi_https", "if_not_empty"))


_Network = Union[ipaddress.IPv4Network, ipaddress.IPv6Network]


def _network(text: str) -> _Network:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise UsageError(
            f"--forwarded-allow-ips {text}: it is no address and no network, as 10.0.0.0/8"
        ) from None


def _short(network: _Network) -> str:
    return str(network if network.num_addresses > 1 else network.network_address)


def _listens(
    options: Options, nginx: Nginx | None, listen: Sequence[tuple[str, ...]]
) -> Iterator[Directive]:
    version = nginx.version if nginx else (1, 30, 0)
    http2_in_listen = options.http2 and version < (1, 25, 1)
    for address in listen:
        more = [*(["ssl"] if options.has_tls else []), *(["http2"] if http2_in_listen else [])]
        if options.backlog and not address[0].startswith("unix:"):
            more.append(f"backlog={options.backlog}")
        if options.reuse_port and not address[0].startswith("unix:"):
            more.append("reuseport")
        yield Directive("listen", (*address, *more))
    if options.http2 and not http2_in_listen:
        yield Directive("http2", ("on",))
    if options.http3:
        if nginx and not nginx.has("http_v3_module"):
            raise UsageError(
                f"--http3: {nginx.path} ({nginx.version_text}) is built without HTTP/3: use nginx"
                " 1.25 or newer with http_v3_module, such as that of pip install 'pywsgi[nginx]'"
            )
        if not options.has_tls:
            raise UsageError("--http3 needs TLS: add --certfile or --tls-self-signed")
        for address in listen:
            if not address[0].startswith("unix:"):
                yield Directive("listen", (address[0], "quic", *address[1:], "reuseport"))


def _server(options: Options, app: Application, nginx: Nginx | None) -> Iterator[Directive]:
    yield from _tls(options)
    for name, value in options.header:
        yield Directive("add_header", (name, literal(value), "always"))
    if options.http3:
        yield Directive("add_header", ("Alt-Svc", 'h3=":$server_port"; ma=86400', "always"))
    yield _block("location", _location(options, app), "/")
    used = set()
    for url, place in options.static:
        block = _static(url, place)
        at = block.args[-1]
        if at == options.status:
            raise UsageError(f"--status and --static are both at {at}")
        if at in used:
            raise UsageError(f"--static is at {at} twice")
        used.add(at)
        yield block
    if options.status:
        yield _block("location", _line("python_status"), "=", options.status)


def _location(options: Options, app: Application) -> Iterator[Directive]:
    own = app.protocol
    yield Directive(f"{own}_app", (app.target,))
    if options.root_path:
        yield Directive(f"{own}_script_name", (options.root_path,))
    if options.timeout is not None:
        yield Directive(f"{own}_timeout", (f"{options.timeout}s" if options.timeout else "0",))
    if options.debug:
        yield Directive(f"{own}_debug", ("traceback",))
    if own == "wsgi":
        return
    if options.lifespan != "auto":
        yield Directive("asgi_lifespan", (options.lifespan,))
    if options.limit_concurrency:
        yield Directive("asgi_max_requests_in_flight", (str(options.limit_concurrency),))
    if not options.ws:
        yield Directive("asgi_websocket", ("off",))
    if options.ws_max_size:
        yield Directive("asgi_websocket_max_message_size", (str(options.ws_max_size),))
    for name in ("interval", "timeout"):
        seconds = options.ws_ping_interval if name == "interval" else options.ws_ping_timeout
        if seconds is not None:
            value = f"{round(seconds * 1000)}ms" if seconds else "off"
            yield Directive(f"asgi_websocket_ping_{name}", (value,))
    if not options.ws_per_message_deflate:
        yield Directive("asgi_websocket_deflate", ("off",))


def _static(url: str, place: str) -> Directive:
    path = os.path.abspath(place)
    if os.path.isfile(path):
        return _block("location", _line("alias", literal(path)), "=", url)
    if not os.path.isdir(path):
        raise UsageError(f"--static {url}={place}: there is no directory {path}")
    prefix = f"{url.rstrip('/')}/"
    inside = _line("alias", literal(f"{path.rstrip('/')}/"))
    # Such as .git and .env, which nobody has meant to publish.
    hidden = rf"^{re.escape(prefix)}(.*/)?\.(?!well-known/)"
    inside.append(_block("location", _line("return", "404"), "~", hidden))
    return _block("location", inside, prefix)


def _tls(options: Options) -> Iterator[Directive]:
    if not options.has_tls:
        for name in ("keyfile", "ca_certs", "ciphers"):
            if getattr(options, name):
                raise UsageError(f"--{name.replace('_', '-')} needs --certfile")
        return
    for name in ("certfile", "keyfile", "ca_certs"):
        file = getattr(options, name)
        if file and not os.path.isfile(file):
            raise UsageError(f"--{name.replace('_', '-')} {file}: there is no such file")
        # nginx would read it at each connection, as the workers' user.
        if file and "$" in os.path.abspath(file):
            raise UsageError(f"--{name.replace('_', '-')} {file}: nginx takes a $ in it for more")
    assert options.certfile is not None
    yield Directive("ssl_certificate", (os.path.abspath(options.certfile),))
    key = options.keyfile or options.certfile
    yield Directive("ssl_certificate_key", (os.path.abspath(key),))
    yield Directive("ssl_protocols", ("TLSv1.2", "TLSv1.3"))
    if options.password_file:
        yield Directive("ssl_password_file", (options.password_file,))
    if options.ciphers:
        yield Directive("ssl_ciphers", (options.ciphers,))
    if options.ca_certs:
        yield Directive("ssl_client_certificate", (os.path.abspath(options.ca_certs),))
    if options.cert_reqs:
        yield Directive("ssl_verify_client", (("off", "optional", "on")[options.cert_reqs],))


# Values.


def _graceful(options: Options) -> int:
    return 30 if options.graceful_timeout is None else max(options.graceful_timeout, 1)


def _is_debug(options: Options) -> bool:
    return options.log_level in ("debug", "trace")


def _log_level(options: Options) -> str:
    """nginx's."""
    return _LEVELS[options.log_level]


_LEVELS = {
    "critical": "crit",
    "error": "error",
    "warning": "warn",
    "info": "info",
    "debug": "debug",
    "trace": "debug",
}


def _file(name: str, default: str) -> str:
    return default if name == "-" else os.path.abspath(name)


def _line(name: str, *args: str) -> list[Directive]:
    return [Directive(name, args)]


def _block(
    name: str, directives: Sequence[Directive] | Iterator[Directive], *args: str
) -> Directive:
    return Directive(name, args, list(directives))
