"""The page of `wsgi_debug traceback`."""

from __future__ import annotations

import html
import re
from html.parser import HTMLParser

import pytest

from pywsgi._debug_page import page

REPORT = (
    'Traceback (most recent call last):\n  File "app.py", line 3, in application\n'
    "    1 < 2 & \"3\"\nValueError: <script>alert('1')</script>\n"
)


class Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def test_html_shows_all_of_it_and_runs_none_of_it() -> None:
    media_type, body = page(REPORT, "GET /<b>?a=1", True, "wsgi_debug")
    assert media_type == "text/html; charset=utf-8"
    parser = Text()
    parser.feed(body.decode())
    assert "script" not in parser.tags
    assert "b" not in parser.tags
    assert REPORT.strip() in parser.text
    assert "GET /<b>?a=1" in parser.text
    assert "wsgi_debug" in parser.text
    assert parser.text.count("ValueError: <script>") == 3  # title, heading, report


def test_text_for_who_wants_no_html() -> None:
    media_type, body = page(REPORT, "GET /", False, "asgi_debug")
    assert media_type == "text/plain; charset=utf-8"
    assert b"because asgi_debug is on for this location" in body
    assert body.decode().startswith("GET /\n\nTraceback")
    assert REPORT in body.decode()


def test_what_utf_8_cannot_say_is_escaped() -> None:
    for wants_html in (True, False):
        assert b"\\udcff" in page("ValueError: \udcff", "GET /", wants_html, "wsgi_debug")[1]


def test_a_report_without_an_exception_is_a_page() -> None:
    assert b"<title>Error</title>" in page("", "GET /", True, "wsgi_debug")[1]


FRAME = '  File "app.py", line 3, in application\n    fails()\n'
BEGIN = f"Traceback (most recent call last):\n{FRAME}"
LONG = 3_000_000


@pytest.mark.parametrize("wants_html", [True, False])
@pytest.mark.parametrize(
    "message",
    ["x" * LONG, "x\n" * (LONG // 2), "'" * LONG, "\U0001f40d" * LONG, " ".join(["word"] * LONG)],
)
def test_a_message_of_any_length_is_a_page_that_a_browser_can_show(
    message: str, wants_html: bool
) -> None:
    report = f"{BEGIN}ValueError: {message}\nthe last note\n"
    text = page(report, f"GET /{'a' * LONG}", wants_html, "wsgi_debug")[1].decode()
    assert len(text.encode()) < 2_000_000
    assert re.search(r"\[\d+ characters are left out\]", text)
    text = html.unescape(text)
    # The text before and after it is kept.
    assert BEGIN + "ValueError: " in text
    assert "\nthe last note\n" in text.replace("</pre>", "\n")


def test_what_is_left_out_is_counted() -> None:
    text = page("a" * 10_000 + "b" * 10_000, "GET /", False, "wsgi_debug")[1].decode()
    found = re.search(r"(a+) \[(\d+) characters are left out\] (b+)\n", text)
    assert found
    assert len(found[1]) == len(found[3])
    assert len(found[1]) + int(found[2]) + len(found[3]) == 20_000


def test_a_cause_with_a_long_message_hides_no_effect() -> None:
    report = (
        f"{BEGIN}KeyError: {'x' * LONG}\n\nDuring handling of the above exception, another "
        f"exception occurred:\n\n{BEGIN}LookupError: effect\n"
    )
    text = page(report, "GET /", True, "wsgi_debug")[1].decode()
    assert "<h1>LookupError: effect</h1>" in text
    assert "KeyError: xxx" in text


@pytest.mark.parametrize(
    ("report", "title"),
    [
        (f"{BEGIN}ValueError: one\n  two\nthree\n", "ValueError: one"),
        (f"{BEGIN}ValueError: one\na note\nanother note\n", "ValueError: one"),
        (
            f"{BEGIN}KeyError: 'cause'\n\nDuring handling of the above exception, another "
            f"exception occurred:\n\n{BEGIN}LookupError: effect\n",
            "LookupError: effect",
        ),
        (
            f'{BEGIN}  File "b.py", line 1\n    a b\n    ^^^\nSyntaxError: invalid syntax\n',
            "SyntaxError: invalid syntax",
        ),
        (
            '  + Exception Group Traceback (most recent call last):\n  |   File "app.py", line 3\n'
            "  | ExceptionGroup: several (1 sub-exception)\n  +-+---------------- 1 ------------\n"
            "    | Traceback (most recent call last):\n    | ValueError: one\n"
            "    +------------------------------------\n",
            "ExceptionGroup: several (1 sub-exception)",
        ),
        ("ValueError: without a traceback\na note\n", "ValueError: without a traceback"),
        ("application returned None", "application returned None"),
    ],
)
def test_the_heading_names_the_exception(report: str, title: str) -> None:
    found = re.search(
        r"<h1>(.*?)</h1>", page(report, "GET /", True, "wsgi_debug")[1].decode(), re.S
    )
    assert found
    assert html.unescape(found[1]) == title
