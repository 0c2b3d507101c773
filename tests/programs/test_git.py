"""A Git server: dulwich's WSGI application in nginx, cloned from and pushed to by git itself."""

from __future__ import annotations

import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

# forge.py serves every bare repository of one folder, each below a path of its name.
APPLICATION = """
    import os

    from dulwich.server import FileSystemBackend
    from dulwich.web import make_wsgi_chain


    class Repositories(FileSystemBackend):
        def open_repository(self, path):
            return super().open_repository(os.fsdecode(path).lstrip("/"))


    application = make_wsgi_chain(Repositories("{folder}"))
"""

# nginx requires a password to push, and none to fetch.
HTTP = """
    python_thread_pool git threads=3 max_queue=64;
    # dulwich reads ~/.gitconfig, and the workers cannot read root's home.
    python_env HOME={folder};
    map $arg_service$uri $git_realm {{
        default            off;
        ~git-receive-pack  "the repositories";
    }}
    log_format git "$request_method $uri $server_protocol [$http_git_protocol] "
                   "[$http_content_encoding] [$http_transfer_encoding] $status";
"""
LOCATION = """
    location / {{
        auth_basic $git_realm;
        auth_basic_user_file {users};
        wsgi_app {app};
        wsgi_thread_pool git;
        wsgi_request_buffering {buffering};
        # A clone of a large repository is a long response, a first push a long request.
        wsgi_timeout 10m;
        client_max_body_size 512m;
        access_log logs/git.log git;
    }}
"""

# The smallest value that git accepts: it then sends all but the shortest requests in chunks. With
# the default, a mebibyte, it would compress smaller ones.
POST_BUFFER = 65_536
COMMITS = 60
BRANCHES = 120


class Forge:
    """The server, its one repository, and how git reaches it."""

    def __init__(self, nginx, repository: Path, protocol: str, run) -> None:
        self.nginx, self.repository, self.run = nginx, repository, run
        self.http2 = protocol == "h2"
        scheme = "https" if self.http2 else "http"
        self.url = nginx.url("/project.git", scheme=scheme)
        self.pusher = self.url.replace("://", "://ann:s3cret@")
        self.options = {
            "http.postBuffer": POST_BUFFER,
            "http.version": "HTTP/2" if self.http2 else "HTTP/1.1",
            "http.sslCAInfo": nginx.root / "conf" / "cert.pem",
            "user.name": "Ann",
            "user.email": "ann@example.org",
            "init.defaultBranch": "main",
            "advice.detachedHead": "false",
            "gc.auto": "0",
        }

    def git(self, *words, env=None, **others):
        options = [f"{name}={value}" for name, value in self.options.items()]
        settings = [part for option in options for part in ("-c", option)]
        environment = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0", **(env or {})}
        # No proxy, whatever the machine has.
        environment["NO_PROXY"] = "127.0.0.1"
        return self.run("git", *settings, *words, env=environment, **others)

    def requests(self) -> list[str]:
        return (self.nginx.root / "logs" / "git.log").read_text().splitlines()

    def refs(self, folder: Path) -> list[str]:
        """Every ref with its object, as `ls-remote` prints them."""
        return sorted(self.git("ls-remote", folder, "refs/*").stdout.split("\n"))

    def tip(self, folder: Path, name: str) -> str:
        return self.git("rev-parse", "--verify", name, cwd=folder).stdout.strip()

    def check(self, folder: Path) -> None:
        self.git("fsck", "--full", "--strict", cwd=folder)


@pytest.fixture
def forge(nginx, shared, run, protocol, buffering):
    folder = shared("repositories")
    app = nginx.app("forge", APPLICATION.format(folder=folder))
    password = run("openssl", "passwd", "-apr1", "s3cret").stdout
    users = nginx.root / "conf" / "users"
    users.write_text(f"ann:{password}")
    users.chmod(0o644)
    http = HTTP.format(folder=folder)
    server = LOCATION.format(app=app, users=users, buffering=buffering)
    nginx.start(http=http, server=server, http2=protocol == "h2")
    forge = Forge(nginx, folder / "project.git", protocol, run)
    forge.git("init", "--quiet", "--bare", forge.repository)
    open_to_workers(forge.repository)
    return forge


