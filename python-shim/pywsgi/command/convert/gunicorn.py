"""gunicorn: its command line, gunicorn.conf.py, and GUNICORN_CMD_ARGS."""

from __future__ import annotations

from . import command_line, listening, python_file, rules
from .command_line import Command
from .option import Table, becomes, is_off, kept, needless, nothing
from .plan import ConversionError, Listen, Plan, Setting
from .target import split, target

_PARSER = "nginx's parser decides"
_DIRTY = "a task queue does this, or a `python_thread_pool` for slow locations"
_MASTER = "nginx's master runs no Python: systemd's ExecStartPre=, ExecReload=, ExecStopPost="
_WORKER = "call `pywsgi.on_worker_start` in the application's module (docs/hooks.md)"
_EXIT = "call `pywsgi.on_worker_exit` in the application's module (docs/hooks.md)"
_MIDDLEWARE = "use WSGI middleware, or `pywsgi.on_request_finished` (docs/hooks.md)"
_LOGGING = "the application configures `logging` itself; `python_log` says where its output goes"
_STATSD = "Prometheus fetches the numbers of `python_status`; nothing is pushed"
_SYSLOG = "write `error_log syslog:…`, `access_log syslog:…` and `python_log syslog:…`"
_CONTROL = "signals and `nginx -s` control nginx"
_ARBITER = "no worker is counted by a hook: `python_status` shows them"


def _worker_class(plan: Plan, setting: Setting) -> None:
    name = str(setting.value)
    plan.keep(setting, "worker_class")
    if name in ("sync", "gthread", "asgi") or "uvicorn" in name.lower():
        return
    if "gevent" in name or "eventlet" in name:
        why = "requests run in threads: one that waits needs a thread; remove the monkey-patching"
    else:
        why = "requests run in threads, or on an asyncio loop"
    plan.leave(setting, why)


def _http_protocols(plan: Plan, setting: Setting) -> None:
    if "h2" in str(setting.value):
        plan.keep(setting, "http2")
    else:
        plan.spare(setting, "HTTP/1.1 is always spoken")


def _env(plan: Plan, setting: Setting) -> None:
    if is_off(setting.value):
        plan.spare(setting, "is empty")
    else:
        rules.environment(plan, setting)


def _sendfile(plan: Plan, setting: Setting) -> None:
    off = setting.name == "--no-sendfile" or not rules.truth(setting.value)
    if setting.value is None:
        plan.spare(setting, "is not set")
    else:
        plan.http.set("sendfile", "off" if off else "on", source=setting.source)


def _proxy_protocol(plan: Plan, setting: Setting) -> None:
    if rules.truth(setting.value):
        plan.keep(setting, "proxy_protocol")
    else:
        plan.spare(setting, "is off")


def _headers(plan: Plan, setting: Setting) -> None:
    if str(setting.value) == "dangerous":
        plan.http.set("underscores_in_headers", "on", source=setting.source)
    else:
        plan.spare(setting, "nginx drops headers with an underscore")


