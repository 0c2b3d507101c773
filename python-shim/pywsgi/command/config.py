"""`pywsgi config`: the nginx.conf for production of the options of `pywsgi serve`."""

from __future__ import annotations

import os
import sys

from pywsgi.command import addresses
from pywsgi.command.application import environment, find, owner
from pywsgi.command.finding import Nginx, find_nginx
from pywsgi.command.nginx_conf import ConfError, Directive, encode, render
from pywsgi.command.options import Options, UsageError
from pywsgi.command.site import production


def config(options: Options) -> int:
    """Prints it. What has no effect is said on the standard error."""
    notes = list(options.without_effect)
    if options.umask is not None:
        notes.append("--umask: nginx has no directive for it; set UMask= in its unit of systemd")
    for note in notes:
        print(f"pywsgi config: {note} (without effect)", file=sys.stderr)
    try:
        text = encode(text_of(options))
    except (UsageError, ConfError) as error:
        print(f"pywsgi config: {error}", file=sys.stderr)
        return 1
    sys.stdout.buffer.write(text)
    sys.stdout.buffer.flush()
    return 0


def text_of(options: Options) -> str:
    if options.tls_self_signed:
        raise UsageError("--tls-self-signed is for development: use --certfile and --keyfile")
    if options.keyfile_password:
        raise UsageError(
            "--ssl-keyfile-password: write the password into a file, and"
            " ssl_password_file FILE; into the server block"
        )
    directives = production(
        options,
        find(options, environment(options), owner(options)),
        _nginx(options),
        _listen(options),
    )
    head = [
        Directive("", comment="Written by pywsgi config. As /etc/nginx/nginx.conf, load it with"),
        Directive("", comment="nginx -t && systemctl reload nginx"),
        Directive(""),
    ]
    return render([*head, *directives])


def _nginx(options: Options) -> Nginx | None:
    """The one that this is for may be on another machine."""
    try:
        return find_nginx(options)
    except UsageError:
        if options.nginx:
            raise
        return None


def _listen(options: Options) -> list[tuple[str, ...]]:
    typed = (options.bind, options.host, options.port, options.uds, options.fd)
    if all(each in (None, []) for each in typed):
        return [("443" if options.has_tls else "80",)]
    found = addresses.addresses(options, os.environ)
    if any(each.fd is not None for each in found):
        raise UsageError("--fd: nginx opens its sockets itself; use --bind")
    if any(not each.path and each.port == 0 for each in found):
        raise UsageError("port 0: name the port")
    return [(each.listen, *(("ipv6only=off",) if each.host == "::" else ())) for each in found]
