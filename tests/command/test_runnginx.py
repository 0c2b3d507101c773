"""`manage.py runnginx`: a Django project with `pywsgi.contrib.django` in its INSTALLED_APPS."""

from __future__ import annotations

import subprocess
import sys

from rawhttp import wait_for

MANAGE = """
import os, sys

os.environ["DJANGO_SETTINGS_MODULE"] = "mysite.settings"

from django.core.management import execute_from_command_line

execute_from_command_line(sys.argv)
"""

SETTINGS = """
SECRET_KEY = "test"
DEBUG = True
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "mysite.urls"
INSTALLED_APPS = ["django.contrib.staticfiles", "pywsgi.contrib.django", "polls"]
STATIC_URL = "/static/"
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}]
USE_TZ = True
"""

URLS = """
from django.http import HttpResponse
from django.shortcuts import render
from django.urls import path

from polls.models import Choice

def page(request):
    return render(request, "polls/page.html", {"scheme": request.scheme})

urlpatterns = [path("", page), path("view", lambda request: HttpResponse("first"))]
"""

MODELS = """
from django.db import models

class Choice(models.Model):
    text = models.CharField(max_length=20)
"""


def project(pywsgi):
    for name, text in {
        "manage.py": MANAGE,
        "mysite/__init__.py": "",
        "mysite/settings.py": SETTINGS,
        "mysite/urls.py": URLS,
        "polls/__init__.py": "",
        # Views import models, which need the apps.
        "polls/models.py": MODELS,
        "polls/static/polls/site.css": "body {}",
        "polls/templates/polls/page.html": "one {{ scheme }}",
    }.items():
        pywsgi.file(name, text)


def test_runnginx(pywsgi):
    """The pages, the apps' static files, and a reload when a view or a template changes."""
    project(pywsgi)
    server = pywsgi.serve("0", "--status", program=["manage.py", "runnginx"])
    assert "settings 'mysite.settings'" in server.wait("Will reload")
    assert "pywsgi.contrib.django.handlers:wsgi() (WSGI)" in server.err()
    assert server.get().text == "one http"
    css = server.get("/static/polls/site.css")
    assert (css.text, css.headers["Content-Type"]) == ("body {}", "text/css")
    pywsgi.file("mysite/urls.py", URLS.replace("first", "second"))
    wait_for(lambda: server.get("/view").text == "second", 60, "the new view")
    # A view that cannot be imported is not taken, though Django would not look at it yet.
    pywsgi.file("mysite/urls.py", "urlpatterns = [")
    assert "SyntaxError: '[' was never closed" in server.wait("The new code is not loaded")
    assert server.get("/view").text == "second"
    pywsgi.file("mysite/urls.py", URLS)
    wait_for(lambda: server.get("/view").text == "first", 60, "the old view")
    pywsgi.file("polls/templates/polls/page.html", "two {{ scheme }}")
    wait_for(lambda: server.get().text == "two http", 60, "the new template")
    assert server.stop() == 0
    assert pywsgi.left_over() == []


def test_asgi_without_static_files(pywsgi):
    project(pywsgi)
    server = pywsgi.serve(
        "127.0.0.1:0", "--asgi", "--noreload", "--nostatic", program=["manage.py", "runnginx"]
    )
    assert "django.core.asgi:get_asgi_application() (ASGI)" in server.wait("complete:")
    assert server.get("/view").text == "first"
    assert server.get("/static/polls/site.css").status_code == 404


def test_a_mistake(pywsgi):
    project(pywsgi)

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "manage.py", "runnginx", *arguments],
            env=pywsgi.environ,
            cwd=pywsgi.folder,
            capture_output=True,
            text=True,
            timeout=120,
        )

    done = run("8000x")
    assert done.returncode == 1
    assert "'8000x' is neither PORT nor ADDRESS:PORT" in done.stderr
    done = run("--help")
    assert done.returncode == 0
    assert "--noreload" in done.stdout
    assert "--tls-self-signed" in done.stdout