TABLE = Table(
    "gunicorn",
    # The application
    kept("wsgi_app asgi_app", "wsgi_app"),
    needless("its settings are in this file", "config -c --config"),
    kept("python_working_directory python_path", "chdir --chdir"),
    becomes("python_path", rules.python_path(","), "pythonpath --pythonpath"),
    becomes("python_env", _env, "raw_env -e --env"),
    nothing(
        "write a file that calls `paste.deploy.loadapp`, and `wsgi_app FILE;`",
        "paste --paste --paster",
    ),
    nothing("an argument of `paste.deploy.loadapp`", "raw_paste_global_conf --paste-global"),
    nothing("Python starts after the fork, in each worker", "preload_app --preload", "0"),
    kept("asgi_script_name", "root_path --root-path"),
    becomes("python_event_loop", rules.loop, "asgi_loop --asgi-loop"),
    becomes("asgi_lifespan", rules.application("asgi_lifespan"), "asgi_lifespan --asgi-lifespan"),
    nothing(
        "`asgi_client_abort cancel;` cancels the task at once, `notify` lets it run",
        "asgi_disconnect_grace_period --asgi-disconnect-grace-period",
    ),
    becomes(
        "asgi_websocket_max_message_size",
        rules.application("asgi_websocket_max_message_size", rules.size),
        "websocket_max_message_size --websocket-max-message-size",
    ),
    # Workers
    becomes(
        "worker_processes", rules.main("worker_processes", rules.whole), "workers -w --workers"
    ),
    becomes("asgi_app", _worker_class, "worker_class -k --worker-class"),
    kept("python_thread_pool", "threads --threads"),
    becomes(
        "worker_connections",
        rules.events("worker_connections", rules.whole),
        "worker_connections --worker-connections",
    ),
    kept("python_max_requests", "max_requests --max-requests"),
    kept("python_max_requests", "jitter max_requests_jitter --max-requests-jitter"),
    becomes("wsgi_timeout", rules.application("*_timeout", rules.seconds), "timeout -t --timeout"),
    becomes(
        "python_drain_timeout",
        rules.http("python_drain_timeout", rules.seconds),
        "graceful_timeout --graceful-timeout",
    ),
    becomes(
        "keepalive_timeout",
        rules.http("keepalive_timeout", rules.seconds),
        "keepalive --keep-alive",
    ),
    nothing(_PARSER, "http_parser --http-parser"),
    nothing(_DIRTY, "dirty_apps --dirty-app"),
    nothing(_DIRTY, "dirty_workers --dirty-workers"),
    nothing(_DIRTY, "dirty_timeout --dirty-timeout"),
    nothing(_DIRTY, "dirty_threads --dirty-threads"),
    nothing(_DIRTY, "dirty_graceful_timeout --dirty-graceful-timeout"),
    nothing(_DIRTY, "on_dirty_starting"),
    nothing(_DIRTY, "dirty_post_fork"),
    nothing(_DIRTY, "dirty_worker_init"),
    nothing(_DIRTY, "dirty_worker_exit"),
    # Sockets, protocols and TLS
    kept("listen", "bind -b --bind"),
    kept("listen", "backlog --backlog"),
    kept("listen", "reuse_port --reuse-port", "0"),
    nothing("nginx speaks HTTP to clients", "protocol --protocol"),
    nothing("nginx speaks HTTP to clients", "uwsgi_allow_ips --uwsgi-allow-from"),
    becomes("listen", _proxy_protocol, "proxy_protocol --proxy-protocol", "?"),
    kept("set_real_ip_from", "proxy_allow_ips --proxy-allow-from"),
    becomes("set_real_ip_from", rules.trusted, "forwarded_allow_ips --forwarded-allow-ips"),
    nothing(
        "`forwarded_allow_ips` believes X-Forwarded-Proto; for another header see `map`",
        "secure_scheme_headers",
    ),
    nothing(
        "SCRIPT_NAME and PATH_INFO never come from headers", "forwarder_headers --forwarder-headers"
    ),
    becomes("underscores_in_headers", _headers, "header_map --header-map"),
    becomes("http2", _http_protocols, "http_protocols --http-protocols"),
    nothing(
        "browsers have none: write `http2 on;` without `ssl`", "http2_cleartext --http2-cleartext"
    ),
    becomes(
        "http2_max_concurrent_streams",
        rules.http("http2_max_concurrent_streams", rules.whole),
        "http2_max_concurrent_streams --http2-max-concurrent-streams",
    ),
    nothing(
        "see `http2_body_preread_size`", "http2_initial_window_size --http2-initial-window-size"
    ),
    nothing("is nginx's own", "http2_max_frame_size --http2-max-frame-size"),
    nothing(
        "see `large_client_header_buffers`",
        "http2_max_header_list_size --http2-max-header-list-size",
    ),
    kept("ssl_certificate", "certfile --certfile"),
    kept("ssl_certificate_key", "keyfile --keyfile"),
    becomes(
        "ssl_client_certificate",
        rules.server("ssl_client_certificate", rules.path),
        "ca_certs --ca-certs",
    ),
    becomes("ssl_verify_client", listening.verify, "cert_reqs --cert-reqs"),
    nothing(
        "write `ssl_protocols`; nginx's default is TLS 1.2 and 1.3", "ssl_version --ssl-version"
    ),
    becomes("ssl_ciphers", rules.server("ssl_ciphers"), "ciphers --ciphers"),
    nothing(
        "nginx's event loop does the handshake",
        "do_handshake_on_connect --do-handshake-on-connect",
        "0",
    ),
    nothing("is nginx's own affair", "suppress_ragged_eofs --suppress-ragged-eofs", "0"),
    nothing("`ssl_conf_command` sets OpenSSL's options", "ssl_context"),
    kept("large_client_header_buffers", "limit_request_line --limit-request-line"),
    kept(
        "large_client_header_buffers",
        "limit_request_field_size --limit-request-field_size --limit-request-field-size",
    ),
    nothing(
        "nginx limits headers by size, not by number", "limit_request_fields --limit-request-fields"
    ),
    nothing(_PARSER, "permit_obsolete_folding --permit-obsolete-folding", "0"),
    nothing(_PARSER, "strip_header_spaces --strip-header-spaces", "0"),
    nothing(_PARSER, "casefold_http_method --casefold-http-method", "0"),
    nothing(_PARSER, "permit_unconventional_http_method --permit-unconventional-http-method", "0"),
    nothing(
        _PARSER, "permit_unconventional_http_version --permit-unconventional-http-version", "0"
    ),
    # The process
    becomes("daemon", rules.main("daemon", rules.switch), "daemon -D --daemon", "0"),
    becomes("pid", rules.main("pid", rules.path), "pidfile -p --pid"),
    kept("user", "user -u --user"),
    kept("user", "group -g --group"),
    needless("nginx always calls initgroups", "initgroups --initgroups", "0"),
    nothing("nginx has that of its start: systemd's UMask=", "umask -m --umask"),
    nothing("there is no heartbeat", "worker_tmp_dir --worker-tmp-dir"),
    becomes(
        "client_body_temp_path", rules.http("client_body_temp_path", rules.path), "tmp_upload_dir"
    ),
    becomes("sendfile", _sendfile, "sendfile --no-sendfile", "0"),
    nothing("the processes are nginx's", "proc_name -n --name"),
    nothing("the processes are nginx's", "default_proc_name"),
    nothing(_CONTROL, "control_socket --control-socket"),
    nothing(_CONTROL, "control_socket_mode --control-socket-mode"),
    needless("there is no control socket", "control_socket_disable --no-control-socket", "0"),
    # Logs and debugging
    becomes("access_log", rules.access_log, "accesslog --access-logfile"),
    nothing(
        "write a `log_format`, and its name behind `access_log`",
        "access_log_format --access-logformat",
    ),
    nothing(_SYSLOG, "disable_redirect_access_to_syslog --disable-redirect-access-to-syslog", "0"),
    kept("error_log", "errorlog --error-logfile --log-file"),
    kept("error_log", "loglevel --log-level"),
    needless("output of the application is always logged", "capture_output --capture-output", "0"),
    needless(
        "output of the application is always logged",
        "enable_stdio_inheritance -R --enable-stdio-inheritance",
        "0",
    ),
    nothing(_LOGGING, "logger_class --logger-class"),
    nothing(_LOGGING, "logconfig --log-config"),
    nothing(_LOGGING, "logconfig_dict"),
    nothing(_LOGGING, "logconfig_json --log-config-json"),
    nothing(_SYSLOG, "syslog --log-syslog", "0"),
    nothing(_SYSLOG, "syslog_addr --log-syslog-to"),
    nothing(_SYSLOG, "syslog_prefix --log-syslog-prefix"),
    nothing(_SYSLOG, "syslog_facility --log-syslog-facility"),
    nothing(_STATSD, "statsd_host --statsd-host"),
    nothing(_STATSD, "statsd_prefix --statsd-prefix"),
    nothing(_STATSD, "dogstatsd_tags --dogstatsd-tags"),
    nothing(_STATSD, "enable_backlog_metric --enable-backlog-metric", "0"),
    becomes("python_reload", rules.reload, "reload --reload", "0"),
    nothing("inotify is always used", "reload_engine --reload-engine"),
    nothing("`python_reload watch` takes folders", "reload_extra_files --reload-extra-file"),
    nothing("there is no such trace", "spew --spew", "0"),
    nothing("is `nginx -t`, which imports the applications", "check_config --check-config", "0"),
    nothing("is `nginx -T`", "print_config --print-config", "0"),
    nothing("is for the command alone", "-h --help", "0"),
    nothing("is for the command alone", "-v --version", "0"),
    # Hooks
    nothing(_MASTER, "on_starting"),
    nothing(_MASTER, "when_ready"),
    nothing(_MASTER, "on_reload"),
    nothing(_MASTER, "on_exit"),
    nothing(_MASTER, "pre_exec"),
    nothing(_WORKER, "pre_fork"),
    nothing(_WORKER, "post_fork"),
    nothing(_WORKER, "post_worker_init"),
    nothing(_EXIT, "worker_int"),
    nothing(_EXIT, "worker_exit"),
    nothing("a late request does not end its worker", "worker_abort"),
    nothing(_ARBITER, "child_exit"),
    nothing(_ARBITER, "nworkers_changed"),
    nothing(_MIDDLEWARE, "pre_request"),
    nothing(_MIDDLEWARE, "post_request"),
)
# Each of these options adds to the list.
_LISTS = ("bind", "raw_env", "paste")


