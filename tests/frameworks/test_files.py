"""Files as frameworks send them: Django's FileResponse, Flask's send_file, WhiteNoise."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from rawhttp import wait_for

CONTENT = b"".join(hashlib.sha256(bytes([number % 256])).digest() for number in range(40_000))

DJANGO = """
    import io
    import threading

    import django
    from django.conf import settings
    from django.core.files import File
    from django.core.signals import request_finished
    from django.core.wsgi import get_wsgi_application
    from django.http import FileResponse
    from django.urls import path
    from testkit import DATA, record

    settings.configure(ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, DEBUG=False, SECRET_KEY="x")
    request_finished.connect(lambda **rest: record("finished"), weak=False)


    def plain(request):
        return FileResponse(open(DATA / "large.bin", "rb"))


    def attachment(request):
        file = File(open(DATA / "large.bin", "rb"))
        return FileResponse(file, as_attachment=True, filename="r\\u00e9port.bin")


    def memory(request):
        return FileResponse(io.BytesIO(b"in memory"), filename="memory.txt")


    urlpatterns = [path("plain", plain), path("attachment", attachment), path("memory", memory)]
    application = get_wsgi_application()
"""

# Each request for a file uses the database first; /state counts the open connections.
DJANGO_DATABASE = """
    import os
    import threading

    import django
    from django.conf import settings
    from django.core.signals import request_finished
    from django.core.wsgi import get_wsgi_application
    from django.db import connection
    from django.http import FileResponse, HttpResponse
    from django.urls import path
    from testkit import DATA, gate, record

    DATABASE = {"ENGINE": "django.db.backends.sqlite3", "NAME": DATA / "site.sqlite3"}
    settings.configure(
        ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, SECRET_KEY="x", DATABASES={"default": DATABASE}
    )
    served = threading.local()


    def finished(**rest):
        record("finished", getattr(served, "yes", False))
        served.yes = False

    request_finished.connect(finished, weak=False)


    def file(request):
        served.yes = True
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        record("queried")
        gate("all")  # The requests run side by side, each on a thread of its own.
        return FileResponse(open(DATA / "large.bin", "rb"))


    def state(request):
        names = []
        for number in os.listdir("/proc/self/fd"):
            try:
                names.append(os.readlink(f"/proc/self/fd/{number}"))
            except OSError:
                pass
        return HttpResponse(str(sum("site.sqlite3" in name for name in names)))


    urlpatterns = [path("file", file), path("state", state)]
    application = get_wsgi_application()
"""

FLASK = """
    import io

    from flask import Flask, send_file
    from testkit import DATA

    app = Flask(__name__)


    @app.get("/plain")
    def plain():
        return send_file(DATA / "large.bin")


    @app.get("/open")
    def opened():
        return send_file(open(DATA / "large.bin", "rb"), mimetype="application/octet-stream")


    @app.get("/memory")
    def memory():
        return send_file(io.BytesIO(b"in memory"), mimetype="text/plain")
"""

WHITENOISE = """
    from testkit import DATA
    from whitenoise import WhiteNoise

    def page(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"a page"]

    application = WhiteNoise(page, root=DATA, prefix="static/")
"""


@pytest.fixture
def serve(nginx):
    def begin(source: str):
        (nginx.data / "large.bin").write_bytes(CONTENT)
        nginx.start(f"wsgi_app {nginx.app('files', source)};")
        return nginx.client()

    return begin


def descriptors(nginx) -> int:
    """How many descriptors of the file the worker holds."""
    links = [
        os.path.realpath(entry)
        for pid in nginx.workers()
        for entry in Path(f"/proc/{pid}/fd").iterdir()
    ]
    return sum(link.endswith("/large.bin") for link in links)


def assert_ranges(client, path: str) -> None:
    for asked, expected in [
        ("0-99", CONTENT[:100]),
        ("1000000-1000999", CONTENT[1_000_000:1_001_000]),
        ("-7", CONTENT[-7:]),
    ]:
        part = client.get(path, headers={"Range": f"bytes={asked}"})
        assert (part.status_code, part.content) == (206, expected), asked
        assert part.headers.get_list("Content-Range")[0].endswith(f"/{len(CONTENT)}")
    beyond = client.get(path, headers={"Range": f"bytes={len(CONTENT)}-"})
    assert beyond.status_code == 416


@pytest.mark.threads("the requests run side by side")
def test_no_database_connection_of_django_outlives_its_request(nginx, serve):
    client = serve(DJANGO_DATABASE)
    assert client.get("/state").text == "0"
    connections = [nginx.connect() for _ in range(6)]
    for connection in connections:
        connection.get("/file", close=True)
    nginx.wait_recorded("queried", 6)
    assert client.get("/state").text == "6"
    nginx.open_gate("all")
    for connection in connections:
        assert connection.response().body == CONTENT
    # "/state" twice, by threads that had used no database.
    finished = nginx.wait_recorded("finished", 8)
    assert sorted(finished) == ["False"] * 2 + ["True"] * 6
    assert client.get("/state").text == "0"


@pytest.mark.parametrize("path", ["/plain", "/attachment"])
def test_django(nginx, serve, path):
    client = serve(DJANGO)
    whole = client.get(path)
    assert (whole.status_code, whole.content) == (200, CONTENT)
    assert whole.headers["Content-Length"] == str(len(CONTENT))
    if path == "/attachment":
        assert whole.headers["Content-Disposition"].startswith("attachment; filename*=utf-8''r%C3")
    # Django knows no ranges: nginx does.
    assert_ranges(client, path)
    assert client.head(path).headers["Content-Length"] == str(len(CONTENT))
    # response.close() was called, with Django's signal, once for each.
    nginx.wait_recorded("finished", 6)
    wait_for(lambda: descriptors(nginx) == 0, what="the file's end")
    assert len(nginx.recorded("finished")) == 6


def test_django_in_memory(nginx, serve):
    client = serve(DJANGO)
    assert client.get("/memory").content == b"in memory"
    assert nginx.wait_recorded("finished") == ["-"]


@pytest.mark.parametrize("path", ["/plain", "/open"])
def test_flask(nginx, serve, path):
    client = serve(FLASK)
    whole = client.get(path)
    assert (whole.status_code, whole.content) == (200, CONTENT)
    # For a path Flask handles ranges itself; for a file object nginx does.
    assert_ranges(client, path)
    if path == "/plain":
        again = client.get(path, headers={"If-None-Match": whole.headers["ETag"]})
        assert (again.status_code, again.content) == (304, b"")
    wait_for(lambda: descriptors(nginx) == 0, what="the file's end")


def test_flask_in_memory(serve):
    assert serve(FLASK).get("/memory").content == b"in memory"


def test_whitenoise(nginx, serve):
    client = serve(WHITENOISE)
    assert client.get("/").content == b"a page"
    whole = client.get("/static/large.bin")
    assert (whole.status_code, whole.content) == (200, CONTENT)
    assert_ranges(client, "/static/large.bin")
    fields = {"If-Modified-Since": whole.headers["Last-Modified"]}
    assert client.get("/static/large.bin", headers=fields).status_code == 304
    wait_for(lambda: descriptors(nginx) == 0, what="the file's end")
