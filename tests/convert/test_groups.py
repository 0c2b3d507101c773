"""Several applications with processes of their own: converted, checked by nginx and served, each
with its own virtual environment, environment and modules."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import httpx
import pytest
from pywsgi.command.convert.plan import ConversionError, directives, text
from test_published import Site, every, line, plan_of

# Both import `common`, of which each virtual environment has another version, and `settings`.
APPLICATION = """
import os

import common
import settings

assert common.VERSION == os.environ["WANTED"] == settings.VERSION

def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{common.VERSION} {os.getpid()} {os.environ['WANTED']}".encode()]
"""

UNIT = {
    "unit.json": json.dumps(
        {
            "listeners": {"*:80": {"pass": "routes"}},
            "routes": [
                {"match": {"uri": "/one/*"}, "action": {"pass": "applications/one"}},
                {"match": {"uri": "/two/*"}, "action": {"pass": "applications/two"}},
            ],
            "applications": {
                name: {
                    "type": "python 3",
                    "home": f"{{srv}}/{name}/venv",
                    "path": f"{{srv}}/{name}",
                    "environment": {"WANTED": name},
                    "module": "web",
                    "prefix": f"/{name}",
                }
                for name in ("one", "two")
            },
        }
    )
}
MOD_WSGI = {
    "httpd.conf": """\
        WSGIDaemonProcess one python-home={srv}/one/venv python-path={srv}/one lang=one
        WSGIDaemonProcess two python-home={srv}/two/venv python-path={srv}/two lang=two
        WSGIScriptAlias /one {srv}/one/web.py process-group=one application-group=%{GLOBAL}
        WSGIScriptAlias /two {srv}/two/web.py process-group=two application-group=%{GLOBAL}
    """
}
VASSAL = """\
    [uwsgi]
    socket = /run/uwsgi/%n.sock
    chdir = {srv}/%n
    home = {srv}/%n/venv
    mount = /%n=web.py
    env = WANTED=%n
"""
EMPEROR = {
    "emperor.ini": "[uwsgi]\nemperor = {srv}/vassals/*.ini\n",
    "vassals/one.ini": VASSAL,
    "vassals/two.ini": VASSAL,
}


def lay_out(srv: Path, files: dict[str, str], application: str = APPLICATION) -> str:
    """Writes the files, and two applications with a virtual environment each; returns the first
    file's name."""
    for name, content in files.items():
        file = srv / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(content.replace("{srv}", str(srv))))
    for name in ("one", "two"):
        home = srv / name / "venv"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", home], check=True)
        (packages,) = (home / "lib").glob("python*/site-packages")
        (packages / "common.py").write_text(f"VERSION = {name!r}\n")
        (srv / name / "settings.py").write_text(f"VERSION = {name!r}\n")
        (srv / name / "web.py").write_text(application)
    return next(iter(files))


def site_of(nginx, first: str) -> Site:
    """A converted file that nginx has checked, applications and all, and serves."""
    site = Site(nginx, directives(plan_of([str(nginx.root / "srv" / first)])))
    site.install()
    checked = nginx.config.read_text().replace("python_check off;", "python_check on;")
    nginx.config.write_text(checked)
    result = nginx.check()
    assert result.returncode == 0, result.stderr
    nginx.start()
    return site


@pytest.mark.parametrize("files", [UNIT, EMPEROR], ids=["unit", "emperor"])
def test_each_application_has_its_own_environment(nginx, files):
    """Two versions of one package, two modules of one name and two values of one variable."""
    site = site_of(nginx, lay_out(nginx.root / "srv", files))
    serve(site)


def test_each_daemon_has_its_own_environment(nginx):
    """The same with WSGIDaemonProcess, whose `lang=` is the only variable that it sets."""
    application = APPLICATION.replace('"WANTED"', '"LANG"').replace("'WANTED'", "'LANG'")
    site = site_of(nginx, lay_out(nginx.root / "srv", MOD_WSGI, application))
    serve(site)


