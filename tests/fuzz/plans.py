"""What the fuzzer tells its application to do, and the response that must result."""

from __future__ import annotations

import base64
import json
import random
from dataclasses import dataclass, field

GOOD_STATUS = ["200 OK"] * 8 + ["200", "201 Created", "204 No Content", "304 Not Modified"]
GOOD_STATUS += ["404 Not Found", "418 I'm a  teapot", "500 Oops", "503 Later", "999 Odd", "302 F"]
BAD_STATUS = ["", "abc", "20", "2000 x", "100 Continue", "200\tOK", "200 a\r\nb", "200OK", "099 x"]
BAD_STATUS += ["200 €", " 200 OK", "101 Switching Protocols"]

GOOD_HEADERS = [
    [["Content-Type", "text/html; charset=utf-8"]],
    [["Content-Type", "text/plain"]],
    [["content-type", "text/html"], ["X-Empty", ""]],
    [["Set-Cookie", "a=1"], ["Set-Cookie", "b=2"], ["Content-Type", "application/json"]],
    [["ETag", '"tag"'], ["Content-Type", "text/plain"]],
    [["Last-Modified", "Sun, 06 Nov 1994 08:49:37 GMT"]],
    [["X-Long", "v" * 3000]],
    [["X-Latin", "caf\xe9"]],
    [["Content-Type", ""]],
    [["Date", "now"], ["Server", "mine"]],
    [["Connection", "close"], ["Transfer-Encoding", "chunked"], ["Upgrade", "x"]],
    [["Content-Type", "text/a"], ["Content-Type", "text/b"], ["Location", "/elsewhere"]],
    [["Link", "</x>"], ["Vary", "*"], ["Cache-Control", "no-cache"], ["Expires", "0"]],
    [["X-Accel-Buffering", "no"]],
    [["X-Accel-Charset", "utf-8"], ["Content-Type", "text/html"]],
    [["Accept-Ranges", "bytes"], ["Content-Disposition", "attachment"]],
    [["Trailer", "X-Sum"]],
]
BAD_HEADERS = [
    [["X-Bad", "a\r\nX-Injected: 1"]],
    [["X Bad", "a"]],
    [["", "a"]],
    [["X-Bad", 17]],
    [["X-Bad", "€"]],
    [["X-Bad"]],
    [["Content-Length", "five"]],
    [["X-Bad", "\0"]],
]
READS = [
    [["read"]],
    [["read", -1]],
    [["read", 10]],
    [["read", 10], ["read", 0], ["readline", 5], ["read"]],
    [["lines"]],
    [["readlines"], ["read"]],
    [["readline"], ["read", 100000], ["read"]],
    [["readinto", 100], ["read"]],
    [["read1", 100], ["read1"], ["read"]],
    [["read", 50], ["rewind"], ["read"]],
    [["text"]],
    [["readlines", 1]],
    [["read", 0]],
    [],
]
KINDS = ["ValueError", "OSError", "SystemExit", "KeyboardInterrupt", "MemoryError", "Odd"]
KINDS += ["RecursionError", "UnicodeDecodeError", "GeneratorExit"]


@dataclass
class Plan:
    """`sound`: the application does nothing wrong, so the response must be complete."""

    token: str
    steps: dict = field(default_factory=dict)
    sound: bool = True

    @property
    def header(self) -> str:
        text = json.dumps({"token": self.token, **self.steps})
        return base64.b64encode(text.encode()).decode()

    @property
    def headers(self) -> list[list]:
        return self.steps.get("headers", [])

    @property
    def total(self) -> int:
        return sum(self.steps.get("write", ())) + sum(self.steps["blocks"])

    @property
    def code(self) -> int:
        if self.steps.get("start") == "exc_info":
            return 500
        return int(self.steps.get("status", "200")[:3])

    @property
    def length(self) -> int | None:
        """The effective Content-Length: the second `start_response` sets none."""
        length = self.steps.get("length")
        return length if isinstance(length, int) and self.steps.get("start") != "exc_info" else None

    @property
    def reads_all(self) -> bool:
        steps = self.steps.get("read", [])
        last = steps[-1] if steps else ["read", 0]
        return last[0] in ("lines", "text") or last in (["read"], ["read", -1])


