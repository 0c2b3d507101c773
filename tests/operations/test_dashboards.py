"""deploy/grafana and deploy/prometheus: what their queries name is in python_status."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections import defaultdict

import pytest
import yaml
from harness import PROJECT
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as prometheus
from rawhttp import wait_for

DASHBOARD = json.loads((PROJECT / "deploy" / "grafana" / "pywsgi.json").read_text("utf-8"))
ALERTS = PROJECT / "deploy" / "prometheus" / "alerts.yml"
RULES = [
    rule for group in yaml.safe_load(ALERTS.read_text("utf-8"))["groups"] for rule in group["rules"]
]
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
PROMTOOL = shutil.which("promtool")

APP = """
    def application(environ, start_response):
        start_response("200 OK", [])
        return [b"text"]
"""
LIVE = """
    async def application(scope, receive, send):
        if scope["type"] == "lifespan":
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"text"})
"""

# Prometheus adds these to each sample.
TARGET = {"job", "instance"}
# What a query may name that is neither a metric nor a label.
WORDS = {
    *("sum", "max", "by", "ignoring", "and", "time", "label_values"),
    *("rate", "increase", "changes", "histogram_quantile", "quantile_over_time"),
}


def queries() -> dict[str, str]:
    """Each query, by what asks it."""
    found = {rule["alert"]: rule["expr"] for rule in RULES}
    for panel in PANELS:
        for target in panel["targets"]:
            found[f"{panel['title']} {panel['id']}{target['refId']}"] = target["expr"]
    for variable in DASHBOARD["templating"]["list"][1:]:
        found[f"variable {variable['name']}"] = variable["query"]["query"]
    for annotation in DASHBOARD["annotations"]["list"]:
        found[f"annotation {annotation['name']}"] = annotation["expr"]
    return found


class Output:
    """The metrics of an answer, with their labels and the labels' values."""

    def __init__(self, samples) -> None:
        self.labels: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
        for sample in samples:
            for name, value in sample.labels.items():
                self.labels[sample.name][name].add(value)
            self.labels[sample.name].update(dict.fromkeys(TARGET, set()))
        # Prometheus' own, for each target.
        self.labels["up"].update(dict.fromkeys(TARGET, set()))

    def faults(self, query: str) -> list[str]:
        """What a query names that is not there."""
        faults = []
        named = set()
        for metric, matchers in re.findall(r"\b([a-z_]\w*)(?:\{([^}]*)\})?(?!\w|\s*\()", query):
            if metric not in self.labels:
                continue
            named.add(metric)
            for label, kind, text in re.findall(r'(\w+)(=~|=)"([^"]*)"', matchers):
                known = self.labels[metric].get(label)
                if known is None:
                    faults.append(f"{metric} has no label {label}")
                elif known and not text.startswith("$"):
                    values = text.split("|") if kind == "=~" else [text]
                    faults += [f"{metric} has no {label}={v}" for v in values if v not in known]
        if not named:
            faults.append("no metric is named")
        labels = {label for metric in named for label in self.labels[metric]}
        rest = re.sub(r'\{[^}]*\}|"[^"]*"|\[[^\]]*\]|\b\d[\w.]*', " ", query)
        for word in re.findall(r"[A-Za-z_]\w*", rest):
            if word not in named | labels | WORDS:
                faults.append(f"{word} is not known")
        return faults


@pytest.fixture
def status(nginx):
    """`status(accept)`: an answer in which everything has been counted once."""
    app, live = nginx.app("app", APP), nginx.app("live", LIVE)
    server = f"""
        location = /status {{ python_status; }}
        location /live {{ asgi_app {live}; }}
        location /shop {{ wsgi_app {app}; wsgi_process shop; }}
    """
    nginx.start(f"wsgi_app {app};", server=server, http="python_process shop;")
    client = nginx.client()
    assert {client.get(path).status_code for path in ("/", "/live", "/shop")} == {200}

    def ask(accept: str) -> str:
        return client.get("/status", headers={"Accept": accept}).text

    wait_for(lambda: 'pywsgi_workers{state="serving"} 1' in ask("version=0.0.4"), 60, "a worker")
    return ask


def test_each_query_names_what_is_there(status):
    for accept, parse in [
        ("text/plain;version=0.0.4", prometheus),
        ("application/openmetrics-text", openmetrics),
    ]:
        output = Output(sample for family in parse(status(accept)) for sample in family.samples)
        wrong = {name: output.faults(query) for name, query in queries().items()}
        assert {name: faults for name, faults in wrong.items() if faults} == {}
    # Each metric is shown somewhere. OpenMetrics has no others.
    asked = " ".join(queries().values())
    shown = {re.sub("_(?:count|sum|bucket)$", "", name) for name in output.labels}
    assert {name for name in shown if name not in asked} == set()


@pytest.mark.parametrize(
    ("query", "fault"),
    [
        ("pywsgi_nothing", "no metric is named"),
        ('pywsgi_workers{kind="serving"}', "pywsgi_workers has no label kind"),
        ('pywsgi_workers{state=~"serving|gone"}', "pywsgi_workers has no state=gone"),
        ("sum by (pool) (pywsgi_workers)", "pool is not known"),
        ("sum(pywsgi_workers / pywsgi_worker)", "pywsgi_worker is not known"),
    ],
)
def test_a_wrong_query_is_found(query, fault):
    families = prometheus('pywsgi_workers{state="serving"} 1\n')
    output = Output(sample for family in families for sample in family.samples)
    assert fault in output.faults(query)


def test_legends_name_labels_that_their_query_keeps():
    for panel in PANELS:
        for target in panel["targets"]:
            by = re.match(r".*?\bby \(([^)]*)\)", target["expr"])
            for label in re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]):
                assert by is None or label in by[1].split(", "), (panel["title"], label)


def test_the_dashboard_is_laid_out():
    """Its panels have their own numbers, fill the rows, and say what they show."""
    numbers = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(numbers)) == len(numbers)
    taken = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells
    assert len(taken) == 24 * (1 + max(y for _, y in taken)), "there are holes"
    for panel in PANELS:
        assert panel["title"] and panel["description"] and panel["fieldConfig"]["defaults"]["unit"]
        sources = [panel, *panel["targets"]]
        assert {source["datasource"]["uid"] for source in sources} == {"${datasource}"}


def test_each_alert_says_what_to_do():
    for rule in RULES:
        assert rule["labels"]["severity"] in ("critical", "warning"), rule["alert"]
        assert rule["annotations"].keys() == {"summary", "description"}, rule["alert"]


@pytest.mark.skipif(PROMTOOL is None, reason="there is no promtool (Debian's prometheus)")
def test_promtool_accepts_it(status, tmp_path):
    """The output, the alerts, and the dashboard's queries as if they were rules."""
    result = subprocess.run(
        [PROMTOOL, "check", "metrics"],
        input=status("text/plain;version=0.0.4"),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (result.returncode, result.stderr) == (0, "")
    rules = [
        {"record": f"query:{number}", "expr": re.sub(r"\$__rate_interval", "5m", query)}
        for number, (name, query) in enumerate(queries().items())
        if not name.startswith("variable")
    ]
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    for path in (ALERTS, file):
        result = subprocess.run(
            [PROMTOOL, "check", "rules", path], capture_output=True, text=True, timeout=60
        )
        assert result.returncode == 0, result.stderr
