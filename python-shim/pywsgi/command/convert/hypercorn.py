"""Hypercorn: its command line, and its files in TOML and Python."""

from __future__ import annotations

import re
import sys
from typing import Any

from . import listening, python_file, rules, text_file
from .command_line import Command, positional
from .option import Table, becomes, is_off, kept, needless, nothing
from .plan import ConversionError, Listen, Plan, Setting
from .target import protocol_of, split, target

_LOGGING = "the application configures `logging` itself; `python_log` says where its output goes"
_STATSD = "Prometheus fetches the numbers of `python_status`; nothing is pushed"
_SOCKET = "everybody may connect to a Unix socket of nginx's: protect its folder"
_NAMES = "names are in lower case, as the specification says"


def _server_names(plan: Plan, setting: Setting) -> None:
    names = rules.listed(setting.value)
    if names:
        plan.server.extend("server_name", *names, source=setting.source)
    else:
        plan.spare(setting, "is empty")


def _alt_svc(plan: Plan, setting: Setting) -> None:
    for value in rules.listed(setting.value, "\0"):
        rules.add_header(plan, "Alt-Svc", value, setting.source)


def _alpn(plan: Plan, setting: Setting) -> None:
    if "h2" in rules.listed(setting.value):
        plan.keep(setting, "http2")
    else:
        plan.spare(setting, "HTTP/1.1 is always spoken")


def _debug(plan: Plan, setting: Setting) -> None:
    if rules.truth(setting.value):
        plan.applications.set("*_debug", "traceback", source=setting.source)
        plan.http.add("python_env", "PYTHONASYNCIODEBUG=1", source=setting.source)
    else:
        plan.spare(setting, "is off")


def _flags(plan: Plan, setting: Setting) -> None:
    if is_off(setting.value):
        plan.spare(setting, "is not set")
    else:
        plan.leave(setting, "write `ssl_crl FILE;` or `ssl_verify_depth`")


def _read_timeout(plan: Plan, setting: Setting) -> None:
    value = rules.seconds(plan, setting)
    if value is None:
        plan.spare(setting, "is not set")
        return
    plan.http.set("client_header_timeout", value, source=setting.source)
    plan.http.set("client_body_timeout", value, source=setting.source)


