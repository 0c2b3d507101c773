"""Which client an application sees: realip, the PROXY protocol, a client's certificate."""

from __future__ import annotations

import socket
import ssl
import struct
import subprocess
from urllib.parse import unquote

import httpx
import pytest
from nginx.wire import said

# Answers with one line for each of these keys of environ.
SOURCE = """
    from wsgiref.validate import validator

    KEYS = ("PATH_INFO", "REMOTE_ADDR", "REMOTE_PORT", "X_WHO", "X_VERIFY", "X_DN", "X_CERT",
            "X_SERIAL")

    @validator
    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        lines = [f"{key}={environ[key]}" for key in KEYS if key in environ]
        return ["\\n".join(lines).encode("latin-1")]
"""


@pytest.fixture
def app(protocol):
    return f"{protocol}_app {protocol.wrap('who', SOURCE)};"


@pytest.mark.parametrize(
    ("sent", "address"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("192.0.2.9, 192.0.2.7, 127.0.0.1", "192.0.2.7"),
        ("2001:db8::1", "2001:db8::1"),
        ("nonsense", "127.0.0.1"),
    ],
)
def test_real_ip(nginx, app, sent, address):
    nginx.start(
        app,
        server="set_real_ip_from 127.0.0.1; real_ip_header X-Forwarded-For; real_ip_recursive on;",
    )
    client = nginx.client()
    answer = said(client.get("/", headers={"X-Forwarded-For": sent}))
    assert answer["REMOTE_ADDR"] == address
    assert said(client.get("/"))["REMOTE_ADDR"] == "127.0.0.1"


def test_an_address_from_those_that_are_not_trusted(nginx, app):
    nginx.start(app, server="set_real_ip_from 192.0.2.1; real_ip_header X-Real-IP;")
    answer = said(nginx.client().get("/", headers={"X-Real-IP": "192.0.2.7"}))
    assert answer["REMOTE_ADDR"] == "127.0.0.1"


REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
VERSION_1 = b"PROXY TCP4 192.0.2.7 192.0.2.1 4321 80\r\n"
VERSION_2 = (
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11"
    + struct.pack("!H", 12)
    + socket.inet_aton("192.0.2.7")
    + socket.inet_aton("192.0.2.1")
    + struct.pack("!HH", 4321, 80)
)


@pytest.mark.parametrize("line", [VERSION_1, VERSION_2])
@pytest.mark.parametrize("trusted", [True, False])
def test_the_proxy_protocol(nginx, protocol, app, line, trusted):
    real = "set_real_ip_from 127.0.0.1; real_ip_header proxy_protocol;" if trusted else ""
    nginx.start(
        f"{app} {protocol}_param X_WHO $proxy_protocol_addr:$proxy_protocol_port;",
        server=real,
        listen="proxy_protocol",
    )
    answer = nginx.raw(line + REQUEST).decode()
    assert "X_WHO=192.0.2.7:4321" in answer
    if trusted:
        assert "REMOTE_ADDR=192.0.2.7\nREMOTE_PORT=4321\n" in answer
    else:
        assert "REMOTE_ADDR=127.0.0.1\n" in answer
    nginx.allow_log("broken header")
    assert nginx.raw(REQUEST) == b""


@pytest.fixture
def certificates(nginx):
    """Makes an authority `ca`, and certificates of a server and a client that it has signed."""
    folder = nginx.root / "conf"

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    openssl(
        "req", "-x509", *key, "-days", "2", "-subj", "/CN=ca", "-keyout", "ca.key", "-out", "ca.pem"
    )
    openssl("req", *key, "-subj", "/O=Shop/CN=Ann, x=y", "-keyout", "ann.key", "-out", "ann.csr")
    openssl(
        *("x509", "-req", "-in", "ann.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-days", "2"),
        *("-set_serial", "0x1F", "-out", "ann.pem"),
    )
    return folder


@pytest.mark.parametrize("http2", [False, True])
def test_client_certificates(nginx, protocol, app, certificates, http2):
    nginx.start(
        f"{app} {protocol}_param X_VERIFY $ssl_client_verify;"
        f" {protocol}_param X_DN $ssl_client_s_dn;"
        f" {protocol}_param X_CERT $ssl_client_escaped_cert if_not_empty;"
        f" {protocol}_param X_SERIAL $ssl_client_serial if_not_empty;",
        server=f"{nginx.tls()} ssl_client_certificate ca.pem; ssl_verify_client optional;",
        listen="ssl http2" if http2 else "ssl",
    )
    pem = (certificates / "ann.pem").read_text()
    nobody = said(nginx.client(tls=True, http2=http2).get("/"))
    assert nobody["X_VERIFY"] == "NONE"
    assert nobody["X_DN"] == ""
    assert "X_CERT" not in nobody
    assert "X_SERIAL" not in nobody
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.load_cert_chain(certificates / "ann.pem", certificates / "ann.key")
    client = httpx.Client(verify=context, http2=http2, trust_env=False, timeout=60)
    with client:
        answers = [said(client.get(nginx.url(scheme="https"))) for _ in range(2)]
    for ann in answers:
        assert ann["X_VERIFY"] == "SUCCESS"
        assert ann["X_DN"] == "CN=Ann\\, x=y,O=Shop"
        assert unquote(ann["X_CERT"]) == pem
        assert ann["X_SERIAL"] == "1F"


def test_a_certificate_that_is_demanded(nginx, app, certificates):
    nginx.start(
        app,
        server=f"{nginx.tls()} ssl_client_certificate ca.pem; ssl_verify_client on;"
        f" error_page 495 496 = /sorry; location /sorry {{ {app} }}",
        listen="ssl",
    )
    response = nginx.client(tls=True).get("/")
    assert said(response)["PATH_INFO"] == "/sorry"
