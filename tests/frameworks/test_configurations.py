"""Every file of nginx-conf/ as users copy it, with applications in the places that it names."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import struct
import subprocess
import zlib
from pathlib import Path

import httpx
import pytest
from browser import Page
from harness import PROJECT, VENV, free_port
from rawhttp import wait_for
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, unix_connect

FOLDER = PROJECT / "nginx-conf"


class Site:
    """One of the files, with a folder of the test in place of /srv."""

    def __init__(self, nginx, name: str) -> None:
        self.nginx = nginx
        self.srv: Path = nginx.root / "srv"
        self.socket: Path = nginx.root / "site.sock"
        self.text = (FOLDER / name).read_text()

    def write(self, path: str, text: str) -> Path:
        """Writes a file under /srv."""
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

    def start(self, **options) -> httpx.Client:
        """Starts nginx with the file; returns a client of the first server that it names.

        Arguments are those of `Nginx.start`.
        """
        for path in [self.srv, *self.srv.rglob("*")]:
            if path.is_dir() and not path.is_symlink():
                path.chmod(path.stat().st_mode | 0o755)
        self.nginx.start(**self.include(), **options)
        name = re.search(r"server_name (\S+);", self.text)
        client = httpx.Client(
            base_url=f"http://{name.group(1) if name else 'localhost'}",
            transport=httpx.HTTPTransport(uds=str(self.socket)),
            timeout=60,
            trust_env=False,
        )
        self.nginx._clients.append(client)
        return client

    def websocket(self, path: str, **arguments) -> ClientConnection:
        """A client's WebSocket; its `recv` waits for a minute at most."""
        name = re.search(r"server_name (\S+);", self.text)
        host = name.group(1) if name else "localhost"
        return unix_connect(str(self.socket), f"ws://{host}{path}", open_timeout=60, **arguments)


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


def test_streaming(site):
    """Blocks arrive one by one, each before the application makes the next."""
    streams = site("streaming.conf")
    streams.venv("streaming/venv")
    gate = streams.folder("streaming/gate", writable=True)
    streams.write(
        "streaming/wsgi.py",
        f"""
        import os
        import time

        GATE = {str(gate)!r}

        def events():
            yield b"data: 0\\n\\n"
            for number in range(1, 4):
                while not os.path.exists(f"{{GATE}}/{{number}}"):
                    time.sleep(0.02)
                yield b"data: %d\\n\\n" % number

        def export():
            try:
                while True:
                    yield b"x" * 65536
            finally:
                open(f"{{GATE}}/closed", "w").close()

        def application(environ, start_response):
            path = environ["PATH_INFO"]
            kind = "text/event-stream" if path == "/events" else "application/octet-stream"
            start_response("200 OK", [("Content-Type", kind)])
            if path == "/events":
                return events()
            if path == "/export":
                return export()
            return (b"d" * 65536 for _ in range(80))
        """,
    )
    client = streams.start()
    with client.stream("GET", "/events", headers={"Accept-Encoding": "gzip"}) as answer:
        lines = (line for line in answer.iter_lines() if line)
        assert next(lines) == "data: 0"
        for number in ("1", "2", "3"):
            assert client.get("/download").content == b"d" * 65536 * 80
            (gate / number).touch()
            assert next(lines) == f"data: {number}"
        assert next(lines, None) is None
    with client.stream("GET", "/export") as answer:
        assert next(answer.iter_raw(1_000_000)) == b"x" * 1_000_000
    wait_for((gate / "closed").exists, 60, "the end of an export whose client has left")


