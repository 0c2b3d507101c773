"""uWSGI: its files, and its command line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from ..nginx_conf import literal
from . import groups, listening, rules
from .command_line import Command
from .groups import Part
from .plan import ConversionError, Listen, Plan, Server, Setting
from .target import split, target
from .uwsgi_files import read, vassals
from .uwsgi_options import TABLE
from .uwsgi_reasons import SHORT


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


def apply(plan: Plan, settings: list[Setting], origin: str) -> None:
    for setting in settings:
        if setting.name.removeprefix("--") == "chdir":
            plan.folder = plan.folder / str(setting.value)
    for setting in settings:
        TABLE.apply(plan, setting)
    facts = plan.facts
    if "emperor" in facts and not facts.keys() & {"module", "wsgi-file", "mount"}:
        _emperor(plan)
    else:
        _application(plan, origin)


def emperor(plan: Plan, files: Sequence[Path], folder: Path | None = None) -> None:
    """The files of vassals: each has a `python_process`, and its addresses."""
    parts: list[Part] = []
    for file in files:
        part = Plan(plan.system, folder or file.parent)
        part.supervised = plan.supervised
        settings = read(part, file)
        if any(setting.name == "emperor" for setting in settings):
            raise ConversionError(f"{file.name}: is an emperor itself: convert it alone")
        apply(part, settings, file.name)
        rules.find_home(part)
        name = groups.name_of(file.stem, [each.name for each in parts])
        parts.append(Part(name, part, f"{file.name}: has processes of its own"))
    groups.join(plan, parts)


def _emperor(plan: Plan) -> None:
    """An emperor's own file."""
    rules.user(plan)
    # These would be an application's.
    plan.main.lines = [line for line in plan.main.lines if line.name != "worker_processes"]
    files: list[Path] = []
    for setting in plan.all_facts["emperor"]:
        found = vassals(plan.folder, str(setting.value))
        if not found:
            raise ConversionError(f"{setting.source}: no file of a vassal is there")
        files += [file for file in found if file not in files]
        plan.spare(setting, "each of its vassals has a `python_process`")
    emperor(plan, files)


def _application(plan: Plan, origin: str) -> None:
    facts = plan.facts
    if "emperor" in facts:
        plan.leave(facts["emperor"], "convert the files of its vassals as well")
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
            listening.listen(plan, _shared(words[0], shared), 80, setting.source)
        )
    for setting in every.get("https", []):
        words = str(setting.value).split(",")
        if "=" in words[0] and not words[0].startswith("="):
            named = dict(word.partition("=")[::2] for word in words)
            words = [named.get(key, "") for key in ("addr", "cert", "key", "ciphers", "ca")]
        made = listening.listen(plan, _shared(words[0], shared), 443, setting.source)
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
    listening.parameters(plan)
    if "enable-proxy-protocol" in facts and rules.truth(facts["enable-proxy-protocol"].value):
        for each in plan.server.listens:
            each.parameters.append("proxy_protocol")
            each.source += f"; {facts['enable-proxy-protocol'].source}"
    for setting in every.get("http-to-https", []):
        other = Server(setting.source)
        other.listens.append(
            listening.listen(plan, _shared(str(setting.value), shared), 80, setting.source)
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
