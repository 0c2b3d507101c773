"""wsgi_force_ranges, asgi_*: ranges of responses that are not files. More: nginx/test_ranges.py."""

from __future__ import annotations

import pytest

PLAIN = """
    async def answer(request):
        headers = [("Content-Type", "text/plain")]
        if request.query:
            headers.append(("Content-Length", "100"))
        await request.start(200, headers)
        for number in range(10):
            await request.send(bytes([65 + number % 26]) * 10)
"""


LETTERS = b"".join(bytes([65 + n % 26]) * 10 for n in range(10))


@pytest.mark.parametrize(
    ("directive", "status"),
    [("", 200), ("{}_force_ranges off;", 200), ("{}_force_ranges on;", 206)],
)
def test_other_responses_serve_ranges_where_asked_for(nginx, protocol, directive, status):
    app = protocol.app("plain", PLAIN)
    nginx.start(f"{protocol}_app {app}; {directive.format(protocol)}")
    client = nginx.client()
    response = client.get("/?length", headers={"Range": "bytes=25-44"})
    assert response.status_code == status
    assert response.content == (LETTERS[25:45] if status == 206 else LETTERS)
    whole = client.get("/?length")
    assert ("Accept-Ranges" in whole.headers) is (status == 206)
    # Only a single range: nginx does not hold the whole body.
    several = client.get("/?length", headers={"Range": "bytes=0-9,20-29"})
    assert (several.status_code, several.content) == (200, LETTERS)
    # Of unknown length: none.
    unknown = client.get("/", headers={"Range": "bytes=25-44"})
    assert (unknown.status_code, unknown.content) == (200, LETTERS)
