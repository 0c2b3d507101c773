"""Daphne: its command line. `DAPHNE_…` are settings of Django that it reads."""

from __future__ import annotations

import re

from . import listening, rules
from .command_line import Command, positional
from .option import Rule, Table, becomes, kept, nothing
from .plan import ConversionError, Listen, Plan, Setting
from .target import split, target

_PROXY = "there is no proxy: for another one in front of nginx see `set_real_ip_from`"
_RUNSERVER = "is of `manage.py runserver`, which works as before"


def _timeout(name: str) -> Rule:
    """Seconds; a negative number is none."""

    def rule(plan: Plan, setting: Setting) -> None:
        if str(setting.value).startswith("-"):
            plan.spare(setting, "has no limit")
        else:
            value = rules.duration(setting.value)
            plan.applications.set(name, value, source=setting.source)

    return rule


def _endpoint(plan: Plan, setting: Setting) -> None:
    """A server endpoint of Twisted: `tcp:8000:interface=127.0.0.1`, `unix:PATH`, `ssl:443:…`."""
    kind, *words = re.split(r"(?<!\\):", str(setting.value))
    named = dict(word.split("=", 1) for word in words if "=" in word)
    plain = [word.replace("\\:", ":") for word in words if "=" not in word]
    if kind == "unix":
        address = f"unix:{plan.path(named.get('address', plain[0] if plain else ''))}"
    elif kind in ("tcp", "tcp6", "ssl"):
        port = named.get("port", plain[0] if plain else "")
        host = named.get("interface", "").replace("\\:", ":")
        address = listening.address(
            plan, f"[{host}]:{port}" if ":" in host else f"{host}:{port}", 8000
        )
    else:
        plan.leave(setting, "nginx has no such endpoint: write a `listen`")
        return
    plan.server.listens.append(Listen(address, setting.source, [], kind == "ssl"))
    if kind == "ssl":
        certificate = plan.file(named.get("certKey", "server.pem"))
        key = plan.file(named.get("privateKey", "server.pem"))
        plan.server.set("ssl_certificate", certificate, source=setting.source)
        plan.server.set("ssl_certificate_key", key, source=setting.source)
        if "extraCertChain" in named:
            plan.leave(setting, "put the certificate and its chain into one file")


def _verbosity(plan: Plan, setting: Setting) -> None:
    level = {0: "warn", 1: "info"}.get(rules.number(setting, 1), "debug")
    to = rules.output(plan, "-", "stderr", "/var/log/nginx/error.log")
    plan.main.set("error_log", to, level, source=setting.source)
    if rules.number(setting, 1) > 2:
        plan.http.add("python_env", "PYTHONASYNCIODEBUG=1", source=setting.source)


TABLE = Table(
    "Daphne",
    kept("asgi_app", "application ASGI_APPLICATION"),
    kept("asgi_script_name", "root_path --root-path"),
    becomes("asgi_timeout", _timeout("asgi_timeout"), "-t --http-timeout"),
    nothing(
        "`asgi_client_abort cancel;` cancels the task of a client that has left at once",
        "--application-close-timeout",
    ),
    nothing("is for the command alone", "-h --help", "0"),
    # WebSocket
    becomes(
        "asgi_websocket_ping_interval",
        rules.application("asgi_websocket_ping_interval", rules.seconds),
        "--ping-interval",
    ),
    kept("asgi_websocket_ping_timeout", "ping_timeout --ping-timeout"),
    kept(
        "asgi_websocket_max_message_size",
        "max_message_size --websocket-max-message-size DAPHNE_WEBSOCKET_MAX_MESSAGE_SIZE",
    ),
    nothing(
        "a frame may be as large as a message",
        "--websocket-max-frame-size DAPHNE_WEBSOCKET_MAX_FRAME_SIZE",
    ),
    nothing("`asgi_timeout` runs until the application accepts", "--websocket_connect_timeout"),
    nothing("write `asyncio.timeout()` in the application", "--websocket_timeout"),
    # Sockets and headers
    kept("listen", "host -b --bind"),
    kept("listen", "port -p --port"),
    kept("listen", "uds -u --unix-socket"),
    nothing("nginx opens its sockets itself: write a `listen`", "--fd"),
    becomes("listen", _endpoint, "-e --endpoint"),
    nothing(_PROXY, "--proxy-headers", "0"),
    nothing(_PROXY, "--proxy-headers-host"),
    nothing(_PROXY, "--proxy-headers-port"),
    nothing("nginx sends its own name: see `server_tokens`", "-s --server-name"),
    becomes("server_tokens", rules.fixed("http", "server_tokens", "off"), "--no-server-name", "0"),
    # Logs
    kept("access_log", "access_log --access-log"),
    becomes("error_log", _verbosity, "-v --verbosity"),
    nothing("`logging.basicConfig` in the application's module", "--log-fmt"),
    # manage.py runserver
    nothing(_RUNSERVER, "--noasgi", "0"),
    nothing(_RUNSERVER, "--nostatic", "0"),
    nothing(_RUNSERVER, "--insecure", "0"),
    nothing(_RUNSERVER, "--http_timeout"),
    nothing(_RUNSERVER, "--websocket_handshake_timeout"),
)


def convert(plan: Plan, command: Command, *, run: bool = False) -> None:
    settings, rest = TABLE.parse(command.arguments, command.origin)
    for setting in settings:
        TABLE.apply(plan, setting)
    app = positional(plan, rest, command, "application")
    place, name = split(str(app.value))
    if name is None:
        raise ConversionError(f"{app.source}: Daphne wants MODULE:ATTRIBUTE")
    rules.folders(plan, None, "Daphne")
    facts = plan.facts
    prefix = facts.get("root_path")
    plan.application(
        target(place, name),
        "asgi",
        "; ".join(each.source for each in (app, prefix) if each),
        prefix=str(prefix.value) if prefix else "",
    )
    if "uds" in facts:
        uds = facts["uds"]
        plan.server.listens.append(Listen(f"unix:{plan.path(uds.value)}", uds.source))
    if "host" in facts or "port" in facts or not plan.server.listens:
        listening.host_and_port(plan, "127.0.0.1", 8000, "Daphne")
    for listen in plan.server.listens:
        # TLS is only that of the endpoint that says so.
        listen.tls = bool(listen.tls)
    plan.main.default("worker_processes", "1", source="Daphne is one process")
    _websocket(plan)
    if "access_log" in facts:
        rules.access_log(plan, facts["access_log"])
    else:
        to = rules.output(plan, "-", "/dev/stdout", "/var/log/nginx/access.log")
        plan.server.set("access_log", to, source="Daphne: standard output")
    rules.error_log(plan, None, None, "Daphne: stderr")
    rules.body_limit(plan, "0", "Daphne has no limit")


def _websocket(plan: Plan) -> None:
    timeout = plan.facts.get("ping_timeout")
    value = rules.duration(timeout.value) if timeout else "30s"
    source = timeout.source if timeout else "Daphne: unless told otherwise"
    plan.applications.set("asgi_websocket_ping_timeout", value, source=source)
    limit = plan.facts.get("max_message_size")
    if limit is None:
        plan.applications.set(
            "asgi_websocket_max_message_size", "1m", source="Daphne: unless told otherwise"
        )
    elif rules.natural(limit):
        value = rules.bytes_of(rules.natural(limit))
        plan.applications.set("asgi_websocket_max_message_size", value, source=limit.source)
    else:
        plan.leave(limit, "a message always has a limit here, 16m unless told otherwise")
