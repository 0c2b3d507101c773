"""Every file of nginx-conf/ as users copy it, with applications where it says that they are."""

from __future__ import annotations

import hashlib
import re
import shutil
import struct
import subprocess
import zlib
from pathlib import Path

import httpx
import pytest
from harness import PROJECT, VENV

FOLDER = PROJECT / "nginx-conf"


class Site:
    """One of the files, with a folder of the test's own in the place of /srv."""

    def __init__(self, nginx, name: str) -> None:
        self.nginx = nginx
        self.srv: Path = nginx.root / "srv"
        self.socket: Path = nginx.root / "site.sock"
        self.text = (FOLDER / name).read_text()

    def write(self, path: str, text: str) -> Path:
        """Puts a file under /srv."""
        return self.nginx._write(self.srv / path, text)

    def venv(self, path: str) -> None:
        """Puts the tests' virtual environment where the file expects one."""
        (self.srv / path).parent.mkdir(parents=True, exist_ok=True)
        (self.srv / path).symlink_to(VENV)

    def folder(self, path: str, *, writable: bool = False) -> Path:
        folder = self.srv / path
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o777 if writable else 0o755)
        return folder

    def include(self) -> dict:
        """The arguments of `Nginx.start` that include the file."""
        assert "listen 80;" in self.text
        text = self.text.replace("/srv/", f"{self.srv}/")
        text = text.replace("listen 80;", f"listen unix:{self.socket};")
        site = self.nginx.root / "conf" / "site.conf"
        site.write_text(text)
        return {"http": f"include {site};", "python_home": None}

    def start(self) -> httpx.Client:
        """Starts nginx with the file; a client of the first server that it names."""
        for path in [self.srv, *self.srv.rglob("*")]:
            if path.is_dir() and not path.is_symlink():
                path.chmod(path.stat().st_mode | 0o755)
        self.nginx.start(**self.include())
        name = re.search(r"server_name (\S+);", self.text)
        client = httpx.Client(
            base_url=f"http://{name.group(1) if name else 'localhost'}",
            transport=httpx.HTTPTransport(uds=str(self.socket)),
            timeout=60,
            trust_env=False,
        )
        self.nginx._clients.append(client)
        return client


@pytest.fixture
def site(nginx):
    """`site("flask.conf")` is that file of nginx-conf/."""
    return lambda name: Site(nginx, name)


HELLO = """
    from wsgiref.validate import validator

    @validator
    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"hello ", environ["SCRIPT_NAME"].encode(), b"|", environ["PATH_INFO"].encode()]
"""


def test_hello(site):
    hello = site("hello.conf")
    hello.venv("hello/venv")
    hello.write("hello/wsgi.py", HELLO)
    assert hello.start().get("/x").text == "hello |/x"


def test_flask(site):
    shop = site("flask.conf")
    shop.venv("flask/venv")
    shop.write("flask/wsgi.py", "from shop import create_app\napplication = create_app()\n")
    shop.write(
        "flask/shop/__init__.py",
        """
        import os

        from flask import Flask, url_for

        def create_app():
            app = Flask(__name__)

            @app.get("/")
            def index():
                return os.environ["SHOP_DATABASE"] + " " + url_for("static", filename="a.css")

            return app
        """,
    )
    shop.write("flask/shop/static/a.css", "a {}")
    client = shop.start()
    database, style = client.get("/").text.split()
    assert database == f"{shop.srv}/flask/shop.sqlite3"
    answer = client.get(style)
    assert answer.text == "a {}"
    assert answer.headers["cache-control"] == "max-age=3600"
    assert client.post("/", content=b"x" * 11_000_000).status_code == 413


def test_django(site):
    project = site("django.conf")
    project.venv("django/venv")
    folder = project.folder("django")
    subprocess.run(
        [VENV / "bin" / "python", "-m", "django", "startproject", "mysite", folder], check=True
    )
    settings = folder / "mysite" / "settings.py"
    settings.write_text(
        settings.read_text().replace("ALLOWED_HOSTS = []", 'ALLOWED_HOSTS = ["www.example.com"]')
        + f'\nSTATIC_ROOT = "{folder}/static"\n'
    )
    for command in ["migrate", "collectstatic --no-input"]:
        subprocess.run(
            [VENV / "bin" / "python", folder / "manage.py", *command.split()],
            check=True,
            capture_output=True,
        )
    project.folder("django/media", writable=True)
    project.write("django/media/a.html", "<p>uploaded</p>")
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    client = project.start()
    answer = client.get("/admin/login/")
    assert answer.status_code == 200
    assert "Django administration" in answer.text
    style = re.search(r'href="(/static/admin/css/base[^"]*)"', answer.text).group(1)
    assert client.get(style).headers["cache-control"] == "max-age=86400"
    answer = client.get("/media/a.html")
    assert answer.text == "<p>uploaded</p>"
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_several_applications(site):
    host = site("several-applications.conf")
    host.venv("venv")
    host.write("portal/wsgi.py", HELLO)
    host.write("wiki/wsgi.py", HELLO)
    host.write(
        "reports/wsgi.py",
        """
        import threading

        def create_app(mode):
            def application(environ, start_response):
                start_response("200 OK", [("Content-Type", "text/plain")])
                text = f"{mode} {environ['SCRIPT_NAME']}|{environ['PATH_INFO']}"
                return [text.encode()]

            return application
        """,
    )
    client = host.start()
    assert client.get("/").text == "hello |/"
    assert client.get("/wiki/Start").text == "hello /wiki|/Start"
    answer = client.get("/wiki")
    assert answer.status_code == 301
    assert answer.headers["location"] == "http://intranet.example.com/wiki/"
    assert client.get("/reports/2024").text == "production /reports|/2024"


