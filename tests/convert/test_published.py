"""Published configurations: converted, loaded by nginx with the module, and served."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import textwrap
from collections import Counter
from pathlib import Path

import httpx
import published
import published_files
import pytest
from harness import VENV, free_port
from published import Case
from pywsgi.command import convert
from pywsgi.command.convert import command_line
from pywsgi.command.convert.plan import Plan, directives, text
from pywsgi.command.nginx_conf import Directive, render

CASES = [
    each
    for module in (published, published_files)
    for cases in vars(module).values()
    if isinstance(cases, list)
    for each in cases
]

# What is said of a path: the prefix, and what is below it.
APPLICATIONS = {
    "wsgi": """
        def application(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [f"{environ['SCRIPT_NAME']}|{environ['PATH_INFO']}".encode()]
    """,
    "asgi": """
        async def application(scope, receive, send):
            if scope["type"] == "lifespan":
                for _ in range(2):
                    message = await receive()
                    await send({"type": message["type"] + ".complete"})
                return
            path = scope["path"].removeprefix(scope["root_path"])
            headers = [(b"content-type", b"text/plain")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            body = f"{scope['root_path']}|{path}".encode()
            await send({"type": "http.response.body", "body": body})
    """,
}


def write(case: Case, srv: Path) -> list[str]:
    """Writes a case's files and returns the arguments of `pywsgi convert`."""
    srv.mkdir(parents=True, exist_ok=True)
    for name, content in case.files.items():
        file = srv / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(content.replace("{srv}", str(srv))))
    if case.command:
        words = command_line.split(case.command.replace("{srv}", str(srv)), case.name)
        return [*case.options, "--directory", str(srv), *words]
    return [*case.options, str(srv / next(iter(case.files)))]


def plan_of(arguments: list[str]) -> Plan:
    parser = argparse.ArgumentParser()
    convert.add_options(parser)
    return convert.plan_of(parser.parse_args(arguments))


def every(found: list[Directive]) -> list[Directive]:
    return [each for one in found for each in (one, *every(list(one.block or ())))]


def line(directive: Directive) -> str:
    return " ".join([directive.name, *directive.args]) + ";"


class Site:
    """A converted configuration in the test's folders and on its ports."""

    def __init__(self, nginx, made: list[Directive]) -> None:
        self.nginx, self.made = nginx, made
        self.srv = nginx.root / "srv"
        self.ports: dict[str, int] = {}

    def install(self) -> None:
        """Writes the files that the configuration names, and the configuration itself."""
        found = every(self.made)
        folders = [path for each in found if each.name == "python_path" for path in each.args]
        for each in found:
            self.file(each)
            self.applications(each, folders)
        for folder in [self.srv, *self.srv.rglob("*")]:
            if folder.is_dir() and not folder.is_symlink():
                folder.chmod(0o755)
        nginx = self.nginx
        nginx.write_config()
        ours = nginx.config.read_text()
        head = ours[: ours.index("events {")]
        # Requests are served here: the import in a child process would be a second one.
        keep = r"^\s*(?:\w+_temp_path .*|python_check off);$"
        first = "\n".join(re.findall(keep, ours, re.MULTILINE))
        made = [changed for each in self.made for changed in self.changed(each)]
        written = render(made)
        if not self.ports:
            # The harness waits for a port.
            first += f"\nserver {{ listen 127.0.0.1:{nginx.port}; return 404; }}"
        nginx.config.write_text(head + written.replace("http {", f"http {{\n{first}\n", 1))
        (nginx.root / "conf" / "mime.types").write_text("types { text/css css; }\n")

    def applications(self, directive: Directive, folders: list[str]) -> None:
        """Writes the application of a block where its process finds it."""
        block = {each.name: each.args[0] for each in directive.block or () if each.args}
        for protocol in ("wsgi", "asgi"):
            if f"{protocol}_app" in block:
                group = self.group(block.get(f"{protocol}_process", ""))
                own = [each.removeprefix("path=") for each in group if each.startswith("path=")]
                self.application(protocol, block[f"{protocol}_app"], own or folders)

    def group(self, name: str) -> tuple[str, ...]:
        """The parameters of a `python_process`."""
        found = [each.args for each in every(self.made) if each.name == "python_process"]
        return next((args[1:] for args in found if args[0] == name), ())

    def file(self, directive: Directive) -> None:
        name = directive.name
        args = [each.replace("${dollar}", "$") for each in directive.args]
        if name == "python_process":
            named = [each.partition("=")[::2] for each in args[1:]]
            for key, value in named:
                if key in ("home", "path", "working_directory"):
                    self.file(Directive(f"python_{key}", (value,)))
        elif name == "python_home":
            self.link(Path(args[0]), VENV)
        elif name in ("python_env_file", "ssl_password_file"):
            self.write(Path(args[0]), "A=1\n")
        elif name in ("ssl_certificate", "ssl_certificate_key"):
            self.nginx.tls()
            Path(args[0]).parent.mkdir(parents=True, exist_ok=True)
            kind = "cert.pem" if name == "ssl_certificate" else "key.pem"
            shutil.copy(self.nginx.root / "conf" / kind, args[0])
        elif name in ("python_path", "python_working_directory"):
            for each in args:
                Path(each).mkdir(parents=True, exist_ok=True)
        elif name == "alias":
            path = Path(args[0])
            self.write(path / "a.css" if args[0].endswith("/") else path, "a {}")

    def application(self, protocol: str, target: str, folders: list[str]) -> None:
        place, _, called = target.partition(":")
        file = Path(place) if place[0] == "/" else Path(folders[0], *place.split("."))
        file = file if file.suffix and place[0] == "/" else Path(f"{file}.py")
        source = textwrap.dedent(APPLICATIONS[protocol])
        name = called.partition("(")[0]
        if name.endswith(")") or "(" in called:
            source += f"\n\ndef {name}(*arguments):\n    return application\n"
        elif name and name != "application":
            source += f"\n{name} = application\n"
        self.write(file, source)

    def write(self, path: Path, content: str) -> None:
        assert path.is_relative_to(self.srv), f"{path} is outside of the test's folder"
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.write_text(content)

    def link(self, path: Path, to: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.symlink_to(to)

    def changed(self, directive: Directive) -> list[Directive]:
        """A directive with this machine's ports and logs; none if the harness has its own."""
        name, args = directive.name, directive.args
        if name in ("load_module", "user", "worker_processes", "pid", "error_log", "daemon"):
            return []
        if name == "access_log" and args[0] != "off":
            return [directive._replace(args=("logs/access.log",))]
        if name == "listen" and not args[0].startswith("unix:"):
            if args[0] not in self.ports:
                self.ports[args[0]] = self.nginx.port if not self.ports else free_port()
            return [directive._replace(args=(f"127.0.0.1:{self.ports[args[0]]}", *args[1:]))]
        if directive.block is None:
            return [directive]
        block = [inner for each in directive.block for inner in self.changed(each)]
        return [directive._replace(block=block)]

    def check(self) -> int:
        """Asks each server for each of its applications and folders; returns how many answered."""
        asked = 0
        (http,) = (each for each in self.made if each.name == "http")
        for server in http.block or ():
            if server.name == "server":
                asked += self.server(list(server.block or ()))
        return asked

    def server(self, lines: list[Directive]) -> int:
        names = [name for each in lines if each.name == "server_name" for name in each.args]
        host = next((name for name in names if "*" not in name), "localhost")
        asked = 0
        for listen in [each for each in lines if each.name == "listen"]:
            with self.client(listen, host) as client:
                for location in [each for each in lines if each.name == "location"]:
                    asked += self.location(client, location)
                for answer in [each for each in lines if each.name == "return"]:
                    assert client.get("/").status_code == int(answer.args[0])
                    asked += 1
        return asked

    def client(self, listen: Directive, host: str) -> httpx.Client:
        address = listen.args[0]
        scheme = "https" if "ssl" in listen.args else "http"
        unix = address.removeprefix("unix:") if address.startswith("unix:") else None
        return httpx.Client(
            base_url=f"{scheme}://127.0.0.1:{self.ports.get(address, 80)}",
            transport=httpx.HTTPTransport(uds=unix, verify=False),
            headers={"Host": host},
            timeout=60,
        )

    def location(self, client: httpx.Client, location: Directive) -> int:
        block = {each.name: each for each in location.block or ()}
        path = location.args[-1]
        if path.startswith("@") or location.args[0].startswith("~"):
            return 0
        if "wsgi_app" in block or "asgi_app" in block:
            prefix = next(
                (block[name].args[0] for name in block if name.endswith("_script_name")), ""
            )
            response = client.get(path)
            assert response.status_code == 200, response.text
            below = prefix if path.startswith(prefix) else ""
            assert response.text == f"{below}|{path.removeprefix(below)}"
            return 1
        if "alias" in block:
            file = path if location.args[0] == "=" else f"{path}a.css"
            assert client.get(file).text == "a {}"
            return 1
        if "try_files" in block:
            assert client.get("/anything").text == "|/anything"
            return 1
        if "return" in block:
            assert client.get(path).status_code == int(block["return"].args[0])
            return 1
        return 0


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_published_configuration_serves(nginx, case, monkeypatch):
    """Each line says where it is from, nothing is left out, and nginx serves the result."""
    for name, value in case.environment.items():
        monkeypatch.setenv(name, value)
    srv = nginx.root / "srv"
    plan = plan_of(write(case, srv))
    made, whole = directives(plan), text(plan)
    told = [line(each) for each in every(made)]
    for expected in case.lines:
        assert expected.replace("{srv}", str(srv)) in told
    report = [each.source for each in plan.unknown] + [each.text for each in plan.left]
    for expected in case.left:
        assert any(expected in each for each in report), expected
    for each in every(made):
        assert each.comment, f"{line(each)} does not say where it is from"
    for place in settings_in(case, srv):
        assert place in whole, f"{place} is left out"

    site = Site(nginx, made)
    site.install()
    nginx.start()
    assert site.check()


def settings_in(case: Case, srv: Path) -> list[str]:
    """Where the settings of a source are: "file:line", or the option of a command."""
    if case.command:
        words = command_line.split(case.command, case.name)
        options = [word.partition("=")[0] for word in words[1:] if re.match("--?[a-z]", word)]
        return [option for option in options if option != "-m"]
    name = next(iter(case.files))
    lines = (srv / name).read_text().splitlines()
    pattern = {
        ".py": r"[a-z]\w* = |def ",
        ".json": r'\s*"\w+": [^{[]',
        ".conf": r"\s*\w[\w-]*[ =]",
        ".service": r"\w+=",
        ".toml": r"\w+ = ",
        ".ini": r"[\w-]+ *=",
        ".yaml": r" +[\w-]+: ",
        ".xml": r"  <",
    }.get(Path(name).suffix, r"\w+: ")
    found = [number for number, each in enumerate(lines, 1) if re.match(pattern, each)]
    # What goes on from the line before, and the closing lines of Apache's sections.
    found = [at for at in found if not (at > 1 and lines[at - 2].endswith("\\"))]
    used = {at for at in found if name.endswith(".conf") and "    --threads" in lines[at - 1]}
    # Sections of supervisord's that are not converted are named as a whole.
    other = [
        at
        for at, each in enumerate(lines, 1)
        if re.match(r"\[(?!.*:(?:web|uvicorn|asgi|shop|gunicorn)\])", each)
    ]
    used |= {at for at in found if name.endswith(".conf") and other and at > other[0]}
    variables = {at for at in found if re.match(r"(port|project) = ", lines[at - 1])}
    return [f"{name}:{at}" for at in found if at not in used | variables]


def test_there_are_five_of_each_kind():
    kinds = Counter(case.kind for case in CASES)
    assert len(kinds) == 16
    assert min(kinds.values()) >= 5, kinds
    assert len({case.name for case in CASES}) == len(CASES)


@pytest.mark.parametrize("name", ["shop.ini", "unit.json"])
def test_what_is_printed_is_a_whole_file(nginx, name):
    """The file that a user gets, with its comments and lists, is what nginx reads."""
    case = next(each for each in CASES if name in each.files)
    plan = plan_of(write(case, nginx.root / "srv"))
    site = Site(nginx, directives(plan))
    site.install()
    listed = text(plan)[text(plan).rindex("\n}\n") + 3 :]
    assert all(not each or each.startswith("#") for each in listed.splitlines())
    nginx.config.write_text(nginx.config.read_text() + listed)
    result = nginx.check()
    assert result.returncode == 0, result.stderr


def test_the_command_prints_the_report_on_standard_error(nginx):
    """As it is called by hand, in a process of its own."""
    srv = nginx.root / "srv"
    case = next(each for each in CASES if each.name == "procfile-port")
    write(case, srv)
    shim = Path(convert.__file__).parents[3]
    environment = {**os.environ, "PYTHONPATH": str(shim), "PORT": "5006"}

    def ask(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [VENV / "bin" / "python", "-m", "pywsgi", "convert", *arguments]
        return subprocess.run(
            command, capture_output=True, text=True, env=environment, cwd=srv, timeout=60
        )

    done = ask("Procfile")
    assert done.returncode == 0
    assert "# Has no counterpart here:\n" in done.stdout
    assert "not converted: Procfile:2: --preload: Python starts after the fork" in done.stderr
    done = ask("-o", "nginx.conf", "Procfile")
    assert (done.stdout, (srv / "nginx.conf").read_text()[:11]) == ("", "load_module")
    done = ask("-o", "nginx.conf", "Procfile")
    assert done.returncode == 1
    assert done.stderr == "pywsgi convert: nginx.conf exists: name a new file\n"
