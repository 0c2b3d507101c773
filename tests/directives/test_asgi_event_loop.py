"""python_event_loop and asgi_event_loop: the loops, and which application runs on which."""

from __future__ import annotations

import pytest

# `?block` blocks the loop until the gate "go" is open.
SOURCE = """
    import asyncio
    import threading

    from testkit import gate, record

    async def answer(request):
        loop = type(asyncio.get_running_loop()).__module__.partition(".")[0]
        is_main = threading.current_thread() is threading.main_thread()
        if request.query == "block":
            record("blocks")
            gate("go")
        await request.respond(f"{loop} {is_main} {threading.get_native_id()}".encode())
"""


@pytest.fixture
def app(asgi):
    return asgi.app("app", SOURCE)


def test_main_is_on_python_s_main_thread_and_the_default(nginx, asgi, app):
    nginx.start(
        http="python_event_loop other;",
        server=f"""
        location /default {{ asgi_app {app}; }}
        location /main {{ asgi_app {app}; asgi_event_loop main; }}
        location /other {{ asgi_app {asgi.app("second", SOURCE)}; asgi_event_loop other; }}
        """,
    )
    client = nginx.client()
    seen = {path: client.get(path).text.split()[1:] for path in ("/default", "/main", "/other")}
    assert seen["/default"] == seen["/main"]
    (is_main, thread), (is_not, other) = seen["/main"], seen["/other"]
    assert (is_main, is_not) == ("True", "False")
    assert thread != other


@pytest.mark.parametrize(
    ("kind", "module"),
    [("asyncio", "asyncio"), ("uvloop", "uvloop"), ("auto", "uvloop"), ("", "uvloop")],
)
@pytest.mark.parametrize("name", ["main", "other"])
def test_the_kind_of_a_loop(nginx, app, name, kind, module):
    """The tests' virtual environment has uvloop."""
    nginx.start(
        f"asgi_app {app}; asgi_event_loop {name};", http=f"python_event_loop {name} {kind};"
    )
    assert nginx.client().get("/").text.split()[0] == module


def test_auto_without_uvloop_is_asyncio_s(nginx, app):
    """A module that cannot be imported stands before the real one."""
    nginx.app("first/uvloop.py", "raise ImportError('not here')")
    nginx.start(
        f"asgi_app {app};", http=f"python_path {nginx.apps}/first; python_event_loop main auto;"
    )
    assert nginx.client().get("/").text.split()[0] == "asyncio"


def test_uvloop_that_cannot_be_imported_breaks_its_own_applications(nginx, asgi, app, say):
    nginx.allow_log(r'python_event_loop "other" cannot be made|uvloop cannot be imported')
    nginx.app("first/uvloop.py", "raise ImportError('not here')")
    nginx.start(
        f"asgi_app {app};",
        http=f"python_path {nginx.apps}/first; python_event_loop other uvloop;"
        "python_event_loop main asyncio;",
        server=f"""
        location /other {{ asgi_app {asgi.app("second", SOURCE)}; asgi_event_loop other; }}
        location /wsgi {{ wsgi_app {say("wsgi")}; }}
        """,
    )
    client = nginx.client()
    assert client.get("/").text.startswith("asyncio")
    assert client.get("/wsgi").text == "wsgi"
    assert client.get("/other").status_code == 500
    assert nginx.wait_log("not here")


def test_a_blocked_loop_blocks_its_own_applications_alone(nginx, asgi, app, say, background):
    nginx.page("index.html", "static")
    nginx.start(
        http="python_event_loop other;",
        server=f"""
        location /one {{ asgi_app {app}; }}
        location /two {{ asgi_app {asgi.app("second", SOURCE)}; asgi_event_loop other; }}
        location /three {{ asgi_app {asgi.app("third", SOURCE)}; }}
        location /wsgi {{ wsgi_app {say("wsgi")}; }}
        """,
    )
    client = nginx.client()
    assert client.get("/three").status_code == 200
    blocked = background("/one?block")
    nginx.wait_recorded("blocks")
    same = background("/three")
    assert client.get("/two").status_code == 200
    assert client.get("/wsgi").text == "wsgi"
    assert client.get("/").text == "static"
    assert not blocked.done() and not same.done()
    nginx.open_gate("go")
    assert [blocked.result().status_code, same.result().status_code] == [200, 200]


def test_inheritance(nginx, asgi):
    apps = [asgi.app(f"app{number}", SOURCE) for number in range(3)]
    nginx.start(
        f"asgi_app {apps[0]};",
        http="python_event_loop other; asgi_event_loop other;",
        server=f"""
        location /main {{
            asgi_event_loop main;
            asgi_app {apps[1]};
            if ($arg_if) {{ set $x 1; }}
            location /main/below {{ asgi_app {apps[2]}; }}
        }}
        """,
    )
    client = nginx.client()
    paths = ["/", "/main", "/main?if=1", "/main/below"]
    assert [client.get(path).text.split()[1] for path in paths] == ["False", "True", "True", "True"]


# Mistakes


def test_a_loop_may_be_defined_after_its_use(nginx, app):
    result = nginx.check(
        server=f"location /x {{ asgi_app {app}; asgi_event_loop other; }}",
        http=f"""
        server {{
            listen 127.0.0.1:{nginx.port};
            server_name two;
            location / {{ asgi_app {app}; asgi_event_loop other; }}
        }}
        python_event_loop other;
        """,
    )
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("defined", ["", "python_event_loop other;"])
def test_an_unknown_loop(refused, app, defined):
    refused(
        "asgi_event_loop nowhere",
        'asgi_event_loop "nowhere" is not defined',
        "write python_event_loop nowhere; in http",
        "use one of: main, other in" if defined else "use one of: main in",
        http=defined,
        location=f"asgi_app {app};\nasgi_event_loop nowhere;",
    )


def test_an_unknown_loop_where_nothing_uses_it(nginx):
    result = nginx.check("asgi_event_loop nowhere; return 204;")
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("kind", ["", "asyncio", "uvloop", "auto"])
def test_kinds(nginx, app, kind):
    http = f"python_event_loop main {kind}; python_event_loop other {kind};"
    result = nginx.check(f"asgi_app {app};", http=http)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("kind", ["trio", "Asyncio", "''"])
def test_another_kind(refused, kind):
    refused(
        "python_event_loop", "must be asyncio, uvloop or auto", http=f"python_event_loop x {kind};"
    )


@pytest.mark.parametrize("name", ["main", "other"])
def test_a_loop_that_is_defined_twice(refused, name):
    refused(
        "python_event_loop",
        f'"{name}" is defined twice',
        http=f"python_event_loop {name};\npython_event_loop {name} asyncio;",
    )


def test_a_loop_without_a_name(refused):
    refused("python_event_loop", "empty name", http="python_event_loop '';")
