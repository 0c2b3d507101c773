"""Each message of the application's that is out of order or malformed gives an error that names
the message, its field, and how far the response is. The client gets a 500 or a cut connection.
"""

from __future__ import annotations

import contextlib

import pytest

APPLICATION = """
    from pathlib import Path
    from testkit import record, respond

    FILE = Path(__file__)
    TEXT = (b"content-type", b"text/plain")

    def start(*headers, status=200, **more):
        return {{
            "type": "http.response.start", "status": status, "headers": [TEXT, *headers], **more
        }}

    def fields(headers):
        return {{"type": "http.response.start", "status": 200, "headers": headers}}

    def body(data=b"", more=False):
        return {{"type": "http.response.body", "body": data, "more_body": more}}

    def trailers(*headers):
        return {{"type": "http.response.trailers", "headers": headers}}

    def path(path=str(FILE)):
        return {{"type": "http.response.pathsend", "path": path}}

    def zero(file=FILE.open("rb"), **more):
        return {{"type": "http.response.zerocopysend", "file": file, **more}}

    def hint(links):
        return {{"type": "http.response.early_hint", "links": links}}

    CASES = {{
        {cases}
    }}

    async def application(scope, receive, send):
        name = scope["query_string"].decode()
        catches = scope["path"] == "/catch"
        if name == "good":
            return await respond(send, b"good")
        for message in CASES[name]():
            try:
                await send(message)
            except Exception as error:
                record("errors", f"{{type(error).__name__}}: {{error}}")
                if not catches:
                    raise
                await respond(send, b"after all")
        record("returned")
"""

NOT_STARTED = 'before "http.response.start"'
STARTED = 'after "http.response.start"'
TRAILERS = "where trailers are due"
COMPLETE = "after the response is complete"

# What an application sends; which words its error has; and what the client sees: "500", or the
# status of the head whose body is cut, or "whole".
OUT_OF_ORDER = [
    ("body(b'x')", ("http.response.body", NOT_STARTED), "500"),
    ("start(), start()", ("http.response.start", STARTED), "500"),
    ("start(), body(b'x', True), start()", ("http.response.start", STARTED), "cut"),
    ("start(), body(b'x'), body(b'y')", ("http.response.body", COMPLETE), "whole"),
    ("start(), body(b'x'), start()", ("http.response.start", COMPLETE), "whole"),
    ("trailers()", ("http.response.trailers", NOT_STARTED), "500"),
    ("start(), trailers()", ("http.response.trailers", STARTED), "500"),
    ("start(), body(b'x', True), trailers()", ("http.response.trailers", STARTED), "cut"),
    ("start(), body(b'x'), trailers()", ("http.response.trailers", COMPLETE), "whole"),
    ("start(trailers=True), trailers()", ("http.response.trailers", STARTED), "500"),
    (
        "start(trailers=True), body(b'x'), body(b'y')",
        ("http.response.body", TRAILERS),
        "cut",
    ),
    ("start(trailers=True), body(b'x'), start()", ("http.response.start", TRAILERS), "cut"),
    (
        "start(trailers=True), body(b'x'), trailers(), trailers()",
        ("http.response.trailers", COMPLETE),
        "whole",
    ),
    ("path()", ("http.response.pathsend", NOT_STARTED), "500"),
    ("start(), body(b'x'), path()", ("http.response.pathsend", COMPLETE), "whole"),
    ("start(), body(b'x', True), path()", ("http.response.pathsend", STARTED), "cut"),
    ("start(), path(), path()", ("http.response.pathsend", COMPLETE), "whole"),
    ("start(), path(), body(b'x')", ("http.response.body", COMPLETE), "whole"),
    ("zero()", ("http.response.zerocopysend", NOT_STARTED), "500"),
    ("start(), body(b'x'), zero()", ("http.response.zerocopysend", COMPLETE), "whole"),
    ("start(), body(b'x'), hint([b'</a>'])", ("http.response.early_hint", COMPLETE), "whole"),
    ("{'type': 'http.response.push', 'path': '/'}", ("http.response.push", NOT_STARTED), "500"),
    ("{'type': 'http.response.debug', 'info': {}}", ("http.response.debug", NOT_STARTED), "500"),
    ("{'type': 'http.response.starts'}", ("http.response.starts", NOT_STARTED), "500"),
    ("{'type': ''}", ('""', NOT_STARTED), "500"),
    ("start(), body(b'x', True), {'type': 'http.request'}", ("http.request", STARTED), "cut"),
    ("{'type': 'websocket.accept'}", ("websocket.accept", NOT_STARTED), "500"),
    ("{'type': 'websocket.send', 'text': ''}", ("websocket.send", NOT_STARTED), "500"),
    ("{'type': 'lifespan.startup.complete'}", ("lifespan.startup.complete", NOT_STARTED), "500"),
]