def serve(site: Site) -> None:
    """Each application is its own, in a process of its own."""
    told = {}
    for name in ("one", "two"):
        # The vassals share a port, and have names.
        base = f"http://127.0.0.1:{site.nginx.port}"
        with httpx.Client(base_url=base, headers={"Host": name}, timeout=60) as client:
            response = client.get(f"/{name}/")
        assert response.status_code == 200, response.text
        told[name] = response.text.split()
    assert (told["one"][0], told["one"][2]) == ("one", "one")
    assert (told["two"][0], told["two"][2]) == ("two", "two")
    assert told["one"][1] != told["two"][1]


# What becomes a group, and what stays in the workers


def converted(tmp_path, name: str, content: str, *options: str) -> str:
    file = tmp_path / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(textwrap.dedent(content))
    return text(plan_of([*options, str(file)]))


def joined(made: str) -> str:
    """With each directive and comment on one line."""
    return " ".join(made.replace("\n#  ", "\n# ").split()).replace(" # ", "\n# ")


def test_the_only_daemon_runs_in_the_workers(tmp_path):
    """Nothing of it needs processes of its own, and the file says how it would have some."""
    made = converted(
        tmp_path,
        "httpd.conf",
        """
        WSGIDaemonProcess shop processes=3 python-home=/srv/venv
        WSGIProcessGroup shop
        WSGIScriptAlias / /srv/shop.wsgi
        """,
    )
    assert "worker_processes 3;" in made
    assert "python_home /srv/venv;" in made
    assert "python_process shop" not in made[: made.index("# To be looked at:")]
    assert "`python_process shop …;` and `wsgi_process shop;` give them processes of" in made
    assert "#   httpd.conf:3: WSGIProcessGroup shop: its processes are nginx's workers" in made


@pytest.mark.parametrize(
    ("option", "parameter"),
    [
        ("umask=027", "umask=027"),
        ("cpu-priority=7", "nice=7"),
        ("virtual-memory-limit=1073741824", "rlimit_as=1g"),
        ("inactivity-timeout=60", "start=lazy idle=60s"),
    ],
)
def test_a_limit_needs_processes_of_their_own(tmp_path, option, parameter):
    made = converted(
        tmp_path,
        "httpd.conf",
        f"""
        WSGIDaemonProcess shop {option}
        WSGIScriptAlias / /srv/shop.wsgi process-group=shop
        """,
    )
    assert f"python_process shop threads=15 {parameter};" in made
    assert "wsgi_process shop;  # httpd.conf:3: process-group=shop" in made
    assert "worker_processes auto;" in made


@pytest.mark.parametrize(
    ("option", "why"),
    [
        ("cpu-priority=-5", "only root can raise a priority"),
        ("virtual-memory-limit=1048576", "Python needs 256 MB of address space"),
        ("cpu-time-limit=60", "`rlimit_cpu=` of `python_process` ends one in the middle"),
    ],
)
def test_a_limit_that_cannot_be_is_told(tmp_path, option, why):
    made = converted(
        tmp_path,
        "httpd.conf",
        f"WSGIDaemonProcess a {option}\nWSGIScriptAlias / /a.wsgi process-group=a\n",
    )
    assert f"WSGIDaemonProcess {option}: " in made
    assert why in made
    assert "python_process a" not in made[: made.index("# Has no counterpart")]


def test_apaches_own_processes_are_the_workers(tmp_path):
    """Embedded mode, next to a daemon; a group that is a variable or defined elsewhere is told."""
    made = converted(
        tmp_path,
        "httpd.conf",
        """
        WSGIDaemonProcess a python-path=/srv/a
        WSGIDaemonProcess unused threads=3
        WSGIProcessGroup a
        WSGIScriptAlias /a /srv/a.wsgi
        WSGIScriptAlias /b /srv/b.wsgi process-group=%{GLOBAL}
        WSGIScriptAlias /c /srv/c.wsgi process-group=%{ENV:GROUP}
        WSGIScriptAlias /d /srv/d.wsgi process-group=elsewhere
        """,
    )
    assert "python_process a threads=15 path=/srv/a;" in made
    assert "python_thread_pool default threads=15;" in made
    assert made.count("wsgi_process a;") == 1
    assert made.count("wsgi_app ") == 4
    for expected in (
        "httpd.conf:3: WSGIDaemonProcess threads=3: no application is in unused",
        "httpd.conf:7: process-group=%{ENV:GROUP}: write `wsgi_process NAME;` in each location",
        "httpd.conf:8: process-group=elsewhere: its WSGIDaemonProcess is not here: write",
        "had an interpreter each (WSGIApplicationGroup), and share one here",
    ):
        assert expected in made


