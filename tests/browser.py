"""Debian's chromium without a window, driven by its DevTools protocol: pages that run scripts."""

from __future__ import annotations

import contextlib
import itertools
import json
import shutil
import subprocess
import tempfile
from pathlib import Path

import httpx
from rawhttp import wait_for
from websockets.sync.client import ClientConnection, connect

CHROMIUM = Path("/usr/bin/chromium")


class Browser:
    """A browser of its own, with a profile that is removed at its end."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="pywsgi-browser-"))
        self.process = subprocess.Popen(
            [
                CHROMIUM,
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--no-first-run",
                "--ignore-certificate-errors",
                "--remote-debugging-port=0",
                f"--user-data-dir={self.folder}",
                "about:blank",
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.connections = contextlib.ExitStack()

    def open(self, url: str) -> Page:
        """A new page, whose scripts run beside those of the others."""
        said = self.folder / "DevToolsActivePort"
        wait_for(lambda: said.exists() and said.read_text().strip(), 60, "the browser")
        port = said.read_text().split()[0]
        with httpx.Client(trust_env=False, timeout=60) as client:
            target = client.put(f"http://127.0.0.1:{port}/json/new?about:blank").json()
        options = {"max_size": None, "proxy": None}
        connection = connect(target["webSocketDebuggerUrl"], **options)
        page = Page(self.connections.enter_context(connection))
        page.go(url)
        return page

    def close(self) -> None:
        self.connections.close()
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        # Its helpers end a little later.
        shutil.rmtree(self.folder, ignore_errors=True)


class Page:
    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self._numbers = itertools.count(1)

    def go(self, url: str) -> None:
        self._call("Page.navigate", url=url)
        self.wait("document.readyState === 'complete' && location.href !== 'about:blank'")

    def evaluate(self, expression: str):
        """The value of a JavaScript expression, which must be JSON."""
        answer = self._call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait(self, expression: str, timeout: float = 60.0):
        """Waits until the expression is true, and returns its value."""
        return wait_for(lambda: self.evaluate(expression), timeout, f"{expression} in the browser")

    def text(self, selector: str) -> str:
        """The text of the first such element."""
        return self.evaluate(f"document.querySelector({json.dumps(selector)}).textContent")

    def _call(self, method: str, **parameters) -> dict:
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        self.connection.send(json.dumps(message))
        while True:
            answer = json.loads(self.connection.recv(timeout=60))
            if answer.get("id") == number:
                assert "error" not in answer, answer["error"]
                return answer["result"]
