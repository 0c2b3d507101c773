"""mod_wsgi's directives, the options of WSGIDaemonProcess, and the rest of Apache's directives:
what each becomes, or why it becomes nothing."""

from __future__ import annotations

from . import rules
from .option import Table, becomes, kept, needless, nothing
from .plan import Plan, Setting

_SUB = "there are no sub-interpreters: write a `python_process` for each application"
_EMBEDDED = "there is one way to run an application"
_AUTH = "write `auth_request` to a location with a `wsgi_app`, or `auth_basic`"
_SERVES = "nginx serves no file that no `alias` and no `root` names"
_UNIT = "is for all of nginx: systemd's unit"
_CPU = (
    "`python_max_lifetime` replaces processes and loses no request; `rlimit_cpu=` of "
    "`python_process` ends one in the middle"
)
_OPTION = "is an option of Apache's own"
_STATUS = "a page, JSON and Prometheus: write `location = /status { python_status; }`"


def _interval(plan: Plan, setting: Setting) -> None:
    value = f"{round(float(str(setting.value)) * 1000)}ms"
    plan.http.set("python_switch_interval", value, source=setting.source)


def _home(plan: Plan, setting: Setting) -> None:
    """The current directory, and the first folder that modules are found in."""
    folder, source = plan.path(setting.value), setting.source
    plan.http.set("python_working_directory", folder, source=source)
    line = plan.http.find("python_path")
    if line is None:
        plan.http.add("python_path", folder, source=source)
    else:
        line.arguments, line.sources = (folder, *line.arguments), [source, *line.sources]


def _idle(plan: Plan, setting: Setting) -> None:
    """A process that has had no request for so long starts anew, and imports with the next one."""
    if rules.natural(setting):
        plan.process.set("start", "lazy", source=setting.source)
        plan.process.set("idle", f"{rules.natural(setting)}s", source=setting.source)
    else:
        plan.spare(setting, "is off")


def authorization(plan: Plan, setting: Setting) -> None:
    if rules.truth(setting.value):
        plan.spare(setting, "is on by default")
    else:
        plan.applications.set("*_pass_authorization", "off", source=setting.source)


# The directives of mod_wsgi, by their names in lower case.
TABLE = Table(
    "mod_wsgi",
    kept("location wsgi_app wsgi_script_name", "WSGIScriptAlias"),
    kept("location wsgi_app", "WSGIScriptAliasMatch"),
    nothing("write `wsgi_app` in the location", "WSGIHandlerScript"),
    nothing("write a `map`, and `rewrite` to other locations", "WSGIDispatchScript"),
    kept("wsgi_app wsgi_callable", "WSGICallableObject"),
    kept("python_process", "WSGIDaemonProcess"),
    kept("wsgi_process", "WSGIProcessGroup"),
    needless("everything runs in the main interpreter of its process", "WSGIApplicationGroup"),
    nothing(_SUB, "WSGIInterpreterOptions"),
    nothing(_SUB, "WSGIPerInterpreterGIL"),
    nothing(_SUB, "WSGIDestroyInterpreter"),
    nothing("the module is built for a Python with the GIL", "WSGIFreeThreading"),
    needless("applications are imported when a worker starts", "WSGIImportScript"),
    needless("Python starts in the workers", "WSGILazyInitialization"),
    becomes("python_home", rules.http("python_home", rules.path), "WSGIPythonHome"),
    becomes("python_path", rules.python_path(":"), "WSGIPythonPath"),
    becomes(
        "python_env",
        rules.variable("PYTHON_EGG_CACHE"),
        "WSGIPythonEggs",
    ),
    becomes("python_hash_seed", rules.http("python_hash_seed"), "WSGIPythonHashSeed"),
    becomes("python_optimize", rules.http("python_optimize"), "WSGIPythonOptimize"),
    becomes(
        "python_warnings",
        lambda plan, setting: plan.http.extend(
            "python_warnings", str(setting.value), source=setting.source
        ),
        "WSGIPythonWarnings",
    ),
    becomes(
        "python_dont_write_bytecode",
        rules.http("python_dont_write_bytecode", rules.switch),
        "WSGIDontWriteBytecode",
    ),
    becomes("python_switch_interval", _interval, "WSGISwitchInterval"),
    kept("wsgi_pass_authorization", "WSGIPassAuthorization"),
    nothing("there is no such object", "WSGIPassApacheRequest"),
    needless("chunked bodies are read like any other", "WSGIChunkedRequest"),
    nothing("the application sees HEAD", "WSGIMapHEADToGET"),
    kept("wsgi_intercept_errors", "WSGIErrorOverride"),
    becomes(
        "wsgi_file_wrapper",
        rules.when(True, rules.fixed("http", "sendfile", "on"), "files are read and sent"),
        "WSGIEnableSendfile",
    ),
    kept("python_reload", "WSGIScriptReloading"),
    nothing("paths are taken as they are", "WSGICaseSensitivity"),
    kept("set_real_ip_from real_ip_header", "WSGITrustedProxies"),
    kept("real_ip_header", "WSGITrustedProxyHeaders"),
    nothing("write `allow`, `deny` or `auth_request`", "WSGIAccessScript"),
    nothing(_AUTH, "WSGIAuthUserScript"),
    nothing(_AUTH, "WSGIAuthGroupScript"),
    nothing(_AUTH, "WSGIGroupAuthoritative"),
    needless(_EMBEDDED, "WSGIRestrictEmbedded"),
    needless(_EMBEDDED, "WSGIRestrictProcess"),
    needless("nginx's own signals stay its own", "WSGIRestrictSignal"),
    needless("print goes to the error log", "WSGIRestrictStdin"),
    needless("print goes to the error log", "WSGIRestrictStdout"),
    needless("there is no socket", "WSGISocketPrefix"),
    needless("there is no socket", "WSGISocketRotation"),
    needless("there is no socket", "WSGIAcceptMutex"),
    needless("idle workers are not stopped", "WSGIIgnoreActivity"),
    kept("wsgi_slow_request", "WSGISlowRequests"),
    nothing(_STATUS, "WSGIServerMetrics"),
    nothing(_STATUS, "WSGITelemetryService"),
    nothing(_STATUS, "WSGITelemetryOptions"),
    nothing("write `error_log … debug`", "WSGIVerboseDebugging"),
)

