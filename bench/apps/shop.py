"""A Django site in one file: a view that queries SQLite and fills a template.

python shop.py      creates the database named by BENCH_DATABASE
"""

from __future__ import annotations

import os
from datetime import date, timedelta
from pathlib import Path

import django
from django.conf import settings

settings.configure(
    SECRET_KEY="nothing is signed with it",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF="shop",
    MIDDLEWARE=[
        "django.middleware.security.SecurityMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.middleware.clickjacking.XFrameOptionsMiddleware",
    ],
    TEMPLATES=[
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "DIRS": [Path(__file__).with_name("templates")],
        }
    ],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": os.environ["BENCH_DATABASE"],
            "CONN_MAX_AGE": None,
        }
    },
    DEFAULT_AUTO_FIELD="django.db.models.AutoField",
)
django.setup()

# A model and the handler need the settings.
from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.db import connection, models  # noqa: E402
from django.http import HttpRequest, HttpResponse  # noqa: E402
from django.shortcuts import render  # noqa: E402
from django.urls import path  # noqa: E402


class Article(models.Model):
    title = models.CharField(max_length=100)
    text = models.TextField()
    published = models.DateField(db_index=True)

    class Meta:
        app_label = "shop"
        ordering = ["-published"]


def articles(request: HttpRequest) -> HttpResponse:
    latest = Article.objects.filter(published__lt=date(2025, 6, 1))[:20]
    return render(request, "articles.html", {"articles": latest, "agent": "<bench>"})


urlpatterns = [path("django", articles)]
application = get_wsgi_application()


def make_database() -> None:
    with connection.schema_editor() as editor:
        editor.create_model(Article)
    Article.objects.bulk_create(
        Article(
            title=f"Article {number}",
            text="A line & a <tag> of text. " * 10,
            published=date(2025, 1, 1) + timedelta(days=number),
        )
        for number in range(200)
    )


if __name__ == "__main__":
    make_database()
