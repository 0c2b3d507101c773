"""The documentation against the module and itself: pages, contexts, links, configurations."""

from __future__ import annotations

import inspect
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from blocks import blocks as code_blocks
from blocks import statements
from harness import NGINX, NGINX_VERSION, PROJECT, VENV, free_port

DIRECTIVES = PROJECT / "docs" / "directives"
TESTS = PROJECT / "tests"
MIGRATING = PROJECT / "docs" / "migrating"
TABLE = PROJECT / "src" / "nginx" / "directives"
SERVERS = [
    "from-uwsgi_pass",
    "from-gunicorn",
    "from-mod_wsgi",
    "from-unit",
    "from-uvicorn",
    "from-hypercorn",
    "from-daphne",
    "from-granian",
    "from-waitress",
    "from-cheroot",
    "from-tornado",
    "from-flask-run",
    "from-runserver",
    "from-uwsgi",
    "from-supervisor",
]

# The names that the directive table has for its contexts, as nginx's documentation writes them.
CONTEXTS = {
    "main": "http",
    "LOCATION": "location, if in location",
    "NGX_HTTP_LOC_CONF": "location",
    "ANY": "http, server, location",
}

PATTERNS = ["*.md", "docs/**/*.md", "nginx-conf/*.md", "deploy/**/*.md", "docker/**/*.md"]
PATTERNS += ["bench/*.md", "examples/**/*.md", "tests/*.md"]
PAGES = sorted(path for pattern in PATTERNS for path in PROJECT.glob(pattern))


def directives() -> dict[str, str]:
    """Each directive of the table, with its context."""
    parts = ("common", "wsgi", "asgi", "main", "settings", "groups", "output", "status", "mod")
    common, *own, table = ((TABLE / f"{part}.rs").read_text() for part in parts)
    found = {}
    for call, name, context in re.findall(
        r'(main|setting|location|flag|size)\(\s*"(\w+)\\0",\s*(\w+)', "".join(own)
    ):
        found[name] = CONTEXTS[
            {"main": "main", "setting": "main", "location": context}.get(call, "ANY")
        ]
    prefixes = re.findall(r'named!\("(\w+)"\)', table)
    for prefix in prefixes:
        for call, name, context in re.findall(
            r"(location|flag|milliseconds|size)\(\s*names\.(\w+),\s*(\w+)", common
        ):
            found[f"{prefix}_{name}"] = CONTEXTS[context if call == "location" else "ANY"]
    # Fail if an entry has a form that the patterns do not match.
    entries = len(re.findall(r"\(\s*names\.\w", common))
    assert len(found) == "".join(own).count('\\0"') + len(prefixes) * entries
    return found


def page_of(name: str) -> str:
    """The name of a directive's page. What both protocols have is on one page."""
    twin = re.sub("^asgi_", "wsgi_", name)
    return twin if twin in directives() and name != "asgi_app" else name


def rows(text: str) -> list[list[str]]:
    """The cells of all table rows of a page, without the lines under the headings."""
    found = []
    for line in text.splitlines():
        if line.startswith("|") and not re.fullmatch(r"[|\s:-]+", line):
            cells = re.split(r"(?<!\\)\|", line.strip().strip("|"))
            found.append([cell.strip() for cell in cells])
    return found


def prose(text: str) -> str:
    """A page without its code."""
    text = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"^(?:    |\t).*$", "", text, flags=re.MULTILINE)
    return re.sub(r"(?<!\[)`[^`\n]*`(?!\])", "", text)


