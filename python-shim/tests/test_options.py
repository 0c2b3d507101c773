"""Command lines of gunicorn and uvicorn, and what is typed by mistake."""

from __future__ import annotations

import pytest

from pywsgi.command.option_list import add_options
from pywsgi.command.options import Options, Parser


def parse(line: str) -> Options:
    parser = Parser(prog="pywsgi serve")
    add_options(parser)
    return parser.parse_args(line.split(), Options())


def test_the_defaults() -> None:
    options = parse("app:app")
    assert (options.target, options.workers, options.interface) == ("app:app", "1", "auto")
    assert (options.access_log, options.access_logfile, options.log_level) == (True, "-", "info")
    assert options.client_max_body_size == "0"
    assert not options.has_tls


def test_a_command_line_of_gunicorn() -> None:
    options = parse(
        "-w 4 --threads 8 -b 0.0.0.0:8080 -b unix:/run/a.sock -t 120 --graceful-timeout 60"
        " --max-requests 1000 --max-requests-jitter 50 -e A=1 -e B=2 --chdir /srv --pythonpath"
        " /a,/b -k gthread --keep-alive 5 --access-logfile - --error-logfile e.log -u www-data"
        " -g www-data -m 027 --forwarded-allow-ips * --certfile c --keyfile k -n shop --preload"
        " --worker-tmp-dir /dev/shm shop.wsgi"
    )
    assert options.target == "shop.wsgi"
    assert (options.workers, options.threads, options.timeout) == ("4", 8, 120)
    assert options.bind == ["0.0.0.0:8080", "unix:/run/a.sock"]
    assert (options.max_requests, options.max_requests_jitter) == (1000, 50)
    assert (options.env, options.app_dir) == (["A=1", "B=2"], ["/a", "/b"])
    assert (options.interface, options.umask, options.has_tls) == ("wsgi", 0o27, True)
    named = [each.partition(":")[0] for each in options.without_effect]
    assert named == ["-n", "--preload", "--worker-tmp-dir"]


def test_a_command_line_of_uvicorn() -> None:
    options = parse(
        "main:create_app --factory --host :: --port 9000 --workers 2 --loop uvloop --ws none"
        " --ws-max-size 2000 --ws-ping-interval 2.5 --lifespan on --root-path /api/ --env-file .env"
        " --limit-concurrency 100 --limit-max-requests 10 --timeout-keep-alive 7"
        " --timeout-graceful-shutdown 3 --ssl-certfile c --ssl-keyfile k --header X-A:b:c"
        " --app-dir src --no-access-log --log-level WARNING --no-server-header --proxy-headers"
        " --http h11 --no-date-header --interface asgi3 --ws-per-message-deflate false"
    )
    assert (options.factory, options.interface, options.loop) == (True, "asgi3", "uvloop")
    assert (options.host, options.port, options.workers) == ("::", 9000, "2")
    assert (options.ws, options.ws_max_size, options.ws_ping_interval) == (False, 2000, 2.5)
    assert (options.root_path, options.header) == ("/api", [("X-A", "b:c")])
    assert (options.keep_alive, options.graceful_timeout) == (7, 3)
    assert (options.access_log, options.log_level) == (False, "warning")
    assert not options.ws_per_message_deflate
    assert [each.partition(":")[0] for each in options.without_effect] == [
        "--http",
        "--no-date-header",
    ]
    # The next one has none of its notes.
    assert parse("app:app").without_effect == []


def test_the_options_of_nginx() -> None:
    options = parse(
        "--static /static=./public --static /favicon.ico=f.ico --client-max-body-size 20m"
        " --tls-self-signed --http2 --http3 app:app --status"
    )
    assert options.static == [("/static", "./public"), ("/favicon.ico", "f.ico")]
    assert (options.status, options.has_tls) == ("/-/status", True)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("app:app --workerz 4", "there is no option --workerz; did you mean --workers?"),
        ("app:app --relaod", "did you mean --reload?"),
        ("app:app --work=2", "there is no option --work"),
        ("app:app -w 0", "argument -w/--workers: '0' must be at least 1"),
        ("app:app --port 70000", "70000 is no port: the last one is 65535"),
        ("app:app --port x", "'x' is no number of at least 0"),
        ("app:app -e A", "'A' is not NAME=VALUE"),
        ("app:app --static static", "'static' is not /URL=DIR, such as /static=./static"),
        ("app:app --static /=public", "/ would hide the application"),
        ("--status app:app", "put TARGET before --status"),
        ("app:app --header X", "'X' is not NAME:VALUE"),
        ("app:app --client-max-body-size 20mb", "is no size: 1024, 512k, 20m, 1g"),
        ("app:app -k gevent", "needs greenlets, which cannot run here"),
        ("app:app -c gunicorn.conf.py", "pywsgi convert"),
        ("app:app -D", "this runs in the foreground"),
        ("app:app --root-path api", "must begin with a slash"),
        ("app:app --loop trio", "invalid choice"),
        ("app:app other:app", "unrecognized arguments: other:app"),
    ],
)
def test_a_mistake_is_one_line(line: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(line)
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.startswith("pywsgi serve: ")
    assert said.endswith("(see pywsgi serve --help)\n")
    assert said.count("\n") == 1


def test_the_help_has_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse("--help")
    said = capsys.readouterr().out
    assert "usage: pywsgi serve [OPTION]... [TARGET]" in said
    for name in ("--bind", "--reload", "--tls-self-signed", "--ws-max-size", "--no-sendfile"):
        assert name in said
    assert "--daemon" not in said
