"""What an option does to the plan: the rules that the tables of all servers share."""

from __future__ import annotations

import contextlib
import ipaddress
import re
from pathlib import Path
from typing import Callable

from ..nginx_conf import literal
from .option import Rule, is_off
from .plan import Block, ConversionError, Plan, Setting

# From a setting to a directive's argument; None if there is nothing to write.
Value = Callable[[Plan, Setting], "str | None"]

LEVELS = {
    "critical": "crit",
    "fatal": "crit",
    "error": "error",
    "warning": "warn",
    "warn": "warn",
    "info": "info",
    "access": "info",
    "debug": "debug",
    "trace": "debug",
    "notset": "debug",
}


# Values


def text(plan: Plan, setting: Setting) -> str | None:
    return None if is_off(setting.value) else str(setting.value)


def path(plan: Plan, setting: Setting) -> str | None:
    return None if is_off(setting.value) else plan.path(setting.value)


def whole(plan: Plan, setting: Setting) -> str | None:
    """A number of something; 0 is none."""
    if setting.value is None:
        return None
    return str(natural(setting)) if natural(setting) else None


def seconds(plan: Plan, setting: Setting) -> str | None:
    return None if setting.value is None else duration(setting.value)


def milliseconds(plan: Plan, setting: Setting) -> str | None:
    return None if setting.value is None else f"{natural(setting)}ms"


def size(plan: Plan, setting: Setting) -> str | None:
    return None if setting.value is None else bytes_of(natural(setting))


def octal(plan: Plan, setting: Setting) -> str | None:
    """A umask."""
    found = re.fullmatch(r"(?:0o)?([0-7]{1,4})", str(setting.value).strip())
    if found is None or int(found[1], 8) > 0o777:
        raise ConversionError(f"{setting.value!r} is not a umask, such as 027")
    return found[1]


def switch(plan: Plan, setting: Setting) -> str | None:
    return "on" if truth(setting.value) else "off"


def truth(value: object) -> bool:
    """A flag, however a file writes it."""
    return str(value).strip().lower() not in ("", "0", "false", "no", "off", "none", "n", "f")


def duration(value: object) -> str:
    """Seconds, also with a unit ("1h"), as nginx writes them."""
    if isinstance(value, str) and re.fullmatch(r"(?:\d+(?:ms|[smhdwMy]) ?)+", value.strip()):
        return value.replace(" ", "")
    try:
        number = float(str(value))
    except ValueError:
        number = -1.0
    # Not inf and not nan either.
    if not 0 <= number < 1e9:
        raise ConversionError(f"{value!r} is not a time in seconds")
    if number == 0:
        return "0"
    return f"{int(number)}s" if number == int(number) else f"{round(number * 1000)}ms"


def bytes_of(number: int) -> str:
    """A size with the largest unit of nginx's that divides it."""
    for unit, factor in (("g", 1 << 30), ("m", 1 << 20), ("k", 1 << 10)):
        if number and number % factor == 0:
            return f"{number // factor}{unit}"
    return str(number)


def number(setting: Setting | None, default: int) -> int:
    """A whole number, however a file writes it."""
    if setting is None or setting.value is None:
        return default
    value = setting.value
    with contextlib.suppress(ValueError, OverflowError):
        if isinstance(value, str):
            return int(value.strip(), 0)
        if isinstance(value, (int, float)) and int(value) == value:
            return int(value)
    raise ConversionError(f"{setting.source}: {value!r} is not a number")


def natural(setting: Setting) -> int:
    found = number(setting, 0)
    if found < 0:
        raise ConversionError(f"{setting.source}: {setting.value!r} is less than 0")
    return found


def listed(value: object, separator: str = ",") -> list[str]:
    """A list, or the words of a string."""
    if isinstance(value, (list, tuple, set)):
        return [str(each) for each in value]
    return [word.strip() for word in str(value).split(separator) if word.strip()]


# Rules: a directive of one context


def main(name: str, value: Value = text) -> Rule:
    return _set(lambda plan: plan.main, name, value)


def events(name: str, value: Value = text) -> Rule:
    return _set(lambda plan: plan.events, name, value)


def http(name: str, value: Value = text) -> Rule:
    return _set(lambda plan: plan.http, name, value)


def server(name: str, value: Value = text) -> Rule:
    return _set(lambda plan: plan.server, name, value)


def application(name: str, value: Value = text) -> Rule:
    return _set(lambda plan: plan.applications, name, value)


def _set(block: Callable[[Plan], Block], name: str, value: Value) -> Rule:
    def rule(plan: Plan, setting: Setting) -> None:
        argument = value(plan, setting)
        if argument is None:
            plan.spare(setting, "is not set")
        else:
            block(plan).set(name, argument, source=setting.source)

    return rule


