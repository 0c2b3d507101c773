"""The requests of the fuzzer, as bytes: sound ones, and randomly corrupted ones."""

from __future__ import annotations

import random
from dataclasses import dataclass

from fuzz.planned import pattern
from fuzz.plans import Plan, make

LOCATIONS = {
    "pool": "",
    "unbuffered": "wsgi_buffering off;",
    "streamed": "wsgi_request_buffering off;",
    "both": "wsgi_buffering off; wsgi_request_buffering off;",
    "small": "wsgi_buffer_size 4k; wsgi_max_temp_file_size 64k; output_buffers 2 1k;",
    "memory": "client_body_buffer_size 1m; wsgi_file_wrapper off; wsgi_early_hints off;",
    "inline": "wsgi_thread_pool inline;",
    "inlined": "wsgi_thread_pool inline; wsgi_buffering off; wsgi_buffer_size 4k;",
    "gzip": "gzip on; gzip_types *; gzip_min_length 1; gzip_proxied any;",
    "ssi": "ssi on; ssi_types *;",
    "sub": "sub_filter nothing-like-it x; sub_filter_types *; sub_filter_once off;",
    "inline-sub": "wsgi_thread_pool inline; sub_filter nothing-like-it x; sub_filter_types *;",
    "cancel": "wsgi_client_abort cancel;",
    "ignore": "wsgi_client_abort ignore;",
    "slow": "limit_rate 2m; sendfile on;",
    "mirrored": "mirror /pool/mirror;",
    "asgi": "",
    "asgi-buffered": "asgi_request_buffering on;",
    "asgi-small": "asgi_buffer_size 4k; output_buffers 2 1k;",
    "asgi-spilled": "asgi_buffer_size 4k; asgi_max_temp_file_size 64k;",
    "asgi-unbuffered": "asgi_buffering off;",
    "asgi-memory": "client_body_buffer_size 1m; asgi_file_wrapper off; asgi_early_hints off;",
    "asgi-limited": "asgi_max_requests_in_flight 2;",
    "asgi-gzip": "gzip on; gzip_types *; gzip_min_length 1; gzip_proxied any;",
    "asgi-sub": "sub_filter nothing-like-it x; sub_filter_types *; sub_filter_once off;",
    "asgi-cancel": "asgi_client_abort cancel;",
    "asgi-ignore": "asgi_client_abort ignore;",
    # Locations that promise less: LENIENT.
    "validated": "wsgi_debug validate;",
    "traceback": "wsgi_debug traceback;",
    "intercepted": "wsgi_intercept_errors on; error_page 404 500 503 /pool/error;",
    "deadline": "wsgi_timeout 100ms;",
    "asgi-validated": "asgi_debug validate;",
    "asgi-traceback": "asgi_debug traceback;",
    "asgi-deadline": "asgi_timeout 100ms;",
    "ranges": "wsgi_force_ranges on;",
    # Subrequests and redirects follow the plan as well.
    "added": "add_before_body /pool/before; add_after_body /both/after; addition_types *;",
    "authorized": "auth_request /pool/auth;",
    "redirected": "wsgi_param HTTP_X_REDIRECT /unbuffered/redirected;",
}
LENIENT = {"validated", "traceback", "intercepted", "deadline", "ranges"}
LENIENT |= {"added", "authorized", "redirected"}
LENIENT |= {"asgi-validated", "asgi-traceback", "asgi-deadline"}


@dataclass
class Request:
    """`answerable`: a complete and sound request, whose response is known."""

    data: bytes
    plan: Plan
    location: str
    method: str
    version: str
    body: int
    answerable: bool = True

    @property
    def lenient(self) -> bool:
        return self.location in LENIENT or not self.answerable

    def describe(self) -> str:
        how = "" if self.answerable else ", changed"
        head = f"{self.method} /{self.location}/ HTTP/{self.version}, body of {self.body}{how}"
        steps = dict(self.plan.steps)
        if len(steps.get("headers", ())) > 10:
            steps["headers"] = f"{len(steps['headers'])} of them"
        steps = str(steps)
        return f"{head}: {steps if len(steps) < 500 else steps[:500] + ' ...'}"


def make_request(source: random.Random, token: str) -> Request:
    plan = make(source, token)
    location = source.choice(list(LOCATIONS))
    unbuffered = location == "inlined" or ["X-Accel-Buffering", "no"] in plan.headers
    if location.startswith("inline") and unbuffered and sum(plan.steps.get("write", ())) > 0:
        # Without a thread that could wait, write() raises if the buffer is full.
        plan.sound = False
    method = source.choice(["GET"] * 4 + ["POST"] * 4 + ["HEAD", "PUT", "DELETE", "OPTIONS", "FOO"])
    version = source.choice(["1.1"] * 6 + ["1.0"])
    tail = source.choice(["", "a/b", "%41%2f", "x?a=1&b=%zz", "//y", "%e2%82%ac", "?", "a;b=c"])
    lines = [f"{method} /{location}/{tail} HTTP/{version}", "Host: fuzz", f"X-Plan: {plan.header}"]
    lines += _extra_fields(source, version)
    has_body = method in ("POST", "PUT", "FOO", "DELETE") and source.random() < 0.8
    size = 0
    body = b""
    if has_body:
        size = source.choice([0, 1, 10, 1000, 5000, 20_000, source.choice([70_000, 200_000])])
        content = pattern("b" + token, size)
        if version == "1.1" and source.random() < 0.5:
            lines.append(source.choice(["Transfer-Encoding: chunked", "transfer-encoding:CHUNKED"]))
            body = _chunked(source, content)
        else:
            lines.append(f"Content-Length: {size}")
            body = content
        if version == "1.1" and source.random() < 0.1:
            lines.append("Expect: 100-continue")
    source.shuffle(lines[1:])
    head = "\r\n".join(lines) + "\r\n\r\n"
    return Request(head.encode("latin-1") + body, plan, location, method, version, size)


