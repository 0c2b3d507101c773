import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "site_of_chat.settings")
# Before the models are imported.
of_http = get_asgi_application()

from channels.auth import AuthMiddlewareStack  # noqa: E402
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from channels.security.websocket import OriginValidator  # noqa: E402
from chat.consumers import Chat  # noqa: E402
from django.urls import path  # noqa: E402

application = ProtocolTypeRouter(
    {
        "http": of_http,
        "websocket": OriginValidator(
            AuthMiddlewareStack(URLRouter([path("talk/<str:room>", Chat.as_asgi())])),
            ["127.0.0.1"],
        ),
    }
)
