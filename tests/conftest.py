"""The `nginx` fixture: a server of its own for each test, whose log must be clean at the end."""

from __future__ import annotations

import shutil

import pytest
from harness import Nginx, temporary_root


@pytest.fixture
def nginx(request):
    """An nginx that is not started. Its faults at the end fail the test."""
    server = Nginx(temporary_root())
    request.node.nginx = server
    yield server
    faults = server.close()
    if faults:
        pytest.fail("nginx's error log or exit:\n" + "\n".join(faults), pytrace=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Adds the configuration and the end of the error log to what is shown of a failed test."""
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
