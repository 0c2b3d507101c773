"""Django: its admin, the ORM on SQLite, sessions, forms with CSRF, uploads and file responses."""

from __future__ import annotations

import os
import re
import subprocess

import pytest
from harness import VENV

PASSWORD = "correct horse battery"


@pytest.fixture
def library(nginx, deploy):
    """The library as it is deployed: migrated, with static files collected and served by nginx."""
    place = deploy("django_library")
    environment = {"LIBRARY_DATA": str(place.data), "LIBRARY_SECRET": "not-a-real-secret"}

    def manage(*arguments: str, **more: str) -> None:
        subprocess.run(
            [VENV / "bin" / "python", place.folder / "manage.py", *arguments],
            env={**os.environ, **environment, **more},
            check=True,
            capture_output=True,
        )

    manage("makemigrations", "books")
    manage("migrate")
    manage("collectstatic", "--no-input")
    manage(
        *("createsuperuser", "--no-input", "--username", "admin", "--email", "a@example.org"),
        DJANGO_SUPERUSER_PASSWORD=PASSWORD,
    )
    (place.data / "media").mkdir()
    place.share(place.folder, writable=False)
    place.share(place.data, writable=True)
    settings = " ".join(f"{name}={value}" for name, value in environment.items())
    nginx.start(
        "wsgi_app library.wsgi:application; client_max_body_size 16m;",
        http=f"""
            python_path {place.folder};
            python_env {settings} DJANGO_SETTINGS_MODULE=library.settings;
        """,
        server=f"location /static/ {{ alias {place.data}/static/; }}",
        workers=2,
    )
    return nginx


def log_in(client, field):
    """Logs in to the admin, which redirects to its login form, which needs the token."""
    answer = client.get("/admin/")
    assert answer.status_code == 302
    assert answer.headers["location"] == "/admin/login/?next=/admin/"
    page = client.get("/admin/login/?next=/admin/")
    token = field(page.text, "csrfmiddlewaretoken")
    answer = client.post(
        "/admin/login/?next=/admin/",
        data={
            "csrfmiddlewaretoken": token,
            "username": "admin",
            "password": PASSWORD,
            "next": "/admin/",
        },
    )
    assert answer.status_code == 302
    assert answer.headers["location"] == "/admin/"
    assert "sessionid" in client.cookies


def admin_form(client, field, path, data, files=None):
    """Opens a form of the admin, fills it in and sends it."""
    token = field(client.get(path).text, "csrfmiddlewaretoken")
    return client.post(path, data={"csrfmiddlewaretoken": token, **data}, files=files)


@pytest.mark.parametrize("copies", [0, 1], ids=["in memory", "temporary file"])
def test_the_admin_adds_changes_and_deletes_a_book(library, field, picture, copies):
    scan = picture[:20_000] + picture * copies
    client = library.client()
    log_in(client, field)
    page = client.get("/admin/").text
    assert "Site administration" in page
    style = re.search(r'href="(/static/admin/css/base[^"]*\.css)"', page).group(1)
    assert "--primary" in client.get(style).text

    answer = admin_form(client, field, "/admin/books/author/add/", {"name": "Astrid Lindgren"})
    assert answer.status_code == 302
    answer = admin_form(
        client,
        field,
        "/admin/books/book/add/",
        {"author": "1", "title": "Brüder Löwenherz", "year": "1973"},
        files={"scan": ("löwe.jpg", scan, "image/jpeg")},
    )
    assert answer.status_code == 302
    listing = client.get(answer.headers["location"]).text
    assert "was added successfully" in listing
    assert "Brüder Löwenherz" in listing
    assert "Brüder" in client.get("/admin/books/book/?q=Löwen").text

    download = client.get("/books/1/scan/")
    assert download.status_code == 200
    assert download.content == scan
    assert download.headers["content-length"] == str(len(scan))
    assert download.headers["content-disposition"].startswith("attachment")

    answer = admin_form(
        client,
        field,
        "/admin/books/book/1/change/",
        {"author": "1", "title": "Mio", "year": "1954"},
    )
    assert answer.status_code == 302
    assert client.get("/books/1/").json() == {
        "title": "Mio",
        "author": "Astrid Lindgren",
        "year": 1954,
    }
    answer = admin_form(client, field, "/admin/books/book/1/delete/", {"post": "yes"})
    assert answer.status_code == 302
    assert client.get("/books/1/").status_code == 404

    token = field(client.get("/admin/").text, "csrfmiddlewaretoken")
    assert client.post("/admin/logout/", data={"csrfmiddlewaretoken": token}).status_code == 200
    assert client.get("/admin/").status_code == 302


