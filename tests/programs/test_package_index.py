"""A package index: pypiserver in nginx, uploaded to by twine and installed from by pip."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

# index.py. pypiserver itself, or nginx, requires a password to upload.
APPLICATION = """
    import hmac

    import pypiserver


    def may_upload(user, password):
        return hmac.compare_digest((user + ":" + password).encode(), b"ann:s3cret")


    settings = {{"roots": ["{folder}"], "disable_fallback": True}}
    application_asks = pypiserver.app(**settings, authenticate=["update"], auther=may_upload)
    nginx_asks = pypiserver.app(**settings, authenticate=[], password_file=".")
"""

HTTP = """
    python_thread_pool index threads=4;
    log_format index "$request_method $uri $status $body_bytes_sent [$http_range]";
    access_log logs/index.log index;
"""
LOCATION = """
    location / {{
        wsgi_app {app}:{who}_asks;
        wsgi_thread_pool index;
        wsgi_request_buffering {buffering};
        client_max_body_size 16m;
        client_body_buffer_size 64k;
        {access}
    }}
"""
ACCESS = """
        limit_except GET HEAD {{
            auth_basic "the index";
            auth_basic_user_file {users};
        }}
"""

PROJECT = """
    [build-system]
    requires = ["setuptools"]
    build-backend = "setuptools.build_meta"

    [project]
    name = "{name}"
    version = "{version}"
    dependencies = [{dependencies}]

    [tool.setuptools]
    packages = ["{name}"]

    [tool.setuptools.package-data]
    {name} = ["*.bin"]
