"""OpenTelemetry: the few lines of docs/hooks.md, with the real SDK and an exporter that keeps the
spans in memory."""

from __future__ import annotations

import json
import re

import pytest
from harness import PROJECT

pytest.importorskip("opentelemetry.sdk", reason="the SDK is not there for this Python")

PAGE = (PROJECT / "docs" / "hooks.md").read_text()

KEEP = """
import json

import testkit
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult


class Keep(SpanExporter):
    def export(self, spans):
        for span in spans:
            testkit.record("spans", json.dumps({
                "name": span.name,
                "kind": span.kind.name,
                "trace": f"{span.context.trace_id:032x}",
                "parent": f"{span.parent.span_id:016x}" if span.parent else None,
                "nanoseconds": span.end_time - span.start_time,
                "attributes": dict(span.attributes),
                "status": span.status.status_code.name,
                "why": span.status.description,
            }))
        return SpanExportResult.SUCCESS


EXPORTER = Keep()
"""

APP = """
import bothkit


async def answer(request):
    if request.path == "/raise":
        raise KeyError("no such thing")
    if request.path == "/own":
        with tracer.start_as_current_span("own", context=propagate.extract(request.headers)):
            pass
    await request.sleep(0.05)
    await request.respond(b"done")


application = bothkit.{protocol}(answer)
"""

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLER = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}


def block(name: str) -> str:
    (text,) = re.findall(rf"^```python {name}\n(.*?)^```$", PAGE, re.M | re.S)
    return text


def test_requests_are_spans_of_their_callers_traces(nginx, protocol):
    source = block("opentelemetry") + KEEP + block("exporter") + APP.format(protocol=protocol)
    app = nginx.app("traced", source)
    nginx.start(f"{protocol}_app {app};", http="python_finalize on timeout=60s;")
    client = nginx.client()
    assert client.get("/path?query=1", headers=CALLER).text == "done"
    assert client.get("/own", headers=CALLER).text == "done"
    assert client.get("/alone").text == "done"
    assert client.get("/raise", headers=CALLER).status_code == 500
    # What the exporter has not sent yet is sent as the worker exits.
    nginx.quit()
    spans = {span["name"]: span for span in map(json.loads, nginx.recorded("spans"))}
    assert set(spans) == {"GET /path", "GET /own", "own", "GET /alone", "GET /raise"}
    path = spans["GET /path"]
    assert (path["kind"], path["trace"], path["parent"]) == ("SERVER", TRACE, "00f067aa0ba902b7")
    assert path["attributes"]["http.response.status_code"] == 200
    assert path["attributes"]["pywsgi.application_time"] >= 0.05
    assert path["nanoseconds"] >= 50_000_000
    assert path["status"] == "UNSET"
    assert spans["own"]["trace"] == spans["GET /own"]["trace"] == TRACE
    assert spans["GET /alone"]["parent"] is None and spans["GET /alone"]["trace"] != TRACE
    assert (spans["GET /raise"]["status"], spans["GET /raise"]["why"]) == ("ERROR", "KeyError")
    assert not [line for line in nginx.log_lines("[error]") if "on_request" in line]
