"""What the fuzzer's applications share: the plan of a request, and how far it has been followed.

The fuzzer copies this file beside both.
"""

import base64
import collections
import json
import operator
import re

PLAIN = {"token": "none", "blocks": [10]}
OF_A_BODY = re.compile(rb"\(bc(\d+)r\d+\)")


def of_others(token: str, data: bytes) -> list[bytes]:
    """The numbers of other cases in a body. A client that corrupts its body may damage its own
    number: that is excused once, beside the whole one, if one digit is another or some are gone."""
    own = re.match(r"c?(\d*)", token)[1].encode()
    found = collections.Counter(OF_A_BODY.findall(data))

    def is_damaged(number: bytes) -> bool:
        digits = iter(own)
        is_cut = all(digit in digits for digit in number)
        is_flipped = len(number) == len(own) and sum(map(operator.ne, number, own)) == 1
        return found[own] > 0 and found[number] == 1 and (is_cut or is_flipped)

    return [number for number in found if number != own and not is_damaged(number)]


def pattern(token, size, offset=0):
    """`size` bytes of the token's endless text."""
    unit = b"(" + token.encode() + b")"
    start = offset % len(unit)
    text = unit * ((start + size) // len(unit) + 1)
    return text[start : start + size]


def plan_of(text):
    """The plan in an X-Plan, and its token; a plain one if the client has corrupted it."""
    try:
        plan = json.loads(base64.b64decode(text, validate=True))
        return plan, plan["token"]
    except (ValueError, KeyError, TypeError):
        return PLAIN, "none"


class Odd(BaseException):
    def __str__(self):
        raise ValueError("no text")


KINDS = {
    "ValueError": ValueError,
    "OSError": OSError,
    "SystemExit": SystemExit,
    "KeyboardInterrupt": KeyboardInterrupt,
    "GeneratorExit": GeneratorExit,
    "MemoryError": MemoryError,
    "Odd": Odd,
}


def fail(kind):
    if kind == "RecursionError":
        fail(kind)
    if kind == "UnicodeDecodeError":
        b"\xff".decode("ascii")
    raise KINDS[kind]("planned")


class Planned:
    """A call with a plan. What it reads must be the client's bytes of this token, in order."""

    def __init__(self, plan, token):
        self.plan, self.token = plan, token
        self.offset = 0
        self.failing = plan.get("raise") or {}
        self.read_bytes, self.read_end, self.read_fault = 0, False, ""

    def seen(self):
        return self.read_fault or f"{self.read_bytes}{' end' if self.read_end else ''}"

    def point(self, at):
        if self.failing.get("at") == at:
            fail(self.failing["kind"])

    def block(self, size):
        data = pattern(self.token, size, self.offset)
        self.offset += size
        return data

    def got(self, data):
        if data != pattern("b" + self.token, len(data), self.read_bytes):
            self.read_fault = f"BAD at {self.read_bytes}"
        self.read_bytes += len(data)
