"""wsgi_buffering, asgi_*, its sizes and its folder: where a response waits for a slow client."""

from __future__ import annotations

import pytest
from directives.flow import EXPECTED, TOTAL, Flow

# What the kernel's buffers and one block in flight may add to the limits.
SLACK = 4 * 1024 * 1024


@pytest.fixture
def flow(nginx, protocol):
    """An application of 32 MB and a client that does not read them."""
    return Flow(nginx, protocol=protocol)


def finish(connection) -> None:
    """Reads the rest of the response and checks every byte."""
    answer = connection.response()
    assert answer.complete
    assert answer.body == b"".join(EXPECTED)


def test_on_a_slow_client_holds_no_thread(nginx, protocol, flow):
    nginx.start(
        f"{protocol}_app {flow.app};",
        http=f"python_thread_pool default threads=1; {protocol}_max_temp_file_size 1024m;",
        listen=Flow.LISTEN,
    )
    with flow.slow() as connection:
        flow.wait_closed()
        assert flow.given() == TOTAL
        assert nginx.client().get("/").text == "quick", "the only thread is free"
        assert len(flow.files()) >= 1
        finish(connection)
    assert nginx.client().get("/").text == "quick"


@pytest.mark.parametrize(
    ("location", "path"),
    [
        ("{}_buffering off;", "/?blocks"),
        ("{}_max_temp_file_size 0;", "/?blocks"),
        ("{}_buffering on;", "/?blocks&accel=no"),
        ("{}_buffering off;", "/?blocks&accel=no"),
    ],
)
def test_off_the_application_waits_beyond_the_buffer(nginx, protocol, flow, location, path):
    nginx.start(f"{protocol}_app {flow.app}; {location.format(protocol)}", listen=Flow.LISTEN)
    with flow.slow(path) as connection:
        assert flow.wait_stalled() < SLACK
        assert not flow.is_closed()
        assert flow.files() == []
        assert nginx.client().get("/").text == "quick", "another thread serves meanwhile"
        finish(connection)
    flow.wait_closed()


def test_the_application_s_header_switches_it_on(nginx, protocol, flow):
    nginx.start(
        f"{protocol}_app {flow.app}; {protocol}_buffering off;",
        http=f"{protocol}_max_temp_file_size 1024m;",
        listen=Flow.LISTEN,
    )
    with flow.slow("/?blocks&accel=yes") as connection:
        flow.wait_closed()
        finish(connection)


def test_the_header_is_not_shown_to_the_client(nginx, protocol, flow):
    nginx.start(f"{protocol}_app {flow.app};")
    answer = nginx.client().get("/?blocks&accel=no")
    assert answer.content == b"".join(EXPECTED)
    assert "x-accel-buffering" not in answer.headers


def test_buffer_size(nginx, protocol, flow):
    nginx.start(
        f"{protocol}_app {flow.app}; {protocol}_buffering off; {protocol}_buffer_size 12m;",
        listen=Flow.LISTEN,
    )
    with flow.slow() as connection:
        given = flow.wait_stalled()
        assert 11 * 1024 * 1024 < given < 12 * 1024 * 1024 + SLACK
        finish(connection)


def test_max_temp_file_size(nginx, protocol, flow):
    nginx.start(
        f"{protocol}_app {flow.app}; {protocol}_buffer_size 1m; {protocol}_max_temp_file_size 8m;",
        listen=Flow.LISTEN,
    )
    with flow.slow() as connection:
        given = flow.wait_stalled()
        assert 8 * 1024 * 1024 < given < 9 * 1024 * 1024 + SLACK
        assert not flow.is_closed()
        finish(connection)
    flow.wait_closed()


def test_a_file_by_default_for_wsgi_alone(nginx, protocol, flow):
    nginx.start(f"{protocol}_app {flow.app};", listen=Flow.LISTEN)
    with flow.slow() as connection:
        if protocol.is_wsgi:
            flow.wait_closed()
            assert flow.files()
        else:
            assert flow.wait_stalled() < SLACK
            assert flow.files() == []
        finish(connection)


def test_a_large_enough_buffer_needs_no_file(nginx, protocol, flow):
    nginx.start(
        f"{protocol}_app {flow.app}; {protocol}_buffer_size 40m;",
        http=f"{protocol}_max_temp_file_size 1024m;",
        listen=Flow.LISTEN,
    )
    with flow.slow() as connection:
        flow.wait_closed()
        assert flow.files() == []
        finish(connection)


