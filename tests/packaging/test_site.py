"""The site that `make site` has made: its links, and its pages in a browser, from the disk."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from browser import Browser
from harness import PROJECT

SITE = Path(os.environ.get("PYWSGI_SITE", PROJECT / "target/site"))
HTML = SITE / "html"
PAGES = sorted(HTML.rglob("*.html"))
BUILDER = PROJECT / ".ci" / "site" / "build.py"
PYTHON = SITE.parent / "site-venv" / "bin" / "python"

PHONE, DESKTOP = (360, 740), (1400, 900)


LOADED = ("stylesheet", "icon", "preload", "modulepreload")


class Elements(HTMLParser):
    """The links of a page, what it loads, its anchors, and the links of its navigation."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.anchors: list[str] = []
        self.feed(page.read_text())

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attributes}
        if "id" in values:
            self.anchors.append(values["id"])
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        elif tag == "link" and values.get("rel") in LOADED:
            self.loaded.append(values["href"])
        elif "src" in values:
            self.loaded.append(values["src"])


ELEMENTS = {page: Elements(page) for page in PAGES}


def relative(page: Path) -> str:
    return str(page.relative_to(HTML))


def test_the_site_is_made():
    assert HTML / "index.html" in PAGES
    assert len(PAGES) > 100


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_links_of_a_page(page):
    """Each link goes to a file of the site, with its anchor, or has the form of an address."""
    wrong = []
    for link in ELEMENTS[page].links:
        parts = urlsplit(link)
        if parts.scheme:
            if not re.fullmatch(r"https?|mailto", parts.scheme) or (
                parts.scheme != "mailto" and not re.fullmatch(r"[\w.-]+\.\w+(:\d+)?", parts.netloc)
            ):
                wrong.append(link)
            continue
        target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
        if target.is_dir():
            target /= "index.html"
        right = target.is_file() and target.is_relative_to(HTML)
        if right and parts.fragment:
            right = unquote(parts.fragment) in ELEMENTS[target].anchors
        if not right:
            wrong.append(link)
    assert wrong == []


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_a_page_loads_nothing_from_elsewhere(page):
    missing = []
    for source in ELEMENTS[page].loaded:
        parts = urlsplit(source)
        if parts.scheme == "data":
            continue
        assert not parts.scheme, source
        assert not parts.netloc, source
        if not (page.parent / unquote(parts.path)).is_file():
            missing.append(source)
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_a_page_has_each_anchor_once(page):
    anchors = ELEMENTS[page].anchors
    assert sorted(anchors) == sorted(set(anchors))


def test_every_page_of_the_documentation_is_in_the_navigation():
    linked = {
        (HTML / unquote(urlsplit(link).path)).resolve()
        for link in ELEMENTS[HTML / "index.html"].links
        if not urlsplit(link).scheme
    }
    documents = [path.relative_to(PROJECT / "docs") for path in (PROJECT / "docs").rglob("*.md")]
    pages = [str(path.with_suffix(".html")).replace("README", "index") for path in documents]
    assert [page for page in sorted(pages) if HTML / page not in linked] == []


def test_every_directive_is_in_the_index_by_name():
    text = (HTML / "directives" / "by-name.html").read_text()
    titles = [
        path.read_text().partition("\n")[0].removeprefix("# ").split(", ")
        for path in (PROJECT / "docs" / "directives").glob("*_*.md")
    ]
    names = sorted(name for title in titles for name in title)
    assert re.findall(r"<td><a href=\"\w+\.html\">(\w+)</a></td>", text) == names
    assert f"All {len(names)} directives by name" in text


