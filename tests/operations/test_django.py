"""Django with DEBUG = False: what it logs, and where its database may be."""

from __future__ import annotations

import os
import subprocess

import pytest
from harness import PROJECT, VENV

SHIM = PROJECT / "python-shim"

SETTINGS = """
SECRET_KEY = "not-a-real-secret"
ROOT_URLCONF = "shop.urls"
MIDDLEWARE = ["django.middleware.common.CommonMiddleware"]
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth"]
DATABASES = {{
    "default": {{"ENGINE": "django.db.backends.sqlite3", "NAME": "{database}/db.sqlite3"}}
}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
"""

URLS = """
import logging

from django.contrib.auth.models import User
from django.http import HttpResponse
from django.urls import path


def count(request):
    logging.getLogger("shop").info("counted")
    User.objects.create(username=f"user{User.objects.count()}")
    return HttpResponse(f"{User.objects.count()}")


def broken(request):
    raise ValueError("token-in-view")


urlpatterns = [path("count", count), path("broken", broken)]
"""

WSGI = """
import os

os.environ["DJANGO_SETTINGS_MODULE"] = "shop.settings"
from django.core.wsgi import get_wsgi_application

application = get_wsgi_application()
"""


@pytest.fixture
def shop(nginx, recipes):
    """The project, with the recipe's settings, and a database in the recipe's folder."""
    folder = nginx.root / "lib"
    recipes.places["/var/lib/shop"] = str(folder)
    script = recipes.block("sh", "django")
    if os.geteuid() != 0:
        script = script.replace("-o www-data -g www-data ", "")
    elif nginx.user:
        script = script.replace("www-data", nginx.user)
    done = recipes.shell(script)
    assert done.returncode == 0, done.stderr
    settings = SETTINGS.format(database=folder) + recipes.block("python", "django")
    nginx._write(nginx.apps / "shop/__init__.py", "")
    nginx._write(nginx.apps / "shop/settings.py", settings)
    nginx._write(nginx.apps / "shop/urls.py", URLS)
    nginx._write(nginx.apps / "shop/wsgi.py", WSGI)
    # As somebody who deploys does it; pywsgi is on this path as it is after `pip install`.
    subprocess.run(
        [VENV / "bin" / "python", "-m", "django", "migrate", "--verbosity", "0"],
        env={
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "shop.settings",
            "PYTHONPATH": f"{nginx.apps}:{SHIM}",
        },
        check=True,
        capture_output=True,
    )
    if nginx.user:
        subprocess.run(["chown", "-R", nginx.user, folder], check=True)
    nginx.start("wsgi_app shop.wsgi;", http=f"python_path {nginx.apps};")
    return nginx.client(headers={"Host": "www.example.com"})


def test_debug_is_off(nginx, shop):
    assert shop.get("/count").text == "1"
    assert shop.get("/count").text == "2"
    assert "[info]" in nginx.wait_log("counted")
    answer = shop.get("/broken")
    assert answer.status_code == 500
    assert "token-in-view" not in answer.text
    last = nginx.wait_log("ValueError: token-in-view")
    assert "[error]" in last and '"GET /broken ' in last
    assert len(nginx.log_lines("ValueError: token-in-view")) == 1
    assert shop.get("/count", headers={"Host": "other.example.com"}).status_code == 400
