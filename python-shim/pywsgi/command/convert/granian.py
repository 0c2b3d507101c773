"""Granian: its command line, and GRANIAN_… of the environment."""

from __future__ import annotations

import re

from . import listening, rules
from .command_line import Command, from_environment, positional
from .option import Table, becomes, kept, needless, nothing
from .plan import ConversionError, Listen, Plan, Setting
from .target import split, target

_RELOAD = "`python_reload watch` watches the folders of what the application has imported"
_FLOW = "is nginx's own"
_RUNTIME = "nginx's event loop has one thread in each worker"
_METRICS = "Prometheus fetches the numbers of `python_status`"
_COMMAND = "is for the command alone"


def _http(plan: Plan, setting: Setting) -> None:
    if str(setting.value) == "1":
        plan.spare(setting, "HTTP/1.1 is always spoken")
    elif str(setting.value) == "2":
        plan.keep(setting, "http2")
        plan.spare(setting, "nginx speaks HTTP/1.1 as well")
    else:
        plan.keep(setting, "http2")


def _keep_alive(plan: Plan, setting: Setting) -> None:
    if rules.truth(setting.value):
        plan.spare(setting, "nginx keeps connections")
    else:
        plan.http.set("keepalive_timeout", "0", source=setting.source)


def _verify(plan: Plan, setting: Setting) -> None:
    if rules.truth(setting.value):
        plan.server.set("ssl_verify_client", "on", source=setting.source)
    else:
        plan.spare(setting, "no certificate is asked for")


def _protocols(plan: Plan, setting: Setting) -> None:
    lowest = str(setting.value).lower()
    chosen = ["TLSv1.3"] if lowest == "tls1.3" else ["TLSv1.2", "TLSv1.3"]
    plan.server.set("ssl_protocols", *chosen, source=setting.source)


def _memory(plan: Plan, setting: Setting) -> None:
    plan.http.set("python_memory_limit", f"soft={rules.natural(setting)}m", source=setting.source)


def _static(plan: Plan, setting: Setting) -> None:
    plan.keep(setting, setting.name.lstrip("-"))