def test_the_nearest_process_group_counts(tmp_path):
    """Apache's order: the server, <VirtualHost>, <Directory> from the shortest, <Files>,
    <Location>, and the alias itself."""
    made = converted(
        tmp_path,
        "httpd.conf",
        """
        WSGIDaemonProcess server
        WSGIDaemonProcess host
        WSGIDaemonProcess folder
        WSGIDaemonProcess inner
        WSGIDaemonProcess file
        WSGIDaemonProcess place
        WSGIDaemonProcess alias
        WSGIProcessGroup server
        <VirtualHost *:80>
            ServerName a
            WSGIScriptAlias /s /srv/s.wsgi
        </VirtualHost>
        <VirtualHost *:80>
            ServerName b
            WSGIProcessGroup host
            WSGIScriptAlias /h /srv/h.wsgi
            WSGIScriptAlias /d /srv/d/d.wsgi
            WSGIScriptAlias /i /srv/d/i/i.wsgi
            WSGIScriptAlias /f /srv/d/i/f.wsgi
            WSGIScriptAlias /l /srv/d/i/l.wsgi
            WSGIScriptAlias /a /srv/d/i/a.wsgi process-group=alias
            <Location /l>
                WSGIProcessGroup place
            </Location>
            <Directory /srv/d/i>
                WSGIProcessGroup inner
                <Files f.wsgi>
                    WSGIProcessGroup file
                </Files>
            </Directory>
            <Directory /srv/d>
                WSGIProcessGroup folder
            </Directory>
            <DirectoryMatch /srv/x>
                WSGIProcessGroup alias
            </DirectoryMatch>
        </VirtualHost>
        """,
    )
    found = [each.split(";")[0].strip() for each in made.splitlines() if "wsgi_process " in each]
    names = ["server", "host", "folder", "inner", "file", "place", "alias"]
    assert found[:7] == [f"wsgi_process {name}" for name in names]
    assert "WSGIProcessGroup alias: is for /srv/x alone" in made


def test_units_only_application_runs_in_the_workers(tmp_path):
    application = {"type": "python", "module": "a.wsgi", "processes": 3, "threads": 4}
    whole = {
        "listeners": {"*:80": {"pass": "applications/a"}},
        "applications": {"a": application},
        "settings": {"listen_threads": 2},
    }
    made = converted(tmp_path, "unit.json", json.dumps(whole))
    assert "worker_processes 3;" in made
    assert "python_thread_pool default threads=4;" in made
    assert "applications/a: is the only application, which so runs in nginx's workers" in made
    assert "settings/listen_threads: 2: a worker has one event loop" in made
    # Another one that is no Python stays with Unit.
    whole["applications"]["b"] = {"type": "php"}
    assert "worker_processes 3;" in converted(tmp_path, "unit.json", json.dumps(whole))
    application["isolation"] = {"new_privs": False, "cgroup": {"path": "a"}}
    made = converted(tmp_path, "unit.json", json.dumps(whole))
    assert "python_process a processes=3 threads=4 no_new_privs=on;" in made
    assert "worker_processes 2;" in made
    assert "write `cgroup=FOLDER` behind `python_process`" in made


