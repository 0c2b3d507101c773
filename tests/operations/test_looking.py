"""What a worker is doing: py-spy, faulthandler, and the lines that the page explains."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from harness import PROJECT
from operations.conftest import PAGE

PY_SPY = Path(sys.prefix) / "bin" / "py-spy"


@pytest.fixture
def held(nginx, protocol):
    """Starts nginx with an application that waits in `looked_for`; the worker's pid."""
    app = protocol.app(
        "app",
        """
        import sys
        from testkit import gate, record

        def looked_for():
            record("entered")
            gate("go")

        async def answer(request):
            looked_for()
            await request.respond(repr(sorted(sys._xoptions)).encode())
        """,
    )

    def start(**options) -> int:
        nginx.start(f"{protocol}_app {app};", **options)
        connection = nginx.connect()
        connection.get("/")
        nginx.wait_recorded("entered")
        return nginx.workers()[0]

    yield start
    nginx.open_gate("go")


@pytest.mark.unsanitized("py-spy does not know such a process")
@pytest.mark.skipif(not PY_SPY.exists(), reason="there is no py-spy for this Python")
def test_py_spy(nginx, recipes, protocol, held):
    dump = recipes.block("sh", "py-spy").splitlines()[0]
    script = dump.replace("WORKER", str(held())).replace("py-spy", str(PY_SPY), 1)
    done = recipes.shell(script)
    if "Permission denied" in done.stderr:
        pytest.skip("no process may look into another one here")
    assert done.returncode == 0, done.stderr
    thread = "py-default-1" if protocol.is_wsgi else "MainThread"
    stack = done.stdout.partition(f'"{thread}"')[2].partition("\nThread")[0]
    assert "looked_for (app.py" in stack


@pytest.mark.unsanitized("it handles these signals itself")
def test_faulthandler_on_a_signal(nginx, recipes, protocol, held):
    register = recipes.block("python", "faulthandler")
    app = nginx.apps / "app.py"
    app.write_text(register + app.read_text())
    worker = held(http=recipes.block("nginx", "faulthandler"))
    done = recipes.shell(recipes.block("sh", "faulthandler").replace("WORKER", str(worker)))
    assert done.returncode == 0, done.stderr
    nginx.wait_log("in looked_for")
    assert nginx.workers() == [worker]


def alarms() -> list[str]:
    """The lines of the log that the page explains."""
    table = PAGE[PAGE.index("\n## Alarms\n") :]
    rows = re.findall(r"^\| `([^`]+)` \((?:alert|crit|emerg|error|warn|notice)", table, re.M)
    assert len(rows) > 8
    return rows


# nginx's own.
NGINX_SAYS = {
    "worker process … exited on signal",
    "Too many open files",
    "worker_connections are not enough",
}


@pytest.mark.parametrize("line", [line for line in alarms() if line not in NGINX_SAYS])
def test_the_module_says_what_the_page_explains(line):
    sources = [path.read_text() for path in (PROJECT / "src").rglob("*.rs")]
    # A message that goes over two lines, and its values.
    joined = [re.sub(r"\\\n\s*", "", text) for text in sources]
    pattern = (
        re.escape(line).replace("…", r"[^\n]*?").replace(r"wsgi_queue", r"(?:\{\}|wsgi)_queue")
    )
    assert any(re.search(pattern, text) for text in joined), line


def test_nginx_says_the_others():
    assert set(alarms()) > NGINX_SAYS


@pytest.mark.parametrize(
    "name", ["sh", "nginx", "python"], ids=["shell", "configuration", "python"]
)
def test_each_block_has_a_name(name):
    """And so a test."""
    assert not re.findall(rf"^```{name}$", PAGE, re.M)
    names = re.findall(rf"^```{name} (\S+)$", PAGE, re.M)
    tests = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    for each in names:
        assert f'"{name}", "{each}"' in tests
