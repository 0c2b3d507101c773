"""The images, as a user without privileges and with a read-only root (`make test-image`).

They run on the host's network: `make test-image` gives the tests one of their own.
"""

from __future__ import annotations

import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from harness import FATAL, PROJECT
from packaged import (
    django_answers,
    fastapi_answers,
    flask_answers,
    reload_under_load,
    term_under_load,
    workers,
)
from rawhttp import wait_for

SUITES = os.environ.get("PYWSGI_SUITES", "bookworm").split()
# The network that builds need, while the tests have one of their own.
NETWORK = os.environ.get("PYWSGI_NETWORK")
# Images are built.
pytestmark = pytest.mark.timeout(1800)
PACKAGING = PROJECT / "tests" / "packaging"
# Neither root nor the image's own user.
USER = 65534
# runc cannot raise the limits of this machine.
ANY = ["podman", "--runtime", "runc", "run", "--network=host"]
ANY += ["--ulimit", "nofile=10000:10000", "--ulimit", "nproc=9000:9000"]
RUN = [*ANY, "--read-only", "--read-only-tmpfs=false", "--user", str(USER)]

FLASK = "location / { wsgi_app /srv/flask_site/wsgi.py; }"
FASTAPI = "location / { asgi_app /srv/fastapi_site/main.py; }"
DJANGO = """
location / { wsgi_app /srv/django_site/site_of_test/wsgi.py; }
location /static/ { alias /srv/collected/static/; }
location /media/ { alias /srv/data/media/; }
"""


