"""The extension `tls` (ASGI TLS Extension 0.2): what an application sees of its client's TLS."""

from __future__ import annotations

import ast
import contextlib
import datetime
import socket
import ssl
import subprocess

import httpx
import pytest
import websockets.sync.client
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID, ObjectIdentifier
from harness import HAS_HTTP3, MODULE, free_port
from process_memory import anonymous
from rawhttp import Connection

# Answers with its scope's scheme and extensions, and spoils what it has got.
SOURCE = """
    async def application(scope, receive, send):
        body = repr((scope["scheme"], scope["extensions"])).encode()
        tls = scope["extensions"].get("tls")
        if tls is not None:
            tls["client_cert_chain"].append("spoiled")
            tls.clear()
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
            await send({"type": "websocket.send", "bytes": body})
            return
        start = {"type": "http.response.start", "status": 200, "headers": []}
        await send(start)
        await send({"type": "http.response.body", "body": body})
"""

VERSIONS = {"TLSv1.2": 0x0303, "TLSv1.3": 0x0304}


class Authority:
    """Makes certificates with their keys, as files in nginx's conf/."""

    def __init__(self, nginx) -> None:
        self.folder = nginx.root / "conf"
        self.keys: dict[str, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey] = {}
        self.subjects: dict[str, x509.Name] = {}

    def make(
        self,
        name: str,
        issuer: str = "",
        *,
        subject: x509.Name | None = None,
        is_ca: bool = False,
        is_rsa: bool = False,
        days: int = 2,
        extension: bytes = b"",
    ) -> str:
        """Makes NAME.pem and NAME.key, and returns the certificate.

        Without an issuer it is self-signed.
        """
        if is_rsa:
            key = rsa.generate_private_key(65537, 2048)
        else:
            key = ec.generate_private_key(ec.SECP256R1())
        self.keys[name] = key
        self.subjects[name] = common_name(name) if subject is None else subject
        issuer = issuer or name
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(self.subjects[name])
            .issuer_name(self.subjects[issuer])
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=9))
            .not_valid_after(now + datetime.timedelta(days=days))
            .add_extension(x509.BasicConstraints(is_ca, None), critical=True)
        )
        if extension:
            value = x509.UnrecognizedExtension(ObjectIdentifier("1.2.3.4.5"), extension)
            builder = builder.add_extension(value, critical=False)
        certificate = builder.sign(self.keys[issuer], hashes.SHA256())
        pem = certificate.public_bytes(serialization.Encoding.PEM).decode()
        private = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        (self.folder / f"{name}.pem").write_text(pem)
        (self.folder / f"{name}.key").write_bytes(private)
        return pem

    def client(self, name: str = "", *chain: str, version: str = "") -> ssl.SSLContext:
        """A client with the certificate of that name, which sends those of `chain` with it."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        if version:
            limit = ssl.TLSVersion[version.replace(".", "_")]
            context.minimum_version = context.maximum_version = limit
        if name:
            together = self.folder / "chain.pem"
            together.write_text("".join(self.pem(one) for one in (name, *chain)))
            context.load_cert_chain(together, self.folder / f"{name}.key")
        return context

    def pem(self, name: str) -> str:
        return (self.folder / f"{name}.pem").read_text()


def common_name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


@pytest.fixture
def authority(nginx):
    """Has made `ca`, `middle`, which `ca` has signed, and `ann`, which `middle` has signed."""
    authority = Authority(nginx)
    authority.make("ca", is_ca=True)
    authority.make("middle", "ca", is_ca=True)
    authority.make("ann", "middle")
    return authority


@pytest.fixture
def serve(nginx):
    """Starts nginx with the application behind TLS."""

    def start(server: str = "", listen: str = "ssl", **options) -> None:
        app = f"asgi_app {nginx.app('app', SOURCE)}; asgi_lifespan off;"
        server = server.replace("APP", app)
        # Before 1.23.4, TLS 1.3 is off by default.
        server = f"ssl_protocols TLSv1.2 TLSv1.3;\n{nginx.tls()}\n{server}"
        nginx.start(app, server=server, listen=listen, **options)

    return start


VERIFIED = "ssl_client_certificate ca.pem; ssl_verify_client optional; ssl_verify_depth 3;"
UNVERIFIED = "ssl_client_certificate ca.pem; ssl_verify_client optional_no_ca;"


@pytest.fixture
def ask(nginx):
    """`ask(context)`: the extension of a new connection's request."""

    def tls(context: ssl.SSLContext, **options) -> dict:
        with Client(nginx, context, **options) as client:
            return client.tls()

    return tls


