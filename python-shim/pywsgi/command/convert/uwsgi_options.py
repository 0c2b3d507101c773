"""The options of uWSGI: what each becomes. Those that become nothing are in uwsgi_reasons.py."""

from __future__ import annotations

import os
import re
from fnmatch import fnmatchcase

from ..nginx_conf import literal
from . import rules
from .option import Option, Rule, Table, becomes, kept
from .plan import ConversionError, Location, Plan, Setting
from .uwsgi_reasons import FLAGS, NEEDLESS, NOTHING


def _true(rule: Rule) -> Rule:
    """An option without an argument: `false` is as if it were not there."""
    return rules.when(True, rule, "is off")


def _megabytes(parameter: str) -> Rule:
    def rule(plan: Plan, setting: Setting) -> None:
        plan.keep(setting, f"memory_{parameter}")

    return rule


def _stack(plan: Plan, setting: Setting) -> None:
    rules.pool(plan, f"stack={rules.natural(setting)}k", setting.source)


def _add_header(plan: Plan, setting: Setting) -> None:
    name, colon, value = str(setting.value).partition(":")
    if not colon:
        raise ConversionError(f"{setting.value!r} is not NAME: VALUE")
    rules.add_header(plan, name.strip(), value.strip(), setting.source)


def _hide_header(plan: Plan, setting: Setting) -> None:
    plan.applications.add("*_hide_header", str(setting.value), source=setting.source)


def _static_map(plan: Plan, setting: Setting) -> None:
    mount, equals, folder = str(setting.value).partition("=")
    if not equals:
        raise ConversionError(f"{setting.value!r} is not /PATH=FOLDER")
    path = plan.path(folder)
    if setting.name == "static-map2":
        path = os.path.join(path, mount.strip("/"))
    _files(plan, mount, path, setting)


def _files(plan: Plan, mount: str, path: str, setting: Setting) -> Location:
    """A location of files: of one file, or of a folder."""
    is_file = os.path.isfile(path) or bool(re.search(r"\.\w+$", mount))
    where = f"= {mount}" if is_file else f"/{mount.strip('/')}/".replace("//", "/")
    location = plan.server.location(where, setting.source)
    alias = path if is_file else f"{path.rstrip('/')}/"
    location.set("alias", literal(alias), source=setting.source)
    return location


def _log_file(plan: Plan, setting: Setting) -> None:
    plan.keep(setting, "log")


def _logger(plan: Plan, setting: Setting) -> None:
    """file:PATH, stdio or a plugin's own kind."""
    kind, _, where = str(setting.value).rpartition(" ")[2].partition(":")
    of_requests = setting.name in ("req-logger", "logger-req")
    if kind == "file" and where:
        changed = Setting(setting.name, where, setting.origin, setting.text)
        if of_requests:
            rules.access_log(plan, changed)
        else:
            plan.keep(changed, "log")
    elif kind == "stdio":
        plan.spare(setting, "nginx's logs say it")
    elif kind in ("syslog", "rsyslog"):
        name = "access_log" if of_requests else "error_log"
        plan.leave(setting, f"write `{name} syslog:server=…`")
    else:
        plan.leave(setting, "nginx writes logs to files and to syslog")


def _imports(plan: Plan, setting: Setting) -> None:
    if str(setting.value).endswith(".py"):
        plan.leave(setting, "`python_import` takes a module and no file")
    else:
        plan.http.extend("python_import", str(setting.value), source=setting.source)


def _plugins(plan: Plan, setting: Setting) -> None:
    others = [
        name
        for name in rules.listed(setting.value)
        if not re.fullmatch(
            r"(?:0:)?(?:python[\d.]*|http|logfile|syslog|cheaper_.*|router_.*)", name
        )
    ]
    if others:
        plan.leave(setting, "other languages and plugins stay with uWSGI")
    else:
        plan.spare(setting, "nginx has what they do")


def _timeouts(plan: Plan, setting: Setting) -> None:
    value = rules.duration(setting.value)
    for name in ("client_body_timeout", "send_timeout"):
        plan.http.set(name, value, source=setting.source)


def _keepalive(plan: Plan, setting: Setting) -> None:
    if str(setting.value).isdigit() and int(str(setting.value)) > 1:
        plan.http.set("keepalive_timeout", f"{setting.value}s", source=setting.source)
    else:
        plan.spare(setting, "nginx keeps connections for 75 s")


def _buffer_size(plan: Plan, setting: Setting) -> None:
    limit = rules.natural(setting)
    if limit > 8192:
        source = setting.source
        plan.http.set("large_client_header_buffers", "4", str(limit), source=source)
    else:
        plan.spare(setting, "nginx takes 8 KB for each line")


def _daemonize(plan: Plan, setting: Setting) -> None:
    plan.main.set("daemon", "on", source=setting.source)
    if str(setting.value) not in ("true", "1", "True"):
        plan.keep(setting, "log")


