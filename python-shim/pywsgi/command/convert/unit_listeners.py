"""NGINX Unit's listeners: the servers, with their addresses and TLS."""

from __future__ import annotations

from typing import Any

from ..nginx_conf import literal
from . import listening, rules
from .option import is_off
from .plan import Listen, Plan, Server, Setting
from .unit_json import Reader
from .unit_routes import Routes


class Listeners:
    def __init__(self, plan: Plan, reader: Reader, routes: Routes) -> None:
        self.plan, self.reader, self.routes = plan, reader, routes

    def convert(self, address: str, values: dict[str, Any]) -> None:
        plan = self.plan
        path = ["listeners", address]
        setting = self.reader.setting(path, address)
        listen = Listen(
            listening.address(plan, address, 80), setting.origin + f": listener {address}"
        )
        base = Server(listen.source)
        for key, value in values.items():
            self.option(base, listen, [*path, key], key, value)
        passed = values.get("pass")
        if passed is None:
            passed = f"applications/{values.get('application', '')}"
        servers: dict[tuple[str, ...], Server] = {}

        def server_of(hosts: tuple[str, ...], source: str) -> Server:
            if hosts not in servers:
                made = Server(base.source)
                made.lines = list(base.lines)
                parameters = list(listen.parameters)
                if not hosts and len(servers) > 0:
                    parameters.append("default_server")
                made.listens = [Listen(listen.address, listen.source, parameters, listen.tls)]
                if servers:
                    # What belongs to the address is said once.
                    made.listens[0].parameters = [
                        p for p in parameters if not p.startswith("backlog=")
                    ]
                if hosts:
                    made.set("server_name", *hosts, source=source)
                servers[hosts] = made
            return servers[hosts]

        if passed.split("/")[0] == "routes":
            steps, at = self.routes.steps(passed)
            for number, step in enumerate(steps):
                self.routes.step(server_of, step, [*at, str(number)])
        else:
            server = server_of((), "")
            self.routes.action(server, server.location("/", setting.source), {"pass": passed}, path)
        if not servers:
            # As Unit does if no step matches.
            source = "no step is left, so that nothing is found"
            server_of((), source).location("/", source).set("return", "404", source=source)
        made = list(servers.values())
        if len(made) > 1 and () in servers:
            # The steps without a host are for every host.
            rest = servers[()]
            for server in made:
                for location in rest.locations:
                    if server is not rest and all(
                        each.path != location.path for each in server.locations
                    ):
                        server.locations.append(location)
        plan.servers += made

    def option(self, server: Server, listen: Listen, path: list[str], key: str, value: Any) -> None:
        plan = self.plan
        setting = self.reader.setting(path, value)
        if key in ("pass", "application"):
            return
        if key == "backlog":
            listen.parameters.append(f"backlog={value}")
        elif key == "tls":
            self.tls(server, path, value)
        elif key in ("forwarded", "client_ip"):
            for name, each in value.items():
                self.forwarded(name, self.reader.setting([*path, name], each))
        else:
            plan.unknown.append(setting)

    def forwarded(self, key: str, setting: Setting) -> None:
        plan, value, source = self.plan, setting.value, setting.source
        if key == "source":
            for each in value if isinstance(value, list) else [value]:
                plan.http.add("set_real_ip_from", each, source=source)
        elif key in ("client_ip", "header"):
            plan.http.set("real_ip_header", str(value), source=source)
        elif key == "recursive":
            plan.http.set("real_ip_recursive", rules.switch(plan, setting) or "off", source=source)
        elif key == "protocol":
            why = "write a `map` of it, and `wsgi_param HTTPS` (deploy/behind-a-proxy.conf)"
            plan.leave(setting, why)
        else:
            plan.unknown.append(setting)

    def tls(self, server: Server, path: list[str], values: dict[str, Any]) -> None:
        for key, value in values.items():
            setting = self.reader.setting([*path, key], value)
            source = setting.source
            if key == "certificate":
                names = value if isinstance(value, list) else [value]
                for name in names:
                    # Unit has it in its state; both parts are in one file.
                    file = literal(f"/etc/nginx/ssl/{name}.pem")
                    server.add("ssl_certificate", file, source=source)
                    server.add("ssl_certificate_key", file, source=source)
                    self.plan.leave(
                        setting, f"is in Unit's state: write the bundle {name} to {file}"
                    )
            elif key == "conf_commands":
                for name, each in value.items():
                    server.add("ssl_conf_command", name, str(each), source=source)
            elif key == "session":
                for name, each in value.items():
                    self.session(server, name, self.reader.setting([*path, key, name], each))
            else:
                self.plan.unknown.append(setting)

    def session(self, server: Server, key: str, setting: Setting) -> None:
        if key not in ("cache_size", "timeout", "tickets"):
            self.plan.unknown.append(setting)
        elif key == "timeout":
            value = rules.duration(setting.value)
            server.set("ssl_session_timeout", value, source=setting.source)
        elif key == "tickets":
            on = "off" if is_off(setting.value) else "on"
            server.set("ssl_session_tickets", on, source=setting.source)
        elif rules.natural(setting):
            server.set("ssl_session_cache", "shared:unit:1m", source=setting.source)
        else:
            self.plan.spare(setting, "is off")
