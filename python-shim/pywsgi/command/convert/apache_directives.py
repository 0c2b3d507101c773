"""Apache's own directives that become directives of nginx."""

from __future__ import annotations

import os
import re
from typing import Callable

from ..nginx_conf import literal
from . import rules
from .apache import Node
from .plan import Plan, Server, Setting


class Directives:
    """A method for each, by its name in `BY_NAME`."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

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


_Method = Callable[[Directives, Server, Node, Setting], None]
BY_NAME: dict[str, _Method] = {
    "listen": Directives.listen_at,
    "servername": Directives.name,
    "serveralias": Directives.name,
    "alias": Directives.alias,
    "aliasmatch": Directives.alias_match,
    "documentroot": Directives.document_root,
    "setenv": Directives.set_env,
    "limitrequestbody": Directives.body,
    "customlog": Directives.access_log,
    "transferlog": Directives.access_log,
    "errorlog": Directives.error_log,
    "loglevel": Directives.log_level,
    "timeout": Directives.timeout,
    "keepalive": Directives.keep_alive,
    "keepalivetimeout": Directives.keep_alive_timeout,
    "maxkeepaliverequests": Directives.keep_alive_requests,
    "errordocument": Directives.error_document,
    "sslengine": Directives.ssl_engine,
    "sslcertificatefile": Directives.certificate,
    "sslcertificatekeyfile": Directives.certificate_key,
    "sslcertificatechainfile": Directives.chain,
    "sslciphersuite": Directives.ciphers,
    "sslprotocol": Directives.protocols,
    "redirect": Directives.redirect,
    "redirectpermanent": Directives.redirect,
    "redirecttemp": Directives.redirect,
    "redirectmatch": Directives.redirect_match,
    "header": Directives.header,
    "user": Directives.user,
    "group": Directives.user,
    "servertokens": Directives.tokens,
    "pidfile": Directives.pid,
    "allowencodedslashes": Directives.slashes,
    "directoryindex": Directives.index,
}


def _captured(text: str) -> str:
    """`$1` is a capture here as it is there, and any other `$` is none."""
    return re.sub(r"\$(?!\d)", literal("$"), text)
