"""The Django site of shop.py as an ASGI application; Django runs its view in a thread."""

from __future__ import annotations

# Settings and models come first.
import shop  # noqa: F401
from django.core.asgi import get_asgi_application

application = get_asgi_application()
