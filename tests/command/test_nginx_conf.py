"""nginx reads what `pywsgi.command.nginx_conf` writes."""

from __future__ import annotations

import sys

from harness import PROJECT

sys.path.insert(0, str(PROJECT / "python-shim"))

from pywsgi.command.nginx_conf import LONGEST_ARGUMENT, Directive, literal, render, with_dollar

TEXTS = [
    "plain",
    "two words",
    "a;b",
    "a{b}c",
    "}",
    "#comment",
    '"quoted"',
    'it\'s "both"',
    "back\\slash",
    "\\",
    "C:\\temp\\new\\root\\",
    "\\\n",
    "two\nlines\tand a tab",
    "\\n is no new line",
    r"^/(\d{4})/$",
    "$host, ${host} and $",
    "é ü 日本",
    # As long as nginx allows, and as they are written.
    "x" * LONGEST_ARGUMENT,
    "\n" * (LONGEST_ARGUMENT // 2),
    "'\"" * (LONGEST_ARGUMENT // 3),
    "\\" * (LONGEST_ARGUMENT // 2),
    " " * LONGEST_ARGUMENT,
]


def test_arguments_arrive_as_they_are(nginx):
    locations = [
        Directive(
            "location",
            ("=", f"/{number}"),
            [Directive("return", ("200", literal(text)), comment=f"{text} {text * 9}")],
        )
        for number, text in enumerate(TEXTS)
    ]
    host = Directive("location", ("=", "/host"), [Directive("return", ("200", "${host}!"))])
    server = Directive(
        "server",
        (),
        [Directive("listen", (f"127.0.0.1:{nginx.port}",)), *locations, host],
        comment="},;\nnothing of this is read",
    )
    main = [
        Directive("daemon", ("off",)),
        Directive("pid", ("logs/nginx.pid",)),
        Directive("error_log", ("logs/error.log", "info")),
        Directive("events", (), ()),
        Directive("http", (), with_dollar([Directive("access_log", ("off",)), server])),
    ]
    nginx.config.write_text(render(main))
    nginx.start()
    client = nginx.client()
    for number, text in enumerate(TEXTS):
        assert client.get(f"/{number}").text == text
    assert client.get("/host").text == "127.0.0.1!"
