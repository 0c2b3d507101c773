"""The same for what files configure: uWSGI, Unit, mod_wsgi, supervisord, Procfile, systemd."""

from __future__ import annotations

from published import case

UWSGI = [
    case(
        "uwsgi-quickstart",
        "uWSGI: Quickstart for Python/WSGI applications",
        "uwsgi --http :9090 --wsgi-file foobar.py --master --processes 4 --threads 2 "
        "--stats 127.0.0.1:9191",
        lines=("listen 9090;", "python_thread_pool default threads=2;", "worker_processes 4;"),
        left=("--stats",),
    ),
    case(
        "uwsgi-flask",
        "Flask: Deploying, uWSGI",
        "uwsgi --http 127.0.0.1:8000 --master -p 4 -w hello:app",
        lines=("listen 127.0.0.1:8000;", "wsgi_app hello:app;", "worker_processes 4;"),
    ),
    case(
        "uwsgi.ini-quickstart",
        "uWSGI: Quickstart, Deploying Django",
        files={
            "foobar.ini": """\
                [uwsgi]
                socket = 127.0.0.1:3031
                chdir = {srv}/foobar/myproject/
                pythonpath = ..
                env = DJANGO_SETTINGS_MODULE=myproject.settings
                module = myproject.wsgi:application
                processes = 4
                threads = 2
                stats = 127.0.0.1:9191
            """
        },
        lines=(
            "listen 80;",
            "python_env DJANGO_SETTINGS_MODULE=myproject.settings;",
            "python_path {srv}/foobar {srv}/foobar/myproject;",
        ),
        left=("socket = ",),
    ),
    case(
        "uwsgi.ini-django",
        "uWSGI: Setting up Django and your web server with uWSGI and nginx",
        files={
            "mysite_uwsgi.ini": """\
                # mysite_uwsgi.ini file
                [uwsgi]

                # Django-related settings
                chdir           = {srv}/project
                module          = project.wsgi
                home            = {srv}/virtualenv

                # process-related settings
                master          = true
                processes       = 10
                socket          = {srv}/project/mysite.sock
                chmod-socket    = 664
                vacuum          = true
            """
        },
        lines=(
            "python_home {srv}/virtualenv;",
            "worker_processes 10;",
            "wsgi_app project.wsgi:application;",
        ),
        left=("chmod-socket",),
    ),
    case(
        "uwsgi.ini-https",
        "uWSGI: Quickstart, Deploying web2py, HTTPS",
        files={
            "web2py.ini": """\
                [uwsgi]
                shared-socket = :9443
                https = =0,foobar.crt,foobar.key
                http-to-https = :9080
                uid = www-data
                gid = www-data
                chdir = {srv}/web2py
                module = wsgihandler
                master = true
                processes = 8
                harakiri = 30
            """
        },
        lines=("listen 9443 ssl;", "wsgi_timeout 30s;", "ssl_certificate {srv}/web2py/foobar.crt;"),
    ),
    case(
        "uwsgi.ini-placeholders",
        "uWSGI: Configuring uWSGI, Placeholders and magic variables",
        files={
            "shop.ini": """\
                [uwsgi]
                set-placeholder = base={srv}/shop
                project = wsgi
                http-socket = 127.0.0.1:9090
                plugins = python3
                chdir = %(base)
                mount = /wiki=%(base)/wiki.py
                mount = /=%(project):application
                manage-script-name = true
                touch-reload = %p
                static-map = /static=%(base)/static
                buffer-size = 32768
                max-requests = 5000
                reload-on-rss = 512
                enable-threads = true
                lazy-apps = true
                py-autoreload = 0
                add-header = X-Served-By: shop
                logto = /var/log/uwsgi/%n.log
                for = 1 2
                nonsense-option = 1
            """
        },
        lines=(
            "wsgi_app {srv}/shop/wiki.py:application;",
            "wsgi_script_name /wiki;",
            "python_reload touch {srv}/shop.ini;",
            "alias {srv}/shop/static/;",
            "large_client_header_buffers 4 32768;",
            "python_memory_limit soft=512m;",
            "error_log /var/log/uwsgi/shop.log info;",
            "add_header X-Served-By shop always;",
        ),
        left=("for = ", "nonsense-option"),
    ),
    case(
        "uwsgi.ini-mounts",
        "uWSGI: Hosting multiple apps in the same process (mount, manage-script-name)",
        files={
            "apps.ini": """\
                [uwsgi]
                http-socket = :9090
                master = true
                manage-script-name = true
                mount = /app1={srv}/app1.py
                mount = /app2={srv}/app2.py:other
                static-map = /images={srv}/images
                threads = 4
            """
        },
        lines=(
            "listen 9090;",
            "location /app1/;",
            "wsgi_script_name /app2;",
            "wsgi_app {srv}/app2.py:other;",
            "alias {srv}/images/;",
        ),
    ),
    case(
        "uwsgi.ini-production",
        "uWSGI: Things to know, and its best practices for production",
        files={
            "production.ini": """\
                [uwsgi]
                strict = true
                http = 127.0.0.1:8000
                module = myapp:app
                master = true
                enable-threads = true
                vacuum = true
                single-interpreter = true
                die-on-term = true
                need-app = true
                disable-logging = true
                log-4xx = true
                log-5xx = true
                harakiri = 60
                py-callos-afterfork = true
                max-requests = 1000
                max-worker-lifetime = 3600
                reload-on-rss = 2048
                worker-reload-mercy = 60
                processes = 8
                cheaper = 2
                cheaper-algo = busyness
            """
        },
        lines=(
            "wsgi_timeout 60s;",
            "python_max_requests 1000;",
            "python_max_lifetime 3600s;",
            "python_memory_limit soft=2048m;",
            "python_drain_timeout 60s;",
            "worker_processes 8;",
            "access_log off;",
        ),
        left=("cheaper-algo",),
    ),
    case(
        "uwsgi-yaml",
        "uWSGI: Configuring uWSGI, YAML files",
        files={
            "uwsgi.yaml": """\
                uwsgi:
                  http-socket: :9090
                  wsgi-file: foobar.py
                  callable: app
                  processes: 2
                  env: A=1
                  env: B=2
            """
        },
        lines=("wsgi_app {srv}/foobar.py:app;", "python_env A=1;", "python_env B=2;"),
    ),
    case(
        "uwsgi-xml",
        "uWSGI: Configuring uWSGI, XML files",
        files={
            "uwsgi.xml": """\
                <uwsgi>
                  <http-socket>127.0.0.1:9090</http-socket>
                  <module>foobar</module>
                  <master/>
                  <workers>3</workers>
                </uwsgi>
            """
        },
        lines=("worker_processes 3;", "wsgi_app foobar:application;"),
    ),
    case(
        "uwsgi-json",
        "uWSGI: Configuring uWSGI, JSON files",
        files={
            "uwsgi.json": """\
                {
                  "uwsgi": {
                    "http-socket": "127.0.0.1:9090",
                    "module": "foobar",
                    "import": ["one", "two"],
                    "master": true
                  }
                }
            """,
            "one.py": "",
            "two.py": "",
        },
        lines=("python_import one two;",),
    ),
    case(
        "uwsgi.ini-emperor",
        "uWSGI: The uWSGI Emperor; Emperor, multi-app deployment",
        files={
            "emperor.ini": """\
                [uwsgi]
                emperor = {srv}/vassals
                uid = www-data
                gid = www-data
                emperor-tyrant = true
            """,
            "vassals/blog.example.com.ini": """\
                [uwsgi]
                socket = /run/uwsgi/%n.sock
                chdir = {srv}/blog
                home = {srv}/blog/venv
                module = web.wsgi
                env = MODE=blog
                processes = 3
                harakiri = 30
                umask = 027
                logto = /var/log/uwsgi/%n.log
                import = web.tasks
            """,
            "vassals/store.yaml": """\
                uwsgi:
                  socket: /run/uwsgi/store.sock
                  chdir: {srv}/store
                  virtualenv: {srv}/store/venv
                  wsgi-file: web/wsgi.py
                  callable: app
                  threads: 4
                  max-requests: 100
                  http-timeout: 20
                  limit-as: 1024
            """,
            "vassals/README": "no vassal",
        },
        lines=(
            "worker_processes auto;",
            "user www-data www-data;",
            "python_process blog.example.com processes=3 threads=1 home={srv}/blog/venv "
            "path={srv}/blog working_directory={srv}/blog env=MODE=blog import=web.tasks "
            "umask=027;",
            "python_process store threads=4 home={srv}/store/venv path={srv}/store "
            "working_directory={srv}/store max_requests=100 rlimit_as=1g;",
            "server_name blog.example.com;",
            "error_log /var/log/uwsgi/blog.example.com.log info;",
            "wsgi_app web.wsgi:application;",
            "wsgi_app {srv}/store/web/wsgi.py:app;",
            "send_timeout 20s;",
        ),
        left=("emperor-tyrant", "socket = "),
    ),
]


