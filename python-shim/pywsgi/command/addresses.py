"""The addresses to listen at: as gunicorn and uvicorn write them, as nginx does, and as sockets.

The sockets are opened here and nginx inherits them, as in a binary upgrade: a conflict is known at
once, a port of 0 becomes a free one, and clients that connect while the application is imported
wait for it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import socket
import stat
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pywsgi.command.options import Options, UsageError

BACKLOG = 511


class Address(NamedTuple):
    """One of `host` and `port`, `path`, or `fd`."""

    host: str = ""
    port: int = 0
    path: str = ""
    fd: int | None = None

    @property
    def listen(self) -> str:
        """For a configuration that others will use."""
        if self.path:
            return f"unix:{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}" if host else str(self.port)


class Listener(NamedTuple):
    """An open socket, and what nginx and people call it."""

    socket: socket.socket
    listen: tuple[str, ...]
    # Without http:// in front.
    shown: str
    # The path of a Unix socket that goes when the server goes, and what is there.
    unlink: str = ""
    mark: tuple[int, ...] = ()


def addresses(options: Options, environ: Mapping[str, str]) -> list[Address]:
    """Those of the options. Without any, as gunicorn: $PORT, or 127.0.0.1:8000."""
    found = [_parse(text) for text in options.bind]
    if options.uds:
        found.append(Address(path=os.path.abspath(options.uds)))
    if options.fd is not None:
        found.append(Address(fd=options.fd))
    if options.host is not None or options.port is not None or not found:
        port = options.port
        host = options.host or "127.0.0.1"
        if (
            port is None
            and options.host is None
            and re.fullmatch("[0-9]{1,9}", environ.get("PORT", ""))
        ):
            host, port = "0.0.0.0", int(environ["PORT"])
            if port > 65535:
                raise UsageError(f"PORT={port}: the last port is 65535")
        found.append(Address(host.strip("[]"), 8000 if port is None else port))
    return list(dict.fromkeys(found))


def _parse(text: str) -> Address:
    """HOST:PORT, HOST, :PORT, PORT, [IPv6]:PORT, unix:PATH, fd://N."""
    kind, _, rest = text.partition(":")
    if kind == "unix" and rest:
        return Address(path=os.path.abspath(re.sub("^//(?=/)", "", rest)))
    if kind == "fd":
        number = rest.lstrip("/")
        if number.isdigit():
            return Address(fd=int(number))
    match = re.fullmatch(r"(?:tcp://)?(?:\[([^\]]+)\]|([^:\[\]]*))(?::([0-9]{1,9}))?", text)
    if match is None:
        raise UsageError(
            f"--bind {text}: it is HOST:PORT, [IPv6]:PORT, unix:PATH or fd://N (an IPv6 address"
            " needs its brackets)"
        )
    host, digits = match[1] or match[2], match[3]
    if digits is None and re.fullmatch("[0-9]{1,9}", host):
        host, digits = "", host
    port = int(digits) if digits else 8000
    if port > 65535:
        raise UsageError(f"--bind {text}: {port} is no port: the last one is 65535")
    return Address(host or "0.0.0.0", port)


def listeners(wanted: Sequence[Address], backlog: int | None) -> list[Listener]:
    """Opens all of them, or none. Raises UsageError."""
    opened: list[Listener] = []
    try:
        for address in wanted:
            opened += _open(address, backlog or BACKLOG)
    except BaseException:
        close(opened)
        raise
    return opened


def close(opened: Sequence[Listener]) -> None:
    for listener in opened:
        listener.socket.close()
        with contextlib.suppress(OSError):
            # A server that has started meanwhile has put its own there.
            if listener.unlink and _mark(listener.unlink) == listener.mark:
                os.unlink(listener.unlink)