S = "http.response.start"
B = "http.response.body"
MALFORMED = [
    ("None", ("dict", "NoneType"), "500"),
    ("[]", ("dict", "list"), "500"),
    ("'http.response.start'", ("dict", "str"), "500"),
    ("{}", ("type", "missing"), "500"),
    ("{'type': None}", ("type", "NoneType"), "500"),
    ("{'type': b'http.response.start'}", ("type", "bytes"), "500"),
    ("{'type': 'http.response.start'}", (S, "status", "missing"), "500"),
    ("start(status='200')", (S, "status", "int", "str"), "500"),
    ("start(status=b'200')", (S, "status", "int", "bytes"), "500"),
    ("start(status=200.0)", (S, "status", "int", "float"), "500"),
    ("start(status=None)", (S, "status"), "500"),
    ("start(status=0)", (S, "status"), "500"),
    ("start(status=-200)", (S, "status"), "500"),
    ("start(status=99)", (S, "status"), "500"),
    ("start(status=100)", (S, "status"), "500"),
    ("start(status=101)", (S, "status"), "500"),
    ("start(status=103)", (S, "status"), "500"),
    ("start(status=1000)", (S, "status"), "500"),
    ("start(status=10**30)", (S, "status"), "500"),
    ("fields(1)", (S, "headers", "int"), "500"),
    ("fields(None)", (S, "headers"), "500"),
    ("fields({'x': 'y'})", (S, "headers"), "500"),
    ("fields(b'x: y')", (S, "headers"), "500"),
    ("fields('x: y')", (S, "headers"), "500"),
    ("fields([1])", (S, "headers", "int"), "500"),
    ("fields([b'xy'])", (S, "headers", "bytes"), "500"),
    ("fields(['xy'])", (S, "headers", "str"), "500"),
    ("fields([(b'x',)])", (S, "headers"), "500"),
    ("fields([(b'x', b'y', b'z')])", (S, "headers"), "500"),
    ("fields([('x', b'y')])", (S, "headers", "str"), "500"),
    ("fields([(b'x', 'y')])", (S, "headers", "str"), "500"),
    ("fields([(b'x', 1)])", (S, "headers", "int"), "500"),
    ("fields([(b'x', None)])", (S, "headers", "NoneType"), "500"),
    ("start((b'', b'y'))", (S, "headers"), "500"),
    ("start((b'x y', b'z'))", (S, "headers", "x y", "space"), "500"),
    ("start((b'x:', b'z'))", (S, "headers", "x:"), "500"),
    ("start((b'x\\r\\ny', b'z'))", (S, "headers", "CR"), "500"),
    ("start((b'x\\xe9', b'z'))", (S, "headers"), "500"),
    ("start((b'x', b'a\\r\\nSet-Cookie: evil=1'))", (S, "headers", '"x"', "CR"), "500"),
    ("start((b'x', b'a\\nb'))", (S, "headers", '"x"', "LF"), "500"),
    ("start((b'x', b'a\\0b'))", (S, "headers", '"x"', "NUL"), "500"),
    ("start((b':status', b'204'))", (S, "headers", ":status", "pseudo"), "500"),
    ("start((b'content-length', b'-1'))", (S, "headers", "Content-Length"), "500"),
    ("start((b'content-length', b'five'))", (S, "headers", "Content-Length"), "500"),
    (
        "start((b'content-length', b'1'), (b'content-length', b'2'))",
        (S, "headers", "Content-Length"),
        "500",
    ),
    ("start((b'x', b'v' * (3 << 20)))", (S, "headers", "1048576"), "500"),
    ("start(), {'type': 'http.response.body', 'body': 'text'}", (B, "body", "str"), "500"),
    ("start(), {'type': 'http.response.body', 'body': None}", (B, "body", "NoneType"), "500"),
    ("start(), {'type': 'http.response.body', 'body': [b'x']}", (B, "body", "list"), "500"),
    ("start(), {'type': 'http.response.body', 'body': 5}", (B, "body", "int"), "500"),
    ("start(), body(b'x', True), body('text')", (B, STARTED, "body", "str"), "cut"),
    ("start(), {'type': 'http.response.pathsend'}", ("pathsend", "path", "missing"), "500"),
    ("start(), path(5)", ("pathsend", "path", "int"), "500"),
    ("start(), path('relative/file')", ("pathsend", "path", "absolute"), "500"),
    ("start(), path('/no/such/file')", ("pathsend", "/no/such/file"), "500"),
    ("start(), path('/tmp\\0/a')", ("pathsend", "path"), "500"),
    ("start(), path('/')", ("pathsend", '"/"'), "500"),
    ("start(), {'type': 'http.response.zerocopysend'}", ("zerocopysend", "file"), "500"),
    ("start(), zero('name')", ("zerocopysend", "file", "str"), "500"),
    ("start(), zero(None)", ("zerocopysend", "file"), "500"),
    ("start(), zero(__import__('io').BytesIO(b'x'))", ("zerocopysend", "file"), "500"),
    ("start(), zero(-1)", ("zerocopysend", "file"), "500"),
    ("start(), zero(10**6)", ("zerocopysend", "file"), "500"),
    ("start(), zero(offset=-1)", ("zerocopysend", "offset", "negative"), "500"),
    ("start(), zero(offset='1')", ("zerocopysend", "offset", "str"), "500"),
    ("start(), zero(count=-1)", ("zerocopysend", "count", "negative"), "500"),
    ("start(), zero(count=1.5)", ("zerocopysend", "count", "float"), "500"),
    (
        "start(trailers=True), body(b'x'), trailers((b'x', 'str'))",
        ("http.response.trailers", TRAILERS, "headers", "str"),
        "cut",
    ),
    (
        "start(trailers=True), body(b'x'), trailers((b'content-length', b'1'))",
        ("http.response.trailers", "headers", '"content-length"'),
        "cut",
    ),
    (
        "start(trailers=True), body(b'x'), trailers((b'x', b'a\\r\\nb'))",
        ("http.response.trailers", "headers", "CR"),
        "cut",
    ),
    ("{'type': 'http.response.early_hint'}", ("early_hint", "links", "missing"), "500"),
    ("hint(b'</a>')", ("early_hint", "links"), "500"),
    ("hint('</a>')", ("early_hint", "links", "str"), "500"),
    ("hint(['</a>'])", ("early_hint", "links"), "500"),
    ("hint(1)", ("early_hint", "links"), "500"),
    ("hint([b'</a>\\r\\nx: y'])", ("early_hint", "links", "CR"), "500"),
]