def application(name: str, *, path: str = "/", **values: object) -> str:
    """Unit's configuration with one application, as its how-to pages show it."""
    import json

    return json.dumps(
        {
            "listeners": {"*:80": {"pass": f"applications/{name}"}},
            "applications": {
                name: {"type": "python 3", "path": "{srv}/app/", "home": "{srv}/venv/", **values}
            },
        },
        indent=4,
    )


UNIT = [
    case(
        "unit-flask",
        "Unit: How-to, Flask",
        files={"unit.json": application("flask", module="wsgi", callable="app")},
        lines=("listen 80;", "wsgi_app wsgi:app;", "python_home {srv}/venv;"),
    ),
    case(
        "unit-fastapi",
        "Unit: How-to, FastAPI",
        files={"unit.json": application("fastapi", module="asgi", callable="app", protocol="asgi")},
        lines=("asgi_app asgi:app;",),
    ),
    case(
        "unit-django",
        "Unit: How-to, Django",
        files={
            "unit.json": """\
                {
                    "listeners": {"*:80": {"pass": "routes"}},
                    "routes": [
                        {
                            "match": {"uri": "/static/*"},
                            "action": {"share": "{srv}/app$uri"}
                        },
                        {
                            "action": {"pass": "applications/django"}
                        }
                    ],
                    "applications": {
                        "django": {
                            "type": "python 3",
                            "path": "{srv}/app/",
                            "home": "{srv}/venv/",
                            "module": "project.wsgi",
                            "environment": {
                                "DJANGO_SETTINGS_MODULE": "project.settings",
                                "DB_NAME": "project"
                            }
                        }
                    }
                }
            """
        },
        lines=(
            "root {srv}/app;",
            "wsgi_app project.wsgi:application;",
            "python_env DB_NAME=project;",
            "client_max_body_size 8m;",
        ),
    ),
    case(
        "unit-targets",
        "Unit: Configuration, Targets; Process management",
        files={
            "unit.json": """\
                {
                    "listeners": {"127.0.0.1:8080": {"pass": "routes/main", "backlog": 128}},
                    "routes": {
                        "main": [
                            {
                                "match": {"host": ["old.example.com", "*.old.example.com"]},
                                "action": {"return": 301, "location": "https://www.example.com/"}
                            },
                            {
                                "match": {"uri": ["/api/*", "/v1/*"]},
                                "action": {"pass": "applications/app/back"}
                            },
                            {
                                "match": {"cookies": {"beta": "1"}},
                                "action": {"return": 404}
                            },
                            {
                                "action": {
                                    "share": "{srv}/www$uri",
                                    "fallback": {"pass": "applications/app/front"}
                                }
                            }
                        ]
                    },
                    "applications": {
                        "app": {
                            "type": "python",
                            "path": ["{srv}/app"],
                            "processes": {"max": 10, "spare": 5, "idle_timeout": 20},
                            "threads": 4,
                            "limits": {"timeout": 10, "requests": 100},
                            "user": "www-data",
                            "group": "www-data",
                            "isolation": {"new_privs": false, "rootfs": "/srv/root"},
                            "targets": {
                                "front": {"module": "front.wsgi", "callable": "app"},
                                "back": {"module": "back.wsgi", "callable": "make", "factory": true}
                            }
                        }
                    },
                    "settings": {
                        "http": {
                            "header_read_timeout": 10,
                            "max_body_size": 6291456,
                            "server_version": false,
                            "nonsense": 1
                        }
                    },
                    "access_log": {"path": "/var/log/unit/access.log", "format": "$remote_addr"}
                }
            """
        },
        lines=(
            "worker_processes auto;",
            "python_process app processes=10 threads=4 path={srv}/app max_requests=100 "
            "no_new_privs=on;",
            "wsgi_process app;",
            "wsgi_timeout 10s;",
            "wsgi_app back.wsgi:make();",
            "return 301 https://www.example.com/;",
            "server_name old.example.com *.old.example.com;",
            "try_files $uri @fallback0;",
            "server_tokens off;",
            "client_max_body_size 6m;",
            "user www-data www-data;",
        ),
        left=(
            "match/cookies",
            "isolation/rootfs",
            "processes/spare",
            "nonsense",
            "access_log/format",
        ),
    ),
    case(
        "unit-prefix",
        "Unit: Configuration, Python",
        files={
            "unit.json": application(
                "wiki", module="wiki.web", callable="create_app", factory=True, threads=2
            )
            .replace('"applications/wiki"', '"applications/wiki", "tls": {"session": {}}')
            .replace('"threads"', '"prefix": "/wiki", "thread_stack_size": 1048576, "threads"')
        },
        lines=("wsgi_app wiki.web:create_app();", "python_thread_pool default threads=2 stack=1m;"),
    ),
    case(
        "unit-applications",
        "Unit: Configuration, Applications; Virtual environments; Environment",
        files={
            "unit.json": """\
                {
                    "listeners": {"127.0.0.1:8080": {"pass": "routes"}},
                    "routes": [
                        {
                            "match": {"uri": "/blog/*"},
                            "action": {"pass": "applications/my blog"}
                        },
                        {"action": {"pass": "applications/store"}}
                    ],
                    "applications": {
                        "my blog": {
                            "type": "python",
                            "home": "{srv}/blog/venv",
                            "path": "{srv}/blog",
                            "working_directory": "{srv}/blog",
                            "environment": {"MODE": "blog", "TITLE": "a blog"},
                            "module": "web.asgi",
                            "processes": {"max": 3, "spare": 1},
                            "prefix": "/blog"
                        },
                        "store": {
                            "type": "python 3",
                            "home": "{srv}/store/venv",
                            "path": ["{srv}/store", "{srv}/shared"],
                            "environment": {"MODE": "store"},
                            "module": "web.wsgi",
                            "threads": 8,
                            "limits": {"timeout": 30, "requests": 1000}
                        }
                    },
                    "settings": {"listen_threads": 2}
                }
            """
        },
        lines=(
            "worker_processes 2;",
            "python_process my-blog processes=3 threads=1 home={srv}/blog/venv path={srv}/blog "
            "working_directory={srv}/blog env=MODE=blog env=TITLE=a blog;",
            "python_process store processes=1 threads=8 home={srv}/store/venv path={srv}/store "
            "path={srv}/shared env=MODE=store max_requests=1000;",
            "asgi_app web.asgi:application;",
            "asgi_process my-blog;",
            "wsgi_process store;",
            "wsgi_timeout 30s;",
        ),
        left=("processes/spare",),
    ),
]