def _open(address: Address, backlog: int) -> list[Listener]:
    if address.fd is not None:
        return [_inherited(address.fd)]
    if address.path:
        return [_unix(address.path, backlog)]
    try:
        found = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except (socket.gaierror, UnicodeError):
        raise UsageError(
            f"{address.host} is no address, and no host is known by that name"
        ) from None
    opened = []
    failed: OSError | None = None
    for family, _, _, _, place in dict.fromkeys(found):
        try:
            opened.append(_tcp(family, place, backlog))
        except OSError as error:
            # One of the two of `localhost` may be missing on this machine.
            if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT) or len(found) == 1:
                close(opened)
                raise UsageError(_cannot_bind(address, error)) from None
            failed = error
        if address.port == 0 and opened:
            break
    if not opened:
        assert failed is not None
        raise UsageError(_cannot_bind(address, failed))
    return opened


def _tcp(family: int, place: tuple[object, ...], backlog: int) -> Listener:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        both = place[0] == "::"
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if both else 1)
        sock.bind(place)
        sock.listen(backlog)
    except BaseException:
        sock.close()
        raise
    host, port = sock.getsockname()[:2]
    text = f"[{host}]:{port}" if family == socket.AF_INET6 else f"{host}:{port}"
    return Listener(sock, (text, *(("ipv6only=off",) if both else ())), text)


def _unix(path: str, backlog: int) -> Listener:
    if len(os.fsencode(path)) > 107:
        raise UsageError(f"{path} is too long for a Unix socket: 107 bytes are the limit")
    _remove_stale(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(path)
        # As nginx, gunicorn and uvicorn do.
        os.chmod(path, 0o666)
        mark = _mark(path)
        sock.listen(backlog)
    except OSError as error:
        sock.close()
        raise UsageError(f"{path}: {error.strerror}") from None
    return Listener(sock, (f"unix:{path}",), f"unix:{path}", path, mark)


def _mark(path: str) -> tuple[int, ...]:
    """Of a file, which no other has: the number of one that is gone may be given again."""
    status = os.lstat(path)
    return status.st_dev, status.st_ino, status.st_ctime_ns


def _remove_stale(path: str) -> None:
    """Nobody listens at the socket that a server which was killed has left."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            raise UsageError(f"{path} is there already, and is no socket")
        with socket.socket(socket.AF_UNIX) as sock:
            try:
                sock.connect(path)
            except ConnectionRefusedError:
                os.unlink(path)
            except OSError as error:
                raise UsageError(f"{path}: {error.strerror}") from None
            else:
                raise UsageError(
                    f"{path} is already in use: stop what listens there, or use another path"
                )


def _inherited(fd: int) -> Listener:
    try:
        sock = socket.socket(fileno=os.dup(fd))
        place = sock.getsockname()
        listens = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OverflowError:
        raise UsageError(f"--fd {fd}: Bad file descriptor") from None
    except OSError as error:
        raise UsageError(f"--fd {fd}: {error.strerror}") from None
    if sock.type != socket.SOCK_STREAM:
        raise UsageError(f"--fd {fd} is no stream socket")
    if not listens:
        sock.listen(BACKLOG)
    if sock.family == socket.AF_UNIX:
        # Whoever has opened it removes it.
        return Listener(sock, (f"unix:{place}",), f"unix:{place}")
    host, port = place[:2]
    text = f"[{host}]:{port}" if sock.family == socket.AF_INET6 else f"{host}:{port}"
    return Listener(sock, (text,), text)


def _cannot_bind(address: Address, error: OSError) -> str:
    where = Address(address.host, address.port).listen
    if error.errno == errno.EADDRINUSE:
        other = address.port + 1 if address.port < 65535 else 8000
        return (
            f"{where} is already in use: stop what listens there, or use --port {other} (0: any"
            " free port)"
        )
    if error.errno == errno.EACCES:
        return f"{where}: ports below 1024 need root: use --port {address.port + 8000}"
    if error.errno == errno.EADDRNOTAVAIL:
        return (
            f"{address.host} is not an address of this machine: use 127.0.0.1, or 0.0.0.0 for all"
        )
    return f"{where}: {error.strerror}"