def test_uploads(site):
    """Some megabytes arrive, as a form and raw, with a length and chunked; too many are refused."""
    uploads = site("uploads.conf")
    uploads.venv("uploads/venv")
    gate = uploads.folder("uploads/gate", writable=True)
    uploads.write(
        "uploads/wsgi.py",
        f"""
        import hashlib
        from pathlib import Path

        from flask import Flask, request

        application = Flask(__name__)

        @application.post("/")
        def form():
            digest = hashlib.sha256(request.files["file"].read()).hexdigest()
            return f"{{request.form['title']}} {{digest}}"

        @application.put("/raw")
        def raw():
            return f"{{request.content_length}} {{hashlib.sha256(request.data).hexdigest()}}"

        @application.post("/comments")
        def comments():
            return str(len(request.data))

        @application.put("/stream")
        def stream():
            digest = hashlib.sha256()
            while block := request.stream.read(65536):
                digest.update(block)
                Path({str(gate)!r}, "begun").touch()
            return digest.hexdigest()
        """,
    )
    client = uploads.start()
    body = bytes(range(256)) * 20_000
    digest = hashlib.sha256(body).hexdigest()

    answer = client.post("/", data={"title": "Zoë"}, files={"file": ("a.bin", body)})
    assert answer.text == f"Zoë {digest}"
    assert client.put("/raw", content=body).text == f"{len(body)} {digest}"
    blocks = (body[at : at + 99_999] for at in range(0, len(body), 99_999))
    assert client.put("/raw", content=blocks).text == f"{len(body)} {digest}"
    assert client.put("/raw", content=b"x" * 34_000_000).status_code == 413
    assert client.post("/comments", content=b"x" * 500_000).text == "500000"
    assert client.post("/comments", content=b"x" * 1_100_000).status_code == 413

    def as_it_is_read():
        yield body[:100_000]
        wait_for((gate / "begun").exists, 60, "the application reading an unfinished upload")
        yield body[100_000:]
        yield body * 6

    answer = client.put("/stream", content=as_it_is_read())
    assert answer.text == hashlib.sha256(body * 7).hexdigest()


def test_fastapi(site):
    shop = site("fastapi.conf")
    shop.venv("fastapi/venv")
    shop.write(
        "fastapi/main.py",
        """
        import hashlib
        import os

        from fastapi import FastAPI, UploadFile

        app = FastAPI()

        @app.get("/items/{number}")
        async def item(number: int, wanted: bool = False):
            return {"number": number, "wanted": wanted, "database": os.environ["SHOP_DATABASE"]}

        @app.post("/files")
        async def upload(file: UploadFile):
            return {"digest": hashlib.sha256(await file.read()).hexdigest()}
        """,
    )
    client = shop.start()
    assert client.get("/items/7?wanted=yes").json() == {
        "number": 7,
        "wanted": True,
        "database": f"{shop.srv}/fastapi/shop.sqlite3",
    }
    assert client.get("/items/none").status_code == 422
    body = bytes(range(256)) * 20_000
    answer = client.post("/files", files={"file": ("a.bin", body)})
    assert answer.json() == {"digest": hashlib.sha256(body).hexdigest()}
    assert client.post("/files", files={"file": ("a.bin", body * 3)}).status_code == 413
    # A client of a Unix socket is in none of the networks.
    for path in ("/docs", "/redoc", "/openapi.json"):
        assert client.get(path).status_code == 403


LOOP = """
    import asyncio

    from starlette.applications import Starlette
    from starlette.responses import JSONResponse
    from starlette.routing import Route, WebSocketRoute

    async def show(request):
        return JSONResponse(
            {
                "mode": request.app.state.mode,
                "root_path": request.scope["root_path"],
                "path": request.scope["path"],
                "url": str(request.url_for("show", rest="x")),
                "loop": id(asyncio.get_running_loop()),
            }
        )

    async def echo(socket):
        await socket.accept()
        async for text in socket.iter_text():
            await socket.send_text(text)

    def create_app(mode):
        routes = [WebSocketRoute("/live", echo), Route("/{rest:path}", show, name="show")]
        app = Starlette(routes=routes)
        app.state.mode = mode
        return app

    app = create_app("site")
"""


def test_starlette(site):
    """Each application is on its own loop; the WebSocket's limit holds."""
    host = site("starlette.conf")
    host.venv("venv")
    host.write("site/main.py", LOOP)
    host.write("reports/main.py", LOOP)
    host.write("site/static/a.css", "a {}")
    client = host.start()
    page = client.get("/a/b").json()
    assert (page["mode"], page["root_path"], page["path"]) == ("site", "", "/a/b")
    assert client.get("/static/a.css").headers["cache-control"] == "max-age=3600"

    report = client.get("/reports/2024").json()
    assert report["mode"] == "production"
    assert (report["root_path"], report["path"]) == ("/reports", "/reports/2024")
    assert report["url"] == "http://www.example.com/reports/x"
    assert report["loop"] != page["loop"]
    answer = client.get("/reports")
    assert answer.status_code == 301
    assert answer.headers["location"] == "http://www.example.com/reports/"

    with host.websocket("/live") as socket:
        socket.send("ö" * 32_000)
        assert socket.recv(timeout=60) == "ö" * 32_000
        socket.send("ö" * 33_000)
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(timeout=60)
        assert closed.value.rcvd.code == 1009


