"""Debian's chromium without a window, driven by its DevTools protocol: pages that run scripts."""

from __future__ import annotations

import base64
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
    """A browser of its own, with further options, and with a profile that is removed at its end."""

    def __init__(self, *options: str) -> None:
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
                *options,
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
        self._events: list[dict] = []

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

    def size(self, width: int, height: int) -> None:
        """The size of the window, in CSS pixels. A narrow one is a phone's."""
        mobile = width < 600
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile}
        self._call("Emulation.setDeviceMetricsOverride", **metrics)

    def prefer(self, scheme: str) -> None:
        """Whether the user wants pages `light` or `dark`."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self._call("Emulation.setEmulatedMedia", features=features)

    def type(self, text: str) -> None:
        """Types into the element that has the focus."""
        self._call("Input.insertText", text=text)

    def screenshot(self, path: Path) -> None:
        """Writes what the window shows, as a PNG."""
        path.write_bytes(base64.b64decode(self._call("Page.captureScreenshot")["data"]))

    def watch(self) -> None:
        """From now on `errors` has what goes wrong."""
        self._call("Runtime.enable")
        self._call("Log.enable")

    def errors(self) -> list[str]:
        """What has gone wrong since the last call: exceptions, errors of the console, requests."""
        self.evaluate("0")
        found = []
        for event in self._events:
            about = event["params"]
            if event["method"] == "Runtime.exceptionThrown":
                found.append(json.dumps(about["exceptionDetails"]))
            elif event["method"] == "Runtime.consoleAPICalled" and about["type"] == "error":
                found.append(json.dumps(about["args"]))
            elif event["method"] == "Log.entryAdded" and about["entry"]["level"] == "error":
                found.append(f"{about['entry']['text']} {about['entry'].get('url', '')}")
        self._events.clear()
        return found

    def _call(self, method: str, **parameters) -> dict:
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        self.connection.send(json.dumps(message))
        while True:
            answer = json.loads(self.connection.recv(timeout=60))
            if answer.get("id") == number:
                assert "error" not in answer, answer["error"]
                return answer["result"]
            if "method" in answer:
                self._events.append(answer)