"""


class Index:
    """The server, its folder of packages, and the tools that talk to it."""

    def __init__(self, nginx, folder: Path, scheme: str, run) -> None:
        self.nginx, self.folder, self.run_command = nginx, folder, run
        self.tls = scheme == "https"
        self.url = nginx.url("/", scheme=scheme)
        self.certificate = nginx.root / "conf" / "cert.pem"

    def python(self, *words, **others):
        environment = {
            "PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring",
            "NO_PROXY": "127.0.0.1",
            "COLUMNS": "200",
        }
        return self.run_command(sys.executable, "-I", *words, env=environment, **others)

    def twine(self, *files, password="s3cret", **others):
        cert = ["--cert", self.certificate] if self.tls else []
        whom = ["--repository-url", self.url, "--username", "ann", "--password", password]
        words = ["upload", "--non-interactive", "--disable-progress-bar", *cert, *whom, *files]
        return self.python("-m", "twine", *words, **others)

    def pip(self, command, *words, index=True, cache=False, **others):
        options = ["--isolated", "--disable-pip-version-check", "--no-input", "--retries", "0"]
        options += [] if cache else ["--no-cache-dir"]
        options += ["--cert", self.certificate] if self.tls else []
        source = ["--index-url", f"{self.url}simple/"] if index else []
        return self.python("-m", "pip", *options, command, *source, *words, **others)

    def requests(self) -> list[str]:
        return (self.nginx.root / "logs" / "index.log").read_text().splitlines()


@pytest.fixture(params=["http", "https"])
def scheme(request):
    return request.param


@pytest.fixture
def who():
    """What asks for the password; tests override it with a parameter."""
    return "application"


@pytest.fixture
def index(nginx, shared, run, scheme, buffering, who):
    folder = shared("packages")
    app = nginx.app("index", APPLICATION.format(folder=folder))
    users = nginx.root / "conf" / "users"
    users.write_text("ann:" + run("openssl", "passwd", "-apr1", "s3cret").stdout)
    users.chmod(0o644)
    access = ACCESS.format(users=users) if who == "nginx" else ""
    server = LOCATION.format(app=app, who=who, buffering=buffering, access=access)
    if scheme == "https":
        nginx.start(http=HTTP, server=nginx.tls() + server, listen="ssl")
    else:
        nginx.start(http=HTTP, server=server)
    return Index(nginx, folder, scheme, run)


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """Wheels and source archives, made once: `tall` with 3 MB of data needs `small`."""
    root = tmp_path_factory.mktemp("packages")
    for name, version, needs, size in (
        ("tall", "1.0", '"small>=1"', 3_000_000),
        ("small", "1.0", "", 10),
        ("small", "1.1", "", 10),
    ):
        source = root / f"{name}-{version}"
        (source / name).mkdir(parents=True)
        text = PROJECT.format(name=name, version=version, dependencies=needs)
        (source / "pyproject.toml").write_text(re.sub(r"(?m)^ {4}", "", text))
        (source / name / "__init__.py").write_text(f"VERSION = {version!r}\n")
        (source / name / "data.bin").write_bytes(os.urandom(size))
        command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", root / "dist"]
        subprocess.run([*command, source], check=True, capture_output=True)
    return root / "dist"


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


@pytest.mark.parametrize("who", ["application", "nginx"])
def test_twine_uploads_and_pip_installs(index, packages, tmp_path):
    index.twine(*sorted(packages.iterdir()))
    assert digests(index.folder) == digests(packages)

    # Wheels with their dependencies; pip compares the files with the digests in the page.
    site = tmp_path / "wheels"
    said = index.pip("install", "--target", site, "tall").stdout
    assert "Successfully installed small-1.1 tall-1.0" in said
    code = "import sys; sys.path.insert(0, sys.argv[1]); import tall, small; print(small.VERSION)"
    assert index.python("-c", code, site).stdout == "1.1\n"
    data = "tall/data.bin"
    assert (site / data).read_bytes() == (packages.parent / "tall-1.0" / data).read_bytes()

    # Source archives, which pip builds.
    site = tmp_path / "sources"
    only = ["--no-binary", ":all:", "--no-build-isolation"]
    said = index.pip("install", "--target", site, *only, "small==1.0", "tall").stdout
    assert "Successfully installed small-1.0 tall-1.0" in said
    assert (site / data).read_bytes() == (packages.parent / "tall-1.0" / data).read_bytes()

    loaded = tmp_path / "loaded"
    index.pip("download", "--dest", loaded, "tall")
    assert digests(loaded).items() <= digests(packages).items()
    assert "1.1, 1.0" in index.pip("index", "versions", "small").stdout
    missing = index.pip("install", "--target", site, "large", check=False)
    assert "No matching distribution found for large" in missing.stderr


@pytest.mark.parametrize("who", ["application", "nginx"])
def test_uploads_that_are_refused(index, packages, who):
    (small,) = packages.glob("small-1.0-*.whl")
    (tall,) = packages.glob("tall-1.0-*.whl")
    # nginx refuses the 3 MB before it has read them, and twine must see the answer.
    refused = index.twine(tall, password="wrong", check=False)
    assert refused.returncode == 1
    status = "401 Unauthorized" if who == "nginx" else "403 Forbidden"
    assert status in refused.stdout + refused.stderr
    assert list(index.folder.iterdir()) == []
    index.twine(small)
    again = index.twine(small, check=False)
    assert again.returncode == 1
    assert "400" in again.stdout + again.stderr
    assert [path.name for path in index.folder.iterdir()] == [small.name]
    assert [line.split()[2] for line in index.requests()] == [status[:3], "200", "400"]


def test_an_upload_beyond_client_max_body_size(index, packages, tmp_path):
    (source,) = packages.glob("small-1.0-*.whl")
    large = tmp_path / source.name
    # A zip archive may have anything in front of it.
    large.write_bytes(bytes(17 << 20) + source.read_bytes())
    refused = index.twine(large, check=False)
    assert refused.returncode == 1
    assert "413" in refused.stdout + refused.stderr
    assert list(index.folder.iterdir()) == []


@pytest.mark.parametrize("buffering", ["on"], indirect=True)
def test_pip_reads_a_wheel_s_metadata_by_ranges(index, packages, tmp_path):
    index.twine(*packages.glob("*.whl"))
    site = tmp_path / "site"
    index.pip("install", "--use-feature=fast-deps", "--target", site, "tall")
    data = "tall/data.bin"
    assert (site / data).read_bytes() == (packages.parent / "tall-1.0" / data).read_bytes()
    # It has sent a HEAD first, and then asked for the last blocks of the 3 MB.
    seen = [line for line in index.requests() if "/packages/tall-1.0" in line]
    assert re.fullmatch(r"HEAD \S+ 200 0 \[-\]", seen[0])
    parts = [line.split() for line in seen if " 206 " in line]
    assert parts
    assert all(int(size) < 100_000 for _, _, _, size, _ in parts)


@pytest.mark.parametrize("buffering", ["on"], indirect=True)
def test_a_package_as_a_file(index, packages):
    """bottle passes the file to `wsgi.file_wrapper`, and handles ranges itself."""
    index.twine(*packages.glob("tall*.whl"))
    (wheel,) = packages.glob("tall*.whl")
    content = wheel.read_bytes()
    client = index.nginx.client(tls=index.tls)
    path = f"/packages/{wheel.name}"
    whole = client.get(path)
    assert whole.content == content
    assert whole.headers["content-length"] == str(len(content))
    assert whole.headers["accept-ranges"] == "bytes"
    assert "etag" not in whole.headers
    head = client.head(path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(content))
    answer = client.get(path, headers={"Range": "bytes=1000000-1999999"})
    assert answer.status_code == 206
    assert answer.headers["content-range"] == f"bytes 1000000-1999999/{len(content)}"
    assert answer.content == content[1_000_000:2_000_000]
    assert client.get(path, headers={"Range": f"bytes={len(content)}-"}).status_code == 416
    since = {"If-Modified-Since": whole.headers["last-modified"]}
    answer = client.get(path, headers=since)
    assert (answer.status_code, answer.content) == (304, b"")


@pytest.mark.parametrize("buffering", ["on"], indirect=True)
def test_the_pages_of_the_index(index, packages):
    index.twine(*packages.iterdir())
    client = index.nginx.client(tls=index.tls)
    # Redirects keep the client's scheme, host and port.
    answer = client.get("/simple")
    assert answer.status_code == 301
    assert answer.headers["location"] == f"{index.url}simple/"
    assert re.findall('href="([^"]*)"', client.get("/simple/").text) == ["small/", "tall/"]
    answer = client.get("/simple/Small/")
    assert (answer.status_code, answer.headers["location"]) == (301, f"{index.url}simple/small/")
    assert client.get("/small/json").json()["info"] == {"version": "1.1"}
    found = index.pip("search", "--index", f"{index.url}RPC2", "tall", index=False)
    assert re.search(r"^tall \(1\.0\)", found.stdout, re.MULTILINE)