MOD_WSGI = [
    case(
        "mod_wsgi-quick",
        "mod_wsgi: Quick Configuration Guide",
        files={
            "shop.conf": """\
                <VirtualHost *:80>

                    ServerName www.example.com
                    ServerAlias example.com
                    ServerAdmin webmaster@example.com

                    DocumentRoot {srv}/documents

                    Alias /robots.txt {srv}/documents/robots.txt
                    Alias /favicon.ico {srv}/documents/favicon.ico

                    Alias /media/ {srv}/documents/media/

                    <Directory {srv}/documents>
                    Require all granted
                    </Directory>

                    WSGIDaemonProcess example.com processes=2 threads=15 display-name=%{GROUP}
                    WSGIProcessGroup example.com

                    WSGIScriptAlias / {srv}/wsgi-scripts/myapp.wsgi

                    <Directory {srv}/wsgi-scripts>
                    Require all granted
                    </Directory>

                </VirtualHost>
            """
        },
        lines=(
            "server_name www.example.com example.com;",
            "worker_processes 2;",
            "python_thread_pool default threads=15;",
            "alias {srv}/documents/media/;",
            "wsgi_app {srv}/wsgi-scripts/myapp.wsgi;",
            "client_max_body_size 1g;",
        ),
        left=("display-name",),
    ),
    case(
        "mod_wsgi-myapp",
        "mod_wsgi: Quick Configuration Guide, a path",
        files={
            "httpd.conf": """\
                LoadModule wsgi_module modules/mod_wsgi.so
                Listen 8080
                ServerName localhost
                WSGIScriptAlias /myapp {srv}/wsgi-scripts/myapp.wsgi
                <Directory {srv}/wsgi-scripts>
                <IfVersion < 2.4>
                    Order allow,deny
                    Allow from all
                </IfVersion>
                <IfVersion >= 2.4>
                    Require all granted
                </IfVersion>
                </Directory>
            """
        },
        lines=("listen 8080;", "wsgi_script_name /myapp;"),
    ),
    case(
        "mod_wsgi-callable",
        "mod_wsgi: Configuration Guidelines, The WSGI callable",
        files={
            "site.conf": """\
                <VirtualHost *:80>
                    ServerName www.site.com
                    WSGIScriptAlias / {srv}/myapp/myapp.py
                    WSGIScriptAlias /blog {srv}/blog/blog.wsgi
                    SetEnv demo.templates {srv}/templates
                    SetEnv demo.mailhost mailhost
                    <Directory {srv}/myapp>
                        <Files myapp.py>
                            WSGICallableObject app
                        </Files>
                        Require all granted
                    </Directory>
                    WSGIPassAuthorization Off
                    LimitRequestBody 10485760
                </VirtualHost>
            """
        },
        lines=(
            "wsgi_app {srv}/myapp/myapp.py:app;",
            "wsgi_app {srv}/blog/blog.wsgi;",
            "wsgi_param demo.mailhost mailhost;",
            "wsgi_pass_authorization off;",
            "client_max_body_size 10m;",
        ),
    ),
    case(
        "mod_wsgi-django",
        "Django: How to use Django with Apache and mod_wsgi",
        files={
            "mysite.conf": """\
                WSGIScriptAlias / {srv}/example.com/mysite/wsgi.py
                WSGIPythonHome {srv}/venv
                WSGIPythonPath {srv}/example.com

                Alias /static/ {srv}/example.com/static/
                <Directory {srv}/example.com/static>
                Require all granted
                </Directory>

                <Directory {srv}/example.com/mysite>
                <Files wsgi.py>
                Require all granted
                </Files>
                </Directory>
            """
        },
        lines=("python_home {srv}/venv;", "python_path {srv}/example.com;", "listen 80;"),
    ),
    case(
        "mod_wsgi-https",
        "mod_wsgi: Configuration Guidelines, daemon processes; Enabling HTTPS",
        files={
            "secure.conf": """\
                Define BASE {srv}
                Timeout 120
                <VirtualHost *:80>
                    ServerName www.site1.com
                    Redirect permanent / https://www.site1.com/
                </VirtualHost>
                <IfModule mod_ssl.c>
                <VirtualHost *:443>
                    ServerName www.site1.com
                    SSLEngine on
                    SSLCertificateFile ${BASE}/server.crt
                    SSLCertificateKeyFile ${BASE}/server.key
                    SSLProtocol all -TLSv1 -TLSv1.1
                    WSGIDaemonProcess www.site1.com user=www-data group=www-data threads=25 \\
                        python-home=${BASE}/venv python-path=${BASE}/one:${BASE}/two \\
                        request-timeout=120 queue-timeout=30 graceful-timeout=30 \\
                        maximum-requests=1000 lang=en_US.UTF-8
                    WSGIScriptAlias / ${BASE}/site1/app.wsgi process-group=www.site1.com
                    Header always set Strict-Transport-Security "max-age=31536000; preload"
                    ErrorDocument 404 /missing.html
                    RewriteEngine On
                    NonsenseDirective 1
                </VirtualHost>
                </IfModule>
            """
        },
        lines=(
            "return 301 https://www.site1.com$request_uri;",
            "listen 443 ssl;",
            "ssl_protocols TLSv1.2 TLSv1.3;",
            "python_path {srv}/one {srv}/two;",
            "wsgi_timeout 120s;",
            "wsgi_queue_timeout 30s;",
            "python_drain_timeout 30s;",
            "python_max_requests 1000;",
            "user www-data www-data;",
            "error_page 404 /missing.html;",
            "python_thread_pool default threads=25;",
        ),
        left=("RewriteEngine", "NonsenseDirective"),
    ),
    case(
        "mod_wsgi-daemons",
        "mod_wsgi: WSGIDaemonProcess; WSGIProcessGroup; Processes And Threading",
        files={
            "sites.conf": """\
                WSGIPythonHome {srv}/venv
                WSGIDaemonProcess blog python-home={srv}/blog/venv home={srv}/blog \\
                    lang=en_US.UTF-8 umask=0027 cpu-priority=5 maximum-requests=1000 \\
                    request-timeout=30
                WSGIDaemonProcess store processes=3 threads=1 python-home={srv}/store/venv \\
                    python-path={srv}/store:{srv}/shared virtual-memory-limit=2147483648 \\
                    maximum-requests=500 cpu-time-limit=3600 listen-backlog=50 \\
                    memory-limit=1073741824
                WSGIDaemonProcess spare threads=2
                <VirtualHost *:80>
                    ServerName www.example.com
                    WSGIScriptAlias /blog {srv}/blog/blog.wsgi
                    WSGIScriptAlias /store {srv}/store/store.wsgi process-group=store \\
                        application-group=%{GLOBAL}
                    WSGIScriptAlias / {srv}/front/front.wsgi
                    <Directory {srv}/blog>
                        WSGIProcessGroup blog
                        WSGIApplicationGroup %{GLOBAL}
                        Require all granted
                    </Directory>
                    <Location /admin>
                        WSGIProcessGroup store
                    </Location>
                </VirtualHost>
            """
        },
        lines=(
            "worker_processes auto;",
            "python_home {srv}/venv;",
            "python_process blog threads=15 home={srv}/blog/venv path={srv}/blog "
            "working_directory={srv}/blog env=LANG=en_US.UTF-8 max_requests=1000 umask=0027 "
            "nice=5;",
            "python_process store processes=3 threads=1 queue=50 home={srv}/store/venv "
            "path={srv}/store path={srv}/shared max_requests=500 rlimit_as=2g "
            "rlimit_data=1g;",
            "wsgi_process blog;",
            "wsgi_process store;",
            "wsgi_timeout 30s;",
            "python_thread_pool default threads=15;",
        ),
        left=("cpu-time-limit", "WSGIProcessGroup store: is for /admin"),
    ),
]