def _extra_fields(source: random.Random, version: str) -> list[str]:
    fields = []
    if source.random() < 0.3:
        fields.append("Accept-Encoding: gzip")
    if source.random() < 0.3:
        fields += [f"X-Field-{number}: {'v' * number}" for number in range(source.randrange(40))]
    if source.random() < 0.1:
        fields += [
            "Cookie: a=1",
            "Cookie: b=2",
            "X-Same: 1",
            "X-Same: 2",
            "X_Low: 1",
            "TE: trailers",
        ]
    if source.random() < 0.05:
        fields.append(f"X-Long: {'l' * 5000}")
    if version == "1.0":
        fields += source.choice([[], ["Connection: keep-alive"]])
    elif source.random() < 0.05:
        fields.append("Connection: close")
    return fields


def _chunked(source: random.Random, content: bytes) -> bytes:
    parts = []
    while content:
        size = source.choice([1, 5, 100, 4096, 16_384, len(content)])
        piece, content = content[:size], content[size:]
        number = source.choice([b"%x", b"%X", b"00%x", b"%x ;a=b", b'%x;a="b"']) % len(piece)
        parts.append(number + b"\r\n" + piece + b"\r\n")
    trailers = source.choice([b"", b"", b"X-Trailer: 1\r\n", b"X-A: 1\r\nX-B: 2\r\n"])
    return b"".join(parts) + b"0\r\n" + trailers + b"\r\n"


def change(source: random.Random, request: Request) -> None:
    """Corrupts it into something that no good client sends."""
    request.answerable = False
    for _ in range(source.choice([1, 1, 1, 2, 5])):
        request.data = source.choice(_CHANGES)(source, request.data)


def _flip(source: random.Random, data: bytes) -> bytes:
    at = source.randrange(len(data) or 1)
    return data[:at] + bytes([source.randrange(256)]) + data[at + 1 :]


def _cut_out(source: random.Random, data: bytes) -> bytes:
    at = source.randrange(len(data) or 1)
    return data[:at] + data[at + source.choice([1, 2, 10, 200]) :]


def _cut_off(source: random.Random, data: bytes) -> bytes:
    return data[: source.randrange(len(data) or 1)]


def _insert(source: random.Random, data: bytes) -> bytes:
    at = source.randrange(len(data) or 1)
    junk = source.choice(
        [b"\r\n", b"\n", b"\0", b"\r", b" ", b"\xff" * 3, b":", b"0\r\n\r\n", b"<" * 50]
    )
    return data[:at] + junk + data[at:]


def _repeat(source: random.Random, data: bytes) -> bytes:
    at = source.randrange(len(data) or 1)
    part = data[at : at + source.choice([1, 10, 100])]
    return data[:at] + part * source.choice([2, 20]) + data[at:]


def _in_head(source: random.Random, data: bytes) -> bytes:
    """A line after the first: framing that contradicts itself, and floods."""
    first, _, rest = data.partition(b"\r\n")
    line = source.choice([
        b"Content-Length: 3", b"Content-Length: 99999999999999999999", b"Content-Length: -1",
        b"Content-Length: 1000", b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip, chunked",
        b"Transfer-Encoding: identity", b"Transfer-Encoding : chunked", b"Host: other", b"Host:",
        b"Expect: 100-continue", b"Expect: x", b"Connection: upgrade\r\nUpgrade: websocket",
        b"Connection: close", b"X: " + b"y" * 9000, b"X: y\r\n" * 2000 + b"X: y", b" folded: 1",
        b"X-Plan: !!!", b"X-Plan: " + b"QQ" * 10, b"Range: bytes=0-9,3-5,-1",
        b"Range: bytes=5-", b"If-None-Match: *", b"If-Match: \"x\"",
        b"If-Modified-Since: Sun, 06 Nov 2044 08:49:37 GMT", b"X-\xff\xfe: \xff", b"NoColon",
        b"Content-Type: multipart/form-data; boundary=" + b"b" * 500,
    ])  # fmt: skip
    return first + b"\r\n" + line + b"\r\n" + rest


def _first_line(source: random.Random, data: bytes) -> bytes:
    first, mark, rest = data.partition(b"\r\n")
    first = source.choice([
        first.replace(b"HTTP/1.1", b"HTTP/0.9"), first.replace(b"HTTP/1.1", b"HTTP/2.0"),
        first.replace(b"HTTP/1.1", b""), first.replace(b" /", b" http://fuzz/"),
        first.replace(b" /", b" *"), first.replace(b" /", b" /../../"), first + b" x",
        first.replace(b" /", b" /%00"), first.replace(b" /", b" /" + b"p" * 9000), b"GET /pool/",
        b"CONNECT fuzz:80 HTTP/1.1", b"TRACE /pool/ HTTP/1.1", b"PRI * HTTP/2.0\r\n\r\nSM\r\n",
        b"get /pool/ HTTP/1.1", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", b"",
    ])  # fmt: skip
    return first + mark + rest


_CHANGES = [_flip, _flip, _cut_out, _cut_off, _insert, _repeat, _in_head, _in_head, _first_line]
