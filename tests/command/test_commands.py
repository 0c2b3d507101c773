"""`pywsgi config`, `check`, `doctor`, `top` and `completion`."""

from __future__ import annotations

import grp
import pwd
import re
import subprocess

import pytest
from harness import MODULE, VENV, free_port

WSGI = """
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ["SCRIPT_NAME"].encode() + b"|" + environ["PATH_INFO"].encode()]
"""

ASGI = """
async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": scope["root_path"].encode()})
"""


def test_config_prints_what_nginx_serves(pywsgi, nginx):
    """All of its lines but the system's paths are loaded, and serve."""
    pywsgi.file("app.py", WSGI)
    pywsgi.file("public/a.txt", "static")
    pywsgi.file(".env", "A=1\n")
    done = pywsgi.run(
        "config",
        "app.py",
        *("-w", "2", "--threads", "3", "-t", "30", "--graceful-timeout", "7", "--keep-alive", "5"),
        *("--max-requests", "1000", "--max-requests-jitter", "10", "--env-file", ".env"),
        *("-e", "DJANGO_SETTINGS_MODULE=a.b", "--static", "/s=public", "--root-path", "/api"),
        *("-b", f"127.0.0.1:{nginx.port}", "--client-max-body-size", "20m", "--backlog", "100"),
        *("--forwarded-allow-ips", "10.0.0.0/8,::1", "--header", "X-A:$1", "--status", "--preload"),
        *("--server-name", "www.example.com"),
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("pywsgi config: --preload: ")
    text = done.stdout
    for line in (
        "worker_processes 2;",
        "user www-data;",
        f"python_home {VENV};",
        "python_thread_pool default threads=3;",
        "python_max_requests 1000 jitter=10;",
        "python_drain_timeout 7s;",
        f"listen 127.0.0.1:{nginx.port} backlog=100;",
        "server_name www.example.com;",
        f"wsgi_app {pywsgi.folder}/app.py:app;",
        "wsgi_script_name /api;",
        "wsgi_timeout 30s;",
        "client_max_body_size 20m;",
        "set_real_ip_from 10.0.0.0/8;",
    ):
        assert line in text
    for name, instead in (
        ("load_module .*;", f"load_module {MODULE};\ndaemon off;"),
        ("user .*;", f"user {nginx.user};" if nginx.user else ""),
        ("pid .*;", "pid logs/nginx.pid;"),
        ("error_log .*;", "error_log logs/error.log notice;"),
        ("access_log .*;", "access_log off; python_check off;"),
        ("include .*;", ""),
    ):
        text, count = re.subn(rf"(?m)^( *){name}$", rf"\1{instead}", text)
        assert count == 1, name
    nginx.config.write_text(text)
    subprocess.run(["chmod", "-R", "a+rX", pywsgi.folder], check=True)
    nginx.start()
    client = nginx.client()
    answer = client.get("/api/x")
    assert (answer.text, answer.headers["X-A"]) == ("/api|/x", "$1")
    assert client.get("/s/a.txt").text == "static"


def test_config_of_logs_and_a_umask(pywsgi):
    pywsgi.file("app.py", WSGI)
    done = pywsgi.run("config", "app:app", "--log-level", "warning", "--umask", "027")
    assert "\nerror_log /var/log/nginx/error.log warn;\n" in done.stdout
    assert done.stderr == (
        "pywsgi config: --umask: nginx has no directive for it; set UMask= in its unit of systemd"
        " (without effect)\n"
    )


def test_a_user_without_a_group_of_that_name(pywsgi):
    pywsgi.file("app.py", WSGI)
    group = grp.getgrgid(pwd.getpwnam("nobody").pw_gid).gr_name
    assert f"\nuser nobody {group};\n" in pywsgi.run("config", "app:app", "-u", "nobody").stdout
    # Of another machine.
    assert "\nuser a-user;\n" in pywsgi.run("config", "app:app", "-u", "a-user").stdout
    assert "\nuser a b;\n" in pywsgi.run("config", "app:app", "-u", "a", "-g", "b").stdout


def test_config_of_asgi_with_tls(pywsgi, nginx):
    pywsgi.file("main.py", ASGI)
    nginx.tls()
    certificate, key = nginx.root / "conf" / "cert.pem", nginx.root / "conf" / "key.pem"
    done = pywsgi.run(
        *("config", "main:app", "--certfile", certificate, "--keyfile", key, "--http2"),
        *(
            "--ws-max-size",
            "2000",
            "--ws-ping-interval",
            "1.5",
            "--lifespan",
            "off",
            "--ws",
            "none",
        ),
        *("--limit-concurrency", "9", "--loop", "asyncio", "--ws-per-message-deflate", "no"),
    )
    for line in (
        "ssl_protocols TLSv1.2 TLSv1.3;",
        f"ssl_certificate {certificate};",
        "asgi_app main:app;",
        "asgi_websocket off;",
        "asgi_websocket_max_message_size 2000;",
        "asgi_websocket_ping_interval 1500ms;",
        "asgi_websocket_deflate off;",
        "asgi_lifespan off;",
        "asgi_max_requests_in_flight 9;",
        "python_event_loop main asyncio;",
    ):
        assert line in done.stdout
    assert re.search(r"listen 443 ssl( http2)?;", done.stdout)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tls-self-signed"], "--tls-self-signed is for development"),
        (["--certfile", "no.pem"], "--certfile no.pem: there is no such file"),
        (["--static", "/a=no"], "there is no directory "),
        (["--static", "/a=.", "--static", "/a/=."], "--static is at /a/ twice"),
        (["--static", "/a=app.py", "--static", "/a=a$b"], "--static is at /a twice"),
        (["--static", "/a=app.py", "--status", "/a"], "--status and --static are both at /a"),
        (["--env-file", "no"], "--env-file no: there is no such file"),
        (["--venv", "no"], "--venv no: there is no "),
        (["--chdir", "no"], "--chdir no: there is no such directory"),
        (["--port", "0"], "port 0: name the port"),
        (["--keyfile", "k"], "--keyfile needs --certfile"),
        (["--reload", "--reload-dir", "no"], "there is no such directory"),
        (["--forwarded-allow-ips", "a b;c"], "--forwarded-allow-ips a b;c: it is no address"),
        (["--certfile", "a$b"], "--certfile a$b: nginx takes a $ in it for more"),
    ],
)
def test_what_cannot_be_configured(pywsgi, arguments, message):
    pywsgi.file("app.py", WSGI)
    pywsgi.file("a$b")
    done = pywsgi.run("config", "app:app", *arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("pywsgi config: ")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_odd_names_are_names(pywsgi, nginx):
    """A folder, files and values with characters that mean something to nginx."""
    odd = "s p;{}$x'\"#[1]"
    folder = pywsgi.folder / odd
    pywsgi.file(f"{odd}/app.py", WSGI)
    pywsgi.file(f"{odd}/public$y/a.txt", "static")
    pywsgi.file(f"{odd}/e v", "A=1\n")
    arguments = (
        *("--static", "/s t=public$y", "--env-file", "e v", "--header", 'X-A: a"b$c;', "app:app"),
        *("-e", "B=$x;\n}", "--access-logfile", "l$g", "--root-path", "/a b", "--status", "/x y"),
        *("-b", f"127.0.0.1:{nginx.port}", "--forwarded-allow-ips", "*"),
    )
    done = pywsgi.run("check", *arguments, cwd=folder)
    assert done.returncode == 0, done.stderr
    server = pywsgi.serve(*arguments, "--pid", "p$d", cwd=folder)
    response = server.get("/a b/c")
    assert response.headers["X-A"] == 'a"b$c;'
    assert response.text == "/a b|/c"
    assert server.get("/s t/a.txt").text == "static"
    assert server.stop() == 0
    assert "GET /s%20t/a.txt" in (folder / "l$g").read_text()
    assert not (folder / "p$d").exists()


def test_check(pywsgi):
    pywsgi.file("app.py", WSGI)
    done = pywsgi.run("check", "app:app", "--status", "--env", "A=1")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"ok: app:app (WSGI) in {VENV}, with nginx ")
    pywsgi.file("app.py", "import nothing_here")
    done = pywsgi.run("check", "app:app")
    assert (done.returncode, done.stdout) == (1, "")
    assert "No module named 'nothing_here'" in done.stderr
    pywsgi.file("app.py", WSGI)
    pywsgi.file(".env", "A=${B}")
    done = pywsgi.run("check", "app:app", "--env-file", ".env")
    assert done.returncode == 1
    assert ".env" in done.stderr
    assert done.stderr.endswith("pywsgi check: nginx refuses it; the lines above say why\n")
    assert pywsgi.left_over() == []