SUPERVISOR = [
    case(
        "supervisor-gunicorn",
        "gunicorn: Deploying, Supervisor",
        files={
            "supervisord.conf": """\
                [program:gunicorn]
                command={srv}/venv/bin/gunicorn main:application -b 127.0.0.1:8100
                directory={srv}/project
                user=nobody
                autostart=true
                autorestart=true
                redirect_stderr=true
            """
        },
        lines=("python_home {srv}/venv;", "user nobody;", "daemon off;", "error_log stderr info;"),
    ),
    case(
        "supervisor-uvicorn",
        "uvicorn: Deployment, Supervisor",
        files={
            "supervisord.conf": """\
                [supervisord]

                [fcgi-program:uvicorn]
                socket=tcp://localhost:8000
                command=venv/bin/uvicorn --fd 0 main:App
                numprocs=4
                process_name=uvicorn-%(process_num)d
                stdout_logfile=/dev/stdout
                stdout_logfile_maxbytes=0
            """
        },
        lines=("listen localhost:8000;", "asgi_app main:App;"),
        left=("numprocs=4", "--fd 0", "[supervisord]"),
    ),
    case(
        "supervisor-daphne",
        "Channels: Deploying, Daphne and Supervisor",
        files={
            "channels.conf": """\
                [fcgi-program:asgi]
                socket=tcp://localhost:8000
                directory={srv}/app
                command=daphne -u {srv}/daphne%(process_num)d.sock --fd 0 --access-log - \
--proxy-headers mysite.asgi:application
                numprocs=4
                process_name=asgi%(process_num)d
                autostart=true
                autorestart=true
                stdout_logfile=/your/log/asgi.log
                redirect_stderr=true
            """
        },
        lines=("listen unix:{srv}/daphne0.sock;", "access_log /dev/stdout;"),
        left=("numprocs=4",),
    ),
    case(
        "supervisor-uwsgi",
        "uWSGI: Quickstart; supervisord: Configuration File, environment",
        files={
            "shop.conf": """\
                [program:shop]
                command=uwsgi --http 127.0.0.1:8000 -w shop:app
                    --threads 4
                directory={srv}/shop
                environment=SHOP_MODE="production",DATABASE="postgres:///shop, a"
                stopsignal=QUIT
                priority=10 ; after the database
                nonsense=1

                [program:worker]
                command=celery -A shop worker
            """
        },
        lines=(
            "python_env SHOP_MODE=production;",
            "python_env DATABASE=postgres:///shop, a;",
            "python_thread_pool default threads=4;",
        ),
        left=("nonsense", "[program:worker]"),
    ),
    case(
        "supervisor-two",
        "Channels: Deploying; two programs",
        files={
            "both.conf": """\
                [program:web]
                command=gunicorn --threads 8 -b 127.0.0.1:8001 mysite.wsgi
                directory={srv}/mysite

                [program:sockets]
                command=daphne -p 8002 mysite.asgi:application
                directory={srv}/mysite

                [group:site]
                programs=web,sockets
            """
        },
        options=("--program", "web"),
        lines=("python_thread_pool default threads=8;", "listen 127.0.0.1:8001;"),
        left=("[program:sockets]", "[group:site]"),
    ),
    case(
        "supervisor-groups",
        "supervisord: Configuration File; two programs, each in its virtual environment",
        files={
            "sites.conf": """\
                [program:blog]
                command={srv}/blog/venv/bin/uvicorn main:app --workers 2 --port 8001
                directory={srv}/blog
                environment=MODE="blog"
                user=www-data
                umask=027

                [program:store]
                command={srv}/store/venv/bin/gunicorn --threads 8 -t 90 -b 127.0.0.1:8002 main:app
                directory={srv}/store
                environment=MODE="store"
                user=www-data

                [program:worker]
                command={srv}/store/venv/bin/celery -A store worker
            """
        },
        lines=(
            "daemon off;",
            "user www-data;",
            "worker_processes auto;",
            "python_process blog processes=2 home={srv}/blog/venv path={srv}/blog "
            "working_directory={srv}/blog env=MODE=blog umask=027;",
            "python_process store threads=8 home={srv}/store/venv path={srv}/store "
            "working_directory={srv}/store env=MODE=store;",
            "asgi_process blog;",
            "wsgi_process store;",
            "listen 127.0.0.1:8001;",
            "listen 127.0.0.1:8002;",
        ),
        left=("[program:worker]",),
    ),
]

