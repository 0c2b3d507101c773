"""One real nginx per test: composes its configuration, runs it by pid, and reads its error log.

    nginx.app("hello", source)                      # a file in the application's folder
    nginx.start(f"wsgi_app {path};")                # the body of `location / { }`
    nginx.client().get("/")                         # httpx
    nginx.raw(b"GET / HTTP/1.0\\r\\n\\r\\n")         # bytes

Every instance has a temporary prefix of its own. If the tests run as root, the workers run as an
unprivileged user, as in a real installation. Processes are stopped by pid, never by name.
"""

from __future__ import annotations

import os
import pwd
import random
import re
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterable
from pathlib import Path

import httpx
from rawhttp import Connection, wait_for

PROJECT = Path(__file__).resolve().parent.parent
# The virtual environment that runs the tests also contains the frameworks.
VENV = Path(sys.prefix)
# NGINX is removed from the environment, because nginx itself reads a variable of this name (the
# sockets that an older nginx hands over). pytest-xdist's processes inherit the other name.
NGINX = os.environ.pop("NGINX", None) or os.environ.get("PYWSGI_NGINX", "/usr/sbin/nginx")
os.environ["PYWSGI_NGINX"] = NGINX
# Its version, and how it was configured.
NGINX_ABOUT = subprocess.run([NGINX, "-V"], check=True, capture_output=True, text=True).stderr
NGINX_VERSION = tuple(map(int, re.findall(r"nginx/(\d+)\.(\d+)\.(\d+)", NGINX_ABOUT)[0]))
HAS_HTTP3 = "--with-http_v3_module" in NGINX_ABOUT
MODULE = Path(os.environ.get("PYWSGI_MODULE", PROJECT / "target/release/ngx_http_pywsgi_module.so"))
# What every application can import.
BESIDE = [PROJECT / "tests" / "apps" / name for name in ("testkit.py", "bothkit.py")]
# What runs the applications in tests that do not choose: "threads", the module's default,
# "inline", the event loop (`make test-inline`), or "process", a process of its own
# (`make test-process`).
EXECUTOR = os.environ.get("PYWSGI_EXECUTOR", "threads")
# The loop of ASGI's applications in tests that do not choose: "asyncio", or "uvloop"
# (`make test-uvloop`).
EVENT_LOOP = os.environ.get("PYWSGI_EVENT_LOOP", "asyncio")
# nginx and the module are built with AddressSanitizer.
SANITIZED = "PYWSGI_SANITIZED" in os.environ

# A test fails on these in the error log, whatever else it asserts.
FATAL = re.compile(r"\[(?:alert|crit|emerg)\]|open socket|AddressSanitizer|LeakSanitizer|panicked")

# Longer than any drain time that a test leaves at its default.
EXIT_TIMEOUT = 60.0

CONFIGURATION = """\
{load_module}
{user}
worker_processes {workers};
daemon off;
pid logs/nginx.pid;
error_log logs/error.log {log_level};
{main}
events {{ worker_connections 1024; {events} }}
http {{
    types {{ text/html html; text/plain txt; text/css css; image/png png; }}
    default_type application/octet-stream;
    access_log logs/access.log;
    client_body_temp_path tmp/body;
    proxy_temp_path tmp/proxy;
    fastcgi_temp_path tmp/fastcgi;
    uwsgi_temp_path tmp/uwsgi;
    scgi_temp_path tmp/scgi;
    {python_home}
    {check}
    {temp_paths}
    {executor}
    {event_loop}
{http}
    server {{
        listen 127.0.0.1:{port} {listen};
{server}
{location}
    }}
}}
"""