def when(value: bool, there: Rule, why: str) -> Rule:
    """`there` if a flag has this value; otherwise the setting needs no line, because `why`."""

    def rule(plan: Plan, setting: Setting) -> None:
        if truth(setting.value) is value:
            there(plan, setting)
        else:
            plan.spare(setting, why)

    return rule


def fixed(block: str, name: str, *arguments: str) -> Rule:
    """Always the same directive, in the plan's block of this name."""

    def rule(plan: Plan, setting: Setting) -> None:
        getattr(plan, block).set(name, *arguments, source=setting.source)

    return rule


def limit(name: str, value: Value = text) -> Rule:
    """A limit that only a `python_process` has."""
    return _set(lambda plan: plan.process, name, value)


def nice(plan: Plan, setting: Setting) -> None:
    """How much the processes leave to others; the workers' user can give itself no priority."""
    value = number(setting, 0)
    if value < 0:
        plan.leave(setting, "only root can raise a priority: systemd's Nice= is for all of nginx")
    else:
        limit("nice", lambda *_: str(min(value, 19)))(plan, setting)


def address_space(plan: Plan, setting: Setting) -> None:
    """A limit of virtual memory, in bytes."""
    if natural(setting) < 256 << 20:
        plan.leave(setting, "Python needs 256 MB of address space to start")
    else:
        limit("rlimit_as", size)(plan, setting)


def leave(why: str) -> Rule:
    return lambda plan, setting: plan.leave(setting, why)


def threads(plan: Plan, setting: Setting) -> None:
    """So many threads in the pool that all applications use; without threads, one request at a
    time."""
    pool(plan, f"threads={max(natural(setting), 1)}", setting.source)


def pool(plan: Plan, parameter: str, source: str) -> None:
    """A parameter of the pool `default`; `threads` comes first."""
    line = plan.http.find("python_thread_pool", "default")
    plan.of_pool[parameter.partition("=")[0]] = source
    if line is None:
        first = ["threads=8"] if not parameter.startswith("threads=") else []
        plan.http.add("python_thread_pool", "default", *first, parameter, source=source)
        return
    key = parameter.partition("=")[0]
    kept = [each for each in line.arguments if not each.startswith(f"{key}=")]
    at = 1 if key == "threads" else len(kept)
    line.arguments = (*kept[:at], parameter, *kept[at:])
    line.sources = [each for each in line.sources if each != source] + [source]


def environment(plan: Plan, setting: Setting) -> None:
    """NAME=VALUE, or a list or a dict of such."""
    value = setting.value
    if isinstance(value, dict):
        pairs = [f"{name}={each}" for name, each in value.items()]
    else:
        pairs = [str(value)] if isinstance(value, str) else listed(value)
    for pair in pairs:
        plan.http.add("python_env", pair, source=setting.source)


def variable(name: str) -> Rule:
    """A value that is a variable of the environment here."""

    def rule(plan: Plan, setting: Setting) -> None:
        plan.http.add("python_env", f"{name}={setting.value}", source=setting.source)

    return rule


def header_buffers(plan: Plan, setting: Setting) -> None:
    """The size of the longest line of a request's head."""
    size = str(natural(setting))
    plan.http.set("large_client_header_buffers", "4", size, source=setting.source)


def env_file(plan: Plan, setting: Setting) -> None:
    """A file of variables; there can be several."""
    plan.http.add("python_env_file", plan.path(setting.value), source=setting.source)


def python_path(separator: str) -> Rule:
    """Folders in front of sys.path."""

    def rule(plan: Plan, setting: Setting) -> None:
        folders = [plan.path(each) for each in listed(setting.value, separator)]
        if folders:
            plan.http.extend("python_path", *folders, source=setting.source)
        else:
            plan.spare(setting, "is not set")

    return rule


def access_log(plan: Plan, setting: Setting) -> None:
    if setting.value in (None, "", False):
        plan.server.set("access_log", "off", source=setting.source)
    else:
        to = output(plan, setting.value, "/dev/stdout", "/var/log/nginx/access.log")
        plan.server.set("access_log", literal(to), source=setting.source)


def error_log(plan: Plan, file: Setting | None, level: Setting | None, source: str) -> None:
    """The log of errors from two settings: where it is, and from which level on."""
    if file is None and level is None:
        if plan.supervised:
            plan.main.default("error_log", "stderr", "info", source=source)
        return
    to = output(plan, file.value if file else "-", "stderr", "/var/log/nginx/error.log")
    word = str(level.value).lower() if level and level.value is not None else "info"
    if word not in LEVELS:
        raise ConversionError(f"{word!r} is not a level: {', '.join(LEVELS)}")
    sources = [setting.source for setting in (file, level) if setting]
    plan.main.set("error_log", to, LEVELS[word], source="; ".join(sources))


