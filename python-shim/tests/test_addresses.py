"""Addresses as they are typed, and the sockets that are opened for them."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

import pytest

from pywsgi.command.addresses import Address, addresses, close, listeners
from pywsgi.command.option_list import add_options
from pywsgi.command.options import Options, Parser, UsageError


def parse(line: str) -> Options:
    parser = Parser()
    add_options(parser)
    return parser.parse_args(line.split(), Options())


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("", [Address("127.0.0.1", 8000)]),
        ("--port 9", [Address("127.0.0.1", 9)]),
        ("--host 0.0.0.0", [Address("0.0.0.0", 8000)]),
        ("--host ::1 --port 1", [Address("::1", 1)]),
        ("-b :80", [Address("0.0.0.0", 80)]),
        ("-b 80", [Address("0.0.0.0", 80)]),
        ("-b localhost", [Address("localhost", 8000)]),
        ("-b [::]:81", [Address("::", 81)]),
        ("-b unix:/a/b", [Address(path="/a/b")]),
        ("-b unix:///a/b", [Address(path="/a/b")]),
        ("-b fd://3", [Address(fd=3)]),
        ("--fd 4", [Address(fd=4)]),
        ("--uds /a/b", [Address(path="/a/b")]),
        ("-b a:1 -b b:2 -b a:1", [Address("a", 1), Address("b", 2)]),
    ],
)
def test_what_is_typed(line: str, found: list[Address]) -> None:
    assert addresses(parse(line), {}) == found


def test_the_environment_has_a_port() -> None:
    assert addresses(parse(""), {"PORT": "5000"}) == [Address("0.0.0.0", 5000)]
    assert addresses(parse("--port 1"), {"PORT": "5000"}) == [Address("127.0.0.1", 1)]
    assert addresses(parse("-b :1"), {"PORT": "5000"}) == [Address("0.0.0.0", 1)]


@pytest.mark.parametrize("text", ["::1:80", "a:b", "host:99999", "unix:", "fd://x", "[::1"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(UsageError, match="--bind"):
        addresses(parse(f"-b {text}"), {})


def test_the_form_of_nginx() -> None:
    assert Address("::1", 80).listen == "[::1]:80"
    assert Address("a.example", 80).listen == "a.example:80"
    assert Address(path="/a").listen == "unix:/a"


def test_a_free_port() -> None:
    (listener,) = opened = listeners([Address("127.0.0.1", 0)], None)
    port = listener.socket.getsockname()[1]
    assert listener.listen == (f"127.0.0.1:{port}",)
    assert listener.shown == f"127.0.0.1:{port}"
    socket.create_connection(("127.0.0.1", port)).close()
    with pytest.raises(
        UsageError, match=f"127.0.0.1:{port} is already in use: .* --port {port + 1}"
    ):
        listeners([Address("127.0.0.1", port)], None)
    close(opened)


def test_all_or_none() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        taken = other.getsockname()[1]
        with pytest.raises(UsageError):
            listeners([Address("127.0.0.1", port), Address("127.0.0.1", taken)], None)
        close(listeners([Address("127.0.0.1", port)], None))


@pytest.mark.parametrize(
    ("address", "message"),
    [
        (Address("192.0.2.1", 8000), "192.0.2.1 is not an address of this machine"),
        (Address("no such host", 1), "no host is known by that name"),
        (Address(path=f"/tmp/{'x' * 120}"), "too long for a Unix socket"),
        (Address(path="/proc/self/a"), "/proc/self/a: "),
        (Address(fd=999), "--fd 999: "),
    ],
)
def test_what_cannot_be_opened(address: Address, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        listeners([address], None)


def test_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    opened = listeners([Address(path=str(path))], None)
    assert opened[0].listen == (f"unix:{path}",)
    assert path.stat().st_mode & 0o777 == 0o666
    with pytest.raises(UsageError, match="already in use"):
        listeners([Address(path=str(path))], None)
    opened[0].socket.close()
    # What a killed server has left is replaced.
    close(listeners([Address(path=str(path))], None))
    assert not path.exists()
    path.write_text("a file")
    with pytest.raises(UsageError, match="is there already, and is no socket"):
        listeners([Address(path=str(path))], None)
    assert path.read_text() == "a file"


def test_a_socket_that_is_open_already() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        (listener,) = opened = listeners([Address(fd=other.fileno())], None)
        assert listener.listen == (f"127.0.0.1:{other.getsockname()[1]}",)
        close(opened)
        os.fstat(other.fileno())


def test_a_port_that_needs_root(monkeypatch: pytest.MonkeyPatch) -> None:
    def bind(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(socket.socket, "bind", bind)
    message = "127.0.0.1:80: ports below 1024 need root: use --port 8080"
    with pytest.raises(UsageError, match=message):
        listeners([Address("127.0.0.1", 80)], None)
