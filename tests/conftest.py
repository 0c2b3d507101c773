"""The `nginx` fixture: each test has a server of its own, whose error log must be clean at the end.

Two markers leave tests out. `threads`: the test needs threads (`make test-inline` has none).
`unsanitized`: it is about signals, memory or address space that AddressSanitizer uses itself
(`make test-sanitize`).
"""

from __future__ import annotations

import shutil
import signal

import pytest
from harness import EXECUTOR, SANITIZED, Nginx, release_ports, temporary_root
from upgradable import upgradable

__all__ = ["upgradable"]

# A run in the background of a shell ignores it, and so would each program that a test starts.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def nginx(request):
    """An nginx that is not started yet. The test fails if its log or its exit shows a fault."""
    server = Nginx(temporary_root())
    request.node.nginx = server
    yield server
    faults = server.close()
    release_ports()
    if faults:
        pytest.fail("nginx's error log or exit:\n" + "\n".join(faults), pytrace=False)


@pytest.fixture
def fetch(nginx):
    """Sends one raw request on its own connection; returns the response as it was on the wire."""

    def ask(request: bytes | str = "GET / HTTP/1.1\r\nHost: x\r\n\r\n", *, head_only: bool = False):
        with nginx.connect() as connection:
            connection.send(request)
            return connection.response(head_only=head_only)

    return ask


def pytest_collection_modifyitems(config, items):
    """Deselects the tests that are marked as impossible in this run."""
    left_out = set()
    leaves = (
        ("threads", EXECUTOR == "inline"),
        ("in_worker", EXECUTOR == "process"),
        ("unsanitized", SANITIZED),
    )
    for marker, leaves_out in leaves:
        for item in items:
            mark = item.get_closest_marker(marker)
            if mark is None:
                continue
            if len(mark.args) != 1 or not isinstance(mark.args[0], str):
                raise pytest.UsageError(f"{item.nodeid}: {marker}(reason) is without its reason")
            if leaves_out:
                left_out.add(item)
    if left_out:
        config.hook.pytest_deselected(items=list(left_out))
        items[:] = [item for item in items if item not in left_out]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Adds nginx.conf and the end of the error log to the report of a failed test."""
    report = yield
    server = getattr(item, "nginx", None)
    if server is None:
        return report
    if report.failed:
        item.nginx_failed = True
        if server.config.exists():
            report.sections.append(("nginx.conf", server.config.read_text()))
        log = server.error_log()
        report.sections.append(("error.log (end)", log[-6000:]))
    if report.when == "teardown" and not getattr(item, "nginx_failed", False):
        shutil.rmtree(server.root, ignore_errors=True)
    return report