def test_doctor(pywsgi):
    done = pywsgi.run("doctor", "--user", "nobody")
    assert done.returncode == 0, done.stdout
    found = {tuple(line.split()[:2]) for line in done.stdout.splitlines()}
    assert {("ok", "pywsgi"), ("ok", "Python"), ("ok", "nginx"), ("ok", "module")} <= found
    assert "starts inside this nginx" in done.stdout
    broken = pywsgi.file("broken.so", "this is no library")
    done = pywsgi.run("doctor", "--module", broken)
    assert done.returncode == 1
    assert re.search(r"^error +module +cannot be loaded: dlopen", done.stdout, re.MULTILINE)
    # Of the file that it was tried with, nothing is left to look at.
    assert "nginx.conf" not in done.stdout
    # A download that was cut off: its tables are missing.
    with open(MODULE, "rb") as whole:
        (pywsgi.folder / "cut.so").write_bytes(whole.read(100_000))
    done = pywsgi.run("doctor", "--module", "cut.so")
    assert done.returncode == 1
    assert re.search(r"^error +module +cannot be loaded: ", done.stdout, re.MULTILINE)
    done = pywsgi.run("doctor", "--chdir", "/no/folder")
    assert "error    folder       --chdir /no/folder: there is no such directory" in done.stdout
    assert "cannot enter /no/folder" not in done.stdout
    assert done.returncode == 1
    done = pywsgi.run("doctor", "--nginx", "/no/nginx")
    assert done.returncode == 1
    assert re.search(r"^error +nginx ", done.stdout, re.MULTILINE)
    assert pywsgi.left_over() == []