def build(tag: str, folder: Path, *arguments: str) -> None:
    command = ["nsenter", f"--net={NETWORK}"] if NETWORK else []
    command += ["buildah", "bud", "--isolation=chroot", "--network=host", "--layers"]
    command += ["--format", "docker", "-t", tag, *arguments, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stderr[-3000:]


class Container:
    """A container with one site, on port 8080; its status is on another port."""

    port = 8080
    status = 8081

    def __init__(self, image: str, folder: Path, *options: str) -> None:
        self.name = f"pywsgi-test-{os.getpid()}-{folder.name}"
        self.options = options
        self.image = image
        self.log_path = folder / "log"

    def start(self) -> Container:
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                [*RUN, "--tmpfs", "/tmp", "--name", self.name, *self.options, self.image],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        wait_for(lambda: self._serves() or self.process.poll() is not None, 120, "an answer")
        assert self.process.poll() is None, self.log()
        return self

    def log(self) -> str:
        return self.log_path.read_text("utf-8", "backslashreplace")

    def close(self) -> None:
        if self.process.poll() is None:
            self.term()
            self.process.wait(60)
        podman("rm", "--force", self.name)
        assert [line for line in self.log().splitlines() if FATAL.search(line)] == []

    def url(self, path: str = "/") -> str:
        port = self.status if path.startswith("/-/") else self.port
        return f"http://127.0.0.1:{port}{path}"

    def reload(self) -> None:
        podman("kill", "--signal", "HUP", self.name)

    def term(self) -> None:
        podman("kill", "--signal", "TERM", self.name)

    def exit_code(self) -> int:
        return self.process.wait(60)

    def _serves(self) -> bool:
        try:
            return len(workers(self)) == 2
        except httpx.TransportError:
            return False


def podman(*arguments: str, fails: bool = False) -> str:
    done = subprocess.run(["podman", *arguments], capture_output=True, text=True, timeout=120)
    assert (done.returncode != 0) == fails, done.stdout + done.stderr
    return done.stdout + done.stderr


def once(*options: str, image: str, command: tuple[str, ...] = (), fails: bool = False) -> str:
    """Runs a container to its end; what it has said."""
    done = subprocess.run(
        [*RUN, "--rm", *options, image, *command], capture_output=True, text=True, timeout=120
    )
    assert (done.returncode != 0) == fails, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module", params=SUITES)
def suite(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def sites(suite) -> Iterator[str]:
    """The image with the three sites."""
    with tempfile.TemporaryDirectory() as context:
        shutil.copytree(PACKAGING / "apps", Path(context, "apps"))
        shutil.copy(PACKAGING / "image" / "Dockerfile", context)
        pins = PROJECT / "tests" / "frameworks" / "requirements.txt"
        shutil.copy(pins, Path(context, "requirements.txt"))
        build(f"pywsgi-sites:{suite}", Path(context), "--build-arg", f"SUITE={suite}")
    yield f"pywsgi-sites:{suite}"
    podman("rmi", "--force", f"pywsgi-sites:{suite}")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that the container's user can enter."""
    path = Path(tempfile.mkdtemp(prefix="pywsgi-image-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def served(folder):
    """`served(image, locations, *options)` runs a container."""
    containers = []

    def start(image: str, locations: str, *options: str) -> Container:
        conf = folder / "site.conf"
        conf.write_text(locations)
        mount = ("--volume", f"{conf}:/srv/site.conf:ro")
        containers.append(Container(image, folder, *mount, *options))
        return containers[-1].start()

    yield start
    for container in containers:
        container.close()


def test_flask(sites, served):
    site = served(sites, FLASK)
    flask_answers(site)
    reload_under_load(site)
    term_under_load(site)


def test_fastapi(sites, served):
    site = served(sites, FASTAPI)
    fastapi_answers(site)
    reload_under_load(site)
    term_under_load(site)


def test_django(sites, folder, served):
    data = folder / "data"
    data.mkdir()
    os.chown(data, USER, USER)
    options = ("--volume", f"{data}:/srv/data", "--env", "SITE_DATA=/srv/data")
    ann = ("--noinput", "--username", "ann", "--email", "ann@example.com")
    manage = ("/srv/venv/bin/python", "/srv/django_site/manage.py")
    once(*options, image=sites, command=(*manage, "migrate"))
    password = ("--env", "DJANGO_SUPERUSER_PASSWORD=of a test")
    once(*options, *password, image=sites, command=(*manage, "createsuperuser", *ann))
    site = served(sites, DJANGO, *options, "--env", "PYTHONPATH=/srv/django_site")
    django_answers(site)
    reload_under_load(site)
    term_under_load(site)


def test_the_health_check_and_the_user(sites, served):
    site = served(sites, FLASK)
    podman("healthcheck", "run", site.name)
    processes = podman("top", site.name, "hpid", "huser", "args").splitlines()[1:]
    assert {line.split()[1] for line in processes} == {pwd.getpwuid(USER).pw_name}
    found = [int(line.split()[0]) for line in processes if "worker process" in line]
    assert len(found) == 2
    for worker in found:
        os.kill(worker, signal.SIGSTOP)
    podman("healthcheck", "run", site.name, fails=True)
    for worker in found:
        os.kill(worker, signal.SIGCONT)
    podman("healthcheck", "run", site.name)


def test_the_status_has_a_port_of_its_own(sites, served):
    """Prometheus and the probes of Kubernetes come from another address; the site is not asked."""
    site = served(sites, FLASK)
    transport = httpx.HTTPTransport(local_address="127.0.0.2")
    with httpx.Client(transport=transport, timeout=60) as client:
        for path in ("/-/status?format=prometheus", "/-/ready"):
            assert client.get(site.url(path)).status_code == 200
            assert client.get(f"http://127.0.0.1:{site.port}{path}").status_code == 404


def test_what_is_missing_is_said_in_one_line(suite, sites):
    image = f"pywsgi:{suite}"
    tmp = ("--tmpfs", "/tmp")
    for said, text in (
        (once(image=image, fails=True), "/tmp cannot be written"),
        (once(*tmp, image=image, fails=True), "there is no /srv/site.conf"),
    ):
        # podman itself complains if there is no systemd for its timers.
        (line,) = [line for line in said.splitlines() if not line.startswith("time=")]
        assert line.startswith(f"pywsgi: {text}")


def test_the_example(suite, folder, served):
    """The folder for users to begin with, for this Debian."""
    example = folder / "example"
    shutil.copytree(PROJECT / "docker" / "example", example)
    dockerfile = example / "Dockerfile"
    dockerfile.write_text(dockerfile.read_text().replace("bookworm", suite))
    build("pywsgi-example", example)
    locations = (example / "site.conf").read_text()
    site = served("pywsgi-example", locations, "--env", "WHOM=nginx", "--env", "WEB_CONCURRENCY=2")
    with httpx.Client(base_url=site.url(""), trust_env=False, timeout=60) as client:
        assert client.get("/").text == "Hello, nginx!\n"
        assert client.get("/static/style.css").headers["content-type"] == "text/css"
    site.term()
    assert site.exit_code() == 0


@pytest.fixture(scope="module")
def services(suite) -> Iterator[str]:
    """An image with PostgreSQL and Prometheus."""
    build(f"pywsgi-services:{suite}", PACKAGING / "services", "--build-arg", f"SUITE={suite}")
    yield f"pywsgi-services:{suite}"
    podman("rmi", "--force", f"pywsgi-services:{suite}")


@pytest.fixture
def run_service(services):
    """`run_service(name, script, *options)` runs a shell's script in such a container."""
    names = []

    def start(name: str, script: str, *options: str) -> None:
        names.append(f"pywsgi-test-{os.getpid()}-{name}")
        command = [*ANY, "--detach", "--name", names[-1], *options, services]
        subprocess.run([*command, "sh", "-ec", script], check=True, stdout=subprocess.DEVNULL)

    yield start
    for name in names:
        podman("rm", "--force", name)


POSTGRES = """
    service=$(echo /usr/lib/postgresql/*/bin)
    $service/initdb --auth=trust --username=mysite /tmp/database
    exec $service/postgres -D /tmp/database -k /tmp -c listen_addresses=127.0.0.1
"""


def test_compose(suite, folder, served, run_service):
    """The services of compose.yaml: migrations, the application, and Prometheus beside it."""
    compose = folder / "compose"
    shutil.copytree(PROJECT / "docker" / "compose", compose)
    dockerfile = compose / "Dockerfile"
    dockerfile.write_text(dockerfile.read_text().replace("bookworm", suite))
    build("pywsgi-compose", compose)
    (web,) = re.findall(r"^  web:.*?^$", (compose / "compose.yaml").read_text(), re.M | re.S)
    given = dict(re.findall(r"^      ([A-Z_]+): (.*)$", web, re.M))
    given |= {"SECRET_KEY": "of a test", "ALLOWED_HOSTS": "127.0.0.1", "PGHOST": "127.0.0.1"}
    given |= {"PGPASSWORD": "trusted", "WEB_CONCURRENCY": "2"}
    options = [part for name, value in given.items() for part in ("--env", f"{name}={value}")]

    run_service("postgres", POSTGRES, "--user", "postgres")
    database = ("/srv/venv/bin/python", "manage.py", "shell", "--command", CREATE)
    wait_for(lambda: _listens(5432), 60, "PostgreSQL")
    once(*options, "--env", "PGDATABASE=postgres", image="pywsgi-compose", command=database)
    (migrate,) = re.findall(r'command: \["(.*)"\]$', (compose / "compose.yaml").read_text(), re.M)
    once(*options, image="pywsgi-compose", command=tuple(migrate.split('", "')))

    site = served("pywsgi-compose", (compose / "site.conf").read_text(), *options)
    with httpx.Client(base_url=site.url(""), trust_env=False, timeout=60) as client:
        assert client.get("/").text == "0 users\n"
        assert client.get("/static/admin/css/base.css").status_code == 200
    shutil.copytree(PROJECT / "deploy" / "prometheus", folder / "prometheus")
    conf = (compose / "prometheus.yml").read_text().replace("web:8081", "127.0.0.1:8081")
    (folder / "prometheus" / "prometheus.yml").write_text(
        f"global: {{scrape_interval: 1s}}\n{conf}"
    )
    run_service(
        "prometheus",
        "exec prometheus --config.file=/etc/rules/prometheus.yml --storage.tsdb.path=/tmp/data",
        *("--volume", f"{folder}/prometheus:/etc/rules:ro"),
    )
    wait_for(lambda: _listens(9090), 60, "Prometheus")
    query = "http://127.0.0.1:9090/api/v1/query?query=pywsgi_requests_total"

    def scraped() -> bool:
        return bool(httpx.get(query, trust_env=False, timeout=60).json()["data"]["result"])

    wait_for(scraped, 60, "numbers of python_status in Prometheus")
    rules = httpx.get("http://127.0.0.1:9090/api/v1/rules", trust_env=False, timeout=60).json()
    assert rules["data"]["groups"]


CREATE = """
from django.db import connection
connection.cursor().execute("CREATE DATABASE mysite")
"""


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 60).close()
    except ConnectionRefusedError:
        return False
    return True
