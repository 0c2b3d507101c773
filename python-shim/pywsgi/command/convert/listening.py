"""Where nginx listens: the addresses, their parameters, HTTP/2 and TLS."""

from __future__ import annotations

import re

from .option import is_off
from .plan import ConversionError, Listen, Plan, Setting
from .rules import natural, number, truth


def listen(plan: Plan, bind: str, port: int, source: str) -> Listen:
    """An address, as gunicorn, Hypercorn, Waitress and uWSGI write it."""
    return Listen(address(plan, bind, port), source)


def address(plan: Plan, bind: str, port: int) -> str:
    bind = bind.strip()
    if bind.startswith("unix:"):
        return "unix:" + plan.path(re.sub("^unix:(//)?", "", bind))
    if bind.startswith("/"):
        return f"unix:{plan.path(bind)}"
    bind = re.sub(r"^(?:tcp|http|https)://", "", bind).rstrip("/")
    match = re.fullmatch(
        r"(?P<host>\[[^]]*\]|[^:]*|[0-9a-fA-F:]*:[0-9a-fA-F:]+?)(?::(?P<port>\d+))?", bind
    )
    if match is None:
        raise ConversionError(f"{bind!r} is not an address: HOST:PORT or unix:PATH")
    host, at = match["host"], match["port"] or str(port)
    if host.isdigit() and match["port"] is None:
        host, at = "", host
    if ":" in host and not host.startswith("["):
        host = f"[{host}]"
    if not 0 < int(at) < 65536:
        raise ConversionError(f"nginx needs a port from 1 to 65535, not {at}")
    return at if host in ("", "*") else f"{host}:{at}"


def parameters(plan: Plan) -> None:
    """`backlog` and `reuseport` of all addresses."""
    backlog = plan.facts.get("backlog")
    for each in plan.server.listens:
        if backlog is not None and natural(backlog):
            each.parameters.append(f"backlog={natural(backlog)}")
            each.source += f"; {backlog.source}"
        reuse = plan.facts.get("reuse_port")
        if reuse is not None and truth(reuse.value) and not each.is_unix:
            each.parameters.append("reuseport")
            each.source += f"; {reuse.source}"


def host_and_port(plan: Plan, host: str, port: int, system: str) -> None:
    """`listen` from an option for the host and one for the port."""
    of = [plan.facts[key] for key in ("host", "port") if key in plan.facts]
    if plan.server.listens and not of:
        # The socket that a supervisor has opened for it.
        return
    at = number(plan.facts.get("port"), port)
    bind = str(plan.facts["host"].value) if "host" in plan.facts else host
    source = "; ".join(each.source for each in of) or f"{system}: unless told otherwise"
    if ":" in bind and not bind.startswith("["):
        bind = f"[{bind}]"
    plan.server.listens.append(Listen(address(plan, f"{bind}:{at}", port), source))


def http2(plan: Plan, setting: Setting) -> None:
    """HTTP/2, over TLS, as every nginx since 1.22 takes it: a parameter of `listen`."""
    for each in plan.server.listens:
        if "http2" not in each.parameters:
            each.parameters.append("http2")
            each.source += f"; {setting.source}"


def certificate(plan: Plan, certificate_name: str, key_name: str) -> None:
    """The certificate and its key, which may be in one file."""
    file, key = plan.facts.get(certificate_name), plan.facts.get(key_name)
    if file is None or is_off(file.value):
        if key is not None and not is_off(key.value):
            plan.leave(key, "a key without a certificate: write `ssl_certificate FILE;` as well")
        return
    plan.server.set("ssl_certificate", plan.file(file.value), source=file.source)
    if key is None or is_off(key.value):
        key = file
    plan.server.set("ssl_certificate_key", plan.file(key.value), source=key.source)
    if "$" in plan.path(file.value) or "$" in plan.path(key.value):
        why = "with a $ in its name, nginx reads it at each connection, as the workers' user"
        plan.notes.append(f"{key.source}: {why}")


def verify(plan: Plan, setting: Setting) -> None:
    """Python's `ssl.CERT_…`, by number or by name."""
    word = str(setting.value).rpartition(".")[2].lower()
    known = {"0": "off", "1": "optional", "2": "on"}
    known.update(cert_none="off", cert_optional="optional", cert_required="on")
    if word not in known:
        raise ConversionError(
            f"{setting.value!r} is none of CERT_NONE, CERT_OPTIONAL, CERT_REQUIRED"
        )
    if known[word] == "off":
        plan.spare(setting, "no certificate is asked for")
    else:
        plan.server.set("ssl_verify_client", known[word], source=setting.source)


def password(plan: Plan, setting: Setting) -> None:
    plan.leave(setting, "nginx takes it from a file: write it there, and `ssl_password_file FILE;`")