def _priority(plan: Plan, setting: Setting) -> None:
    plan.main.set("worker_priority", str(setting.value), source=setting.source)


def _limit_as(plan: Plan, setting: Setting) -> None:
    of_bytes = rules.natural(setting) << 20
    changed = Setting(setting.name, of_bytes, setting.origin, setting.text)
    rules.address_space(plan, changed)


_REASONS = (*NOTHING.items(), *NEEDLESS.items())
_OPTIONS = (
    # The application
    kept("wsgi_app", "module --module wsgi --wsgi pecan --pecan"),
    kept("wsgi_app", "wsgi-file --wsgi-file file --file"),
    kept("wsgi_app", "callable --callable"),
    kept("location wsgi_app wsgi_script_name", "mount --mount"),
    kept("python_process", "emperor --emperor"),
    kept("python_working_directory python_path", "chdir --chdir"),
    kept("python_working_directory", "chdir2 --chdir2"),
    becomes(
        "python_path",
        rules.python_path("\0"),
        "pythonpath --pythonpath python-path --python-path pp --pp",
    ),
    becomes(
        "python_home",
        rules.http("python_home", rules.path),
        "home --home virtualenv --virtualenv venv --venv pyhome --pyhome",
    ),
    becomes(
        "python_executable",
        rules.http("python_executable", rules.path),
        "py-executable --py-executable py-sys-executable --py-sys-executable",
    ),
    becomes("python_env", rules.environment, "env --env"),
    becomes(
        "python_import",
        _imports,
        "import --import pyimport --pyimport py-import --py-import python-import --python-import "
        "shared-import --shared-import shared-pyimport --shared-pyimport shared-py-import "
        "--shared-py-import shared-python-import --shared-python-import",
    ),
    becomes("python_optimize", rules.http("python_optimize"), "optimize --optimize"),
    becomes(
        "wsgi_file_wrapper",
        _true(rules.fixed("applications", "*_file_wrapper", "off")),
        "wsgi-disable-file-wrapper --wsgi-disable-file-wrapper",
        "0",
    ),
    becomes(
        "wsgi_debug",
        _true(rules.fixed("applications", "*_debug", "validate")),
        "wsgi-strict --wsgi-strict",
        "0",
    ),
    becomes(
        "wsgi_debug",
        _true(rules.fixed("applications", "*_debug", "traceback")),
        "catch-exceptions --catch-exceptions",
        "0",
    ),
    becomes("", _plugins, "plugins --plugins plugin --plugin"),
    # Processes and threads
    becomes(
        "worker_processes",
        rules.main("worker_processes", rules.text),
        "processes --processes workers --workers",
    ),
    kept("python_thread_pool", "threads --threads"),
    becomes(
        "python_thread_pool",
        _stack,
        "thread-stacksize --thread-stacksize threads-stacksize --threads-stacksize "
        "thread-stack-size --thread-stack-size threads-stack-size --threads-stack-size",
    ),
    becomes(
        "wsgi_timeout",
        rules.application("*_timeout", rules.seconds),
        "harakiri --harakiri http-harakiri --http-harakiri",
    ),
    kept("python_max_requests", "max_requests max-requests --max-requests"),
    kept("python_max_requests", "jitter max-requests-delta --max-requests-delta"),
    kept("python_max_lifetime", "lifetime max-worker-lifetime --max-worker-lifetime"),
    kept(
        "python_max_lifetime",
        "lifetime-delta max-worker-lifetime-delta --max-worker-lifetime-delta",
    ),
    becomes("python_memory_limit", _megabytes("soft"), "reload-on-rss --reload-on-rss"),
    becomes("python_memory_limit", _megabytes("hard"), "evil-reload-on-rss --evil-reload-on-rss"),
    becomes(
        "python_drain_timeout",
        rules.http("python_drain_timeout", rules.seconds),
        "worker-reload-mercy --worker-reload-mercy reload-mercy --reload-mercy",
    ),
    becomes(
        "python_reload",
        lambda plan, setting: plan.http.set(
            "python_reload", "touch", plan.path(setting.value), source=setting.source
        ),
        "touch-reload --touch-reload touch-workers-reload --touch-workers-reload fs-reload "
        "--fs-reload",
    ),
    becomes(
        "python_reload",
        _true(rules.reload),
        "py-autoreload --py-autoreload py-auto-reload --py-auto-reload python-auto-reload "
        "--python-auto-reload python-autoreload --python-autoreload",
    ),
    becomes(
        "python_finalize",
        _true(rules.fixed("http", "python_finalize", "off")),
        "skip-atexit --skip-atexit skip-atexit-teardown --skip-atexit-teardown",
        "0",
    ),
    kept("user", "user uid --uid"),
    kept("user", "group gid --gid"),
    becomes("worker_priority", _priority, "prio --prio"),
    becomes("python_process", rules.limit("umask", rules.octal), "umask --umask"),
    becomes("python_process", _limit_as, "limit-as --limit-as"),
    becomes("python_process", rules.limit("rlimit_nproc"), "limit-nproc --limit-nproc"),
    becomes(
        "worker_rlimit_nofile", rules.main("worker_rlimit_nofile", rules.whole), "max-fd --max-fd"
    ),
    becomes(
        "pid",
        rules.main("pid", rules.path),
        "pidfile --pidfile pidfile2 --pidfile2 safe-pidfile --safe-pidfile safe-pidfile2 "
        "--safe-pidfile2",
    ),
    becomes("daemon error_log", _daemonize, "daemonize --daemonize daemonize2 --daemonize2"),
    # Sockets and bodies
    kept("listen", "http --http http-socket --http-socket http11-socket --http11-socket"),
    kept("listen ssl_certificate ssl_certificate_key", "https --https https2 --https2"),
    kept("listen return", "http-to-https --http-to-https"),
    kept("listen", "shared-socket --shared-socket"),
    kept("listen", "backlog listen --listen"),
    kept("listen", "reuse_port reuse-port --reuse-port", "0"),
    kept("listen", "enable-proxy-protocol --enable-proxy-protocol", "0"),
    becomes(
        "client_header_timeout",
        rules.http("client_header_timeout", rules.seconds),
        "http-headers-timeout --http-headers-timeout",
    ),
    becomes("client_body_timeout send_timeout", _timeouts, "http-timeout --http-timeout"),
    becomes("keepalive_timeout", _keepalive, "http-keepalive --http-keepalive", "?"),
    becomes(
        "gzip", _true(rules.fixed("http", "gzip", "on")), "http-auto-gzip --http-auto-gzip", "0"
    ),
    becomes("large_client_header_buffers", _buffer_size, "buffer-size --buffer-size"),
    kept("client_max_body_size", "limit-post --limit-post"),
    becomes(
        "wsgi_request_buffering client_body_buffer_size",
        rules.server("client_body_buffer_size", rules.size),
        "post-buffering --post-buffering post-buffering-bufsize --post-buffering-bufsize",
    ),
    # Files and headers
    becomes("alias", _static_map, "static-map --static-map static-map2 --static-map2"),
    becomes(
        "index",
        lambda plan, setting: plan.server.extend(
            "index", str(setting.value), source=setting.source
        ),
        "static-index --static-index",
    ),
    becomes(
        "sendfile",
        _true(rules.fixed("http", "sendfile", "off")),
        "disable-sendfile --disable-sendfile",
        "0",
    ),
    becomes("add_header", _add_header, "add-header --add-header"),
    becomes("wsgi_hide_header", _hide_header, "del-header --del-header rem-header --rem-header"),
    # Logs
    becomes("error_log access_log", _log_file, "logto --logto logto2 --logto2"),
    becomes("error_log", _logger, "logger --logger"),
    becomes("access_log", _logger, "req-logger --req-logger logger-req --logger-req"),
    becomes(
        "access_log",
        _true(rules.fixed("server", "access_log", "off")),
        "disable-logging --disable-logging",
        "0",
    ),
    becomes(
        "wsgi_slow_request",
        rules.application("*_slow_request", rules.milliseconds),
        "log-slow --log-slow",
    ),
    becomes(
        "set_real_ip_from",
        _true(rules.leave("write `set_real_ip_from` with the proxies' addresses")),
        "log-x-forwarded-for --log-x-forwarded-for",
        "0",
    ),
)