def output(plan: Plan, value: object, standard: str, file: str) -> str:
    """A log's file. "-" is standard output, if a supervisor collects it."""
    if value in ("-", None, ""):
        return standard if plan.supervised else file
    return standard if str(value) in ("/dev/stdout", "/dev/stderr") else plan.path(value)


def user(plan: Plan) -> None:
    """`user` from a user and a group."""
    name, group = plan.facts.get("user"), plan.facts.get("group")
    if name is None:
        if group is not None:
            plan.leave(group, "a group without a user: write `user NAME GROUP;`")
        return
    arguments = [str(setting.value) for setting in (name, group) if setting]
    if any(each.isdigit() for each in arguments):
        plan.leave(name, "nginx wants names and not numbers: write `user NAME GROUP;`")
        return
    sources = [setting.source for setting in (name, group) if setting]
    plan.main.set("user", *arguments, source="; ".join(sources))


def max_requests(plan: Plan, count: str = "max_requests", jitter: str = "jitter") -> None:
    """`python_max_requests` from the count and its jitter."""
    most, spread = plan.facts.get(count), plan.facts.get(jitter)
    if most is None or not natural(most):
        for setting in (most, spread):
            if setting:
                plan.spare(setting, "0 is no limit")
        return
    arguments = [str(natural(most))]
    sources = [most.source]
    if spread is not None:
        if natural(spread):
            arguments.append(f"jitter={natural(spread)}")
            sources.append(spread.source)
        else:
            plan.spare(spread, "is 0")
    plan.http.set("python_max_requests", *arguments, source="; ".join(sources))


def is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return True


def trusted(plan: Plan, setting: Setting) -> None:
    """The proxies whose X-Forwarded-For and X-Forwarded-Proto are believed.

    The scheme is taken from them alone, as deploy/behind-a-proxy.conf does it.
    """
    addresses = listed(setting.value)
    if not addresses:
        plan.spare(setting, "no proxy is trusted")
        return
    networks: list[str] = []
    for address in addresses:
        if address == "*":
            networks += ["0.0.0.0/0", "::/0", "unix:"]
        elif address.startswith("/") or address == "unix:":
            networks.append("unix:")
        elif is_network(address):
            networks.append(address)
        else:
            plan.leave(setting, f"{address} is no address and no network: nginx knows no other")
    if not networks:
        return
    source = setting.source
    for network in networks:
        plan.http.add("set_real_ip_from", network, source=source)
    plan.http.set("real_ip_header", "X-Forwarded-For", source=source)
    plan.http.set("real_ip_recursive", "on", source=source)
    plan.applications.add("*_param", "HTTPS", "$forwarded_https", "if_not_empty", source=source)
    plan.proxies, plan.proxies_source = networks, source


def body_limit(plan: Plan, limit: str, source: str) -> None:
    """The server's own limit, for nginx's default is 1 MB."""
    plan.server.default("client_max_body_size", limit, source=source)


def reload(plan: Plan, setting: Setting) -> None:
    """Reload when a source has changed."""
    if truth(setting.value):
        plan.http.set("python_reload", "watch", source=setting.source)
    else:
        plan.spare(setting, "is off")


def folders(plan: Plan, setting: Setting | None, system: str) -> None:
    """The folder that the server starts in: modules are found there, and relative paths begin."""
    source = plan.folder_source or f"the folder that {system} starts in"
    if setting is not None:
        source = setting.source
    folder = plan.path(".")
    plan.http.extend("python_path", folder, source=source)
    plan.http.set("python_working_directory", folder, source=source)


def find_home(plan: Plan) -> None:
    """The virtual environment in the folder of the application, if nothing has named one."""
    if plan.http.find("python_home") is not None:
        return
    for name in (".venv", "venv", "env"):
        home = Path(plan.path(name))
        if (home / "pyvenv.cfg").is_file():
            source = f"the virtual environment in the folder that {plan.system} starts in"
            plan.http.add("python_home", str(home), source=source)
            return


def loop(plan: Plan, setting: Setting) -> None:
    """The kind of the asyncio loop."""
    if str(setting.value) in ("auto", "asyncio", "uvloop"):
        plan.http.set("python_event_loop", "main", str(setting.value), source=setting.source)
    else:
        plan.leave(setting, "the loop is asyncio's or uvloop's")


def add_header(plan: Plan, name: str, value: str, source: str) -> None:
    """A header of every response. `always`: of errors as well."""
    plan.server.add("add_header", name, literal(value), "always", source=source)