def test_channels(site):
    """A page of Django, and a group of two consumers."""
    project = site("channels.conf")
    project.venv("channels/venv")
    folder = project.folder("channels")
    subprocess.run(
        [VENV / "bin" / "python", "-m", "django", "startproject", "mysite", folder], check=True
    )
    settings = folder / "mysite" / "settings.py"
    settings.write_text(
        settings.read_text().replace("ALLOWED_HOSTS = []", 'ALLOWED_HOSTS = ["www.example.com"]')
        + f"""
STATIC_ROOT = "{folder}/static"
CHANNEL_LAYERS = {{"default": {{"BACKEND": "channels.layers.InMemoryChannelLayer"}}}}
"""
    )
    project.write(
        "channels/mysite/asgi.py",
        """
        from channels.generic.websocket import AsyncJsonWebsocketConsumer
        from channels.routing import ProtocolTypeRouter, URLRouter
        from channels.security.websocket import AllowedHostsOriginValidator
        from django.core.asgi import get_asgi_application
        from django.urls import path

        class Everybody(AsyncJsonWebsocketConsumer):
            groups = ["everybody"]

            async def receive_json(self, content):
                await self.channel_layer.group_send("everybody", {"type": "said", **content})

            async def said(self, event):
                await self.send_json(event["text"])

        application = ProtocolTypeRouter(
            {
                "http": get_asgi_application(),
                "websocket": AllowedHostsOriginValidator(
                    URLRouter([path("talk/", Everybody.as_asgi())])
                ),
            }
        )
        """,
    )
    for command in ["migrate", "collectstatic --no-input"]:
        subprocess.run(
            [VENV / "bin" / "python", folder / "manage.py", *command.split()],
            check=True,
            capture_output=True,
        )
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    client = project.start()
    page = client.get("/admin/login/").text
    style = re.search(r'href="(/static/admin/css/base[^"]*)"', page).group(1)
    assert client.get(style).headers["cache-control"] == "max-age=86400"

    own = "http://www.example.com"
    with (
        project.websocket("/talk/", origin=own) as first,
        project.websocket("/talk/", origin=own) as second,
    ):
        first.send('{"text": "Grüße"}')
        assert second.recv(timeout=60) == first.recv(timeout=60) == '"Gr\\u00fc\\u00dfe"'
    with pytest.raises(InvalidStatus) as refused:
        project.websocket("/talk/", origin="http://elsewhere.example.com")
    assert refused.value.response.status_code == 403


def test_sse(site):
    """Each event arrives before the next one is made; a task whose client leaves is cancelled."""
    events = site("sse.conf")
    events.venv("events/venv")
    gate = events.folder("events/gate", writable=True)
    events.write(
        "events/main.py",
        f"""
        import asyncio
        from pathlib import Path

        from starlette.applications import Starlette
        from starlette.responses import PlainTextResponse, StreamingResponse
        from starlette.routing import Route

        GATE = Path({str(gate)!r})

        async def count():
            try:
                yield "data: 0\\n\\n"
                for number in range(1, 4):
                    while not (GATE / str(number)).exists():
                        await asyncio.sleep(0.02)
                    yield f"data: {{number}}\\n\\n"
                await asyncio.Event().wait()
            finally:
                (GATE / "closed").touch()

        async def stream(request):
            return StreamingResponse(count(), media_type="text/event-stream")

        async def index(request):
            return PlainTextResponse("hello")

        app = Starlette(routes=[Route("/", index), Route("/events", stream)])
        """,
    )
    client = events.start()
    with client.stream("GET", "/events", headers={"Accept-Encoding": "gzip"}) as answer:
        lines = (line for line in answer.iter_lines() if line)
        assert next(lines) == "data: 0"
        for number in ("1", "2", "3"):
            assert client.get("/").text == "hello"
            (gate / number).touch()
            assert next(lines) == f"data: {number}"
        assert not (gate / "closed").exists()
    wait_for((gate / "closed").exists, 60, "the end of a stream whose client has left")


