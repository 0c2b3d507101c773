"""wsgi_queue_timeout, asgi_queue_timeout, max_queue: how long requests wait, and how many may."""

from __future__ import annotations

from concurrent.futures import as_completed

import pytest
from rawhttp import wait_for


@pytest.fixture
def taken(nginx, gate, background):
    """`taken("wsgi_queue_timeout 1h;")`: a request to /patient occupies a pool's only thread.

    Returns the gate that holds it, and the request.
    """

    def start(location: str, max_queue: str = "", server: str = ""):
        held = gate()
        nginx.start(
            f"wsgi_app {held.app}; {location}",
            http=f"python_thread_pool default threads=1 {max_queue};",
            server=f"location /patient {{ wsgi_app {held.app}; wsgi_queue_timeout 1h; }}\n{server}",
        )
        running = background("/patient?hold")
        held.wait_entered(1)
        return held, running

    return start


@pytest.fixture
def taken_by(nginx, protocol, gate, background, taken):
    """The same for both protocols: the one request that may run at a time is in the application."""
    if protocol.is_wsgi:
        return taken

    def start(location: str, server: str = ""):
        held = gate(protocol=protocol)
        app = f"asgi_app {held.app}; asgi_max_requests_in_flight 1;"
        # It counts by location.
        patient = f"location /patient {{ {app} asgi_queue_timeout 1h; }}"
        nginx.start(f"{app} {location}", server=f"{patient}\n{server}")
        assert nginx.client().get("/patient").status_code == 200
        running = background("/?hold")
        held.wait_entered(1)
        return held, running

    return start


def test_a_full_queue_is_a_503_at_once(nginx, taken, background):
    held, running = taken("wsgi_queue_timeout 1h;", "max_queue=2")
    answers = [background(f"/?n={number}") for number in range(6)]
    refused = []
    for answer in as_completed(answers, timeout=60):
        refused.append(answer.result())
        if len(refused) == 4:
            break
    assert {answer.status_code for answer in refused} == {503}
    assert {int(answer.headers["retry-after"]) > 0 for answer in refused} == {True}
    assert sum(not answer.done() for answer in answers) == 2
    held.open()
    assert running.result().status_code == 200
    codes = sorted(answer.result().status_code for answer in answers)
    assert codes == [200] * 2 + [503] * 4
    assert nginx.log_lines("queue")
    assert nginx.client().get("/").status_code == 200


def test_what_has_waited_too_long_leaves_the_queue(nginx, gate, background):
    held = gate()
    nginx.start(
        f"wsgi_app {held.app}; wsgi_queue_timeout 200ms;",
        http="python_thread_pool default threads=1 max_queue=2;",
    )
    # The import takes longer than a request may wait.
    wait_for(lambda: background("/").result().status_code == 200, what="the application")
    running = background("/?hold")
    held.wait_entered(1)
    # Two at a time fill the queue, so those of the previous round must have left it.
    for _ in range(3):
        answers = [background("/") for _ in range(2)]
        assert {answer.result().status_code for answer in answers} == {503}
    assert not nginx.log_lines("queue of the thread pool is full")
    held.open()
    assert running.result().status_code == 200


def test_without_a_queue_nothing_waits(nginx, gate, background):
    held = gate()
    nginx.start(
        f"wsgi_app {held.app}; wsgi_queue_timeout 1h;",
        http="python_thread_pool default threads=2 max_queue=0;",
    )
    running = [background("/?hold")]
    held.wait_entered(1)
    running.append(background("/?hold"))
    held.wait_entered(2)
    for _ in range(3):
        assert nginx.client().get("/").status_code == 503
    held.open()
    assert [answer.result().status_code for answer in running] == [200, 200]
    wait_for(lambda: nginx.client().get("/").status_code == 200, what="an idle thread")


def test_waiting_too_long_is_a_503_and_the_application_is_not_called(nginx, protocol, taken_by):
    held, running = taken_by(f"{protocol}_queue_timeout 500ms;")
    answer = nginx.client().get("/?hold")
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    line = nginx.wait_log(f"{protocol}_queue_timeout")
    assert "GET /?hold" in line, "the line tells which request"
    held.open()
    assert running.result().status_code == 200
    assert nginx.client().get("/patient").status_code == 200
    assert held.entered() == 1


def test_the_503_is_nginx_s_own_error_page(nginx, protocol, taken_by):
    nginx.page("busy.html", "come back later")
    held, running = taken_by(
        f"{protocol}_queue_timeout 200ms; error_page 503 /busy.html;",
        server="location = /busy.html { root html; }",
    )
    answer = nginx.client().get("/")
    assert (answer.status_code, answer.text) == (503, "come back later")
    held.open()
    assert running.result().status_code == 200