class Client(Connection):
    """A connection over TLS."""

    def __init__(self, nginx, context: ssl.SSLContext, *, session=None, name="localhost") -> None:
        plain = socket.create_connection(("127.0.0.1", nginx.port), timeout=60)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        super().__init__(context.wrap_socket(plain, session=session, server_hostname=name))

    def tls(self) -> dict:
        """What the application is told, of one more request."""
        self.get()
        scheme, extensions = ast.literal_eval(self.response().body.decode())
        assert scheme == "https"
        return extensions["tls"]


def suite(context: ssl.SSLContext, name: str) -> int:
    """A cipher suite's number, as the client's OpenSSL has it."""
    known = {cipher["name"]: cipher["id"] & 0xFFFF for cipher in context.get_ciphers()}
    return known[name]


def test_a_plain_connection_has_no_tls(nginx):
    """The specification forbids it."""
    nginx.start(f"asgi_app {nginx.app('app', SOURCE)}; asgi_lifespan off;")
    scheme, extensions = ast.literal_eval(nginx.client().get("/").text)
    assert scheme == "http"
    assert "tls" not in extensions


def test_a_plain_request_to_a_port_of_tls_has_no_tls(nginx, serve):
    serve("error_page 497 =200 /plain; location /plain { APP }")
    scheme, extensions = ast.literal_eval(nginx.client().get("/").text)
    assert scheme == "http"
    assert "tls" not in extensions


@pytest.mark.parametrize("version", VERSIONS)
def test_without_a_client_certificate(nginx, authority, serve, ask, version):
    serve(VERIFIED)
    context = authority.client(version=version)
    with Client(nginx, context) as client:
        # A connection's requests each get a dict of their own.
        for _ in range(3):
            assert client.tls() == {
                "server_cert": authority.pem("cert"),
                "client_cert_chain": [],
                "client_cert_name": None,
                "client_cert_error": None,
                "tls_version": VERSIONS[version],
                "cipher_suite": suite(context, client.sock.cipher()[0]),
            }


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("ECDHE-ECDSA-AES128-GCM-SHA256", 0xC02B),
        ("ECDHE-ECDSA-AES256-GCM-SHA384", 0xC02C),
        ("ECDHE-ECDSA-CHACHA20-POLY1305", 0xCCA9),
    ],
)
def test_a_cipher_suite_has_its_number(nginx, authority, serve, ask, name, number):
    serve()
    context = authority.client(version="TLSv1.2")
    context.set_ciphers(name)
    tls = ask(context)
    assert (tls["cipher_suite"], tls["tls_version"]) == (number, 0x0303)


@pytest.mark.parametrize("demanded", ["on", "optional", "optional_no_ca"])
@pytest.mark.parametrize("version", VERSIONS)
def test_a_client_certificate_and_its_chain(nginx, authority, serve, version, demanded):
    serve(VERIFIED.replace("optional", demanded))
    with Client(nginx, authority.client("ann", "middle", version=version)) as client:
        for _ in range(3):
            tls = client.tls()
            assert tls["client_cert_chain"] == [authority.pem("ann"), authority.pem("middle")]
            assert tls["client_cert_name"] == "CN=ann"
            assert tls["client_cert_error"] is None
            assert tls["server_cert"] == authority.pem("cert")


def test_a_certificate_that_nginx_does_not_ask_for(authority, serve, ask):
    serve("ssl_client_certificate ca.pem;")
    tls = ask(authority.client("ann", "middle"))
    assert tls["client_cert_chain"] == []
    assert tls["client_cert_name"] is None
    assert tls["client_cert_error"] is None


@pytest.mark.parametrize("client_certificate", [False, True])
def test_http_2(nginx, authority, serve, client_certificate):
    serve(VERIFIED, listen="ssl http2")
    context = authority.client(*["ann", "middle"] if client_certificate else [])
    with httpx.Client(
        verify=context, http1=False, http2=True, trust_env=False, timeout=60
    ) as client:
        for _ in range(3):
            response = client.get(nginx.url(scheme="https"))
            assert response.http_version == "HTTP/2"
            tls = ast.literal_eval(response.text)[1]["tls"]
            assert tls["tls_version"] == 0x0304
            assert tls["server_cert"] == authority.pem("cert")
            if client_certificate:
                assert tls["client_cert_chain"] == [authority.pem("ann"), authority.pem("middle")]
                assert tls["client_cert_name"] == "CN=ann"
            else:
                assert tls["client_cert_chain"] == []