def test_top(pywsgi):
    done = pywsgi.run("top")
    assert done.returncode == 1
    assert "no pywsgi serve runs here" in done.stderr
    pywsgi.file("app.py", WSGI)
    server = pywsgi.serve("app:app", "--status")
    for _ in range(3):
        server.get()
    for arguments in ((), (server.url,), (f"{server.url}/-/status",)):
        done = pywsgi.run("top", *arguments)
        assert done.returncode == 0, done.stderr
        lines = done.stdout.splitlines()
        assert "workers: 1 serving" in lines[0]
        (row,) = (line.split() for line in lines if line.startswith("app:app"))
        assert row[1:4:2] == ["wsgi", "3"]
        assert any(line.split()[:2] == ["default", "0/8"] for line in lines)
    done = pywsgi.run("top", f"{server.url}/nothing")
    assert done.returncode == 1
    assert "is no python_status" in done.stderr
    done = pywsgi.run("top", f"127.0.0.1:{free_port()}")
    assert done.returncode == 1
    assert "refused" in done.stderr
    other = pywsgi.serve("app:app", "--status")
    assert other.url
    done = pywsgi.run("top")
    assert done.returncode == 1
    assert "several run here; name one by its URL" in done.stderr


def test_completion(pywsgi):
    """bash completes it; the others have every option."""
    script = pywsgi.run("completion", "bash").stdout
    path = pywsgi.file("completion.bash", script)

    def complete(*words: str) -> list[str]:
        typed = " ".join(f"'{word}'" for word in words)
        line = (
            f". {path}; COMP_WORDS=({typed}); COMP_CWORD={len(words) - 1};"
            ' compopt() { :; }; _pywsgi; printf "%s\\n" "${COMPREPLY[@]}"'
        )
        done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=60)
        assert done.stderr == ""
        return done.stdout.split()

    assert complete("pywsgi", "ser") == ["serve"]
    assert complete("pywsgi", "serve", "--relo") == [
        *("--reload", "--reload-dir", "--reload-extra-file", "--reload-delay"),
        *("--reload-include", "--reload-exclude", "--reload-engine"),
    ]
    assert complete("pywsgi", "serve", "--lifespan", "o") == ["on", "off"]
    assert complete("pywsgi", "completion", "z") == ["zsh"]
    for shell, form in (("zsh", "'*{}["), ("fish", " -l {} ")):
        script = pywsgi.run("completion", shell).stdout
        for name in ("--bind", "--reload", "--http3", "--interval"):
            assert form.format(name if shell == "zsh" else name[2:]) in script


def test_what_is_no_command(pywsgi):
    done = pywsgi.run("serv", "app:app")
    assert done.returncode == 2
    assert "'serv'" in done.stderr
    assert pywsgi.run("--version").stdout.startswith("pywsgi ")