def groups(cases: list, size: int = 12) -> list:
    """Several cases in one nginx, which makes a test of each fast enough."""
    return [cases[at : at + size] for at in range(0, len(cases), size)]


@pytest.fixture
def start(nginx, serve):
    """`start(cases)` starts nginx with an application that has them all, by their numbers."""

    def begin(cases: list, location: str = "") -> None:
        lines = (f'"{number}": lambda: [{case[0]}],' for number, case in enumerate(cases))
        text = f"\n{' ' * 8}".join(lines)
        serve(APPLICATION.format(cases=text), location)

    return begin


def seen_by_client(nginx, target: str) -> str:
    """ "500", "cut" or "whole"; `nothing` if the connection ends before a head."""
    with nginx.connect() as connection:
        connection.get(target, close=True)
        with contextlib.suppress(AssertionError):
            response = connection.response()
            if response.status == 500:
                return "500"
            return "whole" if response.complete else "cut"
    return "nothing"


def faults_of(nginx, number: int, case: tuple, worker: int) -> list[str]:
    """What of a case is not as it must be."""
    messages, words, expected = case
    before = len(nginx.error_log())
    seen = seen_by_client(nginx, f"/?{number}")
    faults = []
    if seen != expected:
        faults.append(f"{messages}: the client saw {seen}, not {expected}")
    (error, *_) = nginx.wait_recorded("errors", number + 1)[number:] or [""]
    missing = [word for word in words if word not in error]
    if missing:
        faults.append(f"{messages}: no {missing} in {error!r}")
    if not wait_until(lambda: "[error]" in nginx.error_log()[before:]):
        faults.append(f"{messages}: nothing in the log at error")
    with nginx.connect() as connection:
        connection.get("/?good", close=True)
        if connection.response().body != b"good" or nginx.workers() != [worker]:
            faults.append(f"{messages}: the next request was not served")
    return faults


