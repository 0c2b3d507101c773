"""The images, as a user without privileges and with a read-only root (`make test-image`).

They run on the host's network: `make test-image` gives the tests one of their own.
"""

from __future__ import annotations

import os
import pwd
import re
import shutil
import signal
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


# Compose, as docker-compose does it, with podman in Docker's place

# For networks in which containers find each other by name, and limits that runc may set here.
CONTAINERS_CONF = """\
[containers]
default_ulimits = ["nofile=10000:10000", "nproc=9000:9000"]
[engine]
runtime = "runc"
[network]
network_backend = "netavark"
"""


class Compose:
    """docker/compose in a folder of its own, with Debian's PostgreSQL and Prometheus."""

    def __init__(self, suite: str, folder: Path) -> None:
        self.folder = folder / "docker" / "compose"
        shutil.copytree(PROJECT / "docker" / "compose", self.folder)
        shutil.copytree(PROJECT / "deploy" / "prometheus", folder / "deploy" / "prometheus")
        dockerfile = self.folder / "Dockerfile"
        dockerfile.write_text(dockerfile.read_text().replace("bookworm", suite))
        prometheus = self.folder / "prometheus.yml"
        prometheus.write_text(f"global: {{scrape_interval: 1s}}\n{prometheus.read_text()}")
        names = re.findall(r"^    image: (.*)$", (self.folder / "compose.yaml").read_text(), re.M)
        site, *services = names
        build(f"docker.io/library/{site}", self.folder)
        for name in services:
            target = re.search(r"\w+(?=:)", name)[0]
            tag = f"docker.io/{name}" if "/" in name else f"docker.io/library/{name}"
            options = ("--build-arg", f"SUITE={suite}", "--target", target)
            build(tag, PACKAGING / "services", *options)
        conf = folder / "containers.conf"
        conf.write_text(CONTAINERS_CONF)
        socket_path = f"unix://{folder}/podman.sock"
        self.environment = os.environ | {
            "CONTAINERS_CONF": str(conf),
            "DOCKER_HOST": socket_path,
            "SECRET_KEY": "of a test",
            "POSTGRES_PASSWORD": "a word",
        }
        with open(folder / "podman.log", "wb") as log:
            self.service = subprocess.Popen(
                ["podman", "system", "service", "--time=0", socket_path],
                env=self.environment,
                stdout=log,
                stderr=log,
            )
        wait_for((folder / "podman.sock").exists, 60, "podman's socket")

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["docker-compose", *arguments],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def __call__(self, *arguments: str) -> str:
        process = self.start(*arguments)
        said, _ = process.communicate(timeout=300)
        assert process.returncode == 0, said
        return said

    def podman(self, *arguments: str) -> str:
        command = ["podman", *arguments]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True)
        return done.stdout

    def up(self) -> None:
        """Starts all. There is no systemd here that would run podman's health checks."""
        process = self.start("up", "--detach")
        checked = ("--filter", "label=com.docker.compose.service=db")

        def is_up() -> bool:
            for container in self.podman("ps", "--quiet", *checked).split():
                self.podman("healthcheck", "run", container)
            return process.poll() is not None

        wait_for(is_up, 300, "the end of docker-compose up")
        said = process.communicate()[0]
        assert process.returncode == 0, said

    def close(self) -> None:
        try:
            self("down", "--volumes")
        finally:
            self.service.terminate()
            self.service.wait(60)

    def left(self) -> str:
        """Its containers, volumes and networks."""
        ours = ("--filter", "label=com.docker.compose.project", "--quiet")
        lists = (("ps", "--all"), ("volume", "ls"), ("network", "ls"))
        return "".join(self.podman(*command, *ours) for command in lists)


@pytest.fixture
def compose(suite, folder) -> Iterator[Compose]:
    compose = Compose(suite, folder)
    yield compose
    compose.close()
    assert compose.left() == ""


def test_compose(compose):
    """As it is: migrations first, the admin with its static files, uploads, and Prometheus."""
    compose.up()
    assert len(compose.left().split()) == 7
    ann = ("--noinput", "--username", "ann", "--email", "ann@example.com")
    manage = ("/srv/venv/bin/python", "manage.py")
    web = ("exec", "-T", "-e", "DJANGO_SUPERUSER_PASSWORD=of a test", "web")
    compose(*web, *manage, "createsuperuser", *ann)
    # What an application does with an upload.
    compose(*web, "sh", "-c", "echo snow >/srv/media/snow.txt")
    with httpx.Client(base_url="http://localhost:8080", trust_env=False, timeout=60) as client:
        assert client.get("/").text == "1 users\n"
        login = client.get("/admin/login/")
        (token,) = re.findall(r'name="csrfmiddlewaretoken" value="(\w+)"', login.text)
        form = {"csrfmiddlewaretoken": token, "username": "ann", "password": "of a test"}
        answer = client.post("/admin/login/?next=/admin/", data=form, follow_redirects=True)
        assert "Site administration" in answer.text
        assert client.get("/static/admin/css/base.css").status_code == 200
        assert client.get("/media/snow.txt").text == "snow\n"
        # Nobody has published it.
        with pytest.raises(httpx.ConnectError):
            client.get("http://localhost:8081/-/status")
    assert scraped("pywsgi_requests_total")
    with httpx.Client(base_url="http://localhost:9090", trust_env=False, timeout=60) as client:
        assert client.get("/api/v1/rules").json()["data"]["groups"]
    (container,) = compose("ps", "--quiet", "web").split()
    compose("stop", "web")
    assert compose.podman("inspect", "--format", "{{.State.ExitCode}}", container).strip() == "0"


def scraped(name: str) -> bool:
    """Waits until Prometheus has a number of this name."""
    query = {"query": name}

    def found() -> bool:
        answer = httpx.get(
            "http://localhost:9090/api/v1/query", params=query, trust_env=False, timeout=60
        )
        return bool(answer.json()["data"]["result"])

    wait_for(found, 60, f"{name} in Prometheus")
    return True