PROCFILE = [
    case(
        "procfile-django",
        "Heroku: Getting Started on Heroku with Python",
        files={"Procfile": "web: gunicorn gettingstarted.wsgi\n"},
        lines=("wsgi_app gettingstarted.wsgi:application;", "daemon off;"),
    ),
    case(
        "procfile-port",
        "Heroku: Deploying Python Applications with Gunicorn",
        files={
            "Procfile": "release: python manage.py migrate\n"
            "web: gunicorn hello:app --bind 0.0.0.0:$PORT --log-file - --preload\n"
            "worker: celery -A hello worker\n"
        },
        environment={"PORT": "5006"},
        lines=("listen 0.0.0.0:5006;", "error_log stderr info;"),
        left=("worker: ", "release: ", "--preload"),
    ),
    case(
        "procfile-uvicorn",
        "FastAPI on Heroku: a Procfile with uvicorn",
        files={"Procfile": "web: uvicorn src.main:app --host=0.0.0.0 --port=${PORT:-5000}\n"},
        lines=("listen 0.0.0.0:5000;", "asgi_app src.main:app;"),
    ),
    case(
        "procfile-waitress",
        "Waitress: waitress-serve, Heroku",
        files={
            "Procfile": "web: waitress-serve --listen=*:$PORT --url-scheme=https myapp:wsgifunc\n"
        },
        environment={"PORT": "8123"},
        lines=("listen 8123;", "wsgi_param HTTPS on;"),
    ),
    case(
        "procfile-daphne",
        "Channels: Deploying to Heroku",
        files={
            "Procfile": "web: daphne mysite.asgi:application --port $PORT --bind 0.0.0.0 -v2\n"
            "chat: env A=1 python -m hypercorn mysite.asgi:application\n"
        },
        environment={"PORT": "8200"},
        lines=("listen 0.0.0.0:8200;", "error_log stderr debug;"),
        left=("chat: ",),
    ),
]

