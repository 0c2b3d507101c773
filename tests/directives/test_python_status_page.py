"""python_status html: the page, in a browser."""

from __future__ import annotations

import contextlib
import re

import pytest
from browser import CHROMIUM, Browser
from rawhttp import wait_for

pytestmark = [
    pytest.mark.skipif(not CHROMIUM.exists(), reason="there is no chromium"),
    pytest.mark.threads("it shows how many threads of a pool are busy"),
]

STATUS = "location = /status { python_status; }"
HTTP = "python_thread_pool default threads=1 max_queue=5;"

APP = """
    from testkit import gate

    def application(environ, start_response):
        query = environ["QUERY_STRING"]
        if query == "raise":
            raise KeyError("no such thing")
        if query == "wait":
            gate("open")
        start_response("404 Not Found" if query == "missing" else "200 OK", [])
        return [b"text"]
"""


@pytest.fixture(scope="module")
def look():
    """`look(url)` opens that page in a browser."""
    with contextlib.closing(Browser()) as browser:
        yield browser.open


class Tables:
    """What the tables of the page say."""

    def __init__(self, page) -> None:
        self.page = page

    def row(self, table: str, first: str) -> dict[str, str]:
        """The cells of a row, by their heads; `first` is in its first one."""
        script = """
            Array.from(document.querySelectorAll("#%s tbody tr"), row =>
                Array.from(row.cells).filter(cell => !cell.hidden)
                    .map(cell => [cell.dataset.head, cell.textContent.trim()]))
        """
        rows = [dict(row) for row in self.page.evaluate(script % table)]
        return next((row for row in rows if first in next(iter(row.values()))), {})

    def wait(self, table: str, first: str, **cells: str) -> None:
        """Waits until that row has these cells; `_` stands for a blank."""
        wanted = {name.replace("_", " "): text for name, text in cells.items()}
        wait_for(
            lambda: wanted.items() <= self.row(table, first).items(),
            60,
            f"{wanted} in {table} (it has {self.row(table, first)})",
        )


def test_the_page_shows_the_numbers_and_keeps_itself_current(nginx, look, background):
    """Also that nginx is gone, and that it is back."""
    name = "a<i>b&amp;"
    app = nginx.app(name, APP)
    nginx.start(f"wsgi_app '{app}';", server=STATUS, http=HTTP)
    client = nginx.client()
    for query in ("", "missing", "raise"):
        client.get(f"/?{query}")
    page = look(nginx.url("/status"))
    tables = Tables(page)
    tables.wait("trouble", name, exceptions="1")
    tables.wait("workers", "0", requests="3", state="serving", threads_busy="0 of 1")
    tables.wait("pools", "default", busy="0 of 1", written_off="0", waiting="0 of 5")
    assert page.evaluate("document.querySelectorAll('main i:not([class])').length") == 0
    assert page.text("#alarms") != ""

    # What comes while it is open is seen without a reload of it.
    page.wait("samples.length > 1")
    waiting = [background("/?wait") for _ in range(3)]
    tables.wait("apps", name, in_flight="3")
    tables.wait("pools", "default", busy="1 of 1", waiting="2 of 5")
    assert page.evaluate("document.querySelector('#pools .bar').ariaLabel") == "1 busy"
    page.wait("document.querySelector('#alarms').textContent.includes('1 of 1 threads are busy')")
    # "Where are they now?"
    page.wait("!document.querySelector('#where').hidden")
    page.evaluate("document.querySelector('#ask').click()")
    page.wait("!document.querySelector('#stacks').hidden")
    stacks = page.text("#stacks")
    assert "3 requests in flight" in stacks
    assert '"GET /?wait"' in stacks and 'gate("open")' in stacks

    nginx.open_gate("open")
    client.get("/?raise")
    assert {answer.result().status_code for answer in waiting} == {200}
    tables.wait("apps", name, in_flight="0")
    tables.wait("trouble", name, exceptions="2 +1")
    assert tables.row("apps", name)["5xx/s"] != "0"

    # A paused page says so, and goes on when it is asked to.
    page.evaluate("document.querySelector('#pause').click()")
    page.wait("document.querySelector('#age').textContent.startsWith('paused')")
    page.evaluate("document.querySelector('#pause').click()")
    page.wait("document.querySelector('#age').textContent === 'live'")

    # A hidden one asks nothing, until it is seen again.
    page.wait("!isAsking")
    page.evaluate(HIDE)
    page.evaluate("void refresh()")
    page.wait("!isAsking && samples.length > 1")
    assert page.evaluate("started") == 0
    page.evaluate("isHidden = false; void document.dispatchEvent(new Event('visibilitychange'))")
    page.wait("started > 0")

    nginx.stop()
    said = page.wait("!document.querySelector('#gone').hidden && document.title")
    assert said.startswith("(!) no answer")
    gone = re.compile(r"nginx does not answer\. These numbers are \d+\u00a0s old\.")
    wait_for(lambda: gone.search(page.text("#gone")), 60, "the age of the numbers")
    tables.wait("workers", "0", requests="7")

    nginx.start(f"wsgi_app '{app}';", server=STATUS, http=HTTP)
    page.wait("document.querySelector('#gone').hidden")
    tables.wait("workers", "0", requests="0")
    assert "Nothing" in page.text("#trouble")


# Hides the page, and counts from then on how often it wants to ask later.
HIDE = """
    var isHidden = true, started = 0, later = window.setTimeout;
    window.setTimeout = (call, delay) => {
        started += call === refresh;
        return later(call, delay);
    };
    Object.defineProperty(document, "hidden", { get: () => isHidden });
    void document.dispatchEvent(new Event("visibilitychange"));
"""


def test_its_quantiles_are_those_of_the_module(nginx, look):
    app = nginx.app("app", APP)
    nginx.start(f"wsgi_app {app};", server=STATUS)
    for _ in range(20):
        nginx.client().get("/")
    page = look(nginx.url("/status"))
    [known] = nginx.client().get("/status?format=json").json()["applications"]
    for name, histogram in known["times"].items():
        for part in (0.5, 0.9, 0.99):
            found = page.evaluate(f"quantile({to_script(histogram['buckets'])}, {part})")
            assert found == pytest.approx(histogram[f"p{part * 100:.0f}"], abs=1e-8), name


def to_script(buckets: list) -> str:
    return repr(buckets).replace("None", "null")


def test_it_fits_into_a_phone(nginx, look):
    """With long names, which are not cut off."""
    folder = "/".join(["customers", "of-a-company-with-a-long-name", "production"])
    apps = [nginx.app(f"{folder}/{name}/wsgi.py", APP) for name in ("shop", "back-office")]
    locations = [f"location /{at} {{ wsgi_app {app}; }}" for at, app in enumerate(apps)]
    nginx.start(server="\n".join([STATUS, *locations]))
    page = look("about:blank#narrow")
    for width in (360, 1400):
        options = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
        page._call("Emulation.setDeviceMetricsOverride", **options)
        page.go(nginx.url("/status"))
        page.wait("document.querySelectorAll('#apps tbody tr').length === 2")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        names = page.evaluate(
            "Array.from(document.querySelectorAll('#apps tbody th'), e => e.title)"
        )
        assert names == [str(app) for app in apps]