DAEMON = Table(
    "WSGIDaemonProcess",
    becomes(
        "python_process worker_processes",
        lambda plan, setting: plan.main.set(
            "worker_processes", str(max(rules.number(setting, 1), 1)), source=setting.source
        ),
        "processes",
    ),
    becomes("python_process python_thread_pool", rules.threads, "threads"),
    nothing("the title of a process names its `python_process`", "display-name"),
    becomes("python_process python_working_directory python_path", _home, "home"),
    kept("user", "user"),
    kept("user", "group"),
    nothing("the user's own groups are taken", "supplementary-groups"),
    becomes("python_process", rules.limit("umask", rules.octal), "umask"),
    becomes("python_process python_env", rules.variable("LANG"), "lang"),
    becomes("python_process python_env", rules.variable("LC_ALL"), "locale"),
    nothing(_UNIT, "chroot"),
    nothing("`nginx -t` refuses what the workers' user cannot read", "script-user"),
    nothing("`nginx -t` refuses what the workers' user cannot read", "script-group"),
    becomes("python_process python_home", rules.http("python_home", rules.path), "python-home"),
    becomes("python_process python_path", rules.python_path(":"), "python-path"),
    becomes("python_process python_env", rules.variable("PYTHON_EGG_CACHE"), "python-eggs"),
    becomes("python_process python_switch_interval", _interval, "switch-interval"),
    becomes(
        "python_process python_max_lifetime",
        rules.http("python_max_lifetime", rules.seconds),
        "restart-interval",
    ),
    becomes(
        "python_process python_max_requests",
        rules.http("python_max_requests", rules.whole),
        "maximum-requests",
    ),
    becomes("python_process", _idle, "inactivity-timeout"),
    becomes("wsgi_timeout", rules.application("*_timeout", rules.seconds), "request-timeout"),
    becomes(
        "wsgi_interrupt_timeout",
        rules.application("wsgi_interrupt_timeout", rules.seconds),
        "interrupt-timeout",
    ),
    becomes(
        "python_process python_deadlock_timeout",
        rules.http("python_deadlock_timeout", rules.seconds),
        "deadlock-timeout",
    ),
    nothing("requests wait in the queue for the import: `wsgi_queue_timeout`", "startup-timeout"),
    becomes(
        "python_drain_timeout",
        rules.http("python_drain_timeout", rules.seconds),
        "graceful-timeout",
    ),
    becomes(
        "python_drain_timeout",
        rules.http("python_drain_timeout", rules.seconds),
        "eviction-timeout",
    ),
    becomes(
        "python_process python_finalize",
        lambda plan, setting: plan.http.set(
            "python_finalize",
            "on",
            f"timeout={rules.duration(setting.value)}",
            source=setting.source,
        ),
        "shutdown-timeout",
    ),
    nothing("there is no socket", "connect-timeout"),
    nothing("there is no socket", "socket-timeout"),
    nothing("there is no socket", "socket-user"),
    becomes(
        "wsgi_queue_timeout", rules.application("*_queue_timeout", rules.seconds), "queue-timeout"
    ),
    becomes(
        "python_process python_thread_pool",
        lambda plan, setting: rules.pool(
            plan, f"max_queue={rules.number(setting, 100)}", setting.source
        ),
        "listen-backlog",
    ),
    becomes(
        "python_process python_memory_limit",
        lambda plan, setting: plan.http.set(
            "python_memory_limit",
            f"soft={rules.bytes_of(rules.natural(setting))}",
            source=setting.source,
        ),
        "memory-limit",
    ),
    nothing(_CPU, "cpu-time-limit"),
    becomes("python_process", rules.address_space, "virtual-memory-limit"),
    becomes("python_process", rules.nice, "cpu-priority"),
    becomes(
        "python_thread_pool",
        lambda plan, setting: rules.pool(
            plan, f"stack={rules.bytes_of(rules.natural(setting))}", setting.source
        ),
        "stack-size",
    ),
    nothing("is of a socket between processes: `rcvbuf=` of `listen`", "receive-buffer-size"),
    nothing("is of a socket between processes: `sndbuf=` of `listen`", "send-buffer-size"),
    nothing("the head of a response has no such limit", "header-buffer-size"),
    becomes(
        "wsgi_buffer_size", rules.application("*_buffer_size", rules.size), "response-buffer-size"
    ),
    becomes("send_timeout", rules.http("send_timeout", rules.seconds), "response-socket-timeout"),
    nothing("each block is sent at once", "response-flush-delay"),
    nothing(_STATUS, "server-metrics"),
)

