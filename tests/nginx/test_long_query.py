"""examples/long_query: a running query ends with its client."""

from __future__ import annotations

from harness import PROJECT
from rawhttp import wait_for

EXAMPLE = PROJECT / "examples" / "long_query" / "wsgi.py"


def test_the_query_ends_with_its_client(nginx):
    app = nginx.app("wsgi", EXAMPLE.read_text())
    nginx.start(f"wsgi_app {app};", http="python_thread_pool default threads=1;")
    client = nginx.client()
    assert client.get("/?rows=100").text == "100 rows, 5050 in all\n"
    with nginx.connect() as connection:
        connection.get("/?rows=100000000000")
        # The query runs: the only thread is busy.
        (worker,) = nginx.workers()
        before = _cpu(worker)
        wait_for(lambda: _cpu(worker) > before + 10, what="the query to run")
    assert "the query was cancelled: interrupted" in nginx.wait_log("the query was cancelled")
    assert client.get("/").text.startswith("1000 rows")


def _cpu(pid: int) -> int:
    """Its processor time, in hundredths of a second."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])
