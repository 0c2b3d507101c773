"""uvicorn: its command line. The names of `uvicorn.run()` are those without dashes."""

from __future__ import annotations

from . import listening, rules
from .command_line import Command, from_environment, positional
from .option import Rule, Table, becomes, kept, needless, nothing
from .plan import ConversionError, Listen, Plan, Setting
from .target import split, target

_RELOAD = "`python_reload watch` watches the folders of what the application has imported"
_COMMAND = "is for the command alone"


def _ws(plan: Plan, setting: Setting) -> None:
    if str(setting.value) == "none":
        plan.applications.set("asgi_websocket", "off", source=setting.source)
    else:
        plan.spare(setting, "the module has its own implementation")


def _interval(name: str) -> Rule:
    """Seconds; 0 and None are none."""

    def rule(plan: Plan, setting: Setting) -> None:
        off = setting.value is None or str(setting.value) in ("None", "0", "0.0")
        value = "off" if off else rules.duration(setting.value)
        plan.applications.set(name, value, source=setting.source)

    return rule


def _header(plan: Plan, setting: Setting) -> None:
    name, colon, value = str(setting.value).partition(":")
    if not colon:
        raise ConversionError(f"{setting.value!r} is not NAME:VALUE")
    rules.add_header(plan, name.strip(), value.strip(), setting.source)


def _http2(plan: Plan, setting: Setting) -> None:
    if rules.truth(setting.value):
        plan.keep(setting, "http2")
    else:
        plan.spare(setting, "is off")


TABLE = Table(
    "uvicorn",
    # The application
    becomes("asgi_app", rules.leave("is the argument of the command"), "app APP"),
    kept("asgi_app", "factory --factory", "0"),
    kept("python_path", "app_dir --app-dir"),
    kept("asgi_app wsgi_app", "interface --interface"),
    becomes("asgi_lifespan", rules.application("asgi_lifespan"), "lifespan --lifespan"),
    becomes("python_env_file", rules.http("python_env_file", rules.path), "env_file --env-file"),
    kept("asgi_script_name", "root_path --root-path"),
    needless("each request has a context of its own", "reset_contextvars --reset-contextvars", "0"),
    nothing(_COMMAND, "--version", "0"),
    nothing(_COMMAND, "--help", "0"),
    # Workers and event loops
    becomes("worker_processes", rules.main("worker_processes", rules.whole), "workers --workers"),
    becomes("python_event_loop", rules.loop, "loop --loop"),
    needless("nginx parses", "http --http"),
    becomes("http2", _http2, "http2 --http2", "0"),
    becomes(
        "asgi_max_requests_in_flight",
        rules.application("asgi_max_requests_in_flight", rules.whole),
        "limit_concurrency --limit-concurrency",
    ),
    kept("python_max_requests", "max_requests limit_max_requests --limit-max-requests"),
    kept("python_max_requests", "jitter limit_max_requests_jitter --limit-max-requests-jitter"),
    becomes(
        "python_drain_timeout",
        rules.http("python_drain_timeout", rules.seconds),
        "timeout_graceful_shutdown --timeout-graceful-shutdown",
    ),
    nothing(
        "`asgi_stall_warning` logs a loop that does not turn, and its stack",
        "timeout_worker_healthcheck --timeout-worker-healthcheck",
    ),
    nothing("use a task that the lifespan starts", "timeout_notify callback_notify"),
    # WebSocket
    becomes("asgi_websocket", _ws, "ws --ws"),
    becomes(
        "asgi_websocket_max_message_size",
        rules.application("asgi_websocket_max_message_size", rules.size),
        "ws_max_size --ws-max-size",
    ),
    nothing("`asgi_websocket_queue` is in bytes, 64k by default", "ws_max_queue --ws-max-queue"),
    becomes(
        "asgi_websocket_ping_interval",
        _interval("asgi_websocket_ping_interval"),
        "ws_ping_interval --ws-ping-interval",
    ),
    becomes(
        "asgi_websocket_ping_timeout",
        _interval("asgi_websocket_ping_timeout"),
        "ws_ping_timeout --ws-ping-timeout",
    ),
    becomes(
        "asgi_websocket_deflate",
        rules.application("asgi_websocket_deflate", rules.switch),
        "ws_per_message_deflate --ws-per-message-deflate",
    ),
    # Sockets and TLS
    kept("listen", "host --host"),
    kept("listen", "port --port"),
    kept("listen", "uds --uds"),
    nothing("nginx opens its sockets itself: write a `listen`", "fd --fd"),
    kept("listen", "backlog --backlog"),
    becomes(
        "keepalive_timeout",
        rules.http("keepalive_timeout", rules.seconds),
        "timeout_keep_alive --timeout-keep-alive",
    ),
    becomes(
        "large_client_header_buffers",
        rules.header_buffers,
        "h11_max_incomplete_event_size --h11-max-incomplete-event-size",
    ),
    kept("ssl_certificate_key", "ssl_keyfile --ssl-keyfile"),
    kept("ssl_certificate", "ssl_certfile --ssl-certfile"),
    becomes("ssl_password_file", listening.password, "ssl_keyfile_password --ssl-keyfile-password"),
    nothing(
        "write `ssl_protocols`; nginx's default is TLS 1.2 and 1.3", "ssl_version --ssl-version"
    ),
    becomes("ssl_verify_client", listening.verify, "ssl_cert_reqs --ssl-cert-reqs"),
    becomes(
        "ssl_client_certificate",
        rules.server("ssl_client_certificate", rules.path),
        "ssl_ca_certs --ssl-ca-certs",
    ),
    becomes("ssl_ciphers", rules.server("ssl_ciphers"), "ssl_ciphers --ssl-ciphers"),
    nothing("`ssl_conf_command` sets OpenSSL's options", "ssl_context_factory"),
    # Headers
    kept("set_real_ip_from", "proxy_headers --proxy-headers --no-proxy-headers", "0"),
    kept("set_real_ip_from", "forwarded_allow_ips --forwarded-allow-ips"),
    becomes(
        "server_tokens",
        rules.when(False, rules.fixed("http", "server_tokens", "off"), "nginx sends its own"),
        "server_header --server-header --no-server-header",
        "0",
    ),
    becomes(
        "",
        rules.when(False, rules.leave("nginx always sends the date"), "nginx always sends it"),
        "date_header --date-header --no-date-header",
        "0",
    ),
    becomes("add_header", _header, "headers --header"),
    # Logs and development
    nothing("`logging.config` in the application's module", "log_config --log-config"),
    kept("error_log", "log_level --log-level"),
    kept("access_log", "access_log --access-log --no-access-log", "0"),
    nothing("nginx's logs have no colours", "use_colors --use-colors --no-use-colors", "0"),
    becomes("python_reload", rules.reload, "reload --reload", "0"),
    nothing(_RELOAD, "reload_dirs --reload-dir"),
    nothing(_RELOAD, "reload_includes --reload-include"),
    nothing(_RELOAD, "reload_excludes --reload-exclude"),
    nothing(_RELOAD, "reload_delay --reload-delay"),
)


