"""deploy/kubernetes (`make test-kubernetes`): the manifests against the API's schemas, the chart by
Helm's own library, the nginx.conf of each in a real nginx, and what happens to a pod that is
deleted."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import helm_python as helm
import httpx
import kubernetes_validate
import pytest
import yaml
from cloudcoil.models.prometheus_operator.v1 import ServiceMonitor
from harness import PROJECT, Nginx, temporary_root
from load import BLOCKS, Load
from pods import Endpoints, Pod, delete, exit_time, missing
from prometheus_client.parser import text_string_to_metric_families
from rawhttp import wait_for

KUBERNETES = PROJECT / "deploy" / "kubernetes"
CHART = helm.Chart.load(KUBERNETES / "chart")
README = (KUBERNETES / "README.md").read_text()
CONFIGURATION = (PROJECT / "docker" / "nginx.conf").read_text()
VERSIONS = ["1.30.0", "1.34.0", "1.37.0"]

# Values of users, each with what nobody else sets.
VALUES = {
    "none": {},
    "readme": yaml.safe_load(re.findall(r"^```yaml values\n(.*?)^```$", README, re.M | re.S)[0]),
    "asgi": {
        "application": {"protocol": "asgi", "target": "shop.asgi:application"},
        "workers": 4,
        "autoscaling": {"enabled": False},
        "replicas": 1,
    },
    "long": {"drain": {"endpoints": 20, "requests": 600, "responses": 30, "lifespan": 60}},
    "short": {"drain": {"endpoints": 4, "lifespan": 1}},
    # For what hangs; a slow machine needs its reserve.
    "tight": {
        "drain": {"requests": 2, "responses": 1, "lifespan": 1, "finalize": 1, "reserve": 30}
    },
    "all": {
        "application": {"path": ["/srv/shop", "/srv/lib"], "static": {"/static/": "/srv/static/"}},
        "workers": 3,
        "threads": 16,
        "env": [{"name": "SECRET", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}],
        "nginx": {
            "main": "worker_rlimit_nofile 4096;",
            "http": "gzip on;\nclient_max_body_size {{ mul .Values.workers 8 }}m;",
            "server": "location = /robots.txt {\n    return 404;\n}",
        },
        "temporary": "100Mi",
        "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
        "autoscaling": {"queueLength": 4},
        "podDisruptionBudget": {"maxUnavailable": "25%"},
        "imagePullSecrets": [{"name": "registry"}],
        "nodeSelector": {"disk": "ssd"},
        "tolerations": [{"key": "web", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "podAnnotations": {"a": "b"},
        "podLabels": {"c": "d"},
        "service": {"type": "LoadBalancer", "annotations": {"e": "f"}},
    },
    "own": {
        "nginx": {"configuration": CONFIGURATION.replace("30s", "{{ .Values.drain.requests }}s")}
    },
}


def rendered(values: dict, name: str = "shop") -> list[dict]:
    """The chart's objects."""
    found = CHART.render(values, name=name, namespace="web")
    texts = [text for path, text in found.items() if path.endswith(".yaml")]
    return [each for text in texts for each in yaml.safe_load_all(text) if each]