# Apache's own directives that are not converted, and why.
REASONS: dict[str, str] = {
    "PassEnv": "is of the request's environ in Apache: name it in `wsgi_param` or `python_env`",
    "UnsetEnv": "nothing is set that is not named",
    "SetEnvIf SetEnvIfNoCase BrowserMatch BrowserMatchNoCase": "write a `map` and `wsgi_param`",
    "RequestReadTimeout": "write `client_header_timeout` and `client_body_timeout`",
    "RewriteEngine RewriteRule RewriteCond RewriteBase RewriteMap RewriteOptions": (
        "write `rewrite`, `return` or `try_files`"
    ),
    "ProxyPass ProxyPassReverse ProxyPassMatch ProxyPreserveHost ProxyRequests ProxyTimeout": (
        "write a location with `proxy_pass`"
    ),
    "XSendFile XSendFilePath": "use `X-Accel-Redirect` with `wsgi_accel`: a URI instead of a path",
    "AuthType AuthName AuthUserFile AuthGroupFile AuthBasicProvider AuthDigestProvider": (
        "write `auth_basic` and `auth_basic_user_file`"
    ),
    "ExpiresActive ExpiresByType ExpiresDefault": "write `expires`",
    "AddOutputFilterByType SetOutputFilter DeflateCompressionLevel": (
        "write `gzip` and `gzip_types`"
    ),
    "SSLOptions": "write `wsgi_param SSL_CLIENT_S_DN $ssl_client_s_dn` and the like",
    "SSLVerifyClient SSLVerifyDepth SSLCACertificateFile SSLCARevocationFile": (
        "write `ssl_verify_client`, `ssl_client_certificate`, `ssl_crl`"
    ),
    "SSLHonorCipherOrder SSLCompression SSLSessionTickets SSLSessionCache SSLUseStapling "
    "SSLStaplingCache SSLOpenSSLConfCmd SSLSessionCacheTimeout": "write nginx's ssl_… directive",
    "RemoteIPHeader RemoteIPTrustedProxy RemoteIPInternalProxy": (
        "write `real_ip_header` and `set_real_ip_from`"
    ),
    "ForceType AddType AddEncoding AddCharset AddDefaultCharset DefaultType TypesConfig": (
        "write `types`, `default_type` or `charset`"
    ),
    "LogFormat": "write a `log_format`, and its name behind `access_log`",
    "Include IncludeOptional": "convert that file as well",
    "ScriptAlias ScriptAliasMatch": "nginx runs no CGI programs",
    "H2Direct Protocols": "write `http2` behind `listen … ssl`",
}
_WITHOUT: dict[str, str] = {
    "LoadModule": "nginx has what it needs of it",
    "Require Order Allow Deny Satisfy Options AllowOverride FollowSymLinks IndexOptions": _SERVES,
    "AddHandler SetHandler": "`wsgi_app` names the application",
    "ServerAdmin ServerSignature ServerRoot UseCanonicalName HostnameLookups DefaultRuntimeDir "
    "StartServers MinSpareServers MaxSpareServers MaxRequestWorkers MaxConnectionsPerChild "
    "ServerLimit ThreadsPerChild ThreadLimit MinSpareThreads MaxSpareThreads MaxClients "
    "MaxRequestsPerChild Mutex AccessFileName NameVirtualHost TraceEnable EnableSendfile "
    "EnableMMAP FileETag ExtendedStatus Define": _OPTION,
}
# By the name in lower case: the reason, and whether it needs no line.
APACHE_REASONS = {
    name.lower(): (why, is_needless)
    for reasons, is_needless in ((REASONS, False), (_WITHOUT, True))
    for names, why in reasons.items()
    for name in names.split()
}