SYSTEMD = [
    case(
        "systemd-gunicorn",
        "gunicorn: Deploying, Systemd",
        files={
            "gunicorn.service": """\
                [Unit]
                Description=gunicorn daemon
                Requires=gunicorn.socket
                After=network.target

                [Service]
                Type=notify
                User=www-data
                Group=www-data
                RuntimeDirectory=gunicorn
                WorkingDirectory={srv}/applicationroot
                ExecStart=/usr/bin/gunicorn applicationname.wsgi
                ExecReload=/bin/kill -s HUP $MAINPID
                KillMode=mixed
                TimeoutStopSec=5
                PrivateTmp=true

                [Install]
                WantedBy=multi-user.target
            """,
            "gunicorn.socket": "[Socket]\nListenStream={srv}/gunicorn.sock\n",
        },
        lines=("listen unix:{srv}/gunicorn.sock;", "user www-data www-data;"),
        left=("Type=notify",),
    ),
    case(
        "systemd-uvicorn",
        "systemd.exec: Environment=, EnvironmentFile=; uvicorn: options",
        files={
            "api.service": """\
                [Service]
                User=www-data
                WorkingDirectory={srv}/api
                Environment=A=1 "B=two words"
                EnvironmentFile=-{srv}/api.env
                ExecStart={srv}/venv/bin/uvicorn main:app \\
                    --host 0.0.0.0 --port 8000 \\
                    --workers 2
                Restart=always
            """,
            "api.env": "C=3\n",
        },
        lines=(
            "python_env B=two words;",
            "python_env_file {srv}/api.env;",
            "python_home {srv}/venv;",
            "worker_processes 2;",
        ),
    ),
    case(
        "systemd-uwsgi",
        "uWSGI: systemd, One service per app",
        files={
            "uwsgi-app.service": """\
                [Unit]
                Description=uWSGI app
                After=syslog.target

                [Service]
                ExecStart=/root/uwsgi/uwsgi --ini app.ini
                WorkingDirectory={srv}
                RuntimeDirectory=uwsgi
                Restart=always
                KillSignal=SIGQUIT
                Type=notify
                StandardError=syslog
                NotifyAccess=all
            """,
            "app.ini": "[uwsgi]\nhttp-socket = 127.0.0.1:9000\nmodule = app\nworkers = 2\n",
        },
        lines=("wsgi_app app:application;", "worker_processes 2;", "listen 127.0.0.1:9000;"),
        left=("Type=notify",),
    ),
    case(
        "systemd-hypercorn",
        "Quart: Deployment; Hypercorn: systemd",
        files={
            "quart.service": """\
                [Service]
                ExecStart={srv}/venv/bin/hypercorn -b 127.0.0.1:8000 -w 2 module:app
                WorkingDirectory={srv}/quart
            """
        },
        lines=("asgi_app module:app;", "python_working_directory {srv}/quart;"),
    ),
    case(
        "systemd-waitress",
        "systemd.unit: Specifiers; Waitress: waitress-serve",
        files={
            "site@blue.service": """\
                [Service]
                ExecStart={srv}/venv/bin/waitress-serve --unix-socket={srv}/%i.sock site_app:app
                WorkingDirectory={srv}/site
                UMask=007
            """
        },
        lines=("listen unix:{srv}/blue.sock;",),
    ),
]