def convert(plan: Plan, command: Command, *, run: bool = False) -> None:
    """The whole command, with the file of settings that it reads."""
    origin = f"{command.origin}: GUNICORN_CMD_ARGS"
    extra = command_line.split(command.environment.pop("GUNICORN_CMD_ARGS", ""), origin)
    early, _ = TABLE.parse(extra, origin)
    settings, rest = TABLE.parse(command.arguments, command.origin)
    named = [each for each in [*early, *settings] if each.name in ("-c", "--config")]
    chdir = [each for each in [*early, *settings] if each.name == "--chdir"]
    if chdir:
        plan.folder = plan.folder / str(chdir[-1].value)
    file = plan.folder / str(named[-1].value).removeprefix("file:") if named else None
    if named and str(named[-1].value).startswith("python:"):
        raise ConversionError(f"{named[-1].text}: give the module's file instead of its name")
    default = plan.folder / "gunicorn.conf.py"
    read = []
    if file is not None or default.is_file():
        read = settings_of(plan, file or default, run=run)
    apply(plan, [*read, *early, *settings], rest, command.origin)


def settings_of(plan: Plan, file: object, *, run: bool) -> list[Setting]:
    """The settings of a gunicorn.conf.py: gunicorn takes the names that it knows."""
    return python_file.settings(plan, TABLE, plan.folder / str(file), run=run)