def build(project: Path, folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    builder = project / BUILDER.relative_to(PROJECT)
    return subprocess.run(
        [*command, PYTHON, "-B", builder, folder], capture_output=True, text=True, timeout=280
    )


def test_it_is_built_without_a_network(tmp_path):
    """The same site, in a network namespace that has nothing."""
    unshare = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--net"]
    done = build(PROJECT, tmp_path, *unshare)
    assert done.returncode == 0, done.stdout + done.stderr
    html = tmp_path / "html"
    made = sorted(path.relative_to(html) for path in html.rglob("*.html"))
    assert made == [page.relative_to(HTML) for page in PAGES]


@pytest.mark.parametrize(
    ("link", "said"),
    [
        ("[x](docs/nowhere.md)", "docs/nowhere.md"),
        ("[x](docs/errors.md#nowhere)", "anchor does not exist"),
        ("[x](#nowhere)", "anchor does not exist"),
    ],
)
def test_a_broken_link_fails_the_build(tmp_path, link, said):
    """Also one of an anchor, on the same page or on another."""
    copy = tmp_path / "project"
    shutil.copytree(PROJECT, copy, ignore=shutil.ignore_patterns("target", ".git", "__pycache__"))
    with (copy / "README.md").open("a") as page:
        page.write(f"\n{link}\n")
    done = build(copy, tmp_path / "site")
    assert done.returncode != 0
    assert said in done.stdout + done.stderr


# In a browser


@pytest.fixture(scope="module")
def page():
    """A page of a browser that resolves no names; what goes wrong in it is kept."""
    browser = Browser("--host-resolver-rules=MAP * ~NOTFOUND")
    try:
        opened = browser.open("about:blank#ready")
        opened.watch()
        yield opened
    finally:
        browser.close()


def show(page, path: Path, size: tuple[int, int], scheme: str = "light") -> None:
    page.size(*size)
    page.prefer(scheme)
    page.go(path.as_uri())
    page.wait("document.documentElement.classList.contains('js')")


# What is wider than the window, outside of what scrolls by itself.
OVERFLOW = """
(() => {
  const wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
  return wide > 0 ? `the page is ${wide} px too wide` : "";
})()
"""


@pytest.mark.parametrize("path", PAGES, ids=relative)
def test_a_page_fits_a_phone_and_a_desktop(page, path):
    """No horizontal overflow, light and dark, and no error in the console."""
    show(page, path, DESKTOP, "dark")
    assert page.evaluate(OVERFLOW) == ""
    # As a turned or a resized window does it, without loading the page again.
    page.size(*PHONE)
    page.prefer("light")
    page.wait(f"innerWidth === {PHONE[0]}")
    assert page.evaluate(OVERFLOW) == ""
    assert page.errors() == []


@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_the_search_finds_a_directive(page, size):
    """From the disk, where no server answers; its first result is the directive's page."""
    show(page, HTML / "index.html", size)
    page.evaluate("document.querySelector('.md-search__button').click()")
    # It is in a shadow tree, which has the focus while it is open.
    within = "document.activeElement.shadowRoot"
    page.wait(f"{within}?.activeElement?.tagName === 'INPUT'")
    page.type("wsgi_timeout")
    page.wait(f"{within}.querySelector('a')?.textContent.includes('wsgi_timeout')")
    page.evaluate(f"{within}.querySelector('a').click()")
    page.wait("location.pathname.endsWith('/directives/wsgi_timeout.html')")
    page.wait("document.querySelector('h1')?.textContent.startsWith('wsgi_timeout')")
    assert page.errors() == []


def test_the_reader_chooses_light_or_dark(page):
    """The system's choice at first, and another one with the button, which a later page keeps."""
    scheme = "document.body.dataset.mdColorScheme"
    show(page, HTML / "index.html", DESKTOP, "dark")
    assert page.evaluate(scheme) == "slate"
    show(page, HTML / "index.html", DESKTOP, "light")
    assert page.evaluate(scheme) == "default"
    page.prefer("dark")
    page.wait(f"{scheme} === 'slate'")
    # From the system's to light.
    button = "[data-md-component=palette] label:not([hidden])"
    page.evaluate(f"document.querySelector('{button}').click()")
    page.wait(f"{scheme} === 'default'")
    page.go((HTML / "errors.html").as_uri())
    page.wait(f"{scheme} === 'default'")
    page.evaluate("localStorage.clear()")


def test_a_phone_has_the_navigation_in_a_drawer(page):
    show(page, HTML / "index.html", PHONE)
    there = "document.querySelector('.md-nav--primary').getBoundingClientRect().right > 0"
    assert not page.evaluate(there)
    page.evaluate("document.querySelector('label[for=__drawer]').click()")
    page.wait(there)


def test_pictures_follow_the_page(page):
    """A picture's own dark colours are those of a dark page."""
    show(page, HTML / "index.html", DESKTOP, "dark")
    picture = "document.querySelector('article img')"
    assert page.evaluate(f"getComputedStyle({picture}).colorScheme") == "dark"
    pictures = "[...document.querySelectorAll('article img')]"
    assert page.evaluate(f"{pictures}.length") >= 2
    shown = "each => each.complete && each.naturalWidth > 0 && each.alt !== ''"
    assert page.evaluate(f"{pictures}.every({shown})")