def test_several_files_of_uwsgi_are_several_groups(tmp_path):
    """Given one by one or as a folder; one alone stays in the workers."""
    for name in ("a", "b"):
        (tmp_path / f"{name}.ini").write_text(
            f"[uwsgi]\nmodule = {name}:app\nhttp = :80\nlisten = 100\nmax-requests = 5\n"
        )
    one, other = str(tmp_path / "a.ini"), str(tmp_path / "b.ini")
    made = text(plan_of([one, other]))
    assert made == text(plan_of([str(tmp_path)]))
    for name in ("a", "b"):
        assert f"python_process {name} threads=1 " in joined(made)
        assert f"server_name {name};" in made
        assert f"server_name {name}: write the site's name" in made
        assert f"{name}.ini:5: max-requests = 5" in made
    assert made.count("backlog=100;") == 1
    assert made.count(" max_requests=5;") == 2
    assert "no virtual environment is named for a, b: if the application" in made
    alone = text(plan_of([one]))
    assert "python_process" not in alone
    # A limit that the workers have not is told.
    (tmp_path / "a.ini").write_text("[uwsgi]\nmodule = a:app\numask = 027\nlimit-as = 512\n")
    alone = joined(text(plan_of([one])))
    assert "a.ini:3: umask = 027: write `python_process NAME umask=027;`" in alone
    assert "a.ini:4: limit-as = 512: write `python_process NAME rlimit_as=512m;`" in alone
    # A command line is still one: its other words are options.
    assert "threads=3;" in text(plan_of([one, "--threads", "3"]))


def test_what_two_vassals_cannot_both_have_is_told(tmp_path):
    (tmp_path / "a.ini").write_text(
        "[uwsgi]\nmodule = a\nuid = bob\npythonpath = /x\nprio = -3\nprocesses = auto\n"
        "thread-stacksize = 512\nlogto = /var/log/a.log\npy-executable = /x/python\nhome = /x\n"
    )
    (tmp_path / "b.ini").write_text(
        "[uwsgi]\nmodule = b\nuid = eve\npythonpath = /y\nreload-on-rss = 100\n"
        "threads = 3\nthread-stacksize = 256\n"
    )
    made = text(plan_of([str(tmp_path)]))
    for expected in (
        "b.ini:3: uid = eve: one is for all, and it is bob",
        "b.ini:7: thread-stacksize = 256: one is for all, and it is stack=512k",
        "a.ini:5: prio = -3: only root can raise a priority",
        "a.ini:6: processes = auto: write a number",
        "a.ini:9: py-executable = /x/python: is that of the virtual environment",
    ):
        assert expected in made
    assert made.count("error_log /var/log/a.log info;") == 1
    assert made.index("server {") < made.index("error_log /var/log/a.log info;")
    assert "user bob;" in made
    assert "python_thread_pool default threads=8 stack=512k;" in made
    assert "python_process b threads=3 " in joined(made)
    assert "threads = 3: one is for all" not in made


def test_programs_that_share_an_address_have_names(tmp_path):
    made = converted(
        tmp_path,
        "supervisord.conf",
        """
        [program:a]
        command=gunicorn -b :80 --forwarded-allow-ips 10.0.0.1 a:app
        [program:a b]
        command=gunicorn -b :80 --forwarded-allow-ips 10.0.0.2 b:app
        [program:a-b]
        command=gunicorn -b :81 c:app
        """,
    )
    for name in ("a", "a-b", "a-b-2"):
        assert f"python_process {name} " in made
    assert "server_name a-b;" in made
    assert "server_name a-b-2;" not in made
    assert "these proxies and the others are believed alike" in made
    alone = text(plan_of(["--program", "a-b", str(tmp_path / "supervisord.conf")]))
    assert "python_process" not in alone


def test_an_emperor_under_supervisord(tmp_path):
    """Its vassals log to where supervisord collects it; it is converted alone."""
    (tmp_path / "a.ini").write_text("[uwsgi]\nmodule = a\n")
    source = f"""
        [program:emperor]
        command=uwsgi --emperor {tmp_path}
        environment=SHARED="1"
    """
    made = converted(tmp_path, "supervisord.conf", source)
    assert "python_process a threads=1 " in joined(made)
    assert "wsgi_process a;" in made
    assert "python_env SHARED=1;" in made
    assert "error_log stderr info;" in made
    other = f"{source}\n        [program:web]\n        command=gunicorn a:a\n"
    with pytest.raises(ConversionError, match=r"\[program:emperor\] .* is an emperor"):
        converted(tmp_path, "supervisord.conf", other)


