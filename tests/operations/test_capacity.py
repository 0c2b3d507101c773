"""Planning capacity: the queries are of metrics that there are, and say what the page says."""

from __future__ import annotations

import re

import pytest
from operations.conftest import PAGE
from prometheus_client.parser import text_string_to_metric_families
from rawhttp import wait_for

QUERIES = re.findall(r"^```promql (\S+)\n(.*?)^```$", PAGE, re.M | re.S)
STATUS = "location = /status { python_status; }"


def samples(nginx) -> dict[str, list]:
    """The samples of a scrape, by name."""
    found: dict[str, list] = {}
    text = nginx.client().get("/status?format=prometheus").text
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append(sample)
    return found


def total(found: dict[str, list], name: str) -> float:
    return sum(sample.value for sample in found[name])


@pytest.mark.threads("inline there is one request at a time, and no queue")
def test_the_queries(nginx, protocol, gate, background):
    held = gate(protocol=protocol)
    nginx.start(f"{protocol}_app {held.app};", server=STATUS)
    nginx.wait_log("imported in")
    before = samples(nginx)
    answers = [background("/?hold") for _ in range(3)]
    held.wait_entered(3)
    # Their time in the application, which the queries' rates are made of: 3 at once for a while.
    assert nginx.client().get("/status").status_code == 200
    held.open()
    for answer in answers:
        assert answer.result().status_code == 200
    name = "pywsgi_response_time_seconds_count"
    wait_for(lambda: total(samples(nginx), name) >= 3, what="requests that are over")
    after = samples(nginx)
    for query, text in QUERIES:
        metrics = set(re.findall(r"\bpywsgi_\w+", text))
        assert metrics and metrics <= set(after), query
        for labels in re.findall(r"\{(.*?)\}", text):
            for label in re.findall(r"(\w+)=", labels):
                assert any(label in sample.labels for sample in after[min(metrics)]), query
    spent = total(after, "pywsgi_application_time_seconds_sum") - total(
        before, "pywsgi_application_time_seconds_sum"
    )
    counted = total(after, "pywsgi_application_time_seconds_count")
    assert spent > 0 and counted == 3
    waited = total(after, "pywsgi_response_time_seconds_sum")
    assert waited >= spent


def test_the_metrics_that_the_prose_names(nginx, protocol):
    app = protocol.say("hello")
    nginx.start(f"{protocol}_app {app};", server=STATUS)
    nginx.wait_log("imported in")
    section = PAGE[PAGE.index("## Planning capacity") : PAGE.index("## Alarms")]
    named = set(re.findall(r"`(?:sum\()?(pywsgi_\w+)\)?`", section))
    assert len(named) == 2
    own = {name for name in named if ("loop" in name) != protocol.is_wsgi}
    assert own <= set(samples(nginx))
