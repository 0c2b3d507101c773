"""`flask run`, with its --app and FLASK_… of the environment and of .flaskenv."""

from __future__ import annotations

from pathlib import Path

from . import listening, rules, text_file
from .command_line import Command
from .option import Table, becomes, kept, needless, nothing
from .plan import ConversionError, Plan, Setting
from .target import callable_in, split, target

_RELOAD = "`python_reload watch` watches the folders of what the application has imported"
_COMMAND = "is for the command alone"


def _debug(plan: Plan, setting: Setting) -> None:
    if not rules.truth(setting.value):
        plan.spare(setting, "is off")
        return
    plan.applications.default("*_debug", "traceback", source=setting.source)
    plan.http.default("python_reload", "watch", source=setting.source)
    plan.http.add("python_env", "FLASK_DEBUG=1", source=setting.source)


TABLE = Table(
    "flask run",
    kept("wsgi_app", "app -A --app FLASK_APP"),
    becomes("python_env_file", rules.http("python_env_file", rules.path), "env_file -e --env-file"),
    becomes(
        "wsgi_debug python_reload python_env", _debug, "debug --debug --no-debug FLASK_DEBUG", "0"
    ),
    kept("listen", "host -h --host FLASK_RUN_HOST"),
    kept("listen", "port -p --port FLASK_RUN_PORT"),
    kept("ssl_certificate", "cert --cert FLASK_RUN_CERT"),
    kept("ssl_certificate_key", "key --key FLASK_RUN_KEY"),
    becomes("python_reload", rules.reload, "reload --reload --no-reload", "0"),
    becomes(
        "wsgi_debug",
        rules.when(True, rules.fixed("applications", "*_debug", "traceback"), "is off"),
        "debugger --debugger --no-debugger",
        "0",
    ),
    kept("python_thread_pool", "with_threads --with-threads --without-threads", "0"),
    nothing(_RELOAD, "extra_files --extra-files"),
    nothing(_RELOAD, "exclude_patterns --exclude-patterns"),
    needless("there is no banner", "FLASK_ENV"),
    nothing(_COMMAND, "--version", "0"),
    nothing(_COMMAND, "--help", "0"),
)


def convert(plan: Plan, command: Command, *, run: bool = False) -> None:
    settings, rest = TABLE.parse(command.arguments, command.origin, strict=True)
    if rest[:1] != ["run"]:
        named = rest[0] if rest else "nothing"
        raise ConversionError(
            f"{command.origin}: `flask {named}` is no server: convert `flask run`"
        )
    for each in rest[1:]:
        plan.unknown.append(Setting(each, None, command.origin, each))
    for setting in [*_environment(plan, command), *settings]:
        if setting.name == "--without-threads":
            setting = Setting("with_threads", False, setting.origin, setting.text)
        TABLE.apply(plan, setting)
    facts = plan.facts
    rules.folders(plan, None, "flask")
    app = facts.get("app")
    place, name, source = _application(plan, app, command)
    plan.application(target(place, name), "wsgi", source)
    threads = facts.get("with_threads")
    if threads is not None and not rules.truth(threads.value):
        rules.pool(plan, "threads=1", threads.source)
    elif threads is not None:
        plan.spare(threads, "applications run in threads")
    listening.host_and_port(plan, "127.0.0.1", 5000, "flask run")
    _tls(plan)
    to = rules.output(plan, "-", "/dev/stdout", "/var/log/nginx/access.log")
    plan.server.set("access_log", to, source="flask run: standard error")
    rules.error_log(plan, None, None, "flask run: standard error")
    rules.body_limit(plan, "0", "flask run has no limit")


def _environment(plan: Plan, command: Command) -> list[Setting]:
    """What .flaskenv and the environment say; the latter is stronger."""
    found = []
    values: dict[str, tuple[str, str]] = {}
    file = plan.folder / ".flaskenv"
    if file.is_file():
        for at, line in enumerate(text_file.lines(text_file.read(file)), 1):
            name, equals, value = line.removeprefix("export ").partition("=")
            if equals and not line.startswith("#"):
                values[name.strip()] = (value.strip().strip("'\""), f".flaskenv:{at}")
    for name, value in list(command.environment.items()):
        values[name] = (value, command.origin)
    for name, (value, origin) in values.items():
        if name in TABLE.by_name:
            command.environment.pop(name, None)
            found.append(Setting(name, value, origin, f"{name}={value}"))
        elif origin != command.origin:
            rules.environment(plan, Setting(name, f"{name}={value}", origin, f"{name}={value}"))
    return found


def _application(plan: Plan, app: Setting | None, command: Command) -> tuple[str, str, str]:
    """The module or file, and the callable that Flask would find in it."""
    if app is None:
        for file in ("wsgi.py", "app.py"):
            if (plan.folder / file).is_file():
                place = file.removesuffix(".py")
                found = _callable(plan, place)
                return place, found, f"flask run: {file} in the folder that it starts in"
        raise ConversionError(
            f"{command.origin}: no application: give --app, or convert in the folder of "
            "wsgi.py or app.py"
        )
    text = str(app.value)
    place, name = split(text)
    if place.endswith(".py") or "/" in place:
        path = Path(plan.path(place))
        if path.suffix != ".py" and path.with_suffix(".py").is_file():
            path = path.with_suffix(".py")
        place = str(path)
    if name is not None and not name.endswith(")"):
        # A name of a factory is called without arguments.
        if name in ("create_app", "make_app"):
            name += "()"
        return place, name, app.source
    return place, name or _callable(plan, place), app.source


def _callable(plan: Plan, place: str) -> str:
    name = callable_in(plan, place, ("app", "application", "create_app", "make_app"))
    if name is None:
        return "app"
    return f"{name}()" if name in ("create_app", "make_app") else name


def _tls(plan: Plan) -> None:
    cert = plan.facts.get("cert")
    if cert is not None and str(cert.value) == "adhoc":
        plan.leave(cert, "nginx makes no certificates: `pywsgi config --tls-self-signed` does")
        return
    listening.certificate(plan, "cert", "key")
