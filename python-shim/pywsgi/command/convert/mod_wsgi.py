"""Apache with mod_wsgi: httpd.conf, or a site of sites-available."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Callable

from ..nginx_conf import literal
from . import rules
from .apache import Node, parse
from .option import Table, becomes, kept, needless, nothing
from .plan import ConversionError, Left, Listen, Location, Plan, Server, Setting

_SUB = "there are no sub-interpreters"
_EMBEDDED = "there is one way to run an application"
_AUTH = "write `auth_request` to a location with a `wsgi_app`, or `auth_basic`"
_SERVES = "nginx serves no file that no `alias` and no `root` names"
_UNIT = "is for all of nginx: systemd's unit"
_OPTION = "is an option of Apache's own"
_STATUS = "a page, JSON and Prometheus: write `location = /status { python_status; }`"


def _setting(node: Node) -> Setting:
    return Setting(node.name, " ".join(node.arguments), node.origin, node.text)


def _optimize(plan: Plan, setting: Setting) -> None:
    plan.http.set("python_optimize", str(setting.value), source=setting.source)


def _bytecode(plan: Plan, setting: Setting) -> None:
    plan.http.set(
        "python_dont_write_bytecode", rules.switch(plan, setting) or "on", source=setting.source
    )


def _interval(plan: Plan, setting: Setting) -> None:
    value = f"{round(float(str(setting.value)) * 1000)}ms"
    plan.http.set("python_switch_interval", value, source=setting.source)


def _authorization(plan: Plan, setting: Setting) -> None:
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
    kept("", "WSGIDaemonProcess"),
    kept("", "WSGIProcessGroup"),
    needless("everything runs in the main interpreter", "WSGIApplicationGroup"),
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
        lambda plan, setting: plan.http.add(
            "python_env", f"PYTHON_EGG_CACHE={setting.value}", source=setting.source
        ),
        "WSGIPythonEggs",
    ),
    becomes("python_hash_seed", rules.http("python_hash_seed"), "WSGIPythonHashSeed"),
    becomes("python_optimize", _optimize, "WSGIPythonOptimize"),
    becomes(
        "python_warnings",
        lambda plan, setting: plan.http.extend(
            "python_warnings", str(setting.value), source=setting.source
        ),
        "WSGIPythonWarnings",
    ),
    becomes("python_dont_write_bytecode", _bytecode, "WSGIDontWriteBytecode"),
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
    kept("worker_processes", "processes"),
    kept("python_thread_pool", "threads"),
    nothing("the processes are nginx's", "display-name"),
    kept("python_working_directory", "home"),
    kept("user", "user"),
    kept("user", "group"),
    nothing("the user's own groups are taken", "supplementary-groups"),
    nothing("nginx has that of its start: systemd's UMask=", "umask"),
    becomes(
        "python_env",
        lambda plan, setting: plan.http.add(
            "python_env", f"LANG={setting.value}", source=setting.source
        ),
        "lang",
    ),
    becomes(
        "python_env",
        lambda plan, setting: plan.http.add(
            "python_env", f"LC_ALL={setting.value}", source=setting.source
        ),
        "locale",
    ),
    nothing(_UNIT, "chroot"),
    nothing("`nginx -t` refuses what the workers' user cannot read", "script-user"),
    nothing("`nginx -t` refuses what the workers' user cannot read", "script-group"),
    becomes("python_home", rules.http("python_home", rules.path), "python-home"),
    becomes("python_path", rules.python_path(":"), "python-path"),
    becomes(
        "python_env",
        lambda plan, setting: plan.http.add(
            "python_env", f"PYTHON_EGG_CACHE={setting.value}", source=setting.source
        ),
        "python-eggs",
    ),
    becomes("python_switch_interval", _interval, "switch-interval"),
    becomes(
        "python_max_lifetime", rules.http("python_max_lifetime", rules.seconds), "restart-interval"
    ),
    becomes(
        "python_max_requests", rules.http("python_max_requests", rules.whole), "maximum-requests"
    ),
    nothing("workers stay", "inactivity-timeout"),
    becomes("wsgi_timeout", rules.application("*_timeout", rules.seconds), "request-timeout"),
    becomes(
        "wsgi_interrupt_timeout",
        rules.application("wsgi_interrupt_timeout", rules.seconds),
        "interrupt-timeout",
    ),
    becomes(
        "python_deadlock_timeout",
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
        "python_finalize",
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
        "python_thread_pool",
        lambda plan, setting: rules.pool(
            plan, f"max_queue={rules.number(setting, 100)}", setting.source
        ),
        "listen-backlog",
    ),
    becomes(
        "python_memory_limit",
        lambda plan, setting: plan.http.set(
            "python_memory_limit",
            f"soft={rules.bytes_of(rules.natural(setting))}",
            source=setting.source,
        ),
        "memory-limit",
    ),
    nothing(_UNIT, "cpu-time-limit"),
    nothing(_UNIT, "virtual-memory-limit"),
    becomes("worker_priority", rules.main("worker_priority"), "cpu-priority"),
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
_BY_NAME = {
    name.lower(): (why, is_needless)
    for reasons, is_needless in ((REASONS, False), (_WITHOUT, True))
    for names, why in reasons.items()
    for name in names.split()
}


def convert(file: Path, folder: Path) -> Plan:
    plan = Plan("mod_wsgi", folder)
    _Converter(plan).convert(parse(file), file)
    return plan


class _Converter:
    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        # The directives outside of all virtual hosts.
        self.top: list[Node] = []
        self.listens: list[Node] = []
        self.threads = 0

    def convert(self, nodes: list[Node], file: Path) -> None:
        skipped: list[Node] = []
        flat = _flat(nodes, skipped)
        for node in _deep(skipped):
            if not node.is_section:
                self.plan.spare(_setting(node), "is for an Apache without that module")
        hosts = [node for node in flat if node.is_section and node.name.lower() == "virtualhost"]
        self.top = [node for node in flat if node not in hosts]
        self.listens = [node for node in self.top if node.name.lower() == "listen"]
        every = [*self.top, *(inner for host in hosts for inner in host.children)]
        scripts = [node for node in _deep(every) if node.name.lower().startswith("wsgiscriptalias")]
        if not scripts:
            raise ConversionError(f"{file.name} has no WSGIScriptAlias")
        of_top = any(node.name.lower().startswith("wsgiscriptalias") for node in _deep(self.top))
        if of_top or not hosts:
            self.server(None, self.top)
        else:
            self.common(self.top)
        for host in hosts:
            self.server(host, host.children)
        plan = self.plan
        if "group" in plan.facts and plan.main.find("user") is None:
            rules.user(plan)
        if not any(_names(node, "WSGIDaemonProcess") for node in every):
            rules.pool(plan, "threads=15", "mod_wsgi: unless told otherwise")
        plan.http.default("client_max_body_size", "1g", source="Apache: unless told otherwise")

    def common(self, nodes: list[Node]) -> None:
        """What stands outside of the virtual hosts, and is for all of them."""
        server = Server("")
        self.plan.servers.insert(0, server)
        self.directives(nodes, server)
        self.plan.servers.remove(server)
        self.shared = server

    shared: Server | None = None

    def server(self, host: Node | None, nodes: list[Node]) -> None:
        source = f"{host.origin}: {host.text}" if host else "Apache's main server"
        server = Server(source)
        # What is for the one server that rules know is for this one.
        self.plan.servers.insert(0, server)
        if self.shared is not None and host is not None:
            server.lines = [line for line in self.shared.lines if line.name != "server_name"]
            server.applications.lines = list(self.shared.applications.lines)
        self.directives(nodes, server)
        self.plan.servers.remove(server)
        self.plan.servers.append(server)
        self.listen(server, host)

    def listen(self, server: Server, host: Node | None) -> None:
        if host is None:
            for node in self.listens:
                server.listens.append(
                    Listen(rules.address(self.plan, node.arguments[0], 80), _setting(node).source)
                )
            if not server.listens:
                server.listens.append(Listen("80", "Apache: unless told otherwise"))
            return
        for address in host.arguments:
            text = re.sub(r"^(?:\*|_default_)(?=:|$)", "", address) or ":80"
            server.listens.append(Listen(rules.address(self.plan, text, 80), server.source))

    # Directives

    def directives(self, nodes: list[Node], server: Server) -> None:
        locations: list[tuple[Node, Location]] = []
        for node in nodes:
            try:
                self.one(node, server, locations)
            except (IndexError, ValueError):
                raise ConversionError(
                    f"{node.origin}: {node.text}: its value is not understood"
                ) from None
            except ConversionError as error:
                where = "" if str(error).startswith(node.origin) else f"{node.origin}: "
                raise ConversionError(f"{where}{error}") from None
        self.daemon(nodes, server, locations)
        self.objects(nodes, server, locations)

    def one(self, node: Node, server: Server, locations: list[tuple[Node, Location]]) -> None:
        name, setting = node.name.lower(), _setting(node)
        if not node.is_section and name not in ("wsgidaemonprocess", "wsgicallableobject"):
            self.plan.seen.append(setting)
        if node.is_section:
            self.section(node, server)
        elif name == "wsgiscriptalias":
            self.script(node, server, locations)
        elif name == "wsgiscriptaliasmatch":
            self.script_match(node, server, locations)
        elif name.startswith("wsgi"):
            self.wsgi(node, setting)
        elif name in _APACHE:
            _APACHE[name](self, server, node, setting)
        elif name in _BY_NAME:
            why, is_needless = _BY_NAME[name]
            (self.plan.needless if is_needless else self.plan.left).append(Left(setting, why))
        else:
            self.plan.unknown.append(setting)

    def wsgi(self, node: Node, setting: Setting) -> None:
        plan, name = self.plan, node.name.lower()
        option = next((o for o in TABLE.options if o.names[0].lower() == name), None)
        if option is None:
            plan.unknown.append(setting)
        elif name == "wsgipassauthorization":
            _authorization(plan, setting)
        elif name == "wsgierroroverride":
            if rules.truth(setting.value):
                plan.applications.set("*_intercept_errors", "on", source=setting.source)
            else:
                plan.spare(setting, "is off")
        elif name == "wsgiscriptreloading":
            if rules.truth(setting.value):
                plan.leave(setting, "write `python_reload touch FILE;` with the script's file")
            else:
                plan.spare(setting, "is off")
        elif name == "wsgitrustedproxies":
            rules.trusted(plan, Setting(setting.name, node.arguments, setting.origin, setting.text))
        elif name == "wsgitrustedproxyheaders":
            plan.spare(setting, "X-Forwarded-For and X-Forwarded-Proto are believed")
        elif name == "wsgislowrequests":
            if str(setting.value).lower() == "off":
                plan.spare(setting, "is off")
            else:
                plan.applications.set(
                    "*_slow_request", rules.duration(node.arguments[-1]), source=setting.source
                )
        elif name == "wsgiprocessgroup":
            plan.spare(setting, "applications run in nginx's workers")
        elif name not in ("wsgidaemonprocess", "wsgicallableobject"):
            option.rule(plan, setting)

    def section(self, node: Node, server: Server, only: str = "") -> None:
        """What is inside a <Directory> is for the whole server here, or says who may. only: the
        section says for which part."""
        if node.name.lower() in ("location", "locationmatch") and node.arguments != ["/"]:
            only = only or f"{' '.join(node.arguments)} alone: write a `location` with it"
        elif node.name.lower() in ("if", "elseif", "else"):
            only = only or f"what fulfils {node.text} alone: write an `if` or a `map`"
        for inner in node.children:
            name = inner.name.lower()
            if inner.is_section:
                self.section(inner, server, only)
            elif only and _becomes_a_line(name):
                self.plan.leave(_setting(inner), f"is for {only}")
            elif name == "wsgicallableobject":
                continue
            elif name == "require" and [word.lower() for word in inner.arguments] != [
                "all",
                "granted",
            ]:
                self.plan.leave(_setting(inner), "write `allow`, `deny` or `auth_basic`")
            else:
                self.one(inner, server, [])

    def script(self, node: Node, server: Server, locations: list[tuple[Node, Location]]) -> None:
        setting = _setting(node)
        if len(node.arguments) < 2:
            raise ConversionError(f"{setting.source}: wants a path and a file")
        mount, file = node.arguments[:2]
        if file.endswith("/") or os.path.isdir(file):
            self.plan.leave(setting, "a folder of scripts: write a location for each file")
            return
        options = dict(word.partition("=")[::2] for word in node.arguments[2:])
        prefix = "/" + mount.strip("/") if mount.strip("/") else ""
        is_file = bool(re.search(r"\.\w+$", mount))
        location = server.location(f"{prefix}/" if not is_file else f"= {prefix}", setting.source)
        location.protocol = "wsgi"
        called = options.pop("callable-object", None)
        text = f"{self.plan.path(file)}:{called}" if called else self.plan.path(file)
        location.set("wsgi_app", text, source=setting.source)
        if prefix:
            location.set("wsgi_script_name", prefix, source=setting.source)
        if options.pop("pass-authorization", "On").lower() == "off":
            location.set("*_pass_authorization", "off", source=setting.source)
        for name, value in options.items():
            one = Setting(name, value, node.origin, f"{name}={value}")
            if name in ("process-group", "application-group"):
                self.plan.spare(one, "applications run in nginx's workers, in one interpreter")
            else:
                self.plan.unknown.append(one)
        locations.append((node, location))

    def script_match(
        self, node: Node, server: Server, locations: list[tuple[Node, Location]]
    ) -> None:
        setting = _setting(node)
        pattern, file = node.arguments[:2]
        if "$" in file:
            self.plan.leave(
                setting, "the file's name has no captures: write a location for each file"
            )
            return
        location = server.location(f"~ {pattern}", setting.source)
        location.protocol = "wsgi"
        location.set("wsgi_app", self.plan.path(file), source=setting.source)
        locations.append((node, location))

    def daemon(
        self, nodes: list[Node], server: Server, locations: list[tuple[Node, Location]]
    ) -> None:
        """The options of WSGIDaemonProcess, which are for all of nginx."""
        plan = self.plan
        for node in [node for node in _deep(nodes) if _names(node, "WSGIDaemonProcess")]:
            options = dict(word.partition("=")[::2] for word in node.arguments[1:])
            if not options:
                plan.spare(_setting(node), "the processes are nginx's")
            for name, value in options.items():
                setting = Setting(name, value, node.origin, f"WSGIDaemonProcess {name}={value}")
                self.daemon_option(name, setting)
            if "threads" not in options and plan.http.find("python_thread_pool", "default") is None:
                rules.pool(plan, "threads=15", "WSGIDaemonProcess: unless told otherwise")
            if "user" in plan.facts and plan.main.find("user") is None:
                rules.user(plan)

    def daemon_option(self, name: str, setting: Setting) -> None:
        plan = self.plan
        plan.seen.append(setting)
        option = DAEMON.by_name.get(name)
        shared = {
            "python-home": (plan.http, "python_home"),
            "home": (plan.http, "python_working_directory"),
            "user": (plan.main, "user"),
        }
        if name in shared:
            block, directive = shared[name]
            line = block.find(directive)
            value = plan.path(setting.value) if name != "user" else str(setting.value)
            if line is not None and line.arguments[0] != value:
                plan.leave(
                    setting,
                    f"one is for all, and it is {line.arguments[0]}: run an nginx of its own",
                )
                return
        if option is None:
            plan.unknown.append(setting)
        elif name == "processes":
            line = plan.main.find("worker_processes")
            if line is None or int(line.arguments[0]) < rules.number(setting, 1):
                plan.main.set(
                    "worker_processes", str(rules.number(setting, 1)), source=setting.source
                )
            else:
                plan.spare(setting, "all applications share the processes")
        elif name == "threads":
            # The most that one of them has: they share the pool.
            if rules.number(setting, 15) > self.threads:
                self.threads = rules.number(setting, 15)
                rules.threads(plan, setting)
            else:
                plan.spare(setting, "all applications share the pool, which has as many")
        elif name == "home":
            folder = plan.path(setting.value)
            plan.http.set("python_working_directory", folder, source=setting.source)
        else:
            option.rule(plan, setting)

    def objects(
        self, nodes: list[Node], server: Server, locations: list[tuple[Node, Location]]
    ) -> None:
        """WSGICallableObject, for a file or for all of them."""
        for section, node in _with_sections(nodes):
            if not _names(node, "WSGICallableObject"):
                continue
            setting = _setting(node)
            files = [
                os.path.basename(each.arguments[0])
                for each in section
                if each.name.lower() == "files"
            ]
            for script, location in locations:
                if files and os.path.basename(script.arguments[1]) not in files:
                    continue
                line = location.find("wsgi_app")
                if line is not None and ":" not in line.arguments[0]:
                    line.arguments = (f"{line.arguments[0]}:{node.arguments[0]}",)
                    line.sources.append(setting.source)

    # Apache's own directives

    def listen_at(self, server: Server, node: Node, setting: Setting) -> None:
        if self.plan.servers and server.source and server.source != "Apache's main server":
            self.plan.spare(setting, "the virtual hosts say their addresses")

    def name(self, server: Server, node: Node, setting: Setting) -> None:
        names = [re.sub(r"^\w+://|:\d+$", "", each) for each in node.arguments]
        line = server.find("server_name")
        if node.name.lower() == "servername" and line is not None:
            line.arguments = (*names, *line.arguments)
            line.sources.append(setting.source)
        else:
            server.extend("server_name", *names, source=setting.source)

    def alias(self, server: Server, node: Node, setting: Setting) -> None:
        mount, where = node.arguments[:2]
        path = self.plan.path(where)
        is_file = os.path.isfile(path) or bool(re.search(r"\.\w+$", mount))
        if is_file:
            location = server.location(f"= {mount}", setting.source)
        else:
            location = server.location(f"/{mount.strip('/')}/".replace("//", "/"), setting.source)
            path = f"{path.rstrip('/')}/"
        location.set("alias", literal(path), source=setting.source)

    def alias_match(self, server: Server, node: Node, setting: Setting) -> None:
        pattern, where = node.arguments[:2]
        location = server.location(f"~ {pattern}", setting.source)
        location.set("alias", _captured(where), source=setting.source)

    def document_root(self, server: Server, node: Node, setting: Setting) -> None:
        server.set("root", self.plan.file(node.arguments[0]), source=setting.source)

    def set_env(self, server: Server, node: Node, setting: Setting) -> None:
        value = " ".join(node.arguments[1:])
        server.applications.add("*_param", node.arguments[0], literal(value), source=setting.source)

    def body(self, server: Server, node: Node, setting: Setting) -> None:
        limit = rules.bytes_of(int(node.arguments[0]))
        server.set("client_max_body_size", limit, source=setting.source)

    def access_log(self, server: Server, node: Node, setting: Setting) -> None:
        path = literal(self.log(node.arguments[0], "access.log"))
        server.set("access_log", path, source=setting.source)
        for word in node.arguments[2:]:
            one = Setting(node.name, word, node.origin, f"{node.name} … {word}")
            self.plan.leave(one, "write `access_log … if=$variable` with a `map`")
        if len(node.arguments) > 1 and node.arguments[1] not in ("combined", "common"):
            one = Setting(
                node.name, node.arguments[1], node.origin, f"{node.name} … {node.arguments[1]}"
            )
            self.plan.leave(one, "write a `log_format`, and its name behind `access_log`")

    def error_log(self, server: Server, node: Node, setting: Setting) -> None:
        if node.arguments[0].startswith(("syslog", "|")):
            self.plan.leave(setting, "write `error_log syslog:server=…`")
        else:
            server.set("error_log", self.log(node.arguments[0], "error.log"), source=setting.source)

    def log(self, path: str, default: str) -> str:
        if "${" in path:
            return f"/var/log/nginx/{os.path.basename(path)}"
        if path.startswith("|"):
            return f"/var/log/nginx/{default}"
        if path.startswith(("/var/log/apache2/", "/var/log/httpd/")):
            return f"/var/log/nginx/{os.path.basename(path)}"
        return path if path.startswith("/") else f"/var/log/nginx/{os.path.basename(path)}"

    def log_level(self, server: Server, node: Node, setting: Setting) -> None:
        self.plan.leave(setting, f"write the level behind `error_log FILE`: {node.arguments[0]}")

    def timeout(self, server: Server, node: Node, setting: Setting) -> None:
        for name in ("client_header_timeout", "client_body_timeout", "send_timeout"):
            self.plan.http.set(name, f"{node.arguments[0]}s", source=setting.source)

    def keep_alive(self, server: Server, node: Node, setting: Setting) -> None:
        if rules.truth(node.arguments[0]):
            self.plan.spare(setting, "nginx keeps connections")
        else:
            server.set("keepalive_timeout", "0", source=setting.source)

    def keep_alive_timeout(self, server: Server, node: Node, setting: Setting) -> None:
        value = node.arguments[0]
        server.set(
            "keepalive_timeout",
            value if value.endswith("ms") else f"{value}s",
            source=setting.source,
        )

    def keep_alive_requests(self, server: Server, node: Node, setting: Setting) -> None:
        value = node.arguments[0] if node.arguments[0] != "0" else "1000000"
        server.set("keepalive_requests", value, source=setting.source)

    def error_document(self, server: Server, node: Node, setting: Setting) -> None:
        if len(node.arguments) == 2 and re.match(r"/|https?://", node.arguments[1]):
            server.add("error_page", *map(literal, node.arguments), source=setting.source)
        else:
            self.plan.leave(setting, "nginx takes a path or a URL and no text")

    def ssl_engine(self, server: Server, node: Node, setting: Setting) -> None:
        self.plan.spare(setting, "`listen … ssl` says it")

    def certificate(self, server: Server, node: Node, setting: Setting) -> None:
        path = self.plan.file(node.arguments[0])
        server.set("ssl_certificate", path, source=setting.source)
        server.default("ssl_certificate_key", path, source=setting.source)

    def certificate_key(self, server: Server, node: Node, setting: Setting) -> None:
        path = self.plan.file(node.arguments[0])
        server.set("ssl_certificate_key", path, source=setting.source)

    def chain(self, server: Server, node: Node, setting: Setting) -> None:
        self.plan.leave(setting, "put the certificate and its chain into one file")

    def ciphers(self, server: Server, node: Node, setting: Setting) -> None:
        server.set("ssl_ciphers", node.arguments[-1], source=setting.source)

    def protocols(self, server: Server, node: Node, setting: Setting) -> None:
        known = ["TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"]
        chosen: list[str] = []
        for word in node.arguments:
            sign, name = (word[0], word[1:]) if word[0] in "+-" else ("+", word)
            names = known if name.lower() == "all" else [name]
            chosen = [each for each in chosen if each not in names]
            chosen += [each for each in names if sign == "+" and each in known]
        if chosen:
            server.set("ssl_protocols", *chosen, source=setting.source)
        else:
            self.plan.leave(setting, "nginx has none of them: write `ssl_protocols`")

    def redirect(self, server: Server, node: Node, setting: Setting) -> None:
        words = list(node.arguments)
        status = {"redirectpermanent": "301", "redirecttemp": "302"}.get(node.name.lower(), "302")
        if (words and words[0].lower() in ("permanent", "temp", "seeother", "gone")) or words[
            0
        ].isdigit():
            named = {"permanent": "301", "temp": "302", "seeother": "303", "gone": "410"}
            word = words.pop(0)
            status = named.get(word.lower(), word)
        path = words[0]
        if len(words) < 2:
            location = server.location(f"^~ {path}", setting.source)
            location.set("return", status, source=setting.source)
            return
        to = literal(words[1])
        if path == "/":
            server.set("return", status, f"{to.rstrip('/')}$request_uri", source=setting.source)
            return
        flag = "permanent" if status in ("301", "308") else "redirect"
        pattern = f"^{re.escape(path)}(.*)$"
        server.add("rewrite", pattern, f"{to}$1", flag, source=setting.source)

    def redirect_match(self, server: Server, node: Node, setting: Setting) -> None:
        words = [word for word in node.arguments if word.lower() not in ("permanent", "temp")]
        flag = (
            "permanent" if "permanent" in [word.lower() for word in node.arguments] else "redirect"
        )
        if len(words) == 2:
            server.add("rewrite", words[0], _captured(words[1]), flag, source=setting.source)
        else:
            self.plan.leave(setting, "write a `return`")

    def header(self, server: Server, node: Node, setting: Setting) -> None:
        words = [word for word in node.arguments if word.lower() not in ("always", "onsuccess")]
        if (
            len(words) >= 3
            and words[0].lower() in ("set", "add", "append")
            and "%{" not in words[2]
        ):
            value = words[2]
            server.add(
                "add_header", words[1].rstrip(":"), literal(value), "always", source=setting.source
            )
        elif words[:1] and words[0].lower() == "unset" and len(words) > 1:
            server.applications.add("*_hide_header", words[1], source=setting.source)
        else:
            self.plan.leave(setting, "write `add_header` with a variable, or a `map`")

    def user(self, server: Server, node: Node, setting: Setting) -> None:
        key = node.name.lower()
        if "$" in str(setting.value) or str(setting.value).startswith("#"):
            self.plan.leave(setting, "write `user NAME GROUP;`")
            return
        self.plan.keep(setting, key)
        if (key == "group" and "user" in self.plan.facts) or key == "user":
            rules.user(self.plan)

    def tokens(self, server: Server, node: Node, setting: Setting) -> None:
        if node.arguments[0].lower() in ("full", "os"):
            self.plan.spare(setting, "nginx says its version by default")
        else:
            self.plan.http.set("server_tokens", "off", source=setting.source)

    def pid(self, server: Server, node: Node, setting: Setting) -> None:
        self.plan.leave(setting, "is Apache's: write `pid FILE;` for nginx's")

    def slashes(self, server: Server, node: Node, setting: Setting) -> None:
        if rules.truth(node.arguments[0]):
            server.applications.set("*_path_info", "raw", source=setting.source)
        else:
            self.plan.spare(setting, "is off")

    def index(self, server: Server, node: Node, setting: Setting) -> None:
        server.set("index", *node.arguments, source=setting.source)


_Method = Callable[[_Converter, Server, Node, Setting], None]
_APACHE: dict[str, _Method] = {
    "listen": _Converter.listen_at,
    "servername": _Converter.name,
    "serveralias": _Converter.name,
    "alias": _Converter.alias,
    "aliasmatch": _Converter.alias_match,
    "documentroot": _Converter.document_root,
    "setenv": _Converter.set_env,
    "limitrequestbody": _Converter.body,
    "customlog": _Converter.access_log,
    "transferlog": _Converter.access_log,
    "errorlog": _Converter.error_log,
    "loglevel": _Converter.log_level,
    "timeout": _Converter.timeout,
    "keepalive": _Converter.keep_alive,
    "keepalivetimeout": _Converter.keep_alive_timeout,
    "maxkeepaliverequests": _Converter.keep_alive_requests,
    "errordocument": _Converter.error_document,
    "sslengine": _Converter.ssl_engine,
    "sslcertificatefile": _Converter.certificate,
    "sslcertificatekeyfile": _Converter.certificate_key,
    "sslcertificatechainfile": _Converter.chain,
    "sslciphersuite": _Converter.ciphers,
    "sslprotocol": _Converter.protocols,
    "redirect": _Converter.redirect,
    "redirectpermanent": _Converter.redirect,
    "redirecttemp": _Converter.redirect,
    "redirectmatch": _Converter.redirect_match,
    "header": _Converter.header,
    "user": _Converter.user,
    "group": _Converter.user,
    "servertokens": _Converter.tokens,
    "pidfile": _Converter.pid,
    "allowencodedslashes": _Converter.slashes,
    "directoryindex": _Converter.index,
}


def _captured(text: str) -> str:
    """`$1` is a capture here as it is there, and any other `$` is none."""
    return re.sub(r"\$(?!\d)", literal("$"), text)


def _becomes_a_line(name: str) -> bool:
    return name in _APACHE or any(
        option.here and option.names[0].lower() == name for option in TABLE.options
    )


def _names(node: Node, name: str) -> bool:
    return node.name.lower() == name.lower()


def _flat(nodes: list[Node], skipped: list[Node]) -> list[Node]:
    """With what is in <IfModule>, <IfDefine> and <IfVersion>, as if what they name is there; what
    is for the contrary goes to `skipped`."""
    found = []
    for node in nodes:
        if node.is_section and node.name.lower() in ("ifmodule", "ifdefine", "ifversion"):
            if "".join(node.arguments).startswith("!"):
                skipped += node.children
            else:
                found += _flat(node.children, skipped)
        elif node.is_section:
            node.children = _flat(node.children, skipped)
            found.append(node)
        else:
            found.append(node)
    return found


def _deep(nodes: list[Node]) -> list[Node]:
    return [node for each in nodes for node in (each, *_deep(each.children))]


def _with_sections(
    nodes: list[Node], inside: tuple[Node, ...] = ()
) -> list[tuple[tuple[Node, ...], Node]]:
    found = []
    for node in nodes:
        if node.is_section:
            found += _with_sections(node.children, (*inside, node))
        else:
            found.append((inside, node))
    return found