TABLE = Table(
    "Hypercorn",
    # The application
    kept("asgi_app wsgi_app", "application_path application"),
    needless("its settings are in this file", "-c --config"),
    kept("asgi_script_name", "root_path --root-path"),
    becomes("server_name", _server_names, "server_names --server-name"),
    becomes("asgi_debug", _debug, "debug --debug", "0"),
    kept("asgi_lifespan", "startup_timeout"),
    kept("asgi_lifespan", "shutdown_timeout"),
    nothing("a body waits in nginx, not in a queue of messages", "max_app_queue_size"),
    kept("client_max_body_size", "wsgi_max_body_size"),
    nothing("is for the command alone", "-h --help", "0"),
    # Workers and the process
    becomes(
        "worker_processes", rules.main("worker_processes", rules.whole), "workers -w --workers"
    ),
    becomes("python_event_loop", rules.loop, "worker_class -k --worker-class"),
    kept("python_max_requests", "max_requests --max-requests"),
    kept("python_max_requests", "jitter max_requests_jitter --max-requests-jitter"),
    becomes(
        "python_drain_timeout",
        rules.http("python_drain_timeout", rules.seconds),
        "graceful_timeout --graceful-timeout",
    ),
    nothing(
        "`daemon` is of its processes: nginx decides by `daemon on;`", "daemon -D --daemon", "0"
    ),
    becomes("pid", rules.main("pid", rules.path), "pid_path -p --pid"),
    nothing(_SOCKET, "user -u --user"),
    nothing(_SOCKET, "group -g --group"),
    nothing(_SOCKET, "umask -m --umask"),
    becomes("python_reload", rules.reload, "use_reloader --reload", "0"),
    # Sockets and protocols
    kept("listen", "bind -b --bind"),
    kept("listen", "insecure_bind --insecure-bind"),
    kept("listen", "quic_bind --quic-bind"),
    becomes("add_header", _alt_svc, "alt_svc_headers"),
    becomes("http2", _alpn, "alpn_protocols"),
    kept("listen", "backlog --backlog"),
    becomes(
        "keepalive_timeout",
        rules.http("keepalive_timeout", rules.seconds),
        "keep_alive_timeout --keep-alive",
    ),
    becomes(
        "keepalive_requests",
        rules.http("keepalive_requests", rules.whole),
        "keep_alive_max_requests",
    ),
    becomes(
        "client_header_timeout client_body_timeout", _read_timeout, "read_timeout --read-timeout"
    ),
    becomes(
        "large_client_header_buffers",
        rules.header_buffers,
        "h11_max_incomplete_size",
    ),
    nothing(_NAMES, "h11_pass_raw_headers"),
    becomes(
        "http2_max_concurrent_streams",
        rules.http("http2_max_concurrent_streams", rules.whole),
        "h2_max_concurrent_streams",
    ),
    nothing("see `large_client_header_buffers`", "h2_max_header_list_size"),
    nothing("is nginx's own", "h2_max_inbound_frame_size"),
    becomes(
        "",
        rules.when(False, rules.leave("nginx always sends the date"), "nginx always sends it"),
        "include_date_header",
    ),
    becomes(
        "server_tokens",
        rules.when(False, rules.fixed("http", "server_tokens", "off"), "nginx sends its own"),
        "include_server_header",
    ),
    becomes(
        "asgi_websocket_max_message_size",
        rules.application("asgi_websocket_max_message_size", rules.size),
        "websocket_max_message_size",
    ),
    becomes(
        "asgi_websocket_ping_interval",
        rules.application("asgi_websocket_ping_interval", rules.seconds),
        "websocket_ping_interval --websocket-ping-interval",
    ),
    # TLS
    kept("ssl_certificate", "certfile --certfile"),
    kept("ssl_certificate_key", "keyfile --keyfile"),
    becomes("ssl_password_file", listening.password, "keyfile_password --keyfile-password"),
    becomes(
        "ssl_client_certificate",
        rules.server("ssl_client_certificate", rules.path),
        "ca_certs --ca-certs",
    ),
    becomes(
        "ssl_verify_client", listening.verify, "verify_mode --verify-mode cert_reqs --cert-reqs"
    ),
    becomes("ssl_crl ssl_verify_depth", _flags, "verify_flags"),
    becomes("ssl_ciphers", rules.server("ssl_ciphers"), "ciphers --ciphers"),
    needless("client_header_timeout is for the handshake as well", "ssl_handshake_timeout"),
    nothing("`ssl_conf_command` sets OpenSSL's options", "create_ssl_context"),
    # Logs
    becomes("access_log", rules.access_log, "accesslog --access-logfile --access-log"),
    nothing(
        "write a `log_format`, and its name behind `access_log`",
        "access_log_format --access-logformat",
    ),
    kept("error_log", "errorlog --error-logfile --log-file --error-log"),
    kept("error_log", "loglevel --log-level"),
    nothing(_LOGGING, "logconfig --log-config"),
    nothing(_LOGGING, "logconfig_dict"),
    nothing(_LOGGING, "logger_class"),
    nothing(_STATSD, "statsd_host --statsd-host"),
    nothing(_STATSD, "statsd_prefix --statsd-prefix"),
    nothing(_STATSD, "dogstatsd_tags"),
)
_LISTS = ("bind", "insecure_bind", "quic_bind", "server_names")


def convert(plan: Plan, command: Command, *, run: bool = False) -> None:
    settings, rest = TABLE.parse(command.arguments, command.origin)
    named = [each for each in settings if each.name in ("-c", "--config")]
    read = settings_of(plan, str(named[-1].value), run=run) if named else []
    apply(plan, read, settings, rest, command)


def settings_of(plan: Plan, name: str, *, run: bool) -> list[Setting]:
    """The settings of a file; `file:` before its name says that it is in Python."""
    if name.startswith("python:"):
        raise ConversionError(f"-c {name}: give `file:` and the module's file instead of its name")
    path = plan.folder / name.removeprefix("file:")
    if name.startswith("file:") or path.suffix == ".py":
        return python_file.settings(plan, TABLE, path, run=run)
    text = text_file.read(path)
    return [
        Setting(key, value, f"{path.name}:{_line(text, key)}", f"{key} = {value!r}")
        for key, value in _toml(text, path.name).items()
    ]