def test_streams_and_uploads(site):
    files = site("streams-and-uploads.conf")
    files.venv("files/venv")
    gate = files.folder("files/gate", writable=True)
    files.write(
        "files/wsgi.py",
        f"""
        import hashlib
        import os
        import time

        def events():
            yield b"data: one\\n\\n"
            while not os.path.exists({str(gate / "open")!r}):
                time.sleep(0.02)
            yield b"data: two\\n\\n"

        def application(environ, start_response):
            path = environ["PATH_INFO"]
            if path == "/events":
                start_response("200 OK", [("Content-Type", "text/event-stream")])
                return events()
            if path == "/upload":
                digest = hashlib.sha256()
                while block := environ["wsgi.input"].read(65536):
                    digest.update(block)
                start_response("200 OK", [("Content-Type", "text/plain")])
                return [digest.hexdigest().encode()]
            start_response("200 OK", [("Content-Type", "application/octet-stream")])
            return (b"d" * 65536 for _ in range(80))
        """,
    )
    client = files.start()
    with client.stream("GET", "/events") as answer:
        lines = answer.iter_lines()
        assert next(lines) == "data: one"
        assert client.get("/download").content == b"d" * 65536 * 80
        (gate / "open").touch()
        assert "data: two" in list(lines)
    body = bytes(range(256)) * 20_000
    assert client.post("/upload", content=body).text == hashlib.sha256(body).hexdigest()


def png() -> bytes:
    """The smallest picture that there is: one pixel."""

    def part(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = part(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0))
    pixel = part(b"IDAT", zlib.compress(b"\0\0"))
    return b"\x89PNG\r\n\x1a\n" + header + pixel + part(b"IEND", b"")


def test_guestbook(site, field):
    """The example, driven as a visitor does: sign, with a picture, and read."""
    book = site("guestbook.conf")
    book.venv("guestbook/venv")
    shutil.copytree(
        PROJECT / "examples" / "guestbook",
        book.srv / "guestbook" / "app",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    for path in (book.srv / "guestbook" / "app").rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    book.folder("guestbook/data", writable=True)
    book.folder("guestbook/data/pictures", writable=True)
    client = book.start()

    page = client.get("/")
    assert "Nobody has signed yet" in page.text
    token = field(page.text, "csrf_token")
    style = re.search(r'href="(/static/[^"]+\.css)"', page.text).group(1)
    assert client.get(style).headers["cache-control"] == "max-age=3600"

    forged = client.post("/", data={"name": "Eve", "message": "forged"})
    assert forged.status_code == 400
    empty = client.post("/", data={"csrf_token": token, "name": "", "message": ""})
    assert empty.status_code == 400

    message = "Grüße <script>alert(1)</script>"
    answer = client.post(
        "/",
        data={"csrf_token": token, "name": "Zoë", "message": message},
        files={"picture": ("me.png", png(), "image/png")},
    )
    assert answer.status_code == 303
    page = client.get(answer.headers["location"]).text
    assert "Zoë" in page
    assert "Grüße &lt;script&gt;" in page
    picture = re.search(r'src="(/pictures/[^"]+)"', page).group(1)
    answer = client.get(picture)
    assert answer.content == png()
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["x-content-type-options"] == "nosniff"

    wrong = client.post(
        "/",
        data={"csrf_token": token, "name": "Zoë", "message": "?"},
        files={"picture": ("me.png", b"no picture at all", "image/png")},
    )
    assert wrong.status_code == 400
    large = client.post(
        "/",
        data={"csrf_token": token, "name": "Zoë", "message": "?"},
        files={"picture": ("me.png", png() + b"0" * 7_000_000, "image/png")},
    )
    assert large.status_code == 413
    assert client.get("/nowhere").status_code == 404
    assert "1 entry" in client.get("/").text


@pytest.mark.parametrize("name", sorted(path.name for path in FOLDER.glob("*.conf")))
def test_every_file_has_its_test(name):
    source = Path(__file__).read_text()
    assert f'site("{name}")' in source, f"nginx-conf/{name} is not loaded by any test"
