"""A process that writes what it likes into the memory that it shares with the workers."""

from __future__ import annotations

import os
import signal
import time

import pytest
from harness import Nginx
from rawhttp import wait_for

# `what` says what a thread of it writes, in a row, until the process ends.
APP = """
    import fcntl, os, random, socket, stat, struct, sys, threading, time
    from testkit import record

    def regions():
        found = []
        with open("/proc/self/maps") as maps:
            for line in maps:
                if "/memfd:pywsgi" in line:
                    start, end = (int(part, 16) for part in line.split()[0].split("-"))
                    found.append((start, end - start))
        return found

    def write(place, data):
        with open("/proc/self/mem", "r+b", buffering=0) as memory:
            memory.seek(place)
            memory.write(data)

    LINE = 64
    CONTROL = 4 * LINE
    RING = 64 * 1024
    SLOTS, TRAYS, TRAY = 1 << 16, 16, 64 * 1024
    WORDS = 2 * (CONTROL + RING) + 8 * SLOTS

    def attack(what, start, size):
        for first in (start, start + CONTROL + RING):
            if what == "noise":
                noise = random.randbytes(random.choice([1, 8, 500]))
                write(first + random.randrange(CONTROL + RING), noise)
            elif what == "indices":
                word = random.choice([0, LINE, 2 * LINE, 3 * LINE])
                value = random.choice([0, 1, 3, 2**31, 2**63, 2**64 - 1, random.getrandbits(64)])
                write(first + word, struct.pack("=Q", value))
            elif what == "lengths":
                at = random.randrange(RING // 8) * 8
                value = random.choice([2**32 - 1, 70_000, 65_536, random.getrandbits(47)])
                write(first + CONTROL + at, struct.pack("=Q", value))
            elif what == "marks":
                at = 2 * (CONTROL + RING) + 8 * random.randrange(64)
                write(start + at, random.randbytes(8))
            elif what == "trays" and size > WORDS:
                # Their words, their bytes, and what the messages in the ring may say of them.
                free = struct.pack("=Q", random.choice([0, 1, 2**64 - 1]))
                write(start + WORDS + 8 * random.randrange(TRAYS), free)
                write(start + size - TRAY * random.randrange(1, TRAYS + 1), random.randbytes(500))
                at = random.randrange(RING // 8) * 8
                tray, length = random.randrange(TRAYS + 1), random.choice([0, 1, TRAY, TRAY + 1])
                write(first + CONTROL + at, struct.pack("=Q", tray << 32 | length))

    def sockets():
        for fd in map(int, os.listdir("/proc/self/fd")):
            try:
                if stat.S_ISSOCK(os.fstat(fd).st_mode):
                    yield fd, socket.socket(fileno=os.dup(fd))
            except OSError:
                pass

    def send_files():
        # Files of all kinds, which no message names, or another one than it means.
        os.mkfifo(f"/tmp/pywsgi-hostile-{os.getpid()}")
        paths = ["/dev/zero", "/tmp", "/etc/passwd", f"/tmp/pywsgi-hostile-{os.getpid()}"]
        flags = os.O_RDONLY | os.O_NONBLOCK
        files = [os.open(path, flags) for path in paths] + [os.open("/etc/passwd", os.O_PATH)]
        os.unlink(paths[-1])
        while True:
            for _, own in sockets():
                with own:
                    if own.type != socket.SOCK_SEQPACKET:
                        continue
                    chosen = random.choices(files, k=random.choice([1, 1, 2, 200]))
                    try:
                        socket.send_fds(own, [b"f"], chosen, socket.MSG_DONTWAIT)
                    except OSError:
                        pass
            time.sleep(0.001)

    def fill_bells():
        while True:
            for fd in map(int, os.listdir("/proc/self/fd")):
                try:
                    if not stat.S_ISFIFO(os.fstat(fd).st_mode):
                        continue
                    flags = fcntl.fcntl(fd, fcntl.F_GETFL)
                    if flags & os.O_ACCMODE != os.O_RDONLY:
                        fcntl.fcntl(fd, fcntl.F_SETFL, flags | os.O_NONBLOCK)
                        os.write(fd, bytes(4096))
                    # Who is at the other end must not wait, whatever this end is.
                    fcntl.fcntl(fd, fcntl.F_SETFL, flags & ~os.O_NONBLOCK)
                except OSError:
                    pass
            time.sleep(0.001)

    def write_shared():
        found = []
        with open("/proc/self/maps") as maps:
            for line in maps:
                if "rw-s" in line and "/dev/zero" in line:
                    start, end = (int(part, 16) for part in line.split()[0].split("-"))
                    found.append((start, end - start))
        with open("/proc/self/mem", "r+b", buffering=0) as memory:
            while True:
                for start, size in found:
                    for _ in range(50):
                        memory.seek(start + random.randrange(min(size, 65536) // 8) * 8)
                        value = random.choice([0, 1, 2**32 - 1, 2**64 - 1, random.getrandbits(64)])
                        memory.write(struct.pack("=Q", value))
                time.sleep(0.001)

    OTHERS = {"files": send_files, "bells": fill_bells, "shared": write_shared}

    def run(what):
        if what in OTHERS:
            OTHERS[what]()
        while True:
            for start, size in regions():
                try:
                    for _ in range(50):
                        attack(what, start, size)
                except OSError:
                    pass
            time.sleep(0.001)

    def application(environ, start_response):
        what = environ["QUERY_STRING"]
        if what:
            threading.Thread(target=run, args=(what,), daemon=True).start()
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"x" * 100_000] + [b"x" * 1000] * 10
"""
GOOD = """
    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"good"]
"""
SECONDS = 60 if os.environ.get("PYWSGI_LONG") else 4