def _toml(text: str, shown: str) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib

        try:
            return tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise ConversionError(f"{shown} is no valid TOML: {error}") from None
    raise ConversionError(f"{shown} needs Python 3.11 or later, which reads TOML")


def _line(text: str, key: str) -> int:
    pattern = re.compile(
        rf"\s*(?:{re.escape(key)}|\[{re.escape(key)}[.\]].*|\"{re.escape(key)}\")\s*(?:=|$)"
    )
    return next((at for at, line in enumerate(text.splitlines(), 1) if pattern.match(line)), 1)


def apply(
    plan: Plan, read: list[Setting], given: list[Setting], rest: list[str], command: Command
) -> None:
    """The settings of the file, and over them those of the command line."""
    over = {TABLE.by_name[each.name].names[0] for each in given if each.name in TABLE.by_name}
    chosen = [
        each
        for each in read
        if TABLE.by_name.get(each.name) is None or TABLE.by_name[each.name].names[0] not in over
    ]
    plan.seen += read
    for setting in [*chosen, *given]:
        python_file.apply(TABLE, setting, plan)
    facts = plan.facts
    app = facts.get("application_path")
    if rest or app is None:
        app = positional(plan, rest, command, "application")
    rules.folders(plan, None, "Hypercorn")
    _application(plan, app)
    _listen(plan)
    rules.max_requests(plan)
    listening.certificate(plan, "certfile", "keyfile")
    if "http2" in facts:
        listening.http2(plan, facts["http2"])
    rules.error_log(plan, facts.get("errorlog"), facts.get("loglevel"), "Hypercorn: stderr")
    plan.server.default(
        "access_log", "off", source="Hypercorn: no access log, unless told otherwise"
    )


def _application(plan: Plan, app: Setting) -> None:
    facts = plan.facts
    text = str(app.value)
    mode = re.match(r"(asgi|wsgi):", text)
    place, name = split(text[mode.end() :] if mode else text)
    if place.endswith(".py"):
        place = plan.path(place)
    protocol = mode[1] if mode else protocol_of(plan, place, name or "app", "asgi")
    prefix = facts.get("root_path")
    plan.application(
        target(place, name or "app"),
        protocol,
        "; ".join(each.source for each in (app, prefix) if each),
        prefix=str(prefix.value) if prefix else "",
    )
    limits = [facts[each] for each in ("startup_timeout", "shutdown_timeout") if each in facts]
    if limits:
        arguments = [
            f"{TABLE.by_name[each.name].names[0]}={rules.duration(each.value)}" for each in limits
        ]
        source = "; ".join(each.source for each in limits)
        plan.applications.set("asgi_lifespan", "auto", *arguments, source=source)
    body = facts.get("wsgi_max_body_size")
    if protocol == "asgi":
        rules.body_limit(plan, "0", "Hypercorn has no limit for ASGI")
        if body:
            plan.spare(body, "is for WSGI")
    elif body:
        rules.body_limit(plan, rules.bytes_of(rules.natural(body)), body.source)
    else:
        rules.body_limit(plan, "16m", "Hypercorn: unless told otherwise")


def _listen(plan: Plan) -> None:
    tls = "certfile" in plan.facts
    for key in ("bind", "insecure_bind", "quic_bind"):
        # On the command line each option is one address; in a file one is a list.
        for setting in plan.all_facts.get(key, []):
            for bind in rules.listed(setting.value):
                if bind.startswith("fd://"):
                    plan.leave(setting, "nginx opens its sockets itself: write a `listen`")
                    continue
                made = listening.listen(plan, bind, 8000, setting.source)
                if key == "insecure_bind":
                    made.tls = False
                elif key == "quic_bind":
                    made.tls, made.parameters = False, ["quic"]
                    if not tls:
                        plan.leave(setting, "QUIC needs a certificate")
                        continue
                plan.server.listens.append(made)
    if not plan.all_facts.get("bind"):
        plan.server.listens.insert(0, Listen("127.0.0.1:8000", "Hypercorn: unless told otherwise"))
    quic = [each for each in plan.server.listens if "quic" in each.parameters]
    others = [each for each in plan.server.listens if each not in quic]
    plan.server.listens = others
    listening.parameters(plan)
    plan.server.listens += quic