@pytest.fixture(scope="module")
def history(tmp_path_factory):
    """A bare repository of some 4 MB, made once: binary files, a text that grows, many branches."""
    folder = tmp_path_factory.mktemp("history") / "source.git"
    subprocess.run(["git", "init", "--quiet", "--bare", "-b", "main", folder], check=True)
    environment = {"PATH": os.environ["PATH"], "GIT_CONFIG_NOSYSTEM": "1", "HOME": str(folder)}
    command = ["git", "-C", folder, "fast-import", "--quiet"]
    subprocess.run(command, input=b"".join(stream()), env=environment, check=True)
    return folder


def stream():
    """The input of `git fast-import`."""
    who = "Ann <ann@example.org>"
    text = ""
    for number in range(COMMITS):
        text += f"line {number}: ünïcode\n" * 40
        yield commit("main", f"commit {number}", who, number)
        yield file(f"files/{number % 20}.bin", os.urandom(70_000))
        yield file("text", text.encode())
    for number in range(BRANCHES):
        yield commit(f"topic/{number}", f"topic {number}", who, COMMITS + number)
        yield b"from refs/heads/main\n"
        yield file("topic", f"{number}\n".encode())
    message = b"the first release\n"
    yield b"tag v1\nfrom refs/heads/main\n"
    yield f"tagger {who} {1_700_000_000 + COMMITS} +0000\n".encode()
    yield b"data %d\n%s\n" % (len(message), message)
    yield b"done\n"


def commit(branch: str, message: str, who: str, number: int) -> bytes:
    head = f"commit refs/heads/{branch}\ncommitter {who} {1_700_000_000 + number} +0000\n"
    return f"{head}data {len(message)}\n{message}\n".encode()


def file(path: str, content: bytes) -> bytes:
    return f"M 644 inline {path}\ndata {len(content)}\n".encode() + content + b"\n"


def open_to_workers(folder: Path) -> None:
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o777 if path.is_dir() else 0o666)


def published(forge, history) -> None:
    """Copies the history to the server's folder, without the server."""
    shutil.rmtree(forge.repository)
    shutil.copytree(history, forge.repository)
    open_to_workers(forge.repository)


def test_push_clone_and_fetch(forge, history, tmp_path):
    forge.git("push", "--quiet", "--mirror", forge.pusher, cwd=history)
    forge.check(forge.repository)
    expected = forge.refs(history)
    assert len(expected) > BRANCHES
    assert forge.refs(forge.repository) == expected
    assert forge.refs(forge.url) == expected

    one, two = tmp_path / "one", tmp_path / "two"
    forge.git("clone", "--quiet", forge.url, one)
    forge.git("clone", "--quiet", "--single-branch", forge.url, two)
    for clone in (one, two):
        forge.check(clone)
        assert forge.tip(clone, "HEAD") == forge.tip(history, "main")
        assert forge.git("status", "--porcelain", cwd=clone).stdout == ""
    three = tmp_path / "three"
    forge.git("-c", "http.postBuffer=1048576", "clone", "--quiet", "--mirror", forge.url, three)
    assert forge.refs(three) == expected

    # One clone makes every kind of change that a push can carry; the other one pulls them.
    (one / "new.bin").write_bytes(os.urandom(900_000))
    (one / "small").write_text("small\n")
    forge.git("add", ".", cwd=one)
    forge.git("commit", "--quiet", "-m", "more", cwd=one)
    forge.git("tag", "-a", "-m", "second", "v2", cwd=one)
    forge.git("push", "--quiet", forge.pusher, "main", "v2", "HEAD:refs/heads/new", cwd=one)
    forge.git("push", "--quiet", forge.pusher, ":refs/heads/topic/0", cwd=one)
    forge.git("push", "--quiet", "--force", forge.pusher, "main~2:refs/heads/topic/1", cwd=one)
    forge.check(forge.repository)
    wanted = [f"+refs/heads/{name}:refs/remotes/origin/{name}" for name in ("new", "topic/1")]
    forge.git("fetch", "--quiet", "--tags", "origin", "main", *wanted, cwd=two)
    forge.check(two)
    assert forge.tip(two, "origin/new") == forge.tip(one, "main") == forge.tip(two, "v2^{commit}")
    assert forge.tip(two, "origin/topic/1") == forge.tip(one, "main~2")
    assert "refs/heads/topic/0\n" not in forge.git("ls-remote", forge.url).stdout
    mirror = tmp_path / "mirror"
    forge.git("clone", "--quiet", "--mirror", forge.url, mirror)
    forge.check(mirror)
    assert forge.refs(mirror) == forge.refs(forge.repository)

    spoken = "HTTP/2.0" if forge.http2 else "HTTP/1.1"
    seen = forge.requests()
    # The push was chunked, and so were the clones' requests. HTTP/2 needs no transfer coding.
    coding = "-" if forge.http2 else "chunked"
    for service in ("receive", "upload"):
        start = f"POST /project.git/git-{service}-pack {spoken} "
        assert [line for line in seen if line.startswith(start) and f"[-] [{coding}] 200" in line]
    assert [line for line in seen if "git-upload-pack" in line and "[gzip] [-] 200" in line]


