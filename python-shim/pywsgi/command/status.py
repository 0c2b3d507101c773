"""Reads `python_status` of a running nginx."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

# What ends it is shown as one line.
FAULTS = (OSError, ValueError)


def read_socket(path: Path, timeout: float = 5.0) -> dict[str, Any]:
    """From the Unix socket of an nginx of `pywsgi serve`."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(timeout)
        sock.connect(str(path))
        return _ask(sock, "localhost", "/status")


def read_url(url: str, timeout: float = 5.0) -> dict[str, Any]:
    """`http://HOST:PORT/PATH`, or a part of it: the usual path is /-/status."""
    from urllib.parse import urlsplit

    parts = urlsplit(url if "://" in url else f"http://{url}")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("this is no URL: http://localhost:8000/-/status would be one")
    is_tls = parts.scheme == "https"
    port = parts.port or (443 if is_tls else 80)
    with socket.create_connection((parts.hostname, port), timeout) as sock:
        path = parts.path if parts.path.strip("/") else "/-/status"
        if not is_tls:
            return _ask(sock, parts.netloc, path)
        import ssl

        # Mostly it is the local host, and its certificate is the site's.
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        with context.wrap_socket(sock, server_hostname=parts.hostname) as wrapped:
            return _ask(wrapped, parts.netloc, path)


def _ask(sock: socket.socket, host: str, path: str) -> dict[str, Any]:
    """Not http.client, the import of which takes longer than all of this."""
    import json

    sock.sendall(f"GET {path}?format=json HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
    answer = b""
    while data := sock.recv(1 << 16):
        answer += data
    head, _, body = answer.partition(b"\r\n\r\n")
    status = head.split(b"\r\n")[0].decode("latin-1").partition(" ")[2]
    if not status.startswith("200"):
        raise ValueError(f"{path} answers {status or 'nothing'}")
    try:
        found = json.loads(body)
    except ValueError:
        found = None
    if not isinstance(found, dict) or "workers" not in found:
        raise ValueError(f"{path} is no python_status")
    return found