def built(folder: Path) -> list[dict]:
    """What `kubectl apply -k` would apply."""
    kubectl = shutil.which("kubectl")
    assert kubectl, "make test-kubernetes needs kubectl 1.27 or later, for its kustomize"
    done = subprocess.run([kubectl, "kustomize", folder], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def of_kind(objects: list[dict], kind: str) -> dict:
    [found] = [each for each in objects if each["kind"] == kind]
    return found


def configuration(objects: list[dict]) -> str:
    return of_kind(objects, "ConfigMap")["data"]["nginx.conf"]


def pod(objects: list[dict]) -> dict:
    return of_kind(objects, "Deployment")["spec"]["template"]["spec"]


def validate(objects: list[dict]) -> None:
    for each in objects:
        if each["kind"] == "ServiceMonitor":
            # The type drops what it does not know.
            known = ServiceMonitor.model_validate(each)
            assert known.model_dump(by_alias=True, exclude_unset=True, mode="json") == each
            continue
        for version in VERSIONS:
            kubernetes_validate.validate(each, version, strict=True)
    names = [(each["kind"], each["metadata"]["name"]) for each in objects]
    assert len(set(names)) == len(names)
    template = of_kind(objects, "Deployment")["spec"]["template"]["metadata"]["labels"].items()
    for service in (each for each in objects if each["kind"] == "Service"):
        assert service["spec"]["selector"].items() <= template
    budget = of_kind(objects, "PodDisruptionBudget")
    assert budget["spec"]["selector"]["matchLabels"].items() <= template


def overlay(folder: Path) -> list[dict]:
    """The README's kustomization."""
    [text] = re.findall(r"^```yaml kustomization\n(.*?)^```$", README, re.M | re.S)
    # No kustomization may name a path that is absolute.
    text = text.replace("pywsgi/deploy/kubernetes", os.path.relpath(KUBERNETES, folder))
    (folder / "kustomization.yaml").write_text(text)
    for file in re.findall(r"files: \[(\S+)\]", text):
        (folder / file).write_text(CONFIGURATION.replace("30s", "60s").replace("35s", "65s"))
    return built(folder)


# The manifests


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
def test_the_chart_is_valid_and_its_pods_have_time_to_drain(values):
    objects = rendered(values)
    validate(objects)
    reserve = values.get("drain", {}).get("reserve", 3)
    assert missing(configuration(objects), pod(objects)) == -reserve


def test_the_base_is_valid_and_its_pods_have_time_to_drain():
    objects = built(KUBERNETES / "base")
    validate(objects)
    assert missing(configuration(objects), pod(objects)) == -3


def test_the_overlay_of_the_readme(tmp_path):
    objects = overlay(tmp_path)
    validate(objects)
    assert of_kind(objects, "ServiceMonitor")
    [container] = pod(objects)["containers"]
    assert container["image"] == "registry.example/shop:42"
    assert exit_time(configuration(objects)) == 77
    assert missing(configuration(objects), pod(objects)) <= -1


def test_the_chart_s_configuration_is_that_of_the_container():
    assert configuration(rendered({})) == CONFIGURATION
    assert configuration(built(KUBERNETES / "base")) == CONFIGURATION


def test_the_chart_and_the_base_are_the_same():
    """But for the labels that Helm wants, and names that kustomize gives."""

    def plain(value):
        if isinstance(value, dict):
            gone = re.compile(r"helm\.sh/|checksum/|app\.kubernetes\.io/(instance|version|managed)")
            kept = {key: plain(each) for key, each in value.items() if not gone.match(key)}
            return {key: each for key, each in kept.items() if each != {}}
        if isinstance(value, list):
            return [plain(each) for each in value]
        hashed = isinstance(value, str) and re.fullmatch("pywsgi-[a-z0-9]{10}", value)
        return "pywsgi" if hashed else value

    def sorted_by_name(objects: list[dict]) -> list[dict]:
        return sorted(plain(objects), key=lambda each: (each["kind"], each["metadata"]["name"]))

    assert sorted_by_name(built(KUBERNETES / "base")) == sorted_by_name(rendered({}, "pywsgi"))


def test_helm_finds_nothing_to_say():
    for values in VALUES.values():
        report = helm.lint(KUBERNETES / "chart", values, strict=True, kube_version="v1.30.0")
        assert report["errors"] == []
        assert [each["error"] for each in report["messages"]] == ["icon is recommended"]


def test_another_configuration_makes_other_pods():
    def checksum(values: dict) -> str:
        template = of_kind(rendered(values), "Deployment")["spec"]["template"]
        return template["metadata"]["annotations"]["checksum/nginx.conf"]

    assert checksum({}) == checksum({"replicas": 3}) != checksum({"threads": 4})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"replica": 3}, "replica"),
        ({"application": {"protocol": "cgi"}}, "protocol"),
        ({"application": {"target": "/srv/a.py; evil"}}, "target"),
        ({"drain": {"requests": "30s"}}, "requests"),
        ({"drain": {"endpoints": 0}}, "endpoints"),
        (
            {"nginx": {"configuration": CONFIGURATION}, "drain": {"requests": 20}},
            'nginx.configuration has no "worker_shutdown_timeout 25s;": write it there',
        ),
        (
            {"nginx": {"configuration": CONFIGURATION}, "drain": {"finalize": 20}},
            'nginx.configuration has no "timeout=20s;": write it there',
        ),
    ],
)
def test_wrong_values_are_refused(values, message):
    with pytest.raises(helm.HelmError, match=re.escape(message)):
        rendered(values)