def test_a_websocket(nginx, authority, serve):
    serve(VERIFIED)
    url = nginx.url(scheme="wss")
    for who in ((), ("ann", "middle")):
        context = authority.client(*who)
        with websockets.sync.client.connect(url, ssl=context, proxy=None) as socket:
            scheme, extensions = ast.literal_eval(socket.recv().decode())
        assert scheme == "wss"
        tls = extensions["tls"]
        assert tls["server_cert"] == authority.pem("cert")
        assert tls["client_cert_chain"] == [authority.pem(name) for name in who]
        assert tls["tls_version"] == 0x0304


if HAS_HTTP3:
    import rawhttp3

    def test_http_3(nginx, authority, serve):
        port = free_port()
        serve(f"listen 127.0.0.1:{port} quic; {UNVERIFIED}")

        async def talk(client) -> None:
            for _ in range(3):
                stream = await client.get("/")
                tls = ast.literal_eval(stream.body.decode())[1]["tls"]
                assert tls["tls_version"] == 0x0304
                assert 0x1301 <= tls["cipher_suite"] <= 0x1303
                assert tls["server_cert"] == authority.pem("cert")
                assert tls["client_cert_chain"] == []

        rawhttp3.run(port, talk)


def attribute(oid: ObjectIdentifier, text: str) -> x509.NameAttribute:
    return x509.NameAttribute(oid, text)


@pytest.mark.parametrize(
    ("subject", "written"),
    [
        (
            [[attribute(NameOID.ORGANIZATION_NAME, "Shop")]]
            + [[attribute(NameOID.COMMON_NAME, "Ann, x=y")]],
            "CN=Ann\\, x=y,O=Shop",
        ),
        ([[attribute(NameOID.COMMON_NAME, "Ünal €")]], "CN=Ünal €"),
        (
            [[attribute(NameOID.COMMON_NAME, 'a\\C3 "b" <c> +;')]],
            """CN=a\\\\C3 \\"b\\" \\<c\\> \\+\\;""",
        ),
        ([[attribute(NameOID.COMMON_NAME, "#1 ")]], "CN=\\#1\\ "),
        (
            [
                [attribute(NameOID.DOMAIN_COMPONENT, "example")],
                [attribute(NameOID.USER_ID, "7"), attribute(NameOID.COMMON_NAME, "Bo")],
            ],
            "UID=7+CN=Bo,DC=example",
        ),
        # What has no name is written as a number and DER.
        ([[attribute(ObjectIdentifier("1.2.3.4.5.6"), "ab")]], "1.2.3.4.5.6=#0C026162"),
        ([], ""),
    ],
)
def test_a_name_is_written_as_rfc_4514_says(authority, serve, ask, subject, written):
    name = x509.Name([x509.RelativeDistinguishedName(part) for part in subject])
    authority.make("named", "ca", subject=name)
    serve(VERIFIED)
    tls = ask(authority.client("named"))
    assert len(tls["client_cert_chain"]) == 1
    assert sorted(tls["client_cert_name"].split("+")) == sorted(written.split("+"))


def test_a_certificate_that_is_not_verified(authority, serve, ask):
    authority.make("eve")
    serve(UNVERIFIED)
    tls = ask(authority.client("eve"))
    assert tls["client_cert_chain"] == [authority.pem("eve")]
    assert tls["client_cert_name"] == "CN=eve"
    assert "self" in tls["client_cert_error"]
    # An authority that is missing is another error.
    tls = ask(authority.client("ann"))
    assert tls["client_cert_chain"] == [authority.pem("ann")]
    assert tls["client_cert_error"]
    assert "self" not in tls["client_cert_error"]


def test_a_certificate_that_nginx_refuses_and_a_page_of_the_application(nginx, authority, serve):
    """nginx answers 400, with the application's page: the application is told why."""
    authority.make("old", "ca", days=-1)
    serve(f"{VERIFIED} error_page 495 /sorry; location /sorry {{ APP }}")
    with Client(nginx, authority.client("old")) as client:
        tls = client.tls()
    assert tls["client_cert_chain"] == [authority.pem("old")]
    assert tls["client_cert_error"] == "certificate has expired"


def resumed(nginx, context: ssl.SSLContext) -> tuple[dict, dict]:
    """The extension of a connection, and of one that resumes its session."""
    with Client(nginx, context) as first:
        before = first.tls()
        # With TLS 1.3 the session has come before the response.
        session = first.sock.session
    with Client(nginx, context, session=session) as second:
        assert second.sock.session_reused
        return before, second.tls()