class _Uwsgi(Table):
    """The table, and the families of what has no counterpart."""

    def __init__(self) -> None:
        super().__init__("uWSGI", *_OPTIONS)
        self.families = [
            (name, why, why in NEEDLESS) for why, names in _REASONS for name in names.split()
        ]

    def reason(self, name: str) -> tuple[str, bool] | None:
        """Why an option becomes no line, and whether it needs none."""
        name = name.removeprefix("--")
        for family, why, is_needless in self.families:
            if fnmatchcase(name, family):
                return why, is_needless
        return None

    def answers(self, name: str) -> bool:
        return name in self.by_name or self.reason(name) is not None

    def apply(self, plan: Plan, setting: Setting) -> None:
        if setting.name in self.by_name:
            super().apply(plan, setting)
            return
        plan.seen.append(setting)
        found = self.reason(setting.name)
        if found is None:
            plan.unknown.append(setting)
        elif found[1]:
            plan.spare(setting, found[0])
        elif str(setting.value).lower() in ("false", "no", "0"):
            plan.spare(setting, "is off")
        else:
            plan.leave(setting, found[0])

    def takes_none(self, name: str) -> bool:
        option: Option | None = self.by_name.get(name)
        return name.removeprefix("--") in FLAGS or (option is not None and option.takes == "0")


TABLE = _Uwsgi()