def test_a_name_is_one_that_nginx_takes(tmp_path):
    """Names of sources have spaces, slashes and more; `off` is no group."""
    file = tmp_path / "unit.json"
    names = ["off", "a b", "a;b", "é", "a.b_c-d"]
    applications = {name: {"type": "python", "module": "m.wsgi"} for name in names}
    routes = [
        {"match": {"uri": f"/{at}/*"}, "action": {"pass": f"applications/{name}"}}
        for at, name in enumerate(names)
    ]
    file.write_text(
        json.dumps(
            {
                "listeners": {"*:80": {"pass": "routes"}},
                "routes": routes,
                "applications": applications,
            }
        )
    )
    told = [line(each) for each in every(directives(plan_of([str(file)])))]
    made = [each.split()[1].rstrip(";") for each in told if each.startswith("python_process ")]
    assert made == ["app-off", "a-b", "a-b-2", "app", "a.b_c-d"]
    assert [each for each in told if each.startswith("wsgi_process ")] == [
        f"wsgi_process {name};" for name in made
    ]


def test_modules_are_found_in_the_home_of_a_daemon(tmp_path):
    """First of all, as in mod_wsgi, wherever the option stands; its memory limit in the workers."""
    for options in ("home=/srv/a python-path=/x:/y", "python-path=/x:/y home=/srv/a"):
        made = converted(
            tmp_path,
            "httpd.conf",
            f"""
            WSGIDaemonProcess a {options} memory-limit=1048576
            WSGIScriptAlias / /a.wsgi process-group=a
            """,
        )
        assert "python_path /srv/a /x /y;" in made
        assert "python_working_directory /srv/a;" in made
        assert "python_memory_limit soft=1m;" in made


def test_daemons_have_settings_of_their_own(tmp_path):
    """Those of Apache are for all; what is the same as a directive has its name and its words."""
    made = joined(
        converted(
            tmp_path,
            "httpd.conf",
            """
            WSGIPythonOptimize 1
            WSGIDaemonProcess a switch-interval=0.01 restart-interval=60 maximum-requests=5 \\
                deadlock-timeout=30 shutdown-timeout=7 graceful-timeout=20
            WSGIDaemonProcess b maximum-requests=6 inactivity-timeout=0
            WSGIScriptAlias /a /a.wsgi process-group=a
            WSGIScriptAlias /b /b.wsgi process-group=b
            """,
        )
    )
    assert (
        "python_process a threads=15 switch_interval=10ms max_requests=5 max_lifetime=60s "
        "deadlock_timeout=30s finalize=on,timeout=7s;"
    ) in made
    assert "python_process b threads=15 max_requests=6;" in made
    for each in ("python_optimize 1;", "python_drain_timeout 20s;"):
        assert each in made
    assert "inactivity-timeout=0: is off" in made


def test_vassals_have_settings_of_their_own(tmp_path):
    (tmp_path / "a.ini").write_text(
        "[uwsgi]\nmodule = a\nmax-requests = 5\nmax-requests-delta = 2\nreload-on-rss = 100\n"
        "evil-reload-on-rss = 200\nimport = one\nimport = two\npy-executable = /x/python\n"
    )
    (tmp_path / "b.ini").write_text("[uwsgi]\nmodule = b\nmax-worker-lifetime = 60\n")
    made = joined(text(plan_of([str(tmp_path)])))
    assert (
        "executable=/x/python import=one import=two max_requests=5,jitter=2 "
        "memory_limit=100m,hard=200m;"
    ) in made
    assert "max_lifetime=60s;" in made
    for each in ("python_max_", "python_memory_limit", "python_import", "python_executable"):
        assert f"{each}" not in made.partition("# To be looked at")[0]


def test_a_daemon_is_defined_once(tmp_path):
    for content, message in (
        ("WSGIDaemonProcess a\nWSGIDaemonProcess a\n", "httpd.conf:3: WSGIDaemonProcess a: a is"),
        ("WSGIDaemonProcess\n", "httpd.conf:2: WSGIDaemonProcess: wants a name"),
        ("WSGIDaemonProcess a umask=9\n", "WSGIDaemonProcess umask=9: '9' is not a umask"),
    ):
        with pytest.raises(ConversionError, match=message.replace("(", r"\(")):
            converted(tmp_path, "httpd.conf", f"WSGIScriptAlias / /a.wsgi\n{content}")
