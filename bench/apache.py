"""Apache with mod_wsgi: a separate process with its own configuration."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from place import APPS, Place

MODULES = Path("/usr/lib/apache2/modules")
PROGRAM = "/usr/sbin/apache2"

# One child. If the event MPM has no free thread, it closes kept-alive connections, unlike all other
# servers: so it has more threads (Debian's 150) than any work has connections. In embedded mode
# they run Python.
CONFIGURATION = """\
ServerRoot {folder}
PidFile {folder}/apache.pid
DefaultRuntimeDir {folder}
ErrorLog {folder}/error.log
LogLevel error
ServerName bench
Listen 127.0.0.1:{port}
ListenBacklog 4096
LoadModule mpm_event_module {modules}/mod_mpm_event.so
LoadModule authz_core_module {modules}/mod_authz_core.so
LoadModule wsgi_module {modules}/mod_wsgi.so
{user}
StartServers 1
ServerLimit 1
ThreadLimit 150
ThreadsPerChild 150
MaxRequestWorkers 150
MinSpareThreads 1
MaxSpareThreads 150
MaxConnectionsPerChild 0
KeepAlive On
KeepAliveTimeout 3600
MaxKeepAliveRequests 0
LimitRequestBody 0
EnableSendfile On
WSGIEnableSendfile On
WSGISocketPrefix {folder}/wsgi
{python}
WSGIApplicationGroup %{{GLOBAL}}
WSGIScriptAlias / {apps}/{app}.py
<Directory {apps}>
    Require all granted
</Directory>
"""


def installed() -> bool:
    return shutil.which(PROGRAM) is not None and (MODULES / "mod_wsgi.so").exists()


def embedded(place: Place) -> None:
    python = f"WSGIPythonHome {sys.prefix}\nWSGIPythonPath {APPS}"
    _start(place, python)


def daemon(place: Place) -> None:
    python = (
        f"WSGIDaemonProcess bench processes=1 threads=8 python-home={sys.prefix} "
        f"python-path={APPS}\nWSGIProcessGroup bench\nWSGIRestrictEmbedded On"
    )
    _start(place, python)


def _start(place: Place, python: str) -> None:
    user = ""
    if os.geteuid() == 0:
        # Apache refuses to run as root.
        user = "User www-data\nGroup www-data"
        shutil.chown(place.folder, "www-data")
    configuration = place.folder / "apache.conf"
    configuration.write_text(
        CONFIGURATION.format(
            folder=place.folder,
            port=place.port,
            modules=MODULES,
            user=user,
            python=python,
            apps=APPS,
            app=place.app,
        )
    )
    place.spawn(PROGRAM, "-f", configuration, "-DFOREGROUND")
