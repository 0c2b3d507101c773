"""Configurations in the forms that the documentation of each server shows, in our own words.

`{srv}` is the folder of the test. A case is a command or the files of a folder, the first of which
is converted. `lines` are directives of the result, and `left` what it must name as not converted.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Case:
    name: str
    # The page or the file of the server's own documentation that shows this form.
    source: str
    command: str = ""
    files: dict[str, str] = field(default_factory=dict)
    lines: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    # Arguments of `pywsgi convert` in front of the source, and variables of the environment.
    options: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        return self.name.partition("-")[0]


# As the tests ask for it: the prefix, and what is below it.
APPLICATION = """\
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{environ['SCRIPT_NAME']}|{environ['PATH_INFO']}".encode()]
"""


def case(name: str, source: str, command: str = "", **rest) -> Case:
    return Case(name, source, command, **rest)


GUNICORN_FILE = [
    case(
        "gunicorn.conf.py-overview",
        "gunicorn: Configuration Overview, the file gunicorn.conf.py",
        files={
            "gunicorn.conf.py": """\
                import multiprocessing

                bind = "127.0.0.1:8000"
                workers = multiprocessing.cpu_count() * 0 + 3
                wsgi_app = "myapp.main:app"
            """
        },
        lines=("worker_processes 3;", "python_thread_pool default threads=1;"),
    ),
    case(
        "gunicorn.conf.py-example",
        "gunicorn: examples/example_config.py",
        files={
            "gunicorn.conf.py": """\
                import os

                bind = '127.0.0.1:8000'
                backlog = 2048
                workers = 1
                worker_class = 'sync'
                worker_connections = 1000
                timeout = 30
                keepalive = 2
                spew = False
                daemon = False
                raw_env = [
                    'DJANGO_SECRET_KEY=something',
                    'SPAM=eggs',
                ]
                pidfile = None
                umask = 0
                user = None
                group = None
                tmp_upload_dir = None
                errorlog = '-'
                loglevel = 'info'
                accesslog = '-'
                access_log_format = '%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s'
                proc_name = None

                def post_fork(server, worker):
                    server.log.info("Worker spawned (pid: %s)", worker.pid)

                def pre_fork(server, worker):
                    pass

                def when_ready(server):
                    server.log.info("Server is ready. Spawning workers")

                def worker_abort(worker):
                    worker.log.info("worker received SIGABRT signal")

                wsgi_app = "test:app"
            """
        },
        lines=(
            "worker_connections 1000;",
            "keepalive_timeout 2s;",
            "wsgi_timeout 30s;",
            "python_env SPAM=eggs;",
            "error_log /var/log/nginx/error.log info;",
        ),
        left=("post_fork", "when_ready", "access_log_format"),
    ),
    case(
        "gunicorn.conf.py-environment",
        "gunicorn: Settings, WEB_CONCURRENCY and $PORT",
        files={
            "gunicorn.conf.py": """\
                import os

                port = os.environ.get("PORT", "8000")
                bind = f"0.0.0.0:{port}"
                workers = int(os.getenv("WEB_CONCURRENCY", 2))
                threads = int(os.environ.get("PYTHON_MAX_THREADS", 4))
                preload_app = True
                max_requests = 1000
                max_requests_jitter = 50
                accesslog = None
                wsgi_app = "config.wsgi"
            """
        },
        lines=(
            "worker_processes 2;",
            "python_thread_pool default threads=4;",
            "python_max_requests 1000 jitter=50;",
            "access_log off;",
        ),
        left=("preload_app",),
    ),
    case(
        "gunicorn.conf.py-tls",
        "gunicorn: Settings, SSL",
        files={
            "gunicorn.conf.py": """\
                bind = ["0.0.0.0:8443", "[::1]:8444"]
                certfile = "{srv}/server.crt"
                keyfile = "{srv}/server.key"
                ciphers = "HIGH:!aNULL"
                do_handshake_on_connect = True
                limit_request_line = 8190
                secure_scheme_headers = {"X-FORWARDED-PROTO": "https"}
                wsgi_app = "shop:create_app()"
            """
        },
        lines=("ssl_ciphers HIGH:!aNULL;", "wsgi_app shop:create_app();"),
        left=("do_handshake_on_connect", "secure_scheme_headers"),
    ),
    case(
        "gunicorn.conf.py-asgi",
        "gunicorn: ASGI Worker; uvicorn: Deployment, with gunicorn",
        files={
            "gunicorn.conf.py": """\
                wsgi_app = "example:app"
                worker_class = "asgi"
                asgi_loop = "auto"
                asgi_lifespan = "on"
                bind = "unix:{srv}/gunicorn.sock"
                graceful_timeout = 60
                chdir = "{srv}/site"
                pythonpath = "{srv}/lib,{srv}/more"
                forwarded_allow_ips = "*"
                websocket_max_message_size = 1048576
            """
        },
        lines=(
            "asgi_app example:app;",
            "asgi_lifespan on;",
            "python_drain_timeout 60s;",
            "python_working_directory {srv}/site;",
            "python_path {srv}/lib {srv}/more {srv}/site;",
            "asgi_websocket_max_message_size 1m;",
            "real_ip_header X-Forwarded-For;",
        ),
    ),
]

GUNICORN = [
    case("gunicorn-basic", "gunicorn: README", "gunicorn -w 4 myapp:app"),
    case(
        "gunicorn-flask",
        "Flask: Deploying, Gunicorn",
        "gunicorn -w 4 -b 0.0.0.0 'hello:create_app()'",
        lines=("worker_processes 4;", "listen 0.0.0.0:8000;"),
    ),
    case(
        "gunicorn-fastapi",
        "uvicorn: Deployment",
        "gunicorn main:app --workers 4 --worker-class uvicorn.workers.UvicornWorker "
        "--bind 0.0.0.0:80",
        lines=("asgi_app main:app;", "listen 0.0.0.0:80;"),
    ),
    case(
        "gunicorn-cloud-run",
        "Cloud Run: build and deploy a Python service, its Dockerfile",
        "exec gunicorn --bind :8080 --workers 1 --threads 8 --timeout 0 main:app",
        lines=("listen 8080;", "wsgi_timeout 0;"),
    ),
    case(
        "gunicorn-gthread",
        "gunicorn: Design, Gthread Workers",
        "gunicorn --bind=unix:{srv}/app.sock --worker-class=gthread --threads=20 --log-level=debug "
        "--access-logfile {srv}/access.log --env A=1 -e B=2 --preload --max-requests 500 app.wsgi",
        lines=("python_thread_pool default threads=20;", "python_env A=1;", "python_env B=2;"),
        left=("--preload",),
    ),
    case(
        "gunicorn-gevent",
        "gunicorn: Deploying, Gevent",
        "{srv}/venv/bin/gunicorn -k gevent --worker-connections 2000 -t 60 -n site wsgi:app",
        lines=("python_home {srv}/venv;", "worker_connections 2000;"),
        left=("-k gevent", "-n site"),
    ),
]

UVICORN = [
    case("uvicorn-basic", "uvicorn: Quickstart", "uvicorn example:app"),
    case(
        "uvicorn-factory",
        "uvicorn: Application factories",
        "uvicorn --factory main:create_app --reload --log-level debug",
        lines=("asgi_app main:create_app();", "python_reload watch;"),
    ),
    case(
        "uvicorn-docker",
        "FastAPI: FastAPI in Containers",
        "uvicorn app.main:app --proxy-headers --host 0.0.0.0 --port 80 --workers 4",
        lines=("listen 0.0.0.0:80;", "set_real_ip_from 127.0.0.1;"),
    ),
    case(
        "uvicorn-tls",
        "uvicorn: Deployment, Running with HTTPS",
        "uvicorn main:app --port 5000 --ssl-keyfile=./key.pem --ssl-certfile=./cert.pem",
        lines=("listen 127.0.0.1:5000 ssl;", "ssl_certificate {srv}/cert.pem;"),
    ),
    case(
        "uvicorn-nginx",
        "uvicorn: Deployment, Running behind Nginx",
        "uvicorn --uds {srv}/uvicorn.sock --forwarded-allow-ips='*' --no-access-log "
        "--ws-max-size 1048576 --ws-ping-interval 30 --limit-concurrency 500 --header X-App:shop "
        "--no-server-header --timeout-graceful-shutdown 10 --env-file .env main:app",
        files={".env": "A=1\n"},
        lines=(
            "listen unix:{srv}/uvicorn.sock;",
            "access_log off;",
            "asgi_websocket_max_message_size 1m;",
            "asgi_max_requests_in_flight 500;",
            "add_header X-App shop always;",
            "server_tokens off;",
            "python_env_file {srv}/.env;",
        ),
    ),
    case(
        "uvicorn-django",
        "Django: How to use Django with Uvicorn",
        "python -m uvicorn myproject.asgi:application --root-path /api",
        lines=("asgi_script_name /api;", "asgi_app myproject.asgi:application;"),
    ),
]

HYPERCORN = [
    case("hypercorn-basic", "Hypercorn: Quickstart", "hypercorn hello_world:app"),
    case(
        "hypercorn-bind",
        "Hypercorn: Binds",
        "{srv}/venv/bin/hypercorn --bind 0.0.0.0:8000 --bind unix:{srv}/hypercorn.sock "
        "--access-logfile - -w 2 -k uvloop module:app",
        lines=("listen unix:{srv}/hypercorn.sock;", "python_event_loop main uvloop;"),
    ),
    case(
        "hypercorn-https",
        "Hypercorn: HTTP -> HTTPS redirection",
        "hypercorn --certfile cert.pem --keyfile key.pem --bind localhost:8443 "
        "--insecure-bind localhost:8080 module:app",
        lines=("listen localhost:8443 ssl;", "listen localhost:8080;"),
    ),
    case(
        "hypercorn-toml",
        "Hypercorn: Configuration, TOML",
        files={
            "hypercorn.toml": """\
                bind = ["0.0.0.0:8000", "[::1]:8001"]
                application_path = "module:app"
                keep_alive_timeout = 30
                workers = 2
                accesslog = "-"
                websocket_ping_interval = 15
                startup_timeout = 20
                max_app_queue_size = 100
                server_names = ["www.example.com"]
                logger_class = "x.y"
            """
        },
        lines=(
            "keepalive_timeout 30s;",
            "asgi_lifespan auto startup_timeout=20s;",
            "server_name www.example.com;",
        ),
        left=("max_app_queue_size", "logger_class"),
    ),
    case(
        "hypercorn-python",
        "Hypercorn: Configuration, Python file",
        "hypercorn -c file:config.py --root-path /v1 wsgi:website:application",
        files={
            "config.py": """\
                bind = "localhost:8000"
                pid_path = "{srv}/pid"
                debug = True
                graceful_timeout = 3.5
            """
        },
        lines=(
            "wsgi_app website:application;",
            "python_drain_timeout 3500ms;",
            "wsgi_debug traceback;",
            "wsgi_script_name /v1;",
        ),
    ),
]

DAPHNE = [
    case("daphne-basic", "Daphne: README", "daphne django_project.asgi:application"),
    case(
        "daphne-address",
        "Daphne: README, Running",
        "daphne -b 0.0.0.0 -p 8001 django_project.asgi:application",
        lines=("listen 0.0.0.0:8001;",),
    ),
    case(
        "daphne-socket",
        "Daphne: README, Running",
        "daphne -u {srv}/daphne.sock --access-log {srv}/access.log -v 2 --ping-interval 10 "
        "django_project.asgi:application",
        lines=("listen unix:{srv}/daphne.sock;", "asgi_websocket_ping_interval 10s;"),
    ),
    case(
        "daphne-tls",
        "Daphne: README, HTTP/2 Support",
        "daphne -e ssl:443:privateKey=key.pem:certKey=crt.pem django_project.asgi:application",
        lines=("listen 443 ssl;", "ssl_certificate_key {srv}/key.pem;"),
    ),
    case(
        "daphne-endpoint",
        "Daphne: README, Root Path; Twisted's endpoints",
        "daphne --root-path=/forum --endpoint tcp:port=8000:interface=127.0.0.1 -t 60 "
        "--proxy-headers django_project.asgi:application",
        lines=("asgi_script_name /forum;", "asgi_timeout 60s;", "listen 127.0.0.1:8000;"),
        left=("--proxy-headers",),
    ),
]

GRANIAN = [
    case("granian-asgi", "Granian: README, ASGI", "granian --interface asgi main:app"),
    case(
        "granian-wsgi",
        "Granian: README, WSGI",
        "granian --interface wsgi --workers 2 --blocking-threads 4 --backpressure 64 main:app",
        lines=("python_thread_pool default threads=4 max_queue=64;",),
    ),
    case(
        "granian-static",
        "Granian: README, static files",
        "granian --interface asgi --host 0.0.0.0 --port 80 --static-path-route /static "
        "--static-path-mount ./assets --access-log main:app",
        lines=("alias {srv}/assets/;", "expires 86400s;"),
    ),
    case(
        "granian-tls",
        "Granian: README, options",
        "{srv}/venv/bin/granian --interface asginl --ssl-certificate cert.pem "
        "--ssl-keyfile key.pem --http auto "
        "--factory --workers-max-rss 256 --workers-lifetime 2h --loop uvloop --no-ws main:build",
        lines=(
            "asgi_lifespan off;",
            "python_memory_limit soft=256m;",
            "python_max_lifetime 2h;",
            "asgi_app main:build();",
            "asgi_websocket off;",
        ),
    ),
    case(
        "granian-environment",
        "Granian: README, environment variables",
        "env GRANIAN_INTERFACE=wsgi GRANIAN_PORT=9000 GRANIAN_WORKERS=3 granian "
        "--url-path-prefix /api --working-dir {srv}/site app.main:app",
        lines=("listen 127.0.0.1:9000;", "wsgi_script_name /api;", "worker_processes 3;"),
    ),
]

WAITRESS = [
    case(
        "waitress-listen",
        "Waitress: waitress-serve",
        "waitress-serve --listen=*:8041 myapp:wsgifunc",
        lines=("listen 8041;", "listen [::]:8041;", "python_thread_pool default threads=4;"),
    ),
    case(
        "waitress-port",
        "Waitress: waitress-serve, behind a proxy",
        "waitress-serve --port=8041 --url-scheme=https --url-prefix=/prefix myapp:wsgifunc",
        lines=("listen 0.0.0.0:8041;", "wsgi_param HTTPS on;", "wsgi_script_name /prefix;"),
    ),
    case(
        "waitress-call",
        "Flask: Deploying, Waitress",
        "waitress-serve --host 127.0.0.1 --call hello:create_app",
        lines=("wsgi_app hello:create_app();", "listen 127.0.0.1:8080;"),
    ),
    case(
        "waitress-socket",
        "Waitress: waitress-serve, heroku and Unix sockets",
        "waitress-serve --unix-socket={srv}/waitress.sock --threads=8 --channel-timeout=60 "
        "--max-request-body-size=1048576 --ident=shop mysite.wsgi:application",
        lines=("client_max_body_size 1m;", "keepalive_timeout 60s;"),
        left=("--ident",),
    ),
    case(
        "waitress-proxy",
        "Waitress: Arguments to waitress.serve",
        "waitress-serve --host 10.0.0.1 --trusted-proxy 10.0.0.9 --trusted-proxy-headers "
        "x-forwarded-for --expose-tracebacks --outbuf-overflow 65536 app:application",
        lines=(
            "set_real_ip_from 10.0.0.9;",
            "wsgi_debug traceback;",
            "wsgi_buffer_size 64k;",
        ),
        left=("--trusted-proxy-headers",),
    ),
]

CHEROOT = [
    case("cheroot-module", "Cheroot: cheroot.cli", "cheroot myapp", lines=("listen [::1]:8000;",)),
    case(
        "cheroot-app",
        "Cheroot: cheroot.cli",
        "cheroot myapp:wsgi_app --bind 0.0.0.0:8080 --threads 20",
        lines=("wsgi_app myapp:wsgi_app;", "python_thread_pool default threads=20;"),
    ),
    case(
        "cheroot-socket",
        "Cheroot: cheroot.cli, a path as the address",
        "cheroot --bind {srv}/cheroot.sock --timeout 15 --shutdown-timeout 3 myapp:app",
        lines=("listen unix:{srv}/cheroot.sock;", "keepalive_timeout 15s;"),
    ),
    case(
        "cheroot-limits",
        "Cheroot: cheroot.cli, options",
        "python3 -m cheroot --bind 127.0.0.1:8088 --threads 4 --max-threads 16 "
        "--accepted-queue-size 100 --accepted-queue-timeout 5 --request-queue-size 50 myapp:app",
        lines=(
            "python_thread_pool default threads=16 max_queue=100;",
            "wsgi_queue_timeout 5s;",
            "listen 127.0.0.1:8088 backlog=50;",
        ),
    ),
    case(
        "cheroot-folder",
        "Cheroot: cheroot.cli, --chdir",
        "cheroot --chdir {srv}/site --server-name shop.example.com site_app",
        lines=("python_working_directory {srv}/site;",),
        left=("--server-name",),
    ),
]

FLASK = [
    case(
        "flask-run",
        "Flask: Quickstart",
        "flask --app hello run",
        lines=("listen 127.0.0.1:5000;", "wsgi_app hello:app;"),
    ),
    case(
        "flask-host",
        "Flask: Quickstart, Externally Visible Server",
        "flask run --host=0.0.0.0 --port 8000",
        files={"wsgi.py": APPLICATION},
        lines=("listen 0.0.0.0:8000;", "wsgi_app wsgi:application;"),
    ),
    case(
        "flask-debug",
        "Flask: Quickstart, Debug Mode",
        "flask --app hello run --debug",
        lines=("python_reload watch;", "wsgi_debug traceback;"),
    ),
    case(
        "flask-factory",
        "Flask: Command Line Interface, Application Discovery",
        "flask --app 'hello:create_app(\"dev\")' run --without-threads",
        lines=('wsgi_app hello:create_app("dev");', "python_thread_pool default threads=1;"),
    ),
    case(
        "flask-environment",
        "Flask: Command Line Interface, Environment Variables From dotenv",
        "python3 -m flask run --cert cert.pem --key key.pem",
        files={".flaskenv": "FLASK_APP=hello\nFLASK_RUN_PORT=8443\n"},
        lines=("listen 127.0.0.1:8443 ssl;", "wsgi_app hello:app;"),
    ),
]