def apply(plan: Plan, settings: list[Setting], rest: list[str], origin: str) -> None:
    """All settings, from the weakest to the strongest."""
    last: dict[str, Setting] = {}
    for setting in settings:
        option = TABLE.by_name.get(setting.name)
        key = option.names[0] if option else setting.name
        if setting.name == "chdir" and isinstance(setting.value, str) and setting.value:
            plan.folder = plan.folder / setting.value
        # A list on the command line is that of all its options; it replaces that of the file.
        before = last.get(key)
        if before is not None and key in _LISTS and setting.name[0] == before.name[0] == "-":
            values = [*rules.listed(before.value, "\0"), str(setting.value)]
            text = f"{before.text} {setting.text}"
            setting = Setting(setting.name, values, setting.origin, text)
        elif before is not None:
            plan.seen.append(before)
        last[key] = setting
    for setting in last.values():
        python_file.apply(TABLE, setting, plan)
    _finish(plan, rest, origin)


def _finish(plan: Plan, rest: list[str], origin: str) -> None:
    facts = plan.facts
    name = facts.get("wsgi_app")
    if rest:
        name = Setting("APP_MODULE", rest[0], origin, rest[0])
    if name is None:
        raise ConversionError(f"{origin}: no application: set wsgi_app, or name it behind the file")
    for each in rest[1:]:
        plan.unknown.append(Setting(each, None, origin, each))
    chdir = facts.get("chdir")
    rules.folders(plan, chdir, "gunicorn")
    place, called = split(str(name.value))
    worker = str(facts["worker_class"].value) if "worker_class" in facts else "sync"
    protocol = "asgi" if worker == "asgi" or "uvicorn" in worker.lower() else "wsgi"
    prefix = facts.get("root_path")
    if prefix is not None and protocol == "wsgi":
        plan.spare(prefix, "is for ASGI")
        prefix = None
    source = name.source
    if "worker_class" in facts:
        source += f"; {facts['worker_class'].source}"
    plan.application(
        target(place, called or "application"),
        protocol,
        source,
        prefix=str(prefix.value) if prefix else "",
    )
    if protocol == "wsgi":
        _threads(plan, worker)
    elif "threads" in facts:
        plan.spare(facts["threads"], "an ASGI application runs on a loop")
    _listen(plan)
    rules.max_requests(plan)
    rules.user(plan)
    listening.certificate(plan, "certfile", "keyfile")
    rules.error_log(plan, facts.get("errorlog"), facts.get("loglevel"), "gunicorn: stderr")
    plan.server.default(
        "access_log", "off", source="gunicorn: no access log, unless told otherwise"
    )
    rules.body_limit(plan, "0", "gunicorn has no limit")
    _header_buffers(plan)


