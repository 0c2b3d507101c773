"""Django supports one project per interpreter, in global objects. This resets them after a project
has failed to import.

If `apps.populate()` raises, `apps.loading` stays set, and each later call raises "populate() isn't
reentrant" (django/apps/registry.py). `settings.configure()` raises if it is called twice.
"""

from __future__ import annotations

import sys
from collections.abc import Collection
from typing import Any


def is_half_loaded() -> bool:
    """Whether `apps.populate()` has raised."""
    apps = _global("django.apps.registry", "apps")
    return bool(apps and apps.loading and not apps.ready and not _is_busy(apps))


def keeps(modules: Collection[str]) -> bool:
    """Whether another attempt must keep these modules of the failed one. Models and admin classes
    are registered when their modules are imported, and only once."""
    apps = _global("django.apps.registry", "apps")
    if not apps or _settings_module() is None:
        return False
    models = [model for models in apps.all_models.values() for model in models.values()]
    return is_half_loaded() or any(model.__module__ in modules for model in models)


def start_again() -> None:
    """Before another attempt: resets Django's registry and settings.

    Registrations of modules that are still in sys.modules are kept, because these modules will not
    run again.
    """
    apps = _global("django.apps.registry", "apps")
    if apps is None or apps.ready or _is_busy(apps):
        return
    if apps.loading:
        _reset_admin(apps)
        apps.app_configs.clear()
        apps.apps_ready = apps.models_ready = apps.loading = False
        for models in apps.all_models.values():
            for name in [name for name, model in models.items() if _is_gone(model)]:
                del models[name]
            for model in models.values():
                model._meta._expire_cache()
        apps.clear_cache()
    settings = _global("django.conf", "settings")
    if settings is not None and settings.configured and _settings_module() not in sys.modules:
        _empty(settings)


def loaded_settings() -> Any:
    """Django's settings object; None if Django is not configured. Its attribute SETTINGS_MODULE is
    None after `settings.configure()`."""
    settings = _global("django.conf", "settings")
    wrapped = vars(settings).get("_wrapped") if settings is not None else None
    return None if wrapped is _global("django.utils.functional", "empty") else wrapped


def is_handler(application: Any) -> bool:
    """Whether it is the result of `get_wsgi_application()` or `get_asgi_application()`."""
    kinds = (
        _global("django.core.handlers.wsgi", "WSGIHandler"),
        _global("django.core.handlers.asgi", "ASGIHandler"),
    )
    return any(kind is not None and issubclass(type(application), kind) for kind in kinds)


def _reset_admin(apps: Any) -> None:
    """If the module of a registered model is gone, removes each `admin.py` from sys.modules, so
    that it runs and registers again."""
    site = _global("django.contrib.admin.sites", "site")
    # Lazy since Django 2.1; must not be created here.
    registry = getattr(vars(site).get("_wrapped"), "_registry", None) if site else None
    if not registry or not any(map(_is_gone, [*registry, *map(type, registry.values())])):
        return
    for config in apps.app_configs.values():
        sys.modules.pop(f"{config.name}.admin", None)
    _empty(site)


def _settings_module() -> str | None:
    """The settings module; None after `settings.configure()`, or if not loaded."""
    return getattr(loaded_settings(), "SETTINGS_MODULE", None)


def _is_gone(value: Any) -> bool:
    return value.__module__ not in sys.modules


def _is_busy(apps: Any) -> bool:
    """Whether a thread is running `apps.populate()`."""
    if not apps._lock.acquire(blocking=False):
        return True
    apps._lock.release()
    return False


def _empty(lazy: Any) -> None:
    lazy._wrapped = _global("django.utils.functional", "empty")


def _global(module: str, name: str) -> Any:
    return getattr(sys.modules.get(module), name, None)