def anchors(text: str) -> set[str]:
    """The anchors that a page's headings have, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", sorted(directives()))
def test_a_directive_has_its_page(name):
    """Its page says its syntax, default and context, and the index links it."""
    of = page_of(name)
    page = (DIRECTIVES / f"{of}.md").read_text()
    assert name in page.partition("\n")[0].removeprefix("# ").split(", ")
    facts = dict(row for row in rows(page) if len(row) == 2 and row[0].istitle())
    (syntax,) = [text for text in facts["Syntax"].split("<br>") if text.startswith(f"`{name} ")]
    assert re.match(rf"`{name} .+;`", syntax)
    assert facts["Context"] == directives()[name]
    for heading in ("Example", "Inheritance", "Mistakes", "Elsewhere"):
        assert f"\n## {heading}\n" in page, f"no section {heading}"

    index = {
        link: row[1:]
        for row in rows((DIRECTIVES / "README.md").read_text())
        for link in row[0].split("<br>")
    }
    context, default, what = index[f"[{name}]({of}.md)"]
    assert context == facts["Context"]
    assert what
    defaults = [text for text in facts["Default"].split("<br>") if text.startswith(f"`{name} ")]
    if defaults:
        # "`on`; ASGI `off`"
        default, _, other = default.partition("; ASGI ")
        default = other if other and name.startswith("asgi_") else default
        # The index may leave out the last arguments, not contradict the page.
        assert defaults[0].startswith(f"`{name} {default.strip('`')}")
    else:
        assert "<br>" not in facts["Default"]
        assert (facts["Default"] == "none") == (default == "")
        for value in re.findall(r"`([^`]+)`", default):
            assert f"`{value}`" in facts["Default"]


@pytest.mark.parametrize("name", sorted(directives()))
def test_a_directive_has_its_tests(name):
    """In tests/directives/test_NAME.py, or in the files that the table of tests/README.md names.

    What both protocols have may be in the file of the page's name, as `{protocol}_…`.
    """
    page = page_of(name)
    files = [TESTS / "directives" / f"test_{each}.py" for each in dict.fromkeys((name, page))]
    files = [file for file in files if file.exists()]
    if not files:
        table = {row[0]: row[1] for row in rows((TESTS / "README.md").read_text())}
        (row,) = [row for row in table if f"`{page}`" in row]
        files = [TESTS / path for path in re.findall(r"\]\(([^)]+)\)", table[row])]
    either = rf"\b{name}\b|\{{(?:protocol)?\}}_{name.partition('_')[2]}\b"
    assert any(re.search(either, file.read_text()) for file in files), f"not named in {files}"


def test_every_page_is_of_a_directive():
    pages = {path.stem for path in DIRECTIVES.glob("*.md")} - {"README"}
    assert pages == {page_of(name) for name in directives()}


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(PROJECT)))
def test_links_resolve(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page.read_text())):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), f"{target} is not there"
        assert linked.is_relative_to(PROJECT), f"{target} is outside of the project"
        if anchor:
            assert anchor in anchors(linked.read_text()), f"{target} has no such heading"


# The configurations of all pages


def configurations() -> list:
    """Each configuration that a page shows, but those of migration pages that are tested below."""
    found = []
    for page in PAGES:
        shown = [block for block in code_blocks(page.read_text()) if block.language == "nginx"]
        for number, block in enumerate(shown, 1):
            name = page.relative_to(PROJECT).with_suffix("")
            if block.words in ("complete", "before") and page.parent == MIGRATING:
                continue
            # Of nginx 1.29.
            if "early_hints " in block.text.replace("_early_hints", "") and NGINX_VERSION < (1, 29):
                continue
            found.append(pytest.param(block.text, id=f"{name}-{number}"))
    return found


# Variables that an example takes from the reader's configuration.
FOREIGN_VARIABLES = ["maintenance", "early_hints"]

MAIN = {"daemon", "env", "error_log", "load_module", "pid", "user", "worker_processes"}
MAIN |= {"worker_cpu_affinity", "worker_priority", "worker_rlimit_nofile"}
MAIN |= {"worker_shutdown_timeout"}
HTTP = {"geo", "limit_conn_zone", "limit_req_zone", "log_format", "map", "proxy_cache_path"}
HTTP |= {"server", "split_clients", "upstream"}


def whole(text: str) -> str:
    """`text` as a whole nginx.conf: each statement in a context that it may be in."""
    text = re.sub(r"^\s*(?:…|\.\.\.)$", "", text, flags=re.MULTILINE)
    places = {"main": "", "http": "", "server": "", "location": ""}
    known = directives()
    for name, statement in statements(text):
        if name in ("http", "events"):
            body = statement[statement.index("{") + 1 : statement.rindex("}")]
            place, statement = ("http", body) if name == "http" else ("main", "")
        elif name in MAIN and name != "error_log":
            place = "main"
        elif name in HTTP or known.get(name) == "http":
            place = "http"
        elif "server" not in known.get(name, "server"):
            place = "location"
        else:
            place = "server"
        places[place] += f"{statement}\n"
    if "python_home" not in places["http"]:
        places["http"] += "python_home /srv/venv;\n"
    if re.search(r"_app [a-z]", text) and "python_path" not in places["http"]:
        places["http"] += "python_path /srv/modules;\n"
    if "python_check" not in places["http"]:
        # It would import modules that an example only names.
        places["http"] += "python_check off;\n"
    for name in FOREIGN_VARIABLES:
        if f"${name}" in text:
            places["http"] += f"map $host ${name} {{ default 0; }}\n"
    location = f"location = /its-own {{ {places['location']} }}" if places["location"] else ""
    return (
        f"load_module modules/ngx_http_pywsgi_module.so;\n{places['main']}\nevents {{\n}}\n"
        f"http {{\n{places['http']}\n"
        f"server {{\nlisten 80;\n{places['server']}\n{location}\n}}\n}}\n"
    )


@pytest.mark.parametrize("text", configurations())
def test_a_configuration_is_one_of_nginx(nginx, text):
    """`nginx -t` accepts it, alone or in the context that it belongs to."""
    text = whole(text)
    for path in re.findall(r"(?<![\w/])/(?:etc|var)/[^\s;]+", text):
        place = nginx.root / path[1:]
        nginx._write(place, "") if re.search(r"\.\w+$|/staff$", path) else place.mkdir(
            parents=True, exist_ok=True
        )
    if "ssl_certificate" in text:
        nginx.tls()
        conf = nginx.root / "conf"
        text = re.sub(r"(ssl_(?:client_)?certificate) +[^\s;]+", rf"\1 {conf}/cert.pem", text)
        text = re.sub(r"(ssl_certificate_key) +[^\s;]+", rf"\1 {conf}/key.pem", text)
        text = text.replace("listen 443 ", f"listen 127.0.0.1:{free_port()} ")
    text = re.sub(r"(?<![\w/])/(etc|var)/", rf"{nginx.root}/\1/", text)
    text = re.sub(r"/usr/bin/python3[.\d]*", f"{VENV}/bin/python", text)
    for path in re.findall(r"\bpython_(?:working_directory|reload \w+) /(srv/[^\s;]+)", text):
        folder = nginx.root / path
        (folder.parent if folder.suffix else folder).mkdir(parents=True, exist_ok=True)
    install(nginx, text)
    result = nginx.check()
    assert result.returncode == 0, f"{result.stderr}\n{nginx.config.read_text()}"


# The pages for those who come from another server


def blocks(kind: str) -> list:
    """The fenced blocks of the migration pages with this info string."""
    found = []
    for path in sorted(MIGRATING.glob("*.md")):
        fences = re.findall(rf"^```{kind}\n(.*?)^```$", path.read_text(), re.MULTILINE | re.DOTALL)
        for number, text in enumerate(fences, 1):
            found.append(pytest.param(text, id=f"{path.stem}-{number}"))
    return found


APPLICATION = """
    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [f"{environ['SCRIPT_NAME']}|{environ['PATH_INFO']}".encode()]

    app = application

    def create_app(*arguments):
        return application
