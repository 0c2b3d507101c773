"""uWSGI: its files in INI, YAML, XML and JSON, and its command line."""

from __future__ import annotations

import json
import os
import re
import xml.etree.ElementTree as ElementTree
from fnmatch import fnmatchcase
from pathlib import Path

from ..nginx_conf import literal
from . import rules, text_file
from .command_line import Command
from .option import Option, Rule, Table, becomes, kept
from .plan import ConversionError, Listen, Location, Plan, Server, Setting
from .target import split, target
from .uwsgi_reasons import FLAGS, NEEDLESS, NOTHING, SHORT


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


_REASONS = (*NOTHING.items(), *NEEDLESS.items())
_OPTIONS = (
    # The application
    kept("wsgi_app", "module --module wsgi --wsgi pecan --pecan"),
    kept("wsgi_app", "wsgi-file --wsgi-file file --file"),
    kept("wsgi_app", "callable --callable"),
    kept("location wsgi_app wsgi_script_name", "mount --mount"),
    kept("python_working_directory python_path", "chdir --chdir"),
    kept("python_working_directory", "chdir2 --chdir2"),
    becomes(
        "python_path",
        lambda plan, setting: rules.python_path("\0")(plan, setting),
        "pythonpath --pythonpath python-path --python-path pp --pp",
    ),
    becomes(
        "python_home",
        lambda plan, setting: plan.http.set(
            "python_home", plan.path(setting.value), source=setting.source
        ),
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
        _true(
            lambda plan, setting: plan.applications.set(
                "*_file_wrapper", "off", source=setting.source
            )
        ),
        "wsgi-disable-file-wrapper --wsgi-disable-file-wrapper",
        "0",
    ),
    becomes(
        "wsgi_debug",
        _true(
            lambda plan, setting: plan.applications.set(
                "*_debug", "validate", source=setting.source
            )
        ),
        "wsgi-strict --wsgi-strict",
        "0",
    ),
    becomes(
        "wsgi_debug",
        _true(
            lambda plan, setting: plan.applications.set(
                "*_debug", "traceback", source=setting.source
            )
        ),
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


def convert(plan: Plan, command: Command, *, run: bool = False) -> None:
    """A command line: options, or the file of them."""
    settings: list[Setting] = []
    queue = list(command.arguments)
    while queue:
        word = queue.pop(0)
        name, equals, value = word.partition("=")
        if not word.startswith("-"):
            # A file, or an address that uWSGI listens on.
            if re.search(r"\.(ini|ya?ml|xml|json|js)$", word):
                settings += read(plan, plan.folder / word)
            else:
                plan.unknown.append(Setting(word, None, command.origin, word))
            continue
        name = "--" + SHORT[name] if name in SHORT else name
        if not equals and not TABLE.takes_none(name) and queue and not queue[0].startswith("-"):
            value = queue.pop(0)
        text = f"{word} {value}" if value and not equals else word
        bare = name.removeprefix("--")
        if bare in ("ini", "yaml", "yml", "xml", "json", "js"):
            settings += read(plan, plan.folder / value)
        else:
            settings.append(Setting(name, value or True, command.origin, text))
    apply(plan, settings, command.origin)


def read(plan: Plan, file: Path, outer: tuple[Path, ...] = ()) -> list[Setting]:
    """The settings of a file, with the %(…) and $(…) in them."""
    if file in outer:
        raise ConversionError(f"{file.name} includes itself")
    outer = (*outer, file)
    name, _, section = file.name.partition(":")
    path = file.with_name(name)
    text = text_file.read(path)
    suffix = path.suffix
    if suffix == ".xml":
        pairs = _xml(text, path.name)
    elif suffix in (".json", ".js"):
        pairs = _json(text, path.name)
    elif suffix in (".yaml", ".yml"):
        pairs = _yaml(text)
    else:
        pairs = _ini(text, section or "uwsgi")
    variables = {
        "p": str(path),
        "d": f"{path.parent}/",
        "n": path.stem,
        "s": path.name,
        "e": suffix.lstrip("."),
        "c": path.parent.name,
        "v": str(path.parent),
        "k": str(os.cpu_count() or 1),
    }
    settings = []
    for key, value, at in pairs:
        expanded = _expanded(value, variables)
        setting = Setting(key, expanded, f"{path.name}:{at}", f"{key} = {expanded}")
        variables[key] = expanded
        if key in ("set-placeholder", "set-ph", "set"):
            variable, _, content = expanded.partition("=")
            variables[variable] = content
        if (
            key in ("ini", "include", "yaml", "yml", "json", "xml")
            and (path.parent / expanded.partition(":")[0]).is_file()
            and not expanded.startswith(":")
        ):
            settings += read(plan, path.parent / expanded, outer)
            continue
        if key == "ini" and expanded.startswith(":"):
            settings += read(plan, path.with_name(f"{path.name}{expanded}"), outer)
            continue
        used = re.search(rf"%\({re.escape(key)}\)", text)
        if used and not TABLE.answers(key):
            continue
        settings.append(setting)
    return settings


def _expanded(text: str, variables: dict[str, str]) -> str:
    def value(match: re.Match[str]) -> str:
        return variables.get(match[1] or match[2], match[0])

    text = re.sub(r"%\(([^)]+)\)|%([a-zA-Z])(?![a-zA-Z])", value, text)
    return re.sub(r"\$\((\w+)\)", lambda match: os.environ.get(match[1], match[0]), text)


def _ini(text: str, section: str) -> list[tuple[str, str, int]]:
    found, here = [], ""
    for at, raw in enumerate(text_file.lines(text), 1):
        line = raw.strip()
        if not line or line[0] in "#;":
            continue
        if line.startswith("["):
            here = line.strip("[]")
        elif here == section:
            key, equals, value = line.partition("=")
            found.append((key.strip(), value.strip() if equals else "true", at))
    return found


def _yaml(text: str) -> list[tuple[str, str, int]]:
    """As uWSGI itself reads YAML without a library: `key: value` lines, and lists below a key."""
    found, key = [], ""
    for at, raw in enumerate(text_file.lines(text), 1):
        line = re.sub(r"\s+#.*$", "", raw).strip()
        if (
            not line
            or line.startswith(("#", "---", "%"))
            or (raw[0] not in " \t-" and line.endswith(":"))
        ):
            continue
        if line.startswith("- "):
            found.append((key, line[2:].strip().strip("'\""), at))
            continue
        key, _, value = line.partition(":")
        key = key.strip()
        if value.strip():
            found.append((key, value.strip().strip("'\""), at))
    return found


def _xml(text: str, shown: str) -> list[tuple[str, str, int]]:
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise ConversionError(f"{shown} is no valid XML: {error}") from None
    found = []
    at = 0
    lines = text.splitlines()
    for element in root if root.tag == "uwsgi" else root.iterfind("uwsgi/*"):
        at = next((n for n in range(at, len(lines)) if f"<{element.tag}" in lines[n]), at)
        found.append((element.tag, (element.text or "true").strip(), at + 1))
        if "=" not in (element.text or "") and element.attrib:
            mounted = ",".join(element.attrib.values())
            found[-1] = (element.tag, f"{mounted}={(element.text or '').strip()}", at + 1)
    return found


def _json(text: str, shown: str) -> list[tuple[str, str, int]]:
    try:
        values = json.loads(text)["uwsgi"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ConversionError(f"{shown} is no JSON with the key uwsgi: {error}") from None
    if not isinstance(values, dict):
        raise ConversionError(f"{shown} has no options below the key uwsgi")
    found = []
    for key, value in values.items():
        at = text[: text.find(f'"{key}"')].count("\n") + 1
        for each in value if isinstance(value, list) else [value]:
            found.append(
                (key, "true" if each is True else "false" if each is False else str(each), at)
            )
    return found


def apply(plan: Plan, settings: list[Setting], origin: str) -> None:
    for setting in settings:
        if setting.name.removeprefix("--") == "chdir":
            plan.folder = plan.folder / str(setting.value)
    for setting in settings:
        TABLE.apply(plan, setting)
    facts = plan.facts
    rules.folders(plan, facts.get("chdir"), "uWSGI")
    if "chdir2" in facts:
        later = facts["chdir2"]
        plan.http.set("python_working_directory", plan.path(later.value), source=later.source)
    _applications(plan, origin)
    threads = facts.get("threads")
    if threads is not None:
        rules.threads(plan, threads)
    else:
        rules.pool(plan, "threads=1", "uWSGI: one, unless told otherwise")
    _listen(plan)
    _limits(plan)
    rules.user(plan)
    log = facts.get("log")
    rules.error_log(plan, log, None, "uWSGI: standard error")
    to = rules.output(plan, log.value if log else "-", "/dev/stdout", "/var/log/nginx/access.log")
    source = log.source if log else "uWSGI logs each request"
    plan.server.default("access_log", literal(to), source=source)


def _applications(plan: Plan, origin: str) -> None:
    facts = plan.facts
    called = facts.get("callable")
    mounts = plan.all_facts.get("mount", [])
    main = facts.get("wsgi-file") or facts.get("module")
    if main is None and not mounts and "emperor" in {each.name for each in plan.seen}:
        raise ConversionError(
            f"{origin}: an emperor has no application of its own: convert the files of its vassals"
        )
    if main is None and not mounts:
        raise ConversionError(f"{origin}: no application: uWSGI wants module, wsgi-file or mount")
    if main is not None:
        place, name = split(str(main.value))
        if "wsgi-file" in facts:
            place = plan.path(place)
        if called is not None and name is None:
            name = str(called.value)
        source = "; ".join(each.source for each in (main, called) if each)
        plan.application(target(place, name or "application"), "wsgi", source)
    elif called is not None:
        plan.spare(called, "the mounts name their applications")
    for mount in mounts:
        prefix, equals, what = str(mount.value).rpartition("=")
        if not equals or not prefix.startswith("/"):
            plan.leave(mount, "is a virtual host: write a `server` for it")
            continue
        place, name = split(what)
        if place.endswith((".py", ".wsgi")) or "/" in place:
            place = plan.path(place)
        default = str(called.value) if called and main is None else "application"
        plan.application(target(place, name or default), "wsgi", mount.source, prefix=prefix)


def _listen(plan: Plan) -> None:
    facts, every = plan.facts, plan.all_facts
    shared = every.get("shared-socket", [])
    used = {
        str(setting.value).split(",")[0]
        for name in ("http", "https", "http-to-https")
        for setting in every.get(name, [])
    }
    for number, setting in enumerate(shared):
        if f"={number}" not in used:
            plan.leave(setting, "no `http` and no `https` names it: write a `listen`")
    for setting in every.get("http", []):
        words = str(setting.value).split(",")
        plan.server.listens.append(
            rules.listen(plan, _shared(words[0], shared), 80, setting.source)
        )
    for setting in every.get("https", []):
        words = str(setting.value).split(",")
        if "=" in words[0] and not words[0].startswith("="):
            named = dict(word.partition("=")[::2] for word in words)
            words = [named.get(key, "") for key in ("addr", "cert", "key", "ciphers", "ca")]
        made = rules.listen(plan, _shared(words[0], shared), 443, setting.source)
        made.tls = True
        if setting.name.endswith("https2"):
            made.parameters.append("http2")
        plan.server.listens.append(made)
        names = ("ssl_certificate", "ssl_certificate_key", "ssl_ciphers", "ssl_client_certificate")
        for name, value in zip(names, words[1:]):
            if value:
                plan.server.set(name, _of_tls(plan, name, value), source=setting.source)
        if len(words) > 4 and words[4]:
            plan.server.set("ssl_verify_client", "on", source=setting.source)
    if every.get("https"):
        for each in plan.server.listens:
            each.tls = bool(each.tls)
    if not plan.server.listens:
        why = "nginx serves the clients itself: uWSGI's socket is for a proxy"
        plan.server.listens.append(Listen("80", why))
    rules.listen_parameters(plan)
    if "enable-proxy-protocol" in facts and rules.truth(facts["enable-proxy-protocol"].value):
        for each in plan.server.listens:
            each.parameters.append("proxy_protocol")
            each.source += f"; {facts['enable-proxy-protocol'].source}"
    for setting in every.get("http-to-https", []):
        other = Server(setting.source)
        other.listens.append(
            rules.listen(plan, _shared(str(setting.value), shared), 80, setting.source)
        )
        other.set("return", "301", "https://$host$request_uri", source=setting.source)
        plan.servers.append(other)


def _of_tls(plan: Plan, name: str, value: str) -> str:
    if name == "ssl_ciphers":
        return value
    path = plan.path(value.lstrip("!"))
    return path if name == "ssl_client_certificate" else literal(path)


def _shared(bind: str, shared: list[Setting]) -> str:
    """=0 is the first shared-socket."""
    if not bind.startswith("="):
        return bind
    try:
        return str(shared[int(bind[1:])].value)
    except (ValueError, IndexError):
        raise ConversionError(f"there is no shared-socket {bind[1:]}") from None


def _limits(plan: Plan) -> None:
    facts = plan.facts
    rules.max_requests(plan)
    lifetime, delta = facts.get("lifetime"), facts.get("lifetime-delta")
    if lifetime is not None:
        arguments = [rules.duration(lifetime.value)]
        if delta is not None:
            arguments.append(f"jitter={rules.duration(delta.value)}")
        source = "; ".join(each.source for each in (lifetime, delta) if each)
        plan.http.set("python_max_lifetime", *arguments, source=source)
    elif delta is not None:
        plan.spare(delta, "is nothing without max-worker-lifetime")
    memory = [(key, facts[f"memory_{key}"]) for key in ("soft", "hard") if f"memory_{key}" in facts]
    if memory:
        arguments = [f"{key}={rules.natural(setting)}m" for key, setting in memory]
        if memory[0][0] == "hard":
            arguments.insert(0, f"soft={rules.natural(memory[0][1])}m")
        source = "; ".join(setting.source for _, setting in memory)
        plan.http.set("python_memory_limit", *arguments, source=source)
    post = facts.get("limit-post")
    if post is not None:
        limit = rules.bytes_of(rules.natural(post))
        plan.server.set("client_max_body_size", limit, source=post.source)
    else:
        rules.body_limit(plan, "0", "uWSGI has no limit")
