"""The project's application with its static files, as `manage.py runserver` has them: found in the
folders of the apps, without `collectstatic`."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler, StaticFilesHandler
from django.core.asgi import get_asgi_application
from django.core.servers.basehttp import get_internal_wsgi_application
from django.urls import get_resolver
from django.utils.module_loading import import_string


def wsgi() -> Any:
    return StaticFilesHandler(_with_views(get_internal_wsgi_application()))


def asgi() -> Any:
    name = getattr(settings, "ASGI_APPLICATION", None)
    application = import_string(name) if name else get_asgi_application()
    return ASGIStaticFilesHandler(_with_views(application))


def _with_views(application: Any) -> Any:
    """Django imports the views at the first request, when a reload has taken the new code already.
    The apps are set up by now."""
    list(get_resolver().url_patterns)
    return application