def convert(plan: Plan, command: Command, *, run: bool = False) -> None:
    settings, rest = TABLE.parse(command.arguments, command.origin, strict=True)
    settings = [*from_environment(TABLE, command, "UVICORN_"), *settings]
    for setting in settings:
        TABLE.apply(plan, setting)
    facts = plan.facts
    app = positional(plan, rest, command, "APP", "UVICORN_APP")
    folder = facts.get("app_dir")
    if folder is not None and folder.value:
        plan.http.extend("python_path", plan.path(folder.value), source=folder.source)
    rules.folders(plan, None, "uvicorn")
    place, name = split(str(app.value))
    if name is None and "factory" not in facts:
        raise ConversionError(f"{app.source}: uvicorn wants MODULE:ATTRIBUTE")
    interface = facts.get("interface")
    protocol = "wsgi" if interface and str(interface.value) == "wsgi" else "asgi"
    factory = facts.get("factory")
    source = "; ".join(each.source for each in (app, factory, interface) if each)
    prefix = facts.get("root_path")
    plan.application(
        target(place, name or "app", call=factory is not None),
        protocol,
        "; ".join([source, *([prefix.source] if prefix else [])]),
        prefix=str(prefix.value) if prefix else "",
    )
    _listen(plan)
    listening.parameters(plan)
    listening.certificate(plan, "ssl_certfile", "ssl_keyfile")
    rules.max_requests(plan)
    if "http2" in facts:
        listening.http2(plan, facts["http2"])
    _proxies(plan)
    _logs(plan)
    rules.body_limit(plan, "0", "uvicorn has no limit")


def _listen(plan: Plan) -> None:
    facts = plan.facts
    if "uds" in facts:
        uds = facts["uds"]
        plan.server.listens.append(Listen(f"unix:{plan.path(uds.value)}", uds.source))
        return
    listening.host_and_port(plan, "127.0.0.1", 8000, "uvicorn")


def _proxies(plan: Plan) -> None:
    headers, allowed = plan.facts.get("proxy_headers"), plan.facts.get("forwarded_allow_ips")
    if headers is not None and not rules.truth(headers.value):
        for setting in (headers, allowed):
            if setting is not None:
                plan.spare(setting, "no proxy is trusted")
        return
    if allowed is not None:
        rules.trusted(plan, allowed)
        if headers is not None:
            plan.spare(headers, "forwarded_allow_ips says whose")
    elif headers is not None:
        # What uvicorn trusts by default.
        rules.trusted(plan, Setting(headers.name, "127.0.0.1,::1", headers.origin, headers.text))


def _logs(plan: Plan) -> None:
    access, level = plan.facts.get("access_log"), plan.facts.get("log_level")
    if access is not None and not rules.truth(access.value):
        plan.server.set("access_log", "off", source=access.source)
    else:
        source = access.source if access else "uvicorn: standard output"
        to = rules.output(plan, "-", "/dev/stdout", "/var/log/nginx/access.log")
        plan.server.set("access_log", to, source=source)
    rules.error_log(plan, None, level, "uvicorn: stderr")
