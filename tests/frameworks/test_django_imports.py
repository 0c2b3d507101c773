"""A Django project whose import fails half-way is imported again without a reload."""

from __future__ import annotations

import re

import pytest
from rawhttp import wait_for

SETTINGS = """
SECRET_KEY = "secret"
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "site1.urls"
WORD = "first"
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "shop",
]
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates"}]
"""

URLS = """
from django.conf import settings
from django.contrib import admin
from django.contrib.auth.models import User
from django.http import HttpResponse
from django.urls import re_path
from shop.models import Author, Book

def say(request):
    models = sorted(model.__name__ for model in admin.site._registry)
    related = sorted(field.name for field in Author._meta.related_objects)
    assert Author._meta.related_objects[0].related_model is Book
    assert type(admin.site._registry[User]).__name__ == "Users"
    return HttpResponse(" ".join([settings.WORD, *models, *related]))

urlpatterns = [re_path("", say)]
"""

WSGI = """
import os
from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "site1.settings")
application = get_wsgi_application()
"""

MODELS = """
from django.contrib.auth.models import User
from django.db import models

class Author(models.Model):
    user = models.ForeignKey(User, models.CASCADE)

class Book(models.Model):
    author = models.ForeignKey("Author", models.CASCADE)
"""

ADMIN = """
from django.contrib import admin
from django.contrib.auth.admin import UserAdmin
from django.contrib.auth.models import User
from shop.models import Author, Book

class Users(UserAdmin):
    pass

admin.site.unregister(User)
admin.site.register(User, Users)
admin.site.register(Author)
admin.site.register(Book)
"""

APPS = """
from django.apps import AppConfig

class Shop(AppConfig):
    name = "shop"

    def ready(self):
        pass
"""

NEEDS_DATABASE = """
from testkit import DATA, record

record("attempts")
if not (DATA / "database").exists():
    raise ConnectionRefusedError("token-no-database")
"""

ANSWER = "first Author Book Group User book"


@pytest.fixture(params=["wsgi", "asgi"])
def protocol(request):
    """Which of Django's two handlers serves."""
    return request.param


@pytest.fixture
def project(nginx, protocol):
    """`project(**files)` starts nginx with the project; the keyword's file gets more source."""

    def start(**more: str):
        files = {
            "site1/settings": SETTINGS,
            "site1/urls": URLS,
            "site1/wsgi": WSGI.replace("wsgi", protocol),
            "shop/models": MODELS,
            "shop/admin": ADMIN,
            "shop/apps": APPS,
        }
        for name, source in files.items():
            nginx.app(f"{name.split('/')[0]}/__init__", "")
            nginx.app(name, source + more.get(name.split("/")[1], ""))
        target = "site1.wsgi:application"
        nginx.start(f"{protocol}_app {target};", http=f"python_path {nginx.apps};")
        return nginx.client()

    return start


def in_ready(source: str) -> str:
    return "".join(f"        {line}\n" for line in source.splitlines())


def until_ok(client):
    def ask():
        response = client.get("/")
        assert response.status_code in (200, 500)
        return response if response.status_code == 200 else None

    return wait_for(ask, 60, "an answer 200")


@pytest.mark.parametrize("place", ["ready", "models", "admin", "settings", "wsgi"])
def test_the_database_is_there_later(nginx, project, place):
    source = in_ready(NEEDS_DATABASE) if place == "ready" else NEEDS_DATABASE
    client = project(**{{"ready": "apps"}.get(place, place): source})
    assert client.get("/").status_code == 500
    nginx.wait_log("token-no-database")
    nginx.open_gate("database")
    assert until_ok(client).text == ANSWER
    assert len(nginx.recorded("attempts")) > 1
    assert not nginx.log_lines("reentrant")
    assert not nginx.log_lines("already registered")


@pytest.mark.parametrize("place", ["apps", "models", "admin", "settings"])
def test_the_project_is_mended(nginx, project, place):
    broken = "raise ValueError('token-broken')\n"
    client = project(**{place: in_ready(broken) if place == "apps" else broken})
    assert client.get("/").status_code == 500
    nginx.wait_log("token-broken")
    sources = {"apps": APPS, "models": MODELS, "admin": ADMIN, "settings": SETTINGS}
    folder = "site1" if place == "settings" else "shop"
    nginx.app(f"{folder}/{place}", sources[place])
    assert until_ok(client).text == ANSWER
    assert not nginx.log_lines("reentrant")


def test_new_settings_are_read(nginx, project):
    client = project(apps=in_ready("raise ValueError('token-broken')\n"))
    assert client.get("/").status_code == 500
    nginx.app("site1/settings", SETTINGS.replace("first", "second"))
    nginx.app("shop/apps", APPS)
    assert until_ok(client).text == ANSWER.replace("first", "second")


def test_settings_that_are_configured_in_code(nginx, protocol):
    source = f"""
    from django.conf import settings
    from django.core.{protocol} import get_{protocol}_application
    from django.http import HttpResponse
    from django.urls import re_path

    settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="secret")
    {re.sub("^", "    ", NEEDS_DATABASE, flags=re.M).strip()}
    urlpatterns = [re_path("", lambda request: HttpResponse("hello"))]
    application = get_{protocol}_application()
    """
    nginx.start(f"{protocol}_app {nginx.app('single', source)};")
    client = nginx.client()
    assert client.get("/").status_code == 500
    nginx.open_gate("database")
    assert until_ok(client).text == "hello"