RESUMPTION = {
    "tickets": "ssl_session_cache off; ssl_session_tickets on;",
    "shared": "ssl_session_cache shared:s:1m; ssl_session_tickets off;",
}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kept", RESUMPTION)
def test_a_session_that_is_resumed(nginx, authority, serve, version, kept):
    """nginx keeps the client's certificate, but not those that came with it."""
    serve(f"{VERIFIED} {RESUMPTION[kept]}")
    before, after = resumed(nginx, authority.client("ann", "middle", version=version))
    assert before["client_cert_chain"] == [authority.pem("ann"), authority.pem("middle")]
    assert after["client_cert_chain"] == [authority.pem("ann")]
    before.pop("client_cert_chain")
    after.pop("client_cert_chain")
    assert after == before


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kept", RESUMPTION)
def test_a_session_that_is_resumed_stays_unverified(nginx, authority, serve, version, kept):
    authority.make("eve")
    serve(f"{UNVERIFIED} {RESUMPTION[kept]}")
    before, after = resumed(nginx, authority.client("eve", version=version))
    assert "self" in before["client_cert_error"]
    assert after == before


@pytest.mark.parametrize("kind", ["RSA", "ECDSA"])
def test_one_of_several_server_certificates(nginx, authority, serve, kind):
    authority.make("rsa", is_rsa=True)
    serve("ssl_certificate rsa.pem; ssl_certificate_key rsa.key;")
    context = authority.client(version="TLSv1.2")
    context.set_ciphers(f"ECDHE-{kind}-AES128-GCM-SHA256")
    with Client(nginx, context) as client:
        sent = ssl.DER_cert_to_PEM_cert(client.sock.getpeercert(binary_form=True))
        assert client.tls()["server_cert"] == sent
    assert sent == authority.pem("rsa" if kind == "RSA" else "cert")
    # nginx sends none if the session is resumed, and does not know which it was.
    before, after = resumed(nginx, context)
    assert before["server_cert"] == sent
    assert after["server_cert"] is None


def test_the_certificate_of_the_server_that_the_client_names(nginx, authority, serve, ask):
    authority.make("other")
    app = f"asgi_app {nginx.app('app', SOURCE)}; asgi_lifespan off;"
    other = (
        f"server {{ listen 127.0.0.1:{nginx.port} ssl; server_name other.example;"
        f" ssl_certificate other.pem; ssl_certificate_key other.key; location / {{ {app} }} }}"
    )
    serve(http=other, listen="ssl default_server")
    # The name of the request is the first server's: the certificate is the connection's.
    assert ask(authority.client(), name="other.example")["server_cert"] == authority.pem("other")
    assert ask(authority.client(), name="localhost")["server_cert"] == authority.pem("cert")


def test_many_connections_side_by_side(nginx, authority, serve):
    """More than are kept as Python's objects: each has its own."""
    names = [f"client-{at}" for at in range(80)]
    for name in names:
        authority.make(name, "ca")
    serve(VERIFIED)
    with contextlib.ExitStack() as stack:
        clients = [
            (name, stack.enter_context(Client(nginx, authority.client(name)))) for name in names
        ]
        for _ in range(2):
            for name, client in clients:
                tls = client.tls()
                assert tls["client_cert_name"] == f"CN={name}"
                assert tls["client_cert_chain"] == [authority.pem(name)]


@pytest.mark.unsanitized("it keeps what has been freed")
def test_what_is_kept_of_a_connection_goes_with_it(nginx, authority, serve, ask):
    authority.make("large", "ca", extension=bytes(48_000))
    serve(VERIFIED)
    context = authority.client("large")
    context.options |= ssl.OP_NO_TICKET
    assert len(ask(context)["client_cert_chain"][0]) > 64_000
    (worker,) = nginx.workers()
    # Python's objects of 64 are kept.
    for _ in range(66):
        ask(context)
    before = anonymous(worker)
    for _ in range(128):
        ask(context)
    # What is kept of one connection is 64 KB or more.
    assert anonymous(worker) - before < 128 * 64 << 9


def test_the_module_loads_without_openssl():
    """An nginx without TLS has no such functions, and the module must not bring its own."""
    command = ["nm", "--dynamic", "--undefined-only", str(MODULE)]
    wanted = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert "ngx_http_finalize_request" in wanted
    assert "ssl" not in wanted.lower()