class Nginx:
    """An nginx with the module loaded; `root` is its prefix."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.port = free_port()
        self.master = 0
        self.apps = root / "apps"
        self.html = root / "html"
        # Applications may write here, whatever user they run as.
        self.data = root / "data"
        self.config = root / "conf" / "nginx.conf"
        self.log_path = root / "logs" / "error.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._allowed: list[re.Pattern[str]] = []
        self._clients: list[httpx.Client] = []
        self._connections: list[Connection] = []
        self._worker_count = 0
        for folder in (self.apps, self.html, self.data, root / "conf", root / "logs", root / "tmp"):
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o755)
        root.chmod(0o755)
        self.data.chmod(0o777)
        (root / "tmp").chmod(0o777)
        self.user = _worker_user(root)
        # A command that nginx is started by, such as `prlimit`.
        self.launcher: tuple[str, ...] = ()
        for file in BESIDE:
            self._write(self.apps / file.name, file.read_text())

    # Files and configuration

    def app(self, name: str, source: str) -> Path:
        """Writes an application's file (`.py` unless the name has an extension) and says where."""
        path = self.apps / (name if Path(name).suffix else f"{name}.py")
        return self._write(path, source)

    def page(self, name: str, text: str) -> Path:
        """Writes a static file under `html/`, nginx's default root."""
        return self._write(self.html / name, text)

    def open_gate(self, name: str) -> None:
        """Releases applications that wait in `testkit.gate(name)`."""
        (self.data / name).touch()

    def recorded(self, name: str) -> list[str]:
        """The lines that applications have written with `testkit.record(name, …)`."""
        path = self.data / name
        return path.read_text("utf-8").splitlines() if path.exists() else []

    def wait_recorded(self, name: str, count: int = 1, timeout: float = 60.0) -> list[str]:
        """Waits for at least `count` such lines."""
        what = f"{count} lines recorded under {name!r}"
        wait_for(lambda: len(self.recorded(name)) >= count, timeout, what)
        return self.recorded(name)

    def tls(self) -> str:
        """Directives of a server that speaks TLS, with a certificate for localhost made now."""
        certificate, key = self.root / "conf" / "cert.pem", self.root / "conf" / "key.pem"
        if not certificate.exists():
            command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"
            subprocess.run(
                [*command.split(), "-days", "2", "-subj", "/CN=localhost"]
                + ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
                + ["-keyout", str(key), "-out", str(certificate)],
                check=True,
                capture_output=True,
            )
        return f"ssl_certificate {certificate};\nssl_certificate_key {key};\n"

    def write_config(
        self,
        location: str = "",
        *,
        server: str = "",
        http: str = "",
        main: str = "",
        events: str = "",
        workers: int = 1,
        python_home: Path | None = VENV,
        listen: str = "",
        http2: bool = False,
        log_level: str = "info",
        module: bool = True,
    ) -> Path:
        """Composes nginx.conf.

        location: the body of `location / { }` (no such location when it is empty).
        server, http, main, events: further text in these contexts.
        listen: further parameters of the one `listen` directive, such as `ssl http2`.
        http2: the server speaks HTTP/2 over TLS.
        module: False leaves this module out, for what plain nginx does.
        """
        self._worker_count = workers
        if http2:
            listen, server = f"ssl http2 {listen}", self.tls() + textwrap.dedent(server)
        text = CONFIGURATION.format(
            load_module=f"load_module {MODULE};" if module else "",
            user=f"user {self.user};" if self.user else "",
            workers=workers,
            main=_block(main, 0),
            events=events,
            log_level=log_level,
            python_home=f"python_home {python_home};" if module and python_home else "",
            check=_check(http) if module else "",
            temp_paths=_temp_paths(location + server + http) if module else "",
            executor=_executor(http, location + server + http, workers) if module else "",
            event_loop=_event_loop(location + server + http, http) if module else "",
            http=_block(http, 4),
            port=self.port,
            listen=listen,
            server=_block(server, 8),
            location=_block(f"location / {{\n{_block(location, 4)}\n}}", 8) if location else "",
        )
        self.config.write_text(text)
        return self.config

    # Running

    def check(self, *args, **kwargs) -> subprocess.CompletedProcess[str]:
        """`nginx -t` on the configuration that these arguments make; messages are in `stderr`."""
        if args or kwargs:
            self.write_config(*args, **kwargs)
        command = [NGINX, "-t", "-p", f"{self.root}/", "-c", str(self.config), "-e", "stderr"]
        return subprocess.run(command, capture_output=True, text=True, timeout=120)

    def start(self, *args, **kwargs) -> Nginx:
        """Writes the configuration that these arguments make, and starts nginx with it."""
        assert self._process is None, "this nginx runs already"
        if args or kwargs or not self.config.exists():
            self.write_config(*args, **kwargs)
        command = [NGINX, "-p", f"{self.root}/", "-c", str(self.config), "-e", str(self.log_path)]
        command = [*self.launcher, *command]
        with open(self.root / "logs" / "stderr.log", "ab") as stderr:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=stderr, stderr=stderr
            )
        self.master = self._process.pid
        self._wait_until_listening()
        return self

    def reload(self, timeout: float = 60.0) -> None:
        """Sends HUP; waits for new workers, and until the old ones accept no new connections."""
        old = set(self.workers(leaving=True))
        count = self._worker_count
        os.kill(self.master, signal.SIGHUP)

        def replaced() -> bool:
            workers = set(self.workers())
            return len(workers) >= count and not workers & old

        wait_for(lambda: replaced() or self._has_exited(), timeout, "new workers after a reload")
        assert not self._has_exited(), f"the master left on a reload:\n{self.error_log()}"

    def refuse_reload(self, timeout: float = 60.0) -> str:
        """Sends HUP; waits until nginx has refused the configuration, and returns what it has said
        of it. Its workers stay."""
        before, workers = len(self.error_log()), self.workers(leaving=True)
        os.kill(self.master, signal.SIGHUP)

        def said() -> str:
            return self.error_log()[before:]

        wait_for(lambda: "the configuration is refused" in said(), timeout, "a refused reload")
        assert self.workers(leaving=True) == workers
        return said()

    def quit(self, timeout: float = EXIT_TIMEOUT) -> None:
        """A graceful exit (QUIT); fails if the master is still there after `timeout`."""
        self._end(signal.SIGQUIT, timeout)

    def stop(self, timeout: float = EXIT_TIMEOUT) -> None:
        """A fast exit (TERM); fails if the master is still there after `timeout`."""
        self._end(signal.SIGTERM, timeout)

    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def workers(self, *, leaving: bool = False) -> list[int]:
        """Pids of the worker processes; `leaving`: also those that are shutting down."""
        found = []
        for pid in _children(self.master):
            title = title_of(pid)
            if title.startswith("nginx: worker process") and (
                leaving or "shutting down" not in title
            ):
                found.append(pid)
        return found

    def runners(self, *, leaving: bool = False) -> list[int]:
        """Pids of the processes that run Python: with `EXECUTOR` "process" not the workers."""
        if self._runs_processes():
            return self.processes("tests", leaving=leaving)
        return self.workers(leaving=leaving)

    def processes(self, group: str, *, leaving: bool = False) -> list[int]:
        """Pids of the processes of a `python_process`, dormant ones as well; `leaving`: also those
        that are shutting down.
        """
        end = r"( \(dormant\)| is shutting down)?:" if leaving else r"( \(dormant\))?:"
        title = re.compile(rf"nginx: python_process {re.escape(group)}{end} ")
        return [pid for pid in _children(self.master) if title.match(title_of(pid))]

    def wait_processes(self, group: str, count: int, *, but: Iterable[int] = ()) -> list[int]:
        """Waits until there are so many of them, and none of `but`; gives their pids."""

        def found() -> list[int] | None:
            pids = self.processes(group)
            return pids if len(pids) == count and not {*pids} & {*but} else None

        return wait_for(found, 60, f"{count} processes of {group}")

    def close(self) -> list[str]:
        """Stops everything at a test's end, and returns the faults that fail the test."""
        faults = []
        for client in self._clients:
            client.close()
        for connection in self._connections:
            connection.close()
        if self.is_running():
            try:
                self.quit()
            except AssertionError as error:
                faults.append(str(error))
                self._kill()
        return faults + self.fatal_lines()

    # Talking to it

    def url(self, path: str = "/", *, scheme: str = "http") -> str:
        return f"{scheme}://127.0.0.1:{self.port}{path}"

    def client(self, *, tls: bool = False, http2: bool = False, **options) -> httpx.Client:
        """An httpx client with this server as its base URL; closed at the test's end.

        http2: over TLS.
        """
        tls = tls or http2
        options.setdefault("timeout", 60.0)
        client = httpx.Client(
            base_url=self.url("", scheme="https" if tls else "http"),
            trust_env=False,
            verify=False,
            http2=http2,
            **options,
        )
        self._clients.append(client)
        return client

    def connect(
        self,
        *,
        unix: Path | None = None,
        timeout: float = 60.0,
        receive: int | None = None,
        tls: bool = False,
    ) -> Connection:
        """A connection for raw bytes; `connection.sock` is the socket itself.

        receive: the size of the socket's receive buffer, for a client that does not read.
        tls: the bytes are those inside of TLS.
        """
        sock = socket.socket(socket.AF_INET if unix is None else socket.AF_UNIX)
        sock.settimeout(timeout)
        if receive is not None:
            # Set before connecting: afterwards a larger window has been announced.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
        try:
            sock.connect(("127.0.0.1", self.port) if unix is None else str(unix))
            if tls:
                context = ssl.create_default_context()
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
                sock = context.wrap_socket(sock)
        except OSError:
            sock.close()
            raise
        connection = Connection(sock)
        self._connections.append(connection)
        return connection

    def raw(self, data: bytes, *, timeout: float = 60.0, shutdown: bool = False) -> bytes:
        """Sends bytes and returns everything until the server closes (so ask it to).

        shutdown: sends a FIN afterwards.
        """
        with self.connect(timeout=timeout) as connection:
            connection.send(data)
            if shutdown:
                connection.sock.shutdown(socket.SHUT_WR)
            return connection.rest()

    # The error log

    def error_log(self) -> str:
        if not self.log_path.exists():
            return ""
        return self.log_path.read_bytes().decode("utf-8", "backslashreplace")

    def stderr(self) -> str:
        """What nginx has written to its standard error, before its log was open."""
        path = self.root / "logs" / "stderr.log"
        return path.read_text("utf-8", "backslashreplace") if path.exists() else ""

    def log_lines(self, text: str) -> list[str]:
        """The lines of the error log that hold `text`."""
        return [line for line in self.error_log().splitlines() if text in line]

    def wait_log(self, text: str, timeout: float = 30.0) -> str:
        """Waits for a line that holds `text`, and returns the first such line."""
        return wait_for(
            lambda: next(iter(self.log_lines(text)), None), timeout, f"{text!r} in the error log"
        )

    def wait_imports(self, count: int, timeout: float = 60.0) -> None:
        """Waits until workers have imported applications so many times in all."""

        def imports() -> int:
            lines = self.log_lines("imported in")
            return sum("python_check:" not in line for line in lines)

        wait_for(lambda: imports() >= count, timeout, f"{count} imports")

    def allow_log(self, pattern: str) -> None:
        """Lines that match this regular expression do not fail the test."""
        self._allowed.append(re.compile(pattern))

    def fatal_lines(self) -> list[str]:
        """Lines that fail a test, in the error log and on standard error."""
        lines = (self.error_log() + self.stderr()).splitlines()
        return [
            line
            for line in lines
            if FATAL.search(line) and not any(allowed.search(line) for allowed in self._allowed)
        ]

    # Internals

    def _write(self, path: Path, text: str) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
        path.chmod(0o644)
        folder = path.parent
        while folder != self.root:
            folder.chmod(0o755)
            folder = folder.parent
        return path

    def _has_exited(self) -> bool:
        return self._process is None or self._process.poll() is not None

    def _wait_until_listening(self) -> None:
        def listening() -> bool:
            if self._has_exited():
                return True
            try:
                socket.create_connection(("127.0.0.1", self.port), 5).close()
            except OSError:
                return False
            return self._single_process() or self._have_started()

        wait_for(listening, 60, "nginx listening")
        if self._has_exited():
            self._process, self.master = None, 0
            raise AssertionError(f"nginx did not start:\n{self.stderr()}{self.error_log()}")

    def _have_started(self) -> bool:
        """All workers, of which those that run applications have their titles."""
        count = self._worker_count
        if self._runs_processes():
            return len(self.workers()) == count == len(self.processes("tests"))
        return len(self.workers()) >= count

    def _runs_processes(self) -> bool:
        return EXECUTOR == "process" and "python_process tests" in self.config.read_text()

    def _single_process(self) -> bool:
        return re.search(r"master_process\s+off", self.config.read_text()) is not None

    def _end(self, number: int, timeout: float) -> None:
        process = self._process
        assert process is not None, "this nginx does not run"
        process.send_signal(number)
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            name = signal.Signals(number).name
            raise AssertionError(f"nginx was still there {timeout} s after {name}") from None
        self._process, self.master = None, 0

    def _kill(self) -> None:
        process = self._process
        assert process is not None
        workers = _children(process.pid)
        process.kill()
        process.wait()
        for pid in workers:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self._process, self.master = None, 0


