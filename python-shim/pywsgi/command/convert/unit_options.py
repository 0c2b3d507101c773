"""The settings of NGINX Unit: what each becomes, or why it becomes nothing."""

from __future__ import annotations

from . import rules
from .option import Table, becomes, kept, needless, nothing
from .plan import Plan, Setting

_ISOLATION = "is for all of nginx: systemd's RootDirectory=, PrivateUsers="
_CGROUP = "make it, give it to the workers' user, and write `cgroup=FOLDER` behind `python_process`"
_OTHERS = "all processes start with nginx and stay: `start=lazy idle=TIME` of `python_process`"
_MATCH = "write a `map` of $args, $http_… or $cookie_…, and `if`"
_STATIC = "nginx's default, or `disable_symlinks`"


def _privileges(plan: Plan, setting: Setting) -> None:
    if rules.truth(setting.value):
        plan.spare(setting, "is so unless `no_new_privs=on` is there")
    else:
        plan.process.set("no_new_privs", "on", source=setting.source)


def _unsafe(plan: Plan, setting: Setting) -> None:
    if rules.truth(setting.value):
        plan.spare(setting, "nginx drops such fields")
    else:
        plan.http.set("ignore_invalid_headers", "off", source=setting.source)


# By the path of a setting, without the names that the user gives.
TABLE = Table(
    "NGINX Unit",
    # applications
    kept("", "applications.type"),
    kept("wsgi_app asgi_app", "applications.module"),
    kept("wsgi_app asgi_app", "applications.callable"),
    kept("wsgi_app asgi_app", "applications.factory"),
    kept("python_process python_path", "applications.path"),
    kept("python_process python_home", "applications.home"),
    kept("wsgi_script_name asgi_script_name", "applications.prefix"),
    kept("wsgi_app asgi_app", "applications.targets"),
    kept("wsgi_app asgi_app", "applications.protocol"),
    kept("python_process python_thread_pool", "applications.threads"),
    kept("python_thread_pool", "applications.thread_stack_size"),
    kept("python_process python_env", "applications.environment"),
    kept("python_process python_working_directory", "applications.working_directory"),
    kept("user", "applications.user"),
    kept("user", "applications.group"),
    nothing("write `python_log FILE;` and `python_stdout_log_level`", "applications.stdout"),
    nothing("write `python_log FILE;`", "applications.stderr"),
    kept("python_process worker_processes", "applications.processes"),
    nothing(_OTHERS, "applications.processes.spare"),
    kept("python_process worker_processes", "applications.processes.max"),
    nothing(_OTHERS, "applications.processes.idle_timeout"),
    kept("wsgi_timeout asgi_timeout", "applications.limits.timeout"),
    kept("python_process python_max_requests", "applications.limits.requests"),
    nothing("`wsgi_buffer_size` limits memory", "applications.limits.shm"),
    becomes("python_process", _privileges, "applications.isolation.new_privs"),
    nothing(_CGROUP, "applications.isolation.cgroup"),
    nothing(_ISOLATION, "applications.isolation.rootfs"),
    nothing(_ISOLATION, "applications.isolation.automount"),
    nothing(_ISOLATION, "applications.isolation.namespaces"),
    nothing(_ISOLATION, "applications.isolation.uidmap"),
    nothing(_ISOLATION, "applications.isolation.gidmap"),
    # listeners
    kept("", "listeners.pass"),
    kept("", "listeners.application"),
    kept("ssl_certificate ssl_certificate_key", "listeners.tls.certificate"),
    kept("ssl_conf_command", "listeners.tls.conf_commands"),
    kept("ssl_session_cache", "listeners.tls.session.cache_size"),
    kept("ssl_session_timeout", "listeners.tls.session.timeout"),
    kept("ssl_session_tickets", "listeners.tls.session.tickets"),
    kept("real_ip_header", "listeners.forwarded.client_ip"),
    kept("real_ip_header", "listeners.client_ip.header"),
    kept("set_real_ip_from", "listeners.forwarded.source"),
    kept("set_real_ip_from", "listeners.client_ip.source"),
    kept("real_ip_recursive", "listeners.forwarded.recursive"),
    kept("real_ip_recursive", "listeners.client_ip.recursive"),
    kept("", "listeners.forwarded.protocol"),
    kept("listen", "listeners.backlog"),
    # routes
    kept("location", "match.uri"),
    kept("server_name", "match.host"),
    nothing("write a `server` with `listen … ssl`", "match.scheme"),
    nothing("write `limit_except`", "match.method"),
    kept("allow deny", "match.source"),
    nothing("write a `server` that listens there", "match.destination"),
    nothing(_MATCH, "match.query"),
    nothing(_MATCH, "match.arguments"),
    nothing(_MATCH, "match.headers"),
    nothing(_MATCH, "match.cookies"),
    nothing(_MATCH, "match.if"),
    kept("wsgi_app asgi_app", "action.pass"),
    kept("proxy_pass", "action.proxy"),
    kept("return", "action.return"),
    kept("return", "action.location"),
    nothing("write a `rewrite`", "action.rewrite"),
    kept("add_header", "action.response_headers"),
    kept("alias root", "action.share"),
    kept("index", "action.index"),
    kept("try_files", "action.fallback"),
    nothing("write `types`, or a `map` of $uri", "action.types"),
    nothing(_STATIC, "action.follow_symlinks"),
    nothing(_STATIC, "action.traverse_mounts"),
    nothing(_STATIC, "action.chroot"),
    kept("upstream", "upstreams"),
    # settings
    becomes(
        "client_header_timeout",
        rules.http("client_header_timeout", rules.seconds),
        "settings.http.header_read_timeout",
    ),
    becomes(
        "client_body_timeout",
        rules.http("client_body_timeout", rules.seconds),
        "settings.http.body_read_timeout",
    ),
    becomes(
        "send_timeout", rules.http("send_timeout", rules.seconds), "settings.http.send_timeout"
    ),
    becomes(
        "keepalive_timeout",
        rules.http("keepalive_timeout", rules.seconds),
        "settings.http.idle_timeout",
    ),
    kept("large_client_header_buffers", "large settings.http.large_header_buffer_size"),
    kept("large_client_header_buffers", "large_count settings.http.large_header_buffers"),
    becomes(
        "client_max_body_size",
        rules.http("client_max_body_size", rules.size),
        "settings.http.max_body_size",
    ),
    becomes(
        "client_body_buffer_size",
        rules.http("client_body_buffer_size", rules.size),
        "settings.http.body_buffer_size",
    ),
    becomes(
        "client_body_temp_path",
        rules.http("client_body_temp_path", rules.path),
        "settings.http.body_temp_path",
    ),
    becomes("ignore_invalid_headers", _unsafe, "settings.http.discard_unsafe_fields"),
    needless("chunked bodies are read like any other", "settings.http.chunked_transform"),
    becomes(
        "server_tokens",
        rules.http("server_tokens", rules.switch),
        "settings.http.server_version",
    ),
    becomes("gzip", rules.fixed("http", "gzip", "on"), "settings.http.compression"),
    becomes(
        "asgi_websocket_max_message_size",
        rules.http("asgi_websocket_max_message_size"),
        "settings.http.websocket.max_frame_size",
    ),
    becomes(
        "asgi_websocket_ping_timeout",
        rules.http("asgi_websocket_ping_timeout", rules.seconds),
        "settings.http.websocket.read_timeout",
    ),
    becomes(
        "asgi_websocket_ping_interval",
        rules.http("asgi_websocket_ping_interval", rules.seconds),
        "settings.http.websocket.keepalive_interval",
    ),
    becomes("rewrite_log", rules.http("rewrite_log", rules.switch), "settings.http.log_route"),
    nothing("write `types { … }`", "settings.http.static.mime_types"),
    kept("worker_processes", "listen_threads settings.listen_threads"),
    nothing("nginx has a module for OpenTelemetry", "settings.telemetry"),
    nothing("njs is a module of nginx: `js_import`", "settings.js_module"),
    kept("access_log", "access_log"),
)
# Whole objects that have one rule.
WHOLE = (
    "settings.telemetry",
    "settings.http.compression",
    "settings.http.static.mime_types",
)