# What they speak of


APP = """
    import time

    from load import BLOCKS

    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        if environ["PATH_INFO"] == "/blocks":
            return blocks()
        return [b"v " + environ["wsgi.input"].read()]

    def blocks():
        for line in BLOCKS.splitlines(keepends=True):
            time.sleep(0.02)
            yield line.encode()
"""


def application(text: str = APP) -> str:
    return text.replace("from load import BLOCKS", f"BLOCKS = {BLOCKS!r}")


@pytest.fixture
def another(nginx):
    """A second nginx."""
    server = Nginx(temporary_root())
    yield server
    faults = server.close()
    shutil.rmtree(server.root, ignore_errors=True)
    assert faults == []


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
def test_nginx_takes_the_configuration(nginx, values):
    # The image would have the applications.
    text = configuration(rendered(values)).replace("http {", "http {\n    python_check off;", 1)
    nginx_pod = Pod(nginx, text, application())
    done = nginx_pod.nginx.check()
    assert done.returncode == 0, done.stderr


def test_probes_and_metrics(nginx):
    """Each probe's path answers, and only at the port of the status."""
    live = "location /live { asgi_app /srv/shop/live.py; }\n"
    text = CONFIGURATION.replace("include /srv/site.conf;", f"{live}include /srv/site.conf;")
    nginx_pod = Pod(nginx, text, application())
    nginx._write(nginx.root / "srv/shop/live.py", "async def app(scope, receive, send): ...\n")
    nginx.start()
    [container] = pod(rendered({}))["containers"]
    ports = {each["name"]: each["containerPort"] for each in container["ports"]}
    assert ports == {"http": 8080, "status": 8081}
    for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
        probe = container[kind]["httpGet"]
        assert probe["port"] == "status"
        path = probe["path"]
        wait_for(lambda path=path: nginx_pod.probe(path) == 200, 60, f"{kind} that passes")
        assert nginx.client().get(path).text == "v ", "it is the application's"
    monitor = of_kind(rendered({"serviceMonitor": {"enabled": True}}), "ServiceMonitor")
    [endpoint] = monitor["spec"]["endpoints"]
    url = f"http://127.0.0.1:{nginx_pod.status}{endpoint['path']}"
    text = nginx.client().get(url, params=endpoint["params"]).text
    families = text_string_to_metric_families(text)
    samples = {each.name for family in families for each in family.samples}
    # The adapter's rule is of metrics that there are, and gives the name that the scaler asks for.
    [rule] = yaml.safe_load((KUBERNETES / "prometheus/adapter.yaml").read_text())["rules"]["custom"]
    for query in (rule["seriesQuery"], rule["metricsQuery"]):
        [pattern] = re.findall(r'__name__=~"([^"]+)"', query)
        assert {each for each in samples if re.fullmatch(pattern, each)} == {
            "pywsgi_pool_queue_length",
            "pywsgi_loop_queue_length",
        }
    scaler = of_kind(rendered({"autoscaling": {"queueLength": 4}}), "HorizontalPodAutoscaler")
    assert scaler["spec"]["metrics"][1]["pods"]["metric"]["name"] == rule["name"]["as"]


# A pod that is deleted


def clients(endpoints: Endpoints) -> list:
    """Requests of different kinds, each to the pod whose turn it is."""

    def short(client: httpx.Client) -> None:
        headers = {"Connection": "close"}
        assert client.get(endpoints.url(), headers=headers).text == "v "

    def upload(client: httpx.Client) -> None:
        body = b"u" * 200_000
        answer = client.post(endpoints.url(), content=body, headers={"Connection": "close"})
        assert answer.content == b"v " + body

    def long(client: httpx.Client) -> None:
        headers = {"Connection": "close"}
        assert client.get(f"{endpoints.url()}/blocks", headers=headers).text == BLOCKS

    return [short, short, upload, long, long, long]


