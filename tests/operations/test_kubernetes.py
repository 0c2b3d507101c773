"""deploy/kubernetes without its tools: files that agree, and the sum of the times in which a pod
drains. What needs Helm and the API's schemas is in packaging/test_kubernetes.py."""

from __future__ import annotations

import pytest
import yaml
from harness import PROJECT
from pods import exit_time, missing, seconds

KUBERNETES = PROJECT / "deploy" / "kubernetes"
CONFIGURATION = (PROJECT / "docker" / "nginx.conf").read_text()
DEPLOYMENT = yaml.safe_load((KUBERNETES / "base" / "deployment.yaml").read_text())
POD = DEPLOYMENT["spec"]["template"]["spec"]


def test_the_base_has_the_container_s_configuration():
    assert (KUBERNETES / "base" / "nginx.conf").read_text() == CONFIGURATION


def test_a_pod_has_the_time_to_drain():
    assert exit_time(CONFIGURATION) == 47
    assert missing(CONFIGURATION, POD) == -3


@pytest.mark.parametrize(
    ("old", "new", "lacks"),
    [
        ("python_drain_timeout 30s;", "python_drain_timeout 1m;", 22),
        ("worker_shutdown_timeout 35s;", "worker_shutdown_timeout 39;", 1),
        ("shutdown_timeout=10s;", "shutdown_timeout=5m;", 287),
        ("python_finalize on timeout=2s;", "python_finalize on timeout=6s;", 1),
        ("python_finalize on timeout=2s;", "python_finalize on timeout=5s;", 0),
    ],
)
def test_times_that_do_not_fit_are_found(old, new, lacks):
    assert CONFIGURATION.count(old) == 1
    assert missing(CONFIGURATION.replace(old, new), POD) == lacks


def test_503_comes_before_connections_are_closed():
    """What python_drain_timeout ends gets an answer: nginx's own timeout is longer."""
    requests = seconds(CONFIGURATION, r"python_drain_timeout\s+")
    assert requests < seconds(CONFIGURATION, r"worker_shutdown_timeout\s+")
