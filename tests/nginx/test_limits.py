"""limit_rate, limit_req and limit_conn, and X-Accel-Limit-Rate, an application's limit_rate.

The duration of a limited answer is only checked for its lower bound: a slow machine takes longer.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

SOURCE = """
    from urllib.parse import parse_qs

    from testkit import gate, record

    def application(environ, start_response):
        query = {k: v[0] for k, v in parse_qs(environ["QUERY_STRING"]).items()}
        record("called", environ["PATH_INFO"])
        if "wait" in query:
            gate(query["wait"])
        size = int(query.get("size", "5")) + len(environ["wsgi.input"].read())
        headers = [("Content-Type", "text/plain")]
        if "rate" in query:
            headers.append(("X-Accel-Limit-Rate", query["rate"]))
        if "length" in query:
            headers.append(("Content-Length", str(size)))
        start_response("200 OK", headers)
        return [b"x" * min(10_000, size - i) for i in range(0, size, 10_000)]
"""
RATE = 50_000
SIZE = 4 * RATE


@pytest.fixture
def app(protocol):
    return f"{protocol}_app {protocol.wrap('limited', SOURCE)};"


def test_rates(nginx, protocol, app):
    # nginx counts whole seconds here, and sends the bytes of one second at once: the last of four
    # parts goes after three of its seconds, which are more than two of ours.
    paths = {
        "/limited": "",
        "/limited?length=1": "",
        "/unbuffered": "",
        "/set": "",
        "/free?rate=50000": "",
        "/free?rate=50000&length=1": "",
    }
    nginx.start(
        server=f"""
        location /limited {{ limit_rate {RATE}; {app} }}
        location /unbuffered {{ limit_rate {RATE}; {protocol}_buffering off; {app} }}
        location /set {{ set $limit_rate {RATE}; {app} }}
        location /free {{ {app} }}
        """
    )

    def timed(path: str) -> float:
        mark = "&" if "?" in path else "?"
        begun = time.monotonic()
        response = nginx.client().get(f"{path}{mark}size={SIZE}")
        assert len(response.content) == SIZE
        assert "x-accel-limit-rate" not in response.headers
        return time.monotonic() - begun

    with ThreadPoolExecutor(len(paths)) as pool:
        for path, took in zip(paths, pool.map(timed, paths), strict=True):
            assert took > 2, path


def test_the_application_s_rate_replaces_the_configured_one(nginx, app):
    # At one byte per second these would take two days.
    nginx.start(
        f"limit_rate 1; {app}",
        server=f"location /after {{ limit_rate 1; limit_rate_after 1m; {app} }}\n",
    )
    client = nginx.client()
    for path in (f"/?size={SIZE}&rate=0", f"/?size={SIZE}&rate=100000000", f"/after?size={SIZE}"):
        assert len(client.get(path).content) == SIZE


@pytest.mark.parametrize("rate", ["fast", "-1", "", "99999999999999999999", "1k"])
def test_a_rate_that_is_no_number_is_none(nginx, app, rate):
    nginx.start(app)
    response = nginx.client().get("/", params={"size": SIZE, "rate": rate})
    assert len(response.content) == SIZE


@pytest.mark.parametrize("off", ["ignore_headers X-Accel-Limit-Rate;", "accel off;"])
def test_a_rate_that_is_not_wanted(nginx, protocol, app, off):
    nginx.start(f"{app} {protocol}_{off}")
    response = nginx.client().get(f"/?size={SIZE}&rate=1")
    assert len(response.content) == SIZE
    assert "x-accel-limit-rate" not in response.headers


def test_a_rate_for_a_file(nginx, protocol):
    nginx.page("file.bin", "x" * SIZE)
    app = protocol.wrap(
        "sender",
        f"""
        def application(environ, start_response):
            headers = [("X-Accel-Redirect", "/file.bin"), ("X-Accel-Limit-Rate", "{RATE}")]
            start_response("200 OK", headers)
            return []
        """,
    )
    nginx.start(
        f"{protocol}_app {app};",
        server=f"location = /file.bin {{ internal; root {nginx.html}; }}",
    )
    begun = time.monotonic()
    assert len(nginx.client().get("/").content) == SIZE
    assert time.monotonic() - begun > 2


def test_limit_req(nginx, app):
    nginx.start(
        f"limit_req zone=one burst=2 nodelay; {app}",
        http="limit_req_zone $arg_who zone=one:1m rate=1r/m;",
        server=f"limit_req_status 429; error_page 429 /slower; location /slower {{ {app} }}",
    )
    client = nginx.client()
    statuses = [client.post("/x?who=a", content=b"form").status_code for _ in range(5)]
    assert statuses == [200, 200, 200, 429, 429]
    # The application has served these three, and the others by error_page.
    assert nginx.recorded("called") == ["/x"] * 3 + ["/slower"] * 2
    assert client.get("/x?who=b").status_code == 200


@pytest.mark.parametrize("size", [0, 200_000])
def test_limit_req_with_a_delay(nginx, app, size):
    nginx.start(
        f"limit_req zone=one burst=1; {app}",
        http="limit_req_zone $arg_who zone=one:1m rate=1r/s;",
    )
    client = nginx.client()
    begun = time.monotonic()
    for _ in range(2):
        response = client.post("/x?who=a", content=b"x" * size)
        assert (response.status_code, len(response.content)) == (200, 5 + size)
    assert time.monotonic() - begun > 0.9


@pytest.mark.threads("one request waits, in a call, for what becomes of others")
@pytest.mark.parametrize("http2", [False, True])
def test_limit_conn(nginx, app, http2):
    nginx.start(
        f"limit_conn one 1; {app}",
        http="limit_conn_zone $arg_who zone=one:1m;",
        http2=http2,
    )
    first, second = (nginx.client(http2=http2) for _ in range(2))
    with ThreadPoolExecutor(1) as pool:
        for count in range(1, 3):
            waiting = pool.submit(first.get, f"/x?who=a&wait=gate{count}")
            nginx.wait_recorded("called", 3 * count - 2)
            assert second.get("/x?who=a").status_code == 503
            assert second.get("/x?who=b").status_code == 200
            nginx.open_gate(f"gate{count}")
            assert waiting.result().status_code == 200
            assert second.get("/x?who=a").status_code == 200
