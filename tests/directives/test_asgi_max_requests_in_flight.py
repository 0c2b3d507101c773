"""asgi_max_requests_in_flight: how many requests are in the application at once."""

from __future__ import annotations

import pytest
from rawhttp import wait_for


@pytest.fixture
def held(asgi, gate):
    return gate(protocol=asgi)


@pytest.fixture
def imported(nginx, held):
    """Waits until the application is imported: until then requests wait in the queue as well."""

    def wait(path: str = "/") -> None:
        wait_for(lambda: nginx.client().get(path).status_code == 200, what="the application")

    return wait


def test_so_many_run_and_the_others_wait(nginx, held, background):
    nginx.start(f"asgi_app {held.app}; asgi_max_requests_in_flight 3; asgi_queue_timeout 1h;")
    answers = [background(f"/?hold&{number}") for number in range(8)]
    held.wait_entered(3)
    with pytest.raises(AssertionError):
        held.wait_entered(4, timeout=2)
    held.open()
    assert {answer.result().status_code for answer in answers} == {200}
    assert held.entered() == 8


def test_who_waits_too_long_is_answered_503(nginx, held, imported, background):
    nginx.start(f"asgi_app {held.app}; asgi_max_requests_in_flight 1; asgi_queue_timeout 300ms;")
    imported()
    running = background("/?hold")
    held.wait_entered(1)
    answer = nginx.client().get("/?hold")
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    held.open()
    assert running.result().status_code == 200
    assert held.entered() == 1
    assert nginx.client().get("/").status_code == 200


def test_a_client_that_has_left_still_counts_while_its_task_runs(nginx, held, background):
    nginx.start(f"asgi_app {held.app}; asgi_max_requests_in_flight 1; asgi_queue_timeout 1h;")
    with nginx.connect() as connection:
        connection.get("/?hold")
        held.wait_entered(1)
    waiting = background("/?hold")
    with pytest.raises(AssertionError):
        held.wait_entered(2, timeout=1)
    held.open()
    assert waiting.result().status_code == 200


def test_a_failure_gives_its_place_back(nginx, asgi):
    app = asgi.app("fails", "async def answer(request): raise RuntimeError(request.query)")
    nginx.start(f"asgi_app {app}; asgi_max_requests_in_flight 1; asgi_queue_timeout 10s;")
    client = nginx.client()
    assert {client.get(f"/?{number}").status_code for number in range(20)} == {500}


@pytest.mark.parametrize("setting", ["", "asgi_max_requests_in_flight off;"])
def test_without_a_limit_all_run(nginx, held, background, setting):
    nginx.start(f"asgi_app {held.app}; {setting}")
    answers = [background(f"/?hold&{number}") for number in range(40)]
    held.wait_entered(40)
    held.open()
    assert {answer.result().status_code for answer in answers} == {200}


def test_each_location_counts_its_own_and_inherits_the_number(nginx, held, imported, background):
    app = f"asgi_app {held.app};"
    nginx.start(
        http="asgi_max_requests_in_flight 1; asgi_queue_timeout 300ms;",
        server=f"""
        location /one {{ {app} }}
        location /two {{ {app} asgi_max_requests_in_flight 2; }}
        location /off {{ {app} asgi_max_requests_in_flight off; }}
        """,
    )
    imported("/off")
    running = [background(f"/{path}?hold") for path in ("one", "two", "two", "off", "off", "off")]
    held.wait_entered(6)
    client = nginx.client()
    assert [client.get(path).status_code for path in ("/one", "/two", "/off")] == [503, 503, 200]
    held.open()
    assert {answer.result().status_code for answer in running} == {200}
    wait_for(lambda: client.get("/one").status_code == 200, what="a place")


# Mistakes


@pytest.mark.parametrize("value", ["0", "-1", "+5", "many", "1.5", "''", "on"])
def test_what_is_no_limit(refused, value):
    refused(
        "asgi_max_requests_in_flight",
        "must be a number of at least 1, or off",
        location=f"asgi_max_requests_in_flight {value};",
    )


@pytest.mark.parametrize("value", ["1", "100000", "off"])
def test_what_is_one(nginx, value):
    app = nginx.app("app", "application = None")
    result = nginx.check(f"asgi_app {app}; asgi_max_requests_in_flight {value};")
    assert result.returncode == 0, result.stderr