@pytest.mark.parametrize(("version", "asked"), [(0, "-"), (1, "version=1"), (2, "version=2")])
@pytest.mark.parametrize("protocol", ["http/1.1"], indirect=True)
@pytest.mark.parametrize("buffering", ["on"], indirect=True)
def test_versions_of_git_s_protocol(forge, history, tmp_path, version, asked):
    """git asks for a version in a header; dulwich may answer in version 0, and does."""
    published(forge, history)
    forge.options["protocol.version"] = version
    forge.git("clone", "--quiet", "--single-branch", forge.url, tmp_path / "clone")
    assert forge.tip(tmp_path / "clone", "HEAD") == forge.tip(history, "main")
    assert f"GET /project.git/info/refs HTTP/1.1 [{asked}] [-] [-] 200" in forge.requests()


def test_shallow_clones(forge, history, tmp_path):
    published(forge, history)
    clone = tmp_path / "clone"
    forge.git("clone", "--quiet", "--depth", "3", "--branch", "main", forge.url, clone)

    def commits() -> int:
        return int(forge.git("rev-list", "--count", "HEAD", cwd=clone).stdout)

    assert commits() == 3
    forge.git("fetch", "--quiet", "--depth", "10", "origin", "main", cwd=clone)
    assert commits() == 10
    forge.git("fetch", "--quiet", "--unshallow", "origin", "main", cwd=clone)
    assert commits() == COMMITS
    forge.check(clone)
    (clone / "x").write_text("x")
    forge.git("add", "x", cwd=clone)
    forge.git("commit", "--quiet", "-m", "x", cwd=clone)
    forge.git("push", "--quiet", forge.pusher, "HEAD:main", cwd=clone)
    forge.check(forge.repository)


def test_the_dumb_protocol(forge, history, tmp_path):
    """Without git's own services: refs, packs and loose objects as files, with their length."""
    published(forge, history)
    clone = tmp_path / "clone"
    forge.git("clone", "--quiet", forge.url, clone, env={"GIT_SMART_HTTP": "0"})
    forge.check(clone)
    assert len(forge.git("for-each-ref", "refs/remotes", cwd=clone).stdout.splitlines()) > BRANCHES
    assert any(".pack " in line and line.endswith("200") for line in forge.requests())
    assert not any("POST" in line for line in forge.requests())


def test_who_may_push(forge, history):
    main = forge.git("rev-parse", "main", cwd=history).stdout
    refused = forge.git("push", forge.url, "main", cwd=history, check=False)
    assert refused.returncode != 0
    assert "could not read Username" in refused.stderr
    wrong = forge.pusher.replace("s3cret", "wrong")
    refused = forge.git("push", wrong, "main", cwd=history, check=False)
    assert "Authentication failed" in refused.stderr
    assert forge.refs(forge.repository) == [""]
    # First without credentials, then with them: the long body is sent only once.
    forge.git("push", forge.pusher, "main", cwd=history)
    assert forge.git("rev-parse", "main", cwd=forge.repository).stdout == main
    seen = [line for line in forge.requests() if "receive-pack" in line or "info/refs" in line]
    assert sum(line.endswith(" 401") for line in seen) >= 3
    missing = forge.git("ls-remote", forge.url.replace("project", "other"), check=False)
    assert "not found" in missing.stderr


@pytest.mark.parametrize("buffering", ["off"], indirect=True)
def test_more_clones_at_once_than_threads(forge, history, tmp_path):
    published(forge, history)

    def clone(number: int) -> str:
        folder = tmp_path / str(number)
        forge.git("clone", "--quiet", "--single-branch", forge.url, folder)
        forge.check(folder)
        return forge.tip(folder, "HEAD")

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(clone, range(8))) == {forge.tip(history, "main")}