TABLE = Table(
    "Granian",
    # The application
    kept("wsgi_app asgi_app", "app"),
    kept("wsgi_app asgi_app", "interface --interface"),
    kept("wsgi_app asgi_app", "factory --factory --no-factory", "0"),
    kept("python_working_directory python_path", "working_dir --working-dir"),
    becomes("python_env_file", rules.env_file, "env_files --env-files"),
    kept("wsgi_script_name asgi_script_name", "url_path_prefix --url-path-prefix"),
    becomes("", _static, "static-path-route static_path_route --static-path-route"),
    becomes("alias", _static, "static-path-mount static_path_mount --static-path-mount"),
    kept("index", "static_path_dir_to_file --static-path-dir-to-file"),
    kept("expires", "static_path_expires --static-path-expires"),
    nothing(_COMMAND, "--version", "0"),
    nothing(_COMMAND, "--help", "0"),
    # Workers, threads and loops
    becomes("worker_processes", rules.main("worker_processes", rules.whole), "workers --workers"),
    kept("python_thread_pool", "blocking_threads --blocking-threads"),
    nothing(
        "threads start when needed, and stay",
        "blocking_threads_idle_timeout --blocking-threads-idle-timeout",
    ),
    nothing(_RUNTIME, "runtime_threads --runtime-threads"),
    nothing(_RUNTIME, "runtime_blocking_threads --runtime-blocking-threads"),
    nothing(_RUNTIME, "runtime_mode --runtime-mode"),
    becomes("python_event_loop", rules.loop, "loop --loop"),
    nothing("tasks are asyncio's", "task_impl --task-impl"),
    kept("python_thread_pool asgi_max_requests_in_flight", "backpressure --backpressure"),
    needless(
        "nginx's master starts a worker that has died",
        "respawn_failed_workers --respawn-failed-workers --no-respawn-failed-workers",
        "0",
    ),
    nothing("one worker after another is replaced", "respawn_interval --respawn-interval"),
    becomes(
        "python_max_lifetime",
        rules.http("python_max_lifetime", rules.seconds),
        "workers_lifetime --workers-lifetime",
    ),
    becomes("python_memory_limit", _memory, "workers_max_rss --workers-max-rss"),
    nothing("`check=` of `python_memory_limit`", "rss_sample_interval --rss-sample-interval"),
    nothing("each check of `python_memory_limit` counts", "rss_samples --rss-samples"),
    becomes(
        "python_drain_timeout",
        rules.http("python_drain_timeout", rules.seconds),
        "workers_kill_timeout --workers-kill-timeout",
    ),
    # Sockets, protocols and TLS
    kept("listen", "host --host"),
    kept("listen", "port --port"),
    kept("listen", "uds --uds"),
    nothing(
        "nginx's socket is open to all: protect its folder", "uds_permissions --uds-permissions"
    ),
    becomes("http2", _http, "http --http"),
    becomes(
        "asgi_websocket",
        rules.application("asgi_websocket", rules.switch),
        "websockets --ws --no-ws",
        "0",
    ),
    kept("listen", "backlog --backlog"),
    nothing("see `large_client_header_buffers`", "http1_buffer_size --http1-buffer-size"),
    becomes(
        "client_header_timeout",
        rules.http("client_header_timeout", rules.milliseconds),
        "http1_header_read_timeout --http1-header-read-timeout",
    ),
    becomes(
        "keepalive_timeout",
        _keep_alive,
        "http1_keep_alive --http1-keep-alive --no-http1-keep-alive",
        "0",
    ),
    nothing(
        _FLOW,
        "http1_pipeline_flush --http1-pipeline-flush --no-http1-pipeline-flush",
        "0",
    ),
    nothing(
        _FLOW,
        "http2_adaptive_window --http2-adaptive-window --no-http2-adaptive-window",
        "0",
    ),
    nothing(_FLOW, "http2_initial_connection_window_size --http2-initial-connection-window-size"),
    nothing(
        "see `http2_body_preread_size`",
        "http2_initial_stream_window_size --http2-initial-stream-window-size",
    ),
    nothing(_FLOW, "http2_keep_alive_interval --http2-keep-alive-interval"),
    nothing(_FLOW, "http2_keep_alive_timeout --http2-keep-alive-timeout"),
    becomes(
        "http2_max_concurrent_streams",
        rules.http("http2_max_concurrent_streams", rules.whole),
        "http2_max_concurrent_streams --http2-max-concurrent-streams",
    ),
    nothing(_FLOW, "http2_max_frame_size --http2-max-frame-size"),
    nothing("see `large_client_header_buffers`", "http2_max_headers_size --http2-max-headers-size"),
    nothing(_FLOW, "http2_max_send_buffer_size --http2-max-send-buffer-size"),
    kept("ssl_certificate", "ssl_certificate --ssl-certificate"),
    kept("ssl_certificate_key", "ssl_keyfile --ssl-keyfile"),
    becomes("ssl_password_file", listening.password, "ssl_keyfile_password --ssl-keyfile-password"),
    becomes("ssl_protocols", _protocols, "ssl_protocol_min --ssl-protocol-min"),
    becomes(
        "ssl_client_certificate",
        rules.server("ssl_client_certificate", rules.path),
        "ssl_ca --ssl-ca",
    ),
    becomes("ssl_crl", rules.server("ssl_crl", rules.path), "ssl_crl --ssl-crl"),
    becomes(
        "ssl_verify_client",
        _verify,
        "ssl_client_verify --ssl-client-verify --no-ssl-client-verify",
        "0",
    ),
    # Logs, metrics and development
    kept("error_log", "log_enabled --log --no-log", "0"),
    kept("error_log", "log_level --log-level"),
    nothing("`logging.config` in the application's module", "log_config --log-config"),
    kept("access_log", "access_log log_access_enabled --access-log --no-access-log", "0"),
    nothing(
        "write a `log_format`, and its name behind `access_log`", "log_access_fmt --access-log-fmt"
    ),
    becomes(
        "python_status",
        rules.when(
            True,
            rules.leave("write `location = /metrics { python_status prometheus; }`"),
            "is off",
        ),
        "metrics_enabled --metrics --no-metrics",
        "0",
    ),
    nothing(_METRICS, "metrics_scrape_interval --metrics-scrape-interval"),
    nothing(_METRICS, "metrics_address --metrics-address"),
    nothing(_METRICS, "metrics_port --metrics-port"),
    becomes("python_reload", rules.reload, "reload --reload --no-reload", "0"),
    nothing(_RELOAD, "reload_paths --reload-paths"),
    nothing(_RELOAD, "reload_ignore_dirs --reload-ignore-dirs"),
    nothing(_RELOAD, "reload_ignore_patterns --reload-ignore-patterns"),
    nothing(_RELOAD, "reload_ignore_paths --reload-ignore-paths"),
    nothing(_RELOAD, "reload_tick --reload-tick"),
    needless(
        "a broken application is logged, and the old workers go on",
        "reload_ignore_worker_failure --reload-ignore-worker-failure "
        "--no-reload-ignore-worker-failure",
        "0",
    ),
    nothing("the processes are nginx's", "process_name --process-name"),
    becomes("pid", rules.main("pid", rules.path), "pid_file --pid-file"),
)