# What a process has of nginx's: listening sockets, and sockets by their kinds.
SOCKETS = """
    import os, socket, stat
    from testkit import record

    def sockets():
        found = {"listening": 0, "channels": 0, "packets": 0}
        for fd in os.listdir("/proc/self/fd"):
            try:
                if not stat.S_ISSOCK(os.fstat(int(fd)).st_mode):
                    continue
            except OSError:
                continue
            with socket.socket(fileno=os.dup(int(fd))) as own:
                accepts = own.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
                if own.family != socket.AF_UNIX or accepts:
                    found["listening"] += 1
                elif own.type == socket.SOCK_STREAM:
                    found["channels"] += 1
                else:
                    found["packets"] += 1
        return found

    def application(environ, start_response):
        body = repr(sorted(sockets().items())).encode()
        start_response("200 OK", [])
        return [body]
"""


KINDS = ["noise", "indices", "lengths", "marks", "trays", "files", "bells", "shared"]


@pytest.mark.parametrize("what", KINDS)
def test_others_never_notice(nginx: Nginx, what):
    hostile, good = nginx.app("hostile", APP), nginx.app("good", GOOD)
    nginx.page("static.html", "static")
    nginx.start(
        http="python_process hostile ring=64k; python_process good;",
        server=f"""
            location / {{
                wsgi_app {hostile};
                wsgi_process hostile;
                wsgi_queue_timeout 2s;
                wsgi_timeout 2s;
            }}
            location /good {{ wsgi_app {good}; wsgi_process good; }}
            location /static.html {{ root html; }}
            location /status {{ python_status json; }}
        """,
    )
    (worker,) = nginx.workers()
    # The process may end by what it does to itself.
    nginx.allow_log(r"\[alert\].* exited on signal|pywsgi\[329\]")
    client = nginx.client()
    with nginx.connect() as first:
        # Its own response may be the first that suffers.
        first.get(f"/?{what}", close=True)
        first.rest()
    until = time.monotonic() + SECONDS
    asked = 0
    while time.monotonic() < until:
        with nginx.connect(timeout=10) as connection:
            connection.get("/")
            asked += 1
            assert client.get("/status").status_code == 200
            for _ in range(20):
                assert client.get("/good").text == "good"
                assert client.get("/static.html").text == "static"
    assert asked and nginx.workers() == [worker]
    if what == "shared":
        # What it has written may put the next import off.
        return
    # Without it all is well again.
    for pid in nginx.wait_processes("hostile", 1):
        os.kill(pid, signal.SIGKILL)

    def served() -> bool:
        with nginx.connect() as connection:
            connection.get("/", close=True)
            return connection.rest().endswith(b"x" * 10_000)

    wait_for(served, what="the next process")


def test_it_has_no_socket_of_nginx_or_of_others(nginx: Nginx):
    path, good = nginx.app("sockets", SOCKETS), nginx.app("good", GOOD)
    nginx.start(
        http="python_process hostile; python_process good processes=2;",
        server=f"""
            location / {{ wsgi_app {path}; wsgi_process hostile; }}
            location /good {{ wsgi_app {good}; wsgi_process good; }}
        """,
        workers=2,
    )
    client = nginx.client()
    # Its own channel, its meeting, and a link with each worker; the last two are watched by
    # duplicates.
    expected = repr([("channels", 1), ("listening", 0), ("packets", 2 + 2 * 2)])
    assert client.get("/").text == expected
    # Processes that come later send their channels.
    for pid in nginx.wait_processes("good", 2):
        os.kill(pid, signal.SIGKILL)
    nginx.allow_log(r"\[alert\].* exited on signal")
    nginx.wait_processes("good", 2)
    wait_for(lambda: client.get("/").text == expected, what="a process without channels")
    nginx.reload()
    wait_for(lambda: nginx.client().get("/").text == expected, what="the next process")