def test_temp_path_with_levels(nginx, protocol, flow):
    folder = nginx.root / "tmp" / "own"
    nginx.start(
        f"{protocol}_app {flow.app}; {protocol}_temp_path {folder} 1 2;",
        http=f"{protocol}_max_temp_file_size 1024m;",
        listen=Flow.LISTEN,
    )
    assert folder.is_dir(), "nginx makes the folder, as it makes the others"
    with flow.slow() as connection:
        flow.wait_closed()
        files = flow.files()
        assert files
        for file in files:
            assert file.startswith(f"{folder}/")
        finish(connection)
    left = [path for path in folder.rglob("*") if path.is_file()]
    assert left == [], "the file was unlinked when it was made"


def test_temp_path_relative_to_the_prefix(nginx, protocol, flow):
    nginx.start(
        f"{protocol}_app {flow.app}; {protocol}_temp_path tmp/relative;",
        http=f"{protocol}_max_temp_file_size 1024m;",
        listen=Flow.LISTEN,
    )
    assert (nginx.root / "tmp" / "relative").is_dir()
    with flow.slow() as connection:
        flow.wait_closed()
        assert any(f"{nginx.root}/tmp/relative/" in file for file in flow.files())
        finish(connection)


def test_a_client_that_leaves_ends_the_iteration_and_the_file(nginx, protocol, flow):
    nginx.start(f"{protocol}_app {flow.app}; {protocol}_max_temp_file_size 8m;", listen=Flow.LISTEN)
    connection = flow.slow()
    flow.wait_stalled()
    connection.reset()
    flow.wait_closed()
    assert flow.given() < TOTAL
    assert nginx.client().get("/").text == "quick"
    assert flow.files() == []


@pytest.mark.parametrize(
    ("path", "waits"),
    [
        ("/?blocks", True),
        ("/on/?blocks", False),
        ("/on/below/?blocks", False),
        ("/on/off/?blocks", True),
        ("/on/?blocks&if=1", False),
    ],
)
def test_inheritance(nginx, protocol, flow, path, waits):
    app = f"{protocol}_app {flow.app};"
    nginx.start(
        app,
        http=f"{protocol}_buffering off; {protocol}_max_temp_file_size 1024m;",
        listen=Flow.LISTEN,
        server=f"""
        location /on/ {{
            {protocol}_buffering on;
            {app}
            if ($arg_if) {{ set $x 1; }}
            location /on/below/ {{ {app} }}
            location /on/off/ {{ {protocol}_buffering off; {app} }}
        }}
        """,
    )
    with flow.slow(path) as connection:
        if waits:
            assert flow.wait_stalled() < SLACK
        else:
            flow.wait_closed()
        finish(connection)


@pytest.mark.parametrize(
    ("path", "megabytes"), [("/?blocks", 4), ("/own?blocks", 12), ("/below?blocks", 8)]
)
def test_sizes_are_inherited(nginx, protocol, flow, path, megabytes):
    app = f"{protocol}_app {flow.app};"
    nginx.start(
        app,
        http=f"{protocol}_buffer_size 1m; {protocol}_max_temp_file_size 3m;",
        listen=Flow.LISTEN,
        server=f"""
        location /own {{ {app} {protocol}_buffer_size 9m; }}
        location /below {{ {app} {protocol}_max_temp_file_size 7m; }}
        """,
    )
    size = megabytes * 1024 * 1024
    with flow.slow(path) as connection:
        given = flow.wait_stalled()
        assert size - 1024 * 1024 < given < size + SLACK
        finish(connection)


# Mistakes (those that all sizes and flags share are in test_contexts.py)


@pytest.mark.parametrize("value", ["0", "0k"])
def test_a_buffer_of_nothing(refused, protocol, flow, value):
    refused(
        f"{protocol}_buffer_size",
        f"{protocol}_buffer_size",
        location=f"{protocol}_app {flow.app};\n{protocol}_buffer_size {value};",
    )


def test_wrong_levels_of_temp_path(refused, protocol, flow):
    refused(f"{protocol}_temp_path", "invalid value", location=f"{protocol}_temp_path tmp/x 0;")
    refused(f"{protocol}_temp_path", "invalid value", location=f"{protocol}_temp_path tmp/x one;")
