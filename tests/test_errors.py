"""docs/errors.md against the code: each number, its level and its text, both ways."""

from __future__ import annotations

import re
from functools import cache

import pytest
from harness import PROJECT

PAGE = (PROJECT / "docs" / "errors.md").read_text("utf-8")
LIST = PROJECT / "src" / "bridge" / "code.rs"
ENTRY = re.compile(
    r"^### pywsgi\[(\d+)\]\n\n`([^`\n]+)` \((\w+)\)\n\n(.+?)(?=\n##|\Z)", re.M | re.S
)
# Who may write to a log without a code: the functions that the others use.
WRITERS = {
    "src/nginx/log.rs",
    # Lines that come with their code, or that are an application's.
    "src/nginx/request/lines.rs",
    # The same of the process that checks the configuration; and nginx's own function for errors.
    "src/nginx/conf/reading.rs",
}


def codes() -> dict[str, tuple[int, str]]:
    """The number and the level of each code."""
    found = re.findall(r"^    (\w+) = (\d+) (\w+),$", LIST.read_text(), re.M)
    return {name: (int(number), level.lower()) for name, number, level in found}


def entries() -> dict[int, tuple[str, str, str]]:
    """The text, the level and the explanation of each number."""
    found = ENTRY.findall(PAGE)
    assert len(found) == PAGE.count("\n### "), "an entry has another form"
    return {int(number): tuple(rest) for number, *rest in found}


@cache
def sources() -> dict[str, str]:
    files = [*(PROJECT / "src").rglob("*.rs"), *(PROJECT / "python-shim" / "pywsgi").rglob("*.py")]
    return {str(file.relative_to(PROJECT)): file.read_text("utf-8") for file in files}


@cache
def texts() -> str:
    """All that the code says, on one line: a string that is continued is joined."""
    rust = re.compile(r"\\\n\s*")
    python = re.compile(r'"\s*\n\s*f?"')
    whole = []
    for name, text in sources().items():
        text = rust.sub("", text) if name.endswith(".rs") else python.sub("", text)
        whole.append(text.replace('\\"', '"').replace("\\'", "'"))
    return "\n".join(whole)


def test_each_number_has_one_entry_and_each_entry_a_number():
    numbers = [number for number, _ in codes().values()]
    assert len(numbers) == len(set(numbers)) > 100
    assert sorted(numbers) == numbers, "the list is in order"
    documented = [int(number) for number in re.findall(r"^### pywsgi\[(\d+)\]$", PAGE, re.M)]
    assert documented == numbers


@pytest.mark.parametrize("name", codes())
def test_an_entry_has_the_level_and_the_words_of_its_message(name):
    number, level = codes()[name]
    text, documented, explanation = entries()[number]
    assert documented == level
    assert explanation.strip()
    # What stands between the parts that differ is in the code, word for word.
    missing = [part for part in text.split("…") if part not in texts()]
    assert not missing


def test_each_code_is_used():
    used = set()
    for file, text in sources().items():
        if file != "src/bridge/code.rs":
            used |= set(re.findall(r"\bCode::(\w+)", text)) | set(re.findall(r'"([A-Z]\w+)"', text))
    assert set(codes()) <= used, "a number that is no longer used stays so, and its entry goes"


def test_every_message_has_a_code():
    """Only these files use what writes without one; the types see to the rest."""
    raw = re.compile(
        r"log::(?:write|write_lines|write_output)\b|ngx_log_error_core|ngx_conf_log_error|pass_on\("
    )
    rust = {file: text for file, text in sources().items() if file.endswith(".rs")}
    users = {file for file, text in rust.items() if raw.search(text)}
    assert users - WRITERS == {"src/nginx/check/ask.rs"}, "use say!, or log::message"
    # A line that is made by hand could do without.
    made = {file for file, text in rust.items() if re.search(r"LogLine \{ (?!\()", text)}
    assert {file for file in made if "/tests" not in file and "/model" not in file} <= {
        "src/python/logging.rs"
    }, "use LogLine::new"
    for file, text in sources().items():
        if file.endswith(".py") and file != "python-shim/pywsgi/_log.py":
            assert "_sink" not in text, f"{file}: use log() or report()"


def test_the_python_part_names_codes_that_exist():
    calls = re.compile(r"(?<![.\w])(?:log|report|log_last|self\._say|self\._report)\(\s*\"(\w+)\"")
    named = {
        (file, name)
        for file, text in sources().items()
        if file.endswith(".py")
        for name in calls.findall(text)
    }
    assert len(named) > 10
    assert {name for _, name in named} <= set(codes())


def test_a_message_of_nginx_is_numbered(nginx):
    """As a user sees it: in the log of a worker, of a request, and of nginx -t."""
    app = nginx.app("app", "def application(environ, start_response): raise ValueError")
    nginx.start(f"wsgi_app {app};")
    assert nginx.client().get("/").status_code == 500
    assert re.search(r"\[notice\] \d+#\d+: pywsgi\[201\]: pywsgi \d", nginx.wait_log("with Python"))
    line = nginx.wait_log('app.py" raised')
    assert re.search(r'\[error\] \S+ \*\d+ pywsgi\[501\]: application "/', line)
    assert 'request: "GET / ' in line
    result = nginx.check(f"wsgi_app {app}; wsgi_timeout 1s; python_log x y;")
    assert re.search(r'\[emerg\] \S+ pywsgi\[101\]: python_log has "y"', result.stderr)
