"""CherryPy's Cheroot: its command line, and the arguments of `cheroot.wsgi.Server`."""

from __future__ import annotations

from . import listening, rules
from .command_line import Command, positional
from .option import Table, becomes, kept, nothing
from .plan import Listen, Plan
from .target import split, target

_IN_CODE = "is an argument of cheroot.wsgi.Server, and not of its command"

TABLE = Table(
    "Cheroot",
    kept("wsgi_app", "wsgi_app _wsgi_app"),
    kept("listen", "bind bind_addr --bind"),
    kept("python_working_directory python_path", "chdir --chdir"),
    nothing("nginx sends its own name: see `server_tokens`", "server_name --server-name"),
    kept("python_thread_pool", "threads numthreads --threads"),
    kept("python_thread_pool", "max --max-threads"),
    becomes(
        "keepalive_timeout", rules.http("keepalive_timeout", rules.seconds), "timeout --timeout"
    ),
    becomes(
        "python_drain_timeout",
        rules.http("python_drain_timeout", rules.seconds),
        "shutdown_timeout --shutdown-timeout",
    ),
    kept("listen", "backlog request_queue_size --request-queue-size"),
    kept("python_thread_pool", "accepted_queue_size --accepted-queue-size"),
    becomes(
        "wsgi_queue_timeout",
        rules.application("*_queue_timeout", rules.seconds),
        "accepted_queue_timeout --accepted-queue-timeout",
    ),
    kept("listen", "reuse_port"),
    nothing(_IN_CODE, "peercreds_enabled"),
    nothing(_IN_CODE, "peercreds_resolve_enabled"),
    nothing("is for the command alone", "-h --help", "0"),
)


def convert(plan: Plan, command: Command, *, run: bool = False) -> None:
    settings, rest = TABLE.parse(command.arguments, command.origin)
    for setting in settings:
        if setting.name == "--chdir":
            plan.folder = plan.folder / str(setting.value)
    for setting in settings:
        TABLE.apply(plan, setting)
    facts = plan.facts
    app = positional(plan, rest, command, "APP_MODULE")
    place, name = split(str(app.value))
    rules.folders(plan, facts.get("chdir"), "Cheroot")
    plan.application(target(place, name or "application"), "wsgi", app.source)
    _threads(plan)
    bind = facts.get("bind")
    if bind is None:
        plan.server.listens.append(Listen("[::1]:8000", "Cheroot: unless told otherwise"))
    else:
        # A name that begins with @ is a socket without a file.
        if str(bind.value).startswith("@"):
            plan.leave(bind, "nginx has no sockets without a file")
            plan.server.listens.append(Listen("127.0.0.1:8000", "in its place"))
        else:
            plan.server.listens.append(listening.listen(plan, str(bind.value), 8000, bind.source))
    listening.parameters(plan)
    plan.server.default("access_log", "off", source="Cheroot has no access log")
    rules.error_log(plan, None, None, "Cheroot: stderr")
    rules.body_limit(plan, "0", "Cheroot has no limit")


def _threads(plan: Plan) -> None:
    fewest, most = plan.facts.get("threads"), plan.facts.get("max")
    if most is not None and rules.number(most, -1) > 0:
        if fewest is not None:
            plan.spare(fewest, "threads start when needed, up to --max-threads")
        rules.threads(plan, most)
    else:
        if most is not None:
            plan.leave(most, "a pool always has a limit")
        if fewest is not None:
            rules.threads(plan, fewest)
        else:
            rules.pool(plan, "threads=10", "Cheroot: unless told otherwise")
    queue = plan.facts.get("accepted_queue_size")
    if queue is not None and rules.number(queue, -1) > 0:
        rules.pool(plan, f"max_queue={rules.number(queue, 0)}", queue.source)
    elif queue is not None:
        plan.leave(queue, "the queue always has a limit, 1024 unless `max_queue=` is set")