def under_load(nginx, another, **deletion) -> tuple[Load, float]:
    """Deletes one of two pods that have requests all the time."""
    text = configuration(rendered(VALUES["short"]))
    pods = [Pod(each, text, application()) for each in (nginx, another)]
    for each in pods:
        each.nginx.start()
        wait_for(lambda each=each: each.probe("/-/ready") == 200, 60, "a pod that is ready")
    endpoints = Endpoints(pods)
    load = Load(nginx)
    for once in clients(endpoints):
        load.start(once)
    try:
        wait_for(lambda: load.answered > 30, 60, "answers")
        took = delete(pods[0], endpoints, **deletion)
        answered = load.answered
        wait_for(lambda: load.answered > answered + 30, 60, "answers of the other pod")
    finally:
        load.stop()
    return load, took


def test_no_request_is_lost_and_the_pod_is_gone_in_time(nginx, another):
    objects = rendered(VALUES["short"])
    [container] = pod(objects)["containers"]
    pre_stop = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    load, took = under_load(nginx, another, pre_stop=pre_stop, removal=pre_stop / 4, end="quit")
    assert load.failures == []
    assert pre_stop + took < pod(objects)["terminationGracePeriodSeconds"]


def test_without_pre_stop_requests_are_lost(nginx, another):
    """They are sent to a pod that accepts nothing any more."""
    load, _ = under_load(nginx, another, pre_stop=0, removal=0.5, end="quit")
    assert load.failures


@pytest.mark.parametrize(("end", "is_whole"), [("quit", True), ("stop", False)])
def test_the_signal_must_be_quit(nginx, end, is_whole):
    """TERM, the default of an image without STOPSIGNAL, cuts what runs."""
    Pod(nginx, configuration(rendered(VALUES["short"])), application())
    nginx.start()
    with nginx.client().stream("GET", "/blocks") as answer:
        lines = answer.iter_lines()
        got = [next(lines)]
        number = {"quit": signal.SIGQUIT, "stop": signal.SIGTERM}[end]
        os.kill(nginx.master, number)
        try:
            got += lines
        except httpx.RemoteProtocolError:
            assert not is_whole
    assert (got == BLOCKS.split()) == is_whole
    wait_for(lambda: not nginx.is_running(), 60, "nginx's end")


HANGS = """
    import threading
    import time

    from testkit import record

    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            # Python's end waits for it.
            threading.Thread(target=time.sleep, args=(300,), daemon=False).start()
            await receive()
            record("shutdown")
            await receive()
        record("entered")
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while True:
            await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
"""


def test_a_pod_in_which_everything_hangs_ends_before_it_is_killed(nginx):
    """A client that does not read, a request, a lifespan and a thread that never end."""
    values = {
        **VALUES["tight"],
        "application": {"protocol": "asgi", "target": "/srv/shop/wsgi.py"},
    }
    objects = rendered(values)
    source = f"import sys\nsys.path.append({str(nginx.apps)!r})\n" + re.sub(
        r"^    ", "", HANGS, flags=re.M
    )
    nginx_pod = Pod(nginx, configuration(objects), source)
    nginx.start()
    wait_for(lambda: nginx_pod.probe("/-/ready") == 200, 60, "a pod that is ready")
    connection = nginx.connect(receive=4096)
    connection.get("/")
    nginx.wait_recorded("entered")
    began = time.monotonic()
    os.kill(nginx.master, signal.SIGQUIT)
    wait_for(lambda: not nginx.is_running(), 60, "nginx's end")
    took = time.monotonic() - began
    assert nginx.recorded("shutdown")
    values = pod(objects)
    [container] = values["containers"]
    before = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert before + took < values["terminationGracePeriodSeconds"]
    # It has needed the time: no part of the sum is there for nothing.
    assert took > exit_time(configuration(objects)) - 1
