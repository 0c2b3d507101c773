"""Waitress: the command line of waitress-serve. The names of `waitress.serve()` have no dashes."""

from __future__ import annotations

from . import listening, rules
from .command_line import Command, positional
from .option import Table, becomes, is_off, kept, needless, nothing
from .plan import ConversionError, Listen, Plan, Setting
from .target import split, target

_CHANNEL = "nginx's event loop has no such channels"
_COMMAND = "is for the command alone"


def _body(plan: Plan, setting: Setting) -> None:
    limit = rules.bytes_of(rules.natural(setting))
    plan.server.set("client_max_body_size", limit, source=setting.source)


def _scheme(plan: Plan, setting: Setting) -> None:
    if str(setting.value) == "https":
        plan.applications.add("*_param", "HTTPS", "on", source=setting.source)
    else:
        plan.spare(setting, "is that of the connection")


TABLE = Table(
    "Waitress",
    # The application
    kept("wsgi_app", "app --app"),
    kept("wsgi_app", "call --call", "0"),
    kept("wsgi_script_name", "url_prefix --url-prefix"),
    becomes("wsgi_param", _scheme, "url_scheme --url-scheme"),
    nothing(_COMMAND, "--help", "0"),
    # Sockets
    kept("listen", "host --host"),
    kept("listen", "port --port"),
    kept("listen", "listen --listen"),
    kept("listen", "ipv4 --ipv4 --no-ipv4", "0"),
    kept("listen", "ipv6 --ipv6 --no-ipv6", "0"),
    kept("listen", "unix_socket --unix-socket"),
    nothing(
        "nginx's socket is open to all: protect its folder", "unix_socket_perms --unix-socket-perms"
    ),
    nothing("nginx opens its sockets itself: write a `listen`", "sockets --sockets"),
    kept("listen", "backlog --backlog"),
    becomes("server_name", rules.server("server_name"), "server_name --server-name"),
    nothing("nginx sends its own name: see `server_tokens`", "ident --ident"),
    # Proxies in front
    kept("set_real_ip_from", "trusted_proxy --trusted-proxy"),
    nothing(
        "`real_ip_recursive` skips the trusted ones", "trusted_proxy_count --trusted-proxy-count"
    ),
    nothing(
        "X-Forwarded-For and X-Forwarded-Proto are believed",
        "trusted_proxy_headers --trusted-proxy-headers",
    ),
    nothing(
        "nothing logs them",
        "log_untrusted_proxy_headers --log-untrusted-proxy-headers "
        "--no-log-untrusted-proxy-headers",
        "0",
    ),
    nothing(
        "the application sees them as they are sent: it must not read them",
        "clear_untrusted_proxy_headers --clear-untrusted-proxy-headers "
        "--no-clear-untrusted-proxy-headers",
        "0",
    ),
    # Threads, buffers and limits
    kept("python_thread_pool", "threads --threads"),
    nothing("nginx has buffers of its own", "recv_bytes --recv-bytes"),
    nothing("nginx has buffers of its own", "send_bytes --send-bytes"),
    becomes(
        "wsgi_buffer_size",
        rules.application("*_buffer_size", rules.size),
        "outbuf_overflow --outbuf-overflow",
    ),
    nothing(
        "`wsgi_max_temp_file_size` limits what the application may be ahead of its client",
        "outbuf_high_watermark --outbuf-high-watermark",
    ),
    becomes(
        "client_body_buffer_size",
        rules.server("client_body_buffer_size", rules.size),
        "inbuf_overflow --inbuf-overflow",
    ),
    nothing(
        "slow clients hold no thread: `worker_connections` is nginx's limit",
        "connection_limit --connection-limit",
    ),
    nothing(_CHANNEL, "cleanup_interval --cleanup-interval"),
    becomes(
        "keepalive_timeout",
        rules.http("keepalive_timeout", rules.seconds),
        "channel_timeout --channel-timeout",
    ),
    becomes(
        "large_client_header_buffers",
        rules.header_buffers,
        "max_request_header_size --max-request-header-size",
    ),
    becomes("client_max_body_size", _body, "max_request_body_size --max-request-body-size"),
    nothing(_CHANNEL, "asyncore_loop_timeout --asyncore-loop-timeout"),
    nothing(_CHANNEL, "asyncore_use_poll --asyncore-use-poll --no-asyncore-use-poll", "0"),
    needless(
        "a client that leaves is always noticed: `wsgi_client_abort`",
        "channel_request_lookahead --channel-request-lookahead",
    ),
    # Errors
    nothing(
        "a disconnect is one line at `info`",
        "log_socket_errors --log-socket-errors --no-log-socket-errors",
        "0",
    ),
    becomes(
        "wsgi_debug",
        rules.when(
            True,
            rules.fixed("applications", "*_debug", "traceback"),
            "is off",
        ),
        "expose_tracebacks --expose-tracebacks --no-expose-tracebacks",
        "0",
    ),
)


def convert(plan: Plan, command: Command, *, run: bool = False) -> None:
    settings, rest = TABLE.parse(command.arguments, command.origin)
    for setting in settings:
        TABLE.apply(plan, setting)
    facts = plan.facts
    app = facts.get("app") or positional(plan, rest, command, "MODULE:OBJECT")
    place, name = split(str(app.value))
    if name is None:
        raise ConversionError(f"{app.source}: waitress-serve wants MODULE:OBJECT")
    rules.folders(plan, None, "Waitress")
    call, prefix = facts.get("call"), facts.get("url_prefix")
    plan.application(
        target(place, name, call=call is not None),
        "wsgi",
        "; ".join(each.source for each in (app, call, prefix) if each),
        prefix=str(prefix.value) if prefix else "",
    )
    threads = facts.get("threads")
    if threads is not None:
        rules.threads(plan, threads)
    else:
        rules.pool(plan, "threads=4", "Waitress: unless told otherwise")
    _addresses(plan)
    listening.parameters(plan)
    trusted = facts.get("trusted_proxy")
    if trusted is not None:
        rules.trusted(plan, trusted)
    plan.server.default("access_log", "off", source="Waitress has no access log")
    rules.error_log(plan, None, None, "Waitress: stderr")
    rules.body_limit(plan, "1g", "Waitress: unless told otherwise")


def _addresses(plan: Plan) -> None:
    facts = plan.facts
    off = {key for key in ("ipv4", "ipv6") if key in facts and is_off(facts[key].value)}
    for key in ("ipv4", "ipv6"):
        if key in facts:
            plan.spare(facts[key], "the address of `listen` says it: 80 is IPv4, [::]:80 is IPv6")
    if "unix_socket" in facts:
        socket = facts["unix_socket"]
        plan.server.listens.append(Listen(f"unix:{plan.path(socket.value)}", socket.source))
        return
    for setting in plan.all_facts.get("listen", []):
        for bind in str(setting.value).split():
            every = bind.startswith("*:")
            if every and "ipv6" not in off:
                address = listening.address(plan, f"[::]{bind[1:]}", 8080)
                plan.server.listens.append(Listen(address, setting.source))
            if not (every and "ipv4" in off):
                plan.server.listens.append(listening.listen(plan, bind, 8080, setting.source))
    if not plan.server.listens:
        listening.host_and_port(plan, "0.0.0.0", 8080, "Waitress")