def convert(plan: Plan, command: Command, *, run: bool = False) -> None:
    settings, rest = TABLE.parse(command.arguments, command.origin, strict=True)
    settings = [*from_environment(TABLE, command, "GRANIAN_"), *settings]
    for setting in settings:
        if setting.name == "--working-dir":
            plan.folder = plan.folder / str(setting.value)
    for setting in settings:
        TABLE.apply(plan, setting)
    facts = plan.facts
    app = positional(plan, rest, command, "APP")
    rules.folders(plan, facts.get("working_dir"), "Granian")
    _application(plan, app)
    if "uds" in facts:
        uds = facts["uds"]
        plan.server.listens.append(Listen(f"unix:{plan.path(uds.value)}", uds.source))
    else:
        listening.host_and_port(plan, "127.0.0.1", 8000, "Granian")
    listening.parameters(plan)
    listening.certificate(plan, "ssl_certificate", "ssl_keyfile")
    if "http2" in facts and "ssl_certificate" in facts:
        listening.http2(plan, facts["http2"])
    elif "http2" in facts:
        plan.spare(facts["http2"], "HTTP/2 is for TLS, which browsers need for it")
    _statics(plan)
    _logs(plan)
    rules.body_limit(plan, "0", "Granian has no limit")


def _application(plan: Plan, app: Setting) -> None:
    facts = plan.facts
    interface = facts.get("interface")
    kind = str(interface.value) if interface else "rsgi"
    if kind == "rsgi":
        raise ConversionError(
            f"{app.source}: the interface is RSGI, which only Granian has: "
            "give the application's WSGI or ASGI callable, with --interface wsgi or asgi"
        )
    protocol = "wsgi" if kind == "wsgi" else "asgi"
    if kind == "asginl":
        plan.applications.set("asgi_lifespan", "off", source=interface.source if interface else "")
    place, name = split(str(app.value))
    if re.search(r"\.py$", place):
        place = plan.path(place)
    factory, prefix = facts.get("factory"), facts.get("url_path_prefix")
    call = factory is not None and rules.truth(factory.value)
    default = "create_app" if call else "app"
    sources = [app, interface, factory, prefix]
    plan.application(
        target(place, name or default, call=call),
        protocol,
        "; ".join(each.source for each in sources if each),
        prefix=str(prefix.value) if prefix else "",
    )
    threads, most = facts.get("blocking_threads"), facts.get("backpressure")
    if protocol == "asgi":
        if threads is not None:
            plan.spare(threads, "an ASGI application runs on a loop")
        if most is not None:
            value = str(rules.natural(most))
            plan.applications.set("asgi_max_requests_in_flight", value, source=most.source)
        return
    if threads is not None:
        rules.threads(plan, threads)
    if most is not None:
        rules.pool(plan, f"max_queue={rules.natural(most)}", most.source)


def _statics(plan: Plan) -> None:
    """Folders of files: the routes and the mounts belong together in their order."""
    mounts = plan.all_facts.get("static-path-mount", [])
    routes = plan.all_facts.get("static-path-route", [])
    for index, mount in enumerate(mounts):
        route = routes[index] if index < len(routes) else None
        path = "/" + str(route.value if route else "/static").strip("/") + "/"
        source = "; ".join(each.source for each in (route, mount) if each)
        location = plan.server.location(path, source)
        location.set("alias", plan.file(mount.value).rstrip("/") + "/", source=mount.source)
        index_file = plan.facts.get("static_path_dir_to_file")
        if index_file is not None:
            location.set("index", str(index_file.value), source=index_file.source)
        expires = plan.facts.get("static_path_expires")
        value = str(expires.value) if expires else "86400"
        value = value if re.search(r"[a-z]$", value) else f"{value}s"
        source = expires.source if expires else "Granian: unless told otherwise"
        location.set("expires", "off" if value in ("0s", "nones") else value, source=source)
    for route in routes[len(mounts) :]:
        plan.leave(route, "a route without its --static-path-mount")
    if not mounts:
        for key in ("static_path_dir_to_file", "static_path_expires"):
            if key in plan.facts:
                plan.spare(plan.facts[key], "there are no static files")


def _logs(plan: Plan) -> None:
    facts = plan.facts
    access, enabled, level = (
        facts.get(each) for each in ("access_log", "log_enabled", "log_level")
    )
    if access is not None and rules.truth(access.value):
        to = rules.output(plan, "-", "/dev/stdout", "/var/log/nginx/access.log")
        plan.server.set("access_log", to, source=access.source)
    else:
        source = access.source if access else "Granian: no access log, unless told otherwise"
        plan.server.set("access_log", "off", source=source)
    if enabled is not None and not rules.truth(enabled.value):
        plan.leave(enabled, "nginx always has a log of errors; write `error_log /dev/null crit;`")
    elif enabled is not None:
        plan.spare(enabled, "nginx always has a log of errors")
    rules.error_log(plan, None, level, "Granian: stderr")