"""

# Also what is said of a path by both: the prefix, and what is below it.
ASGI_APPLICATION = """
    async def app(scope, receive, send):
        if scope["type"] != "http":
            raise NotImplementedError(scope["type"])
        text = f"{scope['root_path']}|{scope['path'].removeprefix(scope['root_path'])}"
        headers = [(b"content-type", b"text/plain")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": text.encode()})

    application = app

    def create_app(*arguments):
        return app
"""


def install(nginx, text: str) -> None:
    """Installs `text`, a whole nginx.conf, with the files and folders that it names."""
    srv = nginx.root / "srv"
    # A python_process has several parameters in a line.
    for home in re.findall(r"(?:^\s*python_home |\bhome=)/srv/([^\s;]+)", text, re.MULTILINE):
        (srv / home).parent.mkdir(parents=True, exist_ok=True)
        if not (srv / home).is_symlink():
            (srv / home).symlink_to(VENV)
    for file in re.findall(r"^\s*python_env_file /srv/(\S+);", text, re.MULTILINE):
        nginx._write(srv / file, "DATABASE_URL=postgresql:///shop\n")
    for folder in re.findall(r"\b(?:alias|root) /srv/(\S+);", text):
        nginx._write(srv / folder / "a.css", "a {}")
    paths = re.findall(r"^\s*python_path (.+);", text, re.MULTILINE)
    paths = [srv / path.removeprefix("/srv/") for line in paths for path in line.split()]
    own = re.findall(r"\b(?:path|working_directory)=/srv/([^\s;]+)", text)
    own = [srv / path for path in dict.fromkeys(own)]
    for path in [*paths, *own]:
        path.mkdir(parents=True, exist_ok=True)
    for protocol, target in re.findall(r"\b(wsgi|asgi)_app ([^\s;]+);", text):
        name = target.partition(":")[0]
        source = APPLICATION if protocol == "wsgi" else ASGI_APPLICATION
        if name.startswith("/srv/"):
            nginx._write(srv / name.removeprefix("/srv/"), source)
        else:
            # Each python_process finds it in its own folder.
            for path in [*paths[:1], *own]:
                nginx._write(path / (name.replace(".", "/") + ".py"), source)
    for folder in [srv, *srv.rglob("*")]:
        if folder.is_dir() and not folder.is_symlink():
            folder.chmod(0o755)

    nginx.write_config()
    ours = nginx.config.read_text()
    # The harness's own first lines, and its folders for temporary files.
    head = ours[: ours.index("events {")]
    temporary = re.findall(r"^\s*\w+_temp_path .*;$", ours, re.MULTILINE)
    text = re.sub(
        r"^(?:load_module|user|worker_processes|pid|error_log) .*\n", "", text, flags=re.M
    )
    text = text.replace("http {", "http {\n" + "\n".join(temporary) + "\n", 1)
    text = re.sub(r"access_log (?!off)[^\s;]+", "access_log logs/access.log", text)
    text = text.replace("/srv/", f"{srv}/")
    text = text.replace("listen 80;", f"listen 127.0.0.1:{nginx.port};")
    nginx.config.write_text(head + text)
    types = "types { text/css css; text/html html; }\n"
    (nginx.root / "conf" / "mime.types").write_text(types)
    parameters = "uwsgi_param QUERY_STRING $query_string;\nuwsgi_param PATH_INFO $document_uri;\n"
    (nginx.root / "conf" / "uwsgi_params").write_text(parameters)


@pytest.mark.parametrize("text", blocks("nginx complete"))
def test_a_complete_configuration_serves(nginx, text):
    """It passes `nginx -t`, and its application and files are served."""
    assert "load_module modules/ngx_http_pywsgi_module.so;" in text
    install(nginx, text)
    result = nginx.check()
    assert result.returncode == 0, result.stderr
    nginx.start()
    client = nginx.client(headers={"Host": re.search(r"server_name (\S+);", text).group(1)})
    for location in re.findall(r"location (/\S*)\s+\{[^}]*\b[wa]sgi_app ", text):
        assert client.get(location).status_code == 200, location
        script_name = re.search(
            rf"location {re.escape(location)}\s+\{{[^}}]*[wa]sgi_script_name (\S+);", text
        )
        mounted = script_name.group(1) if script_name else ""
        assert client.get(location).text == f"{mounted}|{location.removeprefix(mounted)}"
    for location in re.findall(r"location (/\S*)\s+\{[^}]*\balias ", text):
        if "internal;" not in text[text.index(f"location {location}") :].partition("}")[0]:
            assert client.get(f"{location}a.css").text == "a {}", location


@pytest.mark.parametrize("text", blocks("nginx before"))
def test_a_configuration_of_before_is_one_of_nginx(nginx, text):
    """nginx accepts the configuration that a page shows as the one before."""
    install(nginx, text)
    result = nginx.check()
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("text", blocks("json"))
def test_json_is_json(text):
    assert json.loads(text)


@pytest.mark.parametrize("text", blocks("python"))
def test_python_is_python(text):
    compile(text, "example", "exec")


@pytest.mark.parametrize("name", SERVERS)
def test_a_migration_page_is_complete(name):
    """Its example comes first, the index links it, and every option has an answer."""
    text = (MIGRATING / f"{name}.md").read_text()
    assert "```nginx complete\n" in text[: text.index("\n## ", text.index("\n## ") + 1)]
    assert f"]({name}.md)" in (MIGRATING / "README.md").read_text()
    for row in rows(text):
        assert len(row) == 2, row
        assert row[1], f"nothing is said of {row[0]}"


def test_every_uwsgi_directive_has_an_answer(nginx):
    """The page for uwsgi_pass answers each `uwsgi_*` directive of this nginx."""
    binary = Path(shutil.which(NGINX) or NGINX).read_bytes()
    names = {name.decode() for name in re.findall(rb"\0(uwsgi_[a-z0-9_]+)(?=\0)", binary)}
    assert {"uwsgi_pass", "uwsgi_param"} <= names, f"{NGINX} is built without uwsgi_pass"
    page = (MIGRATING / "from-uwsgi_pass.md").read_text()
    told = {name for row in rows(page) for name in re.findall(r"`(\w+)`", row[0])}
    # The binary has other strings of this form; nginx knows which are directives.
    missing = [
        name
        for name in sorted(names - told)
        if "unknown directive" not in nginx.check(server=f"{name};").stderr
    ]
    assert missing == []


def told(name: str) -> set[str]:
    """What the first cells of the tables of a migration page name."""
    return {
        span
        for row in rows((MIGRATING / f"{name}.md").read_text())
        for span in re.findall(r"`([^`]+)`", row[0])
    }


@pytest.mark.parametrize("server", ["uvicorn", "hypercorn", "daphne"])
def test_every_option_of_a_command_line_has_an_answer(server):
    """The page for a server of ASGI answers each option that its --help lists."""
    pytest.importorskip(server, reason="it is not installed for this Python")
    listed = subprocess.run(
        [VENV / "bin" / server, "--help"], check=True, capture_output=True, text=True
    ).stdout
    options = set(re.findall(r"(?<![\w-])(?:--[a-z][\w-]*\w|-[a-zA-Z])(?![\w-])", listed))
    assert "--root-path" in options
    assert options - told(f"from-{server}") == set()


def test_every_setting_of_uvicorn_has_an_answer():
    """Those that `uvicorn.Config` has besides the command line's options."""
    uvicorn = pytest.importorskip("uvicorn", reason="it is not installed for this Python")
    answered = {span.removeprefix("--").replace("-", "_") for span in told("from-uvicorn")}
    answered |= {"app", "headers", "reload_dirs", "reload_includes", "reload_excludes"}
    assert inspect.signature(uvicorn.Config).parameters.keys() - answered == set()


def test_every_setting_of_hypercorn_has_an_answer():
    config = pytest.importorskip("hypercorn.config", reason="it is not installed for this Python")
    settings = {
        name
        for name, value in inspect.getmembers(config.Config)
        if not name.startswith("_") and not callable(value)
    }
    settings |= {name for name in vars(config.Config)["__annotations__"] if name[0] != "_"}
    assert {"bind", "keep_alive_timeout", "application_path"} <= settings
    # Read-only: what it makes of the others.
    assert settings - told("from-hypercorn") == {"log", "ssl_enabled"}


def test_every_setting_of_daphne_has_an_answer():
    """The options of its `runserver`, and the settings of Django that it reads."""
    daphne = pytest.importorskip("daphne", reason="it is not installed for this Python")
    command = Path(daphne.__file__).parent / "management" / "commands" / "runserver.py"
    settings = set(re.findall(r'"(--[\w-]+|(?:DAPHNE|ASGI)_\w+)"', command.read_text()))
    assert {"--noasgi", "DAPHNE_WEBSOCKET_MAX_MESSAGE_SIZE"} <= settings
    assert settings - told("from-daphne") == set()


@pytest.mark.parametrize("name", [*SERVERS, "README"])
def test_a_migration_page_speaks_of_directives_that_exist(name):
    """A directive of this module that a page names is in the table."""
    text = (MIGRATING / f"{name}.md").read_text()
    named = set(re.findall(r"directives/(\w+)\.md", text))
    for row in rows(text):
        named |= set(re.findall(r"`((?:wsgi|asgi|python)_\w+)", row[1]))
    assert named - directives().keys() - {"README"} == set()