def make(source: random.Random, token: str) -> Plan:
    """A plan; a third of them have a fault."""
    plan = Plan(token)
    steps = plan.steps
    steps["blocks"] = _sizes(source)
    steps["shape"] = source.choice(["list"] * 3 + ["tuple", "generator", "generator", "iterator"])
    if source.random() < 0.15:
        steps["shape"] = source.choice(["file", "bytesio"])
    if source.random() < 0.4:
        steps["status"] = source.choice(GOOD_STATUS)
    if source.random() < 0.6:
        steps["headers"] = source.choice(GOOD_HEADERS)
    if source.random() < 0.1:
        steps["headers"] = [[f"X-{number}", "v" * 20] for number in range(100)]
    if source.random() < 0.6:
        steps["read"] = source.choice(READS)
        # Later, the head has been sent with what was read by then. Text closes the stream.
        later = ["started"] if steps["read"] == [["text"]] else ["started", "during"]
        steps["read_at"] = source.choice(["start"] * 4 + later)
    if source.random() < 0.15:
        steps["write"] = _sizes(source)
    if source.random() < 0.1:
        steps["callbacks"] = source.choice(["quiet", "raise"])
    if source.random() < 0.1:
        steps["pause"] = source.choice([0.0001, 0.001, 0.02])
    if source.random() < 0.05:
        steps["hints"] = source.choice([1, 5])
    for name in ("keep", "poke", "trailers"):
        if source.random() < 0.05:
            steps[name] = True
    if steps["shape"] in ("generator", "iterator") and source.random() < 0.2:
        # As in an application that is a generator function.
        steps["start"], steps["write"] = "late", []
    elif source.random() < 0.05:
        steps["start"], steps["write"] = "exc_info", []
    if source.random() < 0.3:
        steps["length"] = plan.total
    if source.random() < 0.35:
        plan.sound = False
        source.choice(
            [_raises, _raises, _breaks_start, _breaks_length, _breaks_body, _breaks_head]
        )(source, plan)
    return plan


def _sizes(source: random.Random) -> list[int]:
    few = source.choice([0, 1, 1, 1, 2, 5, 40])
    return [
        source.choice([0, 0, 1, 10, 100, 1000, 5000, source.choice([20_000, 70_000, 300_000])])
        for _ in range(few)
    ]


def _raises(source: random.Random, plan: Plan) -> None:
    steps = plan.steps
    places = ["start", "started", "wrote", "close"]
    places += [f"block {number}" for number in range(len(steps["blocks"]) + 1)]
    steps["raise"] = {"at": source.choice(places), "kind": source.choice(KINDS)}
    if steps["raise"]["at"].startswith("block") or steps["raise"]["at"] == "close":
        steps["shape"] = source.choice(["generator", "iterator"])


def _breaks_start(source: random.Random, plan: Plan) -> None:
    plan.steps["start"] = source.choice(["never", "twice", "exc_info late"])
    if plan.steps["start"] == "exc_info late":
        # The page that replaces a 204 would lack what write() has been given.
        plan.steps["shape"], plan.steps["write"] = "generator", []


def _breaks_length(source: random.Random, plan: Plan) -> None:
    total = plan.total
    lengths = [
        0,
        1,
        total - 1,
        total + 1,
        total // 2,
        total + 1000,
        2**62,
        2**64,
        -1,
        "1, 1",
        "0x1",
    ]
    plan.steps["length"] = source.choice(lengths)


def _breaks_body(source: random.Random, plan: Plan) -> None:
    plan.steps["shape"] = source.choice(["none", "str", "number", "text"])


def _breaks_head(source: random.Random, plan: Plan) -> None:
    if source.random() < 0.5:
        plan.steps["status"] = source.choice(BAD_STATUS)
    else:
        plan.steps["headers"] = source.choice(BAD_HEADERS)
