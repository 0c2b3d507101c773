"""A pod of deploy/kubernetes, as far as nginx is concerned: its nginx.conf, what Kubernetes does
with it when it is deleted, and how long that may take."""

from __future__ import annotations

import re
import threading
import time
from pathlib import Path

from harness import MODULE, VENV, Nginx, free_port

UNITS = {"": 1, "s": 1, "m": 60, "h": 3600}


def seconds(text: str, pattern: str) -> int:
    """The largest time that the pattern finds in a configuration."""
    found = re.findall(rf"^[^#\n]*\b{pattern}(\d+)([smh]?)\b", text, re.M)
    assert found, f"the configuration does not say {pattern}"
    return max(int(number) * UNITS[unit] for number, unit in found)


def exit_time(text: str) -> int:
    """How long nginx may take to exit after QUIT, with this configuration."""
    requests = seconds(text, r"python_drain_timeout\s+")
    responses = seconds(text, r"worker_shutdown_timeout\s+")
    lifespan = seconds(text, r"asgi_lifespan [^;]*shutdown_timeout=")
    return max(requests, responses) + lifespan + seconds(text, r"python_finalize on timeout=")


def missing(text: str, pod: dict) -> int:
    """How many seconds terminationGracePeriodSeconds lacks; negative: what is left."""
    [container] = pod["containers"]
    before = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    return before + exit_time(text) - pod["terminationGracePeriodSeconds"]


class Pod:
    """An nginx that runs a pod's nginx.conf, with a folder of its own for the image's."""

    def __init__(self, nginx: Nginx, text: str, application: str) -> None:
        self.nginx = nginx
        self.status = free_port()
        srv, temporary = nginx.root / "srv", nginx.root / "tmp"
        (srv / "shop").mkdir(parents=True, mode=0o755)
        (srv / "venv").symlink_to(VENV)
        nginx._write(srv / "shop/wsgi.py", application)
        nginx._write(srv / "site.conf", f"location / {{ wsgi_app {srv}/shop/wsgi.py; }}")
        srv.chmod(0o755)
        for path in " ".join(re.findall(r"^\s*python_path (.+);", text, re.M)).split():
            (nginx.root / path.removeprefix("/")).mkdir(exist_ok=True)
        folders = {"/srv/": f"{srv}/", "/tmp/": f"{temporary}/"}
        text = re.sub("/(?:srv|tmp)/", lambda found: folders[found[0]], text)
        text = text.replace("modules/ngx_http_pywsgi_module.so", str(MODULE))
        text = text.replace("listen 8080;", f"listen 127.0.0.1:{nginx.port};")
        text = text.replace("listen 8081;", f"listen 127.0.0.1:{self.status};")
        # These are the container's output, which a worker of another user cannot open anew here.
        text = text.replace("stderr info", f"{nginx.log_path} info")
        text = text.replace("/dev/stdout", "off")
        if nginx.user:
            text = f"user {nginx.user};\n{text}"
        workers = re.search(r"worker_processes (\d+);", text)
        nginx.write_config(workers=int(workers[1]) if workers else 2)
        # As docker/start writes it.
        nginx._write(temporary / "pywsgi/main.conf", "worker_processes 2;")
        nginx.config.write_text(text)
        (Path(nginx.root) / "conf" / "mime.types").write_text("types { text/html html; }\n")

    def probe(self, path: str) -> int:
        """What a probe of the kubelet gets."""
        return self.nginx.client().get(f"http://127.0.0.1:{self.status}{path}").status_code


class Endpoints:
    """Requests go to one of the pods that are in it, as from a Service or an ingress."""

    def __init__(self, pods: list[Pod]) -> None:
        self._pods = list(pods)
        self._lock = threading.Lock()
        self._turn = 0

    def url(self) -> str:
        with self._lock:
            self._turn += 1
            return self._pods[self._turn % len(self._pods)].nginx.url("")

    def remove(self, pod: Pod) -> None:
        with self._lock:
            self._pods.remove(pod)


def delete(pod: Pod, endpoints: Endpoints, *, pre_stop: float, removal: float, end: str) -> float:
    """What Kubernetes does to a pod: preStop, and meanwhile its removal from the endpoints; then
    the signal. Returns how long nginx took to exit after that."""
    timer = threading.Timer(removal, endpoints.remove, [pod])
    timer.start()
    time.sleep(pre_stop)
    began = time.monotonic()
    getattr(pod.nginx, end)()
    took = time.monotonic() - began
    timer.join()
    return took
