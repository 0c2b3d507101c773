"""The `nginx` fixture: a server of its own for each test, whose log must be clean at the end.

And the marker `threads`, for `make test-inline`: what cannot be so where the event loop itself runs
the application.
"""

from __future__ import annotations

import shutil

import pytest
from harness import EXECUTOR, Nginx, release_ports, temporary_root


@pytest.fixture
def nginx(request):
    """An nginx that is not started. Its faults at the end fail the test."""
    server = Nginx(temporary_root())
    request.node.nginx = server
    yield server
    faults = server.close()
    release_ports()
    if faults:
        pytest.fail("nginx's error log or exit:\n" + "\n".join(faults), pytrace=False)


def pytest_collection_modifyitems(config, items):
    """Leaves out, under another executor, the tests that say why they are about threads."""
    about_threads = []
    for item in items:
        for mark in item.iter_markers("threads"):
            if len(mark.args) != 1 or not isinstance(mark.args[0], str):
                raise pytest.UsageError(f"{item.nodeid}: threads(reason) is without its reason")
            about_threads.append(item)
            break
    if EXECUTOR == "threads" or not about_threads:
        return
    config.hook.pytest_deselected(items=about_threads)
    items[:] = [item for item in items if item not in set(about_threads)]


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
