"""Behind a proxy: who may say what the client's address and scheme are."""

from __future__ import annotations

import re
import socket

import pytest
from harness import NGINX_ABOUT
from rawhttp import Connection

pytestmark = pytest.mark.skipif(
    "--with-http_realip_module" not in NGINX_ABOUT, reason="this nginx has no realip"
)

# Of Linux's many local addresses this one is the proxy.
PROXY, STRANGER = "127.0.0.1", "127.0.0.2"


@pytest.fixture
def ask(nginx, recipes, protocol):
    """`ask(address, header…)` asks from that address; the client and the scheme as they are
    seen by the application."""
    recipes.places["10.0.0.0/8"] = f"{PROXY}/32"
    app = protocol.app(
        "app",
        """
        async def answer(request):
            if request.protocol == "wsgi":
                client = request.environ["REMOTE_ADDR"]
            else:
                client = request.scope["client"][0]
            await request.respond(f"{client} {request.scheme}".encode())
        """,
    )
    nginx.start(f"{protocol}_app {app};", http=recipes.file("behind-a-proxy.conf"))

    def once(address: str, *headers: str) -> tuple[str, str]:
        with socket.create_connection((PROXY, nginx.port), 60, (address, 0)) as sock:
            connection = Connection(sock)
            connection.get("/", headers="".join(f"{header}\r\n" for header in headers))
            client, scheme = connection.response().body.decode().split()
            return client, scheme

    return once


HTTPS = "X-Forwarded-Proto: https"


def test_what_a_proxy_says(ask):
    assert ask(PROXY, "X-Forwarded-For: 192.0.2.7", HTTPS) == ("192.0.2.7", "https")
    plain = "X-Forwarded-Proto: http"
    assert ask(PROXY, "X-Forwarded-For: 192.0.2.7", plain) == ("192.0.2.7", "http")
    assert ask(PROXY) == (PROXY, "http")


def test_what_a_stranger_says(ask):
    assert ask(STRANGER, "X-Forwarded-For: 192.0.2.7", HTTPS) == (STRANGER, "http")
    # One that says to be the proxy.
    assert ask(STRANGER, f"X-Forwarded-For: {PROXY}", HTTPS) == (STRANGER, "http")


def test_what_a_client_says_through_a_proxy(ask):
    """The proxy adds the address that it sees; what the client has sent comes before it."""
    spoofed = f"X-Forwarded-For: 198.51.100.9, {STRANGER}"
    assert ask(PROXY, spoofed) == (STRANGER, "http")
    # A proxy that adds to the client's header: it is not believed.
    assert ask(PROXY, "X-Forwarded-Proto: https, http")[1] == "http"


def test_the_page_s_addresses_are_those_of_the_file(recipes):
    text = recipes.file("behind-a-proxy.conf")
    assert len(re.findall(r"^\s*[^#\n]*10\.0\.0\.0/8", text, re.M)) == 2