def temporary_root() -> Path:
    """A folder for one nginx: short, so that a Unix socket's path fits, and open to its workers."""
    return Path(tempfile.mkdtemp(prefix="pywsgi-"))


def free_port() -> int:
    """A port that is ours until `release_ports()`, whatever tests run beside this one.

    A socket that is bound to it, and does not listen, reserves it. It is bound without
    SO_REUSEADDR, so that binding fails if another socket holds the port. Then SO_REUSEADDR is set,
    so that nginx, which sets it as well, can bind and listen.
    """
    while True:
        holder = socket.socket()
        try:
            # Below the range of ephemeral ports.
            holder.bind(("127.0.0.1", random.randrange(10000, 32000)))
        except OSError:
            holder.close()
            continue
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _held_ports.append(holder)
        return holder.getsockname()[1]


def release_ports() -> None:
    """Gives back what `free_port` has taken, at a test's end."""
    while _held_ports:
        _held_ports.pop().close()


_held_ports: list[socket.socket] = []


def _worker_user(root: Path) -> str:
    """The user the workers run as: an unprivileged one if it can read what the tests need."""
    if os.geteuid() != 0:
        return ""
    for name in ("www-data", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        needed = [str(root), str(PROJECT / "tests"), str(VENV.parent)]
        seen = subprocess.run(["ls", "-d", *needed], user=entry.pw_uid, capture_output=True)
        if seen.returncode == 0:
            return name
    return "root"


def _children(pid: int) -> list[int]:
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return []
    return [int(child) for child in text.split()]


def title_of(pid: int) -> str:
    """A process's title, or its command line."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode("latin-1")
    except OSError:
        return ""


def _executor(http: str, text: str, workers: int) -> str:
    """The directives that select `EXECUTOR`; none if the configuration chooses itself."""
    if EXECUTOR == "threads":
        return ""
    if EXECUTOR == "process":
        chosen = r"(?<!\$)\bpython_process\b|\bwsgi_thread_pool\s+inline\b|master_process"
        if re.search(chosen, text):
            return ""
        return f"python_process tests processes={workers}; wsgi_process tests; asgi_process tests;"
    if re.search(r"\b(?:python|wsgi)_thread_pool\b", _top_level(http)):
        return ""
    return f"wsgi_thread_pool {EXECUTOR};"


def _check(http: str) -> str:
    """Tests that are not about `python_check` do without it: each start would import twice, and an
    application that cannot be imported would keep nginx from starting."""
    return "" if re.search(r"\bpython_check\b", http) else "python_check off;"


def _temp_paths(text: str) -> str:
    """The directives of the folders for temporary files that `text` leaves to their defaults."""
    protocols = ("wsgi", "asgi")
    unset = [name for name in protocols if not re.search(rf"\b{name}_temp_path\b", text)]
    return " ".join(f"{name}_temp_path tmp/{name};" for name in unset)


def _event_loop(text: str, http: str) -> str:
    """The directive that selects `EVENT_LOOP`; none without an ASGI application, or if `http`
    configures the loop itself.
    """
    if "asgi_app" not in text or re.search(r"\bpython_event_loop\s+main\b", _top_level(http)):
        return ""
    return f"python_event_loop main {EVENT_LOOP};"


def _top_level(text: str) -> str:
    """What stands outside of all blocks."""
    before = None
    while text != before:
        before, text = text, re.sub(r"\{[^{}]*\}", ";", text)
    return text


def _block(text: str, indent: int) -> str:
    return textwrap.indent(textwrap.dedent(text).strip("\n"), " " * indent)