def wait_until(condition) -> bool:
    import time

    deadline = time.monotonic() + 20
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


@pytest.mark.parametrize("cases", groups(OUT_OF_ORDER) + groups(MALFORMED))
def test_wrong_messages(nginx, start, cases):
    start(cases)
    (worker,) = nginx.workers()
    faults = []
    for number, case in enumerate(cases):
        faults += faults_of(nginx, number, case, worker)
    assert not faults, "\n".join(faults)
    for line in nginx.log_lines("[error]"):
        assert 'request: "GET /?' in line, line


BEFORE_A_HEAD = [case for case in MALFORMED if "start()" not in case[0] and "body(" not in case[0]]


@pytest.mark.parametrize("cases", groups(BEFORE_A_HEAD, 60))
def test_after_a_refused_message_another_may_be_sent(nginx, start, cases):
    """A framework that catches the error can still answer."""
    start(cases)
    faults = []
    for number, case in enumerate(cases):
        with nginx.connect() as connection:
            connection.get(f"/catch?{number}", close=True)
            response = connection.response()
            if (response.status, response.body) != (200, b"after all"):
                faults.append(f"{case[0]}: {response}")
    assert not faults, "\n".join(faults)
    assert not nginx.log_lines("[error]")


def test_more_than_is_known_is_ignored(serve, fetch):
    """Keys of later versions of the specification, and of middleware."""
    serve(
        """
        async def application(scope, receive, send):
            start = {"type": "http.response.start", "status": 200, "headers": [], "later": 1}
            await send(start)
            await send({"type": "http.response.body", "body": b"whole", "x": None, 5: 6})
        """
    )
    assert fetch().body == b"whole"


@pytest.mark.parametrize(
    ("data", "expected"),
    [("bytearray(b'ab')", b"ab"), ("memoryview(b'abc')[1:]", b"bc"), ("Own(b'ab')", b"ab")],
)
def test_what_is_like_bytes_is_taken(serve, fetch, data, expected):
    """uvicorn takes it, so applications send it."""
    serve(
        f"""
        from testkit import respond

        class Own(bytes):
            pass

        async def application(scope, receive, send):
            data = {data}
            await respond(send, data)
            if isinstance(data, bytearray):
                data[:] = b"changed afterwards"
        """
    )
    assert fetch().body == expected


def test_a_message_may_be_changed_afterwards(serve, fetch):
    serve(
        """
        async def application(scope, receive, send):
            headers = [[b"x-own", b"1"]]
            start = {"type": "http.response.start", "status": 201, "headers": headers}
            await send(start)
            headers[0][1] = b"2"
            headers.append([b"x-late", b"1"])
            start["status"] = 500
            body = {"type": "http.response.body", "body": b"one", "more_body": True}
            await send(body)
            body.update(body=b"two", more_body=False)
            await send(body)
        """
    )
    response = fetch()
    assert (response.status, response.body) == (201, b"onetwo")
    assert (response.get("x-own"), response.get("x-late")) == ("1", None)


@pytest.mark.parametrize(
    "trick",
    [
        "headers = endless()",
        "headers = Raises()",
        "headers = [Raises()]",
        "body = Raises()",
        "more_body = Raises()",
        "status = Raises()",
    ],
)
def test_objects_that_misbehave(nginx, serve, fetch, trick):
    """Iterables without an end and objects that raise: an error of that request alone."""
    serve(
        f"""
        import itertools
        from testkit import respond

        def endless():
            return ((b"x-%d" % number, b"v") for number in itertools.count())

        class Raises:
            def __getattr__(self, name):
                raise ValueError("of the object")
            __iter__ = __len__ = __bool__ = __index__ = __int__ = __bytes__ = (
                lambda self: self.anything
            )

        async def application(scope, receive, send):
            if scope["path"] == "/good":
                return await respond(send, b"good")
            headers, body, more_body, status = [], b"x", False, 200
            {trick}
            await send({{"type": "http.response.start", "status": status, "headers": headers}})
            await send({{"type": "http.response.body", "body": body, "more_body": more_body}})
        """
    )
    response = fetch("GET /bad HTTP/1.1\r\nHost: x\r\n\r\n")
    assert response.status == 500
    assert nginx.wait_log("[error]")
    assert fetch("GET /good HTTP/1.1\r\nHost: x\r\n\r\n").body == b"good"