def test_a_form_with_its_token_and_one_without(library, field):
    client = library.client()
    data = {"author": "Otfried Preußler", "title": "Krabat", "year": "1971"}
    assert client.post("/suggest/", data=data).status_code == 403
    token = field(client.get("/suggest/").text, "csrfmiddlewaretoken")
    data["csrfmiddlewaretoken"] = token
    answer = client.post("/suggest/", data={**data, "year": "never"})
    assert answer.status_code == 200
    assert "Enter a whole number" in answer.text
    answer = client.post("/suggest/", data=data)
    assert answer.status_code == 302
    assert client.get(answer.headers["location"]).json()["author"] == "Otfried Preußler"
    assert "Otfried Preußler: Krabat (1971)" in client.get("/").text
    catalogue = client.get("/catalogue.csv")
    assert catalogue.headers["content-type"] == "text/csv; charset=utf-8"
    assert catalogue.text == "Krabat;Otfried Preußler;1971\n"


def test_the_session_counts_in_two_workers(library):
    first, second = library.client(), library.client()
    assert [int(first.get("/visits/").text) for _ in range(5)] == [1, 2, 3, 4, 5]
    assert [int(second.get("/visits/").text) for _ in range(2)] == [1, 2]
    assert first.get("/visits/").text == "6"


def test_slash_appended_missing_page_head_and_strange_host(library):
    client = library.client()
    answer = client.get("/suggest")
    assert answer.status_code == 301
    assert answer.headers["location"] == "/suggest/"
    assert client.get("/nowhere/").status_code == 404
    answer = client.head("/")
    assert answer.status_code == 200
    assert answer.content == b""
    assert int(answer.headers["content-length"]) > 0
    assert client.post("/").status_code in (403, 405)
    assert client.get("/", headers={"Host": "evil.example"}).status_code == 400


def test_what_a_person_sees_is_committed_for_the_next(library, field):
    clients = [library.client() for _ in range(4)]
    for number, client in enumerate(clients):
        token = field(client.get("/suggest/").text, "csrfmiddlewaretoken")
        answer = client.post(
            "/suggest/",
            data={
                "csrfmiddlewaretoken": token,
                "author": "same",
                "title": f"part {number}",
                "year": "2000",
            },
        )
        assert answer.status_code == 302
        assert f"part {number} (2000)" in clients[number - 1].get("/").text


def test_an_error_that_django_logs_nowhere_is_in_the_error_log(nginx):
    """With DEBUG=False and without LOGGING, its handlers write nothing."""
    source = """
        from django.conf import settings
        from django.core.wsgi import get_wsgi_application
        from django.urls import path

        def broken(request):
            raise LookupError("in a view")

        settings.configure(
            DEBUG=False, ALLOWED_HOSTS=["*"], SECRET_KEY="x", ROOT_URLCONF=__name__
        )
        urlpatterns = [path("broken", broken)]
        application = get_wsgi_application()
    """
    nginx.start(f"wsgi_app {nginx.app('site', source)};", log_level="error")
    client = nginx.client()
    assert client.get("/broken").status_code == 500
    assert client.get("/none").status_code == 404
    assert "[error]" in nginx.wait_log("LookupError: in a view")
    line = nginx.wait_log("django.request: Internal Server Error: /broken")
    assert 'request: "GET /broken ' in line
    assert "[warn]" in nginx.wait_log("django.request: Not Found: /none")
    assert len(nginx.log_lines("Internal Server Error: /broken")) == 1