@pytest.fixture
def chat(site):
    """nginx-conf/chat.conf with examples/chat; its data is in `chat.data`."""
    chat = site("chat.conf")
    chat.venv("chat/venv")
    shutil.copytree(
        PROJECT / "examples" / "chat",
        chat.srv / "chat" / "app",
        ignore=shutil.ignore_patterns("__pycache__", "data"),
    )
    for path in (chat.srv / "chat" / "app").rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    chat.data = chat.folder("chat/data", writable=True)
    return chat


def test_chat(chat):
    """The example as its page uses it: two say something, both hear it."""
    client = chat.start()

    page = client.get("/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    for path in re.findall(r'(?:href|src)="(static/[^"]+)"', page.text):
        assert client.get(f"/{path}").headers["cache-control"] == "max-age=3600"

    with (
        chat.websocket("/talk", origin="http://localhost") as first,
        chat.websocket("/talk") as second,
    ):
        for socket in (first, second):
            assert json.loads(socket.recv(timeout=60))["worker"] in chat.nginx.workers()
        for socket, name in ((first, "Zoë"), (second, "")):
            socket.send(json.dumps({"name": name, "text": "Grüße <b>"}))
            heard = {"name": name or "somebody", "text": "Grüße <b>"}
            assert json.loads(first.recv(timeout=60)) == heard
            assert json.loads(second.recv(timeout=60)) == heard
        second.send("no message at all")
        with pytest.raises(ConnectionClosed) as closed:
            second.recv(timeout=60)
        assert closed.value.rcvd.code == 1008
    with pytest.raises(InvalidStatus) as refused:
        chat.websocket("/talk", origin="http://elsewhere.example.com")
    assert refused.value.response.status_code == 403
    assert [path.suffix for path in chat.data.iterdir()] == [".sock"]
    chat.nginx.stop()
    assert list(chat.data.iterdir()) == []


def test_pages_of_the_chat_talk(chat, browser):
    """In a browser, over two workers; after a reload the pages connect again by themselves."""
    nginx = chat.nginx
    # A browser has no Unix sockets. With `reuseport` each worker gets connections of its own.
    port = free_port()
    listen = f"listen 127.0.0.1:{port} reuseport;"
    chat.text = chat.text.replace("listen 80;", f"listen 80; {listen}")
    chat.text += "python_drain_timeout 2s;"
    chat.start(workers=2)
    pages: dict[int, Page] = {}

    def worker_of(page: Page) -> int:
        shown = page.wait("state.textContent.startsWith('connected') && state.textContent")
        return int(shown.split()[-1])

    def a_page_in_each_worker() -> bool:
        page = browser.open(f"http://127.0.0.1:{port}/")
        pages[worker_of(page)] = page
        return len(pages) == 2

    wait_for(a_page_in_each_worker, 120, "a page in each worker")
    assert set(pages) == set(nginx.workers())
    one, two = pages.values()

    def say(page: Page, author: str, words: str) -> None:
        page.evaluate(f"name.value = {json.dumps(author)}; text.value = {json.dumps(words)}")
        page.evaluate("form.requestSubmit()")
        for each in (one, two):
            each.wait(f"messages.textContent.includes({json.dumps(words)})")

    say(one, "Zoë", "hello")
    say(two, "Ben", "❄ <b>you too</b>")
    nginx.reload()
    workers = set(nginx.workers())
    for page in (one, two):
        wait_for(lambda page=page: worker_of(page) in workers, 60, "a page in a new worker")
    say(two, "Ben", "still here?")
    say(one, "Zoë", "yes")
    expected = ["Zoë hello", "Ben ❄ <b>you too</b>", "Ben still here?", "Zoë yes"]
    for page in (one, two):
        shown = page.evaluate("[...messages.children].map((line) => line.textContent)")
        assert shown == expected
    assert not nginx.log_lines("[error]")


def test_auth_request(site):
    """Strangers are redirected to the login, a member is let in, a banned one is refused."""
    members = site("auth-request.conf")
    members.venv("members/venv")
    members.write("members/files/plan.txt", "for members")
    members.write(
        "members/accounts.py",
        """
        from flask import Flask, Response, redirect, request

        application = Flask(__name__)

        @application.route("/auth", methods=["GET", "HEAD", "POST"])
        def auth():
            # The subrequest has no body, even if the request has one.
            if request.get_data():
                return Response(status=500)
            member = request.cookies.get("member")
            if member is None:
                return Response(status=401)
            if member == "banned" or "/secret" in request.environ["REQUEST_URI"]:
                return Response(status=403)
            return Response(status=204, headers={"X-User": member})

        @application.get("/login")
        def form():
            return "who are you?"

        @application.post("/login")
        def login():
            answer = redirect("/", 303)
            answer.set_cookie("member", request.form["name"])
            return answer
        """,
    )
    members.write(
        "members/club.py",
        """
        def application(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/plain")])
            size = len(environ["wsgi.input"].read())
            return [f"{environ['REMOTE_USER']} {environ['PATH_INFO']} {size}".encode()]
        """,
    )
    client = members.start()
    for path in ("/", "/files/plan.txt"):
        answer = client.get(path, headers={"X-User": "zoe"})
        assert answer.status_code == 303
        assert answer.headers["location"].endswith("/login")
    assert client.get("/auth").status_code == 404
    assert client.get("/login").text == "who are you?"

    answer = client.post("/login", data={"name": "zoe"})
    assert answer.status_code == 303
    assert client.get("/", headers={"X-User": "eve"}).text == "zoe / 0"
    assert client.post("/post", content=b"x" * 900_000).text == "zoe /post 900000"
    assert client.get("/files/plan.txt").text == "for members"
    assert client.get("/secret/plan").status_code == 403

    client.post("/login", data={"name": "banned"})
    assert client.get("/").status_code == 403
    assert client.get("/files/plan.txt").status_code == 403


def test_x_accel(site):
    """Files that the application releases, whole and ranges of them; no others."""
    documents = site("x-accel.conf")
    documents.venv("documents/venv")
    content = bytes(range(256)) * 4000
    documents.write("documents/files/a b.bin", "").write_bytes(content)
    documents.write(
        "documents/wsgi.py",
        """
        from urllib.parse import quote

        from flask import Flask, Response, abort, request

        application = Flask(__name__)

        @application.get("/documents/<name>")
        def document(name):
            if request.headers.get("Authorization") != "Bearer zoe":
                abort(403)
            return Response(
                headers={
                    "X-Accel-Redirect": "/protected/" + quote(name),
                    "Content-Type": "application/x-document",
                    "Content-Disposition": "attachment",
                }
            )
        """,
    )
    client = documents.start()
    path = "/documents/a%20b.bin"
    allowed = {"Authorization": "Bearer zoe"}
    assert client.get(path).status_code == 403
    assert client.get("/protected/a%20b.bin", headers=allowed).status_code == 404

    answer = client.get(path, headers=allowed)
    assert answer.status_code == 200
    assert answer.content == content
    assert answer.headers["content-type"] == "application/x-document"
    assert answer.headers["content-disposition"] == "attachment"
    assert "x-accel-redirect" not in answer.headers

    part = client.get(path, headers={**allowed, "Range": "bytes=1000-1999"})
    assert part.status_code == 206
    assert part.content == content[1000:2000]
    assert part.headers["content-range"] == f"bytes 1000-1999/{len(content)}"
    same = client.get(path, headers={**allowed, "If-None-Match": answer.headers["etag"]})
    assert same.status_code == 304
    assert client.get("/documents/none", headers=allowed).status_code == 404


def png() -> bytes:
    """The smallest picture: one pixel."""

    def part(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = part(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0))
    pixel = part(b"IDAT", zlib.compress(b"\0\0"))
    return b"\x89PNG\r\n\x1a\n" + header + pixel + part(b"IEND", b"")


def test_guestbook(site, field):
    """The example as a visitor uses it: signs with a picture, and reads."""
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