def test_a_client_that_leaves_the_queue_makes_room(nginx, taken, background):
    held, running = taken("wsgi_queue_timeout 1h;", "max_queue=1")
    leaving = nginx.connect()
    leaving.get("/?hold&left")
    wait_for(lambda: _is_refused(background("/?n")), what="a full queue")
    leaving.close()
    waiting = []

    def queued():
        answer = background("/?stays")
        waiting.append(answer)
        return not _done_soon(answer)

    wait_for(queued, what="room in the queue")
    held.open()
    assert running.result().status_code == 200
    assert waiting[-1].result().status_code == 200
    assert held.entered() == 1, "who has left is not served"


def _done_soon(answer) -> bool:
    try:
        answer.result(timeout=3)
    except TimeoutError:
        return False
    return True


def _is_refused(answer) -> bool:
    return _done_soon(answer) and answer.result().status_code == 503


def test_queue_timeout_is_inherited(nginx, gate, background):
    held = gate()
    app = f"wsgi_app {held.app};"
    nginx.start(
        http="python_thread_pool default threads=1; wsgi_queue_timeout 300ms;",
        server=f"""
        location /short {{ {app} if ($arg_if) {{ set $x 1; }} }}
        location /long {{
            wsgi_queue_timeout 1h;
            {app}
            location /long/below {{ {app} }}
            location /long/short {{ wsgi_queue_timeout 300ms; {app} }}
        }}
        """,
    )
    running = background("/long?hold")
    held.wait_entered(1)
    patient = [background("/long"), background("/long/below")]
    client = nginx.client()
    for path in ["/short", "/short?if=1", "/long/short"]:
        assert client.get(path).status_code == 503
    assert not any(answer.done() for answer in patient)
    held.open()
    assert [answer.result().status_code for answer in [running, *patient]] == [200] * 3


def test_what_waits_in_the_queue_at_a_reload_is_answered(nginx, taken, background):
    held, running = taken("", "max_queue=3")
    waiting = []

    def full():
        # The fourth is refused: three are in the queue.
        answer = background("/?waits")
        waiting.append(answer)
        return _is_refused(answer)

    wait_for(full, what="a full queue")
    nginx.reload()
    held.open()
    codes = sorted(answer.result().status_code for answer in [running, *waiting])
    assert codes == [200] * 4 + [503]


# ASGI's own


@pytest.fixture
def asgi_gate(asgi, gate):
    return gate(protocol=asgi)


def test_asgi_queue_timeout_is_inherited(nginx, asgi_gate, background):
    held = asgi_gate
    app = f"asgi_app {held.app};"
    nginx.start(
        http="asgi_max_requests_in_flight 1; asgi_queue_timeout 300ms;",
        server=f"""
        location /short {{ {app} if ($arg_if) {{ set $x 1; }} }}
        location /long {{
            asgi_queue_timeout 1h;
            {app}
            location /long/below {{ {app} }}
            location /long/short {{ asgi_queue_timeout 300ms; {app} }}
        }}
        """,
    )
    assert nginx.client().get("/long").status_code == 200
    paths = ["/short", "/short?if=1", "/long", "/long/below", "/long/short"]
    running = []
    for number, path in enumerate(paths, 1):
        running.append(background(f"{path}{'&' if '?' in path else '?'}hold"))
        held.wait_entered(number)
    patient = [background("/long"), background("/long/below")]
    client = nginx.client()
    for path in ["/short", "/short?if=1", "/long/short"]:
        assert client.get(path).status_code == 503
    assert not any(answer.done() for answer in patient)
    held.open()
    assert [answer.result().status_code for answer in running + patient] == [200] * 7


def test_who_leaves_the_queue_of_asgi_is_not_called(nginx, asgi_gate, background):
    held = asgi_gate
    nginx.start(f"asgi_app {held.app}; asgi_max_requests_in_flight 1; asgi_queue_timeout 1h;")
    running = background("/?hold")
    held.wait_entered(1)
    for _ in range(3):
        leaving = nginx.connect()
        leaving.get("/?hold&left")
        leaving.close()
    waiting = background("/?stays")
    assert not _done_soon(waiting)
    held.open()
    assert [running.result().status_code, waiting.result().status_code] == [200, 200]
    assert held.entered() == 1


def test_what_waits_for_its_turn_at_a_reload_is_answered(nginx, asgi_gate, background):
    held = asgi_gate
    nginx.start(f"asgi_app {held.app}; asgi_max_requests_in_flight 1; asgi_queue_timeout 1h;")
    running = background("/?hold")
    held.wait_entered(1)
    waiting = [background(f"/?{number}") for number in range(3)]
    assert not any(_done_soon(answer) for answer in waiting)
    nginx.reload()
    held.open()
    assert {answer.result().status_code for answer in [running, *waiting]} == {200}
