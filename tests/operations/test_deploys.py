"""Deploying a release, its secrets, and going back."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import pytest
from harness import VENV
from rawhttp import wait_for

APP = """
    import helper

    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [f"{helper.WORD} {helper.__cached__}".encode()]
"""


@pytest.fixture
def incoming(nginx, recipes):
    """`incoming("42")` is what a build has left to be deployed."""

    def write(word: str) -> None:
        nginx._write(recipes.srv / "shop/incoming/wsgi.py", APP)
        nginx._write(recipes.srv / "shop/incoming/helper.py", f"WORD = {word!r}\n")
        venv = recipes.srv / "shop/incoming/venv"
        if not venv.exists():
            venv.symlink_to(VENV)

    return write


def configure(nginx, recipes) -> None:
    """The harness's configuration with the recipe in place of its server."""
    nginx.write_config(python_home=None, http="python_check on timeout=120s;")
    text = nginx.config.read_text()
    head = text[: text.index("server {")]
    nginx.config.write_text(head + recipes.block("nginx", "deploy") + "}\n")


def served(nginx) -> tuple[str, Path]:
    word, cached = nginx.client().get("/").text.split()
    return word, Path(cached)


def test_a_deploy_and_the_way_back(nginx, recipes, incoming):
    nginx.allow_log(r"\[emerg\]")
    # A folder of its own for each deploy of the same second.
    script = recipes.block("sh", "deploy").replace("+%Y%m%d%H%M%S", "+%Y%m%d%H%M%S%N")
    install = script[: script.index("nginx -t")]
    configure(nginx, recipes)
    incoming("first")
    done = recipes.shell(install)
    assert done.returncode == 0, done.stderr
    nginx.start()
    word, cached = served(nginx)
    assert word == "first"
    assert cached.is_file(), "the release has been compiled before it was current"
    before = nginx.workers()

    incoming("second")
    done = recipes.shell(script)
    assert done.returncode == 0, done.stderr
    wait_for(lambda: not set(before) & set(nginx.workers()), 60, "new workers")
    assert served(nginx)[0] == "second"

    # A broken one is refused before anything is reloaded.
    workers = nginx.workers()
    current = recipes.srv / "shop/current"
    good = os.readlink(current)
    (recipes.srv / "shop/incoming/helper.py").write_text("def broken(:\n")
    done = recipes.shell(script)
    assert done.returncode != 0
    assert "SyntaxError" in done.stderr
    assert served(nginx)[0] == "second"
    assert nginx.workers() == workers

    # The way back.
    (recipes.srv / "shop/back").symlink_to(good)
    (recipes.srv / "shop/back").rename(current)
    nginx.reload()
    wait_for(lambda: not set(workers) & set(nginx.workers(leaving=True)), 60, "new workers")
    assert served(nginx)[0] == "second"
    assert len(list((recipes.srv / "shop/releases").iterdir())) == 3


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a file to root")
def test_a_secret_is_read_anew_at_a_reload(nginx, recipes):
    recipes.places["/etc/shop.env"] = str(nginx.root / "conf" / "shop.env")
    app = nginx.app(
        "app",
        """
        import os

        def application(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [os.environ["SECRET_KEY"].encode()]
        """,
    )
    file = nginx.root / "conf" / "shop.env"
    file.write_text("SECRET_KEY=old\n")
    nginx.start(f"wsgi_app {app};", http=recipes.block("nginx", "secrets"))
    assert nginx.client().get("/").text == "old"
    old = nginx.workers()
    done = recipes.shell(recipes.block("sh", "secrets"))
    assert done.returncode == 0, done.stderr
    assert file.stat().st_mode & 0o777 == 0o600
    wait_for(lambda: not set(old) & set(nginx.workers()), 60, "new workers")
    assert nginx.client().get("/").text == "a-new-secret"
    for pid in (nginx.master, *nginx.workers()):
        assert b"a-new-secret" not in Path(f"/proc/{pid}/environ").read_bytes()


def test_sizing(nginx, recipes):
    """The slow pool does not keep the other one waiting; memory is what the recipe says."""
    nginx._write(
        recipes.srv / "shop/wsgi.py",
        f"""
        import sys
        import threading

        sys.path.append({str(nginx.apps)!r})
        from testkit import gate, record

        def application(environ, start_response):
            if environ["PATH_INFO"].startswith("/reports/"):
                record("reports")
                gate("go")
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [threading.current_thread().name.encode()]
        """,
    )
    nginx.write_config(http="python_thread_pool unused;")
    text = nginx.config.read_text().replace("python_thread_pool unused;", "")
    nginx.config.write_text(
        text[: text.index("server {")] + recipes.block("nginx", "sizing") + "}\n"
    )
    nginx.start()
    reports = [nginx.connect() for _ in range(4)]
    for connection in reports:
        connection.get("/reports/")
    nginx.wait_recorded("reports", 2)
    assert nginx.client().get("/").text.startswith("py-default-")
    assert len(nginx.recorded("reports")) == 2
    nginx.open_gate("go")
    for connection in reports:
        assert connection.response().body.startswith(b"py-reports-")
    script = recipes.block("sh", "memory").replace("WORKER", str(nginx.workers()[0]))
    assert re.search(r"^Pss:\s+\d{4,} kB$", recipes.shell(script).stdout.strip())


def test_rotation(nginx, recipes, protocol):
    """The recipe's script, after what logrotate does before."""
    recipes.places["/run/nginx.pid"] = str(nginx.root / "logs" / "nginx.pid")
    script = recipes.file("logrotate/nginx").split("postrotate\n")[1].split("endscript")[0]
    app = protocol.app(
        "app",
        """
        import sys

        async def answer(request):
            print(request.query, file=sys.stderr)
            await request.respond(b"printed")
        """,
    )
    nginx.start(f"{protocol}_app {app};")
    client = nginx.client()
    assert client.get("/?before").text == "printed"
    nginx.wait_log("before, client")
    old = nginx.log_path.with_suffix(".log.1")
    nginx.log_path.rename(old)
    # `create` of the recipe.
    nginx.log_path.touch()
    nginx.log_path.chmod(0o640)
    assert recipes.shell(script).returncode == 0
    deadline = time.monotonic() + 60
    number = 0
    while not nginx.log_lines("after") and time.monotonic() < deadline:
        number += 1
        assert client.get(f"/?after{number}").text == "printed"
    assert nginx.log_lines("after"), "the output goes to the new file"
    assert client.get("/?last").text == "printed"
    nginx.wait_log("last, client")
    assert "last, client" not in old.read_text()