def _threads(plan: Plan, worker: str) -> None:
    threads = plan.facts.get("threads")
    if threads is not None:
        rules.threads(plan, threads)
    elif worker in ("sync", "gthread"):
        rules.pool(plan, "threads=1", "gunicorn: one, unless told otherwise")


def _listen(plan: Plan) -> None:
    bind = plan.facts.get("bind")
    for each in rules.listed(bind.value) if bind else []:
        if each.startswith("fd://"):
            plan.leave(bind, "nginx opens its sockets itself") if bind else None
        elif bind:
            plan.server.listens.append(listening.listen(plan, each, 8000, bind.source))
    if not plan.server.listens:
        plan.server.listens.append(Listen("127.0.0.1:8000", "gunicorn: unless told otherwise"))
    listening.parameters(plan)
    proxy = plan.facts.get("proxy_protocol")
    if proxy is not None:
        for listen in plan.server.listens:
            listen.parameters.append("proxy_protocol")
            listen.source += f"; {proxy.source}"
        allowed = plan.facts.get("proxy_allow_ips")
        source = allowed.source if allowed else "gunicorn: unless told otherwise"
        plan.http.set("real_ip_header", "proxy_protocol", source=proxy.source)
        for address in rules.listed(allowed.value if allowed else "127.0.0.1,::1"):
            network = ["0.0.0.0/0", "::/0"] if address == "*" else [address]
            for each in network:
                plan.http.add("set_real_ip_from", each, source=source)
    elif "proxy_allow_ips" in plan.facts:
        plan.spare(plan.facts["proxy_allow_ips"], "proxy_protocol is off")
    http2 = plan.facts.get("http2")
    if http2 is not None:
        listening.http2(plan, http2)


def _header_buffers(plan: Plan) -> None:
    found = [
        plan.facts[each]
        for each in ("limit_request_line", "limit_request_field_size")
        if each in plan.facts
    ]
    limit = max((rules.number(each, 0) for each in found), default=0)
    if limit > 8190:
        source = "; ".join(each.source for each in found)
        plan.http.set("large_client_header_buffers", "4", str(limit), source=source)
    else:
        for each in found:
            plan.spare(
                each, "nginx's own limit, 8 KB for each line, is as large or protects as well"
            )
